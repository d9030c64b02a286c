"""The realtime channel without I/O: both ends of one session's sealed datagrams, and how a path is proven.

    client                                                server
      PROBE  (padded to 1200 B)  ───────────────────────►   who is that address? answers with 35 B, never more than 3 x
      ◄───────────────────────────  CHALLENGE (token)       token = MAC(address) under a key that only this process has
      PROOF  (token)             ───────────────────────►   the address gets frames from now on
      ◄───────────────────────────  KEEPALIVE               so the client knows

A client is found by its connection id, not by its address. A genuine datagram from another address (NAT, Wi-Fi to
cellular) is used at once, but frames go on to the proven path until the new one has answered a challenge. Nothing
here reads a clock: `now` is in seconds, monotonic.
"""

from __future__ import annotations

import hashlib

from netcode.acks import AckTracker
from netcode.frame import with_acks
from netcode.seal import (
    CLIENT_TO_SERVER,
    PLAINTEXT_MAX,
    SERVER_TO_CLIENT,
    DatagramType,
    DropCounters,
    Opener,
    Sealer,
    Suite,
)

TOKEN_BYTES = 8
CHALLENGE_EVERY_S = 0.1
PROBE_EVERY_S = 0.1
KEEPALIVE_EVERY_S = 1.0
PATH_LOST_S = 3.0
"""A client that has heard no datagram for so long probes its path anew."""
PATH_IDLE_S = 5.0
"""The server sends nothing to an address from which nothing genuine came for so long."""
ACKS_EVERY = 8
"""The server puts acknowledgements into every 8th frame: enough for RTT and loss, 6 bytes less in the others."""
_PROBE_PADDING = bytes(PLAINTEXT_MAX)
_INPUT, _FRAME = DatagramType.INPUT, DatagramType.FRAME


class ServerEnd:
    """The server's end of one session's realtime channel."""

    __slots__ = (
        "_answered_at",
        "_challenged_at",
        "_frames",
        "_opener",
        "_path_heard_at",
        "_path_key",
        "_paths",
        "_sealer",
        "acks",
        "connection",
        "heard_at",
        "path",
    )

    def __init__(
        self,
        connection: int,
        key_up: bytes,
        key_down: bytes,
        path_key: bytes,
        drops: DropCounters,
        suite: Suite,
    ) -> None:
        self.connection = connection
        self.path: bytes | None = None
        """Address token of the proven path; None: frames can not go by UDP yet."""
        self.heard_at = float("-inf")
        """When the last genuine datagram came in."""
        self.acks = AckTracker()
        self._opener = Opener(key_up, connection, CLIENT_TO_SERVER, suite, drops)
        self._sealer = Sealer(key_down, connection, SERVER_TO_CLIENT, suite)
        self._path_key = path_key
        self._challenged_at = float("-inf")
        self._answered_at = float("-inf")
        self._path_heard_at = float("-inf")
        self._paths = 0  # counts the paths that were proven, so that no token serves twice
        self._frames = 0

    def receive(self, packet: memoryview | bytes, address: bytes, now: float) -> tuple[bytes | None, bytes | None]:
        """(plaintext of an input packet or None, datagram to send back to `address` or None)."""
        opened = self._opener.open(packet)
        if opened is None:
            return None, None
        kind, sequence, plaintext = opened
        self.acks.received(sequence)
        self.heard_at = now
        if address == self.path:
            self._path_heard_at = now
        if kind is _INPUT:
            return plaintext, None if address == self.path else self._challenge(address, now)
        if kind is DatagramType.PROOF and plaintext == self._token(address):
            self.path, self._path_heard_at = address, now
            self._paths += 1
            return None, self._answer(now)
        if kind is DatagramType.KEEPALIVE and address == self.path:
            return None, self._answer(now)
        return None, self._challenge(address, now)

    def live_path(self, now: float) -> bytes | None:
        """The proven path; None when nothing came from there for PATH_IDLE_S: somebody else may live there by now."""
        if self.path is not None and now - self._path_heard_at > PATH_IDLE_S:
            self.path = None
            self._paths += 1
        return self.path

    def seal_frame(self, frame: bytes, now: float) -> bytes:
        """The datagram for one frame; raises DatagramTooLarge."""
        self._frames += 1
        if self._frames % ACKS_EVERY == 0:
            frame = with_acks(frame, self.acks.ack)
        return self._seal(_FRAME, frame, now)

    def _answer(self, now: float) -> bytes | None:
        """A keep-alive back, unless one went out just now: what a client sends must not use up our sequences."""
        if now - self._answered_at < CHALLENGE_EVERY_S:
            return None
        self._answered_at = now
        return self._seal(DatagramType.KEEPALIVE, b"", now)

    def _challenge(self, address: bytes, now: float) -> bytes | None:
        if now - self._challenged_at < CHALLENGE_EVERY_S:
            return None
        self._challenged_at = now
        return self._seal(DatagramType.CHALLENGE, self._token(address), now)

    def _token(self, address: bytes) -> bytes:
        told = self.connection.to_bytes(8, "little") + self._paths.to_bytes(8, "little") + address
        return hashlib.blake2b(told, key=self._path_key, digest_size=TOKEN_BYTES).digest()

    def _seal(self, kind: DatagramType, plaintext: bytes, now: float) -> bytes:
        packet = self._sealer.seal(kind, plaintext)
        self.acks.sent(self._sealer.sequence, now)
        return packet


