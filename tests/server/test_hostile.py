"""Peers who do not behave cost their own connection: a real node, a player who plays on, and all that is rude."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio

from netcode import messages
from netcode.client import SeatedRoom, connect
from netcode.control import PROTOCOL, message_bytes, realtime_bytes
from netcode.errors import ErrorCode
from netcode.realtime import ClientEnd
from server.door import HALF_OPEN_MAX
from server.host import CATCH_UP_MAX
from server.metrics import rss_mb
from tests.hostile.attack import ATTACKS
from tests.hostile.kit import Target
from tests.server.games import Large
from tests.server.helpers import (
    HANG_S,
    Node,
    datagram,
    datagrams,
    playing,
    rude,
    running,
    until,
)

BOMB = b"\x81\xa1t" + b"\x91" * 60_000
EARLY_BOMB = BOMB[:10_000]
HELLO = messages.Hello(protocol=PROTOCOL)
LOGIN = messages.Login(secret=b"y" * 16)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (struct.pack("<I", 2**31) + b"\x00rest", ErrorCode.TOO_LARGE),
        (struct.pack("<I", 0), ErrorCode.TOO_LARGE),
        (struct.pack("<IB", 1 + len(EARLY_BOMB), 0) + EARLY_BOMB, ErrorCode.BAD_MESSAGE),
        (struct.pack("<IB", 1 + len(BOMB), 0) + BOMB, ErrorCode.TOO_LARGE),
        (message_bytes(LOGIN), ErrorCode.OUT_OF_TURN),
        (message_bytes(HELLO) * 2, ErrorCode.OUT_OF_TURN),
        (message_bytes(HELLO) + message_bytes(messages.Join(game="counter")), ErrorCode.OUT_OF_TURN),
        (message_bytes(HELLO) + realtime_bytes(b"\x01rest"), ErrorCode.OUT_OF_TURN),
        (message_bytes(HELLO) + message_bytes(LOGIN) * 2, ErrorCode.OUT_OF_TURN),
        (message_bytes(messages.Hello(protocol=PROTOCOL + 1)), ErrorCode.WRONG_VERSION),
        (struct.pack("<IB", 3, 7) + b"ab", ErrorCode.OUT_OF_TURN),
        (message_bytes(HELLO) + struct.pack("<IB", 5, 0) + msgpack.packb({"t": 1}) + b"", ErrorCode.BAD_MESSAGE),
    ],
)
async def test_a_broken_greeting_costs_its_own_connection(tmp_path: Path, said: bytes, code: ErrorCode) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room), rude(node) as peer:
        peer.link.write(said)
        error = await peer.hear(messages.Error)
        assert (error.code, error.fatal) == (code.number, True)
        if code is ErrorCode.WRONG_VERSION:
            assert str(PROTOCOL) in error.message
            assert str(PROTOCOL + 1) in error.message
        await peer.ended()
        await only(node, 1)
        await room.next_frame()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (message_bytes(HELLO), ErrorCode.OUT_OF_TURN),
        (message_bytes(LOGIN), ErrorCode.OUT_OF_TURN),
        (realtime_bytes(b""), ErrorCode.BAD_MESSAGE),
        (realtime_bytes(b"\x02frames come from the server"), ErrorCode.BAD_MESSAGE),
        (realtime_bytes(b"\x01short"), ErrorCode.BAD_MESSAGE),
        (struct.pack("<IB", 1 + len(BOMB), 0) + BOMB, ErrorCode.BAD_MESSAGE),
        (struct.pack("<I", 70_000), ErrorCode.TOO_LARGE),
    ],
)
async def test_a_member_who_breaks_the_protocol_costs_its_own_session(
    tmp_path: Path, said: bytes, code: ErrorCode
) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room), rude(node) as peer:
        await peer.log_in()
        await peer.seat()
        assert node.metrics.sessions_opened == 2
        peer.link.write(said)
        error = await peer.hear(messages.Error)
        assert (error.code, error.fatal) == (code.number, True)
        await peer.ended()
        await only(node, 1)
        await room.next_frame()


async def only(node: Node, seated: int) -> None:
    """Wait until so many sit somewhere and are connected, and no connection counts as half open."""
    await until(lambda: sum(occupant.session.lost_at is None for occupant in node.occupants) == seated)
    async with playing(node) as (client, room):
        with trio.fail_after(HANG_S):
            while (await client.stats())["half_open"]:
                await room.next_frame()


async def test_plain_garbage_instead_of_tls(tmp_path: Path) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room):
        for _ in range(5):
            with trio.socket.socket() as sock:
                await sock.connect(("127.0.0.1", node.port))
                await sock.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(2000))
                with trio.fail_after(5), contextlib.suppress(ConnectionResetError):
                    while await sock.recv(4096):
                        pass
        await only(node, 1)
        await room.next_frame()


async def test_many_log_ins_in_one_piece_make_one_session(tmp_path: Path) -> None:
    async with running(tmp_path) as node, rude(node) as peer:
        logins = [messages.Login(secret=bytes([n]) * 16) for n in range(50)]
        peer.say(HELLO, *logins)
        await peer.hear(messages.Error)
        assert node.metrics.sessions_opened <= 1
        await only(node, 0)


async def test_nobody_says_anything_before_the_log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.visitor.LOGIN_S", 0.2)
    async with running(tmp_path) as node, rude(node) as peer:
        peer.say(HELLO)
        error = await peer.hear(messages.Error)
        assert (error.code, error.fatal) == (ErrorCode.TIMED_OUT.number, True)
        await peer.ended()
        monkeypatch.undo()
        await only(node, 0)


async def test_inputs_while_the_seat_is_still_asked_for(tmp_path: Path) -> None:
    """A datagram of the former seat is on its way when the next seat is asked for: it is for nobody."""
    async with running(tmp_path) as node, playing(node) as (_, room), rude(node) as peer:
        welcome = await peer.log_in()
        end = ClientEnd(welcome.connection, welcome.key_up, welcome.key_down)
        with datagrams(node) as sock:
            for _ in range(20):
                peer.say(messages.Join(game="counter"))
                for _ in range(20):
                    sock.send(end.seal_input(bytes(15), 0.0))
                    await trio.lowlevel.checkpoint()
                await peer.hear(messages.Seated)
                peer.say(messages.Leave())
                await peer.hear(messages.Left)
        await room.next_frame()


async def test_hostile_datagrams_meet_silence_and_a_counter(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        await hostile_datagrams(tmp_path, stack)


async def hostile_datagrams(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room), rude(node) as peer:
        welcome = await peer.log_in()
        await peer.seat()
        end = ClientEnd(welcome.connection, welcome.key_up, welcome.key_down)
        sock = stack.enter_context(datagrams(node))
        forger = ClientEnd(welcome.connection, bytes(32), bytes(32))
        stranger = ClientEnd(welcome.connection ^ 1, welcome.key_up, welcome.key_down)
        genuine = end.due(0.0)
        assert genuine is not None
        sock.send(genuine)
        challenge = await datagram(sock)
        assert len(challenge) <= 35
        before = node.metrics.figures(0.0, 60)
        for packet in (
            b"", b"x", bytes(26), bytes(27), bytes(1200), bytes(1400),
            genuine, genuine[:-1] + b"\0", stranger.seal_input(b"x", 0.0), b"\x21" + genuine[1:],
            *(forger.seal_input(b"x", 0.0) for _ in range(3)),
        ):  # fmt: skip
            sock.send(packet)
        sock.send(end.seal_input(b"\x00\x01 genuine, of this seat, but no input packet", 0.0))
        await until(lambda: node.metrics.inputs_malformed == before["inputs_malformed"] + 1, room)
        after = node.metrics.figures(0.0, 60)
        assert after["drops"]["unknown"] - before["drops"]["unknown"] >= 4
        assert after["drops"]["replayed"] == before["drops"]["replayed"] + 3
        assert after["drops"]["forged"] == before["drops"]["forged"] + 2
        assert after["drops"]["version"] == before["drops"]["version"] + 1
        assert after["sessions_lost"] == 0
        with pytest.raises(BlockingIOError):
            sock.recv(2048)


async def test_a_client_that_stops_reading_is_too_slow(tmp_path: Path) -> None:
    async with running(tmp_path, Large()) as node, playing(node) as (_, room), rude(node) as peer:
        await peer.log_in()
        seated = await peer.seat("large")
        start = room.play.newest
        assert start is not None
        packet = struct.pack("<BBHIHHHB", 0, seated.stream, 0, 0, 0, 0, 0, 0)
        peer.link._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ticks: list[int] = []
        room.on_frame = lambda frame: ticks.append(frame.tick)
        with trio.fail_after(10):
            while not node.metrics.links_too_slow:
                peer.link.write(realtime_bytes(b"\x01" + packet))
                peer.say(*[messages.ListRooms()] * 200)
                await room.next_frame()
        await until(lambda: len(ticks) > 5, room)
        assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
        await only(node, 1)


async def test_a_flood_of_chat_is_limited_and_told_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room), rude(node) as peer:
        await peer.log_in()
        await peer.seat()
        for _ in range(3):
            peer.say(*[messages.Chat(text="spam", ref=5)] * 3000)
        error = await peer.hear(messages.Error)
        assert (error.code, error.ref, error.fatal) == (ErrorCode.LIMITED.number, 5, False)
        ids: list[tuple[int, int]] = []
        with trio.move_on_after(0.3):
            while True:
                event = await room.next_event()
                ids.append((event.tick, event.index))
        assert len(ids) > 1
        assert ids == sorted(set(ids))
        await room.next_frame()


async def test_replaced_log_ins_that_hang_up_cost_nobody_else(tmp_path: Path) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room):
        for _ in range(12):
            async with connect(node.server, secret=b"s" * 16) as first, connect(node.server, secret=b"s" * 16):
                while first.error is None:
                    await room.next_frame()
                assert first.error is not None
                assert first.error.code is ErrorCode.SESSION_REPLACED
        before = room.play.frames.newest_tick
        await until(lambda: room.play.frames.newest_tick >= before + 5, room)


async def test_a_flood_of_requests_is_refused_and_delays_nobody(tmp_path: Path) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room), rude(node) as peer:
        await peer.log_in()
        tick_s = 1.0 / room.info.tick_hz
        async with trio.open_nursery() as nursery:
            took_s: list[float] = []
            nursery.start_soon(time_frames, room, took_s)
            peer.say(*(messages.ListRooms(ref=number) for number in range(1, 1001)))
            answers = [await peer.hear(messages.Message) for _ in range(1000)]
            await room.next_frame()
            nursery.cancel_scope.cancel()
    codes = [answer.code for answer in answers if isinstance(answer, messages.Error)]
    assert set(codes) == {ErrorCode.LIMITED.number}
    assert len(codes) > 900
    assert max(took_s) < tick_s * CATCH_UP_MAX, "no tick was skipped"


async def time_frames(room: SeatedRoom, took_s: list[float]) -> None:
    """Write down the time that all of us, who are one thread, take from frame to frame; what other processes of a busy
    machine take is none of it."""
    while True:
        began = time.thread_time()
        await room.next_frame()
        took_s.append(time.thread_time() - began)


# -- a slice of `make hostile`: the same attackers, a few units of each, no look at the clock --------------------------


@pytest.mark.parametrize(
    ("name", "units", "counted"),
    [
        ("udp_forged", 2000, "drops.forged"),
        ("half_open", 1500, "limits.half_open"),
        ("connects", 400, "limits.connections"),
        ("bombs", 12, ""),
        ("inputs", 1000, "drops.excess"),
        ("requests", 3000, "limits.requests"),
        ("resumes", 10, "limits.failed_logins"),
        ("web_requests", 22, "limits.upgrades"),
        ("web_frames", 14, "sessions_lost"),
        ("web_pings", 1000, "sessions_lost"),
        ("web_fragments", 20_000, "limits.pauses"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # attackers hang up without a goodbye
async def test_an_attack_costs_nobody_else_anything(tmp_path: Path, name: str, units: int, counted: str) -> None:
    async with running(tmp_path, limit_loopback=True) as node, playing(node) as (client, room):
        before = rss_mb()
        victims = [occupant.session.end.connection for occupant in node.occupants]
        ticks: list[int] = []
        room.on_frame = lambda frame: ticks.append(frame.tick)
        steps = ATTACKS[name].run(Target(node.port, victims))
        await trio.to_thread.run_sync(fire, steps, units)
        await until(lambda: not counted or counter(node, counted) > 0, room)
        steps.close()  # type: ignore[attr-defined]
        await until(lambda: len(ticks) > 10, room)
        assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
        assert client.error is None
        assert rss_mb() < before + 100
        await only(node, 1)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_a_genuine_player_is_through_while_silent_connections_fill_the_door(tmp_path: Path) -> None:
    async with running(tmp_path, limit_loopback=True) as node:
        steps = ATTACKS["half_open"].run(Target(node.port, []))
        await trio.to_thread.run_sync(fire, steps, 1200)
        await until(lambda: node.metrics.limits.half_open > 0)
        async with playing(node) as (client, room):
            figures = await client.stats()
            await room.next_frame()
        assert figures["half_open"] == HALF_OPEN_MAX - 1
        steps.close()  # type: ignore[attr-defined]


def fire(steps: Iterator[int], units: int) -> None:
    """Let so many units of an attack go out, as fast as they can."""
    while units > 0:
        units -= next(steps)


def counter(node: Node, name: str) -> int:
    """One of the node's counters, such as drops.forged."""
    found: Any = node.metrics
    for part in name.split("."):
        found = getattr(found, part)
    return int(found)
