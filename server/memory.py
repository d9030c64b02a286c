"""Memory: garbage is collected young, and what many connections needed goes back to the system when they are gone.

Python's collector starts when allocations have outrun frees, and then takes everything since at once: 30 ms in the
middle of a tick where a thousand connections a second come and go. Here it starts by the clock: what came in the last
YOUNG_EVERY_S is looked at once (a millisecond at most) and is old from then on. All of it is looked at every
FULL_EVERY_S: cycles that live longer than a moment are rare, reference counts free the rest.

The C library keeps what was freed below what is still in use: after a thousand half-open handshakes that is some 30 MB
for ever, and grows by and by where players come and go all the time. `malloc_trim(3)` gives it back (a few milliseconds
for a large heap, so in a thread, and only after a crowd has left, every ten seconds at most).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable

import structlog
import trio

CROWD = 128
"""So many connections that have gone are worth it."""
RELIEF_EVERY_S = 10.0
YOUNG_EVERY_S = 0.05
FULL_EVERY_S = 600.0

log = structlog.get_logger("holdfast.memory")


async def collect_garbage() -> None:
    """Collect garbage by the clock instead of by the number of allocations, until cancelled."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        full_at = trio.current_time() + FULL_EVERY_S
        while True:
            await trio.sleep(YOUNG_EVERY_S)
            gc.collect(1)
            now = trio.current_time()
            if now >= full_at:
                found = gc.collect()
                took_ms = round((trio.current_time() - now) * 1000, 1)
                log.info("garbage_collected", objects=found, took_ms=took_ms)
                full_at = now + FULL_EVERY_S
    finally:
        gc.enable()


def give_back() -> None:
    """Let the C library return free memory; nothing where it has no `malloc_trim` (glibc has)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


class Relief:
    """Gives memory back after a crowd has left, all at once or in groups while others came. Not seen are those who
    have come and gone between two looks, or were followed by others."""

    def __init__(self, give_back: Callable[[], None] = give_back) -> None:
        self._give_back = give_back
        self._there = self._left = 0
        self._not_before = 0.0

    async def look(self, connections: int) -> None:
        """So many connections are there now; called once a second or so."""
        self._left += max(0, self._there - connections)
        self._there = connections
        now = trio.current_time()
        if self._left >= CROWD and now >= self._not_before:
            self._left, self._not_before = 0, now + RELIEF_EVERY_S
            await trio.to_thread.run_sync(self._give_back)
