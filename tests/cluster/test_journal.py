"""The journal's writer: in order, each position once, nothing told before it is stored."""

from __future__ import annotations

from math import inf

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from cluster.codec import decode_record
from cluster.errors import JournalFenced
from cluster.journal import BUSY_WAIT_MAX_S, JournalWriter
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


async def test_who_is_busy_is_asked_again_soon(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """However long it takes: frames wait for it."""
    store, journal = await writer(MemoryWorld())
    nursery.start_soon(journal.run)
    store.faults.busy("journals.append", 100)
    began = trio.current_time()
    await journal.begin([]).wait()
    assert trio.current_time() - began <= 100 * BUSY_WAIT_MAX_S < 1.0


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


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("direct", [True, False])
async def test_a_sealed_one_stores_nothing_and_everybody_is_told(
    direct: bool, removed: bool, autojump_clock: MockClock
) -> None:
    world = MemoryWorld()
    store, journal = await writer(world, direct=direct)
    other = world.store()
    assert await other.journals.seal(ME.incarnation) == 0
    if removed:  # by others who have all its rooms by now
        await other.journals.remove(ME.incarnation)
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
    assert removed or await stored(store) == []
    assert journal.begin([]).stored is False


async def test_the_log_tells_that_records_wait_and_is_not_filled(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store, journal = await writer(MemoryWorld())
    nursery.start_soon(journal.run)
    with capture_logs() as log:
        store.faults.away()
        append = journal.begin([])
        await trio.sleep(30.0)
        store.faults.back()
        await append.wait()
        assert [line["event"] for line in log] == ["journal_not_written"] * len(log[:-1]) + ["journal_goes_on"]
        assert 5 <= len(log) <= 8
        assert "unavailable" in log[0]["error"]
        log.clear()
        busy = store.faults.busy("journals.append", inf)
        append = journal.begin([])
        await trio.sleep(0.5)
        assert log == [], "another program writes for a moment"
        await trio.sleep(1.0)
        assert [line["event"] for line in log] == ["journal_not_written"]
        busy.times = 0
        await append.wait()
