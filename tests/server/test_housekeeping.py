"""Housekeeping: rows are there before the first tick and go after the last, and nothing is cut that a room may need."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from cluster.chain import Start, choose
from cluster.codec import decode_snapshot
from cluster.errors import ClusterError
from cluster.memory import MemoryWorld
from cluster.model import Span
from cluster.store import PRUNE_BYTES_MAX
from game.commands import Close
from game.rows import Rows
from netcode import messages
from netcode.errors import ProtocolError
from server import housekeeping, rescue
from server.housekeeping import CLEAN_EVERY_S, EVERY_S, LEFT_MAX, PLAYERS_ROWS_MAX, REMOVE_AFTER_S, WELL_TICKS
from server.rooms import EMPTY_ROOM_S
from tests.cluster.helpers import entry as an_entry
from tests.cluster.helpers import member
from tests.server.cluster_ends import Node, Ticked, history, is_one_line, living, stored, until
from tests.server.games import Counter

SLOW_HZ = 10


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


@pytest.fixture
def make(world: MemoryWorld, tmp_path: Path) -> Callable[[str], Node]:
    """Nodes of slow rooms, which are cheap to watch for minutes."""
    return lambda name: Node(world, tmp_path, name, Counter(None, SLOW_HZ))


@pytest.fixture
def keen(monkeypatch: pytest.MonkeyPatch) -> None:
    """House is kept all the time: whatever may be cut is cut."""
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.05)
    monkeypatch.setattr(housekeeping, "CLEAN_EVERY_S", 0.1)


def start_of(world: MemoryWorld, room: str) -> Start:
    """Where a rescuer would begin with a room, were its owner dead now."""
    entry = world.rooms[room]
    newest = [data for _, data in sorted(world.snapshots.get(room, {}).items(), reverse=True)]
    return choose(entry, newest, {entry.owner: world.journals[entry.owner].member.tip})


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


# -- rows --------------------------------------------------------------------------------------------------------------


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


async def test_the_rooms_that_have_ended_are_not_remembered_for_ever(make: Callable[[str], Node]) -> None:
    node = make("a")
    for number in range(LEFT_MAX + 2):
        node.housekeeping.ended(an_entry(f"r{number}"))
    assert len(node.housekeeping.left) == LEFT_MAX


async def test_an_empty_room_ends_and_leaves_nothing(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    node = Node(world, tmp_path, "a")
    async with living(node):
        await node.open(players=0)
        await trio.sleep(EMPTY_ROOM_S + 3.0)
        assert (world.rooms, world.snapshots, node.snapshots.kept) == ({}, {}, {})


async def test_only_the_owner_of_the_epoch_deletes(
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
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
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
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
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "PLAYERS_ROWS_MAX", 2)
    assert PLAYERS_ROWS_MAX > 2
    node = make("a")
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
    fault: str, world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
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


# -- our journal -------------------------------------------------------------------------------------------------------


async def test_the_journal_is_cut_behind_the_oldest_snapshot_that_is_kept_and_no_further(
    world: MemoryWorld, make: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    node = make("a")
    async with living(node):
        rooms = [await node.open() for _ in range(3)]
        for _ in range(30):
            await trio.sleep(0.5)
            assert all(can_be_had(world, room.id) for room in rooms)
        positions = [decode_snapshot(data).position for room in rooms for data in world.snapshots[room.id].values()]
        assert min(positions) - 10 <= node.positions[0] <= min(positions) + 1, "and what is not needed is gone"


async def test_as_long_as_there_are_no_three_snapshots_it_is_kept_from_the_rooms_beginning_on(
    world: MemoryWorld, make: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    node = make("a")
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
    world: MemoryWorld, make: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    node, other = make("a"), make("b")
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
    world: MemoryWorld, make: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
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
    world: MemoryWorld, make: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
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
    world: MemoryWorld, make: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
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
    world: MemoryWorld, make: Callable[[str], Node], keen: None, autojump_clock: MockClock
) -> None:
    one, two, three = make("a"), make("b"), make("c")
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
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    node = make("a")
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
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
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
    world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    node, other = make("a"), world.store()
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
    operation: str, fault: str, world: MemoryWorld, make: Callable[[str], Node], autojump_clock: MockClock
) -> None:
    one, two = make("a"), make("b")
    async with living(one, two):
        moved, ending, gone = await one.open(), await two.open(), await one.open(players=0)
        await trio.sleep(EMPTY_ROOM_S / 2)
        rule = getattr(two.store.faults, fault)(operation, times=3)
        assert gone.id in world.rooms
        await one.kill()
        await trio.sleep(1.0)
        ending.stage.submit(Close(ending.id))
        await trio.sleep(REMOVE_AFTER_S + CLEAN_EVERY_S * 8)
        assert rule.met or (operation, fault) == ("rooms.entries", "busy"), "it was met, but for who only reads"
        assert set(world.rooms) == set(world.snapshots) == {moved.id}
        assert one.incarnation not in world.journals
        entry = world.rooms[moved.id]
        assert (entry.attempts, len(entry.chain), entry.owner) == (0, 1, two.incarnation)
        assert can_be_had(world, moved.id)
        assert len(two.positions) < SLOW_HZ * CLEAN_EVERY_S * 4


async def test_a_node_that_ends_forgets_its_ended_rooms_itself(world: MemoryWorld, make: Callable[[str], Node]) -> None:
    node = make("a")
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
