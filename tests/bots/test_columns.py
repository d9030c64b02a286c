"""Players in columns against the same players one by one: the same datagrams in, the same out, the same books."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.bot import Bot
from bots.brain import RandomWalk, RandomWalks, inside_world, make_brain
from bots.columns import gather
from bots.control import Control, Identity
from bots.rows import NEARBY
from bots.swarm import Swarm
from game.arena import Arena
from game.view import view_layout
from netcode.acks import AckTracker
from netcode.columns import AHEAD_MAX
from netcode.delta import DeltaEncoder
from netcode.frame import ACKS, BASELINES_MAX, HAS_ACKS, HEADER
from netcode.inputs import QUEUED_MAX
from netcode.packed import Packed
from netcode.play import Play
from netcode.realtime import ClientEnd
from netcode.received import Received
from netcode.seal import CLIENT_TO_SERVER, SERVER_TO_CLIENT, DatagramType, Opener, Sealer
from tests.effort import examples
from tests.netcode.queue import parse_input_packet
from tests.netcode.scripted import seated

TICK_S = 0.05
KEY_UP, KEY_DOWN = bytes(32), bytes([1]) * 32
ARENA = Arena({}, 20)
LAYOUT = view_layout(ARENA)
SHARED, OWN = DeltaEncoder(LAYOUT.shared), DeltaEncoder(LAYOUT.own)
IN_ARENA: dict[str, Any] = {
    "game": "arena", "options": dict(ARENA.option), "seat": 1, "seats": ARENA.seats, "view": LAYOUT.describe(),
    "inputs": [[field.name, field.dtype, field.low, field.high] for field in ARENA.inputs],
}  # fmt: skip
"""A seat whose player has something to see."""


class Nobody:
    """A control connection that is not there: what is asked of it is not done."""

    seeking = False
    reconnects = 0

    def seek(self) -> None:
        """No other node."""


def view(tick: int, age: int, place: int = 900) -> bytes:
    """What an arena of people who wander about shows at this tick, against that of `age` ticks before (0: nothing)."""
    shared = np.zeros((2, LAYOUT.shared_width), np.int32)
    for row, at in enumerate((tick, tick - age)):
        for field in LAYOUT.shared:
            if field.name in {"x", "y"}:
                shared[row, field.start : field.start + field.count] = (
                    place + np.arange(field.count) * 37 + at * 11 % 200
                )
    base = np.array([1 if age else -1])
    deltas = SHARED.encode(shared, np.array([0]), base), OWN.encode(np.zeros((2, OWN.width), np.int32), base * 0, base)
    return b"".join(delta.string(0) for delta in deltas)


class Player:
    """A bot without a server, and the server's keys for it."""

    def __init__(self, number: int = 1, swarm: Swarm | None = None, *, full: bool = False, **seat: Any) -> None:
        self.swarm = swarm or Swarm()
        who = Identity("127.0.0.1:9", "udp", None, 1, number, f"bot-{number}", bytes(32))
        self.bot = bot = Bot(who, self.swarm, full=full)
        bot._control = cast(Control, Nobody())
        bot.end = ClientEnd(number, KEY_UP, KEY_DOWN)
        bot.play = Play(seated(**seat), decode=full)
        bot.play.interpolator, bot.play.steered = None, False
        bot.brain = make_brain(bot.play.info, 1, number, sees=full)
        bot._inside = inside_world(bot.play.info) if full else None
        bot.address = number.to_bytes(16, "big")
        self.sealer = Sealer(KEY_DOWN, number, SERVER_TO_CLIENT)
        self.opener = Opener(KEY_UP, number, CLIENT_TO_SERVER)
        self.acks = AckTracker()
        self.baseline = -1
        self.input_bytes = sum(int(field.dtype[1]) for field in bot.play.info.inputs)
        bot.end.due(0.0)
        for kind, text in ((DatagramType.CHALLENGE, bytes(8)), (DatagramType.KEEPALIVE, b"")):
            bot.end.receive(self.sealer.seal(kind, text), 0.0)
        assert bot.end.proven

    def frame(
        self, tick: int, last_seq: int, *, depth: int = 0, acks: bool = False, stream: int = 4, epoch: int = 0
    ) -> bytes:
        """A sealed frame: of an arena for those who read it, against what they have acknowledged."""
        age = tick - self.baseline if self.bot.full and 0 < tick - self.baseline < BASELINES_MAX else 0
        head = HEADER.pack(HAS_ACKS * acks, stream, epoch, tick & 0xFFFF, age, last_seq & 0xFFFF, depth)
        body = view(tick, age) if self.bot.full else bytes(9)
        return self.sealer.seal(DatagramType.FRAME, head + (ACKS.pack(*self.acks.ack) if acks else b"") + body)

    def hears(self, datagram: bytes) -> tuple[int, int]:
        """The server takes an input packet: newest sequence, and how many inputs."""
        opened = self.opener.open(datagram)
        assert opened is not None
        self.acks.received(opened[1])
        packet = parse_input_packet(opened[2], self.input_bytes)
        self.baseline = packet.baseline
        return packet.newest, packet.count

    def books(self) -> dict[str, Any]:
        """All that counts of it."""
        bot, end, play, series = self.bot, self.bot.end, self.bot.play, self.bot.kept
        assert play is not None
        newest = play.newest
        return {
            "end": (end.proven, end.heard_at, end.asked_at, end.said_at, end.heard_up_at, end.unheard, end.fallbacks),
            "window": (end.opener.window.highest, end.opener.window.seen, end.sealer.sequence),
            "acks": (end.acks.ack, end.acks.newest_sent, end.acks.newest_acked, end.acks.rtt_ms),
            "play": (play.window.newest, play.window.acknowledged, list(play.window.waiting), play.packed),
            "beat": (play.deep, play.skipped_beat),
            "frames": (play.frames.newest_tick, play.frames.last_seq, play.frames.baseline, play.frames.epoch),
            "newest": None if newest is None else (newest.tick, newest.last_seq, newest.depth, newest.epoch),
            "bot": (bot.heard_at, bot.frame_bytes, bot.faults),
            "series": (series.frames, series.packets, series.frame_bytes, series.datagrams, series.playing),
            "view": None if newest is None else (newest.shared, newest.own),
            "seen": (series.newest, series.seen, series.at),
            "gaps": series.gaps.dump(),
            "rtt": series.rtt.dump(),
        }


