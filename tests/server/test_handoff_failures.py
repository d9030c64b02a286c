"""Hand-off when stores fail or nodes die on the way: the room has one owner all the same, and goes on."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import attrs
import pytest
import trio
from trio.testing import MockClock

from cluster.memory import MemoryWorld
from netcode import messages
from server.handoff import GIVE_S, WARN_S
from tests.server.cluster_ends import Node, goes_on, history, living, owner, stored, until

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
    operation: str, fault: str, world: MemoryWorld, slow: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = slow("a"), slow("b")
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
    operation: str, fault: str, world: MemoryWorld, slow: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = slow("a"), slow("b")
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
