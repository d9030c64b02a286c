"""The server's ends of all realtime channels of a node, in columns: what comes in a batch of datagrams is opened in one
pass, and so are a tick's frames sealed.

    datagram ─► connection id ─► slot ─► usual? ─┬─► window, seal, budget, books: all of a batch at once ─► input packet
                                                 └─► whatever else: `netcode.server_end`, one by one

*Usual* is an input packet from the proven path, newer than all before it: nearly everything (`netcode.usual`). Of an
end that has several in a batch, as all have after the server was late, they are opened in their order. The low
SLOT_BITS of a connection id are its slot, the others are chance, so finding an end is one look into a column. A slot is
given again under another id. Nothing here does I/O or reads a clock: `now` is in seconds, monotonic.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from netcode.frame import ACKS_DTYPE
from netcode.inputs import InputQueues
from netcode.packed import Packed, dense, joined, packed
from netcode.received import Received
from netcode.replay import WORDS
from netcode.seal import (
    CLIENT_TO_SERVER,
    CONNECTION_AT,
    HEADER_SIZE,
    PAYLOAD_MAX,
    PLAINTEXT_MAX,
    SEQUENCE_AT,
    SEQUENCE_MAX,
    SERVER_TO_CLIENT,
    DatagramType,
    DropCounters,
    prefix,
)
from netcode.seals import make_seals
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
from netcode.usual import open_usual

PATH_IDLE_S = 5.0
"""The server sends nothing to an address from which nothing genuine came for so long."""
ACKS_EVERY = 8
"""The server puts acknowledgements into every 8th frame: enough for RTT and loss, 6 bytes less in the others."""
ACKS_EVERY_S = 0.45
"""At less than 18 Hz into more of them, or a client would notice too late that its inputs do not get through."""

OTHERS_MAX = 32
"""Of so many datagrams of a batch that are not usual each is opened by itself; of more only those that are worth it."""

_FRAME = DatagramType.FRAME
_COLUMNS: dict[str, tuple[str, int, float]] = {
    # name: type, width, what an end begins with
    "connection": ("u8", 1, 0),  # closed: no id of theirs, for 0 leads to slot 0
    "highest": ("i8", 1, 0),
    "sequence": ("i8", 1, 0),
    "frames": ("i8", 1, 0),
    "acks_at": ("f8", 1, float("inf")),
    "heard_at": ("f8", 1, float("-inf")),
    "path_heard_at": ("f8", 1, float("-inf")),
    "packets_full_at": ("f8", 1, float("-inf")),
    "sizes_full_at": ("f8", 1, float("-inf")),
    "owed": ("i8", 1, 0),
    "channel": ("i1", 1, 0),
    "inbox": ("i4", 1, 0),
    "place": ("i8", 1, -1),
    "path_bytes": ("i1", 1, 0),
    "path": ("u4", ADDRESS_WORDS, 0),
    "window": ("u8", WORDS, 0xFFFF_FFFF_FFFF_FFFF),
    "head": ("u1", SEQUENCE_AT, 0),
}


@attrs.frozen
class Opened:
    """What a batch of datagrams brought: input packets with the slots of their ends, and what to send back."""

    inputs: list[tuple[np.ndarray, Packed]]
    replies: list[tuple[bytes, bytes]]
    """(datagram, address token)."""


class ServerEnds:
    """All ends that are open, and what is dropped in silence."""

    connection: np.ndarray
    channel: np.ndarray
    owed: np.ndarray
    """Bytes of the control connection that were read and that the session's budget does not know of yet."""
    inbox: np.ndarray
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
    scratch: np.ndarray
    """(slots,) int64: of use while one call lasts."""

    def __init__(self, drops: DropCounters) -> None:
        self.drops = drops
        self.owners: list[Any] = []
        """Whose each slot is."""
        self._inboxes: list[InputQueues | None] = [None]
        """Who takes input packets, by number: of each slot its `inbox`, under its `place`."""
        self._ends: list[ServerEnd | None] = []
        self._up, self._down = make_seals(CLIENT_TO_SERVER), make_seals(SERVER_TO_CLIENT)
        self._free: list[int] = []
        self._open_usual = open_usual
        self._grow(64)
        self.connection[NOBODY] = 1  # which leads to slot 1

    def __len__(self) -> int:
        return len(self._ends) - len(self._free) - 1

    def open(self, end: ServerEnd, owner: Any) -> None:
        """Give an end its slot and so its connection id: datagrams find it from now on. Once, for its keys are used up
        then."""
        if end.connection:
            raise RuntimeError("an end is opened once")
        if not self._free:
            self._grow(2 * len(self._ends))
        slot = self._free.pop()
        for name, (_, _, first) in _COLUMNS.items():
            getattr(self, name)[slot] = first
        end.begin(self, slot)
        self.connection[slot] = end.connection
        self.head[slot] = np.frombuffer(prefix(_FRAME, end.connection), np.uint8)
        self.owners[slot], self._ends[slot] = owner, end
        self._up.put(slot, end.keys[0], end.suite)
        self._down.put(slot, end.keys[1], end.suite)

    def close(self, end: ServerEnd) -> None:
        """Nothing finds this end any more; harmless when it is closed already."""
        slot = end.slot
        if slot != NOBODY:
            end.slot = NOBODY
            self.connection[slot] = self.path_bytes[slot] = self.channel[slot] = self.inbox[slot] = 0
            end.keys = (b"", b"")
            self.owners[slot] = self._ends[slot] = None
            self._up.drop(slot)
            self._down.drop(slot)
            self._free.append(slot)

    def find(self, connection: int) -> ServerEnd | None:
        """The open end with this connection id."""
        slot = connection & SLOT_MASK
        return self._ends[slot] if slot < len(self._ends) and int(self.connection[slot]) == connection else None

    def number_of(self, inbox: InputQueues | None) -> int:
        """What stands for it in `inbox`; 0: nobody takes them. The number of one that no end has any more is given
        again."""
        if inbox not in self._inboxes:
            unused = np.setdiff1d(np.arange(1, len(self._inboxes)), self.inbox)
            if not len(unused):
                self._inboxes.append(inbox)
            else:
                for number in unused.tolist():
                    self._inboxes[number] = None
                self._inboxes[unused[0]] = inbox
        return self._inboxes.index(inbox)

    # -- in -----------------------------------------------------------------------------------------------------------

    def receive(self, came: Received, now: float) -> Opened:
        """Open a batch of datagrams. What is malformed, forged, replayed or for nobody is dropped and counted."""
        usual = self._open_usual(self, self._up, came, now)
        opened = Opened(usual.inputs, [])
        if len(usual.others):
            self._open_others(came, usual.others, now, opened)
        return opened

    def deliver(self, opened: Opened) -> None:
        """Give input packets to whoever takes them."""
        for slots, packets in opened.inputs:
            self._deliver(slots, packets)

    def _deliver(self, slots: np.ndarray, packets: Packed) -> None:
        inboxes = self.inbox[slots]
        first = self._inboxes[inboxes[0]] if len(slots) else None
        if first is not None and len(packets.data) == packets.sizes.sum() and (inboxes == inboxes[0]).all():
            first.put(self.place[slots], packets)  # there is nothing else in `data`
            return
        for number in np.flatnonzero(np.bincount(inboxes)).tolist():
            inbox, mine = self._inboxes[number], inboxes == number
            if inbox is not None:  # a copy: what it keeps are its own packets, not the batch
                inbox.put(self.place[slots[mine]], joined(packets[mine]))

    def find_all(self, connections: np.ndarray) -> np.ndarray:
        """The slots of the open ends with these connection ids; NOBODY where there is none."""
        slots = (connections & np.uint64(SLOT_MASK)).astype(np.intp)
        slots[slots >= len(self._ends)] = NOBODY
        slots[self.connection[slots] != connections] = NOBODY
        return slots

    def input_bytes(self, slots: np.ndarray) -> np.ndarray:
        """Size of an input for whoever takes the input packets of each of these ends; -1: nobody does."""
        sizes = [-1 if inbox is None else inbox.input_bytes for inbox in self._inboxes]
        found: np.ndarray = np.array(sizes, np.int64)[self.inbox[slots]]
        return found

    def receive_over_control(self, slots: np.ndarray, packets: Packed, now: float) -> None:
        """Take well-formed input packets that came over the control connections of these ends, all different."""
        self.heard_at[slots] = now
        within = self.take_packets(slots, packets.sizes + 1, now)
        if not within.all():
            self.drops.excess += len(within) - int(np.count_nonzero(within))
            slots, packets = slots[within], packets[within]
        self.channel[slots] = Channel.CONTROL
        self._deliver(slots, packets)

    def _open_others(self, came: Received, others: np.ndarray, now: float, opened: Opened) -> None:
        slots = self.find_all(came.numbers(CONNECTION_AT, SEQUENCE_AT)[others])
        if len(others) > OTHERS_MAX:
            others, slots = self._worth_it(came, others, slots)
        for index, slot in zip(others.tolist(), slots.tolist(), strict=True):
            self._open_other(came.packet(index), came.address(index), slot, now, opened)

    def _worth_it(self, came: Received, at: np.ndarray, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of many datagrams to open one by one, and of which slots: what is no datagram of ours, replayed or
        forged is dropped here, all at once, and so is what one end sends beyond OTHERS_MAX; an end that floods does so
        alone."""
        fits = came.sizes[at] <= PAYLOAD_MAX
        self.drops.malformed += len(at) - int(np.count_nonzero(fits))
        at, slots = at[fits], slots[fits]
        highest = self.highest[slots]
        low = came.numbers(SEQUENCE_AT, HEADER_SIZE)[at].astype(np.int64)
        sequences = highest + ((low - highest + 0x7FFF) & 0xFFFF) - 0x7FFF
        age = highest - sequences
        word = self.window[slots, np.clip(age >> 6, 0, WORDS - 1)]
        seen = (word >> (age & 63).astype(np.uint64)) & np.uint64(1)
        fresh = (sequences > 0) & ((age < 0) | ((age < 64 * WORDS) & (seen == 0)))
        self.drops.replayed += len(at) - int(np.count_nonzero(fresh))
        at, slots, sequences = at[fresh], slots[fresh], sequences[fresh]
        good = self._up.open(slots, sequences, came.datagrams(at))[1]
        self.drops.forged += len(at) - int(np.count_nonzero(good))
        at, slots = at[good], slots[good]
        order = np.argsort(slots, kind="stable")
        grouped = slots[order]
        kept = order[np.arange(len(order)) - np.searchsorted(grouped, grouped) < OTHERS_MAX]
        self.drops.excess += len(at) - len(kept)
        kept = np.sort(kept)
        return at[kept], slots[kept]

    def alone(self, slots: np.ndarray) -> np.ndarray:
        """Which of these are there once."""
        numbers, scratch = np.arange(len(slots)), self.scratch
        scratch[slots] = numbers
        alone: np.ndarray = (scratch[slots] == numbers) & self.firsts(slots)
        return alone

    def firsts(self, slots: np.ndarray) -> np.ndarray:
        """Which of these are there for the first time."""
        numbers, scratch = np.arange(len(slots)), self.scratch
        scratch[slots[::-1]] = numbers[::-1]
        first: np.ndarray = scratch[slots] == numbers
        return first

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
            opened.inputs.append((np.array([slot]), packed([plaintext])))

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
        found &= (sizes <= PLAINTEXT_MAX) & (self.sequence[slots] < SEQUENCE_MAX)
        return found

    def take_acks(self, slots: np.ndarray, now: float) -> Packed:
        """What the next frame of each of these ends, all different, says of the client's datagrams: `ACKS`, or
        nothing. It counts as said: to be called once a frame."""
        count, highest = self.frames[slots] + 1, self.highest[slots]
        self.frames[slots] = count
        due = (count % ACKS_EVERY == 0) | (now - self.acks_at[slots] > ACKS_EVERY_S)
        due &= self.channel[slots] == Channel.DATAGRAM
        some = slots[due]
        self.acks_at[some] = now
        told = np.empty(len(some), ACKS_DTYPE)
        told["ack"], told["ack_bits"] = highest[due] & 0xFFFF, self._ack_bits(some)
        return dense(told.view(np.uint8), due * np.int64(told.itemsize))

    def seal_frames(self, slots: np.ndarray, frames: Packed) -> Packed:
        """The datagrams of a frame for each of these ends, all different. Only for ends and frames that `by_datagram`
        let through."""
        sequences = self.sequence[slots] + 1
        self.sequence[slots] = sequences
        low = sequences.astype("<u2").view(np.uint8).reshape(len(slots), 2)
        return self._down.seal(slots, sequences, np.concatenate([self.head[slots], low], axis=1), frames)

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
        self.owners.extend(more)
        self._ends.extend(more)
        self._up.grow(capacity)
        self._down.grow(capacity)
        self.scratch = np.zeros(capacity, np.int64)
        self._free.extend(range(capacity - 1, max(before, NOBODY + 1) - 1, -1))
