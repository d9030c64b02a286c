"""Hand-off: a room has one owner after the other, whatever fails on the way, and no tick is lost or made twice."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from cluster.codec import decode_record, decode_snapshot
from cluster.memory import MemoryWorld
from cluster.model import RoomEntry
from cluster.sqlite import SqliteStore
from game.api import Option
from game.commands import Close
from game.rows import CONNECTED, HELD
from netcode import messages
from server import rescue
from server.handoff import DRAIN_S, GIVE_S, GONE_S, GROUP_EVERY_S, PLAYERS_AT_ONCE, WARN_S, had
from server.housekeeping import EVERY_S
from server.rooms import Room
from tests.server.cluster_ends import Node, history, is_one_line, living, stored, until
from tests.server.games import Counter
from tests.server.helpers import playing, running


class Newer(Counter):
    """A counter with other rules under the same name."""

    options = (*Counter.options, Option("more", 0, 0, 1, "new in this version"))


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


@pytest.fixture
def make(world: MemoryWorld, tmp_path: Path) -> Callable[[str], Node]:
    return lambda name: Node(world, tmp_path, name)


def owner(world: MemoryWorld, room: Room) -> str:
    """The node that has a room by the directory."""
    return world.rooms[room.id].owner.partition(".")[0]


def world_row(node: Node, room: Room) -> RoomEntry:
    """A room's row in the directory."""
    return node.world.rooms[room.id]


def goes_on(node: Node, room: Room, *nodes: Node) -> None:
    """The room ticks at `node`, and its whole history over `nodes` is one line."""
    (found,) = node.rooms.values()
    batch = found.stage.batch
    assert found.id == room.id
    assert batch.rows.steps[batch.row[room.id]] == batch.tick_of(room.id), "its state is that of all of its ticks"
    assert found.entry == world_row(node, room), "it knows its row"
    assert found.entry.target == ""
    seats = batch.rows.seated[batch.row[room.id]]
    assert [seat for seat in seats.tolist() if seat] == [HELD if found.entry.epoch > 1 else CONNECTED]
    ticks = history(nodes, room.id)
    assert is_one_line(ticks)
    assert ticks[0].tick == 1
    assert [other.name for other in nodes if room.id in other.rooms and not other.store.closed] == [node.name]


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


# -- a store that fails ------------------------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[Node, str], object]] = {
    "busy": lambda node, operation: node.store.faults.busy(operation, times=3),
    "lost": lambda node, operation: node.store.faults.lost(operation, times=3),
    "unknown": lambda node, operation: node.store.faults.unknown(operation, times=2),
    "slow": lambda node, operation: node.store.faults.delay(operation, 1.0, times=2),
    "hangs": lambda node, operation: node.store.faults.hang(operation),
    "hangs after": lambda node, operation: node.store.faults.hang(operation, after=True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", ["snapshots.put", "rooms.replace", "rooms.get"])
async def test_whatever_the_store_does_to_the_giver_the_room_has_one_owner(
    operation: str, fault: str, world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)

        def go_wrong() -> None:
            one.when_stopped = lambda: None
            if operation == "rooms.get":  # which it asks when it does not know what has become of its write
                one.store.faults.unknown("rooms.replace")
            FAULTS[fault](one, operation)

        one.when_stopped = go_wrong
        assert await one.handoffs.drain() == 0
        assert one.store.faults.rules[-1].met or (operation, fault) == ("rooms.get", "busy"), "busy is who writes"
        await until(lambda: room.id in two.rooms)
        await trio.sleep(1.0)
        goes_on(two, room, one, two)


@pytest.mark.parametrize("fault", ["busy", "lost", "unknown", "slow"])
@pytest.mark.parametrize("operation", ["rooms.coming_to", "snapshots.newest", "rooms.replace", "rooms.get"])
async def test_whatever_the_store_does_to_the_taker_the_room_goes_on(
    operation: str, fault: str, world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)
        if operation == "rooms.get":
            two.store.faults.unknown("rooms.replace")
        FAULTS[fault](two, operation)
        assert await one.handoffs.drain() == 0
        await until(lambda: room.id in two.rooms)
        await trio.sleep(1.0)
        goes_on(two, room, one, two)


async def test_a_snapshot_that_cannot_be_stored_in_time_brings_the_room_back_as_another_owners(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)
        one.store.faults.lost("snapshots.put", times=inf)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handoffs.drain)
            await until(lambda: room.id not in one.rooms)
            took_s = await until(lambda: room.id in one.rooms)
            assert took_s == pytest.approx(GIVE_S, abs=0.1)
            entry = world.rooms[room.id]
            assert (entry.owner, entry.epoch, entry.target) == (one.incarnation, 2, "")
            assert one.rooms[room.id].entry == entry
            await trio.sleep(0.2)
            goes_on(one, room, one, two)
            one.store.faults.back()
        await until(lambda: room.id in two.rooms)  # the drain is not over yet
        await trio.sleep(0.5)
        goes_on(two, room, one, two)
        assert world.rooms[room.id].epoch == 3


