"""A file of the store as its owner uses it: short statements on the loop itself, the others in a thread.

    loop     statements of well under 2 ms: through a thread they would take 12 ms under a busy loop
    writer   statements that are to be on the disk (synchronous=FULL) before they return, where that is promised
    keeper   big writes, prunes, checkpoints

Each is a connection of its own, opened when it is first needed. Those of the threads are used by one at a time. Of all
processes that share a file one at a time brings its log in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from cluster.errors import StoreUnavailable
from cluster.sqlite.connection import Database, Kind, Row, Values, patiently
from cluster.sqlite.locks import turn

CHECKPOINT_BYTES = 8 << 20
LITTLE_BYTES = 16 << 10
PAGES_BYTES = 8192
"""About what the smallest write adds to the log."""
KEEPER_WAIT_S = 0.5
"""The keeper waits in its thread for others who write."""

T = TypeVar("T")


@attrs.define(eq=False)
class _Hand:
    """A connection that is used in threads, by one at a time."""

    open: Callable[[], Database]
    _database: Database | None = None
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    async def do(self, act: Callable[[Database], T]) -> T:
        return await trio.to_thread.run_sync(self._do, act, limiter=self._limiter)

    def _do(self, act: Callable[[Database], T]) -> T:
        if self._database is None:
            self._database = self.open()
        return act(self._database)

    async def aclose(self) -> None:
        if self._database is not None:
            await self.do(Database.close)


class File:
    """A file. With `synced`, what `change` writes is on the disk when it returns. `turn`: the lock that is held by
    whoever brings its log in; None for a file that no other process brings in."""

    def __init__(self, path: Path, kind: Kind, synced: bool, turn: Path | None = None) -> None:
        self.path = path
        self.grown_bytes = 0
        """Written by us, roughly, since the last checkpoint."""
        self.kind = kind
        self._synced = synced
        self._turn = turn
        self._closed = False
        self._loop: Database | None = None
        self._writer = _Hand(lambda: self._opened("FULL"))
        self._keeper = _Hand(lambda: self._opened("NORMAL", KEEPER_WAIT_S))

    def now(self) -> Database:
        """The loop's connection, for statements without awaiting."""
        if self._loop is None:
            self._loop = self._opened("NORMAL")
        return self._loop

    async def read(self, act: Callable[[Database], T]) -> T:
        """Do something short on the loop, again while it is busy."""

        async def attempt() -> T:
            await trio.lowlevel.checkpoint()
            return act(self.now())

        return await patiently(attempt)

    async def rows(self, sql: str, values: Values = ()) -> list[Row]:
        """All rows of a short query."""
        return await self.read(lambda database: database.rows(sql, values))

    async def change(self, sql: str, values: Values = ()) -> int:
        """Do a short statement that writes; how many rows it wrote. Raises Refused, too."""
        self.grown_bytes += PAGES_BYTES
        if self._synced:
            return await self.write(lambda database: database.change(sql, values))
        return await self.read(lambda database: database.change(sql, values))

    async def write(self, act: Callable[[Database], T]) -> T:
        """Do something in a thread that is on the disk when it returns."""
        return await patiently(lambda: self._writer.do(act))

    async def keep(self, act: Callable[[Database], T], size_bytes: int = 0) -> T:
        """Do something long in a thread."""
        self.grown_bytes += size_bytes
        return await patiently(lambda: self._keeper.do(act))

    async def change_much(self, sql: str, values: Values, size_bytes: int) -> int:
        """Do a statement that writes much, in a thread; little is written at once, for a thread takes long to come
        back."""
        if size_bytes <= LITTLE_BYTES:
            return await self.change(sql, values)
        self.grown_bytes += size_bytes
        hand = self._writer if self._synced else self._keeper
        return await patiently(lambda: hand.do(lambda database: database.change(sql, values)))

    async def checkpoint(self) -> None:
        """Bring the write-ahead log into the file when it has grown."""
        if self.grown_bytes >= CHECKPOINT_BYTES and await self.keep(self._bring_in):
            self.grown_bytes = 0

    async def aclose(self) -> None:
        """Let go of all connections; what comes later raises StoreUnavailable."""
        self._closed = True
        with trio.CancelScope(shield=True):
            for hand in (self._writer, self._keeper):
                await hand.aclose()
            if self._loop is not None:
                await trio.to_thread.run_sync(self._loop.close)

    def _bring_in(self, database: Database) -> bool:
        """Whether we or another process have done it."""
        if self._turn is None:
            return database.checkpoint()
        with turn(self._turn) as ours:
            return database.checkpoint() if ours else True

    def _opened(self, synchronous: str, wait_s: float = 0.0) -> Database:
        if self._closed:
            raise StoreUnavailable(f"{self.path}: this handle is closed")
        return Database(self.path, self.kind, synchronous, wait_s)
