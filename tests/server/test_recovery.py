"""Rooms that are ours by the directory come back exactly, or are quarantined alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from cluster.errors import Damaged
from cluster.memory import MemoryWorld
from cluster.model import RoomEntry, Span
from cluster.replay import Replayed
from game.commands import Close, Quarantine, Recovered
from game.ledger import Ledger
from game.rows import HELD
from game.save import SavedRoom
from server.recovery import STRIKES_MAX, WAVE_SHARE, WAVES_FROM, Recovery, Timing, waves
from tests.server.games import Counter, Deadly
from tests.server.left_behind import Dead, Survivor

ROOMS = tuple(f"room{number}" for number in range(4))


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


async def claim(survivor: Survivor, dead: Dead) -> tuple[list[RoomEntry], dict[str, int]]:
    """Make a dead node's rooms ours."""
    tip = await survivor.store.journals.seal(dead.incarnation)
    rooms = [entry.room for entry in await survivor.store.rooms.owned_by(dead.incarnation)]
    entries = await survivor.store.rooms.claim(rooms, dead.incarnation, tip, survivor.incarnation, 1)
    return entries, {dead.incarnation: tip}


async def recover(survivor: Survivor, dead: Dead) -> Timing:
    await survivor.tenure.start()
    timing = Timing()
    await survivor.recovery.recover(*await claim(survivor, dead), timing)
    return timing


async def test_rooms_are_where_they_were_and_their_seats_are_held(world: MemoryWorld, tmp_path: Path) -> None:
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(10)
    await dead.keep()
    await dead.play(7)
    await dead.die()
    timing = await recover(survivor, dead)
    assert (timing.rooms, timing.ticks) == (4, 28)
    assert survivor.ticks == dead.ticks
    assert survivor.hashes == dead.hashes
    assert sorted(len(stage.batch) for stage in survivor.host.rooms.stages) == [2, 2], "spread over the phases"
    for room in survivor.rooms.values():
        assert isinstance(room.stage.pending[0], Recovered)
        assert room.entry.epoch == room.stage.epochs[room.id] == 2
    survivor.tick()
    for room in survivor.rooms.values():
        assert room.stage.batch.rows.seated[room.stage.batch.row[room.id]].tolist() == [HELD, HELD, 0, 0]


async def test_the_snapshot_of_the_new_epoch_is_stored_before_a_room_ticks(world: MemoryWorld, tmp_path: Path) -> None:
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open("room")
    await dead.play(3)
    survivor.store.faults.hang("snapshots.put")
    await survivor.tenure.start()
    entries, tips = await claim(survivor, dead)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(survivor.recovery.recover, entries, tips, Timing())
        await trio.testing.wait_all_tasks_blocked()
        assert not survivor.rooms
        nursery.cancel_scope.cancel()


async def test_rooms_without_a_snapshot_are_made_from_their_seeds(world: MemoryWorld, tmp_path: Path) -> None:
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(5)
    await recover(survivor, dead)
    assert survivor.hashes == dead.hashes


