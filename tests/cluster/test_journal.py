"""The journal's writer: in order, each position once, nothing told before it is stored."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from cluster.codec import decode_record
from cluster.errors import JournalFenced
from cluster.journal import JournalWriter
from cluster.memory import MemoryStore, MemoryWorld
from tests.cluster.helpers import member

ME = member("a")


async def writer(world: MemoryWorld, *, direct: bool = True) -> tuple[MemoryStore, JournalWriter]:
    store = world.store(direct=direct)
    await store.journals.open(ME)
    return store, JournalWriter(store.journals, ME.incarnation)


async def stored(store: MemoryStore) -> list[int]:
    """The positions that the journal has; each record must be the one that belongs there."""
    found = await store.journals.read(ME.incarnation, 1, 1000)
    return [decode_record(data, ME.incarnation, at).position for at, data in enumerate(found, 1)]


async def test_a_direct_engine_has_it_on_return(autojump_clock: MockClock) -> None:
    store, journal = await writer(MemoryWorld())
    appends = [journal.begin([]) for _ in range(3)]
    assert [append.stored for append in appends] == [True] * 3
    assert (journal.position, journal.tip, await stored(store)) == (3, 3, [1, 2, 3])


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("fault", ["busy", "lost", "unknown"])
async def test_what_fails_is_stored_once_and_in_order(
    direct: bool, fault: str, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store, journal = await writer(MemoryWorld(), direct=direct)
    getattr(store.faults, fault)("journals.append", 3)
    nursery.start_soon(journal.run)
    appends = [journal.begin([]) for _ in range(5)]
    assert not appends[0].stored
    assert journal.tip < 5
    for append in appends:
        await append.wait()
    assert await stored(store) == [1, 2, 3, 4, 5]
    assert journal.tip == 5


async def test_nothing_is_told_while_the_store_is_away(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    store, journal = await writer(MemoryWorld())
    nursery.start_soon(journal.run)
    store.faults.away()
    append = journal.begin([])
    with trio.move_on_after(30.0) as away:
        await append.wait()
    assert away.cancelled_caught
    assert not append.stored
    store.faults.back()
    with trio.fail_after(1.0):
        await append.wait()
    assert await stored(store) == [1]


@pytest.mark.parametrize("direct", [True, False])
async def test_a_sealed_one_stores_nothing_and_everybody_is_told(direct: bool, autojump_clock: MockClock) -> None:
    world = MemoryWorld()
    store, journal = await writer(world, direct=direct)
    assert await world.store().journals.seal(ME.incarnation) == 0
    refused = list[str]()

    async def wait_for(number: int) -> None:
        with pytest.raises(JournalFenced):
            await appends[number].wait()
        refused.append(str(number))

    async def run() -> None:
        with pytest.raises(JournalFenced):
            await journal.run()
        refused.append("run")

    appends = [journal.begin([]) for _ in range(2)]
    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(wait_for, number)
        await wait_all_tasks_blocked()
        nursery.start_soon(run)
    assert sorted(refused) == ["0", "1", "run"]
    assert [append.stored for append in appends] == [False, False]
    assert await stored(store) == []
    assert journal.begin([]).stored is False
