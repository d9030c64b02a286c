"""Hand-off: a room has one owner after the other, and no tick is lost or made twice."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from cluster.codec import decode_record, decode_snapshot
from cluster.memory import MemoryWorld
from cluster.sqlite import SqliteStore
from game.commands import Close
from netcode import messages
from server.handoff import DRAIN_S, GIVE_S, GONE_S, GROUP_EVERY_S, PLAYERS_AT_ONCE, WARN_S
from server.housekeeping import EVERY_S
from tests.server.cluster_ends import Node, goes_on, history, living, owner, stored, until
from tests.server.helpers import playing, running

# -- the usual way -----------------------------------------------------------------------------------------------------


async def test_a_room_goes_on_elsewhere_with_the_next_tick(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)
        assert await one.handoffs.drain() == 0
        await until(lambda: room.id in two.rooms)
        entry = world.rooms[room.id]
        last = max(tick for tick in history([one], room.id))
        assert [(span.epoch, span.incarnation, span.last) for span in entry.chain] == [
            (1, one.incarnation, last.position),
            (2, two.incarnation, None),
        ]
        assert (entry.owner, entry.epoch, entry.target) == (two.incarnation, 2, "")
        assert last.tick in stored(world, room.id)
        await trio.sleep(1.0)
        goes_on(two, room, one, two)
        assert (one.handoffs.given, two.handoffs.taken) == (1, 1)
        assert one.snapshots.kept == {}
        assert min(tick for tick in history([two], room.id)).tick == last.tick + 1
        assert two.metrics.rooms_rescued == 0, "nothing had to be replayed"


async def test_players_are_sent_ahead_and_see_every_tick_here(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open(players=0)
        link, gone = one.join(room), one.join(room)
        await trio.sleep(0.5)
        lost = room.stage.occupants[room.id, 1].session
        one.host.seating.lost(room.stage.occupants[room.id, 1])
        told: list[float] = []
        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            nursery.start_soon(one.handoffs.drain)
            await until(lambda: bool(link.heard(messages.Redirect)))
            told.append(trio.current_time() - began)
            assert room.closing, "nobody is let in any more"
            await until(lambda: room.id not in one.rooms)
            told.append(trio.current_time() - began)
        assert told[0] < 0.01
        assert WARN_S <= told[1] <= WARN_S + 0.1, "it ticks here meanwhile"
        (redirect,) = link.heard(messages.Redirect)
        assert (redirect.host, redirect.room, redirect.epoch) == ("b", room.id, 1)
        assert gone.heard(messages.Redirect) == [], "who is away is not told"
        assert link.heard(messages.Error) == link.heard(messages.Left) == []
        assert lost.seat is None


async def test_rooms_go_in_groups_of_a_few_players(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        rooms = [await one.open(players=4) for _ in range(12)]
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handoffs.drain)
            for groups in (1, 2, 3):
                await trio.sleep(GROUP_EVERY_S / 2)
                assert sum(room.closing for room in rooms) == groups * PLAYERS_AT_ONCE / 4
                await trio.sleep(GROUP_EVERY_S / 2)
        await until(lambda: len(two.rooms) == 12)


async def test_nothing_is_given_before_the_last_tick_is_stored(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(1.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handoffs.drain)
            await trio.sleep(WARN_S - 0.015)  # less than a tick: the gate takes two more
            one.store.faults.lost("journals.append", times=inf)
            await until(lambda: one.rooms == {})
            await trio.sleep(0.5)
            tip = world.journals[one.incarnation].member.tip
            (stage,) = decode_record(one.records[tip], one.incarnation, tip).stages
            assert owner(world, room) == "a"
            assert stored(world, room.id)[-1] <= stage.ticks[0]
            one.store.faults.back()
        await until(lambda: room.id in two.rooms)
        await trio.sleep(0.5)
        goes_on(two, room, one, two)


# -- who is given rooms, and for how long ------------------------------------------------------------------------------


async def test_nodes_that_leave_themselves_are_given_nothing(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two, three = make("a"), make("b"), make("c")
    async with living(one, two, three):
        rooms = [await one.open() for _ in range(8)]
        two.tenure.draining = True
        await trio.sleep(1.0)
        assert await one.handoffs.drain() == 0
        await until(lambda: len(three.rooms) == len(rooms))
        assert await three.handoffs.drain() == len(rooms), "there is nobody left"
        await trio.sleep(1.0)
        assert len(three.rooms) == len(rooms)
        assert not any(room.closing for room in three.rooms.values())


async def test_a_target_that_begins_to_leave_meanwhile_is_given_nothing(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two, three = make("a"), make("b"), make("c")
    async with living(one, two, three):
        room = await one.open(players=0)
        link = one.join(room)
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handoffs.drain)
            await until(lambda: bool(link.heard(messages.Redirect)))
            named = link.heard(messages.Redirect)[0].host
            leaving, heir = (two, three) if named == "b" else (three, two)
            leaving.tenure.draining = True
            await leaving.tenure.renew()
        await until(lambda: room.id in heir.rooms)
        await trio.sleep(0.5)
        goes_on(heir, room, one, two, three)
        assert leaving.handoffs.taken == 0


async def test_a_drain_has_a_deadline(
    world: MemoryWorld, slow: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = slow("a"), slow("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)
        one.store.faults.lost("snapshots.put", times=inf)
        began = trio.current_time()
        await one.handoffs.drain()
        assert trio.current_time() - began == pytest.approx(DRAIN_S, abs=0.5)
        one.store.faults.back()
        await trio.sleep(GIVE_S + 0.5)
        goes_on(one if room.id in one.rooms else two, room, one, two)


async def test_alone_there_is_nobody_to_give_to(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    node = make("a")
    async with living(node):
        room = await node.open()
        await trio.sleep(0.5)
        began = trio.current_time()
        assert await node.handoffs.drain() == 1
        assert trio.current_time() - began < 0.1
        await trio.sleep(1.0)
        goes_on(node, room, node)


async def test_a_room_that_ends_on_its_way_is_not_waited_for(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)
        room.stage.submit(Close(room.id))
        began = trio.current_time()
        assert await one.handoffs.drain() == 0
        assert trio.current_time() - began <= WARN_S + GONE_S + GROUP_EVERY_S * 2
        await trio.sleep(EVERY_S)
        assert world.rooms == {}


# -- the end of all ----------------------------------------------------------------------------------------------------


async def test_a_node_that_ends_alone_leaves_snapshots_of_the_last_tick(tmp_path: Path) -> None:
    async with running(tmp_path) as node, playing(node) as (_, seated):
        (room,) = node.host.rooms.by_id.values()
        room.closing = True  # as a drain leaves it that ran out of time
        entry, tick = room.entry, 0
        node.parts.end_with_all()
        node.stop.set()
        await node.stopped.wait()
        assert seated.info.room == room.id
    async with SqliteStore.open(tmp_path / "cluster") as store:
        (found,) = await store.rooms.entries()
        (member,) = await store.journals.members()
        assert (found.room, found.owner, member.sealed) == (room.id, entry.owner, True)
        (data,) = (await store.snapshots.newest([room.id], 1))[room.id]
        snapshot = decode_snapshot(data)
        assert snapshot.position == member.tip
        for position in range(max(1, member.tip - 2), member.tip + 1):
            (record,) = await store.journals.read(entry.owner, position, position)
            for stage in decode_record(record, entry.owner, position).stages:
                tick = max(tick, int(stage.ticks[0]))
        assert snapshot.tick == tick, "of the very last tick"
    async with running(tmp_path) as again:
        with trio.fail_after(10.0):
            while room.id not in again.host.rooms.by_id:
                await trio.lowlevel.checkpoint()
            while not again.parts.rescuer.timings:
                await trio.lowlevel.checkpoint()
        assert again.parts.rescuer.timings[0].ticks == 0, "there was nothing to replay"
        assert again.host.rooms.by_id[room.id].entry.epoch == 2
