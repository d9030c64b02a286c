"""A whole node over real sockets: honest players, games that fail, start and stop (`test_hostile`: the others)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from netcode import messages
from netcode.client import connect
from netcode.errors import ErrorCode, ProtocolError, RemoteError
from netcode.seal import DatagramType
from netcode.server_end import Channel
from profiles import MatchResult, Profiles
from server.node import PlayedGame, run_node
from server.settings import Settings
from server.start import StartFailed
from tests.server.games import Counter, Fragile, Large
from tests.server.helpers import (
    frame_when,
    last_frame,
    playing,
    refused,
    running,
    until,
)

SECRET = bytes(range(32))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_player_plays_and_the_books_agree(tmp_path: Path, transport: str) -> None:
    async with running(tmp_path) as node, playing(node, transport=transport) as (client, room):
        first = room.play.newest
        assert first is not None
        room.want(add=3)
        frame = await frame_when(room, lambda frame: frame.values("sum")[room.info.seat] >= 30)
        assert frame.values("sum")[room.info.seat] % 3 == 0
        assert frame.mine("secret", room.info.seat) == 1000 + room.info.seat
        assert frame.values("steps")[0] == frame.tick
        (occupant,) = node.occupants
        assert occupant.session.end.channel is (Channel.DATAGRAM if transport == "udp" else Channel.CONTROL)
        left = await client.leave()
        assert left.applied == left.last_seq >= room.play.window.acknowledged > 0
        assert room.left == left
        assert client.error is None
        with pytest.raises(RemoteError) as caught:
            await room.next_frame()
        assert caught.value.code is ErrorCode.NOT_SEATED
        with pytest.raises(RemoteError) as caught:
            await client.leave()
        assert caught.value.code is ErrorCode.NOT_SEATED


async def test_two_players_see_each_other(tmp_path: Path) -> None:
    async with running(tmp_path) as node, playing(node) as (_, ann), playing(node, transport="tcp") as (client, bob):
        assert ann.info.room == bob.info.room
        assert {ann.info.seat, bob.info.seat} == {0, 1}
        ann.want(add=1)
        bob.want(add=-2)
        for room in (ann, bob):
            await frame_when(
                room,
                lambda frame: frame.values("sum")[ann.info.seat] > 5 and frame.values("sum")[bob.info.seat] < -5,
            )
        await client.chat("hello")
        event = await ann.next_event()
        while event.kind != "chat":
            event = await ann.next_event()
        assert event.data == (bob.info.seat, "hello")
        (listed,) = await client.rooms("counter")
        assert (listed["room"], listed["players"], listed["seats"]) == (ann.info.room, 2, 4)
        assert (await client.stats(5))["sessions"] == 2


async def test_a_second_log_in_replaces_the_first_and_takes_its_seat(tmp_path: Path) -> None:
    async with running(tmp_path) as node, playing(node, secret=SECRET) as (first, room):
        room.want(add=5)
        before = await frame_when(room, lambda frame: frame.values("sum")[0] >= 10)
        async with playing(node, secret=SECRET) as (second, again):
            assert (again.info.room, again.info.seat) == (room.info.room, room.info.seat)
            assert again.info.generation == room.info.generation + 1
            assert second.account == first.account
            frame = await again.next_frame()
            assert frame.values("sum")[0] >= before.values("sum")[0]
            assert (await refused(last_frame(room))).code is ErrorCode.SESSION_REPLACED
            assert len(node.lobby.listing.tell(messages.ListRooms()).rooms) == 1


async def test_a_lost_player_finds_the_seat_held(tmp_path: Path) -> None:
    async with running(tmp_path, hold_s=60.0) as node, playing(node) as (_, watcher):
        async with playing(node, secret=SECRET) as (_, room):
            room.want(add=7)
            await frame_when(room, lambda frame: frame.values("sum")[room.info.seat] >= 70)
        seat = room.info.seat
        await until(lambda: node.host.rooms.by_id[room.info.room].stage.batch.rows.seated[0, seat] == 2, watcher)
        async with playing(node, secret=SECRET) as (_, again):
            assert (again.info.room, again.info.seat) == (room.info.room, seat)
            assert (await again.next_frame()).values("sum")[seat] >= 70


async def test_a_seat_is_given_up_when_its_hold_is_over(tmp_path: Path) -> None:
    async with running(tmp_path, hold_s=0.1) as node, playing(node) as (_, watcher):
        async with playing(node, secret=SECRET) as (_, room):
            pass
        seat, players = room.info.seat, node.host.rooms.by_id[room.info.room].stage.batch.ledger(room.info.room).players
        await until(lambda: players[seat] is None, watcher)


async def test_refusals_are_typed_and_the_session_goes_on(tmp_path: Path) -> None:
    async with (
        running(tmp_path, Counter({"seats": 1}), rooms_max=2) as node,
        playing(node) as (_, ann),
        connect(node.server, name="Bob") as bob,
    ):
        cases = [
            (bob.join("nogame"), ErrorCode.UNKNOWN_GAME),
            (bob.join(room="nowhere"), ErrorCode.UNKNOWN_ROOM),
            (bob.join(room=ann.info.room), ErrorCode.ROOM_FULL),
            (bob.create_room("nogame"), ErrorCode.UNKNOWN_GAME),
            (bob.leave(), ErrorCode.NOT_SEATED),
        ]
        for request, code in cases:
            with pytest.raises(RemoteError) as caught:
                await request
            assert caught.value.code is code
        own = await bob.create_room("counter")
        with pytest.raises(RemoteError) as caught:
            await bob.create_room("counter")
        assert caught.value.code is ErrorCode.TOO_MANY_ROOMS
        assert caught.value.retryable
        room = await bob.join(room=own)
        await room.next_frame()
        with pytest.raises(RemoteError) as caught:
            await bob.join("counter")
        assert caught.value.code is ErrorCode.ALREADY_SEATED
        with pytest.raises(ProtocolError, match="no input 'jump'"):
            room.want(jump=1)
        await room.next_frame()


async def test_a_log_in_is_refused_bare_and_typed(tmp_path: Path) -> None:
    async with running(tmp_path, sessions_max=1) as node, playing(node) as (_, room):
        with pytest.raises(RemoteError) as caught:
            async with connect(node.server):
                pass
        assert caught.value.code is ErrorCode.TOO_MANY_SESSIONS
        with pytest.raises(RemoteError) as caught:
            async with connect(node.server, name="a\u202eb"):
                pass
        assert caught.value.code is ErrorCode.BAD_LOGIN
        await room.next_frame()


async def test_a_name_that_grows_when_it_is_cleaned_is_welcome(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connect(node.server, name="\ufb03" * 10) as client:
        assert client.name == "ffi" * 10


async def test_an_error_in_the_callers_block_comes_out_as_it_is(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        with pytest.raises(KeyError):
            async with connect(node.server):
                raise KeyError("mine")


async def test_nobody_listens() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="connect"):
            async with connect(f"127.0.0.1:{sock.getsockname()[1]}"):
                pass


# -- games that fail, paths that do not carry ------------------------------------------------------------------------


async def test_a_failing_room_is_closed_alone_and_its_players_are_told(tmp_path: Path) -> None:
    game = Fragile()
    async with running(tmp_path, game) as node, connect(node.server) as ann, connect(node.server) as bob:
        mine = await ann.join(room=await ann.create_room("fragile"))
        other = await bob.join(room=await bob.create_room("fragile"))
        ticks: list[int] = []
        other.on_frame = lambda frame: ticks.append(frame.tick)
        await mine.next_frame()
        mine.want(add=10)
        assert (await refused(last_frame(mine))).code is ErrorCode.ROOM_CLOSED
        start = len(ticks)
        await until(lambda: len(ticks) > start + 5, other)
        assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
        assert node.metrics.rooms_quarantined == 1
        (evidence,) = (tmp_path / "evidence").iterdir()
        assert evidence.name.startswith(mine.info.room)
        assert len(evidence.read_bytes()) > 100
        again = await ann.join("fragile")
        assert again.info.room == other.info.room


async def test_a_game_that_raises_on_joining_or_opening_refuses_and_nobody_is_stuck(tmp_path: Path) -> None:
    game = Fragile()
    async with running(tmp_path, game) as node, connect(node.server) as ann:
        room = await ann.create_room("fragile")
        game.refuses_joins = True
        with pytest.raises(RemoteError) as caught:
            await ann.join(room=room)
        assert caught.value.code is ErrorCode.ROOM_CLOSED
        game.refuses_joins, game.refuses_rooms = False, True
        with pytest.raises(RemoteError) as caught:
            await ann.create_room("fragile")
        assert caught.value.code is ErrorCode.INTERNAL
        game.refuses_rooms = False
        await (await ann.join("fragile")).next_frame()


async def test_where_datagrams_do_not_pass_the_control_channel_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netcode.realtime.FALLBACK_S", 0.1)
    monkeypatch.setattr("netcode.udp.DatagramSocket.send", lambda self, packet: None)
    async with running(tmp_path) as node, playing(node) as (client, room):
        room.want(add=1)
        await frame_when(room, lambda frame: frame.values("sum")[room.info.seat] > 5)
        monkeypatch.undo()
        (occupant,) = node.occupants
        await until(lambda: occupant.session.end.channel is Channel.DATAGRAM, room)
        tick = (await room.next_frame()).tick
        await frame_when(room, lambda frame: frame.tick > tick + 5)
        assert client.error is None


async def test_frames_that_do_not_fit_into_a_datagram_go_by_the_control_channel(tmp_path: Path) -> None:
    async with running(tmp_path, Large()) as node, playing(node) as (client, room):
        frame = await frame_when(room, lambda frame: frame.tick > 5)
        assert frame.values("noise") == [1_000_000 + frame.values("steps")[0]] * 800
        assert node.metrics.frames_too_large > 0
        assert client.error is None


# -- start and stop ---------------------------------------------------------------------------------------------------


async def test_a_clean_stop_tells_the_players_and_flushes_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_results, stop = Profiles.apply_results, trio.Event()

    async def apply_late(profiles: Profiles, results: Sequence[MatchResult]) -> int:
        await stop.wait()
        return await apply_results(profiles, results)

    monkeypatch.setattr(Profiles, "apply_results", apply_late)
    async with (
        running(tmp_path, Counter({"match_ticks": 10})) as node,
        playing(node, secret=SECRET, reconnect=False) as (client, room),
    ):
        await frame_when(room, lambda frame: frame.tick % 10 == 2 and frame.tick > 20)
        node.stop.set()
        stop.set()
        assert (await refused(last_frame(room))).code is ErrorCode.SHUTTING_DOWN
        await node.stopped.wait()
        seen = room.play.newest
        assert seen is not None
        async with Profiles.open(tmp_path / "profiles.db") as profiles:
            history = await profiles.history(client.account, 100)
        assert len({row.match for row in history}) == len(history) >= seen.tick // 10
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(("127.0.0.1", node.port))
            udp.bind(("127.0.0.1", node.port))


async def fails_to_start(settings: Settings, wanted: str) -> None:
    with trio.fail_after(5), pytest.raises(StartFailed, match=wanted) as caught:
        await run_node(settings, [PlayedGame(Counter(), "counter")], stop=trio.Event())
    assert "\n" not in str(caught.value)


async def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        await fails_to_start(Settings(port=tcp.getsockname()[1], data=tmp_path), "in use.*--port")
        udp.bind(("127.0.0.1", 0))
        await fails_to_start(Settings(port=udp.getsockname()[1], data=tmp_path), "in use.*--port")
    await fails_to_start(Settings(host="192.0.2.1", port=0, data=tmp_path), "--host")


async def test_what_else_keeps_a_node_from_starting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no folder")
    await fails_to_start(Settings(port=0, data=tmp_path / "file"), "data folder.*--data")
    await fails_to_start(Settings(port=0, data=tmp_path / "file" / "deeper"), "data folder.*--data")
    await fails_to_start(Settings(port=0, data=tmp_path, tls_cert=tmp_path / "file", tls_key=tmp_path / "file"), "file")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "profiles.db").write_bytes(b"this is no database, by no means" * 100)
    await fails_to_start(Settings(port=0, data=tmp_path / "broken"), "profiles.db")


def test_a_datagram_type_is_not_reused() -> None:
    assert [kind.value for kind in DatagramType] == list(range(1, 8))
