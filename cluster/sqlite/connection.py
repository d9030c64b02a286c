"""One connection to one file of ours, and what becomes of SQLite's errors.

    busy, locked                           StoreBusy         nothing was written; tried again here for up to 5 s
    disk full, I/O error, failed fsync,    StoreUnavailable  not stored, or not known to be
    read-only, gone, locked for 5 s
    malformed, wrong tables, wrong types   Damaged           the file is no longer what was stored
    another program's, a newer version's   StoreUnusable

A file appears whole or not at all: it is made under a temporary name and linked to its own. It is ours by application
id, version and schema, compared to the letter: a trigger that was changed would be a fence with a hole. Every write is
a single statement in autocommit, so no transaction is open while Python runs, and a process that is stopped holds no
lock but within SQLite itself. Nothing uses RETURNING for that reason: it commits only when its rows were fetched.
Checkpoints are not left to whoever happens to write (`wal_autocheckpoint=0`), see `cluster.sqlite.store`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import structlog
import trio

from cluster.errors import ClusterError, Damaged, StoreBusy, StoreUnavailable, StoreUnusable

BUSY_S = 5.0
TELL_AFTER_S = 1.0
"""What is busy for so long is worth a line in the log."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.002, 0.02
STATEMENTS_KEPT = 16
"""Prepared ones. An insert of many rows has as many texts as there may be rows, and takes up to 100 kB each."""

log = structlog.get_logger("holdfast.store")
T = TypeVar("T")
Row = tuple[Any, ...]
Values = Sequence[Any] | Mapping[str, Any]

_UNAVAILABLE = {
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written: check the disk",
    sqlite3.SQLITE_READONLY: "cannot be written: check the owner and permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check the folder, its permissions, and how many files may be open",
    sqlite3.SQLITE_PERM: "cannot be opened: check the permissions of the file and its folder",
    sqlite3.SQLITE_NOMEM: "cannot be used: out of memory",
}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


@attrs.frozen
class Kind:
    """What a file is. `schema`: its statements, one object each, exactly as SQLite keeps them."""

    what: str
    application_id: int
    version: int
    schema: tuple[str, ...]


