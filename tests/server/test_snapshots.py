"""Snapshots of the rooms that run here: true ones only, each room in its turn, and none pins the journal for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

import numpy as np
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from cluster.codec import Snapshot, decode_record, decode_snapshot
from cluster.errors import ClusterError, Damaged, StoreUnavailable
from cluster.memory import MemoryStore, MemoryWorld
from cluster.model import StoredSnapshot
from cluster.store import SNAPSHOTS_KEPT
from game.evidence import unpack_evidence
from server.housekeeping import CLEAN_EVERY_S
from server.row_stage import RowStage
from server.snapshots import PUT_MAX, REFUSED_MAX, RETRY_S, TAKEN_MAX, WAITING_MAX, Snapshots
from tests.server.cluster_ends import Node, living, stored
from tests.server.games import Counter
from tests.server.helpers import ME, frame_when, playing, running

TICK_S = 1 / Counter.default_tick_hz


class Picky:
    """The snapshots of a store that does not take some rooms'."""

    def __init__(self, store: MemoryStore, *refused: str) -> None:
        self._inner = store.snapshots
        self.refused = set(refused)
        store.snapshots = self

    async def put(self, snapshots: Sequence[StoredSnapshot]) -> None:
        if self.refused & {snapshot.room for snapshot in snapshots}:
            raise Damaged("string or blob too big")
        await self._inner.put(snapshots)

    async def newest(self, rooms: Sequence[str], limit: int = SNAPSHOTS_KEPT) -> dict[str, list[bytes]]:
        return await self._inner.newest(rooms, limit)

    async def delete(self, rooms: Sequence[str]) -> None:
        await self._inner.delete(rooms)


def snapshot(room: str, tick: int, epoch: int = 1) -> Snapshot:
    return Snapshot(
        room=room,
        epoch=epoch,
        tick=tick,
        incarnation=ME,
        position=tick,
        fingerprint="f",
        hash=1,
        game="counter",
        options={},
        tick_hz=50,
        saved=b"s",
    )


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


# -- when they are taken and written -----------------------------------------------------------------------------------


