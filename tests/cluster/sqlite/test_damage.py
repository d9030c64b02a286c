"""Journals whose bytes were changed on the disk: never are other records passed off as those that were stored.

Some records lie in the file and some in its log. What is read back is what was stored, or a typed error, or, where the
log was hurt, a shorter beginning of it whose tip is smaller: SQLite ends a log where its checksums end.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from cluster.codec import decode_record
from cluster.errors import Damaged, StoreUnavailable, StoreUnusable
from cluster.sqlite import SqliteStore
from tests.cluster.helpers import append, member
from tests.cluster.sqlite.child import record
from tests.effort import every

A = member("a").incarnation
RECORDS = 12
IN_FILE = 7
"""So many of them are in the file, the others in the log."""
TAIL = 2048
"""Bytes at the log's end that are hurt one by one."""


@pytest.fixture(scope="module")
def stored() -> list[bytes]:
    return [record(A, position, 150) for position in range(1, RECORDS + 1)]


@pytest.fixture
async def journal(tmp_path: Path, stored: list[bytes]) -> tuple[bytes, bytes]:
    """Bytes of file and log, as a process leaves them that was killed."""
    folder = tmp_path / "whole"
    path, copy = folder / "journals" / f"{A}.db", tmp_path / "copy.db"
    async with SqliteStore.open(folder) as store:
        await store.journals.open(member("a"))
        for position in range(1, IN_FILE + 1):
            await append(store, A, position, stored[position - 1])
    async with SqliteStore.open(folder) as store:  # what was there is in the file now
        for position in range(IN_FILE + 1, RECORDS + 1):
            await append(store, A, position, stored[position - 1])
        for suffix in ("", "-wal"):  # not by this process: closing the file would drop SQLite's locks
            await trio.run_process(["cp", f"{path}{suffix}", f"{copy}{suffix}"])
    return copy.read_bytes(), log_of(copy).read_bytes()


def log_of(path: Path) -> Path:
    """The write-ahead log of a file."""
    return path.with_name(f"{path.name}-wal")


class Reader:
    """Reads journals that consist of given bytes, each in a folder of its own that is gone afterwards."""

    def __init__(self, store: SqliteStore, stored: list[bytes]) -> None:
        self._store = store
        self._stored = stored
        self._number = 0

    async def outcome(self, folder: Path, file: bytes, log: bytes) -> str:
        """ "whole", "shorter" or "refused"; AssertionError for anything else."""
        path = folder / "journals" / f"{A}.db"
        path.write_bytes(file)
        log_of(path).write_bytes(log)
        try:
            tip = await self._store.journals.seal(A)
            found: list[bytes] = []
            while some := await self._store.journals.read(A, len(found) + 1, 10**6):
                found += some
            assert len(found) == tip
            for position, data in enumerate(found, 1):
                decode_record(data, A, position)
            assert found == self._stored[:tip]
            outcome = "whole" if tip == RECORDS else "shorter"
        except (Damaged, StoreUnusable, StoreUnavailable):
            outcome = "refused"
        for file_of in (path, log_of(path), path.with_name(f"{path.name}-shm")):
            file_of.unlink(missing_ok=True)
        await self._store.journals.members()  # lets go of what is gone
        return outcome


@pytest.fixture
async def reader(tmp_path: Path, stored: list[bytes]) -> AsyncIterator[Reader]:
    async with SqliteStore.open(tmp_path) as store:
        yield Reader(store, stored)


async def outcomes(reader: Reader, folder: Path, variants: list[tuple[int, bytes, bytes]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"whole": [], "shorter": [], "refused": []}
    for offset, file, log in variants:
        found[await reader.outcome(folder, file, log)].append(offset)
    return found


def flipped(data: bytes, offset: int) -> bytes:
    """One bit of a byte changed; which one depends on the offset."""
    return data[:offset] + bytes([data[offset] ^ 1 << offset % 8]) + data[offset + 1 :]


async def test_the_journal_is_whole_to_begin_with(tmp_path: Path, reader: Reader, journal: tuple[bytes, bytes]) -> None:
    assert await reader.outcome(tmp_path, *journal) == "whole"
    file, _ = journal
    assert await reader.outcome(tmp_path, file, b"") == "shorter", "both files matter"


async def test_bits_flipped_in_the_logs_tail(tmp_path: Path, reader: Reader, journal: tuple[bytes, bytes]) -> None:
    file, log = journal
    offsets = range(len(log) - TAIL, len(log), every(3))
    found = await outcomes(reader, tmp_path, [(o, file, flipped(log, o)) for o in offsets])
    assert not found["whole"], "the log's checksums miss nothing"


async def test_the_log_cut_in_its_tail(tmp_path: Path, reader: Reader, journal: tuple[bytes, bytes]) -> None:
    file, log = journal
    offsets = range(len(log) - TAIL, len(log), every(3))
    found = await outcomes(reader, tmp_path, [(o, file, log[:o]) for o in offsets])
    assert not found["whole"]


async def test_bits_flipped_all_over_the_log_and_the_file(
    tmp_path: Path, reader: Reader, journal: tuple[bytes, bytes]
) -> None:
    file, log = journal
    await outcomes(reader, tmp_path, [(o, file, flipped(log, o)) for o in range(0, len(log), every(293))])
    found = await outcomes(reader, tmp_path, [(o, flipped(file, o), log) for o in range(0, len(file), every(53))])
    assert found["refused"]


async def test_the_file_alone_flipped_everywhere(tmp_path: Path, reader: Reader, stored: list[bytes]) -> None:
    """All records in the file, as a server that was stopped in peace leaves them: nothing else vouches for them."""
    folder = tmp_path / "peace"
    async with SqliteStore.open(folder) as store:
        await store.journals.open(member("a"))
        for position, data in enumerate(stored, 1):
            await append(store, A, position, data)
    file = (folder / "journals" / f"{A}.db").read_bytes()
    shutil.rmtree(folder)
    found = await outcomes(reader, tmp_path, [(o, flipped(file, o), b"") for o in range(0, len(file), every(31))])
    assert not found["shorter"], "a file that is whole but for a bit never passes for a shorter one"
    cut = await outcomes(reader, tmp_path, [(o, file[:o], b"") for o in range(0, len(file), every(293))])
    assert not cut["shorter"]
    assert not cut["whole"]