class Refused(Damaged):
    """What a trigger or a constraint of the file does not let happen; damage unless the caller expects it."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Database:
    """A connection. For one thread at a time, and never across a fork."""

    def __init__(self, path: Path, kind: Kind, synchronous: str = "NORMAL", wait_s: float = 0.0) -> None:
        """Opens `path`, which must exist; `wait_s`: how long a statement waits by itself for others who write. Raises
        StoreBusy, StoreUnavailable, Damaged, StoreUnusable."""
        self.path = path
        self.closed = False
        self._pid = os.getpid()
        self._kind = kind
        try:
            self._raw = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=wait_s,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=STATEMENTS_KEPT,
            )
        except sqlite3.Error as error:
            raise typed(error, path) from error
        try:
            self._check()
            for pragma in (f"synchronous={synchronous}", "wal_autocheckpoint=0", "secure_delete=OFF"):
                self.rows(f"PRAGMA {pragma}")
        except BaseException:
            self.close()
            raise

    def rows(self, sql: str, values: Values = ()) -> list[Row]:
        """All rows of a query. Raises what `typed` makes of SQLite's errors."""
        self._check_open()
        try:
            return self._raw.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise typed(error, self.path) from error
        except UnicodeDecodeError as error:  # in SQLite's own words, which quote the file
            raise Damaged(f"{self.path} is damaged (its text is no text): {RESTORE}") from error
        except MemoryError as error:
            raise StoreUnavailable(f"{self.path} {_UNAVAILABLE[sqlite3.SQLITE_NOMEM]}") from error

    def change(self, sql: str, values: Values = ()) -> int:
        """Do a statement that writes; how many rows it wrote. Raises the same, and Refused."""
        self._check_open()
        try:
            return self._raw.execute(sql, values).rowcount
        except sqlite3.IntegrityError as error:
            raise Refused(f"{self.path} does not take this: {error}", str(error)) from error
        except sqlite3.Error as error:
            raise typed(error, self.path) from error

    def checkpoint(self) -> bool:
        """Bring what the write-ahead log holds into the file, as far as readers let it, and begin a log that is all in
        anew; False: somebody wrote all the time. For one at a time of all who have the file open.

        Whoever writes first into a log that is all in begins it anew and waits until its header is on the disk, up to
        109 ms while another file is synced: that is this connection, so that the loop's need not (it finds the file
        busy meanwhile, and comes again). Nor does a pass ever find a log that is all in: if somebody begins one anew
        under a pass, SQLite before 3.51.3 may lose commits ("WAL-reset bug").
        """
        self._check_open()
        write = f"PRAGMA application_id={self._kind.application_id};"
        try:
            self._raw.executescript(write + f"PRAGMA wal_checkpoint(PASSIVE);{write}" * 2)  # again: what came meanwhile
        except sqlite3.Error as error:
            told = typed(error, self.path)
            if not isinstance(told, StoreBusy):
                raise told from error
            return False
        except MemoryError as error:
            raise StoreUnavailable(f"{self.path} {_UNAVAILABLE[sqlite3.SQLITE_NOMEM]}") from error
        return True

    def close(self) -> None:
        """Let go. May write and sync, when nobody else has the file open."""
        self.closed = True
        self._raw.close()

    def _check_open(self) -> None:
        if self.closed:
            raise StoreUnavailable(f"{self.path}: this handle is closed")
        if self._pid != os.getpid():
            raise RuntimeError(f"{self.path} was opened before a fork: open the store anew in the child")

    def _check(self) -> None:
        kind = self._kind
        ((application_id,),) = self.rows("PRAGMA application_id")
        if application_id != kind.application_id:
            raise StoreUnusable(
                f"{self.path} is not a {kind.what} of ours but another program's file, or none: "
                "move it away or choose another data folder"
            )
        ((version,),) = self.rows("PRAGMA user_version")
        if version != kind.version:
            raise StoreUnusable(
                f"{self.path} has format {version}, unknown to this version (which has {kind.version}): "
                "update Holdfast or choose another data folder"
            )
        ((mode,),) = self.rows("PRAGMA journal_mode")
        schema = tuple(row[0] for row in self.rows("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY rowid"))
        if mode != "wal" or schema != kind.schema:
            raise Damaged(f"{self.path} is damaged: its tables are not those of a {kind.what}; {RESTORE}")


RESTORE = "restore it from a backup, or move it away"


def typed(error: sqlite3.Error, path: Path) -> ClusterError:
    """What an error of SQLite means for us, in one line with the remedy."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the low byte is the kind, the rest details
    if code in _BUSY:
        return StoreBusy(f"{path} is locked by another program")
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"{path} {_UNAVAILABLE[code]} ({error})")
    return Damaged(f"{path} is damaged ({error}): {RESTORE}")


def create(path: Path, kind: Kind, inserts: Sequence[tuple[str, Sequence[Any]]] = ()) -> bool:
    """Make a file with its first rows, all of it or nothing; False: there is one already. Syncs, so it takes a while.
    Raises StoreUnavailable, OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as raw:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA synchronous=NORMAL")  # closing it syncs
            raw.execute("BEGIN")
            raw.execute(f"PRAGMA application_id={kind.application_id}")
            raw.execute(f"PRAGMA user_version={kind.version}")
            for statement in kind.schema:
                raw.execute(statement)
            for sql, values in inserts:
                raw.execute(sql, values)
            raw.execute("COMMIT")
        os.link(temporary, path)
    except FileExistsError:
        return False
    except sqlite3.Error as error:
        raise typed(error, path) from error
    finally:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{temporary}{suffix}").unlink(missing_ok=True)
    return True


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try again while it is busy, for BUSY_S. Raises StoreUnavailable after that, and what the attempt raises."""
    began, told = trio.current_time(), False
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return await attempt()
        except StoreBusy as error:
            if not told and trio.current_time() - began >= TELL_AFTER_S:
                told = True
                log.warning("store_busy", error=str(error))
            if trio.current_time() + wait_s > began + BUSY_S:
                raise StoreUnavailable(f"{error} for {BUSY_S:g} s: end that program") from error
        await trio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)
