"""Watchers: they see what the players see, in time, and nobody else notices them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from cluster.memory import MemoryWorld
from game.commands import Close, HandOff
from game.rows import Rows
from game.view import ViewLayout
from game.whiteboard import Whiteboard
from netcode import messages
from netcode.errors import ErrorCode, ProtocolError
from netcode.frame import Frame, FrameDecoder
from netcode.session import Session
from netcode.watch import WatchEncoder
from server import watchers as module
from server.node import PlayedGame
from server.watchers import Watchers
from tests.server.cluster_ends import Node, living, until
from tests.server.games import Counter
from tests.server.helpers import FakeLink, Rig, playing, rude, running
from tests.server.test_object_rooms import drawing

EVERY = 5
"""Ticks between two frames of a watcher, at a counter's 50 a second."""


class Doomed(Counter):
    """A counter whose step raises where the last seat's sum is -1."""

    def step(self, rooms: Rows) -> None:
        if (rooms.sum[:, 3] == -1).any():
            raise RuntimeError("doomed")
        super().step(rooms)


def watch(rig: Rig, number: int, room: str) -> tuple[Session, FakeLink]:
    """Somebody who asks to watch a room, under their number as reference."""
    session, link = rig.session(number)
    rig.host.watchers.watch(session, rig.host.rooms.by_id[room], number)
    return session, link


def seen(link: FakeLink) -> list[Frame]:
    """The frames that a watcher got, read as a client reads them."""
    told = link.heard(messages.Watching)[-1]
    start = told.tick
    decoder = FrameDecoder(ViewLayout.from_description(told.view), told.stream, told.epoch, start, 0)
    frames = [decoder.receive(data) for data in link.frames]
    return [frame for frame in frames if frame is not None]


def told_of(*errors: Any) -> list[tuple[int, int]]:
    return [(error.ref, error.code) for error in errors]


