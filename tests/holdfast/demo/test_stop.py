"""Signals that end the demo, whenever they come."""

from __future__ import annotations

import os
import signal

from holdfast.demo import Stop


def test_a_signal_ends_the_play_and_the_next_one_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    calls: list[int] = []
    with Stop() as stop:
        stop.calls(lambda: calls.append(1))
        assert (stop.asked, calls) == (False, [])
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert (stop.asked, set(calls)) == (True, {1})
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_before_there_is_anything_to_end_is_not_forgotten() -> None:
    calls: list[int] = []
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        stop.calls(lambda: calls.append(1))
    assert calls == [1]
