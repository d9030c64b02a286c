"""Tenure: a node that cannot renew its lease suspends, and goes on; one that was sealed stops."""

from __future__ import annotations

from math import inf

import attrs
import pytest
import trio
from structlog.testing import capture_logs
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


async def test_a_store_that_takes_no_writes_makes_nobody_dead(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A full disk: everybody can look, and nobody can renew."""
    world = MemoryWorld()
    both = [await tenure(world, name) for name in ("a", "b")]
    for one in both:
        nursery.start_soon(one.run)
    await trio.sleep(5.0)
    world.faults.lost("journals.renew", inf)
    for _ in range(300):
        await trio.sleep(0.1)
        for one in both:
            assert one.watch.lapsed(trio.current_time()) == []
    assert not any(one.held for one in both)
    world.faults.back()
    await trio.sleep(1.0)
    assert all(one.held for one in both)
    for _ in range(50):
        await trio.sleep(0.1)
        for one in both:
            assert one.watch.lapsed(trio.current_time()) == []


async def test_a_suspension_is_logged_whoever_asks_or_not(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    world = MemoryWorld()
    mine = await tenure(world, "a")
    nursery.start_soon(mine.run)
    with capture_logs() as log:
        world.faults.away()
        await trio.sleep(12.0)
        world.faults.back()
        await trio.sleep(1.0)
    told = [line["event"] for line in log]
    assert told.count("node_suspended") == told.count("node_goes_on") == 1
    assert told.count("lease_not_renewed") in (2, 3), "told at once and now and then, not ten times a second"


async def test_who_seals_its_own_journal_is_not_told_that_it_was_sealed(autojump_clock: MockClock) -> None:
    """Also when that takes longer than the time between renewals."""
    world = MemoryWorld()
    mine = await tenure(world, "a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mine.run)
        await trio.sleep(5.0)
        world.faults.delay("journals.seal", 5.0, after=True)
        await mine.leave()
        await trio.sleep(5.0)
        nursery.cancel_scope.cancel()
    assert world.journals[mine.incarnation].member.sealed


@pytest.mark.parametrize("removed", [False, True])
async def test_who_was_sealed_stops(removed: bool, autojump_clock: MockClock) -> None:
    world = MemoryWorld()
    mine, other = await tenure(world, "a"), await tenure(world, "b")
    await other._store.journals.seal(mine.incarnation)
    if removed:  # its rooms are elsewhere, and nobody needs its records any more
        await other._store.journals.remove(mine.incarnation)
    with pytest.raises(JournalFenced):
        await mine.renew()


async def test_a_death_that_is_told_counts_at_once(autojump_clock: MockClock) -> None:
    world = MemoryWorld()
    mine, other = await tenure(world, "a"), await tenure(world, "b")
    await mine.look()
    assert [member.node for member in mine.others()] == ["b"]
    mine.died(other.incarnation)
    assert mine.others() == []
