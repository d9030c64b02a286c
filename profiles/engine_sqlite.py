"""The SQLite engine: one file in WAL mode, opened by as many processes of one machine as like.

- A write begins with BEGIN IMMEDIATE, so what it read is still true when it writes; a read begins plainly
  and blocks nobody. Whoever finds the file locked waits up to BUSY_MS, then gets ProfileStoreBusy.
- `synchronous=NORMAL`: what was committed survives any crash of ours; a power cut may take the last
  commits, never the file. Results that a room has not seen acknowledged are delivered again and apply once.
- The log is brought into the file by whoever has changed CHECKPOINT_ROWS since it did so last, and by the mode that
  takes the write lock for it: under SQLite's own automatic one another process may begin the log anew, and before
  3.51.3 commits may be lost then ("WAL-reset bug").
- A database is ours when it is empty or holds the version table; anything else is refused before a byte is
  written.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
import structlog

from profiles.model import ProfileStoreBusy, ProfileStoreError
from profiles.tables import SCHEMA, VERSION_TABLE

BUSY_MS = 5000
STATEMENTS_KEPT = 16
"""Prepared ones. Those with many values have as many texts as there may be values, and take some 10 kB each."""
CHECKPOINT_ROWS = 250
"""Changed by one connection: some 4 MB of log, where accounts are new."""
CHECKPOINT_WAIT_MS = 50
"""For who reads something older, and under the write lock; the rest of the log waits for the next time."""
_RETRY_S = 0.01

log = structlog.get_logger("holdfast.profiles")

_PROBLEMS = {
    sqlite3.SQLITE_NOTADB: "is not a database: move the file away or choose another data folder",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup, or move it away to start afresh",
    sqlite3.SQLITE_READONLY: "cannot be written: check the owner and permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check the permissions of the file and its folder",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written: check the disk",
}


@contextlib.contextmanager
def typed_errors(where: str) -> Iterator[None]:
    """Turns what the database raises into ProfileStoreError or ProfileStoreBusy, one line with the remedy."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind, the rest details
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise ProfileStoreBusy(
                f"profile database {where} is locked by another process: try again, or end that process"
            ) from error
        problem = _PROBLEMS.get(code, f"cannot be used ({error.orig}): check it, or move it away to start afresh")
        raise ProfileStoreError(f"profile database {where} {problem}") from error
    except sa.exc.SQLAlchemyError as error:
        raise ProfileStoreError(f"profile database {where}: {str(error).splitlines()[0]}") from error


def open_engine(path: Path) -> sa.Engine:
    """An engine on `path`, made with its folder when missing, migrated. Raises ProfileStoreError."""
    path = path.absolute()  # also keeps a file named ":memory:" a file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(None, "is a folder")
    except OSError as error:
        raise ProfileStoreError(
            f"profile database {path} cannot be made ({error.strerror}): choose another data folder"
        ) from error
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ProfileStoreError(f"profile database {path} {_PROBLEMS[sqlite3.SQLITE_READONLY]}")
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=sa.QueuePool,
        pool_size=1,
        max_overflow=0,
        # One call at a time, but in whichever thread Trio has at hand.
        connect_args={
            "check_same_thread": False,
            "timeout": BUSY_MS / 1000,
            "cached_statements": STATEMENTS_KEPT,
        },
    )
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", _on_begin)
    sa.event.listen(engine, "checkin", _on_checkin)
    try:
        with typed_errors(str(path)):
            _migrate(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return engine


def writing(engine: sa.Engine) -> sa.Engine:
    """The same engine, whose transactions hold the write lock from their beginning."""
    return engine.execution_options(begin="IMMEDIATE")


def _on_connect(raw: sqlite3.Connection, _record: object) -> None:
    raw.isolation_level = None  # BEGIN is ours to send, see _on_begin
    cursor = raw.cursor()
    _become_wal(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA wal_autocheckpoint=0")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _become_wal(cursor: sqlite3.Cursor) -> None:
    """Switching to WAL fails at once when another process is about to do the same: SQLite waits elsewhere."""
    deadline_s = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            # The version table is looked for first: a database that is not ours is not to be switched.
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {row[0] for row in cursor.fetchall()}
            if not tables or VERSION_TABLE in tables:
                cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(_RETRY_S)


def _on_checkin(raw: sqlite3.Connection | None, record: sa.pool.ConnectionPoolEntry) -> None:
    """A transaction is over; `raw` is None where it took the connection with it."""
    if raw is None or (raw.total_changes - record.info.get("brought_in", 0)) % 2**32 < CHECKPOINT_ROWS:  # it wraps
        return
    record.info["brought_in"] = raw.total_changes
    try:
        raw.execute(f"PRAGMA busy_timeout={CHECKPOINT_WAIT_MS}")
        try:
            raw.execute("PRAGMA wal_checkpoint(FULL)")
        finally:
            raw.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    except (sqlite3.Error, MemoryError) as error:  # the log keeps all; and who took the connection has done his work
        log.warning("profiles_not_checkpointed", error=str(error))


def _on_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN " + connection.get_execution_options().get("begin", ""))


def _migrate(engine: sa.Engine, path: Path) -> None:
    """Brings the schema to SCHEMA, all steps or none; of several processes the later ones find it done."""
    with writing(engine).begin() as connection:
        tables = sa.inspect(connection).get_table_names()
        if tables and VERSION_TABLE not in tables:
            raise ProfileStoreError(
                f"{path} is the database of another program: move it away or choose another data folder"
            )
        found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() if tables else None
        if found == SCHEMA:
            return
        from alembic import command, util  # a tenth of a second to import, and needed only now
        from alembic.config import Config

        config = Config(attributes={"connection": connection})
        folder = str(Path(__file__).parent / "migrations")
        config.set_main_option("script_location", folder.replace("%", "%%"))
        try:
            command.upgrade(config, SCHEMA)
        except util.CommandError as error:
            raise ProfileStoreError(
                f"profile database {path} has schema {found!r}, unknown to this version "
                f"(which has {SCHEMA!r}): update Holdfast or choose another data folder"
            ) from error
