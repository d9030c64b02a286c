"""Frames: one tick of a room as one player is told it.

     0      1       2      3       5    6         8     9
    +------+-------+------+-------+----+---------+-----+-----------+--------------+-----------+
    |flags |stream |epoch |tick   |age |last_seq |depth|[acks 6 B] |shared delta  |own delta  | later sections …
    |u8    |u8     |u8    |u16    |u8  |u16      |u8   |u16 u32    |              |           |
    +------+-------+------+-------+----+---------+-----+-----------+--------------+-----------+

    flags     1: acks follow the header; others are not used yet and ignored
    stream    counts the seats of a connection: frames of an earlier seat are ignored
    epoch     low bits of the room's epoch; lower epochs are ignored
    tick      low bits of the room's tick
    age       the deltas are against the frame of tick - age, which the client has acknowledged; 0: a full frame
    last_seq  low bits of the last input sequence that the room has applied for this seat
    depth     inputs of this seat that wait on the server

Short numbers are widened around what the receiver knows (`netcode.sequence`). What a room shares is encoded once for
every baseline that its players have acknowledged, all rooms in one pass; a player's own part once for each player. Too
old an acknowledgement (32 frames) gets a full frame, never an error.
"""

from __future__ import annotations

import struct
from array import array

import attrs
import numpy as np

from game.batch import Batch
from game.view import Viewer, ViewLayout
from netcode.delta import DeltaEncoder, delta_decoder
from netcode.errors import BadFrame
from netcode.packed import Packed, joined, packed, rows
from netcode.sequence import widen

BASELINES_MAX = 32
"""How many frames of a room (and of a client's memory) can serve as a baseline."""
NOTHING_SEEN = array("q")
HAS_ACKS = 1
HEADER = struct.Struct("<BBBHBHB")
ACKS = struct.Struct("<HI")
HEADER_DTYPE = np.dtype(
    [
        ("flags", "u1"),
        ("stream", "u1"),
        ("epoch", "u1"),
        ("tick", "<u2"),
        ("age", "u1"),
        ("last_seq", "<u2"),
        ("depth", "u1"),
    ]
)
ACKS_DTYPE = np.dtype([("ack", "<u2"), ("ack_bits", "<u4")])


@attrs.frozen(eq=False)
class Readers:
    """Those who get a frame of a batch this tick, as arrays of length N."""

    rows: np.ndarray
    seats: np.ndarray
    baselines: np.ndarray
    """Tick of the newest frame that the reader has acknowledged; -1: none."""
    streams: np.ndarray
    epochs: np.ndarray
    depths: np.ndarray
    acks: Packed | None = None
    """For each `ACKS` or nothing; None: for nobody."""


class FrameEncoder:
    """Frames of all rooms of a batch, with the last 32 views of each room as baselines."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._viewer = Viewer(batch.game)
        self.layout = self._viewer.layout
        self._shared = DeltaEncoder(self.layout.shared)
        self._own = DeltaEncoder(self.layout.own)
        self._slot: dict[str, int] = {}
        self._free: list[int] = []
        self._first_tick = np.zeros(0, np.int64)
        self._shared_ring = np.zeros((BASELINES_MAX, 0, self.layout.shared_width), np.int32)
        self._own_ring = np.zeros((BASELINES_MAX, 0, batch.game.seats, self.layout.own_width), np.int32)
        self._slots = np.zeros(0, np.intp)
        self._order: list[str] = []

    def push(self) -> None:
        """Keep the batch's present views as the newest baseline of every room."""
        if self._order != self._batch.ids:
            self._place()
        if not self._order:
            return
        at = (self._batch.rows.tick % BASELINES_MAX, self._slots)
        self._shared_ring[at] = self._viewer.shared(self._batch.rows)
        self._own_ring[at] = self._viewer.own(self._batch.rows)

    def encode(self, readers: Readers) -> Packed:
        """The plaintext of a frame for each reader, against its baseline where that is still kept, else
        full."""
        room = self._batch.rows
        slots = self._slots[readers.rows]
        ticks = room.tick[readers.rows].astype(np.int64)
        ages = ticks - readers.baselines
        kept = (readers.baselines >= self._first_tick[slots]) & (ages > 0) & (ages < BASELINES_MAX)
        ages = np.where(kept, ages, 0)

        pairs, pair_of = _each_once(slots * BASELINES_MAX + ages)
        pair_slots, pair_ages = pairs // BASELINES_MAX, pairs % BASELINES_MAX
        first = np.zeros(int(self._slots.max(initial=-1)) + 1, np.int64)
        first[self._slots] = room.tick
        shared = _deltas(self._shared, self._shared_ring, pair_slots, first[pair_slots], pair_ages)
        seats = slots * self._batch.game.seats + readers.seats
        own = _deltas(self._own, self._own_ring, seats, ticks, ages)

        header = np.zeros(len(slots), HEADER_DTYPE)
        header["stream"], header["epoch"] = readers.streams, readers.epochs
        header["tick"], header["age"] = ticks & 0xFFFF, ages
        header["last_seq"] = room.last_seq[readers.rows, readers.seats] & 0xFFFF
        header["depth"] = readers.depths
        heads, parts = rows(header.view(np.uint8).reshape(-1, HEADER.size)), (shared[pair_of], own)
        if readers.acks is None:
            return joined(heads, *parts)
        header["flags"] = np.where(readers.acks.sizes > 0, HAS_ACKS, 0)
        return joined(heads, readers.acks, *parts)

    def _place(self) -> None:
        """Rooms came or went: give the new ones a slot, free those of the closed."""
        present = set(self._batch.ids)
        for room in [room for room in self._slot if room not in present]:
            self._free.append(self._slot.pop(room))
        for row, room in enumerate(self._batch.ids):
            if room not in self._slot:
                slot = self._free.pop() if self._free else self._grow()
                self._slot[room] = slot
                self._first_tick[slot] = self._batch.rows.tick[row]
        self._order = list(self._batch.ids)
        self._slots = np.array([self._slot[room] for room in self._order], np.intp)

    def _grow(self) -> int:
        old = len(self._first_tick)
        new = max(16, old * 2)
        self._first_tick = np.resize(self._first_tick, new)
        self._shared_ring = _widened(self._shared_ring, new)
        self._own_ring = _widened(self._own_ring, new)
        self._free.extend(range(new - 1, old, -1))
        return old


