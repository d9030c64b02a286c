"""Snapshots: one file for all rooms, written in a thread, a megabyte a statement; a trigger keeps the three newest.

They are read on the loop, a room a statement: each row that a thread fetches waits for the interpreter once more, and a
rescuer reads hundreds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import trio

from cluster.errors import Damaged
from cluster.model import StoredSnapshot
from cluster.sqlite.connection import RESTORE, Kind
from cluster.sqlite.file import File
from cluster.store import SNAPSHOTS_KEPT

WRITE_BYTES = 1 << 20
WRITE_ROWS = 200

SNAPSHOTS = Kind(
    "file of snapshots",
    int.from_bytes(b"HFsn", "big"),
    1,
    (
        "CREATE TABLE snapshots (id INTEGER PRIMARY KEY, room TEXT NOT NULL, epoch INTEGER NOT NULL, "
        "tick INTEGER NOT NULL, data BLOB NOT NULL)",
        "CREATE UNIQUE INDEX snapshots_newest ON snapshots (room, epoch, tick)",
        "CREATE TRIGGER snapshots_kept AFTER INSERT ON snapshots BEGIN "
        "DELETE FROM snapshots WHERE room = NEW.room AND id NOT IN (SELECT id FROM snapshots WHERE room = NEW.room "
        f"ORDER BY epoch DESC, tick DESC LIMIT {SNAPSHOTS_KEPT}); END",
    ),
)


class SqliteSnapshots:
    """The newest snapshots of every room: `cluster.store.Snapshots`."""

    def __init__(self, file: File) -> None:
        self._file = file

    async def put(self, snapshots: Sequence[StoredSnapshot]) -> None:
        await trio.lowlevel.checkpoint()
        for some in _slices(snapshots):
            values: list[Any] = [value for each in some for value in (each.room, each.epoch, each.tick, each.data)]
            await self._file.change_much(
                f"INSERT INTO snapshots (room, epoch, tick, data) VALUES {', '.join(['(?, ?, ?, ?)'] * len(some))} "
                "ON CONFLICT (room, epoch, tick) DO UPDATE SET data = excluded.data",
                values,
                sum(len(each.data) for each in some),
            )

    async def newest(self, rooms: Sequence[str], limit: int = SNAPSHOTS_KEPT) -> dict[str, list[bytes]]:
        await trio.lowlevel.checkpoint()
        found = {}
        for room in rooms:
            rows = await self._file.rows(
                "SELECT data FROM snapshots WHERE room = ? ORDER BY epoch DESC, tick DESC LIMIT ?", (room, limit)
            )
            if not all(isinstance(data, bytes) for (data,) in rows):
                raise Damaged(f"{self._file.path} is damaged: there are snapshots without bytes; {RESTORE}")
            if rows:
                found[room] = [data for (data,) in rows]
        return found

    async def delete(self, rooms: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        for start in range(0, len(rooms), WRITE_ROWS):
            some = rooms[start : start + WRITE_ROWS]
            places = ", ".join("?" * len(some))
            await self._file.change_much(f"DELETE FROM snapshots WHERE room IN ({places})", some, 0)


def _slices(snapshots: Sequence[StoredSnapshot]) -> Iterator[list[StoredSnapshot]]:
    """In their order, of WRITE_BYTES and WRITE_ROWS at most."""
    some: list[StoredSnapshot] = []
    size = 0
    for each in snapshots:
        if some and (size + len(each.data) > WRITE_BYTES or len(some) == WRITE_ROWS):
            yield some
            some, size = [], 0
        some.append(each)
        size += len(each.data)
    if some:
        yield some
