"""Rooms of objects over real sockets: the whiteboard, its view and its acts, across lost connections."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from game.api import Event
from game.whiteboard import Whiteboard
from netcode.client import Client, ObjectRoom, connect
from netcode.errors import ErrorCode, RemoteError
from netcode.seated import Room
from server.node import PlayedGame
from tests.server.games import Counter
from tests.server.helpers import HANG_S, Node, running, until

BLACK = ["begin", "#000000", 2, bytes(8)]


@contextlib.asynccontextmanager
async def drawing(node: Node, **options: Any) -> AsyncIterator[tuple[Client, ObjectRoom]]:
    async with connect(node.server, transport="tcp") as client:
        room = await client.join("whiteboard", **options)
        assert isinstance(room, ObjectRoom)
        yield client, room


async def heard(room: Room, kind: str) -> Event:
    """The next event of that kind."""
    with trio.fail_after(HANG_S):
        while (event := await room.next_event()).kind != kind:
            pass
    return event


async def test_two_draw_on_one_board_and_a_third_sees_all_of_it(tmp_path: Path) -> None:
    async with running(tmp_path, Whiteboard()) as node, drawing(node) as (_, ann), drawing(node) as (_, bob):
        assert ann.view["strokes"] == []
        await ann.act(BLACK)
        await ann.act(["extend", bytes(4)])
        await bob.act(["cursor", 7, 8])
        assert (await heard(bob, "begin")).data == (1, ann.info.seat, "#000000", 2, bytes(8))
        assert (await heard(bob, "extend")).data == (1, bytes(4))
        assert (await heard(ann, "cursor")).data == (bob.info.seat, 7, 8)
        await ann.settled()
        async with drawing(node) as (_, eve):
            assert eve.view["strokes"] == [[1, ann.info.seat, "#000000", 2, bytes(12)]]
            await ann.act(["end"])
            await ann.act(["undo"])
            assert (await heard(eve, "undo")).data == (1,)


async def test_many_acts_at_once_are_applied_once_each_and_in_order(tmp_path: Path) -> None:
    quick = Whiteboard(None, 128)  # a tick takes a few of a seat's acts, and there are many
    async with running(tmp_path, quick) as node, drawing(node) as (_, ann), drawing(node) as (_, bob):
        for number in range(600):
            await ann.act(["cursor", number, 0])
        with trio.fail_after(HANG_S * 2):
            await ann.settled()
        assert ann.acknowledged == 600
        seen = [(await heard(bob, "cursor")).data[1] for _ in range(10)]
        assert seen == sorted(set(seen))


async def test_acts_go_on_after_a_lost_connection(tmp_path: Path) -> None:
    async with running(tmp_path, Whiteboard()) as node, drawing(node) as (client, ann), drawing(node) as (_, bob):
        await ann.act(BLACK)
        await ann.settled()
        (session,) = [found.session for found in node.people if found.session.account == client.account]
        session.link.close()
        for number in range(20):  # made while it is away
            await ann.act(["extend", bytes([number, 0, 0, 0])])
        with trio.fail_after(HANG_S):
            await ann.settled()
        assert client.resumes == 1
        points = b"".join([(await heard(bob, "extend")).data[1] for _ in range(20)])
        assert points == b"".join(bytes([number, 0, 0, 0]) for number in range(20))
        assert ann.view["strokes"][0][:4] == [1, ann.info.seat, "#000000", 2]
        assert node.metrics.sessions_resumed == 1


async def test_what_the_game_does_not_take_is_refused_and_the_room_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, Whiteboard()) as node, drawing(node) as (client, ann):
        for value in ({"no": "act"}, ["begin", "red", 2, b""], [["deep"] * 9] * 9, None, 2**63):
            await ann.act(value)
        await ann.settled()
        assert ann.acknowledged == 5
        assert client.error is None
        assert node.metrics.rooms_quarantined == 0


async def test_games_of_both_tiers_on_one_server(tmp_path: Path) -> None:
    games = [PlayedGame(Counter(), "counter"), PlayedGame(Whiteboard(), "whiteboard")]
    async with running(tmp_path, games) as node, drawing(node) as (client, board), connect(node.server) as other:
        assert client.games == ["counter", "whiteboard"]
        room = await other.join("counter")
        await board.act(["cursor", 1, 2])
        await board.settled()
        assert not isinstance(room, ObjectRoom)
        await room.next_frame()
        assert {entry["game"] for entry in await client.rooms()} == {"counter", "whiteboard"}
        await client.leave()
        await until(lambda: node.lobby.room_count == 2)
        with pytest.raises(RemoteError) as caught:
            await board.act(["cursor", 1, 2])
        assert caught.value.code is ErrorCode.NOT_SEATED