async def test_a_giver_that_does_not_know_asks_who_has_the_room_before_it_ticks_again(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handoffs.drain)
            one.when_stopped = lambda: (
                one.store.faults.hang("rooms.replace", after=True),  # given, and no answer
                one.store.faults.lost("rooms.get", times=20),
            )
            await until(lambda: room.id in two.rooms)
            await trio.sleep(GIVE_S + 3.0)
            assert one.rooms == {}
        goes_on(two, room, one, two)


async def test_a_row_that_was_written_anew_meanwhile_is_given_as_it_is(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)

        def refresh() -> None:  # housekeeping was at it when the room stopped
            world.rooms[room.id] = attrs.evolve(world.rooms[room.id], players=1, version=7)

        one.when_stopped = refresh
        assert await one.handoffs.drain() == 0
        await until(lambda: room.id in two.rooms)
        await trio.sleep(0.5)
        goes_on(two, room, one, two)
        assert (one.handoffs.given, world.rooms[room.id].epoch) == (1, 2)


# -- nodes that die ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["snapshots.put", "rooms.replace"])
async def test_a_giver_that_dies_before_it_has_given_is_a_dead_owner(
    operation: str, world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handoffs.drain)
            one.when_stopped = lambda: one.store.faults.lost(operation, times=inf)
            await until(lambda: room.id not in one.rooms)
            await trio.sleep(0.5)
            last = max(history([one], room.id)).tick
            assert (last in stored(world, room.id)) == (operation == "rooms.replace")
            assert owner(world, room) == "a"
            await one.kill()
            nursery.cancel_scope.cancel()
        await until(lambda: room.id in two.rooms)
        await trio.sleep(0.5)
        goes_on(two, room, one, two)


async def test_a_target_that_dies_before_it_begins_is_a_dead_owner(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two, three = make("a"), make("b"), make("c")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)
        two.store.faults.hang("rooms.coming_to", times=inf)
        assert await one.handoffs.drain() == 0
        await trio.sleep(1.0)
        entry = world.rooms[room.id]
        assert (entry.owner, entry.target, entry.chain[-1].first) == (two.incarnation, two.incarnation, 0)
        async with living(three):
            await two.kill()
            await until(lambda: owner(world, room) != "b")
            await trio.sleep(1.0)
            heir = one if room.id in one.rooms else three  # who leaves takes rooms of the dead if nobody else is quick
            goes_on(heir, room, one, two, three)
            assert world.rooms[room.id].epoch == 3


