"""The server's ends of all realtime channels of a node, in columns: what comes in a batch of datagrams is opened in one
pass, and so are a tick's frames sealed.

    datagram ─► connection id ─► slot ─► usual? ─┬─► window, seal, budget, books: all of a batch at once ─► input packet
                                                 └─► whatever else: `netcode.server_end`, one by one

*Usual* is an input packet from the proven path, newer than all before it, and the only one of its end in the batch:
nearly everything. The low SLOT_BITS of a
connection id are its slot, the others are chance, so finding an end is one look into a column. A slot is given again
under another id. Nothing here does I/O or reads a clock: `now` is in seconds, monotonic.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from cryptography.exceptions import InvalidTag

from netcode.columns import nonces_of, rows_of, shifted
from netcode.frame import ACKS, with_acks
from netcode.inputs import InputQueues
from netcode.received import Received
from netcode.replay import WORDS
from netcode.seal import (
    CONNECTION_AT,
    HEADER_SIZE,
    OVERHEAD,
    PAYLOAD_MAX,
    PLAINTEXT_MAX,
    SEQUENCE_AT,
    SEQUENCE_MAX,
    DatagramType,
    DropCounters,
    first_byte,
)
from netcode.server_end import (
    ADDRESS_WORDS,
    NOBODY,
    PACKET_BYTES_PER_S,
    PACKETS_BURST_S,
    PACKETS_PER_S,
    SIZES_BURST_S,
    SLOT_MASK,
    Channel,
    ServerEnd,
)

PATH_IDLE_S = 5.0
"""The server sends nothing to an address from which nothing genuine came for so long."""
ACKS_EVERY = 8
"""The server puts acknowledgements into every 8th frame: enough for RTT and loss, 6 bytes less in the others."""
ACKS_EVERY_S = 0.45
"""At less than 18 Hz into more of them, or a client would notice too late that its inputs do not get through."""

_AHEAD_MAX = 63
_INPUT, _FRAME = DatagramType.INPUT, DatagramType.FRAME
_INPUT_FIRST = first_byte(_INPUT)
_FULL_MAX = PLAINTEXT_MAX - ACKS.size
_COLUMNS: dict[str, tuple[str, int, float]] = {
    # name: type, width, what an end begins with
    "connection": ("u8", 1, 1),  # of slot 0, to which no id with these low bits leads
    "highest": ("i8", 1, 0),
    "sequence": ("i8", 1, 0),
    "frames": ("i8", 1, 0),
    "acks_at": ("f8", 1, float("inf")),
    "heard_at": ("f8", 1, float("-inf")),
    "path_heard_at": ("f8", 1, float("-inf")),
    "packets_full_at": ("f8", 1, float("-inf")),
    "sizes_full_at": ("f8", 1, float("-inf")),
    "channel": ("i1", 1, 0),
    "place": ("i8", 1, -1),
    "path_bytes": ("i1", 1, 0),
    "path": ("u4", ADDRESS_WORDS, 0),
    "window": ("u8", WORDS, 0xFFFF_FFFF_FFFF_FFFF),
    "head": ("u1", SEQUENCE_AT, 0),
}


@attrs.frozen
class Opened:
    """What a batch of datagrams brought: input packets and the slots of their ends, and what to send back."""

    slots: list[int]
    packets: list[bytes]
    replies: list[tuple[bytes, bytes]]
    """(datagram, address token)."""


class ServerEnds:
    """All ends that are open, and what is dropped in silence."""

    connection: np.ndarray
    channel: np.ndarray
    place: np.ndarray
    sequence: np.ndarray
    window: np.ndarray
    highest: np.ndarray
    frames: np.ndarray
    acks_at: np.ndarray
    heard_at: np.ndarray
    path_heard_at: np.ndarray
    packets_full_at: np.ndarray
    sizes_full_at: np.ndarray
    path_bytes: np.ndarray
    path: np.ndarray
    head: np.ndarray

    def __init__(self, drops: DropCounters) -> None:
        self.drops = drops
        self.owners: list[Any] = []
        """Whose each slot is."""
        self.inboxes: list[InputQueues | None] = []
        """Who takes the input packets of each slot, under its `place`; None: nobody."""
        self._ends: list[ServerEnd | None] = []
        self._decrypt: list[Any] = []
        self._encrypt: list[Any] = []
        self._sealed_up: list[bytes] = []
        self._sealed_down: list[bytes] = []
        self._free: list[int] = []
        self._scratch = np.zeros(0, np.intp)
        self._grow(64)

    def __len__(self) -> int:
        return len(self._ends) - len(self._free) - 1

    def open(self, end: ServerEnd, owner: Any) -> None:
        """Give an end its slot and so its connection id: datagrams find it from now on."""
        if not self._free:
            self._grow(2 * len(self._ends))
        slot = self._free.pop()
        for name, (_, _, first) in _COLUMNS.items():
            getattr(self, name)[slot] = first
        end.begin(self, slot)
        self.connection[slot] = end.connection
        self.head[slot] = np.frombuffer(end.sealer.prefix(_FRAME), np.uint8)
        self.owners[slot], self._ends[slot] = owner, end
        self._decrypt[slot], self._encrypt[slot] = end.opener.cipher.decrypt, end.sealer.cipher.encrypt
        self._sealed_up[slot], self._sealed_down[slot] = end.opener.sealed(_INPUT), end.sealer.sealed(_FRAME)

    def close(self, end: ServerEnd) -> None:
        """Nothing finds this end any more; harmless when it is closed already."""
        slot = end.slot
        if slot != NOBODY:
            end.slot = NOBODY
            self.connection[slot] = self.connection[NOBODY]
            self.owners[slot] = self.inboxes[slot] = self._ends[slot] = self._decrypt[slot] = self._encrypt[slot] = None
            self._free.append(slot)

    def find(self, connection: int) -> ServerEnd | None:
        """The open end with this connection id."""
        slot = connection & SLOT_MASK
        return self._ends[slot] if slot < len(self._ends) and int(self.connection[slot]) == connection else None

    # -- in -----------------------------------------------------------------------------------------------------------

    def receive(self, came: Received, now: float) -> Opened:
        """Open a batch of datagrams. What is malformed, forged, replayed or for nobody is dropped and counted."""
        data, sizes = came.data, came.sizes
        ids = data[:, CONNECTION_AT:SEQUENCE_AT].copy().view("<u8")[:, 0]
        slots = (ids & np.uint64(SLOT_MASK)).astype(np.intp)
        slots[slots >= len(self._ends)] = NOBODY
        known = (self.connection[slots] == ids) & (sizes >= OVERHEAD)
        self.drops.unknown += len(sizes) - int(np.count_nonzero(known))
        low = data[:, SEQUENCE_AT:HEADER_SIZE].copy().view("<u2")[:, 0]
        ahead = (low - self.highest[slots]) & 0xFFFF
        usual = known & (data[:, 0] == _INPUT_FIRST) & (sizes <= PAYLOAD_MAX) & (ahead > 0) & (ahead <= _AHEAD_MAX)
        usual &= (self.path_bytes[slots] == 4 * came.words.shape[1]) & (
            self.path[slots, : came.words.shape[1]] == came.words
        ).all(axis=1)
        at = np.flatnonzero(known)
        usual[at] &= self._alone(slots[at])
        at = np.flatnonzero(usual)
        opened = Opened([], [], [])
        if len(at):
            self._open_usual(came, at, slots[at], ahead[at], now, opened)
        for index in np.flatnonzero(known & ~usual).tolist():
            self._open_other(came.packet(index), came.address(index), int(slots[index]), now, opened)
        return opened

    def deliver(self, opened: Opened) -> None:
        """Give input packets to whoever takes them."""
        groups: dict[InputQueues | None, list[int]] = {}
        inboxes = self.inboxes
        for number, slot in enumerate(opened.slots):
            groups.setdefault(inboxes[slot], []).append(number)
        groups.pop(None, None)
        slots, packets = np.array(opened.slots, np.intp), opened.packets
        for inbox, numbers in groups.items():
            assert inbox is not None
            inbox.put(self.place[slots[numbers]], [packets[number] for number in numbers])

    def _alone(self, slots: np.ndarray) -> np.ndarray:
        """Which of these are there once."""
        numbers, scratch = np.arange(len(slots)), self._scratch
        scratch[slots] = numbers
        last = scratch[slots] == numbers
        scratch[slots[::-1]] = numbers[::-1]
        alone: np.ndarray = last & (scratch[slots] == numbers)
        return alone

    def _open_usual(
        self, came: Received, at: np.ndarray, slots: np.ndarray, ahead: np.ndarray, now: float, opened: Opened
    ) -> None:
        """Input packets of different ends, each newer than all before it. A packet changes nothing before its tag was
        found good."""
        sequences, sizes = self.highest[slots] + ahead, came.sizes[at]
        packets = self._decrypted(slots.tolist(), nonces_of(sequences), came.cut(at, HEADER_SIZE))
        if None in packets:
            good = np.array([packet is not None for packet in packets])
            self.drops.forged += len(good) - int(np.count_nonzero(good))
            slots, ahead, sequences, sizes = slots[good], ahead[good], sequences[good], sizes[good]
            packets = [packet for packet in packets if packet is not None]
        self.highest[slots] = sequences
        self.window[slots] = shifted(self.window[slots], ahead)
        self.heard_at[slots] = self.path_heard_at[slots] = now
        within = self.take_packets(slots, sizes, now)
        if not within.all():
            self.drops.excess += len(within) - int(np.count_nonzero(within))
            packets = [packet for packet, good in zip(packets, within.tolist(), strict=True) if good]
            slots = slots[within]
        self.channel[slots] = Channel.DATAGRAM
        opened.slots.extend(slots.tolist())
        opened.packets.extend(packets)  # type: ignore[arg-type]

    def _decrypted(self, slots: list[int], nonces: list[bytes], sealed: list[bytes]) -> list[bytes | None]:
        """Plaintexts; None where the tag does not fit."""
        decrypt, told = self._decrypt, self._sealed_up
        packets: list[bytes | None] = []
        for slot, nonce, one in zip(slots, nonces, sealed, strict=True):
            try:
                packets.append(decrypt[slot](nonce, one, told[slot]))
            except InvalidTag:
                packets.append(None)
        return packets

    def _open_other(self, packet: bytes, address: bytes, slot: int, now: float, opened: Opened) -> None:
        end = self._ends[slot]
        if end is None:  # closed by the packet before
            return
        plaintext, reply = end.receive(packet, address, now)
        if reply is not None:
            opened.replies.append((reply, address))
        if plaintext is not None and end.take_packet(len(packet), now):
            if self.path_bytes[slot]:
                self.channel[slot] = Channel.DATAGRAM
            opened.slots.append(slot)
            opened.packets.append(plaintext)

    def take_packets(self, slots: np.ndarray, sizes: np.ndarray, now: float) -> np.ndarray:
        """Which packets are within the budget of their session: two token buckets, kept as the time at which each is
        full again (see `netcode.limits`). A packet beyond it takes nothing."""
        packets = np.maximum(self.packets_full_at[slots], now) + 1.0 / PACKETS_PER_S
        room = np.maximum(self.sizes_full_at[slots], now) + sizes / PACKET_BYTES_PER_S
        within: np.ndarray = (packets <= now + PACKETS_BURST_S) & (room <= now + SIZES_BURST_S)
        self.packets_full_at[slots[within]], self.sizes_full_at[slots[within]] = packets[within], room[within]
        return within

    # -- out ----------------------------------------------------------------------------------------------------------

    def by_datagram(self, slots: np.ndarray, sizes: np.ndarray, now: float) -> np.ndarray:
        """To which of these ends frames of these sizes go by datagram now."""
        idle = (self.path_bytes[slots] > 0) & (now - self.path_heard_at[slots] > PATH_IDLE_S)
        for slot in slots[idle].tolist():  # somebody else may live there by now
            self._ends[slot].lose_path()
        found: np.ndarray = (self.channel[slots] == Channel.DATAGRAM) & (self.path_bytes[slots] > 0)
        found &= (sizes <= _FULL_MAX) & (self.sequence[slots] < SEQUENCE_MAX)
        return found

    def seal_frames(self, slots: np.ndarray, frames: Sequence[bytes], now: float) -> tuple[np.ndarray, np.ndarray]:
        """Seal a frame for each of these ends, all different: the datagrams one behind the other (uint8), and their
        sizes. Only for ends and frames that `by_datagram` let through."""
        count = len(slots)
        self.frames[slots] += 1
        due = (self.frames[slots] % ACKS_EVERY == 0) | (now - self.acks_at[slots] > ACKS_EVERY_S)
        if due.any():
            frames = self._with_acks(slots, list(frames), due, now)
        sequences = self.sequence[slots] + 1
        self.sequence[slots] = sequences
        heads = np.concatenate([self.head[slots], sequences.astype("<u2").view(np.uint8).reshape(count, 2)], axis=1)
        encrypt, told = self._encrypt, self._sealed_down
        sealed = [
            encrypt[slot](nonce, frame, told[slot])
            for slot, nonce, frame in zip(slots.tolist(), nonces_of(sequences), frames, strict=True)
        ]
        joined = b"".join(itertools.chain.from_iterable(zip(rows_of(heads), sealed, strict=True)))
        return np.frombuffer(joined, np.uint8), np.fromiter(map(len, sealed), np.intp, count) + HEADER_SIZE

    def _with_acks(self, slots: np.ndarray, frames: list[bytes], due: np.ndarray, now: float) -> list[bytes]:
        some = slots[due]
        self.acks_at[some] = now
        acks = zip((self.highest[some] & 0xFFFF).tolist(), self._ack_bits(some).tolist(), strict=True)
        for number, ack in zip(np.flatnonzero(due).tolist(), acks, strict=True):
            frames[number] = with_acks(frames[number], ack)
        return frames

    def _ack_bits(self, slots: np.ndarray) -> np.ndarray:
        bits: np.ndarray = (self.window[slots, 0] >> np.uint64(1)) & np.uint64(0xFFFF_FFFF)
        return bits

    def _grow(self, capacity: int) -> None:
        if capacity > SLOT_MASK + 1:
            raise RuntimeError("more sessions than a connection id has room for")
        before = len(self._ends)
        for name, (kind, width, first) in _COLUMNS.items():
            wide = np.full((capacity, width) if width > 1 else capacity, first, "<" + kind)
            if before:
                wide[:before] = getattr(self, name)
            setattr(self, name, wide)
        more = [None] * (capacity - before)
        for column in (self.owners, self.inboxes, self._ends, self._decrypt, self._encrypt):
            column.extend(more)
        for told in (self._sealed_up, self._sealed_down):
            told.extend([b""] * len(more))
        self._scratch = np.zeros(capacity, np.intp)
        self._free.extend(range(capacity - 1, max(before, NOBODY + 1) - 1, -1))