class ClientEnd:
    """The client's end of its session's realtime channel."""

    def __init__(self, connection: int, key_up: bytes, key_down: bytes, suite: Suite = Suite.AES_256_GCM) -> None:
        self.connection = connection
        self.proven = False
        """Whether the server has told that datagrams reach us here."""
        self.unproven_since = float("inf")
        """When the first probe of the path under trial went out."""
        self.heard_at = float("-inf")
        self.acks = AckTracker()
        self.drops = DropCounters()
        self._opener = Opener(key_down, connection, SERVER_TO_CLIENT, suite, self.drops)
        self._sealer = Sealer(key_up, connection, CLIENT_TO_SERVER, suite)
        self._said_at = float("-inf")

    def receive(self, packet: memoryview | bytes, now: float) -> tuple[bytes | None, bytes | None]:
        """(plaintext of a frame or None, datagram to send back or None)."""
        opened = self._opener.open(packet)
        if opened is None:
            return None, None
        kind, sequence, plaintext = opened
        self.acks.received(sequence)
        self.heard_at = now
        if kind is _FRAME:
            self.proven = True
            return plaintext, None
        if kind is DatagramType.CHALLENGE and len(plaintext) == TOKEN_BYTES:
            return None, self._seal(DatagramType.PROOF, plaintext, now)
        if kind is DatagramType.KEEPALIVE:
            self.proven = True
        return None, None

    def due(self, now: float) -> bytes | None:
        """What to send when there is no input to send: a probe until the path is proven, then a keep-alive a second."""
        if self.proven and now - self.heard_at > PATH_LOST_S:
            self.proven, self.unproven_since = False, now
        elif not self.proven and self.unproven_since > now:
            self.unproven_since = now
        every_s = KEEPALIVE_EVERY_S if self.proven else PROBE_EVERY_S
        if now - self._said_at < every_s:
            return None
        if self.proven:
            return self._seal(DatagramType.KEEPALIVE, b"", now)
        return self._seal(DatagramType.PROBE, _PROBE_PADDING, now)

    def seal_input(self, plaintext: bytes, now: float) -> bytes:
        """The datagram for one input packet."""
        return self._seal(_INPUT, plaintext, now)

    def _seal(self, kind: DatagramType, plaintext: bytes, now: float) -> bytes:
        packet = self._sealer.seal(kind, plaintext)
        self.acks.sent(self._sealer.sequence, now)
        self._said_at = now
        return packet