async def test_a_damaged_snapshot_is_passed_over_and_the_one_before_it_taken(
    world: MemoryWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(4)
    await dead.keep()
    await dead.play(4)
    await dead.keep()
    await dead.play(4)
    newest = max(world.snapshots["room1"])
    world.snapshots["room1"][newest] = flipped(world.snapshots["room1"][newest])
    await recover(survivor, dead)
    assert survivor.hashes == dead.hashes
    assert "snapshot_passed_over" in capsys.readouterr().out


async def test_a_snapshot_that_does_not_lead_to_the_records_is_told_by_a_hash_and_an_older_one_taken(
    world: MemoryWorld, tmp_path: Path
) -> None:
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(4)
    await dead.keep()
    await dead.play(4)
    row = dead.stage.batch.row["room1"]
    dead.stage.batch.rows.sum[row, 0] += 5  # what is snapshot is another state than the one that was played
    await dead.keep()
    dead.stage.batch.rows.sum[row, 0] -= 5
    await dead.play(4)
    await recover(survivor, dead)
    assert survivor.hashes == dead.hashes


async def test_a_room_that_has_nothing_sound_is_quarantined_alone_with_its_evidence(
    world: MemoryWorld, tmp_path: Path, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    nursery.start_soon(survivor.evidence.run)
    await dead.open(*ROOMS, epoch=2, chain=(Span(2, dead.incarnation, 1),))  # its beginning is pruned
    for room in ROOMS:
        dead.stage.epochs[room] = 2
    await dead.play(4)
    await dead.keep()
    await dead.play(4)
    (at,) = world.snapshots["room2"]
    world.snapshots["room2"][at] = flipped(world.snapshots["room2"][at])
    await recover(survivor, dead)
    await survivor.housekeeping.forget_ended()
    await survivor.evidence.drain()
    assert sorted(survivor.rooms) == ["room0", "room1", "room3"]
    assert survivor.hashes == {room: digest for room, digest in dead.hashes.items() if room != "room2"}
    assert await survivor.store.rooms.get("room2") is None
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["room2-0.room"]
    assert survivor.metrics.rooms_quarantined == 1
    assert "room_not_recovered" in capsys.readouterr().out


async def test_a_record_that_may_have_been_a_rooms_last_quarantines_it(world: MemoryWorld, tmp_path: Path) -> None:
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(6)
    records = world.journals[dead.incarnation].records
    records[max(records)] = flipped(records[max(records)])
    await recover(survivor, dead)
    assert not survivor.rooms, "players may have seen a tick that nobody can make again"
    assert survivor.metrics.rooms_quarantined == 4


async def test_records_around_a_lost_one_are_read(world: MemoryWorld, tmp_path: Path) -> None:
    """Rooms that had a snapshot behind the damage need nothing before it."""
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(4)
    await dead.snapshots.write([dead.snapshots.of(dead.stage, "room0", dead.journal.position)])
    await dead.play(4)
    lost = dead.journal.position
    await dead.play(1)
    await dead.snapshots.write([dead.snapshots.of(dead.stage, "room1", dead.journal.position)])
    await dead.play(3)
    del world.journals[dead.incarnation].records[lost]
    await recover(survivor, dead)
    assert sorted(survivor.rooms) == ["room1"]
    assert survivor.hashes["room1"] == dead.hashes["room1"]


async def test_rooms_that_have_ended_leave_nothing(world: MemoryWorld, tmp_path: Path) -> None:
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(2)
    dead.tick(Close("room0"), Quarantine("room1"))
    await dead.play(2)
    await recover(survivor, dead)
    await survivor.housekeeping.forget_ended()
    assert sorted(survivor.rooms) == ["room2", "room3"]
    assert await survivor.store.rooms.get("room0") is await survivor.store.rooms.get("room1") is None


@pytest.mark.parametrize("operation", ["snapshots.newest", "journals.read", "snapshots.put"])
@pytest.mark.parametrize("fault", ["lost", "busy", "unknown"])
async def test_what_the_store_cannot_do_is_done_again(
    world: MemoryWorld, tmp_path: Path, operation: str, fault: str, autojump_clock: trio.testing.MockClock
) -> None:
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(5)
    await dead.keep()
    await dead.play(5)
    getattr(survivor.store.faults, fault)(operation, times=3)
    await recover(survivor, dead)
    assert survivor.hashes == dead.hashes


@pytest.mark.parametrize("operation", ["snapshots.newest", "journals.read", "snapshots.put", "rooms.claim"])
@pytest.mark.parametrize("after", [False, True])
async def test_rescuers_may_die_at_every_step_one_after_the_other(
    world: MemoryWorld,
    tmp_path: Path,
    operation: str,
    after: bool,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    monkeypatch.setattr(Recovery, "_replay_apart", Recovery._replay_here)
    dead = Dead(world)
    await dead.open(*ROOMS)
    await dead.play(5)
    await dead.keep()
    await dead.play(5)
    await dead.die()
    world.faults.hang(operation, times=2, after=after)
    for name in ("first", "second"):
        rescuer = Survivor(world, tmp_path, name)
        await rescuer.tenure.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rescuer.rescuer.run)
            await trio.testing.wait_all_tasks_blocked()
            assert not rescuer.rooms
            nursery.cancel_scope.cancel()
        await rescuer.store.aclose()
    last = Survivor(world, tmp_path, "last")
    await last.tenure.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(last.rescuer.run)
        with trio.fail_after(60):
            while len(last.rooms) < 4:  # noqa: ASYNC110
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert last.ticks == dead.ticks
    assert last.hashes == dead.hashes


# -- rooms that kill ---------------------------------------------------------------------------------------------------


async def left_by_two(world: MemoryWorld, monkeypatch: pytest.MonkeyPatch, adds: int, way: str) -> Dead:
    """Rooms that have been claimed once already; in room2 somebody adds what may be deadly."""
    monkeypatch.setenv("DEADLY", "")
    dead = Dead(world, Deadly())
    await dead.open(*ROOMS, attempts=1)
    await dead.play(3)
    await dead.keep()
    await dead.play(3)
    await dead.play(1, lambda room, seat, tick: adds if (room, seat) == ("room2", 1) else 1)
    await dead.play(0 if way == "later" else 3, lambda room, seat, tick: 2)
    monkeypatch.setenv("DEADLY", way)
    return dead


@pytest.mark.parametrize(("adds", "way"), [(9, "now"), (9, "later"), (9, "exit"), (8, "now")])
async def test_a_room_that_kills_who_replays_it_is_found_and_quarantined_and_the_others_go_on(
    world: MemoryWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adds: int, way: str
) -> None:
    dead, survivor = await left_by_two(world, monkeypatch, adds, way), Survivor(world, tmp_path, "a", Deadly())
    monkeypatch.setattr("server.apart.PIECE_MOST_S", 1.0)
    await survivor.tenure.start()
    await survivor.recovery.recover(*await claim(survivor, dead), Timing())
    well = [room for room in ROOMS if room != "room2"]
    assert sorted(survivor.rooms) == well
    assert survivor.hashes == {room: dead.hashes[room] for room in well}
    entry = await survivor.store.rooms.get("room2")
    assert entry is not None
    assert (entry.strikes, entry.owner) == (1, survivor.incarnation)
    await survivor.recovery.recover(
        [entry], {}, Timing()
    )  # once more, as the rescuer does with what is ours and not here
    await survivor.housekeeping.forget_ended()
    assert await survivor.store.rooms.get("room2") is None
    assert survivor.metrics.rooms_quarantined == 1


async def test_what_is_replayed_in_a_child_is_the_same(
    world: MemoryWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = await left_by_two(world, monkeypatch, 1, "")
    records = world.journals[dead.incarnation].records
    survivor = Survivor(world, tmp_path, "a", Deadly())
    calls: list[int] = []
    here = Recovery._replay_here

    async def counted(*args: Any) -> Any:
        calls.append(1)
        return await here(*args)

    monkeypatch.setattr(Recovery, "_replay_here", counted)
    await recover(survivor, dead)
    assert (survivor.ticks, survivor.hashes) == (dead.ticks, dead.hashes)
    assert not calls
    assert len(records) == dead.journal.position


async def test_a_game_that_no_child_can_load_is_nobody_s_strike(
    world: MemoryWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Local(Counter):
        """Not to be found by its name."""

    dead, survivor = Dead(world, Local()), Survivor(world, tmp_path, "a", Local())
    await dead.open(*ROOMS, attempts=1)
    await dead.play(4)
    await recover(survivor, dead)
    assert survivor.hashes == dead.hashes
    assert {entry.strikes for entry in world.rooms.values()} == {0}
    assert "replay_not_apart" in capsys.readouterr().out


async def test_no_limit_keeps_out_a_room_that_there_is(
    world: MemoryWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rooms.VARIANTS_MAX", 1)
    dead, survivor = Dead(world, Counter({"seats": 3}, 50)), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(4)
    await recover(survivor, dead)
    assert survivor.hashes == dead.hashes


async def test_a_store_that_takes_no_snapshots_costs_neither_the_node_nor_the_rooms(
    world: MemoryWorld, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Damage of ours is not damage of the dead node's journal."""
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(4)
    await dead.die()
    put, broken = survivor.snapshots._put, True

    async def refuse(some: Any) -> None:
        if broken:
            raise Damaged("a page is damaged")
        await put(some)

    survivor.snapshots._put = refuse  # type: ignore[method-assign]
    await survivor.tenure.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(survivor.tenure.run)
        nursery.start_soon(survivor.rescuer.run)
        await trio.sleep(10.0)
        assert not survivor.rooms
        assert sorted(world.rooms) == sorted(ROOMS)
        broken = False
        await trio.sleep(10.0)
        nursery.cancel_scope.cancel()
    assert survivor.hashes == dead.hashes


async def test_who_has_two_strikes_is_not_tried_again(world: MemoryWorld, tmp_path: Path) -> None:
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open(*ROOMS)
    await dead.play(3)
    world.rooms["room3"] = attrs.evolve(world.rooms["room3"], strikes=STRIKES_MAX)
    await recover(survivor, dead)
    assert sorted(survivor.rooms) == ["room0", "room1", "room2"]
    assert survivor.metrics.rooms_quarantined == 1


async def test_who_is_let_in_alone_bears_a_strike_until_it_is_well(
    world: MemoryWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(Recovery, "_replay_apart", Recovery._replay_here)  # a child has a clock of its own
    dead, survivor = Dead(world), Survivor(world, tmp_path, "a")
    await dead.open("room0", "room1", attempts=WAVES_FROM - 1)
    await dead.play(3)
    await survivor.tenure.start()
    entries, tips = await claim(survivor, dead)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(survivor.recovery.recover, entries, tips, Timing())
        while not survivor.rooms:  # noqa: ASYNC110
            await trio.sleep(0.01)
        (first,) = survivor.rooms
        entry = await survivor.store.rooms.get(first)
        assert entry is not None
        assert (entry.attempts, entry.strikes) == (WAVES_FROM, 1), "if we die now, it was this one"
        while len(survivor.rooms) < 2:
            survivor.tick()
            await trio.sleep(0.01)
        entry = await survivor.store.rooms.get(first)
        assert entry is not None
        assert (entry.attempts, entry.strikes) == (0, 0)
        nursery.cancel_scope.cancel()


def test_the_more_owners_have_died_the_smaller_the_waves() -> None:
    game = Counter()

    def room(number: int, attempts: int) -> tuple[RoomEntry, Replayed]:
        entry = RoomEntry(
            room=f"room{number}", game=game.name, options={}, tick_hz=50, seed=1, fingerprint="", owner="a",
            chain=(Span(1, "a", 1),), attempts=attempts,
        )  # fmt: skip
        return entry, Replayed(1, 1, SavedRoom(entry.room, 1, b"", Ledger([])), ("a", 1))

    new = [room(number, 1) for number in range(10)]
    suspect = [room(number, WAVES_FROM) for number in range(64)]
    assert [len(wave) for wave in waves([*suspect, *new])] == [10, *[64 // WAVE_SHARE] * WAVE_SHARE]
    worse = [(attrs.evolve(entry, attempts=WAVES_FROM + 1), kept) for entry, kept in suspect]
    assert [len(wave) for wave in waves(worse)] == [1] * 64
    assert [len(wave) for wave in waves(suspect[:3])] == [1, 1, 1]
    assert list(waves([])) == []


def flipped(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]
