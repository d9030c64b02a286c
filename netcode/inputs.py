"""Inputs on their way: the packet that a client sends each tick, the window it repeats, the queue that the
server takes from.

     0      1       2            8        10     12         14     15
    +------+-------+------------+--------+------+----------+------+-------------------------------+
    |flags |stream |acks u16 u32|baseline|seen  |newest seq|count |count inputs, newest first     |
    |u8    |u8     |            |u16     |u16   |u16       |u8    |(the game's packed input each) |
    +------+-------+------------+--------+------+----------+------+-------------------------------+

    flags     1: `baseline` is valid (a frame was read)
    stream    the seat that is meant, as in frames
    baseline  low bits of the tick of the newest frame read: what the server may encode deltas against
    seen      low bits of the tick that the player saw when it made the newest input (for lag compensation)

A packet has one `seen`, for its newest input. A client makes one input a tick, so the tick that the player saw when
it made the input `n` before that is taken to be `n` ticks earlier: exact while frames and inputs keep their pace,
within the frames that were lost or bunched otherwise. (Without this a repeated input would claim to have seen what
its player could not, and hit where the others were later.)

Every packet repeats all inputs which the server has not acknowledged, so a lost packet costs nothing. The
server applies each sequence once and in order, one a tick. The client holds at most 32 unacknowledged inputs
(then its input clock stops), the server at most 8 a seat (then it takes no more and the client repeats): so
nothing is ever dropped in silence.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence

import numpy as np

from netcode.errors import BadFrame
from netcode.packed import Packed, compiled, packed, stacked, whole
from netcode.sequence import widen_all

UNACKED_MAX = 32
PACKETS_MAX = 16_384
"""Packets of a stage that are kept between two ticks; with one more, those before it are forgotten, and come again."""
QUEUED_MAX = 8
SKIPS_MAX = 8
"""Gaps of one seat that are skipped; after that its inputs wait for what is missing. A client of ours makes none."""
HAS_BASELINE = 1
HEADER = struct.Struct("<BBHIHHHB")
HEADER_DTYPE = np.dtype(
    [
        ("flags", "u1"),
        ("stream", "u1"),
        ("ack", "<u2"),
        ("ack_bits", "<u4"),
        ("baseline", "<u2"),
        ("seen", "<u2"),
        ("newest", "<u2"),
        ("count", "u1"),
    ]
)


def check_input_packet(packet: bytes, input_bytes: int) -> None:
    """Raises BadFrame when it is no input packet for inputs of this size."""
    if len(packet) < HEADER.size:
        raise BadFrame("shorter than an input packet's header")
    count = packet[HEADER.size - 1]
    if count > UNACKED_MAX or len(packet) != HEADER.size + count * input_bytes:
        raise BadFrame(f"an input packet of {len(packet)} bytes with {count} inputs of {input_bytes}")


def well_formed(packets: Packed, input_bytes: np.ndarray) -> np.ndarray:
    """Which are input packets for inputs of these sizes; see `check_input_packet`."""
    if not len(packets.data):
        return np.zeros(len(packets), bool)
    count = packets.data.take(packets.begins + HEADER.size - 1, mode="clip").astype(np.int64)
    found: np.ndarray = (packets.sizes == HEADER.size + count * input_bytes) & (count <= UNACKED_MAX)
    return found


class InputWindow:
    """The client's unacknowledged inputs."""

    def __init__(self, last_seq: int) -> None:
        self.newest = last_seq
        self.acknowledged = last_seq
        self._waiting: deque[bytes] = deque(maxlen=UNACKED_MAX)

    @property
    def full(self) -> bool:
        """Whether the input clock must stop until the server acknowledges."""
        return len(self._waiting) >= UNACKED_MAX

    @property
    def waiting(self) -> Sequence[bytes]:
        """The unacknowledged inputs, oldest first."""
        return self._waiting

    def restore(self, acknowledged: int, waiting: Sequence[bytes]) -> None:
        """Go on from what was done elsewhere."""
        self._waiting.clear()
        self._waiting.extend(waiting)
        self.acknowledged, self.newest = acknowledged, acknowledged + len(waiting)

    def add(self, packed: bytes) -> int:
        """Append one input; returns its sequence. The caller looks at `full` first."""
        assert not self.full
        self._waiting.append(packed)
        self.newest += 1
        return self.newest

    def acknowledge(self, last_seq: int) -> int:
        """The room has applied everything up to `last_seq`; returns how many inputs that settles now."""
        settled = min(last_seq, self.newest) - self.acknowledged
        if settled <= 0:
            return 0
        for _ in range(settled):
            self._waiting.popleft()
        self.acknowledged += settled
        return settled

    def packet(self, stream: int, ack: tuple[int, int], baseline: int, seen: int) -> bytes:
        """The plaintext that carries all of them."""
        flags, baseline_low = (HAS_BASELINE, baseline & 0xFFFF) if baseline >= 0 else (0, 0)
        head = HEADER.pack(flags, stream, *ack, baseline_low, seen & 0xFFFF, self.newest & 0xFFFF, len(self._waiting))
        return head + b"".join(reversed(self._waiting))