async def test_a_watcher_sees_the_room_as_its_players_do(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    player, played = rig.session(1)
    rig.join(player, room, ref=1)
    rig.tick(3)
    rig.host.rooms.stages[0].batch.rows.sum[:, 0] = 100_000
    _, link = watch(rig, 2, room)
    rig.tick(1)
    assert link.told == [], "its turn has not come"
    rig.tick(26)
    (told,) = link.heard(messages.Watching)
    assert (told.ref, told.room, told.game, told.tick, told.tick_hz) == (2, room, "counter", EVERY, 50)
    assert (told.every, told.roster) == (EVERY, [player.name, "", "", ""])
    frames = seen(link)
    assert [frame.tick for frame in frames] == list(range(EVERY, 31, EVERY))
    assert [frame.values("steps") for frame in frames] == [[frame.tick] for frame in frames]
    assert all(frame.values("sum")[0] == 100_000 for frame in frames)
    assert all(frame.own.tolist() == [0] for frame in frames), "what is a seat's own is for nobody else"
    assert max(len(data) for data in link.frames[1:]) < len(link.frames[0])
    assert len(played.frames) == 30


async def test_who_comes_later_begins_with_a_full_frame_and_costs_no_other_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    _, one = watch(rig, 1, room)
    rig.tick(12)
    _, two = watch(rig, 2, room)
    rig.tick(20)
    assert [frame.tick for frame in seen(one)] == [5, 10, 15, 20, 25, 30]
    assert [frame.tick for frame in seen(two)] == [15, 20, 25, 30]
    assert [frame.values("steps") for frame in seen(two)] == [[15], [20], [25], [30]]
    encoded: list[int] = []
    bodies = WatchEncoder._bodies

    def counted(self: WatchEncoder, views: np.ndarray, current: np.ndarray, before: np.ndarray) -> list[bytes]:
        encoded.append(len(current))
        return bodies(self, views, current, before)

    monkeypatch.setattr(WatchEncoder, "_bodies", counted)
    rig.tick(EVERY)
    assert sum(encoded) == 1, "once for both"


async def test_where_nobody_watches_nothing_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    session, link = watch(rig, 1, room)
    rig.tick(EVERY)
    rig.host.watchers.unwatch(session, 7)
    rig.tick()
    assert [message.ref for message in link.heard(messages.Unwatched)] == [7]
    monkeypatch.setattr(module, "_bodies", lambda *_: pytest.fail("somebody looks at what nobody watches"))
    frames = len(link.frames)
    rig.tick(20)
    assert (len(link.frames), len(rig.host.watchers)) == (frames, 0)


async def test_events_come_from_the_frame_on_that_is_seen(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    early, _ = rig.session(1)
    rig.join(early, room, ref=1)
    rig.tick(2)
    _, link = watch(rig, 2, room)
    rig.tick(2)
    late, _ = rig.session(3)
    rig.join(late, room, ref=3)
    rig.tick()  # the 5th: joined, told, and shown
    rig.tick()
    last, _ = rig.session(4)
    rig.join(last, room, ref=4)
    rig.tick()
    happened = [event for message in link.heard(messages.Events) for event in message.events]
    assert [(tick, kind, data[0]) for tick, _, kind, data in happened] == [(5, "joined", 1), (7, "joined", 2)]
    assert [type(message) for message in link.told] == [messages.Watching, messages.Events, messages.Events]


async def test_a_seat_ends_the_watching(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    session, link = watch(rig, 1, room)
    rig.tick(EVERY)
    rig.join(session, room, ref=9)
    rig.tick(10)
    (seated,) = link.heard(messages.Seated)
    streams = [data[1] for data in link.frames]
    assert streams == [streams[0]] + [seated.stream] * 10
    assert streams[0] != seated.stream
    assert len(rig.host.watchers) == 0


async def test_who_has_a_seat_or_waits_for_one_does_not_watch(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    session, _ = rig.session(1)
    await rig.lobby.join(session, messages.Join(room=room))
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            await rig.lobby.watch(session, messages.Watch(room=room))
        assert caught.value.code is ErrorCode.ALREADY_SEATED
        rig.tick()


async def test_who_may_not_join_may_not_watch(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    opener, _ = rig.session(1, "opener")
    made = await rig.lobby.create(opener, messages.CreateRoom(game="counter", private=True))
    assert isinstance(made, messages.RoomCreated)
    stranger, link = rig.session(2)
    for wish in (messages.Watch(room=made.room), messages.Watch(room="nowhere"), messages.Watch(code="NOTACODE")):
        with pytest.raises(ProtocolError) as caught:
            await rig.lobby.watch(stranger, wish)
        assert caught.value.code is ErrorCode.UNKNOWN_ROOM
    assert await rig.lobby.watch(stranger, messages.Watch(code=made.code)) is None
    assert await rig.lobby.watch(opener, messages.Watch(room=made.room)) is None
    rig.tick(EVERY)
    assert [message.room for message in link.heard(messages.Watching)] == [made.room]


async def test_a_room_and_a_node_have_so_many_watchers_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCHERS_A_ROOM_MAX", 2)
    rig = Rig(tmp_path)
    rig.host.watchers = Watchers(3)
    one, two = rig.open(), rig.open()
    first, _ = watch(rig, 1, one)
    watch(rig, 2, one)
    with pytest.raises(ProtocolError) as caught:
        watch(rig, 3, one)
    assert caught.value.code is ErrorCode.ROOM_FULL
    watch(rig, 4, two)
    with pytest.raises(ProtocolError) as caught:
        watch(rig, 5, two)
    assert caught.value.code is ErrorCode.LIMITED
    first.lost_at = 1.0  # who is gone makes room, without a tick
    watch(rig, 6, two)
    assert len(rig.host.watchers) == 3


async def test_who_watches_another_room_leaves_the_one_before(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    one, two = rig.open(), rig.open()
    session, link = watch(rig, 1, one)
    rig.tick(EVERY)
    rig.host.watchers.watch(session, rig.host.rooms.by_id[two], 2)
    rig.tick(EVERY)
    assert [message.room for message in link.heard(messages.Watching)] == [one, two]
    assert len({data[1] for data in link.frames}) == len(link.frames) == 2, "each under a stream of its own"
    assert len(rig.host.watchers) == 1


@pytest.mark.parametrize("how", ["lost", "resumed", "ended"])
async def test_a_connection_that_ends_takes_the_watching_along(tmp_path: Path, how: str) -> None:
    rig = Rig(tmp_path)
    session, link = watch(rig, 1, rig.open())
    rig.tick(EVERY)
    if how == "lost":
        session.lost_at = 1.0
    elif how == "resumed":
        session.generation += 1
    else:
        session.ended = True
    rig.tick(20)
    assert (len(link.frames), len(rig.host.watchers)) == (1, 0)


async def test_a_room_that_ends_tells_its_watchers(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Doomed())
    closed, failed, moved = rig.open(), rig.open(), rig.open()
    links = {room: watch(rig, number, room)[1] for number, room in enumerate((closed, failed, moved), 1)}
    rig.tick(EVERY)
    waiting = watch(rig, 9, closed)[1]
    rig.host.rooms.by_id[closed].stage.submit(Close(closed))
    rig.host.rooms.by_id[moved].stage.submit(HandOff(moved, "other"))
    (stage,) = rig.host.rooms.stages
    stage.batch.rows.sum[stage.batch.row[failed], 3] = -1
    rig.tick()
    told = {room: told_of(*link.heard(messages.Error)) for room, link in links.items()}
    assert told[closed] == [(0, ErrorCode.ROOM_CLOSED.number)]
    assert told[failed] == [(0, ErrorCode.ROOM_CLOSED.number)]
    assert told[moved] == [(0, ErrorCode.ROOM_MOVING.number)]
    assert told_of(*waiting.heard(messages.Error)) == [(9, ErrorCode.ROOM_CLOSED.number)]
    assert len(rig.host.watchers) == 0


async def test_nothing_is_told_before_its_tick_is_stored(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    _, link = watch(rig, 1, rig.open())
    rig.journal.stores = False
    rig.tick(EVERY)
    assert (link.told, link.frames) == ([], [])


async def test_over_a_real_connection_and_beside_a_real_player(tmp_path: Path) -> None:
    async with running(tmp_path) as node, playing(node) as (client, room), rude(node) as peer:
        await peer.log_in()
        peer.say(messages.Watch(room=room.info.room, ref=4))
        told = await peer.hear(messages.Watching)
        assert (told.ref, told.room, told.roster[0]) == (4, room.info.room, client.name)
        decoder = FrameDecoder(ViewLayout.from_description(told.view), told.stream, told.epoch, told.tick, 0)
        room.want(add=3)
        with trio.fail_after(10):
            while True:
                frame = decoder.receive((await peer.hear(bytes))[1:])
                assert frame is not None
                if frame.values("sum")[0] >= 30:
                    break
        peer.say(messages.Unwatch(ref=5))
        assert (await peer.hear(messages.Unwatched)).ref == 5
        peer.say(messages.Unwatch(ref=6))
        assert (await peer.hear(messages.Unwatched)).ref == 6
        peer.say(messages.Watch(room="nowhere", ref=7))
        error = await peer.hear(messages.Error)
        assert (error.ref, error.name, error.fatal) == (7, "unknown_room", False)


async def test_rooms_of_objects_are_not_watched(tmp_path: Path) -> None:
    games = [PlayedGame(Whiteboard(), "whiteboard")]
    async with running(tmp_path, games) as node, drawing(node) as (_, room), rude(node) as peer:
        await peer.log_in()
        peer.say(messages.Watch(room=room.info.room, ref=1))
        assert (await peer.hear(messages.Error)).name == "not_allowed"


async def test_a_node_may_take_no_watchers(tmp_path: Path) -> None:
    async with running(tmp_path, watchers_max=0) as node, playing(node) as (_, room), rude(node) as peer:
        await peer.log_in()
        peer.say(messages.Watch(room=room.info.room, ref=1))
        error = await peer.hear(messages.Error)
        assert (error.name, error.retryable) == ("limited", True)


async def test_a_room_is_watched_where_it_is_and_again_where_it_goes(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        session, elsewhere = one.session(), two.session()
        sent = await two.lobby.watch(elsewhere, messages.Watch(room=room.id, ref=3))
        assert isinstance(sent, messages.Redirect)
        assert (sent.ref, sent.host, sent.room, sent.epoch) == (3, "a", room.id, 1)
        assert await one.lobby.watch(session, messages.Watch(room=room.id, ref=4)) is None
        await until(lambda: len(session.link.frames) == 3)
        assert await one.handoffs.drain() == 0
        (error,) = session.link.heard(messages.Error)
        assert (error.ref, error.name, error.retryable, error.fatal) == (0, "room_moving", True, False)
        sent = await one.lobby.watch(session, messages.Watch(room=room.id))
        assert isinstance(sent, messages.Redirect)
        assert (sent.host, sent.epoch) == ("b", 2)
        assert await two.lobby.watch(elsewhere, messages.Watch(room=room.id, ref=5)) is None
        await until(lambda: bool(elsewhere.link.frames))
        (told,) = elsewhere.link.heard(messages.Watching)
        (frame,) = seen(elsewhere.link)
        assert (told.ref, told.epoch, frame.epoch, frame.values("steps")) == (5, 2, 2, [frame.tick])


async def test_a_watch_that_is_refused_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCHERS_A_ROOM_MAX", 1)
    rig = Rig(tmp_path)
    one, two = rig.open(), rig.open()
    session, link = watch(rig, 1, one)
    watch(rig, 2, two)
    rig.tick(EVERY)
    with pytest.raises(ProtocolError) as caught:
        rig.host.watchers.watch(session, rig.host.rooms.by_id[two], 3)
    assert caught.value.code is ErrorCode.ROOM_FULL
    rig.tick(EVERY)
    assert [frame.tick for frame in seen(link)] == [EVERY, 2 * EVERY]
    rig.host.watchers.watch(session, rig.host.rooms.by_id[one], 4)  # its own place is its own
    rig.tick(EVERY)
    assert [told.ref for told in link.heard(messages.Watching)] == [1, 4]


async def test_every_watch_and_unwatch_is_answered_or_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    one, two = rig.open(), rig.open()
    watchers = rig.host.watchers
    session, link = watch(rig, 1, one)

    def refused(ask: Callable[[], object]) -> bool:
        with pytest.raises(ProtocolError) as caught:
            ask()
        return caught.value.code is ErrorCode.LIMITED

    assert refused(lambda: watchers.watch(session, rig.host.rooms.by_id[two], 2))
    assert refused(lambda: watchers.unwatch(session, 3))
    rig.tick(EVERY)
    assert watchers.unwatch(session, 4) is None
    assert refused(lambda: watchers.unwatch(session, 5))
    assert refused(lambda: watchers.watch(session, rig.host.rooms.by_id[two], 6))
    rig.tick()
    watchers.watch(session, rig.host.rooms.by_id[two], 7)
    rig.tick(EVERY)
    assert [told.ref for told in link.heard(messages.Watching)] == [1, 7]
    assert [told.ref for told in link.heard(messages.Unwatched)] == [4]
