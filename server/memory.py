"""Memory: garbage is collected young, and what many connections needed goes back to the system when they are gone.

Python collects when allocations have outrun frees by some hundreds. Where connections come as fast as they go that
hardly happens, and then takes everything since at once: 20 ms in the middle of a tick. So the young are looked at
every YOUNG_EVERY_S whether there are many or not: there never are.

The C library keeps what was freed below what is still in use: after a thousand half-open handshakes that is some 30 MB
for ever. `malloc_trim(3)` gives it back (a few milliseconds for a large heap, so in a thread, and only after a crowd
has left).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable

import trio

CROWD = 128
"""So many connections fewer than there have been are worth it."""
YOUNG_EVERY_S = 0.05
MIDDLE_EVERY = 20
"""Every so many times the middle generation, too."""


async def collect_garbage() -> None:
    """Collect the young generations for ever, a little at a time."""
    turn = 0
    while True:
        await trio.sleep(YOUNG_EVERY_S)
        turn += 1
        gc.collect(0 if turn % MIDDLE_EVERY else 1)


def give_back() -> None:
    """Let the C library return free memory; nothing where it has no `malloc_trim` (glibc has)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


class Relief:
    """Gives memory back after a crowd has left."""

    def __init__(self, give_back: Callable[[], None] = give_back) -> None:
        self._give_back = give_back
        self._most = 0

    async def look(self, connections: int) -> None:
        """So many connections are there now; called once a second or so."""
        self._most = max(self._most, connections)
        if self._most - connections >= CROWD:
            self._most = connections
            await trio.to_thread.run_sync(self._give_back)
