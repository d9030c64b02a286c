"""Tenure: a node that cannot renew its lease suspends, and goes on; one that was sealed stops."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from cluster.errors import JournalFenced
from cluster.lease import LEASE_TTL_S, MARGIN
from cluster.memory import MemoryWorld
from cluster.model import Member, new_incarnation
from server.tenure import Tenure


async def tenure(world: MemoryWorld, name: str) -> Tenure:
    me = Member(incarnation=new_incarnation(name), node=name, host="", port=1)
    found = Tenure(world.store(), lambda counter: attrs.evolve(me, counter=counter), me.incarnation)
    await found.start()
    return found


async def test_it_is_held_as_long_as_it_is_renewed(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    mine = await tenure(MemoryWorld(), "a")
    nursery.start_soon(mine.run)
    for _ in range(100):
        assert mine.held
        await trio.sleep(0.1)
    assert mine.suspensions == 0


async def test_a_store_that_is_away_suspends_and_its_return_ends_that(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world = MemoryWorld()
    mine, other = await tenure(world, "a"), await tenure(world, "b")
    for one in (mine, other):
        nursery.start_soon(one.run)
    await trio.sleep(5.0)
    world.faults.away()
    await trio.sleep(LEASE_TTL_S * (1 - MARGIN) + 0.1)
    assert not mine.held
    await trio.sleep(30.0)
    assert not mine.held
    world.faults.back()
    began = trio.current_time()
    with trio.fail_after(5.0):
        await mine.until_held()
    assert trio.current_time() - began <= 1.0
    await trio.sleep(5.0)
    assert mine.suspensions == 1
    assert mine.watch.lapsed(trio.current_time()) == [], "nobody was taken for dead because the store was away"
    assert [member.node for member in mine.others()] == ["b"]


async def test_the_others_see_who_has_stopped(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    world = MemoryWorld()
    mine, other = await tenure(world, "a"), await tenure(world, "b")
    nursery.start_soon(mine.run)
    with trio.move_on_after(5.0):
        await other.run()
    assert [member.node for member in mine.others()] == ["b"]
    await trio.sleep(LEASE_TTL_S + 1.0)
    assert mine.watch.lapsed(trio.current_time()) == [other.incarnation]
    assert mine.others() == []


async def test_who_was_sealed_stops(autojump_clock: MockClock) -> None:
    world = MemoryWorld()
    mine, other = await tenure(world, "a"), await tenure(world, "b")
    await other._store.journals.seal(mine.incarnation)
    with pytest.raises(JournalFenced):
        await mine.renew()


async def test_a_death_that_is_told_counts_at_once(autojump_clock: MockClock) -> None:
    world = MemoryWorld()
    mine, other = await tenure(world, "a"), await tenure(world, "b")
    await mine.look()
    assert [member.node for member in mine.others()] == ["b"]
    mine.died(other.incarnation)
    assert mine.others() == []
