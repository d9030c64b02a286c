"""Hand-off to who cannot play the room, and beside others who look at its row: it goes on, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from cluster.codec import decode_snapshot
from cluster.memory import MemoryWorld
from game.api import Option
from server import rescue
from server.handoff import had
from tests.server.cluster_ends import Node, goes_on, history, is_one_line, living, until
from tests.server.games import Counter


class Newer(Counter):
    """A counter with other rules under the same name."""

    options = (*Counter.options, Option("more", 0, 0, 1, "new in this version"))


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