async def test_a_target_that_dies_while_players_are_on_their_way_is_not_given_the_room(
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
            victim, heir = (two, three) if named == "b" else (three, two)
            await victim.kill()
            for node in (one, heir):
                node.tenure.died(victim.incarnation)
            took_s = await until(lambda: world.rooms[room.id].epoch == 2)
            assert took_s == pytest.approx(WARN_S, abs=0.1)
            assert owner(world, room) == "a", "it is taken back at once"
        await until(lambda: room.id in heir.rooms)
        await trio.sleep(0.5)
        goes_on(heir, room, one, two, three)


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
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
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


# -- rooms that cannot be played there ---------------------------------------------------------------------------------


async def test_a_room_that_cannot_be_played_there_comes_back_and_is_not_given_there_again(
    world: MemoryWorld, make: Callable[[str], Node], tmp_path: Path, autojump_clock: MockClock
) -> None:
    one, other = make("a"), Node(world, tmp_path, "b", Newer())
    async with living(one, other):
        room = await one.open()
        await trio.sleep(0.5)
        await one.handoffs.drain()
        await until(lambda: room.id in one.rooms)
        await trio.sleep(1.0)
        goes_on(one, room, one, other)
        assert had(one.rooms[room.id].entry) == {other.incarnation}
        assert await one.handoffs.drain() == 1
        await trio.sleep(2.0)
        goes_on(one, room, one, other)
        assert world.rooms[room.id].epoch == 3


async def test_a_room_that_cannot_be_played_there_goes_to_who_can(
    world: MemoryWorld, make: Callable[[str], Node], tmp_path: Path, autojump_clock: MockClock
) -> None:
    one, three = make("a"), make("d")
    others = [Node(world, tmp_path, name, Newer()) for name in "bc"]
    async with living(one, three, *others):
        rooms = [await one.open() for _ in range(6)]
        await trio.sleep(0.5)
        assert await one.handoffs.drain() == 0
        await until(lambda: len(three.rooms) == 6)
        await trio.sleep(0.5)
        for room in rooms:
            assert is_one_line(history([one, three, *others], room.id))
        assert [len(node.rooms) for node in others] == [0, 0]
        assert any(entry.epoch > 2 for entry in world.rooms.values()), "some have taken the long way"


async def test_a_room_that_nobody_can_play_waits_for_who_can(
    world: MemoryWorld, make: Callable[[str], Node], tmp_path: Path, autojump_clock: MockClock
) -> None:
    one, other, late = make("a"), Node(world, tmp_path, "b", Newer()), make("c")
    async with living(one, other):
        room = await one.open()
        await trio.sleep(0.5)
        other.store.faults.hang("rooms.coming_to")
        assert await one.handoffs.drain() == 0
        await one.kill()
        other.store.faults.back()
        await other.kill()
        again = Node(world, tmp_path, "b", Newer())
        async with living(again):
            await trio.sleep(5.0)
            assert again.rooms == {}
            assert room.id in world.rooms
            async with living(late):
                await until(lambda: room.id in late.rooms)
                await trio.sleep(0.5)
                goes_on(late, room, one, other, again, late)


@pytest.mark.parametrize("how", ["damaged", "gone"])
async def test_without_a_good_snapshot_of_its_last_tick_the_room_is_replayed(
    how: str, world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(2.0)
        two.store.faults.delay("rooms.coming_to", 3.0)
        assert await one.handoffs.drain() == 0
        snapshots = world.snapshots[room.id]
        key = max(snapshots)
        assert decode_snapshot(snapshots[key]).position == world.rooms[room.id].chain[0].last
        data = snapshots.pop(key)
        if how == "damaged":
            snapshots[key] = data[:-1] + bytes([data[-1] ^ 1])
        await until(lambda: room.id in two.rooms)
        await trio.sleep(0.5)
        goes_on(two, room, one, two)
        assert (two.handoffs.taken, two.metrics.rooms_rescued) == (0, 1)


# -- others who look at rows -------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rescuers that look all the time for rooms that are theirs and not here."""
    monkeypatch.setattr(rescue, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(rescue, "LOOK_AGAIN_S", 0.0)


async def test_a_room_on_its_way_out_is_not_taken_for_one_that_was_lost(
    world: MemoryWorld, make: Callable[[str], Node], hasty: None, autojump_clock: MockClock
) -> None:
    dead, one, two = make("d"), make("a"), make("b")
    async with living(dead, one):
        room = await dead.open()
        await trio.sleep(0.5)
        await dead.kill()
        await until(lambda: room.id in one.rooms)
        one.store.faults.lost("snapshots.put", times=40)  # its chain stays long, and giving takes a second
        assert len(world.rooms[room.id].chain) == 2
        async with living(two):
            await trio.sleep(0.5)
            await one.handoffs.drain()
            await until(lambda: room.id in two.rooms)
            await trio.sleep(0.5)
            goes_on(two, room, dead, one, two)


async def test_a_room_on_its_way_in_is_not_taken_for_one_that_was_lost(
    world: MemoryWorld, make: Callable[[str], Node], hasty: None, autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(0.5)
        two.store.faults.unknown("rooms.replace")  # its row says that it is there, and it is not yet
        two.store.faults.delay("rooms.get", 1.0)
        assert await one.handoffs.drain() == 0
        await until(lambda: room.id in two.rooms)
        await trio.sleep(2.0)
        goes_on(two, room, one, two)
        assert (two.handoffs.taken, two.metrics.rooms_rescued) == (1, 0)


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