class Wire:
    """A batch that writes down what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes]] = []

    def send(self, sock: socket.socket, packets: Sequence[bytes], addresses: Sequence[bytes]) -> int:
        self.sent += zip(addresses, packets, strict=True)
        return len(packets)

    def put(self, sock: socket.socket, packets: Packed, words: np.ndarray) -> int:
        return self.send(sock, packets.strings(), [address.tobytes()[:16] for address in words])

    burst = put


class Herd:
    """Players of a swarm whose sockets are a `Wire`. In columns, or one by one."""

    def __init__(self, count: int, *, columns: bool, apart: int = 1, **seat: Any) -> None:
        self.swarm, self.wire = Swarm(), Wire()
        self.swarm._out = cast(Any, self.wire)
        self.said: list[bytes] = []
        self.swarm.say = lambda bot, packet, now: self.said.append(packet)  # type: ignore[method-assign]
        self.players = [Player(number, self.swarm, **seat) for number in range(1, count * apart + 1, apart)]
        self.part = self.swarm._slices[0]
        self.part.lane = cast(socket.socket, object())
        for player in self.players:
            self.swarm._bots[player.bot.end.connection] = player.bot
            self.swarm._slice_of[player.bot] = self.part
            self.part.bots[player.bot] = None
        if not columns:
            self.swarm.columns.takes = lambda bot, now: False  # type: ignore[method-assign]

    def open_window(self, now: float) -> None:
        self.swarm.open_window(now)
        for player in self.players:
            player.bot.kept.open(now)

    def come(self, datagrams: Sequence[bytes], now: float) -> None:
        """All of them in one batch."""
        if datagrams:
            sizes = np.array([len(one) for one in datagrams], np.intp)
            blob = b"".join(one.ljust(1280, b"\xff") for one in datagrams)
            data = np.frombuffer(blob, np.uint8).reshape(-1, 1280)
            self.swarm._take(gather([Received(data, sizes, np.zeros((len(sizes), 4), np.uint32))]), now)
        self.swarm._read_now(len(self.swarm._unread))

    def turn(self, now: float) -> dict[bytes, bytes]:
        """What each sends in its turn, by its address."""
        self.wire.sent.clear()
        self.swarm._take_turns(self.part, now)
        return dict(self.wire.sent)

    @property
    def in_rows(self) -> int:
        return len(self.swarm.columns.row_of)

    def books(self) -> list[dict[str, Any]]:
        for player in self.players:
            self.swarm.take_back(player.bot)
        return [player.books() for player in self.players]


FATES = st.sampled_from(["comes"] * 8 + ["lost", "doubled", "held", "forged"])
KINDS = st.sampled_from(["frame"] * 12 + ["keepalive", "challenge", "cut", "stream", "epoch", "again", "back", "ahead"])
EVENTS = st.tuples(FATES, KINDS, st.integers(0, 3), st.integers(0, QUEUED_MAX - 1), st.booleans())
"""Of a datagram: what becomes of it, what it is, how many inputs it settles, the depth it tells, and whether acks."""


class Server:
    """What the players of both herds are sent; it takes what they send."""

    def __init__(self, herd: Herd) -> None:
        self.herd = herd
        self.ticks = [100] * len(herd.players)
        self.epochs = [0] * len(herd.players)
        self.applied = [0] * len(herd.players)
        self.newest = [0] * len(herd.players)
        self.held: list[bytes] = []

    def make(self, number: int, kind: str, settles: int, depth: int, acks: bool) -> bytes:
        player = self.herd.players[number]
        if kind == "keepalive":
            return player.sealer.seal(DatagramType.KEEPALIVE, b"")
        if kind == "challenge":
            return player.sealer.seal(DatagramType.CHALLENGE, bytes(8))
        if kind == "cut":
            return player.sealer.seal(
                DatagramType.FRAME, bytes([HAS_ACKS]) + bytes([4, self.epochs[number]]) + bytes(7)
            )
        self.ticks[number] += {"again": 0, "back": -3, "ahead": AHEAD_MAX + 5}.get(kind, 1)
        if kind == "epoch":
            self.epochs[number] += 1
            player.baseline = -1
        self.applied[number] = min(self.applied[number] + settles, self.newest[number])
        return player.frame(
            self.ticks[number], self.applied[number], depth=depth, acks=acks, epoch=self.epochs[number],
            stream=5 if kind == "stream" else 4,
        )  # fmt: skip

    def datagrams(self, events: Sequence[tuple[str, str, int, int, bool]]) -> list[bytes]:
        """What arrives now, if this becomes of a datagram to each player."""
        arrive, self.held = self.held, []
        for number, (fate, kind, settles, depth, acks) in enumerate(events):
            packet = self.make(number, kind, settles, depth, acks)
            if fate == "held":
                self.held.append(packet)
            elif fate == "forged":
                arrive.append(packet[:-1] + bytes([packet[-1] ^ 1]))
            elif fate != "lost":
                arrive += [packet] * (2 if fate == "doubled" else 1)
        return arrive

    def take(self, sent: dict[bytes, bytes]) -> None:
        for number, player in enumerate(self.herd.players):
            packet = sent.get(player.bot.address)
            if packet is not None and packet[0] & 15 == DatagramType.INPUT:
                self.newest[number] = max(self.newest[number], player.hears(packet)[0])


def play(
    events: Sequence[Sequence[tuple[str, str, int, int, bool]]], stop_after: int = 1 << 30, **players: Any
) -> tuple[Herd, Herd]:
    """The same to a herd in columns and to one without; what they send must be the same at every turn."""
    one_by_one, columns = herds = [Herd(len(events[0]), columns=way, **players) for way in (False, True)]
    server, now = Server(one_by_one), 0.0
    for step, each in enumerate(events):
        now += TICK_S
        if step == 2:
            for herd in herds:
                herd.open_window(now)
        if step == stop_after:
            for herd in herds:
                for player in herd.players:
                    player.bot.stop_inputs()
        arrive = server.datagrams(each)
        sent = []
        for herd in herds:
            herd.come(arrive, now)
            sent.append(herd.turn(now + TICK_S / 2))
        assert sent[0] == sent[1]
        assert one_by_one.said == columns.said
        server.take(sent[0])
    return one_by_one, columns


USUAL = ("comes", "frame", 1, 0, True)


LEAN: dict[str, Any] = {}
FULL = {"full": True, **IN_ARENA}
FULL_ELSEWHERE = {**FULL, "game": "elsewhere"}
"""In a game that the bots do not know: they read, and walk at random."""


@pytest.mark.parametrize("players", [LEAN, FULL, FULL_ELSEWHERE])
@settings(max_examples=examples(25), deadline=None)
@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[EVENTS] * n), min_size=4, max_size=40)))
def test_columns_do_what_each_bot_would(
    players: dict[str, Any], events: list[tuple[tuple[str, str, int, int, bool], ...]]
) -> None:
    one_by_one, columns = play(events, stop_after=len(events) - 3, **players)
    assert columns.books() == one_by_one.books()


@pytest.mark.parametrize("players", [LEAN, FULL, FULL_ELSEWHERE, {"apart": NEARBY}])
def test_a_calm_run_is_all_in_columns_and_measures_the_same(players: dict[str, Any]) -> None:
    one_by_one, columns = play([(USUAL, USUAL, USUAL)] * 100, **players)
    assert columns.in_rows == 3
    assert not any(player.bot.faults for player in columns.players)
    assert columns.books() == one_by_one.books()
    books = columns.books()[0]
    assert books["series"][0] == 98
    assert sum(books["rtt"]["counts"]) > 90
    assert books["rtt"]["max_ms"] == pytest.approx(TICK_S * 500)


BEFORE_THE_FIRST = -1


@pytest.mark.parametrize(
    ("age", "body", "faults"),
    [
        (30, view(1, 30), set()),
        (BEFORE_THE_FIRST, view(1, 30), set()),
        (0, b"\xff", {"bad_frame"}),
        (0, view(1, 0, 1600), {"outside_world"}),
    ],
    ids=["a baseline that it does not have", "one from before the first tick", "malformed", "outside"],
)
def test_what_a_full_player_cannot_read_leaves_it_where_it_was(age: int, body: bytes, faults: set[str]) -> None:
    herd = Herd(1, columns=True, **FULL)
    server, now, (player,) = Server(herd), 0.0, herd.players
    for step in range(20):
        now += TICK_S
        arrive = server.datagrams([USUAL])
        if step == 10:
            server.ticks[0] += 1
            back = server.ticks[0] + 1 if age == BEFORE_THE_FIRST else age
            head = HEADER.pack(0, 4, 0, server.ticks[0], back, server.applied[0], 0)
            arrive.append(player.sealer.seal(DatagramType.FRAME, head + body))
        herd.come(arrive, now)
        server.take(herd.turn(now + TICK_S / 2))
    assert herd.in_rows == 1
    assert set(player.bot.faults) == faults
    assert player.bot.series.newest == server.ticks[0]


@pytest.mark.parametrize("deep", [QUEUED_MAX - 1, 2])
def test_beats_are_left_out_while_inputs_wait_on_the_server(deep: int) -> None:
    shallow, crowded = USUAL, ("comes", "frame", 1, deep, True)
    one_by_one, columns = play([(shallow,)] * 5 + [(crowded,)] * 23 + [(shallow,)] * 3 + [(crowded,)] * 14)
    assert columns.in_rows == 1
    assert columns.books() == one_by_one.books()
    made = columns.players[0].bot.in_flight + columns.books()[0]["play"][1]
    assert made < 45


def test_the_window_stops_the_input_clock_and_opens_again() -> None:
    stuck = ("comes", "frame", 0, 0, True)
    one_by_one, columns = play([(USUAL,)] * 5 + [(stuck,)] * 40 + [(("comes", "frame", 3, 0, True),)] * 20)
    assert columns.in_rows == 1
    assert columns.books() == one_by_one.books()


def test_a_path_that_fails_is_left_and_taken_again() -> None:
    lost = ("lost", "frame", 1, 0, True)
    back = ("comes", "challenge", 0, 0, False), ("comes", "keepalive", 0, 0, False)
    one_by_one, columns = play([(USUAL,)] * 8 + [(lost,)] * 30 + [(back[0],), (back[1],)] + [(USUAL,)] * 5)
    assert one_by_one.said
    assert columns.in_rows == 1
    assert columns.books() == one_by_one.books()


def test_of_connections_that_end_alike_each_finds_its_row() -> None:
    herd = Herd(3, columns=True, apart=NEARBY)
    server = Server(herd)
    for step in range(1, 6):
        herd.come(server.datagrams([USUAL] * 3), step * TICK_S)
        server.take(herd.turn((step + 0.5) * TICK_S))
    ids = np.array([player.bot.end.connection for player in herd.players] + [0, 2, 2 * NEARBY], np.uint64)
    rows = [player.bot.row for player in herd.players]
    assert herd.swarm.columns.find(ids).tolist() == [*rows, -1, -1, -1]
    herd.swarm.take_back(herd.players[2].bot)
    assert herd.swarm.columns.find(ids).tolist() == [*rows[:2], -1, -1, -1, -1]


def test_many_players_decide_as_each_would() -> None:
    """All fields of all kinds: those that leap, and those that turn."""
    fields = [["a", "i1", -1, 1], ["b", "u2", 0, 65535], ["c", "u1", 3, 200], ["d", "i4", -(2**31), 2**31 - 1]]
    info = Play(seated(inputs=fields), decode=False).info
    plays = [Play(seated(inputs=fields), decode=False) for _ in range(20)]
    walks = [RandomWalk(7, number, info.inputs, info.tick_hz) for number in range(20)]
    others = [RandomWalk(7, number, info.inputs, info.tick_hz) for number in range(20)]
    columns = RandomWalks(info.inputs, info.tick_hz)
    columns.grow(32)
    for row, walk in enumerate(walks):
        columns.packed[row] = np.frombuffer(plays[row].packed, np.uint8)
        columns.enter(row, walk)
    for turn in range(200):
        rows = np.arange(20)[turn % 3 :]
        columns.decide(rows)
        for row in rows.tolist():
            plays[row].want(**others[row].decide())
            assert columns.packed[row].tobytes() == plays[row].packed
    for row, (walk, other) in enumerate(zip(walks, others, strict=True)):
        assert columns.leave(row, walk) == plays[row].held
        assert (walk.pause, walk.values, walk.dice.state) == (other.pause, other.values, other.dice.state)
