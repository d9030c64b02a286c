"""Players over control connections in columns, against the same players one by one: the same in, the same out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked
from websockets.frames import Frame, Opcode

from bots.bot import Bot
from bots.brain import make_brain
from bots.control import Control, Identity
from bots.swarm import Swarm
from netcode import messages
from netcode.control import ControlChannel, message_bytes, realtime_bytes
from netcode.frame import HEADER
from netcode.play import Play
from netcode.realtime import ClientEnd
from netcode.seal import DatagramType
from netcode.streams import MANY
from netcode.weblink import WebSocketLink
from tests.effort import examples
from tests.netcode.queue import InputPacket, parse_input_packet
from tests.netcode.scripted import INPUT_BYTES, seated
from tests.netcode.test_streams import read
from tests.pieces import pieces_of

TICK_S = 0.05
EVENTS = messages.Events(room="r", tick=100, last_seq=0, events=[])
"""Something else that a server says."""


class Line(WebSocketLink):
    """A connection that writes down the packets that are written."""

    def __init__(self, *, web: bool) -> None:
        self.packets: list[bytes] = []
        self._is_web = web

    __slots__ = ("_is_web", "packets")
    plain_fd = -1  # there is no socket

    def write(self, data: bytes) -> None:
        self.packets += read(data, web=False, server=True)

    def write_framed(self, data: bytes | memoryview) -> None:
        self.packets += read(bytes(data), web=self._is_web, server=True)


class BareLine:
    """The same without a WebSocket."""

    plain_fd = -1

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def write(self, data: bytes | memoryview) -> None:
        self.packets += read(bytes(data), web=False, server=True)

    write_framed = write


class Connected:
    """The control of a bot, with a link and nothing else."""

    seeking = False
    reconnects = 0

    def __init__(self, link: Any) -> None:
        self.link = link
        self.sought = 0

    def seek(self) -> None:
        self.sought += 1


class Player:
    """A bot without a server. Each second one has a WebSocket."""

    def __init__(self, number: int, swarm: Swarm) -> None:
        self.web = number % 2 == 0
        self.line: Line | BareLine = Line(web=True) if self.web else BareLine()
        transport = "ws" if self.web else "tcp"
        self.bot = bot = Bot(Identity("127.0.0.1:9", transport, None, 1, number, "bot", bytes(32)), swarm, full=False)
        self.control = Connected(self.line)
        bot._control = cast(Control, self.control)
        bot.end = ClientEnd(number, bytes(32), bytes(32))
        bot.play = Play(seated(), decode=False)
        bot.play.interpolator, bot.play.steered = None, False
        bot.brain = make_brain(bot.play.info, 1, number, sees=False)
        self.channel = ControlChannel(server=False)
        self.channel.logged_in()

    def said(self) -> list[InputPacket]:
        """What it has said since the last call."""
        packets, self.line.packets = self.line.packets, []
        assert all(packet[0] == DatagramType.INPUT for packet in packets)
        return [parse_input_packet(packet[1:], INPUT_BYTES) for packet in packets]

    def books(self) -> dict[str, Any]:
        """All that counts of it."""
        bot, end, play, series = self.bot, self.bot.end, self.bot.play, self.bot.kept
        assert play is not None
        newest = play.newest
        return {
            "end": (end.proven, end.heard_at, end.asked_at, end.said_at, end.heard_up_at, end.unheard, end.fallbacks),
            "acks": (end.acks.ack, end.acks.newest_sent, end.acks.newest_acked, end.acks.rtt_ms),
            "play": (play.window.newest, play.window.acknowledged, list(play.window.waiting), play.packed),
            "beat": (play.deep, play.skipped_beat),
            "frames": (play.frames.newest_tick, play.frames.last_seq, play.frames.baseline, play.frames.epoch),
            "newest": None if newest is None else (newest.tick, newest.last_seq, newest.depth, newest.epoch),
            "bot": (bot.heard_at, bot.frame_bytes, bot.faults, bot.last_event),
            "series": (series.frames, series.packets, series.frame_bytes, series.datagrams, series.playing),
            "seen": (series.newest, series.seen, series.at),
            "gaps": series.gaps.dump(),
            "rtt": series.rtt.dump(),
        }


class Herd:
    """Players of a swarm, in columns or one by one."""

    def __init__(self, count: int, *, columns: bool) -> None:
        self.swarm = Swarm()
        self.columns = columns
        self.players = [Player(number, self.swarm) for number in range(1, count + 1)]
        self.part = self.swarm._slices[0]
        for player in self.players:
            self.swarm._slice_of[player.bot] = self.part
            self.part.bots[player.bot] = None
        if not columns:
            self.swarm.columns.takes = lambda bot, now: False  # type: ignore[method-assign]

    def open_window(self, now: float) -> None:
        self.swarm.open_window(now)
        for player in self.players:
            player.bot.kept.open(now)

    def come(self, said: Sequence[Sequence[bytes]]) -> int:
        """So many packets to each player in one piece, as the pool would have them taken. Returns how many bytes the
        crowd took."""
        pieces, taken = [], [0] * len(said)
        for player, packets in zip(self.players, said, strict=True):
            wire = [Frame(Opcode.BINARY, one).serialize(mask=False) if player.web else one for one in packets]
            pieces.append(b"".join(wire))
        some = [index for index, piece in enumerate(pieces) if piece]
        if self.columns and some:
            keys = [self.players[index].bot.end.connection for index in some]
            web = [self.players[index].web for index in some]
            done = self.swarm._streams.take(pieces_of([pieces[index] for index in some], keys, web))
            for index, count in zip(some, done.tolist(), strict=True):
                taken[index] = count
        for player, piece, count in zip(self.players, pieces, taken, strict=True):
            rest = piece[count:]
            if rest and player.web:
                rest = b"".join(message_of(rest))
            for item in player.channel.receive_data(rest) if rest else []:
                player.bot.take(item)
        return sum(taken)

    def turn(self) -> list[list[InputPacket]]:
        """What each says in its turn."""
        self.swarm._take_turns(self.part, trio.current_time())
        return [player.said() for player in self.players]

    def books(self) -> list[dict[str, Any]]:
        for player in self.players:
            self.swarm.take_back(player.bot)
        return [player.books() for player in self.players]


def message_of(wire: bytes) -> list[bytes]:
    """The payloads of a server's short messages."""
    found = []
    while wire:
        assert wire[0] == 0x82
        assert wire[1] < 126
        found.append(wire[2 : 2 + wire[1]])
        wire = wire[2 + wire[1] :]
    return found