def _deltas(encoder: DeltaEncoder, ring: np.ndarray, who: np.ndarray, ticks: np.ndarray, ages: np.ndarray) -> Packed:
    """Deltas of what a ring keeps of these ticks, against that of `ages` ticks before; 0: against nothing."""
    if not encoder.width:
        return packed([b""] * len(who))
    views = ring.reshape(-1, encoder.width)
    a_tick = len(views) // BASELINES_MAX
    baselines = np.where(ages > 0, (ticks - ages) % BASELINES_MAX * a_tick + who, -1)
    return encoder.encode(views, ticks % BASELINES_MAX * a_tick + who, baselines)


def _each_once(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Small whole numbers in order, each once, and which of those each was: `np.unique` without its sort."""
    place = np.zeros(int(numbers.max(initial=-1)) + 1, np.intp)
    place[numbers] = 1
    found = np.flatnonzero(place)
    place[found] = np.arange(len(found))
    return found, place[numbers]


def _widened(ring: np.ndarray, slots: int) -> np.ndarray:
    wide = np.zeros((ring.shape[0], slots, *ring.shape[2:]), ring.dtype)
    wide[:, : ring.shape[1]] = ring
    return wide


@attrs.define
class Frame:
    """A frame as its player sees it. `shared` and `own` are wire values ("q") in the order of the layout; empty when
    not decoded."""

    tick: int
    last_seq: int
    depth: int
    epoch: int
    acks: tuple[int, int] | None
    layout: ViewLayout
    shared: array[int] = NOTHING_SEEN
    own: array[int] = NOTHING_SEEN

    def values(self, name: str) -> list[int]:
        """What the room shares under this name, in the units of the game's column, `exact` bits not
        included."""
        field = self.layout.shared_at[name]
        values, shift = self.shared[field.start : field.start + field.count].tolist(), field.shift
        return [value << shift for value in values] if shift else values

    def mine(self, name: str, seat: int) -> int:
        """The exact value of a column of one's own seat (shared bits and own bits together)."""
        for field in self.layout.own:
            if field.name == name:
                low = self.own[field.start]
                return (self.values(name)[seat] | low) if field.exact else low << field.shift
        return self.values(name)[seat]


class FrameDecoder:
    """One client's memory of a room's frames since it took its seat."""

    def __init__(
        self, layout: ViewLayout, stream: int, epoch: int, tick: int, last_seq: int, decode: bool = True
    ) -> None:
        self.layout = layout
        self.stream = stream
        self.epoch = epoch
        self.newest_tick = tick
        """The highest tick of this epoch."""
        self.last_seq = last_seq
        self.baseline = -1
        """Tick of the newest frame that was read: what to acknowledge. -1: none yet."""
        self._decode = decode
        self._shared, self._own = delta_decoder(layout.shared), delta_decoder(layout.own)
        self.kept: dict[int, tuple[array[int], array[int]]] = {}
        """The views that the next frames may be against, by tick: shared, own."""
        self._zeros = array("q", [0] * layout.shared_width), array("q", [0] * layout.own_width)

    def receive(self, data: bytes) -> Frame | None:
        """The frame in `data`; None for one of another seat or a lower epoch, or against a baseline no longer
        kept.

        Raises BadFrame on bytes that are no frame. Without `decode` the views are not read (and taken as if
        they had been).
        """
        if len(data) < HEADER.size:
            raise BadFrame("shorter than a frame's header")
        flags, stream, epoch_low, tick_low, age, seq_low, depth = HEADER.unpack_from(data)
        epoch = widen(epoch_low, 8, self.epoch)
        if stream != self.stream or epoch < self.epoch:
            return None
        if epoch > self.epoch:  # another owner of the room: its ticks and sequences are news, whatever ours were
            self.epoch = epoch
            self.newest_tick = widen(tick_low, 16, self.newest_tick)
            self.last_seq = widen(seq_low, 16, self.last_seq)
            self.baseline = -1
            self.kept.clear()
        at, acks = HEADER.size, None
        if flags & HAS_ACKS:
            if len(data) < at + ACKS.size:
                raise BadFrame("the acks are cut short")
            acks, at = ACKS.unpack_from(data, at), at + ACKS.size
        tick = widen(tick_low, 16, self.newest_tick)
        last_seq = widen(seq_low, 16, self.last_seq)
        shared = own = NOTHING_SEEN
        if self._decode:
            base = self._zeros if age == 0 else self.kept.get(tick - age)
            if base is None:
                return None
            shared, at = self._shared.decode(data, at, base[0])
            own, at = self._own.decode(data, at, base[1])
            self._keep(tick, shared, own)
        self.newest_tick = max(self.newest_tick, tick)
        self.last_seq = max(self.last_seq, last_seq)
        self.baseline = max(self.baseline, tick)
        return Frame(tick, last_seq, depth, epoch, acks, self.layout, shared, own)

    def _keep(self, tick: int, shared: array[int], own: array[int]) -> None:
        self.kept[tick] = (shared, own)
        if len(self.kept) > BASELINES_MAX:
            del self.kept[min(self.kept)]
