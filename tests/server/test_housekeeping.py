"""Housekeeping: rows are there before the first tick and go after the last."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from cluster.chain import Start, choose
from cluster.memory import MemoryWorld
from game.commands import Close
from game.rows import Rows
from netcode import messages
from netcode.errors import ProtocolError
from server import housekeeping, rescue
from server.housekeeping import CLEAN_EVERY_S, EVERY_S, LEFT_MAX, LEFT_S, PLAYERS_ROWS_MAX, WELL_TICKS
from server.rooms import EMPTY_ROOM_S
from tests.cluster.helpers import entry as an_entry
from tests.server.cluster_ends import Node, Ticked, history, is_one_line, living, stored, until
from tests.server.games import Counter


def start_of(world: MemoryWorld, room: str) -> Start:
    """Where a rescuer would begin with a room, were its owner dead now."""
    entry = world.rooms[room]
    newest = [data for _, data in sorted(world.snapshots.get(room, {}).items(), reverse=True)]
    return choose(entry, newest, {entry.owner: world.journals[entry.owner].member.tip})


async def test_a_rooms_row_is_written_before_its_first_tick(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    node = Node(world, tmp_path, "a")
    async with living(node):
        node.store.faults.delay("rooms.create", 3.0)
        session = node.session()
        created: list[messages.RoomCreated | messages.Redirect] = []

        async def create() -> None:
            created.append(await node.lobby.create(session, messages.CreateRoom(game="counter", ref=1)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(create)
            await trio.sleep(2.9)
            assert (world.rooms, dict(node.rooms), node.journal.position) == ({}, {}, 0)
        (room,) = world.rooms.values()
        assert isinstance(created[0], messages.RoomCreated)
        assert created[0].room == room.room
        await trio.sleep(0.5)
        assert min(history([node], room.room)) == Ticked(1, 1, "a", room.chain[0].first)


@pytest.mark.parametrize("fault", ["busy", "lost", "unknown"])
async def test_a_room_whose_row_is_not_known_to_be_written_is_not_opened_and_leaves_nothing(
    fault: str, world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    node = Node(world, tmp_path, "a")
    async with living(node):
        getattr(node.store.faults, fault)("rooms.create")
        with pytest.raises(ProtocolError):
            await node.lobby.create(node.session(), messages.CreateRoom(game="counter", ref=1))
        assert not node.rooms
        await trio.sleep(EVERY_S)
        assert world.rooms == {}


async def test_a_row_goes_when_the_rooms_end_is_stored_and_its_snapshots_with_it(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    node = Node(world, tmp_path, "a")
    async with living(node):
        room, other = await node.open(), await node.open()
        await trio.sleep(3.0)
        node.store.faults.lost("journals.append", times=inf)
        room.stage.submit(Close(room.id))
        await until(lambda: room.id not in node.rooms)
        await trio.sleep(1.0)
        assert room.id in world.rooms, "nobody knows yet that it has ended"
        assert stored(world, room.id)
        assert start_of(world, room.id).snapshot is not None
        node.store.faults.back()
        await trio.sleep(0.5)
        assert set(world.rooms) == set(world.snapshots) == {other.id}


@pytest.mark.parametrize("how", ["closed", "failed"])
async def test_a_room_whose_end_is_not_stored_yet_is_not_taken_for_one_that_was_lost(
    how: str, world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescue, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(rescue, "LOOK_AGAIN_S", 0.0)
    one, two = Node(world, tmp_path, "a"), Node(world, tmp_path, "b")
    async with living(one, two):
        opened = await one.open()
        await trio.sleep(0.5)
        await one.kill()
        await until(lambda: opened.id in two.rooms)
        room = two.rooms[opened.id]
        assert len(world.rooms[room.id].chain) == 2, "it might be one"
        two.store.faults.lost("journals.append", times=inf)
        if how == "closed":
            room.stage.submit(Close(room.id))
        else:
            monkeypatch.setattr(Counter, "step", fail)
        await until(lambda: room.id not in two.rooms)
        await trio.sleep(1.0)
        assert two.rooms == {}
        two.store.faults.back()
        await trio.sleep(1.0)
        assert (two.rooms, world.rooms) == ({}, {})
        ticks = history([one, two], room.id)
        assert is_one_line(ticks)


def fail(game: Counter, rooms: Rows) -> None:
    raise RuntimeError("it cannot be played")


async def test_the_rooms_that_have_ended_are_not_remembered_for_ever(slow: Callable[[str], Node]) -> None:
    node = slow("a")
    for number in range(LEFT_MAX + 2):
        node.housekeeping.ended(an_entry(f"r{number}"))
    assert len(node.housekeeping.left) == LEFT_MAX


async def test_a_room_that_has_ended_is_remembered_while_its_row_is_there_and_a_little_longer(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    node = Node(world, tmp_path, "a")
    async with living(node):
        room = await node.open(players=0)
        node.store.faults.delay("rooms.delete", LEFT_S * 2)
        room.stage.submit(Close(room.id))
        await trio.sleep(LEFT_S * 1.5)
        assert list(node.housekeeping.left) == [(room.id, 1)]
        await trio.sleep(LEFT_S)
        assert room.id not in world.rooms
        other = await node.open(players=0)
        other.stage.submit(Close(other.id))
        await trio.sleep(1.0)
        assert list(node.housekeeping.left) == [(room.id, 1), (other.id, 1)]
        await trio.sleep(LEFT_S)
        node.housekeeping.ended(an_entry("later"))
        await trio.sleep(1.0)
        assert list(node.housekeeping.left) == [("later", 1)]


async def test_an_empty_room_ends_and_leaves_nothing(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    node = Node(world, tmp_path, "a")
    async with living(node):
        await node.open(players=0)
        await trio.sleep(EMPTY_ROOM_S + 3.0)
        assert (world.rooms, world.snapshots, node.snapshots.kept) == ({}, {}, {})


async def test_only_the_owner_of_the_epoch_deletes(
    world: MemoryWorld, slow: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = slow("a"), slow("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(3.0)
        deleted = one.store.faults.delay("snapshots.delete", 0.0, times=inf)
        entry, tip = world.rooms[room.id], one.journal.position
        world.rooms[room.id] = entry.claimed(two.incarnation, two.housekeeping.next, tip)
        room.stage.submit(Close(room.id))  # it was taken for dead, and does not know yet
        await until(lambda: room.id not in one.rooms)
        await trio.sleep(5.0)
        assert world.rooms[room.id].owner == two.incarnation
        assert room.id in two.rooms
        assert deleted.met == 0, "what another owner needs is not ours to delete"


async def test_a_room_that_was_taken_over_is_well_after_some_ticks_of_its_own(
    world: MemoryWorld, slow: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = slow("a"), slow("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(3.0)
        await one.kill()
        await until(lambda: room.id in two.rooms)
        two.store.faults.lost("journals.append", times=inf)  # it ticks twice, and then time waits
        await trio.sleep(1.9)
        assert (two.rooms[room.id].ticked, world.rooms[room.id].attempts) == (2, 1)
        two.store.faults.back()
        await until(lambda: two.rooms[room.id].ticked >= WELL_TICKS)
        await trio.sleep(EVERY_S + 0.1)
        assert world.rooms[room.id].attempts == 0


async def test_rows_tell_about_how_many_players_there_are(
    world: MemoryWorld, slow: Callable[[str], Node], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "PLAYERS_ROWS_MAX", 2)
    assert PLAYERS_ROWS_MAX > 2
    node = slow("a")
    async with living(node):
        rooms = [await node.open(players) for players in (1, 2, 3, 4)]
        written = node.store.faults.delay("rooms.replace", 0.0, times=inf)
        await trio.sleep(CLEAN_EVERY_S + EVERY_S)
        assert written.met == 2, "so many in a turn"
        await trio.sleep(CLEAN_EVERY_S + EVERY_S)
        assert [world.rooms[room.id].players for room in rooms] == [1, 2, 3, 4]
        await trio.sleep(CLEAN_EVERY_S + EVERY_S)
        met = written.met
        await trio.sleep(CLEAN_EVERY_S * 2)
        assert written.met == met, "what is right is not written again"


@pytest.mark.parametrize("fault", ["busy", "lost", "unknown"])
async def test_a_row_that_was_not_known_to_be_written_is_written_again(
    fault: str, world: MemoryWorld, slow: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = slow("a"), slow("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(3.0)
        await one.kill()
        await until(lambda: room.id in two.rooms)
        getattr(two.store.faults, fault)("rooms.replace", times=2)
        await trio.sleep(CLEAN_EVERY_S * 4)
        entry = world.rooms[room.id]
        assert (entry.attempts, entry.players, len(entry.chain)) == (0, 1, 1)
        assert two.rooms[room.id].entry == entry
