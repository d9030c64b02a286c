"""Late ticks: a line in the log, with what the loop's thread has done since the tick before.

    cpu_ms      it computed: a game, a crowd that came at once
    waits       times that it slept in the kernel: until its time, for a lock, for a disk
    preempted   times that somebody else was given its core
    faults      pages of memory that came from a disk

Late, and little of it computed: what it waited for was the disk, or a machine that had no time for it.
"""

from __future__ import annotations

import resource

import attrs
import structlog

LATE = 0.5
"""Ticks that begin so many periods behind their time are told of."""
TELL_EVERY_S = 1.0

log = structlog.get_logger("holdfast.lateness")
_WHO = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


@attrs.frozen
class _Used:
    """What the thread has used since it began."""

    at_s: float
    cpu_s: float
    waits: int
    preempted: int
    faults: int

    @classmethod
    def now(cls, at_s: float) -> _Used:
        used = resource.getrusage(_WHO)
        return cls(at_s, used.ru_utime + used.ru_stime, used.ru_nvcsw, used.ru_nivcsw, used.ru_majflt)


class LateTicks:
    """Looks at every tick of one game; for the thread that ticks."""

    def __init__(self, game: str, tick_s: float) -> None:
        self._game, self._limit_s = game, tick_s * LATE
        self._before: _Used | None = None
        self._told_at = float("-inf")

    def look(self, now: float, late_s: float) -> None:
        """A tick begins now, `late_s` behind its time; of several in a second only the first one is told."""
        used, before = _Used.now(now), self._before
        self._before = used
        if late_s <= self._limit_s or before is None or now < self._told_at + TELL_EVERY_S:
            return
        self._told_at = now
        log.warning(
            "tick_late",
            game=self._game,
            late_ms=round(late_s * 1000, 1),
            since_ms=round((now - before.at_s) * 1000, 1),
            cpu_ms=round((used.cpu_s - before.cpu_s) * 1000, 1),
            waits=used.waits - before.waits,
            preempted=used.preempted - before.preempted,
            faults=used.faults - before.faults,
        )
