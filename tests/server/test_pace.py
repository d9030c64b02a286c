"""The pace of arrivals: ticks come first, everybody's turn comes, the oldest's first, and not too many wait."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing

from server.pace import AHEAD_S, LEAST_TURNS, OLD_TURNS, WAITING_MAX, Arrival, Pace, Paced

TICK_S = 0.025
SLICE_S = 0.0005


class Passes:
    """Counts the scheduler's passes."""

    def __init__(self) -> None:
        self.now = 0

    async def run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.now += 1


async def several(arrival: Arrival, turns: int, note: Callable[[], None]) -> None:
    for _ in range(turns):
        await arrival()
        note()


async def test_of_a_crowd_one_goes_on_in_each_pass() -> None:
    pace, passes, taken = Pace(), Passes(), list[int]()
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(several, pace.arrival(), 1, lambda: taken.append(passes.now))
        await trio.testing.wait_all_tasks_blocked()
        assert (len(pace), taken) == (50, [])
        nursery.start_soon(passes.run)
        nursery.start_soon(pace.run)
        while len(taken) < 50:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert taken[-1] - taken[0] >= 50 - 3  # the counter runs before or after the others in a pass, as it comes
    assert len(pace) == 0


@pytest.mark.parametrize("had", [0, OLD_TURNS - 1, OLD_TURNS])
async def test_the_oldest_goes_first_until_it_has_had_more_than_it_needs(had: int) -> None:
    pace, taken = Pace(), list[str]()
    async with trio.open_nursery() as nursery:
        old = pace.arrival()
        nursery.start_soon(pace.run)
        await several(old, had, lambda: None)
        nursery.cancel_scope.cancel()
    young = pace.arrival()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(several, young, 1, lambda: taken.append("young"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(several, old, 1, lambda: taken.append("old"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(pace.run)
        while len(taken) < 2:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert taken == (["young", "old"] if had == OLD_TURNS else ["old", "young"])


class Ticks:
    """A clock of ticks, each of which notes that it has begun; `due` is as a host tells it."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self.due, self.begun = trio.current_time() + TICK_S, list[float]()
        self._clock = clock

    async def run(self) -> None:
        while True:
            await trio.sleep_until(self.due)
            self.begun.append(trio.current_time() - self.due)
            self._clock.jump(2 * SLICE_S)
            self.due += TICK_S


async def test_no_slice_begins_shortly_before_a_tick(mock_clock: trio.testing.MockClock) -> None:
    """A clock that only work moves: whoever has a turn takes SLICE_S, and so do passes in which nobody works."""
    ticks, turns = Ticks(mock_clock), list[float]()
    pace = Pace(lambda: ticks.due)

    def work() -> None:
        turns.append(ticks.due - trio.current_time())
        mock_clock.jump(SLICE_S)

    async def time_goes_by() -> None:
        while True:
            before = len(turns)
            await trio.lowlevel.checkpoint()
            if len(turns) == before:
                mock_clock.jump(SLICE_S / 10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticks.run)
        nursery.start_soon(pace.run)
        nursery.start_soon(time_goes_by)
        for _ in range(300):
            nursery.start_soon(several, pace.arrival(), 1, work)
        while len(turns) < 300:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert len(ticks.begun) > 5
    assert max(ticks.begun) < 2 * SLICE_S, "a tick waits for what is under way, and for no more"
    assert min(turns) >= AHEAD_S - 2 * SLICE_S


async def test_where_ticks_are_late_all_the_time_a_few_go_on_after_each(mock_clock: trio.testing.MockClock) -> None:
    due, ticks, turns = trio.current_time(), 0, list[int]()
    pace = Pace(lambda: due)

    async def tick_for_ever() -> None:
        nonlocal due, ticks
        while True:
            await trio.lowlevel.checkpoint()
            ticks += 1
            due += TICK_S
            mock_clock.jump(TICK_S * 1.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pace.run)
        nursery.start_soon(tick_for_ever)
        for _ in range(40 * LEAST_TURNS):
            nursery.start_soon(several, pace.arrival(), 1, lambda: turns.append(ticks))
        while len(turns) < 40 * LEAST_TURNS:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert max(turns.count(tick) for tick in set(turns)) <= 2 * LEAST_TURNS  # before a tick of a pass, and behind it
    assert (
        turns[-1] - turns[0] <= 80
    )  # as it comes in a pass, some ticks begin without their turns: one each would be 160


@pytest.mark.parametrize("tick_s", [AHEAD_S / 2, math.inf])
async def test_arrivals_go_on_between_ticks_that_leave_no_time_and_where_there_are_none(
    autojump_clock: trio.testing.MockClock, tick_s: float
) -> None:
    start, turns = trio.current_time(), list[float]()

    def due() -> float:
        if tick_s == math.inf:
            return tick_s
        return start + tick_s * (math.floor((trio.current_time() - start) / tick_s + 1e-9) + 1)

    pace = Pace(due)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pace.run)
        async with trio.open_nursery() as crowd:
            for _ in range(20):
                crowd.start_soon(several, pace.arrival(), 1, lambda: turns.append(trio.current_time()))
        nursery.cancel_scope.cancel()
    assert len(turns) == 20
    assert turns[-1] - start <= 20 * min(tick_s, 1.0)


async def test_a_tick_that_does_not_come_keeps_nobody_out(autojump_clock: trio.testing.MockClock) -> None:
    """The store is away, and no room ticks: who logs in is told so."""
    due, turns = trio.current_time() - 5.0, list[None]()
    pace = Pace(lambda: due)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pace.run)
        with trio.fail_after(1.0):
            async with trio.open_nursery() as crowd:
                for _ in range(20):
                    crowd.start_soon(several, pace.arrival(), 1, lambda: turns.append(None))
        nursery.cancel_scope.cancel()
    assert len(turns) == 20


async def test_who_gives_up_waiting_takes_nobodys_turn() -> None:
    pace, taken = Pace(), list[int]()
    async with trio.open_nursery() as nursery:
        scopes = [trio.CancelScope() for _ in range(4)]

        async def one(number: int) -> None:
            with scopes[number]:
                await several(pace.arrival(), 1, partial(taken.append, number))

        for number in range(4):
            nursery.start_soon(one, number)
            await trio.testing.wait_all_tasks_blocked()
        scopes[0].cancel()
        scopes[2].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert len(pace) == 2
        nursery.start_soon(pace.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (taken, len(pace)) == ([1, 3], 0)


async def test_while_too_many_wait_nobody_is_accepted(autojump_clock: trio.testing.MockClock) -> None:
    pace, accepted = Pace(), 0
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    paced = Paced(listener, pace)
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            nonlocal accepted
            async with await paced.accept():
                accepted += 1

        for _ in range(WAITING_MAX):
            nursery.start_soon(pace.arrival())
        await trio.testing.wait_all_tasks_blocked()
        async with await trio.testing.open_stream_to_socket_listener(listener):  # the system takes it
            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            assert (len(pace), accepted) == (WAITING_MAX, 0)
            nursery.start_soon(pace.run)
            with trio.fail_after(1.0):
                while not accepted:
                    await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()
    await paced.aclose()
