"""Turns: HTTP works on one thing at a time, in short pieces, and rests as long as it has worked.

    bytes   ─► turn ─► parse ─► rest ─► the next
    request ─► turn ─► handle, answer ─► rest ─► the next
                          └─ waits for somebody else: away ─► others go on meanwhile

A pass of the scheduler runs everything that is ready; were that a hundred requests, a tick that is due would wait for
all of them. With turns it waits for one piece of one request, well under a millisecond, however many there are. The
rest keeps at least half of the loop's time for the game.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar

import trio

REST_MAX_S = 0.02


class Turns:
    """The turns of one node, first come, first served."""

    def __init__(self) -> None:
        self._free = trio.Semaphore(1)
        self._rest_until = 0.0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Have the turn while the block runs."""
        turn = _Turn(self)
        token = _current.set(turn)
        await turn.take()
        try:
            yield
        finally:
            turn.give()
            _current.reset(token)

    async def _take(self) -> float:
        await self._free.acquire()
        try:
            await trio.sleep_until(self._rest_until)
        except BaseException:
            self._free.release()
            raise
        return trio.current_time()

    def _give(self, since: float) -> None:
        now = trio.current_time()
        self._rest_until = now + min(now - since, REST_MAX_S)
        self._free.release()


class _Turn:
    """One connection's turn, while it has one."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._since: float | None = None

    async def take(self) -> None:
        self._since = await self._turns._take()

    def give(self) -> bool:
        """Whether we had it."""
        if self._since is None:
            return False
        since, self._since = self._since, None
        self._turns._give(since)
        return True


_current: ContextVar[_Turn | None] = ContextVar("turn", default=None)


@contextlib.asynccontextmanager
async def away() -> AsyncIterator[None]:
    """Let others have our turn, if we have it, while the block waits for somebody else: a thread, another node, a
    peer who does not read."""
    turn = _current.get()
    if turn is None or not turn.give():
        yield
        return
    yield  # where it raises, what follows is short: it goes on without the turn
    await turn.take()
