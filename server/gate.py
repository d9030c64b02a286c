"""The gate: what a tick brought about waits here until the tick's journal record is stored.

At most two ticks wait. A third finds the gate full and waits before it is stepped, so a slow store slows the game
down and never makes it lie. Ticks leave in the order in which they came, each exactly once, and only while the node
has the right to run rooms (`Right`); when the journal is fenced, none leaves any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import trio

from cluster.journal import Append

WAITING_MAX = 2


class Right(Protocol):
    """Whether this node may run rooms now (`server.tenure.Tenure`)."""

    @property
    def held(self) -> bool:
        """Whether it may."""

    async def until_held(self) -> None:
        """Wait until it may."""


class Always:
    """The right of a node that shares its rooms with nobody."""

    held = True

    async def until_held(self) -> None:
        """Return at once (a checkpoint)."""
        await trio.lowlevel.checkpoint()


class Gate:
    """Holds back the outcome of ticks. `run` must be running."""

    def __init__(self, right: Right | None = None) -> None:
        self._right = right or Always()
        self._waiting: deque[tuple[Append, Callable[[], None]]] = deque()
        self._came = trio.Event()
        self._left = trio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(self, append: Append, release: Callable[[], None]) -> None:
        """Call `release` when `append` is stored and everything held before it is released; now, where both hold."""
        if append.stored and not self._waiting and self._right.held:
            release()
            return
        self._waiting.append((append, release))
        self._came.set()

    async def until_free(self) -> None:
        """Wait until another tick may be stepped."""
        while len(self._waiting) >= WAITING_MAX:
            self._left = trio.Event()
            await self._left.wait()

    async def run(self) -> None:
        """Release ticks as their records are stored. Raises what an append's `wait` raises (JournalFenced)."""
        while True:
            while self._waiting:
                append, release = self._waiting[0]
                await append.wait()
                await self._right.until_held()
                self._waiting.popleft()
                release()
                self._left.set()
            self._came = trio.Event()
            await self._came.wait()
