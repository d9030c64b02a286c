"""Results reach the profiles once each, though the store fails, the queue is full, or the node ends meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from game.api import Result
from profiles import MatchResult, ProfileStoreError
from server import results as module
from server.results import ResultWriter
from server.stage import Occupant
from tests.server.games import Counter
from tests.server.helpers import Rig


class FakeProfiles:
    """Remembers operation ids; fails the first `failures` calls; waits for `go` in each."""

    def __init__(self, failures: int = 0) -> None:
        self.applied: list[str] = []
        self.calls = 0
        self.failures = failures
        self.go = trio.Event()
        self.go.set()

    async def apply_results(self, results: Sequence[MatchResult]) -> int:
        self.calls += 1
        await self.go.wait()
        await trio.lowlevel.checkpoint()
        if self.calls <= self.failures:
            raise ProfileStoreError("the store is away")
        new = [result.op_id for result in results if result.op_id not in self.applied]
        self.applied += new
        return len(new)


class Table:
    """A rig whose results go to fake profiles."""

    def __init__(self, folder: Path, failures: int = 0) -> None:
        self.rig = Rig(folder, Counter({"match_ticks": 5}))
        self.profiles = FakeProfiles(failures)
        profiles: Any = self.profiles
        self.writer = ResultWriter(profiles, self.rig.metrics)
        self.writer.hosts["counter"] = self.rig.host
        self.room = self.rig.open()
        for number in (1, 2):
            session, _ = self.rig.session(number)
            self.rig.join(session, self.room, 0)
            self.rig.tick()
            assert isinstance(session.seat, Occupant)

    def play(self, ticks: int = 5) -> None:
        self.rig.tick(ticks)
        self.rig.delivered, delivered = [], self.rig.delivered
        for room, result in delivered:
            self.writer.deliver("counter", room, [result])

    @property
    def outbox(self) -> dict[str, Result]:
        outbox: dict[str, Result] = self.rig.host.rooms.by_id[self.room].stage.batch.ledger(self.room).outbox
        return outbox


async def test_results_are_applied_and_leave_the_outbox(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.play()
    assert len(table.outbox) == 2
    await table.writer.drain()
    assert sorted(table.profiles.applied) == sorted(table.outbox)
    table.rig.tick()
    assert table.outbox == {}


async def test_a_store_that_fails_is_asked_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    table = Table(tmp_path, failures=3)
    table.play()
    await table.writer.drain()
    assert (len(table.profiles.applied), table.profiles.calls, table.rig.metrics.results_retried) == (2, 4, 6)
    table.rig.tick()
    assert table.outbox == {}


async def test_the_end_of_the_node_and_the_running_writer_do_not_take_each_others(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.profiles.go = trio.Event()
    table.play()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(table.writer.run)
        await wait_all_tasks_blocked()
        table.play()
        async with trio.open_nursery() as end:
            end.start_soon(table.writer.drain)
            await wait_all_tasks_blocked()
            table.profiles.go.set()
        assert len(table.profiles.applied) == 4
        table.rig.tick()
        assert table.outbox == {}
        nursery.cancel_scope.cancel()


async def test_what_the_queue_has_no_room_for_is_offered_again(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUED_MAX", 1)
    table = Table(tmp_path)
    table.play()
    assert len(table.outbox) == 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(table.writer.run)
        for _ in range(4):
            await trio.sleep(module.RETRY_S * 5 + 0.1)
            table.rig.tick()
            table.rig.delivered.clear()
        nursery.cancel_scope.cancel()
    first = {f"{table.room}/0/a1", f"{table.room}/0/a2"}
    assert first <= set(table.profiles.applied)
    assert not first & set(table.outbox)


async def test_a_result_that_breaks_the_profiles_limits_is_refused_alone(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.play()
    good = next(iter(table.outbox.values()))
    table.writer.deliver("counter", table.room, [attrs.evolve(good, op_id="bad", score=2**60)])
    await table.writer.drain()
    assert len(table.profiles.applied) == 2
    assert "bad" not in table.profiles.applied


async def test_results_of_a_room_that_is_gone_are_applied_all_the_same(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.play()
    table.rig.host.rooms.close(table.room)
    await table.writer.drain()
    assert len(table.profiles.applied) == 2