KINDS = st.sampled_from(
    ["frame"] * 14 + ["nothing", "twice", "event", "cut", "stream", "epoch", "again", "back", "many"]
)
SAID = st.tuples(KINDS, st.integers(0, 3), st.integers(0, 7))
"""What comes to a player at a tick: what it is, how many inputs it settles, the depth it tells."""


class Server:
    """What the players of both herds are sent."""

    def __init__(self, count: int) -> None:
        self.ticks, self.epochs = [100] * count, [0] * count
        self.applied, self.newest = [0] * count, [0] * count

    def packets(self, number: int, kind: str, settles: int, depth: int) -> list[bytes]:
        """What comes to a player."""
        if kind == "nothing":
            return []
        if kind == "cut":
            return [realtime_bytes(bytes([DatagramType.FRAME, 0, 4, 0]))]
        if kind == "event":
            return [message_bytes(EVENTS), self._frame(number, 1, settles, depth)]
        if kind in ("twice", "many"):
            return [self._frame(number, 1, settles, depth) for _ in range(2 if kind == "twice" else 4)]
        self.epochs[number] += kind == "epoch"
        ahead = {"again": 0, "back": -3}.get(kind, 1)
        return [self._frame(number, ahead, settles, depth, stream=5 if kind == "stream" else 4)]

    def _frame(self, number: int, ahead: int, settles: int, depth: int, stream: int = 4) -> bytes:
        self.ticks[number] += ahead
        self.applied[number] = min(self.applied[number] + settles, self.newest[number])
        tick, last_seq = self.ticks[number] & 0xFFFF, self.applied[number] & 0xFFFF
        head = HEADER.pack(0, stream, self.epochs[number], tick, 0, last_seq, depth)
        return realtime_bytes(bytes([DatagramType.FRAME]) + head + bytes(9))


async def play(ticks: Sequence[Sequence[tuple[str, int, int]]], clock: MockClock) -> tuple[Herd, Herd, int]:
    """The same to a herd in columns and to one without; what they say must be the same at every turn. With it, how many
    bytes were taken in columns."""
    count = len(ticks[0])
    one_by_one, columns = herds = [Herd(count, columns=way) for way in (False, True)]
    server, taken = Server(count), 0
    for step, each in enumerate(ticks):
        clock.jump(TICK_S)
        if step == 2:
            for herd in herds:
                herd.open_window(trio.current_time())
        said = [server.packets(number, *what) for number, what in enumerate(each)]
        taken += sum(herd.come(said) for herd in herds)
        clock.jump(TICK_S / 2)
        told = [herd.turn() for herd in herds]
        assert told[0] == told[1]
        for number, packets in enumerate(told[0]):
            server.newest[number] = max([server.newest[number], *(packet.newest for packet in packets)])
    sought = [[player.control.sought for player in herd.players] for herd in herds]
    assert sought[0] == sought[1], "those who hear nothing ask elsewhere"
    return one_by_one, columns, taken


@settings(max_examples=examples(25), deadline=None)
@given(st.integers(1, MANY + 2).flatmap(lambda n: st.lists(st.tuples(*[SAID] * n), min_size=4, max_size=30)))
def test_columns_do_what_each_bot_would(ticks: list[tuple[tuple[str, int, int], ...]]) -> None:
    async def main() -> None:
        one_by_one, columns, _ = await play(ticks, clock)
        assert columns.books() == one_by_one.books()

    clock = MockClock()
    trio.run(main, clock=clock)


