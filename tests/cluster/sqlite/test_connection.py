"""Connections: what SQLite's errors mean for us, files that appear whole or not at all, and what must not be done."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from cluster.errors import ClusterError, Damaged, StoreBusy, StoreUnavailable
from cluster.sqlite.connection import Database, Kind, Refused, create, typed

KIND = Kind("list", 77, 1, ("CREATE TABLE things (name TEXT PRIMARY KEY)",))
WHERE = Path("folder/list.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "list.db"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (sqlite3.SQLITE_BUSY, StoreBusy, "locked by another program"),
        (sqlite3.SQLITE_BUSY_RECOVERY, StoreBusy, "locked"),
        (sqlite3.SQLITE_FULL, StoreUnavailable, "disk is full"),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreUnavailable, "check the disk"),
        (sqlite3.SQLITE_IOERR_WRITE, StoreUnavailable, "check the disk"),
        (sqlite3.SQLITE_READONLY, StoreUnavailable, "permissions"),
        (sqlite3.SQLITE_CANTOPEN, StoreUnavailable, "permissions"),
        (sqlite3.SQLITE_CORRUPT, Damaged, "restore it"),
        (sqlite3.SQLITE_NOTADB, Damaged, "restore it"),
        (sqlite3.SQLITE_ERROR, Damaged, "restore it"),
    ],
)
def test_an_error_of_sqlite_becomes_one_clear_line(code: int, kind: type[ClusterError], words: str) -> None:
    error = sqlite3.OperationalError("SQLite's words")
    error.sqlite_errorcode = code
    told = typed(error, WHERE)
    assert type(told) is kind
    assert words in str(told)
    assert str(WHERE) in str(told)
    assert "\n" not in str(told)


def test_a_file_that_cannot_grow_is_full_until_there_is_room(path: Path) -> None:
    create(path, KIND)
    database = Database(path, KIND)
    ((pages,),) = database.rows("PRAGMA page_count")
    database.rows(f"PRAGMA max_page_count={pages + 1}")
    with pytest.raises(StoreUnavailable, match="disk is full"):
        database.change("INSERT INTO things VALUES (?)", ("x" * 100_000,))
    assert database.rows("SELECT * FROM things") == []
    database.rows(f"PRAGMA max_page_count={pages + 100}")
    assert database.change("INSERT INTO things VALUES (?)", ("x" * 100_000,)) == 1
    database.close()


def test_of_many_who_make_a_file_at_once_one_does_and_all_can_use_it(path: Path) -> None:
    made: list[bool] = []

    def make(name: str) -> None:
        made.append(create(path, KIND, [("INSERT INTO things VALUES (?)", (name,))]))
        while True:
            with contextlib.suppress(StoreBusy):  # whoever closes it last has it alone for a moment
                database = Database(path, KIND)
                assert len(database.rows("SELECT name FROM things")) == 1
                database.close()
                return

    threads = [threading.Thread(target=make, args=(f"thread {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 5 + [True]
    assert [file.name for file in path.parent.iterdir()] == [path.name], "nothing is left lying about"


def test_a_file_whose_making_fails_is_not_there(path: Path) -> None:
    with pytest.raises(Damaged):
        create(path, KIND, [("INSERT INTO nothing VALUES (1)", ())])
    assert list(path.parent.iterdir()) == []


def test_what_a_constraint_refuses_is_told_with_its_reason(path: Path) -> None:
    create(path, KIND, [("INSERT INTO things VALUES ('a')", ())])
    database = Database(path, KIND)
    with pytest.raises(Refused) as told:
        database.change("INSERT INTO things VALUES ('a')")
    assert told.value.reason == "UNIQUE constraint failed: things.name"
    database.close()


def test_a_connection_is_not_used_after_a_fork(path: Path) -> None:
    create(path, KIND)
    database = Database(path, KIND)
    pid = os.fork()
    if not pid:
        try:
            database.rows("SELECT * FROM things")
        except RuntimeError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert database.rows("SELECT * FROM things") == []
    database.close()


def begun_anew(path: Path) -> int:
    """How often the log was begun anew; SQLite's file format, 4.1: salt-1."""
    with open(f"{path}-wal", "rb") as log:
        return int.from_bytes(log.read(20)[16:], "big")


def said_by(database: Database) -> list[str]:
    said: list[str] = []
    database._raw.set_trace_callback(lambda statement: said.append(statement.strip()))
    return said


WRITE, PASS = "PRAGMA application_id=77;", "PRAGMA wal_checkpoint(PASSIVE);"


def test_a_log_that_is_all_in_is_begun_anew_by_who_has_brought_it_in(path: Path) -> None:
    """Its header is synced, and whoever writes it waits for the disk: not the next one on the loop."""
    create(path, KIND)
    loop, keeper = Database(path, KIND), Database(path, KIND)
    loop.change("INSERT INTO things VALUES ('first')")
    before = begun_anew(path)
    assert keeper.checkpoint()
    after = (before + 2) % 2**32  # once behind each pass
    assert begun_anew(path) == after
    loop.change("INSERT INTO things VALUES ('second')")
    assert begun_anew(path) == after
    assert keeper.rows("SELECT name FROM things") == [("first",), ("second",)]
    loop.close()
    keeper.close()


def test_no_pass_finds_a_log_that_is_all_in(path: Path) -> None:
    """Else somebody may begin it anew meanwhile, and SQLite before 3.51.3 forget what he has written."""
    create(path, KIND)
    loop, keeper = Database(path, KIND), Database(path, KIND)
    loop.change("INSERT INTO things VALUES ('first')")
    said = said_by(keeper)
    assert keeper.checkpoint()
    assert said == [WRITE, PASS, WRITE, PASS, WRITE]
    said.clear()
    loop.change("BEGIN IMMEDIATE")
    assert not keeper.checkpoint()
    assert said == [WRITE], "the log may be all in: no pass"
    loop.change("COMMIT")
    loop.close()
    keeper.close()


def test_who_reads_something_older_keeps_the_log(path: Path) -> None:
    create(path, KIND)
    reader, loop, keeper = Database(path, KIND), Database(path, KIND), Database(path, KIND)
    loop.change("INSERT INTO things VALUES ('first')")
    reader.rows("BEGIN")
    assert reader.rows("SELECT count(*) FROM things") == [(1,)]
    before = begun_anew(path)
    loop.change("INSERT INTO things VALUES ('second')")
    assert keeper.checkpoint()
    assert begun_anew(path) == before
    assert reader.rows("SELECT count(*) FROM things") == [(1,)]
    reader.rows("COMMIT")
    assert reader.rows("SELECT count(*) FROM things") == [(2,)]
    for database in (reader, loop, keeper):
        database.close()
