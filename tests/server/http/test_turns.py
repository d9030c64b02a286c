"""Turns: one at a time, with a rest behind each, and nobody waits for who waits."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from server.http.turns import REST_MAX_S, Turns, away


async def test_one_at_a_time_in_the_order_of_asking(autojump_clock: MockClock) -> None:
    turns, log = Turns(), list[str]()

    async def work(name: str) -> None:
        async with turns.turn():
            log.append(f"{name} begins")
            await trio.sleep(1.0)
            log.append(f"{name} ends")

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(work, name)
            await trio.sleep(0.1)
    assert log == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


async def test_the_next_begins_after_a_rest_as_long_as_the_work(autojump_clock: MockClock) -> None:
    turns = Turns()
    for worked_s in (0.004, 5.0):
        async with turns.turn():
            await trio.sleep(worked_s)
        before = trio.current_time()
        async with turns.turn():
            rested_s = trio.current_time() - before
        assert abs(rested_s - min(worked_s, REST_MAX_S)) < 1e-6


async def test_who_waits_for_somebody_else_lets_others_go_on(autojump_clock: MockClock) -> None:
    turns, log = Turns(), list[str]()

    async def waits() -> None:
        async with turns.turn():
            async with away():
                await trio.sleep(10.0)
            log.append("came back")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits)
        await trio.sleep(1.0)
        async with turns.turn():
            log.append("went on")
            await trio.sleep(20.0)
            log.append("ended")
    assert log == ["went on", "ended", "came back"]


async def test_a_turn_is_given_back_however_it_ends(autojump_clock: MockClock) -> None:
    turns = Turns()
    for where in ("turn", "away", "wait"):
        with trio.move_on_after(1.0):
            async with turns.turn():
                if where == "away":
                    async with away():
                        await trio.sleep_forever()
                await trio.sleep_forever()
        try:
            async with turns.turn(), away():
                raise OSError
        except OSError:
            pass
    with trio.fail_after(1.0):
        async with turns.turn():
            pass


async def test_away_without_a_turn_takes_none(autojump_clock: MockClock) -> None:
    turns = Turns()
    async with away():
        pass
    async with turns.turn(), away(), away():
        with trio.fail_after(1.0):
            async with turns.turn():
                pass
