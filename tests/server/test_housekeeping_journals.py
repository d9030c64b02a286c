"""Housekeeping of journals: nothing is cut or removed that a room may need, and what nothing needs goes."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from cluster.chain import choose
from cluster.codec import decode_snapshot
from cluster.errors import ClusterError
from cluster.memory import MemoryWorld
from cluster.model import Span
from cluster.store import PRUNE_BYTES_MAX
from game.commands import Close
from server import housekeeping
from server.housekeeping import CLEAN_EVERY_S, REMOVE_AFTER_S
from server.rooms import EMPTY_ROOM_S
from tests.cluster.helpers import entry as an_entry
from tests.cluster.helpers import member
from tests.server.cluster_ends import SLOW_HZ, Node, history, is_one_line, living, stored, until
from tests.server.games import Counter


@pytest.fixture
def keen(monkeypatch: pytest.MonkeyPatch) -> None:
    """House is kept all the time: whatever may be cut is cut."""
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.05)
    monkeypatch.setattr(housekeeping, "CLEAN_EVERY_S", 0.1)


def can_be_had(world: MemoryWorld, room: str) -> bool:
    """Whether every record is there that a rescuer might read, whichever of the snapshots turns out to be damaged."""
    entry = world.rooms[room]
    tips = {entry.owner: world.journals[entry.owner].member.tip}
    newest = [data for _, data in sorted(world.snapshots.get(room, {}).items(), reverse=True)]
    starts = [choose(entry, newest[at:], tips) for at in range(max(1, len(newest)))]
    return all(
        position in world.journals[piece.incarnation].records
        for start in starts
        for piece in start.slices
        for position in range(piece.first, piece.last + 1)
    )


# -- our journal -------------------------------------------------------------------------------------------------------


async def test_the_journal_is_cut_behind_the_oldest_snapshot_that_is_kept_and_no_further(
    world: MemoryWorld, slow: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    node = slow("a")
    async with living(node):
        rooms = [await node.open() for _ in range(3)]
        for _ in range(30):
            await trio.sleep(0.5)
            assert all(can_be_had(world, room.id) for room in rooms)
        positions = [decode_snapshot(data).position for room in rooms for data in world.snapshots[room.id].values()]
        assert min(positions) - 10 <= node.positions[0] <= min(positions) + 1, "and what is not needed is gone"


async def test_as_long_as_there_are_no_three_snapshots_it_is_kept_from_the_rooms_beginning_on(
    world: MemoryWorld, slow: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    node = slow("a")
    async with living(node):
        old = await node.open()
        await trio.sleep(10.0)
        node.store.faults.lost("snapshots.put", times=inf)
        young = await node.open()
        first = young.entry.chain[0].first
        await trio.sleep(10.0)
        assert can_be_had(world, old.id)
        assert can_be_had(world, young.id)
        assert node.positions[0] <= first
        node.store.faults.back()
        await trio.sleep(10.0)
        assert node.positions[0] > first


async def test_what_a_room_needs_whose_end_is_not_stored_is_kept(
    world: MemoryWorld, slow: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    node, other = slow("a"), slow("b")
    async with living(node, other):
        room = await node.open()
        await trio.sleep(5.0)
        node.store.faults.lost("journals.append", times=inf)
        room.stage.submit(Close(room.id))
        await until(lambda: room.id not in node.rooms)
        await trio.sleep(1.0)
        assert can_be_had(world, room.id)
        await node.kill()
        await until(lambda: room.id in other.rooms)  # it has not ended
        await trio.sleep(1.0)
    assert is_one_line(history([node, other], room.id))


async def test_what_a_room_needs_that_is_being_given_away_is_kept(
    world: MemoryWorld, slow: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    one, two = slow("a"), slow("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(5.0)
        one.store.faults.lost("snapshots.put", times=inf)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handoffs.drain)
            await until(lambda: room.id not in one.rooms)
            await trio.sleep(1.5)
            assert room.id not in one.rooms
            assert can_be_had(world, room.id)
            await one.kill()
            nursery.cancel_scope.cancel()
        await until(lambda: room.id in two.rooms)
        await trio.sleep(1.0)
    assert is_one_line(history([one, two], room.id))


async def test_what_a_room_needs_that_was_taken_back_is_kept(
    world: MemoryWorld, slow: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    one, two = slow("a"), slow("b")
    async with living(one, two):
        one.store.faults.lost("snapshots.put", times=inf)
        room = await one.open()
        await trio.sleep(2.0)
        with trio.move_on_after(4.0):
            await one.handoffs.drain()
        await until(lambda: room.id in one.rooms and one.rooms[room.id].entry.epoch == 2)
        await trio.sleep(1.0)
        assert stored(world, room.id) == []
        assert can_be_had(world, room.id), "from its seed, through both of its lives here"
        await one.kill()
        await until(lambda: room.id in two.rooms)
        await trio.sleep(1.0)
    assert is_one_line(history([one, two], room.id))


async def test_what_a_room_needs_that_others_own_by_now_is_kept_until_its_chain_is_shorter(
    world: MemoryWorld, slow: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    one, two = slow("a"), slow("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(5.0)
        two.store.faults.lost("snapshots.put", times=inf)
        assert await one.handoffs.drain() == 0
        await trio.sleep(5.0)
        assert (two.rooms[room.id].entry.owner, one.rooms) == (two.incarnation, {})
        assert can_be_had(world, room.id), "also from snapshots of its former owner"
        two.store.faults.back()
        await trio.sleep(10.0)
        assert [span.incarnation for span in world.rooms[room.id].chain] == [two.incarnation]
        assert one.positions == []
        assert can_be_had(world, room.id)


async def test_what_a_room_may_need_that_is_being_recovered_is_kept(
    world: MemoryWorld, slow: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    one, two, three = slow("a"), slow("b"), slow("c")
    async with living(one):
        room = await one.open()
        await trio.sleep(5.0)
        async with living(two):
            busy = await two.open()
            two.store.faults.delay("snapshots.newest", 20.0)
            await one.kill()
            await until(lambda: world.rooms[room.id].owner == two.incarnation)
            await trio.sleep(15.0)
            assert room.id not in two.rooms
            first = world.rooms[room.id].chain[-1].first
            assert first < two.journal.position
            assert can_be_had(world, room.id)
            assert two.positions[0] == first
            await two.kill()  # before it has ticked there
        async with living(three):
            await until(lambda: {room.id, busy.id} <= set(three.rooms))
            await trio.sleep(1.0)
    for found in (room.id, busy.id):
        assert is_one_line(history([one, two, three], found))


async def test_a_journal_is_cut_in_pieces(
    world: MemoryWorld, slow: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    node = slow("a")
    async with living(node):
        await node.open()
        await trio.sleep(CLEAN_EVERY_S - 2.0)
        for position in node.positions:
            dict.__setitem__(node.records, position, bytes(PRUNE_BYTES_MAX // 2))
        large = len(node.positions)
        pieces = node.store.faults.delay("journals.prune", 0.0, times=inf)
        await until(lambda: node.positions[0] > large, within_s=CLEAN_EVERY_S * 4)
        assert pieces.met >= large / 2


async def test_journals_that_are_to_be_kept_are_kept(
    world: MemoryWorld, tmp_path: Path, keen: None, autojump_clock: MockClock
) -> None:
    one = Node(world, tmp_path, "a", Counter(None, SLOW_HZ), keep_journals=True)
    two = Node(world, tmp_path, "b", Counter(None, SLOW_HZ), keep_journals=True)
    async with living(one, two):
        await one.open()
        await trio.sleep(10.0)
        assert one.positions[0] == 1
        await one.kill()
        await trio.sleep(REMOVE_AFTER_S + 10.0)
        assert one.incarnation in world.journals


# -- dead journals -----------------------------------------------------------------------------------------------------


async def test_a_dead_journal_goes_a_while_after_no_chain_names_it_any_more(
    world: MemoryWorld, slow: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = slow("a"), slow("b")
    async with living(one, two):
        room = await one.open()
        await trio.sleep(5.0)
        two.store.faults.lost("snapshots.put", times=inf)
        await one.kill()
        await trio.sleep(REMOVE_AFTER_S * 2)
        assert one.incarnation in world.journals
        assert one.incarnation in {span.incarnation for span in world.rooms[room.id].chain}
        two.store.faults.back()
        await trio.sleep(CLEAN_EVERY_S * 3)
        assert [span.incarnation for span in world.rooms[room.id].chain] == [two.incarnation]
        await trio.sleep(CLEAN_EVERY_S)
        assert one.incarnation not in world.journals
        assert can_be_had(world, room.id)


async def test_a_journal_that_somebodys_room_names_stays_and_one_that_was_just_sealed_as_well(
    world: MemoryWorld, slow: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    node, other = slow("a"), world.store()
    named, unnamed, owner = member("x"), member("y"), member("z")
    for one in (named, unnamed, owner):
        await other.journals.open(one)
        await other.journals.seal(one.incarnation)
    elsewhere = an_entry("elsewhere", owner.incarnation, epoch=2, game="another")
    chain = (Span(1, named.incarnation, 1, 0), Span(2, owner.incarnation, 1))
    await other.rooms.create(attrs.evolve(elsewhere, chain=chain))
    async with living(node):
        await trio.sleep(REMOVE_AFTER_S - 2.0)
        assert {named.incarnation, unnamed.incarnation} <= set(world.journals), "somebody may be giving it a room"
        await trio.sleep(CLEAN_EVERY_S * 2)
        assert {named.incarnation, owner.incarnation} <= set(world.journals)
        assert unnamed.incarnation not in world.journals


# -- a store that does not do it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["busy", "lost", "unknown"])
@pytest.mark.parametrize(
    "operation",
    ["rooms.delete", "rooms.replace", "rooms.entries", "snapshots.delete", "journals.prune", "journals.remove"],
)
async def test_what_fails_is_done_at_a_later_turn(
    operation: str,
    fault: str,
    world: MemoryWorld,
    slow: Callable[[str], Node],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    clean_every_s, remove_after_s = 2.0, 8.0  # often: there are many cases
    monkeypatch.setattr(housekeeping, "CLEAN_EVERY_S", clean_every_s)
    monkeypatch.setattr(housekeeping, "REMOVE_AFTER_S", remove_after_s)
    one, two = slow("a"), slow("b")
    async with living(one, two):
        moved, ending, gone = await one.open(), await two.open(), await one.open(players=0)
        await trio.sleep(EMPTY_ROOM_S / 2)
        rule = getattr(two.store.faults, fault)(operation, times=3)
        assert gone.id in world.rooms
        await one.kill()
        await trio.sleep(1.0)
        ending.stage.submit(Close(ending.id))
        await trio.sleep(remove_after_s + clean_every_s * 8)
        assert rule.met or (operation, fault) == ("rooms.entries", "busy"), "it was met, but for who only reads"
        assert set(world.rooms) == set(world.snapshots) == {moved.id}
        assert one.incarnation not in world.journals
        entry = world.rooms[moved.id]
        assert (entry.attempts, len(entry.chain), entry.owner) == (0, 1, two.incarnation)
        assert can_be_had(world, moved.id)
        assert len(two.positions) < SLOW_HZ * clean_every_s * 4


async def test_a_node_that_ends_forgets_its_ended_rooms_itself(world: MemoryWorld, slow: Callable[[str], Node]) -> None:
    node = slow("a")
    await node.tenure.start()
    room = await node.open()
    node.housekeeping.ended(room.entry)
    node.store.faults.lost("rooms.delete")
    with pytest.raises(ClusterError):
        await node.housekeeping.forget_ended()
    async with trio.open_nursery() as nursery:  # both at once, as when the node ends while house is kept
        for _ in range(2):
            nursery.start_soon(node.housekeeping.forget_ended)
    assert world.rooms == {}
