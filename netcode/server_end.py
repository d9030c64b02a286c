"""The server's end of one session's realtime channel: what is not usual, one datagram at a time.

Its state lies in the columns of `netcode.ends`, which serve everything that is usual for many ends at once.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from typing import TYPE_CHECKING

import numpy as np

from netcode.realtime import TOKEN_BYTES
from netcode.replay import WORDS
from netcode.seal import CLIENT_TO_SERVER, SEQUENCE_MAX, SERVER_TO_CLIENT, DatagramType, Opener, Sealer, Suite

if TYPE_CHECKING:
    from netcode.ends import ServerEnds
    from netcode.inputs import InputQueues

SLOT_BITS = 20
"""A node has at most a million sessions."""
SLOT_MASK = (1 << SLOT_BITS) - 1
NOBODY = 0
"""The slot of ends that are closed: no connection id leads there."""
ADDRESS_WORDS = 7
CHALLENGE_EVERY_S = 0.1
PACKETS_PER_S, PACKETS_BURST = 160.0, 160.0
"""What a session may send: an input a tick, at 128 Hz at most, 10 % faster when it catches up, and a keep-alive."""
PACKET_BYTES_PER_S, PACKET_BYTES_BURST = 131_072.0, 262_144.0
PACKETS_BURST_S, SIZES_BURST_S = PACKETS_BURST / PACKETS_PER_S, PACKET_BYTES_BURST / PACKET_BYTES_PER_S


class Channel(enum.IntEnum):
    """Which way frames go."""

    UNKNOWN = 0
    """The client has shown neither yet: it gets none."""
    CONTROL = 1
    DATAGRAM = 2


class ServerEnd:
    """The server's end of one session's realtime channel: what is not usual, one datagram at a time."""

    __slots__ = ("_answered_at", "_bits", "_challenged_at", "_path_key", "_paths",
                 "connection", "ends", "keys", "slot", "suite")  # fmt: skip

    def __init__(self, bits: int, key_up: bytes, key_down: bytes, path_key: bytes, suite: Suite) -> None:
        """`bits`: 64 random ones, of which the connection id takes all but the lowest SLOT_BITS. The end is of use
        from `ServerEnds.open` on."""
        self.connection = 0
        """Connection id; 0 until it is open."""
        self.slot = NOBODY
        self.ends: ServerEnds
        self.keys, self.suite = (key_up, key_down), suite
        self._bits = bits
        self._path_key = path_key
        self._challenged_at = self._answered_at = float("-inf")
        self._paths = 0  # counts the paths that were proven, so that no token serves twice

    def begin(self, ends: ServerEnds, slot: int) -> None:
        """Called by `ServerEnds.open`."""
        self.ends, self.slot = ends, slot
        self.connection = self._bits & ~SLOT_MASK | slot

    @property
    def path(self) -> bytes | None:
        """Address token of the proven path; None: frames can not go by UDP yet."""
        size = int(self.ends.path_bytes[self.slot])
        return self.ends.path[self.slot].tobytes()[:size] if size else None

    @property
    def heard_at(self) -> float:
        """When the last genuine packet came in, by datagram or among many over control connections."""
        return float(self.ends.heard_at[self.slot])

    @property
    def channel(self) -> Channel:
        """Which way frames go."""
        return Channel(int(self.ends.channel[self.slot]))

    @channel.setter
    def channel(self, channel: Channel) -> None:
        if self.slot != NOBODY:
            self.ends.channel[self.slot] = channel

    def deliver_to(self, inbox: InputQueues | None, place: int = -1) -> None:
        """Who takes the input packets that come by datagram, and under which place; None: nobody."""
        if self.slot != NOBODY:
            self.ends.inbox[self.slot], self.ends.place[self.slot] = self.ends.number_of(inbox), place

    def take_owed(self) -> int:
        """The bytes in `ServerEnds.owed`, once."""
        if self.slot == NOBODY:
            return 0
        owed = int(self.ends.owed[self.slot])
        self.ends.owed[self.slot] = 0
        return owed

    def close(self) -> None:
        """Nothing finds this end any more; harmless when it is closed, or was never open."""
        if self.slot != NOBODY:
            self.ends.close(self)

    def take_packet(self, size: int, now: float) -> bool:
        """Whether a genuine realtime packet of `size` bytes is within the session's budget; otherwise it is dropped."""
        # As `ServerEnds.take_packets`, spelled out: arrays of one number are slower than numbers.
        ends, slot = self.ends, self.slot
        packets = max(float(ends.packets_full_at[slot]), now) + 1.0 / PACKETS_PER_S
        room = max(float(ends.sizes_full_at[slot]), now) + size / PACKET_BYTES_PER_S
        if packets > now + PACKETS_BURST_S or room > now + SIZES_BURST_S:
            ends.drops.excess += 1
            return False
        ends.packets_full_at[slot], ends.sizes_full_at[slot] = packets, room
        return True

    def receive(self, packet: memoryview | bytes, address: bytes, now: float) -> tuple[bytes | None, bytes | None]:
        """(plaintext of an input packet or None, datagram to send back to `address` or None)."""
        ends, slot = self.ends, self.slot
        opener = Opener(self.keys[0], self.connection, CLIENT_TO_SERVER, self.suite, ends.drops)
        window = opener.window
        window.highest, window.seen = int(ends.highest[slot]), int.from_bytes(ends.window[slot].tobytes(), "little")
        opened = opener.open(packet)
        if opened is None:
            return None, None
        ends.highest[slot] = window.highest
        ends.window[slot] = np.frombuffer(window.seen.to_bytes(8 * WORDS, "little"), "<u8")
        kind, _, plaintext = opened
        ends.heard_at[slot] = now
        proven = address == self.path
        if proven:
            ends.path_heard_at[slot] = now
        if kind is DatagramType.INPUT:
            return plaintext, None if proven else self._challenge(address, now)
        if kind is DatagramType.PROOF and hmac.compare_digest(plaintext, self._token(address)):
            self._prove(address, now)
            return None, self._answer(now)
        if kind is DatagramType.KEEPALIVE and proven:
            return None, self._answer(now)
        return None, self._challenge(address, now)

    def lose_path(self) -> None:
        """Send nothing more to the address of the proven path."""
        self.ends.path_bytes[self.slot] = 0
        self._paths += 1

    def _prove(self, address: bytes, now: float) -> None:
        ends, slot = self.ends, self.slot
        ends.path[slot] = np.frombuffer(address.ljust(4 * ADDRESS_WORDS, b"\0"), np.uint32)
        ends.path_bytes[slot], ends.path_heard_at[slot] = len(address), now
        self._paths += 1

    def _answer(self, now: float) -> bytes | None:
        """A keep-alive back, unless one went out just now: what a client sends must not use up our sequences."""
        if now - self._answered_at < CHALLENGE_EVERY_S or self._spent:
            return None
        self._answered_at = now
        return self._seal(DatagramType.KEEPALIVE, b"")

    def _challenge(self, address: bytes, now: float) -> bytes | None:
        if now - self._challenged_at < CHALLENGE_EVERY_S or self._spent:
            return None
        self._challenged_at = now
        return self._seal(DatagramType.CHALLENGE, self._token(address))

    @property
    def _spent(self) -> bool:
        """Whether the key has sealed all that it may: what is left goes over the control channel."""
        return bool(self.ends.sequence[self.slot] >= SEQUENCE_MAX)

    def _token(self, address: bytes) -> bytes:
        told = self.connection.to_bytes(8, "little") + self._paths.to_bytes(8, "little") + address
        return hashlib.blake2b(told, key=self._path_key, digest_size=TOKEN_BYTES).digest()

    def _seal(self, kind: DatagramType, plaintext: bytes) -> bytes:
        # A cipher made for the occasion costs two microseconds, one that is kept 2.5 kB a session.
        sealer = Sealer(self.keys[1], self.connection, SERVER_TO_CLIENT, self.suite)
        sealer.sequence = int(self.ends.sequence[self.slot])
        packet = sealer.seal(kind, plaintext)
        self.ends.sequence[self.slot] = sealer.sequence
        return packet