class InputQueues:
    """The server's queues of the seats of a stage, in columns: inputs that wait for their tick, in sequence.

    A seat's packets are kept as they come (`put`); before a tick collects, `take_in` reads one of each seat, that with
    the newest input: it repeats all that the seat's client does not know to be applied, so those before it say nothing
    more. An input waits at the place of its sequence in a ring of QUEUED_MAX, those of a seat without a gap. Reading is
    one call of `_inputs.c`, or the same in columns where nothing is compiled.
    """

    def __init__(self, input_bytes: int) -> None:
        self.input_bytes = input_bytes
        self.waiting = np.zeros(0, np.int64)
        """How many inputs of each seat wait."""
        self.baseline = np.zeros(0, np.int64)
        """Tick of the newest frame that each seat's client has acknowledged; -1: none."""
        self._stream = np.zeros(0, np.uint8)
        self._next = np.zeros(0, np.int64)
        self._skips = np.zeros(0, np.int64)
        self._skipped = np.zeros((0, 2), np.int64)  # first and last; -1: nothing is to be skipped
        self._seen = np.zeros((0, QUEUED_MAX), np.int64)
        self._data = np.zeros((0, QUEUED_MAX, input_bytes), np.uint8)
        self._number = np.zeros(0, np.int64)
        self._free: list[int] = []
        self._came: list[tuple[np.ndarray, Packed]] = []
        self._single_for: list[int] = []
        self._single: list[bytes] = []
        self._kept = 0

    def open(self) -> int:
        """A place for a seat; see `begin`."""
        if not self._free:
            self._grow()
        return self._free.pop()

    def begin(self, at: int, last_seq: int, stream: int) -> None:
        """The seat has a connection: what waited is forgotten, and inputs of this stream go on after `last_seq`."""
        self._stream[at] = stream
        self.waiting[at], self._skips[at], self._next[at] = 0, 0, last_seq + 1
        self.baseline[at], self._skipped[at] = -1, -1
        self._gather()
        for places, _ in self._came:  # those of an earlier connection
            places[places == at] = -1

    def close(self, at: int) -> None:
        """The seat's place is free again."""
        self.begin(at, 0, 0)
        self._free.append(at)

    def put(self, at: np.ndarray, packets: Packed) -> None:
        """Keep packets of these seats until the next `take_in`. When PACKETS_MAX are kept, those are forgotten and come
        again."""
        if self._kept >= PACKETS_MAX:
            self._forget()
        self._came.append((at, packets))
        self._kept += len(at)

    def put_one(self, at: int, packet: bytes) -> None:
        """The same for one packet of one seat."""
        if self._kept >= PACKETS_MAX:
            self._forget()
        self._single_for.append(at)
        self._single.append(packet)
        self._kept += 1

    def _forget(self) -> None:
        self._came.clear()
        self._single_for.clear()
        self._single.clear()
        self._kept = 0

    def _gather(self) -> None:
        """Make one of all that is kept."""
        if self._single:
            self._came.append((np.array(self._single_for, np.intp), packed(self._single)))
            self._single_for.clear()
            self._single.clear()
        if len(self._came) > 1:
            places, packets = zip(*self._came, strict=True)
            self._came = [(np.concatenate(places), stacked(packets))]

    def take_in(self, ticks: np.ndarray) -> int:
        """Queue what is new in the packets that came, each input with the tick that it saw. Old ones are known already,
        those beyond the limit come again. `ticks`: the newest tick of the room of each place (which a baseline cannot
        be beyond). Returns how many packets were none."""
        if not self._kept:
            return 0
        self._gather()
        ((at, packets),) = self._came
        self._forget()
        read = self._read_in_columns if compiled is None else self._read_compiled
        return read(at, packets, ticks)

    def _read_compiled(self, at: np.ndarray, packets: Packed, ticks: np.ndarray) -> int:
        malformed: int = compiled.take_in(
            (self._stream, *whole(ticks), self.waiting, self.baseline, self._next, self._skips, self._skipped,
             self._seen, self._data, self._number),
            (*whole(at, packets.begins, packets.sizes), np.empty(len(at), np.int64)),
            *(packets.data, self.input_bytes),
        )  # fmt: skip
        return malformed

    def _read_in_columns(self, at: np.ndarray, packets: Packed, ticks: np.ndarray) -> int:
        blob, begins, sizes = packets.data, packets.begins, packets.sizes
        if not len(blob):
            blob = np.zeros(1, np.uint8)
        heads = blob.take(begins[:, None] + np.arange(HEADER.size), mode="clip").view(HEADER_DTYPE)[:, 0]
        good = (sizes >= HEADER.size) & (heads["count"] <= UNACKED_MAX)
        good &= sizes == HEADER.size + heads["count"].astype(np.intp) * self.input_bytes
        mine = (at >= 0) & ((heads["stream"] == self._stream[at]) | (sizes < HEADER.size))
        malformed = int(np.count_nonzero(mine & ~good))
        mine &= good
        if not mine.all():
            at, heads, begins = at[mine], heads[mine], begins[mine]
        newest = widen_all(heads["newest"], 16, self._next[at])
        last = self._last_of_each(at, newest)
        if len(last) < len(at):
            at, heads, newest, begins = at[last], heads[last], newest[last], begins[last]

        told = np.where(heads["flags"] & HAS_BASELINE, widen_all(heads["baseline"], 16, ticks[at]), -1)
        self.baseline[at] = np.where((told > self.baseline[at]) & (told <= ticks[at]), told, self.baseline[at])

        due, oldest = self._next[at], newest - heads["count"] + 1
        some = (heads["count"] > 0) & (newest >= due) & (newest < due + 2 * UNACKED_MAX)
        gap = some & (oldest > due)
        if gap.any():
            skip = gap & (self.waiting[at] == 0) & (self._skipped[at, 0] < 0) & (self._skips[at] < SKIPS_MAX)
            self._skips[at[skip]] += 1
            self._skipped[at[skip]] = np.stack([due[skip], oldest[skip] - 1], axis=1)
            self._next[at[skip]] = oldest[skip]
            some &= ~gap | skip
        self._queue(at[some], newest[some], heads["seen"][some].astype(np.int64), blob, begins[some] + HEADER.size)
        return malformed

    def _last_of_each(self, at: np.ndarray, newest: np.ndarray) -> np.ndarray:
        """Which packets to read: of each place that with the newest input, of equals the last that came."""
        numbers = np.arange(len(at))
        self._number[at] = numbers
        if np.array_equal(self._number[at], numbers):
            return numbers
        order = np.lexsort((newest, at))  # stable
        last: np.ndarray = order[np.append(at[order][1:] != at[order][:-1], True)]
        return last

    def _queue(
        self, at: np.ndarray, newest: np.ndarray, seen: np.ndarray, blob: np.ndarray, begins: np.ndarray
    ) -> None:
        """Queue inputs up to `newest` of seats whose next one is there, as many as there is room for."""
        first, size = self._next[at], self.input_bytes
        counts = np.minimum(newest - first + 1, QUEUED_MAX - self.waiting[at])
        for number in range(int(counts.max(initial=0))):
            here = counts > number
            seq = first[here] + number
            back, ring = newest[here] - seq, seq % QUEUED_MAX
            self._seen[at[here], ring] = (seen[here] - back) & 0xFFFF
            self._data[at[here], ring] = blob[(begins[here] + back * size)[:, None] + np.arange(size)]
        self._next[at] += counts
        self.waiting[at] += counts

    def take(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The next input of each of these places, all different, where one waits (where none does, the room repeats the
        last): which of them, sequences, low bits of the ticks seen, and inputs (n, input_bytes) uint8."""
        which = np.flatnonzero((self.waiting[at] > 0) & (self._skipped[at, 0] < 0))
        some = at[which]
        seqs = self._next[some] - self.waiting[some]
        self.waiting[some] -= 1
        ring = seqs % QUEUED_MAX
        return which, seqs, self._seen[some, ring], self._data[some, ring]

    def skipping(self, at: np.ndarray) -> list[int]:
        """Those of these places whose client has dropped inputs: the room must be told before the next is taken."""
        found: list[int] = at[self._skipped[at, 0] >= 0].tolist()
        return found

    def take_skip(self, at: int) -> tuple[int, int]:
        """First and last sequence that must be journaled as skipped now, once."""
        first, last = self._skipped[at].tolist()
        self._skipped[at] = -1
        return first, last

    def _grow(self) -> None:
        before = len(self.waiting)
        more = max(16, before)
        for name in (
            "waiting",
            "baseline",
            "_next",
            "_skips",
            "_skipped",
            "_seen",
            "_data",
            "_stream",
            "_number",
        ):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros((more, *column.shape[1:]), column.dtype)]))
        self._free.extend(range(before + more - 1, before - 1, -1))
