"""Late ticks: a line in the log, with what became of the time since the tick before.

    since_ms   of it    cpu_ms      the loop's thread computed: a game, a crowd that came at once
                        queued_ms   it wanted to, and had no core (None where the system does not tell)
                        the rest    it slept: until its time, for a lock or a disk, or it was stopped
    held_ms    at its end the tick waited for the gate or the lease, that is for the store

Other tasks run while a tick is held, so that time may be in the others, too.
"""

from __future__ import annotations

import time

import attrs
import structlog

LATE_PERIODS = 0.5
"""Ticks that begin later than that are told of."""
TELL_EVERY_S = 1.0
_SCHEDULED = "/proc/thread-self/schedstat"

log = structlog.get_logger("holdfast.lateness")


@attrs.frozen
class _Used:
    """What the thread has had since it began."""

    at_s: float
    cpu_s: float
    queued_s: float | None

    @classmethod
    def until(cls, now: float) -> _Used:
        """Until now, by the loop's clock."""
        try:
            with open(_SCHEDULED, "rb") as scheduled:
                queued_s = int(scheduled.read().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            queued_s = None
        return cls(now, time.thread_time(), queued_s)


class LateTicks:
    """Looks at the ticks of one game, in the thread that makes them."""

    def __init__(self, game: str, tick_s: float, now: float) -> None:
        self._game, self._limit_s = game, tick_s * LATE_PERIODS
        self._before = _Used.until(now)
        self._told = float("-inf"), 0.0

    def started(self, now: float, late_s: float, held_s: float) -> None:
        """A tick begins now, `late_s` behind its time, after it was held for `held_s`. Of several late ones within a
        second only those are told that are later than all before."""
        before, self._before = self._before, _Used.until(now)
        told_at, told_s = self._told
        if late_s > self._limit_s and (now >= told_at + TELL_EVERY_S or late_s > told_s):
            self._told = now, late_s
            self._tell("tick_late", before, late_s, held_s)

    def skipped(self, now: float, late_s: float, held_s: float, ticks: int) -> None:
        """So many ticks are given up."""
        before, self._before = self._before, _Used.until(now)
        self._tell("ticks_skipped", before, late_s, held_s, ticks=ticks)

    def _tell(self, event: str, before: _Used, late_s: float, held_s: float, **more: int) -> None:
        used = self._before
        queued_ms = None
        if used.queued_s is not None and before.queued_s is not None:
            queued_ms = _ms(used.queued_s - before.queued_s)
        log.warning(
            event,
            game=self._game,
            late_ms=_ms(late_s),
            since_ms=_ms(used.at_s - before.at_s),
            cpu_ms=_ms(used.cpu_s - before.cpu_s),
            queued_ms=queued_ms,
            held_ms=_ms(held_s),
            **more,
        )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
