"""The watchdog: what hangs is named and stopped, what does not is left alone."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator

import pytest

from game.errors import StepOverran
from server.watchdog import Watchdog


@contextlib.contextmanager
def looking(limit_s: float, fatal_s: float) -> Iterator[tuple[Watchdog, threading.Event]]:
    ended = threading.Event()
    watchdog = Watchdog(limit_s, fatal_s, ended.set)
    with contextlib.closing(watchdog):
        yield watchdog, ended


def spin() -> None:
    number = 0
    while True:
        number += 1


def test_an_endless_loop_is_broken_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    with looking(0.05, 60.0) as (watchdog, ended):
        guard = watchdog.for_game("chess")
        for _ in range(3):
            with pytest.raises(StepOverran), guard("room7"):
                spin()
            with guard("room8"):
                pass
        assert not ended.is_set()
    told = capsys.readouterr().out
    assert re.search(r"game_overran.*chess.*room7", told, re.DOTALL)
    assert "room8" not in told


def take_no_exception(watchdog: Watchdog, until: threading.Event) -> None:
    with watchdog.guard("chess", "room7"):
        while not until.is_set():
            with contextlib.suppress(StepOverran):
                while not until.is_set():
                    pass


def test_a_game_that_takes_no_exception_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    with looking(0.02, 0.2) as (watchdog, ended), pytest.raises(StepOverran):
        take_no_exception(watchdog, ended)
    assert "game_hangs" in capsys.readouterr().out


def test_a_game_that_swallows_the_exception_has_failed_all_the_same() -> None:
    with looking(0.02, 60.0) as (watchdog, _):
        with pytest.raises(StepOverran), watchdog.guard("chess", "room7"), contextlib.suppress(StepOverran):
            spin()
        with watchdog.guard("chess", "room8"):
            pass


def test_a_call_that_just_comes_back_in_time_raises_nothing_later() -> None:
    """The exception is either raised in the guarded block or never: sweep the end of the block over the limit."""
    turns, caught = 30, 0
    with looking(0.02, 60.0) as (watchdog, _):
        for turn in range(turns):
            end = time.monotonic() + turn * 0.2 / turns  # from well within the limit to ten times as long
            try:
                with watchdog.guard("chess", "room"):
                    while time.monotonic() < end:
                        pass
            except StepOverran:
                caught += 1
            for _ in range(200):  # nothing may arrive out here
                pass
        with watchdog.guard("chess", "room"):
            pass
    assert 0 < caught < turns
