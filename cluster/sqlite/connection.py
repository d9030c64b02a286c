"""Connections to our SQLite files, and what SQLite says in our words.

- Autocommit, and every write a single statement: no transaction is ever open while Python code runs, so a process that
  is killed or stopped between two lines leaves nothing half done and holds nothing.
- WAL with `synchronous=NORMAL` survives any crash of ours; FULL (durability `disk`) a power cut, too.
- No connection waits for a lock (a tick must not): BUSY comes back as StoreBusy, and whoever can wait tries again.
- Checkpoints are somebody else's (`Checkpointer`): a commit never stops to write the main file.
- Nothing but SQLite opens these files: closing any other descriptor of one would drop SQLite's locks (POSIX).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import trio

from cluster.errors import ClusterError, Damaged, StoreBusy, StoreUnavailable, StoreUnusable

APPLICATION_ID = 0x48464C44  # "HFLD"
VERSION = 1
WAIT_MAX_S = 5.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.001, 0.02

T = TypeVar("T")
_WHY = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk does not read or write (I/O error)",
    sqlite3.SQLITE_READONLY: "it cannot be written: check the owner and permissions",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the permissions and the limit of open files",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
}


def connect(path: Path, schema: str = "", *, full: bool = False) -> sqlite3.Connection:
    """A connection to one of our files; with a `schema` the file is made when it is missing. Raises StoreUnusable for
    one that is not ours or of a newer version, else what `typed` raises."""
    if not schema and not path.exists():
        raise StoreUnavailable(f"{path} is not there (any more)")
    with typed(path):
        db = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
        try:
            (found,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and found != APPLICATION_ID:
                raise StoreUnusable(
                    f"{path} is the database of another program: move it away, or choose another --data"
                )
            if version > VERSION:
                raise StoreUnusable(
                    f"{path} was written by a newer Holdfast: update this one, or choose another --data"
                )
            if not tables and schema:
                db.execute("PRAGMA journal_mode=WAL")
                db.executescript(
                    f"BEGIN IMMEDIATE; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION};"
                    f"{schema} COMMIT;"
                )
            db.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
            db.execute("PRAGMA wal_autocheckpoint=0")
        except BaseException:
            db.close()
            raise
        return db


async def connect_patiently(path: Path, schema: str) -> sqlite3.Connection:
    """`connect` to a file that several processes may be about to make."""
    return await patiently(path, lambda: connect(path, schema))


async def patiently(path: Path, act: Callable[[], T]) -> T:
    """Do something short with a file that other processes write, too; again and again while it is locked.

    Raises StoreUnavailable when it stays locked for WAIT_MAX_S.
    """
    await trio.lowlevel.checkpoint()
    deadline, wait_s = trio.current_time() + WAIT_MAX_S, FIRST_WAIT_S
    while True:
        try:
            return act()
        except StoreBusy:
            if trio.current_time() >= deadline:
                raise StoreUnavailable(
                    f"{path} is locked by another program for {WAIT_MAX_S:g} s: end what has it open"
                ) from None
        await trio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


@contextlib.contextmanager
def typed(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into StoreBusy, StoreUnavailable and Damaged, one line each."""
    try:
        yield
    except sqlite3.Error as error:
        raise told(path, error) from error


def told(path: Path, error: sqlite3.Error) -> ClusterError:
    """SQLite's error in our words."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"{path} is being written by another")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Damaged(f"{path} is damaged ({error}): restore it from a backup, or move it away")
    return StoreUnavailable(f"{path}: {_WHY.get(code, error)}")


class Checkpointer:
    """Moves what was committed from the write-ahead logs into the main files, in a thread, when there is much of it."""

    EVERY_S = 1.0
    WAL_BYTES = 8 << 20

    def __init__(self) -> None:
        self.paths: set[Path] = set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await trio.sleep(self.EVERY_S)
            for path in sorted(self.paths):
                with contextlib.suppress(OSError, ClusterError):
                    if path.with_name(path.name + "-wal").stat().st_size >= self.WAL_BYTES:
                        await trio.to_thread.run_sync(checkpoint, path)


def checkpoint(path: Path) -> None:
    """Write what the log holds into the main file, as far as nobody reads it there. Blocks on the disk."""
    db = connect(path)
    try:
        with typed(path):
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        db.close()