async def test_a_snapshot_is_written_once_the_record_before_it_is_stored(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    node = Node(world, tmp_path, "a", snapshot_s=TICK_S)  # one a tick
    async with living(node):
        room = await node.open()
        await trio.sleep(1.0)
        node.store.faults.lost("journals.append", times=inf)
        await trio.sleep(0.8)  # the lease is renewed all the while
        tip = world.journals[node.incarnation].member.tip
        ticks = decode_record(world.journals[node.incarnation].records[tip], node.incarnation, tip).stages[0].ticks
        assert room.stage.batch.tick_of(room.id) == ticks[0] + 2, "the gate holds two ticks"
        assert stored(world, room.id)[-1] == ticks[0], "nothing that is not stored has been written"
        node.store.faults.back()
        await trio.sleep(0.5)
        assert stored(world, room.id)[-1] > ticks[0] + 2


async def test_it_says_which_record_it_comes_after(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    node = Node(world, tmp_path, "a", snapshot_s=0.5)
    async with living(node):
        rooms = [await node.open() for _ in range(3)]
        await trio.sleep(3.0)
        for room in rooms:
            for data in world.snapshots[room.id].values():
                found = decode_snapshot(data)
                assert (found.incarnation, found.epoch) == (node.incarnation, 1)
                record = decode_record(
                    world.journals[node.incarnation].records[found.position], node.incarnation, found.position
                )
                (stage,) = record.stages
                at = stage.rooms.index(room.id)
                assert (stage.ticks[at], stage.hashes[at]) == (found.tick, found.hash)


async def test_every_room_has_its_turn_and_a_tick_takes_a_few(world: MemoryWorld) -> None:
    stage = RowStage(Counter())
    for number in range(100):
        stage.batch.open(f"r{number}", number)
        stage.epochs[f"r{number}"] = 1
    snapshots = Snapshots(world.store(), ME, every_s=1.0)
    for _ in range(3):
        ticks = [snapshots.take(stage, 1) for _ in range(50)]  # a second
        assert sorted(one.room for some in ticks for one in some) == sorted(stage.batch.ids)
        assert max(len(some) for some in ticks) <= 3
    hasty = Snapshots(world.store(), ME, every_s=TICK_S)
    assert [len(hasty.take(stage, 1)) for _ in range(20)] == [TAKEN_MAX] * 20


@pytest.mark.parametrize(("rooms", "every_s"), [(1, 0.5), (2, 0.5), (4, 1.0), (8, 2.0), (100, 2.0)])
def test_few_rooms_are_snapshot_more_often(world: MemoryWorld, rooms: int, every_s: float) -> None:
    stage = RowStage(Counter())
    for number in range(rooms):
        stage.batch.open(f"r{number}", number)
        stage.epochs[f"r{number}"] = 1
    snapshots = Snapshots(world.store(), ME, every_s=2.0)
    taken = sum(len(snapshots.take(stage, 1)) for _ in range(500))  # ten seconds
    assert abs(taken - rooms * 10 / every_s) <= 1


async def test_rows_that_the_tick_has_packed_are_the_rooms_as_they_are(world: MemoryWorld) -> None:
    stage = RowStage(Counter())
    for number in range(5):
        stage.batch.open(f"r{number}", number)
        stage.epochs[f"r{number}"] = 1
    hasty = Snapshots(world.store(), ME, every_s=TICK_S)
    for tick in range(1, 4):
        result = stage.step(stage.collect())
        if tick == 3:
            stage.batch.close("r1")  # as a quarantine does before snapshots are taken: another room is in its row now
        taken = sorted(hasty.take(stage, tick, result), key=lambda one: one.room)
        assert taken == [hasty.of(stage, room, tick) for room in sorted(stage.batch.ids)]
        assert {one.tick for one in taken} == {tick}


async def test_without_a_journal_none_is_taken(tmp_path: Path) -> None:
    """Nobody could go on from it: it would be paid for with every tick, for nothing."""
    async with running(tmp_path, journal="off", snapshot_s=0.1) as node, playing(node) as (_, room):
        await frame_when(room, lambda frame: frame.tick >= 20)
        assert await node.parts.store.snapshots.newest(list(node.host.rooms.by_id)) == {}


async def test_many_wait_for_the_store_and_more_are_left_out(
    world: MemoryWorld, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = world.store()
    snapshots = Snapshots(store, ME)
    puts = store.faults.delay("snapshots.put", 0.0, times=inf)
    snapshots.put([snapshot(f"r{number}", 1) for number in range(WAITING_MAX + 10)])
    assert snapshots.missed == 10
    nursery.start_soon(snapshots.run)
    await trio.sleep(1.0)
    assert len(world.snapshots) == WAITING_MAX
    assert puts.met == WAITING_MAX / PUT_MAX
    snapshots.put([snapshot(f"r{WAITING_MAX + 9}", 2)])  # its next turn
    await trio.sleep(1.0)
    assert stored(world, f"r{WAITING_MAX + 9}") == [2]


# -- what the store keeps ----------------------------------------------------------------------------------------------


async def test_it_knows_what_the_store_keeps_in_whatever_order_it_came(world: MemoryWorld) -> None:
    snapshots = Snapshots(world.store(), ME)
    for number, (tick, epoch) in enumerate([(10, 1), (30, 1), (20, 1), (30, 1), (40, 1), (35, 2), (50, 1)]):
        await snapshots.write([snapshot("r", tick, epoch)])
        kept = [(one.epoch, one.tick) for one in snapshots.kept["r"]]
        assert kept == sorted(world.snapshots["r"])
        oldest = snapshots.oldest("r")
        assert (None if oldest is None else (oldest.epoch, oldest.tick)) == (kept[0] if number >= 2 else None)
        assert all(one.saved == b"" for one in snapshots.kept["r"]), "the state itself is not kept twice"


async def test_what_is_not_known_to_be_written_is_not_counted_on(world: MemoryWorld) -> None:
    store = world.store()
    snapshots = Snapshots(store, ME)
    store.faults.unknown("snapshots.put")
    with pytest.raises(StoreUnavailable):
        await snapshots.write([snapshot("r", 1)])
    assert snapshots.kept == {}
    await snapshots.write([snapshot("r", 1)])
    assert [one.tick for one in snapshots.kept["r"]] == [1]


async def test_of_a_room_that_is_gone_nothing_is_written_any_more(
    world: MemoryWorld, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = world.store()
    snapshots = Snapshots(store, ME)
    store.faults.delay("snapshots.put", 1.0)
    nursery.start_soon(snapshots.run)
    snapshots.put([snapshot("gone", 1), snapshot("here", 1)])
    await wait_all_tasks_blocked()
    snapshots.put([snapshot("gone", 2), snapshot("here", 2)])
    snapshots.forget("gone")  # while one is being written and another waits
    await snapshots.delete("gone")
    await trio.sleep(5.0)
    assert set(world.snapshots) == {"here"}
    assert stored(world, "here") == [1, 2]
    assert set(snapshots.kept) == {"here"}


# -- when it does not work ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["busy", "lost"])
async def test_what_a_store_does_not_take_now_it_takes_later(
    fault: str, world: MemoryWorld, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = world.store()
    snapshots = Snapshots(store, ME)
    nursery.start_soon(snapshots.run)
    getattr(store.faults, fault)("snapshots.put")
    snapshots.put([snapshot(f"r{number}", 1) for number in range(5)])
    await trio.sleep(RETRY_S * 2)
    assert set(world.snapshots) == {f"r{number}" for number in range(5)}


async def test_while_the_store_is_away_no_room_is_to_blame(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    node = Node(world, tmp_path, "a", Counter(None, 10), snapshot_s=1.0)
    async with living(node):
        rooms = {(await node.open()).id for _ in range(5)}
        await trio.sleep(1.0)
        node.store.faults.lost("snapshots.put", times=inf)  # and nothing else: the rooms tick
        await trio.sleep(5 * REFUSED_MAX * RETRY_S)
        assert set(node.rooms) == rooms
        node.store.faults.back()
        await trio.sleep(CLEAN_EVERY_S)
        assert all(stored(world, room.id)[-1] > room.ticked - 25 for room in node.rooms.values())


async def test_a_room_that_the_store_refuses_does_not_keep_the_others_from_it(
    world: MemoryWorld, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = world.store()
    Picky(store, "bad")
    snapshots = Snapshots(store, ME)
    nursery.start_soon(snapshots.run)
    for tick in range(3):
        snapshots.put([snapshot(room, tick) for room in ("r1", "bad", "r2")])
        await trio.sleep(RETRY_S * 3)
    assert (stored(world, "r1"), stored(world, "r2"), stored(world, "bad")) == ([0, 1, 2], [0, 1, 2], [])


async def test_a_room_that_cannot_be_stored_is_quarantined_with_its_evidence_and_pins_nothing(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    node = Node(world, tmp_path, "a", snapshot_s=1.0)
    async with living(node):
        good, bad = await node.open(), await node.open()
        Picky(node.store, bad.id)
        await trio.sleep(REFUSED_MAX - 2.0)
        assert set(node.rooms) == {good.id, bad.id}
        await trio.sleep(CLEAN_EVERY_S)
        assert node.positions[0] == 1, "until then all of the journal is kept for it"
        await trio.sleep(REFUSED_MAX + CLEAN_EVERY_S * 2)
        assert set(node.rooms) == set(world.rooms) == {good.id}
        assert node.positions[0] > node.journal.position - 50 * (CLEAN_EVERY_S + SNAPSHOTS_KEPT + 1)
        assert node.metrics.rooms_quarantined == 1
    (file,) = node.evidence.folder.glob("*.room")
    evidence = unpack_evidence(file.read_bytes())
    assert (evidence.room, evidence.kind, evidence.message) == (bad.id, "Damaged", "string or blob too big")
    restored = RowStage(Counter())
    restored.batch.load(evidence.saved)


async def test_who_is_refused_now_and_then_is_well(
    world: MemoryWorld, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = world.store()
    picky, snapshots = Picky(store, "r"), Snapshots(store, ME)
    stage = RowStage(Counter())
    stage.batch.open("r", 1)
    nursery.start_soon(snapshots.run)
    for tick in range(REFUSED_MAX * 3):
        picky.refused = {"r"} if tick % REFUSED_MAX else set()
        snapshots.put([snapshot("r", tick), snapshot("other", tick)])
        await trio.sleep(RETRY_S * 3)
        assert snapshots.hopeless(stage) == []
    picky.refused = {"r"}
    for tick in range(REFUSED_MAX):
        snapshots.put([snapshot("r", tick), snapshot("other", tick)])
        await trio.sleep(RETRY_S * 3)
    ((room, error),) = snapshots.hopeless(stage)
    assert (room, isinstance(error, ClusterError)) == ("r", True)
    assert snapshots.hopeless(stage) == [], "it is told once"


async def test_a_room_that_cannot_be_saved_is_quarantined_alone_and_stops_no_tick(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(world, tmp_path, "a", snapshot_s=0.5)
    async with living(node):
        good, bad = await node.open(), await node.open()
        save: Callable[[str, np.ndarray | None], bytes] = bad.stage.batch.save

        def no_save(room: str, packed: np.ndarray | None = None) -> bytes:
            if room == bad.id:
                raise MemoryError("too large")
            return save(room, packed)

        monkeypatch.setattr(bad.stage.batch, "save", no_save)
        await trio.sleep(REFUSED_MAX * 0.5 - 1.0)
        assert set(node.rooms) == {good.id, bad.id}
        assert good.ticked > 200
        await trio.sleep(4.0)
        assert set(node.rooms) == set(world.rooms) == {good.id}
        assert stored(world, good.id)
