"""Who is dead, and who takes what they leave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from cluster.lease import LEASE_TTL_S
from cluster.memory import MemoryWorld
from cluster.model import Member
from cluster.placement import STEP_S, shares
from game.api import Option
from server.tenure import Tenure
from tests.server.games import Counter
from tests.server.left_behind import Dead, Survivor

ROOMS = tuple(f"room{number}" for number in range(6))
LONG_S = 30.0


class Newer(Counter):
    """A counter with other rules under the same name."""

    options = (*Counter.options, Option("more", 0, 0, 1, "new in this version"))


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld(sees_processes=False)


@asynccontextmanager
async def serving(*survivors: Survivor, beside: Dead | None = None) -> AsyncIterator[trio.CancelScope]:
    """Let them renew, look and rescue, `beside` one whose lease is renewed until the scope is cancelled."""
    async with trio.open_nursery() as nursery:
        living = await nursery.start(renewed, beside)
        for survivor in survivors:
            await survivor.tenure.start()
        for survivor in survivors:
            nursery.start_soon(survivor.tenure.run)
            nursery.start_soon(survivor.rescuer.run)
        await trio.sleep(LEASE_TTL_S * 2)  # they have looked at each other
        yield living
        nursery.cancel_scope.cancel()


async def renewed(dead: Dead | None, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        if dead is not None:
            member = Member(incarnation=dead.incarnation, node="dead", host="", port=1)
            await Tenure(dead.store, lambda counter: attrs.evolve(member, counter=counter), dead.incarnation).run()


async def left(world: MemoryWorld) -> Dead:
    """A node that has played."""
    dead = Dead(world)
    await dead.open(*ROOMS)
    await dead.play(5)
    return dead


async def until(survivors: list[Survivor], rooms: int) -> float:
    """When so many rooms are here; seconds from now."""
    began = trio.current_time()
    with trio.fail_after(LONG_S):
        while sum(len(survivor.rooms) for survivor in survivors) < rooms:  # noqa: ASYNC110
            await trio.sleep(0.01)
    return trio.current_time() - began


async def test_a_lapsed_lease_is_noticed_and_its_rooms_go_on(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    dead, survivor = await left(world), Survivor(world, tmp_path, "a")
    async with serving(survivor, beside=dead) as living:
        await trio.sleep(LEASE_TTL_S * 2)
        assert not survivor.rooms, "it lived"
        living.cancel()
        took_s = await until([survivor], len(ROOMS))
        assert LEASE_TTL_S * 0.7 <= took_s <= LEASE_TTL_S + 1.0
        assert survivor.hashes == dead.hashes


async def test_who_is_told_of_a_death_does_not_wait_for_the_lease(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    dead, survivor = await left(world), Survivor(world, tmp_path, "a")
    async with serving(survivor, beside=dead) as living:
        living.cancel()
        survivor.tenure.died(dead.incarnation)
        survivor.rescuer.call()
        assert await until([survivor], len(ROOMS)) < 0.1


async def test_survivors_share_and_no_room_is_taken_twice(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    dead = await left(world)
    survivors = [Survivor(world, tmp_path, name) for name in "abc"]
    async with serving(*survivors, beside=dead) as living:
        living.cancel()
        for survivor in survivors:
            survivor.tenure.died(dead.incarnation)
            survivor.rescuer.call()
        await until(survivors, len(ROOMS))
        await trio.sleep(LONG_S)
    here = [room for survivor in survivors for room in survivor.rooms]
    assert sorted(here) == sorted(ROOMS)
    assert sum(bool(survivor.rooms) for survivor in survivors) >= 2
    assert {entry.epoch for entry in world.rooms.values()} == {2}


async def test_the_second_choice_takes_what_the_first_does_not(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    dead = await left(world)
    one, two = (Survivor(world, tmp_path, name) for name in "ab")
    async with serving(one, two, beside=dead) as living:
        living.cancel()
        entries = await two.store.rooms.owned_by(dead.incarnation)
        firsts = {
            entry.room
            for entry, wait_s in shares(entries, [m for m in two.tenure.present() if m.node != "dead"], two.incarnation)
            if not wait_s
        }
        assert 0 < len(firsts) < len(ROOMS)
        two.tenure.died(dead.incarnation)  # the other is not told, and busy
        one.store.faults.hang("journals.seal", times=100)
        two.rescuer.call()
        assert await until([two], len(firsts)) < 0.1
        assert set(two.rooms) == firsts
        assert await until([two], len(ROOMS)) == pytest.approx(STEP_S, abs=0.1)


async def test_while_the_store_is_away_nobody_is_taken_over(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    living, survivor = await left(world), Survivor(world, tmp_path, "a")
    async with serving(survivor, beside=living):
        world.faults.away()
        await trio.sleep(LONG_S)
        assert not survivor.tenure.lease.held(trio.current_time())
        world.faults.back()
        await trio.sleep(LONG_S)
        assert survivor.tenure.lease.held(trio.current_time())
        assert not survivor.rooms
        assert {entry.epoch for entry in world.rooms.values()} == {1}


async def test_rooms_of_other_rules_are_left_for_who_can_play_them(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    dead, newer = await left(world), Survivor(world, tmp_path, "a", Newer())
    async with serving(newer):
        await trio.sleep(LONG_S)
        assert world.journals[dead.incarnation].member.sealed
        assert not newer.rooms
        assert {entry.epoch for entry in world.rooms.values()} == {1}
        same = Survivor(world, tmp_path, "b")
        async with serving(same):
            await until([same], len(ROOMS))
            assert same.hashes == dead.hashes


async def test_a_node_that_claims_after_its_death_is_found_out(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """ "Sealed" is not "rescued": a zombie may have claimed rooms since."""
    dead, zombie, survivor = await left(world), Survivor(world, tmp_path, "zombie"), Survivor(world, tmp_path, "a")
    await zombie.tenure.start()
    late = attrs.evolve(world.rooms["room0"], room="late")
    tip = await zombie.store.journals.seal(dead.incarnation)
    await survivor.store.journals.seal(zombie.incarnation)
    async with serving(survivor):
        await until([survivor], len(ROOMS))
        world.rooms["late"] = late
        claimed = await zombie.store.rooms.claim(["late"], dead.incarnation, tip, zombie.incarnation, 1)
        assert [entry.room for entry in claimed] == ["late"]
        await trio.sleep(LONG_S)
        assert world.rooms["late"].owner == survivor.incarnation
        assert world.rooms["late"].epoch == 3


async def test_what_is_ours_and_not_here_is_brought_back(
    world: MemoryWorld, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """A claim whose recovery came to nothing, for whatever reason."""
    dead, survivor = await left(world), Survivor(world, tmp_path, "a")
    await survivor.tenure.start()
    tip = await survivor.store.journals.seal(dead.incarnation)
    await survivor.store.rooms.claim(ROOMS, dead.incarnation, tip, survivor.incarnation, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(survivor.tenure.run)
        nursery.start_soon(survivor.rescuer.run)
        await until([survivor], len(ROOMS))
        assert survivor.hashes == dead.hashes
        nursery.cancel_scope.cancel()