@pytest.mark.parametrize("kind", ["frame", "many"])
def test_a_calm_run_is_all_in_columns(kind: str) -> None:
    """From the second frame on, when all are in their rows."""

    async def main() -> None:
        ticks = [[("frame", 1, 0)] * MANY] * 2 + [[(kind, 1, 0)] * MANY] * 20
        one_by_one, columns, taken = await play(ticks, clock)
        rows = columns.swarm.columns.row_of
        assert len(rows) == MANY
        assert columns.swarm.columns.streamed[list(rows.values())].all()
        a_frame = len(realtime_bytes(bytes(1 + HEADER.size + 9)))
        in_columns = 1 + 20 * (4 if kind == "many" else 1)
        assert taken == MANY * in_columns * a_frame + MANY // 2 * in_columns * 2
        assert columns.books() == one_by_one.books()
        assert columns.players[0].bot.kept.frames == in_columns - 1

    clock = MockClock()
    trio.run(main, clock=clock)


def test_who_leaves_its_row_is_back_with_the_next_frame() -> None:
    """An odd frame, an event before a frame, a silence: the bot does it by itself, and says all that waits."""

    async def main() -> None:
        calm = [("frame", 1, 0)] * 3
        for odd in ("event", "epoch", "nothing"):
            ticks = [calm] * 5 + [[(odd, 0, 0), *calm[1:]]] * (8 if odd == "nothing" else 1) + [calm] * 3
            one_by_one, columns, _ = await play(ticks, clock)
            assert len(columns.swarm.columns.row_of) == 3
            assert columns.books() == one_by_one.books()

    clock = MockClock()
    trio.run(main, clock=clock)


def test_a_frame_behind_a_message_is_for_the_row_all_the_same() -> None:
    async def main() -> None:
        clock.jump(1.0)
        herd, server = Herd(2, columns=True), Server(2)
        for kind in ("frame", "frame", "event"):
            herd.turn()
            rows = [player.bot.row for player in herd.players]
            herd.come([server.packets(number, kind, 0, 0) for number in range(2)])
        assert min(rows) >= 0
        assert [player.bot.row for player in herd.players] == rows
        herd.turn()
        assert [player.bot.row for player in herd.players] == rows
        assert [herd.swarm.columns.tick[row] for row in rows] == [103, 103]
        herd.come([[realtime_bytes(b"")], []])
        assert [player.bot.row >= 0 for player in herd.players] == [False, True]
        assert herd.players[0].bot.faults == {"bad_frame": 1}

    clock = MockClock()
    trio.run(main, clock=clock)


def test_frames_over_the_control_connection_of_one_who_has_a_path_are_not_for_its_row() -> None:
    """A frame that is too large for a datagram: the bot takes it, and leaves its row."""

    async def main() -> None:
        clock.jump(1.0)
        herd = Herd(1, columns=True)
        swarm, bot = herd.swarm, herd.players[0].bot
        for tick in (101, 102):
            head = HEADER.pack(0, 4, 0, tick, 0, 0, 0)
            herd.come([[realtime_bytes(bytes([DatagramType.FRAME]) + head + bytes(9))]])
            herd.turn()
        assert bot.row >= 0
        swarm.columns.streamed[bot.row] = False
        piece = realtime_bytes(bytes([DatagramType.FRAME]) + HEADER.pack(0, 4, 0, 103, 0, 0, 0) + bytes(9))
        keys = [bot.end.connection]
        assert swarm._streams.take(pieces_of([piece], keys, [False])).tolist() == [0]
        assert np.array_equal(swarm.columns.tick[bot.row], 102)

    clock = MockClock()
    trio.run(main, clock=clock)


def test_who_was_kept_from_hearing_was_not_left_alone() -> None:
    """A process that stood still asks no other node for that; one that goes on and hears nothing does."""

    async def main() -> None:
        herd = Herd(2, columns=True)
        for step in range(3):
            clock.jump(TICK_S)
            head = HEADER.pack(0, 4, 0, 101 + step, 0, 0, 0)
            herd.come([[realtime_bytes(bytes([DatagramType.FRAME]) + head + bytes(9))]] * 2)
            herd.turn()
        herd.swarm.take_back(herd.players[0].bot)
        herd.swarm.columns.takes = lambda bot, now: False  # type: ignore[method-assign]
        herd.swarm._period_s = TICK_S
        async with trio.open_nursery() as nursery:
            nursery.start_soon(herd.swarm._clock)
            await wait_all_tasks_blocked()
            clock.jump(3.0)
            await wait_all_tasks_blocked()
            assert [player.control.sought for player in herd.players] == [0, 0]
            assert herd.players[1].bot.row >= 0
            for _ in range(60):
                clock.jump(0.01)
                await wait_all_tasks_blocked()
            assert all(player.control.sought for player in herd.players)
            nursery.cancel_scope.cancel()

    clock = MockClock()
    trio.run(main, clock=clock)
