"""The state of players in columns, and the way into it and out of it.

    ClientEnd, Play, RandomWalk, PlayerSeries ── enter ──► a row of the columns ── release ──► the same objects
                                                             │
                                                             └── settle ──► PlayerSeries: its books are up to date

A bot is in a row as long as all is as usual with it (`takes`): its path is proven, and the newest datagram was the
newest frame. Meanwhile its objects stand still, but for the brain of one that sees its frames. What becomes of a row is
in `bots.columns`.
"""

from __future__ import annotations

import math

import numpy as np

from bots.bot import Bot
from bots.brain import RandomWalk, RandomWalks
from bots.histogram import Histograms
from bots.views import Views
from netcode.acks import ACK_BITS, TIMES_MAX
from netcode.frame import NOTHING_SEEN, Frame
from netcode.inputs import UNACKED_MAX
from netcode.replay import WORDS
from netcode.seal import CLIENT_TO_SERVER, SERVER_TO_CLIENT, DatagramType, prefix
from netcode.seals import make_seals
from netcode.weblink import Link

SENT_MAX = 64
"""So many times of sending are kept a row; an acknowledgement that comes later than that gives no round trip."""
ADDRESS_WORDS = 7
NEARBY = 1 << 16
_ONE = np.uint64(1)
_COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    # name: type, shape of a row
    "connection": ("u8", ()),
    "streamed": ("?", ()),
    "sending": ("?", ()),
    "full": ("?", ()),
    "walking": ("?", ()),
    "address": ("u4", (ADDRESS_WORDS,)),
    "heard_at": ("f8", ()),
    "highest": ("i8", ()),
    "window": ("u8", (WORDS,)),
    "head": ("u1", (9,)),
    "sequence": ("i8", ()),
    "sent_at": ("f8", (SENT_MAX,)),
    "acked": ("i8", ()),
    "rtt_ms": ("f8", ()),
    "asked_at": ("f8", ()),
    "said_at": ("f8", ()),
    "heard_up_at": ("f8", ()),
    "unheard": ("?", ()),
    "stream": ("u1", ()),
    "epoch": ("u1", ()),
    "tick": ("i8", ()),
    "baseline": ("i8", ()),
    "slot": ("i8", ()),
    "depth": ("u1", ()),
    "deep": ("i8", ()),
    "skipped_beat": ("?", ()),
    "newest": ("i8", ()),
    "acknowledged": ("i8", ()),
    "made_at": ("f8", (UNACKED_MAX,)),
    "seen": ("u8", ()),
    "frames": ("i8", ()),
    "frame_bytes": ("i8", ()),
    "all_bytes": ("i8", ()),
}


