"""Players in columns: a batch of their frames, or a slice of their inputs, in one pass over NumPy arrays.

    datagrams ─► connection id ─► row ─► usual? ─┬─► seal, window, tick, acks, books: all rows of a batch at once
                                                 └─► whatever else: one by one, by its bot
    a slice's rows ─► path as good as before? ─┬─► beat, wish, window, packet, seal: all rows at once
                                               └─► whatever else: one by one, by its bot

*Usual* is a frame of the row's seat, newer than all before it. What becomes of a row is then just what `ClientEnd`,
`Play` and `PlayerSeries` would make of it, less what nobody asks of a bot (its share of lost datagrams).
Nothing here does I/O or reads a clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from bots.bot import SILENT_S, Bot
from bots.rows import SENT_MAX, Rows
from bots.views import FAULTS, OUTSIDE_WORLD, READ
from netcode.columns import AHEAD_MAX, shifted
from netcode.frame import ACKS_DTYPE, HAS_ACKS
from netcode.frame import HEADER_DTYPE as FRAME_HEADER
from netcode.inputs import HAS_BASELINE, UNACKED_MAX
from netcode.inputs import HEADER_DTYPE as INPUT_HEADER
from netcode.packed import Packed
from netcode.play import BEATS, CROWDED
from netcode.realtime import PATH_LOST_S, UNHEARD_MIN, UNHEARD_S
from netcode.received import Received
from netcode.seal import HEADER_SIZE, OVERHEAD, PAYLOAD_MAX, SEQUENCE_MAX, DatagramType, first_byte

_U64 = np.uint64
_FRAME_FIRST = first_byte(DatagramType.FRAME)
_FRAME_MIN = OVERHEAD + FRAME_HEADER.itemsize
_RTT_GAIN = 1 / 8
_DATAGRAM = np.dtype([("first", "u1"), ("connection", "<u8"), ("sequence", "<u2")])
_FRAME = np.dtype([*FRAME_HEADER.descr, *ACKS_DTYPE.descr])
assert _DATAGRAM.itemsize == HEADER_SIZE


@attrs.frozen
class Rest:
    """What of a batch is not usual."""

    datagrams: list[int]
    """Which datagrams: nothing was done with them."""
    frames: list[tuple[Bot, bytes, int]]
    """Frames whose datagrams were opened, and the sizes of those."""


class Columns(Rows):
    """What becomes of the rows: frames come in, inputs go out."""

    # -- in -----------------------------------------------------------------------------------------------------------

    def receive(self, came: Received, now: float) -> Rest:
        """Take a batch of datagrams."""
        sizes = came.sizes
        heads = came.data[:, :HEADER_SIZE].copy().view(_DATAGRAM)[:, 0]
        rows = self.find(heads["connection"])
        low = heads["sequence"].astype(np.int64)
        usual = (rows >= 0) & (heads["first"] == _FRAME_FIRST) & (sizes >= _FRAME_MIN) & (sizes <= PAYLOAD_MAX)
        known = rows >= 0
        if not usual.all():
            usual &= ~np.isin(rows, rows[known & ~usual])  # what is of one bot keeps its order
        rest, odd = Rest(np.flatnonzero(~usual).tolist(), []), np.zeros(0, np.intp)
        usual_at = np.flatnonzero(usual)
        for part in self._rounds(rows[usual_at]):
            at = usual_at[part]
            mine = rows[at]
            ahead = (low[at] - self.highest[mine]) & 0xFFFF
            good = (ahead > 0) & (ahead <= AHEAD_MAX)
            if len(odd):
                good &= ~np.isin(mine, odd)
            if not good.all():
                rest.datagrams.extend(at[~good].tolist())
                odd = np.append(odd, mine[~good])
                at, mine, ahead = at[good], mine[good], ahead[good]
            odd = np.append(odd, self._open(came.datagrams(at), mine, ahead, now, rest))
        rest.datagrams.sort()
        return rest

    def _rounds(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Places in `rows`, cut so that no row is twice in a part; what is of one row keeps its order."""
        left = np.arange(len(rows))
        while len(left):
            mine = rows[left]
            self.scratch[mine[::-1]] = left[::-1]  # of several the first is written last
            first = self.scratch[mine] == left
            yield left[first]
            left = left[~first]

    def _open(self, datagrams: Packed, rows: np.ndarray, ahead: np.ndarray, now: float, rest: Rest) -> np.ndarray:
        """Datagrams of different rows, each newer than all before. Only a good tag changes anything. Returns the rows
        whose frames are not usual."""
        sequences, sizes = self.highest[rows] + ahead, datagrams.sizes
        frames, good = self.down.open(rows, sequences, datagrams)
        if not good.all():
            rows, ahead, sequences, sizes, frames = rows[good], ahead[good], sequences[good], sizes[good], frames[good]
        if not len(frames):
            return rows
        self.highest[rows] = sequences
        self.window[rows] = shifted(self.window[rows], ahead)
        self.asked_at[rows] = math.inf
        strange = self._read(frames, rows, sizes, now)
        for place in np.flatnonzero(strange).tolist():
            rest.frames.append((self.bot(rows[place]), frames.string(place), int(sizes[place])))
        found: np.ndarray = rows[strange]
        return found

    def hear(self, rows: np.ndarray, frames: Packed, now: float) -> np.ndarray:
        """Take frames of different rows that came over their control connections; returns which of them are not usual,
        with which nothing was done."""
        return self._read(frames, rows, frames.sizes + 1, now)

    def _read(self, frames: Packed, rows: np.ndarray, sizes: np.ndarray, now: float) -> np.ndarray:
        """Take frames of different rows; returns which of them are not usual and were left out."""
        lengths = frames.sizes
        heads = frames.data.take(frames.begins[:, None] + np.arange(_FRAME.itemsize), mode="clip").view(_FRAME)[:, 0]
        tells = (heads["flags"] & HAS_ACKS) != 0
        acknowledged = self.acknowledged[rows]
        ahead = (heads["tick"] - self.tick[rows]) & 0xFFFF
        settled = (heads["last_seq"] - acknowledged) & 0xFFFF
        strange: np.ndarray = (heads["stream"] != self.stream[rows]) | (heads["epoch"] != self.epoch[rows])
        strange |= (ahead == 0) | (ahead > AHEAD_MAX) | (settled > self.newest[rows] - acknowledged)
        strange |= tells & (lengths < _FRAME.itemsize)
        full = np.flatnonzero(self.full[rows])
        if len(full) and self.views is not None:
            ages = heads["age"][full].astype(np.int64)
            strange[full] |= ~self.views.know(self.slot[rows[full]], self.tick[rows[full]] + ahead[full], ages)
        if strange.any():
            good = ~strange
            heads, tells, ahead, settled = heads[good], tells[good], ahead[good], settled[good]
            rows, sizes, acknowledged, frames = rows[good], sizes[good], acknowledged[good], frames[good]
        measured = self.start <= now < self.end
        self.acknowledged[rows] = acknowledged + settled
        depth, deep = heads["depth"], self.deep[rows]
        self.depth[rows] = depth
        self.deep[rows] = np.where(depth > 0, deep + 1, np.minimum(deep, 0))
        self.tick[rows] += ahead
        self.seen[rows] = self.seen[rows] << ahead.astype(_U64) | _U64(1)
        self.all_bytes[rows] += sizes
        if measured:
            self.frames[rows] += 1
            self.frame_bytes[rows] += sizes
            self.gaps.add_many(rows, (now - self.heard_at[rows]) * 1000.0, once=True)
            self._measure_inputs(rows, acknowledged, settled, now)
        self.heard_at[rows] = now
        if tells.any():
            self._acknowledge(rows[tells], heads["ack"][tells], heads["ack_bits"][tells], now)
        full = np.flatnonzero(self.full[rows])
        if len(full):
            begins = np.where(tells[full], _FRAME.itemsize, FRAME_HEADER.itemsize)
            deltas = Packed(frames.data, frames.begins[full] + begins, frames.sizes[full] - begins)
            self._see(rows[full], heads["age"][full].astype(np.int64), deltas)
        return strange

    def _see(self, rows: np.ndarray, ages: np.ndarray, deltas: Packed) -> None:
        """Have full players read and check what their newest frames show."""
        assert self.views is not None
        ticks = self.tick[rows]
        found = self.views.read(self.slot[rows], ticks, ages, deltas)
        read = (found == READ) | (found == OUTSIDE_WORLD)
        self.baseline[rows[read]] = ticks[read]
        for place in np.flatnonzero(found != READ).tolist():
            self.bot(rows[place]).fault(FAULTS[found[place]])

    def _measure_inputs(self, rows: np.ndarray, acknowledged: np.ndarray, settled: np.ndarray, now: float) -> None:
        """So many inputs of each row, after those that were acknowledged already, are so now."""
        whose = np.repeat(rows, settled)
        number = np.arange(len(whose)) - np.repeat(np.cumsum(settled) - settled, settled)
        seq = np.repeat(acknowledged, settled) + 1 + number
        times_ms = (now - self.made_at[whose, seq % UNACKED_MAX]) * 1000.0
        self.rtts.add_many(whose, times_ms, once=bool(settled.max(initial=0) <= 1))

    def _acknowledge(self, rows: np.ndarray, low: np.ndarray, bits: np.ndarray, now: float) -> None:
        """What frames say of our datagrams; see `AckTracker.acknowledged` and `ClientEnd.acknowledged`."""
        sent, before = self.sequence[rows], self.acked[rows]
        highest = sent - ((sent - low) & 0xFFFF)
        moved = highest > before
        more, highest = rows[moved], highest[moved]
        self.acked[more], self.heard_up_at[more] = highest, now
        kept = sent[moved] - highest < SENT_MAX
        more, highest = more[kept], highest[kept]
        sample_ms, smooth_ms = (now - self.sent_at[more, highest % SENT_MAX]) * 1000.0, self.rtt_ms[more]
        self.rtt_ms[more] = np.where(np.isnan(smooth_ms), sample_ms, smooth_ms + (sample_ms - smooth_ms) * _RTT_GAIN)
        stale = rows[~moved & (sent - before >= UNHEARD_MIN)]
        patience_s = UNHEARD_S + np.nan_to_num(self.rtt_ms[stale]) / 1000.0
        self.unheard[stale] |= now - self.heard_up_at[stale] >= patience_s

    # -- out ----------------------------------------------------------------------------------------------------------

    def failing(self, rows: np.ndarray, now: float) -> list[int]:
        """Those of these rows whose path, or server, is not as it was; see `ClientEnd.usable` and `Bot.turn`."""
        bad = self.unheard[rows] | (now - self.asked_at[rows] > PATH_LOST_S)
        bad |= now - np.maximum(self.heard_at[rows], self.woke_at) > SILENT_S
        bad |= self.sequence[rows] >= SEQUENCE_MAX
        found: list[int] = rows[bad].tolist()
        return found

    def send(self, rows: np.ndarray, now: float) -> tuple[Packed, np.ndarray]:
        """The sealed input packets of these rows, all different, the shorter first, and where to."""
        rows, plaintexts = self.say(rows, now)
        return self._seal(rows, plaintexts, now), self.address[rows]

    def say(self, rows: np.ndarray, now: float) -> tuple[np.ndarray, Packed]:
        """The input packets of these rows, all different: the shorter first, and whose they are."""
        self._make_inputs(rows, now)
        rows = rows[np.argsort(self.newest[rows] - self.acknowledged[rows], kind="stable")]
        newest = self.newest[rows]
        counts = newest - self.acknowledged[rows]
        back = np.arange(int(counts[-1]))
        head = np.zeros(len(rows), INPUT_HEADER)
        head["flags"], head["stream"] = HAS_BASELINE, self.stream[rows]
        head["ack"], head["ack_bits"] = self.highest[rows] & 0xFFFF, self.ack_bits(rows)
        head["baseline"] = head["seen"] = np.where(self.full[rows], self.baseline[rows], self.tick[rows]) & 0xFFFF
        head["newest"], head["count"] = newest & 0xFFFF, counts
        inputs = self.inputs[rows[:, None], (newest[:, None] - back) % UNACKED_MAX].reshape(len(rows), -1)
        table = np.concatenate([head.view(np.uint8).reshape(len(rows), -1), inputs], axis=1)
        plaintexts = Packed(
            table.reshape(-1),
            np.arange(0, table.size, table.shape[1]),
            INPUT_HEADER.itemsize + counts * self.inputs.shape[2],
        )
        return rows, plaintexts

    def _make_inputs(self, rows: np.ndarray, now: float) -> None:
        """Each player's next input, as `Bot` and `Play.beat` have it."""
        rows = rows[self.sending[rows]]
        in_flight = self.newest[rows] - self.acknowledged[rows]
        deep, crowded = self.deep[rows], self.depth[rows] >= CROWDED
        skipped = self.skipped_beat[rows] ^ crowded
        self.skipped_beat[rows] = skipped
        left_out = ~crowded & (deep >= BEATS)
        self.deep[rows] = np.where(left_out, -in_flight, deep)
        makes = ~np.where(crowded, skipped, left_out)
        rows, in_flight = rows[makes], in_flight[makes]
        walking = self.walking[rows]
        self.walks.decide(rows[walking])
        for row in rows[~walking].tolist():
            self._decide(row)
        rows = rows[in_flight < UNACKED_MAX]
        seq = self.newest[rows] + 1
        self.newest[rows] = seq
        self.inputs[rows, seq % UNACKED_MAX] = self.walks.packed[rows]
        self.made_at[rows, seq % UNACKED_MAX] = now

    def _decide(self, row: int) -> None:
        """Let a bot that sees its frames decide."""
        bot = self.bot(row)
        assert bot.play is not None
        if not bot.brain.looks(int(self.baseline[row])):
            return
        if changed := bot.brain.decide(self.newest_frame(row)):
            bot.play.want(**changed)
            self.walks.packed[row] = np.frombuffer(bot.play.packed, np.uint8)

    def _seal(self, rows: np.ndarray, plaintexts: Packed, now: float) -> Packed:
        sequences = self.sequence[rows] + 1
        self.sequence[rows] = sequences
        self.sent_at[rows, sequences % SENT_MAX] = now
        self.asked_at[rows] = np.minimum(self.asked_at[rows], now)
        self.heard_up_at[rows[now - self.said_at[rows] > UNHEARD_S]] = now
        self.said_at[rows] = now
        low = sequences.astype("<u2").view(np.uint8).reshape(-1, 2)
        return self.up.seal(rows, sequences, np.concatenate([self.head[rows], low], axis=1), plaintexts)


def gather(parts: Sequence[Received]) -> Received:
    """Several batches as one, no wider than it must be."""
    widest = max(int(part.sizes.max(initial=0)) for part in parts)
    data = np.zeros((sum(map(len, parts)), max(widest, HEADER_SIZE)), np.uint8)
    at = 0
    for part in parts:
        used = part.data[:, :widest]
        data[at : at + len(part), : used.shape[1]] = used
        at += len(part)
    return Received(data, np.concatenate([part.sizes for part in parts]), parts[0].words[:0])
