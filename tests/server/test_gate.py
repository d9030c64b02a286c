"""The gate: nothing leaves before it is stored, in order, once; at most two ticks wait."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cluster.journal import JournalFenced
from server.gate import WAITING_MAX, Gate
from tests.server.helpers import SlowJournal


async def test_what_is_stored_leaves_at_once() -> None:
    gate, journal, out = Gate(), SlowJournal(), list[int]()
    append = journal.begin([])
    journal.store()
    gate.hold(append, lambda: out.append(1))
    assert out == [1]
    assert len(gate) == 0


async def test_nothing_leaves_before_its_record_nor_before_its_elders(nursery: trio.Nursery) -> None:
    gate, journal, out = Gate(), SlowJournal(), list[int]()
    nursery.start_soon(gate.run)
    for number in range(2):
        gate.hold(journal.begin([]), partial(out.append, number))
    journal.appends[1].finish()
    await wait_all_tasks_blocked()
    assert out == []
    third = journal.begin([])
    third.finish()
    gate.hold(third, lambda: out.append(2))  # stored, but others wait before it
    assert out == []
    journal.appends[0].finish()
    await wait_all_tasks_blocked()
    assert out == [0, 1, 2]
    assert len(gate) == 0


async def test_a_third_tick_waits(nursery: trio.Nursery) -> None:
    gate, journal, passed = Gate(), SlowJournal(), list[int]()
    nursery.start_soon(gate.run)

    async def ticks() -> None:
        for number in range(4):
            await gate.until_free()
            passed.append(number)
            gate.hold(journal.begin([]), lambda: None)

    nursery.start_soon(ticks)
    for stored in range(3):
        await wait_all_tasks_blocked()
        assert len(passed) == min(4, WAITING_MAX + stored)
        journal.appends[stored].finish()
    await wait_all_tasks_blocked()
    assert len(gate) == 1


async def test_a_fenced_journal_releases_nothing() -> None:
    gate, journal, out = Gate(), SlowJournal(), list[int]()
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.run)
            for number in range(2):
                gate.hold(journal.begin([]), partial(out.append, number))
            await wait_all_tasks_blocked()
            journal.appends[1].finish()
            journal.appends[0].fence()
    assert isinstance(caught.value.exceptions[0], JournalFenced)
    late = journal.begin([])
    late.finish()
    gate.hold(late, lambda: out.append(3))
    assert out == []
