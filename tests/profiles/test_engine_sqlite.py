import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from profiles import engine_sqlite, tables
from profiles.model import ProfileStoreBusy, ProfileStoreError
from profiles.store import Store
from tests.profiles.helpers import login

ROOT = Path(__file__).parents[2]


def _refused(path: Path) -> str:
    with pytest.raises(ProfileStoreError) as caught:
        Store.open(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_folder_and_file_are_made_and_kept_over_reopening(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "100%?#" / "p.db"
    for expected in (1, 1):
        store = Store.open(path)
        store.guests([login(1)], 1.0)
        assert store.count() == expected
        store.close()
    assert [file.name for file in path.parent.iterdir()] == ["p.db"]


def test_pragmas(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "p.db")
    with store.engine.connect() as db:
        found = {
            name: db.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "wal_autocheckpoint")
        }
    store.close()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 1,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "wal_autocheckpoint": 0,
    }


def test_the_log_is_brought_in_under_the_write_lock_when_it_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_sqlite, "CHECKPOINT_ROWS", 30)
    store, said = Store.open(tmp_path / "p.db"), list[str]()
    with store.engine.connect() as db:
        raw = db.connection.driver_connection
        assert raw is not None
        raw.set_trace_callback(said.append)
        begun_at = raw.total_changes
    for n in range(100):
        store.guests([login(n)], 1.0)
    brought = [line for line in said if "wal_checkpoint" in line]
    assert set(brought) == {"PRAGMA wal_checkpoint(FULL)"}
    assert raw.total_changes - begun_at >= 100
    assert len(brought) == pytest.approx((raw.total_changes - begun_at) / 30, abs=2)
    at = said.index(brought[0])
    assert said[at - 2].startswith(("COMMIT", "ROLLBACK")), "outside of any transaction"
    assert [said[at - 1], said[at + 1]] == [f"PRAGMA busy_timeout={ms}" for ms in (50, 5000)]
    assert store.count() == 100
    assert (tmp_path / "p.db-wal").stat().st_size < 1_000_000, "each log-in adds some 24 kB: it was begun anew"
    store.close()


def test_who_reads_something_older_goes_on_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_sqlite, "CHECKPOINT_ROWS", 1)
    path = tmp_path / "p.db"
    store = Store.open(path)
    store.guests([login(0)], 1.0)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    count = "SELECT count(*) FROM accounts"
    assert reader.execute(count).fetchone() == (1,)
    for n in range(1, 4):  # each brings in what it can
        store.guests([login(n)], 1.0)
    with store.engine.connect() as db:
        assert db.exec_driver_sql("PRAGMA busy_timeout").scalar() == engine_sqlite.BUSY_MS
    assert reader.execute(count).fetchone() == (1,)
    reader.execute("COMMIT")
    assert reader.execute(count).fetchone() == (4,)
    reader.close()
    store.close()


def test_a_log_that_cannot_be_brought_in_is_told_of_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_sqlite, "CHECKPOINT_ROWS", 1)
    store = Store.open(tmp_path / "p.db")

    def refuse(action: int, what: str | None, *_: str | None) -> int:
        return sqlite3.SQLITE_DENY if (action, what) == (sqlite3.SQLITE_PRAGMA, "wal_checkpoint") else sqlite3.SQLITE_OK

    with store.engine.connect() as db:
        raw = db.connection.driver_connection
        assert raw is not None
        raw.set_authorizer(refuse)
    with capture_logs() as lines:
        store.guests([login(1)], 1.0)
    assert [line["event"] for line in lines] == ["profiles_not_checkpointed"]
    assert raw.execute("PRAGMA busy_timeout").fetchone() == (engine_sqlite.BUSY_MS,)
    assert store.count() == 1
    store.close()


def test_garbage_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    path.write_bytes(b"not a database at all" * 500)
    assert "not a database: move the file away" in _refused(path)
    assert path.read_bytes() == b"not a database at all" * 500


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    Store.open(path).close()
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\xff" * 4000 + data[4100:])  # the schema's page; the header is whole
    assert "damaged" in _refused(path)


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE accounts (id)")
    db.commit()
    db.close()
    before = path.read_bytes()
    assert "another program" in _refused(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    Store.open(path).close()
    db = sqlite3.connect(path)
    db.execute(f"UPDATE {tables.VERSION_TABLE} SET version_num = '9999'")
    db.commit()
    db.close()
    message = _refused(path)
    assert "9999" in message
    assert "update Holdfast" in message


def test_a_path_below_a_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "choose another data folder" in _refused(tmp_path / "file" / "sub" / "p.db")


def test_a_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.db").mkdir()
    assert "is a folder" in _refused(tmp_path / "p.db")


def test_no_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, whom no permission stops: so the system's answer is made here.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "permissions" in _refused(tmp_path / "p.db")


def test_a_migration_that_fails_leaves_an_empty_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.db"
    with monkeypatch.context() as patch:
        patch.setattr(engine_sqlite, "SCHEMA", "no-such-revision")
        _refused(path)
    db = sqlite3.connect(path)
    assert db.execute("SELECT name FROM sqlite_master").fetchall() == []
    db.close()
    Store.open(path).close()


def test_a_file_locked_by_another_process_is_busy_and_then_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_sqlite, "BUSY_MS", 0)
    store = Store.open(tmp_path / "p.db")
    other = sqlite3.connect(tmp_path / "p.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ProfileStoreBusy, match="locked"):
        store.guests([login(1)], 1.0)
    assert store.count() == 0  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    assert len(store.guests([login(1)], 1.0)) == 1
    store.close()


def test_a_store_that_breaks_later_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "p.db")
    with store.engine.begin() as db:
        db.execute(sa.schema.DropTable(tables.profiles))
    with pytest.raises(ProfileStoreError, match="no such table"):
        store.profile("x")
    store.close()


def test_the_switch_to_wal_is_tried_again_while_another_process_is_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / "p.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        other.execute("ROLLBACK")

    monkeypatch.setattr("profiles.engine_sqlite.time.sleep", nap)
    ours = sqlite3.connect(tmp_path / "p.db", timeout=0, isolation_level=None)
    engine_sqlite._become_wal(ours.cursor())
    assert len(naps) == 1
    assert ours.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    ours.close()
    other.close()


def test_threads_that_open_a_fresh_file_at_once_all_succeed(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def open_it(path: Path, barrier: threading.Barrier, number: int) -> None:
        barrier.wait()
        try:
            store = Store.open(path)
            store.guests([login(number), login(0)], 1.0)
            store.close()
        except BaseException as error:
            failures.append(error)

    for turn in range(4):
        barrier, path = threading.Barrier(4), tmp_path / str(turn) / "p.db"
        threads = [threading.Thread(target=open_it, args=(path, barrier, number)) for number in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        store = Store.open(path)
        assert store.count() == 5
        store.close()


_PROCESS = """
import sys
from pathlib import Path
from profiles.store import Store
from tests.profiles.helpers import login, result
print("ready", flush=True)
sys.stdin.readline()
store = Store.open(Path(sys.argv[1]))
new = 0
for match in range(40):
    ada, bea = store.guests([login(match), login(match + 1)], 1.0)
    batch = [result(ada.account, match=match), result(bea.account, match=match, rank=2)]
    new += sum(store.apply([batch], 1.0))
store.close()
print(new)
"""


def test_processes_on_one_fresh_file_share_accounts_and_apply_each_result_once(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    new = [int(run.communicate(timeout=30)[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sum(new) == 80
    store = Store.open(path)
    assert store.count() == 41
    assert sum(row.matches for row in store.leaderboard("rating", 100, None)) == 80
    store.close()
