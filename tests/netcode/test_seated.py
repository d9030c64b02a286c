"""Rooms of objects as the application has them: the view, acts, events, and all of it across a lost connection."""

from __future__ import annotations

import contextlib
from typing import Any

import attrs
import msgpack
import pytest
import trio

from netcode import messages
from netcode.acts import ACTS_MAX
from netcode.client import ObjectRoom, SavedSession, connect
from netcode.errors import ErrorCode, ProtocolError, RemoteError
from netcode.messages import Message
from tests.netcode.scripted import KEPT, Stage, board, listening

VIEW = {"strokes": [[1, 2], [3, 4]], 7: "seven"}
RESUMED = attrs.evolve(KEPT, room="b", generation=1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait before an attempt is drawn short."""
    monkeypatch.setattr("netcode.resume.FIRST_WAIT_S", 0.002)


def parts(view: Any, count: int = 1) -> list[Message]:
    data = msgpack.packb(view)
    size = -(-len(data) // count)
    return [messages.Part(room="b", part=n, data=data[n * size : (n + 1) * size]) for n in range(count)]


def told(tick: int, last_seq: int, *events: list[Any]) -> messages.Events:
    return messages.Events(room="b", tick=tick, last_seq=last_seq, events=list(events))


async def acts(stage: Stage, count: int) -> list[tuple[int, Any]]:
    got = [await stage.hear(messages.Act) for _ in range(count)]
    return [(act.seq, msgpack.unpackb(act.data)) for act in got]


async def test_a_view_acts_and_events() -> None:
    got: list[tuple[int, Any]] = []

    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(board(parts=3), *parts(VIEW, 3))
        got.extend(await acts(stage, 2))
        stage.say(told(102, 1, [102, 0, "stroke", [1]]), told(103, 2))
        await stage.stay()

    async with listening(play) as server, connect(server) as client:
        room: ObjectRoom = await client.join("board")
        assert (room.view, room.view_tick, room.info.seat, room.info.game) == (VIEW, 100, 1, "board")
        assert [await room.act({"draw": [1, 2]}), await room.act("undo")] == [1, 2]
        await room.settled()
        assert (room.acknowledged, room.tick) == (2, 103)
        assert (await room.next_event()).kind == "stroke"
        with pytest.raises(ProtocolError, match="any value of msgpack"):
            await room.act(object())
        assert room.newest == 2
    assert got == [(1, {"draw": [1, 2]}), (2, "undo")]


async def test_who_does_too_much_waits() -> None:
    go_on = trio.Event()

    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(board(), *parts(None))
        await acts(stage, ACTS_MAX)
        await go_on.wait()
        stage.say(told(101, 10))
        assert [seq for seq, _ in await acts(stage, 10)] == [ACTS_MAX + n + 1 for n in range(10)]
        stage.say(told(102, ACTS_MAX + 10))
        await stage.stay()

    async def does(room: ObjectRoom) -> None:
        for number in range(ACTS_MAX + 10):
            await room.act(number)

    async with listening(play) as server, connect(server) as client, trio.open_nursery() as nursery:
        room = await client.join("board")
        nursery.start_soon(does, room)
        while room.newest < ACTS_MAX:
            await trio.lowlevel.checkpoint()
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert room.newest == ACTS_MAX
        go_on.set()
        await room.settled(ACTS_MAX + 10)


async def test_acts_go_on_exactly_after_a_lost_connection() -> None:
    applied: list[Any] = []
    lost, back = trio.Event(), trio.Event()

    async def first(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.grant(board(), *parts("before"))
        applied.extend(value for _, value in (await acts(stage, 3))[:2])
        stage.say(told(101, 1, [101, 0, "a", []]))
        await stage.hear(messages.Chat)

    async def again(stage: Stage) -> None:
        resume = await stage.enter(messages.Resume, RESUMED)
        assert (resume.event_tick, resume.event_index) == (101, 0)
        await back.wait()
        first_part, second_part = parts("after", 2)
        stage.say(board(resumed=True, missed=True, tick=120, last_seq=2, parts=2), first_part)
        stage.say(second_part, told(120, 2, [119, 4, "b", []]))
        applied.extend(value for _, value in await acts(stage, 2))
        stage.say(told(121, 4))
        await stage.stay()

    async with listening(first, again) as server, connect(server) as client:
        client.on_pause = lost.set
        room: ObjectRoom = await client.join("board")
        for number in range(3):
            await room.act(number)
        await room.settled(1)
        await client.chat("break")
        await lost.wait()
        assert (room.paused, room.view, await room.act(3)) == (True, "before", 4)
        back.set()
        assert await client.resumed_room() is room
        assert (room.view, room.view_tick, room.events_missed, room.paused) == ("after", 120, True, False)
        await room.settled()
        assert [(await room.next_event()).kind for _ in range(2)] == ["a", "b"]
    assert applied == [0, 1, 2, 3]


async def test_a_killed_process_goes_on_after_its_last_act() -> None:
    async def again(stage: Stage) -> None:
        await stage.enter(messages.Resume, RESUMED)
        stage.say(board(resumed=True, last_seq=70_000), *parts(VIEW))
        assert await acts(stage, 1) == [(70_001, "go on")]
        stage.say(told(101, 70_001))
        await stage.stay()

    saved = SavedSession("", "a", "n", "s", b"S" * 32, 50, 3)
    async with listening(again) as server, connect(server, resume=saved) as client:
        room = await client.resumed_room()
        assert isinstance(room, ObjectRoom)
        assert (room.view, room.heard) == (VIEW, (50, 3))
        await room.act("go on")
        await room.settled()


async def test_a_connection_that_breaks_before_the_view_is_whole() -> None:
    async def first(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.grant(board(parts=2), parts(VIEW, 2)[0])

    async def again(stage: Stage) -> None:
        await stage.enter(messages.Resume, RESUMED)
        stage.say(board(resumed=True), *parts("whole"))
        await stage.stay()

    async with listening(first, again) as server, connect(server) as client:
        assert (await client.join("board")).view == "whole"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([messages.Part(room="b", part=1, data=b"\x01")], ErrorCode.BAD_MESSAGE),
        ([messages.Part(room="b", part=0, data=b"\xc1")], ErrorCode.BAD_MESSAGE),
        ([messages.Error(code=26, name="room_closed", message="failed")], ErrorCode.ROOM_CLOSED),
        ([messages.Left(room="b", seat=1, last_seq=0, applied=0)], ErrorCode.NOT_SEATED),
    ],
)
async def test_who_waits_for_a_view_is_told_why_it_does_not_come(said: list[Message], code: ErrorCode) -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(board(), *said)
        await stage.stay()

    async with listening(play) as server, connect(server) as client:
        with pytest.raises(RemoteError) as caught:
            await client.join("board")
        assert caught.value.code is code


async def test_a_part_of_no_view_is_the_servers_fault() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(board(), *parts(1), *parts(2))
        await stage.stay()

    async with listening(play) as server, connect(server) as client:
        with contextlib.suppress(RemoteError):
            room = await client.join("board")
            await room.next_event()
        assert client.error is not None
        assert client.error.code is ErrorCode.BAD_MESSAGE


async def test_who_acts_or_waits_is_told_of_the_end() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(board(), *parts(1))
        await acts(stage, 1)
        stage.say(messages.Error(code=26, name="room_closed", message="failed"))
        await stage.stay()

    async with listening(play) as server, connect(server) as client:
        room = await client.join("board")
        await room.act(1)
        with pytest.raises(RemoteError, match="failed"):
            await room.settled()
        with pytest.raises(RemoteError, match="failed"):
            await room.act(2)
        assert room.newest == 1
