"""The embedded engine: a folder of SQLite files that the node processes of one machine share.

    journals/<incarnation>.db     lease, fence, records           (written by its incarnation; sealed by another)
    locks/<incarnation>.lock      held while its process lives
    directory.db, sessions.db     short statements, on the loop
    snapshots.db                  written in a thread

What survives what: `process` any end of our processes; after a power cut the last moments may be missing, so rooms may
go back by some ticks that players have seen (results stay applied once). `disk` appends survive a power
cut, too: each waits for the disk.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from cluster.errors import StoreUnusable
from cluster.sqlite import directory, sessions, snapshots
from cluster.sqlite.connection import Checkpointer, connect_patiently
from cluster.sqlite.directory import SqliteDirectory
from cluster.sqlite.journals import SqliteJournals
from cluster.sqlite.locks import Locks
from cluster.sqlite.sessions import SqliteSessions
from cluster.sqlite.snapshots import SqliteSnapshots
from cluster.store import Cipher

DURABILITIES = ("process", "disk")


class SqliteStore:
    """`cluster.store.Store`; made by `open`."""

    journals: SqliteJournals
    snapshots: SqliteSnapshots
    rooms: SqliteDirectory
    sessions: SqliteSessions

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self._files: list[sqlite3.Connection] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, folder: Path, durability: str = "process", cipher: Cipher | None = None
    ) -> AsyncIterator[SqliteStore]:
        """The store in `folder`, which is made when it is missing. Raises StoreUnusable, and ValueError for another
        durability than `process` and `disk`."""
        if durability not in DURABILITIES:
            raise ValueError(f"durability is one of {', '.join(DURABILITIES)}, not {durability!r}")
        try:
            for part in (folder / "journals", folder / "locks"):
                part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnusable(
                f"cannot use the folder {folder}: {error.strerror or error}; choose another with --data"
            ) from error
        store, checkpointer = cls(Locks(folder / "locks")), Checkpointer()
        alone: Exception | None = None
        try:
            await store._open_files(folder, durability, cipher, checkpointer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(checkpointer.run)
                try:
                    yield store
                except Exception as error:  # raised again below: bare, not in the nursery's group
                    alone = error
                nursery.cancel_scope.cancel()
        finally:
            await store.aclose()
        if alone is not None:
            raise alone

    async def _open_files(
        self, folder: Path, durability: str, cipher: Cipher | None, checkpointer: Checkpointer
    ) -> None:
        paths = [folder / name for name in ("directory.db", "sessions.db", "snapshots.db")]
        schemas = (directory.SCHEMA, sessions.SCHEMA, snapshots.SCHEMA)
        for path, schema in zip(paths, schemas, strict=True):
            self._files.append(await connect_patiently(path, schema))
            checkpointer.paths.add(path)
        self.rooms = SqliteDirectory(paths[0], self._files[0])
        self.sessions = SqliteSessions(paths[1], self._files[1], cipher)
        self.snapshots = SqliteSnapshots(paths[2], self._files[2])
        self.journals = SqliteJournals(folder / "journals", self._locks, checkpointer, full=durability == "disk")

    def alive(self, incarnation: str) -> bool | None:
        """Whether its process lives, stopped or not."""
        return self._locks.holder(incarnation) != 0

    async def aclose(self) -> None:
        """Close all files, and let go of the locks: as if this process had ended."""
        if hasattr(self, "journals"):
            self.journals.close()
        for file in self._files:
            file.close()
        self._files.clear()
        self._locks.release_all()
        await trio.lowlevel.cancel_shielded_checkpoint()
