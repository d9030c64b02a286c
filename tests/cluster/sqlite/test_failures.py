"""Files that are locked, full, broken or not ours: a typed error with one clear line, and the others go on."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from trio.testing import MockClock

from cluster.errors import Damaged, StoreBusy, StoreUnavailable, StoreUnusable
from cluster.sqlite import SqliteStore
from tests.cluster.helpers import append_all, entry, member, session, snapshot

A, B = member("a").incarnation, member("b").incarnation
SHARED = ["directory.db", "snapshots.db", "sessions.db"]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """By another program."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextlib.contextmanager
def full_disk(left_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_an_append_to_a_locked_journal_is_busy_and_then_done(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path) as store:
        await store.journals.open(member("a"))
        with locked(tmp_path / "journals" / f"{A}.db"), pytest.raises(StoreBusy):
            store.journals.append_now(A, 1, b"one")
        assert await store.journals.read(A, 1, 9) == []
        store.journals.append_now(A, 1, b"one")
        assert await store.journals.read(A, 1, 9) == [b"one"]


WRITES: list[tuple[str, Callable[[SqliteStore], Awaitable[object]]]] = [
    (f"journals/{A}.db", lambda store: store.journals.renew(member("a", counter=1))),
    (f"journals/{A}.db", lambda store: store.journals.seal(A)),
    ("directory.db", lambda store: store.rooms.create(entry("r", A))),
    ("directory.db", lambda store: store.rooms.claim(["r"], A, 0, B, 1)),
    ("snapshots.db", lambda store: store.snapshots.put([snapshot("r", 1, 1)])),
    ("sessions.db", lambda store: store.sessions.open(session("s"))),
]


@pytest.mark.parametrize(("name", "write"), WRITES)
async def test_a_file_that_stays_locked_is_named(
    tmp_path: Path, autojump_clock: MockClock, name: str, write: Callable[[SqliteStore], Awaitable[object]]
) -> None:
    autojump_clock.autojump_threshold = 0.001  # a clock that jumps on and on leaves a thread no time to run
    async with SqliteStore.open(tmp_path) as store:
        await store.journals.open(member("a"))
        with locked(tmp_path / name):
            with pytest.raises(StoreUnavailable, match="locked by another program") as told:
                await write(store)
            assert str(tmp_path / name) in str(told.value)
            assert [m.incarnation for m in await store.journals.members()] == [A], "who only reads goes on"
        await write(store)


async def test_a_full_disk_stores_nothing_by_halves_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path) as store:
        await store.journals.open(member("a"))
        stored = 0
        with full_disk(300_000), pytest.raises(StoreUnavailable, match="disk"):  # noqa: PT012 (until it is full)
            while True:
                store.journals.append_now(A, stored + 1, bytes([stored % 256]) * 5000)
                stored += 1
        assert stored > 5
        assert [m.tip for m in await store.journals.members()] == [stored]
        store.journals.append_now(A, stored + 1, b"again")
        assert await store.journals.seal(A) == stored + 1
        assert (await store.journals.read(A, stored, 10**6)) == [bytes([(stored - 1) % 256]) * 5000, b"again"]


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("content", [b"", b"not a database at all" * 500])
async def test_a_file_that_is_no_database_is_refused_by_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StoreUnusable, match="move it away") as told:
        async with SqliteStore.open(tmp_path):
            pass
    assert str(tmp_path / name) in str(told.value)
    assert (tmp_path / name).read_bytes() == content, "and left alone"


@pytest.mark.parametrize("name", SHARED)
async def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / name)) as foreign:
        foreign.execute("CREATE TABLE recipes (title TEXT)")
    before = (tmp_path / name).read_bytes()
    with pytest.raises(StoreUnusable, match=r"another program.*move it away"):
        async with SqliteStore.open(tmp_path):
            pass
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("name", SHARED)
async def test_a_newer_versions_file_is_refused(tmp_path: Path, name: str) -> None:
    async with SqliteStore.open(tmp_path):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / name)) as newer:
        newer.execute("PRAGMA user_version=99")
    with pytest.raises(StoreUnusable, match="update"):
        async with SqliteStore.open(tmp_path):
            pass


async def test_one_kind_of_file_does_not_pass_for_another(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path):
        pass
    (tmp_path / "directory.db").unlink()
    (tmp_path / "sessions.db").rename(tmp_path / "directory.db")
    with pytest.raises(StoreUnusable, match=r"directory\.db"):
        async with SqliteStore.open(tmp_path):
            pass


async def test_a_folder_that_cannot_be_made_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnusable, match="--data"):
        async with SqliteStore.open(tmp_path / "file" / "data"):
            pass


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "garbage": lambda data: b"garbage" * 3000,
    "cut": lambda data: data[: len(data) // 2],
    "foreign": lambda data: data[:68] + b"\0\0\0\1" + data[72:],
    "newer": lambda data: data[:60] + b"\0\0\0\x63" + data[64:],
    "another fence": lambda data: data.replace(b"'fenced'", b"'fencEd'"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_journal_is_told_and_does_not_hide_the_others(tmp_path: Path, how: str) -> None:
    async with SqliteStore.open(tmp_path) as store:
        await store.journals.open(member("a"))
        await append_all(store, A, [bytes([i]) * 3000 for i in range(9)])
        await store.journals.seal(A)
    path = tmp_path / "journals" / f"{A}.db"
    path.write_bytes(BROKEN[how](path.read_bytes()))
    async with SqliteStore.open(tmp_path) as store:
        await store.journals.open(member("b"))
        assert B in [m.incarnation for m in await store.journals.members()]
        with pytest.raises((Damaged, StoreUnusable), match=A):
            await store.journals.seal(A)
        with pytest.raises((Damaged, StoreUnusable), match=A):
            await store.journals.read(A, 1, 9)


async def test_a_session_does_not_push_out_another_accounts(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path) as store:
        await store.sessions.open(session("s", "ann"))
        with pytest.raises(ValueError, match="another account"):
            await store.sessions.open(session("s", "bob"))
        assert await store.sessions.of_account("ann", 0.0) == session("s", "ann")


async def test_a_closed_handle_says_so(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path) as store:
        await store.journals.open(member("a"))
        await store.aclose()
        for act in (
            store.journals.members,
            lambda: store.journals.seal(A),
            lambda: store.rooms.get("r"),
            lambda: store.snapshots.newest(["r"]),
            lambda: store.sessions.get("s", 0.0),
        ):
            with pytest.raises(StoreUnavailable, match="closed"):
                await act()


async def test_an_error_in_the_body_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with SqliteStore.open(tmp_path):
            raise KeyError("mine")
