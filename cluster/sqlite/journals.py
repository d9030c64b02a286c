"""Journals: one file for each incarnation, its lease and its fence beside its records.

    lease     one row: what members tell (msgpack), sealed, tip
    records   position, data

An append is one INSERT: triggers refuse it when the lease is sealed or the position is not the next, and move the tip,
all in the same transaction. In durability `process` it is done directly on the loop: 0.05 ms, where a hop into a thread
and back costs 12 ms under a busy loop. In durability `disk` it waits for the disk, in a thread of its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import attrs
import msgpack
import trio

from cluster.errors import (
    Damaged,
    JournalFenced,
    NodeTaken,
    StoreUnavailable,
    StoreUnusable,
    UnknownJournal,
)
from cluster.model import Member
from cluster.sqlite.connection import Checkpointer, connect, patiently, told, typed
from cluster.sqlite.locks import Locks
from cluster.store import PRUNE_BYTES_MAX, READ_BYTES_MAX

SCHEMA = """
CREATE TABLE lease(
    id INTEGER PRIMARY KEY CHECK (id = 1), member BLOB NOT NULL, sealed INTEGER NOT NULL, tip INTEGER NOT NULL
);
CREATE TABLE records(position INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TRIGGER only_next BEFORE INSERT ON records BEGIN
    SELECT RAISE(ABORT, 'fenced') FROM lease WHERE sealed;
    SELECT RAISE(ABORT, 'not next') FROM lease WHERE NEW.position != tip + 1;
END;
CREATE TRIGGER tip AFTER INSERT ON records BEGIN UPDATE lease SET tip = NEW.position; END;
"""
_APPEND = "INSERT INTO records VALUES (?, ?)"
_LEASE = "SELECT member, sealed, tip FROM lease"


class SqliteJournals:
    """`cluster.store.Journals` in a folder."""

    def __init__(self, folder: Path, locks: Locks, checkpointer: Checkpointer, *, full: bool) -> None:
        self.direct = not full
        self._full = full
        self._folder = folder
        self._locks = locks
        self._checkpointer = checkpointer
        self._open: dict[str, sqlite3.Connection] = {}
        self._writer = trio.CapacityLimiter(1)

    def close(self) -> None:
        """Close all files."""
        for db in self._open.values():
            db.close()
        self._open.clear()

    # -- leases -------------------------------------------------------------------------------------------------------

    async def open(self, member: Member) -> None:
        """See `cluster.store.Journals`."""
        await trio.lowlevel.checkpoint()
        incarnation, path = member.incarnation, self._path(member.incarnation)
        if path.exists():
            raise StoreUnusable(f"{incarnation} was there before; an incarnation lives once")
        pid = self._locks.take(node_lock(member.node))
        if pid:
            raise NodeTaken(
                f"a server named {member.node!r} runs on {self._folder.parent} already (process {pid}): "
                "end it, or choose another --node or --data"
            )
        self._locks.take(incarnation)
        db = await patiently(path, lambda: connect(path, SCHEMA, full=self._full))
        self._open[incarnation] = db
        with typed(path):
            db.execute("INSERT INTO lease VALUES (1, ?, 0, 0)", (_dump(member),))
        self._checkpointer.paths.add(path)

    async def renew(self, member: Member) -> None:
        """See `cluster.store.Journals`."""
        await patiently(self._path(member.incarnation), lambda: self._renew(member))

    def _renew(self, member: Member) -> None:
        db = self._db(member.incarnation)
        with typed(self._path(member.incarnation)):
            done = db.execute("UPDATE lease SET member = ? WHERE NOT sealed", (_dump(member),))
        if not done.rowcount:
            raise JournalFenced(f"{member.incarnation} is sealed")

    async def members(self) -> list[Member]:
        """See `cluster.store.Journals`."""
        await trio.lowlevel.checkpoint()
        found = []
        for path in sorted(self._folder.glob("*.db")):
            with contextlib.suppress(UnknownJournal):
                found.append(await patiently(path, lambda name=path.stem: self._member(name)))  # type: ignore[misc]
        return found

    async def seal(self, incarnation: str) -> int:
        """See `cluster.store.Journals`."""
        await trio.lowlevel.checkpoint()
        self._db(incarnation)
        await self._locks.end(incarnation)
        return await patiently(self._path(incarnation), lambda: self._seal(incarnation))

    def _seal(self, incarnation: str) -> int:
        with typed(self._path(incarnation)):
            row = self._db(incarnation).execute("UPDATE lease SET sealed = 1 RETURNING tip").fetchall()
        if not row:
            raise UnknownJournal(f"the journal of {incarnation} was never begun")
        return int(row[0][0])

    # -- records ------------------------------------------------------------------------------------------------------

    def append_now(self, incarnation: str, position: int, data: bytes) -> None:
        """See `cluster.store.Journals`."""
        if not self.direct:
            raise RuntimeError("appends to this store are to be awaited")
        self._append(incarnation, position, data)

    async def append(self, incarnation: str, position: int, data: bytes) -> None:
        """See `cluster.store.Journals`."""
        if self.direct:
            await trio.lowlevel.checkpoint()
            self._append(incarnation, position, data)
        else:
            await trio.to_thread.run_sync(self._append, incarnation, position, data, limiter=self._writer)

    def _append(self, incarnation: str, position: int, data: bytes) -> None:
        db = self._open.get(incarnation) or self._db(incarnation)
        try:
            db.execute(_APPEND, (position, data))
        except sqlite3.IntegrityError as error:
            why = str(error)
            if why == "fenced":
                raise JournalFenced(f"{incarnation} is sealed") from None
            if db.execute("SELECT data FROM records WHERE position = ?", (position,)).fetchone() != (data,):
                raise ValueError(f"record {position} does not go behind the tip of {incarnation}: {why}") from None
        except sqlite3.Error as error:
            raise told(self._path(incarnation), error) from error

    async def read(self, incarnation: str, first: int, last: int, bytes_max: int = READ_BYTES_MAX) -> list[bytes]:
        """See `cluster.store.Journals`."""
        return await patiently(self._path(incarnation), lambda: self._read(incarnation, first, last, bytes_max))

    def _read(self, incarnation: str, first: int, last: int, bytes_max: int) -> list[bytes]:
        last = min(last, self._member(incarnation).tip)
        found: list[bytes] = []
        size = 0
        with typed(self._path(incarnation)):
            rows = self._db(incarnation).execute(
                "SELECT position, data FROM records WHERE position BETWEEN ? AND ? ORDER BY position", (first, last)
            )
            for position, data in rows:
                if position != first + len(found):
                    break
                size += len(data)
                if found and size > bytes_max:
                    return found
                found.append(data)
            rows.close()
        if first + len(found) <= last and not found:
            raise Damaged(f"record {first} of {incarnation} is not there (any more)")
        return found

    async def prune(self, incarnation: str, through: int, bytes_max: int = PRUNE_BYTES_MAX) -> bool:
        """See `cluster.store.Journals`."""
        return await patiently(self._path(incarnation), lambda: self._prune(incarnation, through, bytes_max))

    def _prune(self, incarnation: str, through: int, bytes_max: int) -> bool:
        db, size, until, whole = self._db(incarnation), 0, 0, True
        with typed(self._path(incarnation)):
            rows = db.execute(
                "SELECT position, length(data) FROM records WHERE position <= ? ORDER BY position", (through,)
            )
            for position, length in rows:
                size += length
                if until and size > bytes_max:
                    whole = False
                    break
                until = position
            rows.close()
            db.execute("DELETE FROM records WHERE position <= ?", (until,))
        return whole

    async def remove(self, incarnation: str) -> None:
        """See `cluster.store.Journals`."""
        await trio.lowlevel.checkpoint()
        path = self._path(incarnation)
        try:
            if not self._member(incarnation).sealed:
                raise ValueError(f"the journal of {incarnation} is not sealed")
        except (UnknownJournal, Damaged):
            pass
        db = self._open.pop(incarnation, None)
        if db is not None:
            db.close()
        self._checkpointer.paths.discard(path)
        for name in (path.name, path.name + "-wal", path.name + "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(name).unlink()
        self._locks.forget(incarnation)

    # -- files --------------------------------------------------------------------------------------------------------

    def _member(self, incarnation: str) -> Member:
        with typed(self._path(incarnation)):
            row = self._db(incarnation).execute(_LEASE).fetchone()
        if row is None:
            raise UnknownJournal(f"the journal of {incarnation} is not begun yet")
        return attrs.evolve(_load(row[0]), sealed=bool(row[1]), tip=row[2])

    def _db(self, incarnation: str) -> sqlite3.Connection:
        path = self._path(incarnation)
        if not path.exists():
            gone = self._open.pop(incarnation, None)
            if gone is not None:
                gone.close()
            raise UnknownJournal(f"there is no journal of {incarnation}")
        if incarnation not in self._open:
            try:
                db = connect(path, full=self._full)
            except StoreUnavailable:
                if path.exists():
                    raise
                raise UnknownJournal(f"there is no journal of {incarnation}") from None
            with typed(path):
                tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables == (0,):
                db.close()
                raise UnknownJournal(f"the journal of {incarnation} is not begun yet")
            self._open[incarnation] = db
        return self._open[incarnation]

    def _path(self, incarnation: str) -> Path:
        return self._folder / f"{incarnation}.db"


def node_lock(node: str) -> str:
    """Name of the lock of a node's name."""
    return f"node-{node}"


def _dump(member: Member) -> bytes:
    fields = attrs.asdict(member)
    del fields["sealed"], fields["tip"]
    data: bytes = msgpack.packb(fields)
    return data


def _load(data: bytes) -> Member:
    try:
        fields: dict[str, Any] = msgpack.unpackb(data)
        return Member(**fields)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Damaged(f"a lease makes no sense: {error}") from error