class Rows:
    """All players of a process with whom all is as usual. They play the same game."""

    connection: np.ndarray
    """Its id."""
    streamed: np.ndarray
    """Whether its inputs and frames take the control connection; what is said of datagrams stands still then."""
    sending: np.ndarray
    """Whether new inputs are made."""
    full: np.ndarray
    """Whether its bot reads every frame, and whether it walks at random."""
    walking: np.ndarray
    address: np.ndarray
    """Where its datagrams go, as the words of the address token."""
    heard_at: np.ndarray
    """When the newest frame came, and so the last datagram."""
    highest: np.ndarray
    """The highest datagram accepted, and which of the 256 up to it were (bit i of the words: highest - i)."""
    window: np.ndarray
    head: np.ndarray
    """What its datagrams begin with."""
    sequence: np.ndarray
    """The last datagram sent, and when the 64 up to it were (sequence modulo 64)."""
    sent_at: np.ndarray
    acked: np.ndarray
    """The highest of them that the server has acknowledged, and the round trip (NaN: not known)."""
    rtt_ms: np.ndarray
    asked_at: np.ndarray
    """These four as in `ClientEnd`."""
    said_at: np.ndarray
    heard_up_at: np.ndarray
    unheard: np.ndarray
    stream: np.ndarray
    epoch: np.ndarray
    """Low byte."""
    tick: np.ndarray
    """Of the newest frame, and, of a full player, of the newest that it could read and its slot in `views`; the depth
    that the newest frame told."""
    baseline: np.ndarray
    slot: np.ndarray
    depth: np.ndarray
    deep: np.ndarray
    """These two as in `Play`."""
    skipped_beat: np.ndarray
    newest: np.ndarray
    """The newest input made, the last one acknowledged, and when those after it were made (sequence modulo 32)."""
    acknowledged: np.ndarray
    made_at: np.ndarray
    seen: np.ndarray
    """As in `PlayerSeries`. What follows is what its books do not know yet: frames and their bytes in the window, and
    bytes outside of it, too."""
    frames: np.ndarray
    frame_bytes: np.ndarray
    all_bytes: np.ndarray

    def __init__(self) -> None:
        self.start, self.end = math.inf, math.inf
        """When the window of all series opens and closes."""
        self.woke_at = -math.inf
        """When the process last went on after a while in which it heard nobody."""
        self.row_of: dict[int, int] = {}
        """By connection id."""
        self._nearby = np.full(NEARBY, -1, np.intp)
        """By the low bits of a connection id: a row that may be its."""
        self.bots: list[Bot | None] = []
        self.links: list[Link | None] = []
        """Of those that are streamed: the connection."""
        self.up, self.down = make_seals(CLIENT_TO_SERVER), make_seals(SERVER_TO_CLIENT)
        self.gaps, self.rtts = Histograms(), Histograms()
        self.walks: RandomWalks
        """What the players want."""
        self.views: Views | None = None
        """What full ones see."""
        self.inputs = np.zeros((0, UNACKED_MAX, 0), np.uint8)
        """Their unacknowledged inputs (sequence modulo 32)."""
        self.scratch = np.zeros(0, np.intp)
        self._free: list[int] = []
        for name, (kind, shape) in _COLUMNS.items():
            setattr(self, name, np.zeros((0, *shape), kind))

    def bot(self, row: int) -> Bot:
        """Whose a row is."""
        bot = self.bots[row]
        assert bot is not None
        return bot

    def find(self, connections: np.ndarray) -> np.ndarray:
        """The rows of these connections (n,) uint64; -1: none."""
        rows: np.ndarray = self._nearby[connections % NEARBY]
        if self.row_of:
            unsure = np.flatnonzero((rows < 0) | (self.connection[rows] != connections))
            for place in unsure.tolist():  # one of several that end alike, or of no row
                rows[place] = self.row_of.get(int(connections[place]), -1)
        return rows

    def in_flight(self, row: int) -> int:
        """Inputs that were made and not acknowledged."""
        return int(self.newest[row] - self.acknowledged[row])

    def ack_bits(self, rows: np.ndarray) -> np.ndarray:
        """Which of the 32 datagrams before the highest were accepted; there was none before the first."""
        before = np.clip(self.highest[rows] - 1, 0, ACK_BITS).astype(np.uint64)
        bits: np.ndarray = (self.window[rows, 0] >> _ONE) & ((_ONE << before) - _ONE)
        return bits

    def takes(self, bot: Bot, now: float) -> bool:
        """Whether all is as usual with a bot that is in no row."""
        play, end, series = bot.play, bot.end, bot.kept
        if bot.away or play is None or play.newest is None or bot.seeking or not (bot.streamed or end.usable(now)):
            return False
        frames, window, newest = play.frames, play.window, play.newest
        return (
            newest.tick == frames.newest_tick == frames.baseline == series.newest
            and newest.epoch == frames.epoch
            and newest.last_seq == frames.last_seq == window.acknowledged
            and (bot.streamed or end.heard_at == bot.heard_at)
            and bot.heard_at == series.at
            and (not self.bots or self.walks.kind == (play.info.inputs, play.info.tick_hz))
            and (not bot.full or self.views is None or self.views.takes(play.info))
        )

    def enter(self, bot: Bot) -> None:
        """Give a row to a bot that `takes` has let through."""
        play, end = bot.play, bot.end
        assert play is not None
        assert play.newest is not None
        if not self._free:
            if not self.bots:
                self.walks = RandomWalks(play.info.inputs, play.info.tick_hz)
            self._grow()
        bot.row = row = self._free.pop()
        opener, sealer, acks, window = end.opener, end.sealer, end.acks, play.window
        self.row_of[end.connection], self.bots[row] = row, bot
        self.connection[row] = end.connection
        self._nearby[end.connection % NEARBY] = row
        self.up.put(row, end.keys[0], end.suite)
        self.down.put(row, end.keys[1], end.suite)
        self.head[row] = np.frombuffer(prefix(DatagramType.INPUT, end.connection), np.uint8)
        self.address[row] = np.frombuffer(bot.address.ljust(4 * ADDRESS_WORDS, b"\0"), np.uint32)
        self.streamed[row], self.links[row] = bot.streamed, bot.link if bot.streamed else None
        self.sending[row], self.full[row], self.heard_at[row] = bot.sending, bot.full, bot.heard_at
        self.highest[row] = opener.window.highest
        self.window[row] = np.frombuffer(opener.window.seen.to_bytes(8 * WORDS, "little"), "<u8")
        self.sequence[row], self.acked[row] = sealer.sequence, acks.newest_acked
        sent = _up_to(sealer.sequence, SENT_MAX)
        self.sent_at[row, sent % SENT_MAX] = np.frombuffer(acks.times)[sent % TIMES_MAX]
        self.rtt_ms[row] = math.nan if acks.rtt_ms is None else acks.rtt_ms
        self.asked_at[row], self.said_at[row] = end.asked_at, end.said_at
        self.heard_up_at[row], self.unheard[row] = end.heard_up_at, end.unheard
        self.stream[row], self.epoch[row] = play.stream & 0xFF, play.frames.epoch & 0xFF
        self.tick[row] = self.baseline[row] = play.newest.tick
        self.depth[row] = play.newest.depth
        if bot.full:
            self.views = self.views or Views(play.info)
            self.slot[row] = self.views.enter(play.frames)
        self.deep[row], self.skipped_beat[row] = play.deep, play.skipped_beat
        self.newest[row], self.acknowledged[row] = window.newest, window.acknowledged
        for seq, packed in enumerate(window.waiting, window.acknowledged + 1):
            self.made_at[row, seq % UNACKED_MAX] = play.steering.made_at(seq)
            self.inputs[row, seq % UNACKED_MAX] = np.frombuffer(packed, np.uint8)
        self.walks.packed[row] = np.frombuffer(play.packed, np.uint8)
        self.walking[row] = isinstance(bot.brain, RandomWalk)
        if isinstance(bot.brain, RandomWalk):
            self.walks.enter(row, bot.brain)
        self.seen[row] = bot.kept.seen

    def release(self, row: int) -> None:
        """Bring everything back to the bot of a row, which is free then."""
        bot = self.settle(row)
        play, end = bot.play, bot.end
        assert play is not None
        play.newest = self.newest_frame(row)
        del self.row_of[end.connection]
        self.bots[row] = self.links[row] = None
        if self._nearby[end.connection % NEARBY] == row:
            self._nearby[end.connection % NEARBY] = -1
        self.up.drop(row)
        self.down.drop(row)
        self._free.append(row)
        bot.row = -1
        window, acks, frames, sequence = end.opener.window, end.acks, play.frames, int(self.sequence[row])
        window.highest, window.seen = int(self.highest[row]), int.from_bytes(self.window[row].tobytes(), "little")
        bits, rtt_ms = int(self.ack_bits(np.array([row]))[0]), float(self.rtt_ms[row])
        acks.restore(window.highest, bits, sequence, int(self.acked[row]), None if math.isnan(rtt_ms) else rtt_ms)
        sent = _up_to(sequence, SENT_MAX)
        np.frombuffer(acks.times)[sent % TIMES_MAX] = self.sent_at[row, sent % SENT_MAX]
        end.sealer.sequence = sequence
        bot.heard_at = float(self.heard_at[row])
        if not bot.streamed:
            end.heard_at = bot.heard_at
        end.asked_at, end.said_at = float(self.asked_at[row]), float(self.said_at[row])
        end.heard_up_at, end.unheard = float(self.heard_up_at[row]), bool(self.unheard[row])
        tick, last_seq, newest = int(self.tick[row]), int(self.acknowledged[row]), int(self.newest[row])
        frames.newest_tick, frames.last_seq, frames.baseline = tick, last_seq, tick
        if bot.full:
            assert self.views is not None
            frames.baseline = int(self.baseline[row])
            self.views.leave(int(self.slot[row]), frames)
        play.deep, play.skipped_beat = int(self.deep[row]), bool(self.skipped_beat[row])
        waiting = range(last_seq + 1, newest + 1)
        play.window.restore(last_seq, [self.inputs[row, seq % UNACKED_MAX].tobytes() for seq in waiting])
        for seq in waiting:
            play.steering.made(seq, float(self.made_at[row, seq % UNACKED_MAX]))
        if isinstance(bot.brain, RandomWalk):
            play.want(**self.walks.leave(row, bot.brain))

    def newest_frame(self, row: int) -> Frame:
        """The newest frame; of a full player the newest that it could read."""
        bot = self.bot(row)
        assert bot.play is not None
        frames, tick, views = bot.play.frames, int(self.tick[row]), (NOTHING_SEEN, NOTHING_SEEN)
        if bot.full and self.views is not None:
            tick = int(self.baseline[row])
            views = self.views.at(int(self.slot[row]), tick)
        return Frame(tick, int(self.acknowledged[row]), int(self.depth[row]), frames.epoch, None, frames.layout, *views)

    def settle(self, row: int) -> Bot:
        """Bring the series of a row's bot up to date; returns the bot."""
        bot = self.bot(row)
        series, frames = bot.kept, int(self.frames[row])
        series.frames += frames
        series.packets += frames
        series.datagrams += 0 if bot.streamed else frames
        series.frame_bytes += int(self.frame_bytes[row])
        bot.frame_bytes += int(self.all_bytes[row])
        self.frames[row] = self.frame_bytes[row] = self.all_bytes[row] = 0
        series.newest, series.seen, series.at = int(self.tick[row]), int(self.seen[row]), float(self.heard_at[row])
        series.sent, series.acknowledged = int(self.newest[row]), int(self.acknowledged[row])
        self.gaps.move(row, series.gaps)
        self.rtts.move(row, series.rtt)
        return bot

    def _grow(self) -> None:
        before = len(self.bots)
        rows = max(64, 2 * before)
        if not before:
            self.inputs = np.zeros((0, UNACKED_MAX, self.walks.record.itemsize), np.uint8)
        for name in (*_COLUMNS, "inputs", "scratch"):
            column = getattr(self, name)
            wide = np.zeros((rows, *column.shape[1:]), column.dtype)
            wide[:before] = column
            setattr(self, name, wide)
        for column in (self.gaps, self.rtts, self.walks):
            column.grow(rows)
        self.bots.extend([None] * (rows - before))
        self.links.extend([None] * (rows - before))
        self.up.grow(rows)
        self.down.grow(rows)
        self._free.extend(range(rows - 1, before - 1, -1))


def _up_to(last: int, count: int) -> np.ndarray:
    """The `count` numbers up to `last`, from 1."""
    return np.arange(max(0, last - count), last) + 1
