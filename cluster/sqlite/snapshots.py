"""Snapshots: a file of their own, written in a thread; a trigger keeps the three newest of each room."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from cluster.errors import StoreBusy, StoreUnavailable
from cluster.model import StoredSnapshot
from cluster.sqlite.connection import FIRST_WAIT_S, LONGEST_WAIT_S, WAIT_MAX_S, patiently, typed
from cluster.store import SNAPSHOTS_KEPT

SCHEMA = f"""
CREATE TABLE snapshots(
    room TEXT NOT NULL, epoch INTEGER NOT NULL, tick INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (room, epoch, tick)
);
CREATE TRIGGER newest AFTER INSERT ON snapshots BEGIN
    DELETE FROM snapshots WHERE room = NEW.room AND rowid NOT IN (
        SELECT rowid FROM snapshots WHERE room = NEW.room ORDER BY epoch DESC, tick DESC LIMIT {SNAPSHOTS_KEPT}
    );
END;
"""
AT_ONCE = 64
FEW = 2
"""So many are written and read at once, on the loop: less than a millisecond, and a thread takes ten to come back."""
_NEWEST = """
SELECT room, data FROM (
    SELECT room, epoch, tick, data, row_number() OVER (PARTITION BY room ORDER BY epoch DESC, tick DESC) AS place
    FROM snapshots WHERE room IN (SELECT value FROM json_each(?))
) WHERE place <= ? ORDER BY room, epoch DESC, tick DESC
"""
T = TypeVar("T")


class SqliteSnapshots:
    """`cluster.store.Snapshots` in a file."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path, self._db = path, db
        self._turn = trio.CapacityLimiter(1)

    async def put(self, snapshots: Sequence[StoredSnapshot]) -> None:
        """See `cluster.store.Snapshots`."""
        if len(snapshots) <= FEW:
            await patiently(self._path, partial(self._put, snapshots))
            return
        for at in range(0, len(snapshots), AT_ONCE):
            await self._in_thread(partial(self._put, snapshots[at : at + AT_ONCE]))

    def _put(self, some: Sequence[StoredSnapshot]) -> None:
        if not some:
            return
        values = itertools.chain.from_iterable((one.room, one.epoch, one.tick, one.data) for one in some)
        places = ", ".join(["(?, ?, ?, ?)"] * len(some))
        with typed(self._path):
            self._db.execute(f"INSERT OR REPLACE INTO snapshots(room, epoch, tick, data) VALUES {places}", [*values])

    async def newest(self, rooms: Sequence[str], limit: int = SNAPSHOTS_KEPT) -> dict[str, list[bytes]]:
        """See `cluster.store.Snapshots`."""
        look = partial(self._newest, json.dumps(list(rooms)), limit)
        rows = await (patiently(self._path, look) if len(rooms) <= FEW else self._in_thread(look))
        found: dict[str, list[bytes]] = {}
        for room, data in rows:
            found.setdefault(room, []).append(data)
        return found

    def _newest(self, rooms: str, limit: int) -> list[tuple[str, bytes]]:
        with typed(self._path):
            return self._db.execute(_NEWEST, (rooms, limit)).fetchall()

    async def delete(self, rooms: Sequence[str]) -> None:
        """See `cluster.store.Snapshots`."""
        await self._in_thread(partial(self._delete, json.dumps(list(rooms))))

    def _delete(self, rooms: str) -> None:
        with typed(self._path):
            self._db.execute("DELETE FROM snapshots WHERE room IN (SELECT value FROM json_each(?))", (rooms,))

    async def _in_thread(self, act: Callable[[], T]) -> T:
        """Do it in a thread, again while the file is locked. Raises StoreUnavailable when it stays locked."""
        deadline, wait_s = trio.current_time() + WAIT_MAX_S, FIRST_WAIT_S
        while True:
            try:
                return await trio.to_thread.run_sync(act, limiter=self._turn)
            except StoreBusy:
                if trio.current_time() >= deadline:
                    raise StoreUnavailable(f"{self._path} stays locked by another program") from None
            await trio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
