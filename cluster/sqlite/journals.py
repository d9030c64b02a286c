"""Journals: one file for each incarnation, and in it its lease, its fence and its records.

    append ─► INSERT one record ─► trigger: sealed? → "fenced"; not tip + 1? → "gap"; tip = position   (one transaction)
    seal   ─► end the process that holds the lock ─► UPDATE fence SET sealed = 1 ─► the tip, final

Nothing else may set the tip, so it is the position of the last record or the file is damaged: a tip that lies before
the last record, or behind a record that is not there, raises Damaged and is never taken for an end. With durability
"process" appends are done on the loop; a process may die at any moment and keeps what was stored, only a power cut may
take the last records (tip and all). With "disk" each append waits for the disk in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import attrs
import structlog
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
from cluster.sqlite.connection import RESTORE, Database, Kind, Refused, create, patiently
from cluster.sqlite.file import PAGES_BYTES, File
from cluster.sqlite.locks import Held, Lock, end_holder, holder
from cluster.store import PRUNE_BYTES_MAX, READ_BYTES_MAX

PIECE_BYTES = 1 << 17
"""What one statement reads or deletes: a few tenths of a millisecond on the loop, or under the file's lock."""
PIECE_RECORDS = 256
NAME_MAX = 200
PRUNE_RECORDS = 4096
"""Records that one call of `prune` deletes at most."""

JOURNAL = Kind(
    "journal",
    int.from_bytes(b"HFjo", "big"),
    1,
    (
        "CREATE TABLE lease (one INTEGER PRIMARY KEY CHECK (one = 1), incarnation TEXT NOT NULL, node TEXT NOT NULL, "
        "host TEXT NOT NULL, port INTEGER NOT NULL, pid INTEGER NOT NULL, counter INTEGER NOT NULL, "
        "draining INTEGER NOT NULL, players INTEGER NOT NULL, rooms INTEGER NOT NULL, load REAL NOT NULL, "
        "listing BLOB NOT NULL)",
        "CREATE TABLE fence (one INTEGER PRIMARY KEY CHECK (one = 1), sealed INTEGER NOT NULL, tip INTEGER NOT NULL)",
        "CREATE TABLE records (position INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TRIGGER fenced BEFORE INSERT ON records BEGIN "
        "SELECT CASE WHEN (SELECT sealed FROM fence) IS NOT 0 THEN RAISE(ABORT, 'fenced') "
        "WHEN NEW.position IS NOT (SELECT tip FROM fence) + 1 THEN RAISE(ABORT, 'gap') END; "
        "UPDATE fence SET tip = NEW.position; END",
    ),
)
_FIELDS = tuple(field.name for field in attrs.fields(Member) if field.name not in ("sealed", "tip"))
_TYPES = (str, str, str, int, int, int, int, int, int, float, bytes, int, int)
_LEASE = ", ".join(_FIELDS)
_PLACES = ", ".join("?" * len(_FIELDS))
_APPEND = "INSERT INTO records (position, data) VALUES (?, ?)"

log = structlog.get_logger("holdfast.store")


@attrs.frozen
class Fence:
    """A journal's fence row."""

    sealed: bool
    tip: int


class SqliteJournals:
    """Incarnations: `cluster.store.Journals`."""

    def __init__(self, folder: Path, locks: Path, synced: bool) -> None:
        self.direct = not synced
        self._folder = folder
        self._locks = locks
        self._files: dict[str, File] = {}
        self._own: dict[str, tuple[str, Lock, Lock]] = {}
        """Node → its newest incarnation that was opened here, the locks of the node and of the incarnation."""
        self._skipped: set[str] = set()
        """Told once that they cannot be read."""
        self._closed = False

    async def open(self, member: Member) -> None:
        incarnation, path = member.incarnation, self._path(member.incarnation)
        self._check_open()
        if self._there(incarnation):
            raise StoreUnusable(f"{incarnation} was there before: an incarnation lives once")
        locks = await self._take(member)
        made = False
        try:
            values = [getattr(member, name) for name in _FIELDS]
            inserts: list[tuple[str, list[Any]]] = [
                (f"INSERT INTO lease (one, {_LEASE}) VALUES (1, {_PLACES})", values),
                ("INSERT INTO fence VALUES (1, 0, 0)", []),
            ]
            with trio.CancelScope(shield=True):
                made = await trio.to_thread.run_sync(create, path, JOURNAL, inserts)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be made ({error.strerror}): check the folder") from error
        finally:
            if not made:
                for lock in locks:
                    lock.release()
        if not made:
            raise StoreUnusable(f"{incarnation} was there before: an incarnation lives once")
        self._own[member.node] = (incarnation, *locks)

    async def renew(self, member: Member) -> None:
        values = [getattr(member, name) for name in _FIELDS]
        renewed = await self._file(member.incarnation).change(
            f"UPDATE lease SET ({_LEASE}) = ({_PLACES}) WHERE (SELECT sealed FROM fence) = 0", values
        )
        if not renewed:
            raise JournalFenced(f"{member.incarnation} was sealed")

    async def members(self) -> list[Member]:
        self._check_open()
        names = {unquote(path.stem) for path in self._listed()}
        for gone in self._files.keys() - names:
            if (file := self._files.pop(gone, None)) is not None:
                await file.aclose()
        self._skipped &= names
        found = [await self._member(incarnation) for incarnation in sorted(names)]
        return [member for member in found if member is not None]

    async def seal(self, incarnation: str) -> int:
        file = self._file(incarnation)
        fence = await file.read(_fence)
        if not fence.sealed:
            await end_holder(self._lock_path(incarnation))
            await file.change("UPDATE fence SET sealed = 1")
            fence = await file.read(_fence)
        return fence.tip

    def append_now(self, incarnation: str, position: int, data: bytes) -> None:
        if not self.direct:
            raise RuntimeError("appends to this store wait for the disk: await them")
        file = self._files.get(incarnation) or self._file(incarnation)
        file.grown_bytes += len(data) + PAGES_BYTES
        _append(file.now(), incarnation, position, data)

    async def append(self, incarnation: str, position: int, data: bytes) -> None:
        file = self._file(incarnation)

        async def directly() -> None:
            await trio.lowlevel.checkpoint()
            self.append_now(incarnation, position, data)

        if self.direct:
            await patiently(directly)
        else:
            file.grown_bytes += len(data) + PAGES_BYTES
            await file.write(lambda database: _append(database, incarnation, position, data))

    async def read(self, incarnation: str, first: int, last: int, bytes_max: int = READ_BYTES_MAX) -> list[bytes]:
        file = self._file(incarnation)
        found: list[bytes] = []
        left = bytes_max
        while first <= last:
            sizes = await file.read(partial(_sizes_from, first=first, last=last, begun=bool(found)))
            fit = _fitting(sizes, left, least=0 if found else 1)
            if not fit:
                break
            for begin, end in _pieces(sizes[:fit], first):
                found += await file.read(partial(_piece, first=begin, end=end))
            first += fit
            left -= sum(sizes[:fit])
            if fit < len(sizes):
                break
        return found

    async def prune(self, incarnation: str, through: int, bytes_max: int = PRUNE_BYTES_MAX) -> bool:
        file = self._file(incarnation)
        oldest = "SELECT position, length(data) FROM records WHERE position <= ? ORDER BY position LIMIT ?"
        sizes = await file.read(lambda database: _sizes(database, oldest, (through, PRUNE_RECORDS + 1)))
        count = min(_fitting([size for _, size in sizes], bytes_max), PRUNE_RECORDS)
        begun = 0
        while begun < count:
            some = [size for _, size in sizes[begun:count]]
            part = _fitting(some, PIECE_BYTES)
            end = sizes[begun + part - 1][0]
            await file.keep(
                lambda database: database.change("DELETE FROM records WHERE position <= ?", (end,)),  # noqa: B023
                sum(some[:part]),
            )
            begun += part
        return count == len(sizes)

    async def remove(self, incarnation: str) -> None:
        try:
            fence = await self._file(incarnation).read(_fence)
        except UnknownJournal:
            fence = Fence(True, 0)
        if not fence.sealed:
            raise ValueError(f"the journal of {incarnation} is not sealed")
        if incarnation in self._files:
            await self._files.pop(incarnation).aclose()
        path = self._path(incarnation)
        doomed = [path, Path(f"{path}-wal"), Path(f"{path}-shm"), self._lock_path(incarnation)]
        await trio.to_thread.run_sync(_unlink, doomed)

    def alive(self, incarnation: str) -> bool:
        """Whether the process of an incarnation lives; one that is stopped does, too. Raises StoreUnavailable."""
        return holder(self._lock_path(incarnation)) is not None

    async def checkpoint(self) -> None:
        """Bring our own journals' logs into their files. Raises StoreUnavailable, Damaged."""
        for incarnation, _, _ in list(self._own.values()):
            if incarnation in self._files:
                await self._files[incarnation].checkpoint()

    async def aclose(self) -> None:
        """Let go of files and of the locks: our incarnations are dead from now on."""
        self._closed = True
        while self._files:
            await self._files.popitem()[1].aclose()
        for _, *locks in self._own.values():
            for lock in locks:
                lock.release()

    async def _take(self, member: Member) -> tuple[Lock, Lock]:
        """The locks of a node and of its incarnation. Raises NodeTaken."""
        if member.node in self._own:
            before, *locks = self._own[member.node]
            if self._there(before) and not (await self._file(before).read(_fence)).sealed:
                raise NodeTaken(f"a server named {member.node} runs here already; choose another --node")
            for lock in locks:
                lock.release()
            del self._own[member.node]
        try:
            node_lock = Lock(self._locks / f"node-{quote(member.node, safe='')}.lock")
        except Held as held:
            raise NodeTaken(
                f"a server named {member.node} runs on this folder already (pid {held.holder.pid}); "
                "choose another --node or --data"
            ) from held
        try:
            return node_lock, Lock(self._lock_path(member.incarnation))
        except Held as held:
            node_lock.release()
            raise StoreUnusable(f"{member.incarnation} is being started by process {held.holder.pid}") from held

    async def _member(self, incarnation: str) -> Member | None:
        """None for one that is gone, or that nobody could make sense of: who asks for it by name is told."""
        try:
            member = await self._file(incarnation).read(lambda database: _read_member(database, incarnation))
        except UnknownJournal:
            return None
        except (Damaged, StoreUnusable) as error:
            if incarnation not in self._skipped:
                self._skipped.add(incarnation)
                log.error("journal_unreadable", incarnation=incarnation, error=str(error))
            return None
        except StoreUnavailable:
            if self._there(incarnation):
                raise
            return None
        self._skipped.discard(incarnation)
        return member

    def _file(self, incarnation: str) -> File:
        self._check_open()
        if not self._there(incarnation):
            raise UnknownJournal(f"there is no journal of {incarnation}")
        if incarnation not in self._files:
            self._files[incarnation] = File(self._path(incarnation), JOURNAL, synced=not self.direct)
        return self._files[incarnation]

    def _there(self, incarnation: str) -> bool:
        """Whether there is a file. Looked at by its name: opening a database plainly would let go of its locks."""
        try:
            os.stat(self._path(incarnation))
        except FileNotFoundError:
            if self._folder.is_dir():
                return False
            raise StoreUnavailable(f"{self._folder} is gone: bring it back, or start with another --data") from None
        except OSError as error:
            raise StoreUnavailable(f"{self._folder} cannot be read ({error.strerror}): check it") from error
        return True

    def _listed(self) -> list[Path]:
        try:
            names = os.listdir(self._folder)
        except OSError as error:
            raise StoreUnavailable(f"{self._folder} cannot be read ({error.strerror}): check the folder") from error
        return [self._folder / name for name in names if name.endswith(".db") and not name.startswith(".")]

    def _path(self, incarnation: str) -> Path:
        return self._folder / f"{_file_name(incarnation)}.db"

    def _lock_path(self, incarnation: str) -> Path:
        return self._locks / f"{_file_name(incarnation)}.lock"

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._folder}: this handle is closed")


def _append(database: Database, incarnation: str, position: int, data: bytes) -> None:
    try:
        database.change(_APPEND, (position, data))
    except Refused as refused:
        if refused.reason == "fenced":
            raise JournalFenced(f"{incarnation} was sealed") from refused
        if refused.reason != "gap":
            raise
        found = database.rows("SELECT data FROM records WHERE position = ?", (position,))
        if found != [(data,)]:
            raise ValueError(f"record {position} does not go behind the tip of {incarnation}") from refused


def _sizes_from(database: Database, first: int, last: int, begun: bool) -> list[int]:
    """Bytes of the records from `first` on, up to `last`, the tip or the first that is missing. Raises Damaged where
    that is the very first, unless `begun`: whoever asks on from there is told."""
    last = min(last, _fence(database).tip, first + PIECE_RECORDS - 1)
    if first > last:
        return []
    sql = "SELECT position, length(data) FROM records WHERE position BETWEEN ? AND ? ORDER BY position"
    sizes = _sizes(database, sql, (first, last))
    if not begun and (not sizes or sizes[0][0] != first):
        raise Damaged(f"{database.path}: record {first} is not there (any more)")
    return [size for at, (position, size) in enumerate(sizes, first) if position == at]


def _pieces(sizes: Sequence[int], first: int) -> Iterator[tuple[int, int]]:
    """First position and the one behind the last of pieces that are read at once: PIECE_BYTES, or one record."""
    begin, total = first, 0
    for position, size in enumerate(sizes, first):
        if total + size > PIECE_BYTES and position > begin:
            yield begin, position
            begin, total = position, 0
        total += size
    yield begin, first + len(sizes)


def _piece(database: Database, first: int, end: int) -> list[bytes]:
    """The records from `first` to before `end`."""
    sql = "SELECT data FROM records WHERE position BETWEEN ? AND ? ORDER BY position"
    found = database.rows(sql, (first, end - 1))
    if len(found) != end - first or not all(isinstance(data, bytes) for (data,) in found):
        raise Damaged(f"{database.path}: not all records from {first} to {end - 1} are there (any more)")
    return [data for (data,) in found]


def _fence(database: Database) -> Fence:
    """A journal's fence. Raises Damaged where its tip cannot be true."""
    rows = database.rows("SELECT sealed, tip, (SELECT max(position) FROM records) FROM fence")
    if len(rows) != 1 or rows[0][0] not in (0, 1) or not isinstance(rows[0][1], int):
        raise Damaged(f"{database.path} is damaged: its fence makes no sense; {RESTORE}")
    sealed, tip, last = rows[0]
    if last is not None and not 1 <= last <= tip:
        raise Damaged(f"{database.path} is damaged: there is a record {last}, its tip is {tip}; {RESTORE}")
    return Fence(bool(sealed), tip)


def _read_member(database: Database, incarnation: str) -> Member:
    rows = database.rows(f"SELECT {_LEASE}, sealed, tip FROM lease, fence")
    if len(rows) != 1 or tuple(map(type, rows[0])) != _TYPES or rows[0][0] != incarnation:
        raise Damaged(f"{database.path} is damaged: its lease makes no sense; {RESTORE}")
    fields = dict(zip((*_FIELDS, "sealed", "tip"), rows[0], strict=True))
    return Member(**{**fields, "draining": bool(fields["draining"]), "sealed": bool(fields["sealed"])})


def _sizes(database: Database, sql: str, values: Sequence[int]) -> list[tuple[int, int]]:
    rows = database.rows(sql, values)
    if not all(isinstance(size, int) for _, size in rows):
        raise Damaged(f"{database.path} is damaged: there are records without bytes; {RESTORE}")
    return [(position, size) for position, size in rows]


def _fitting(sizes: Sequence[int], bytes_max: int, least: int = 1) -> int:
    """How many of the first fit, at least so many of them."""
    return max(sum(total <= bytes_max for total in accumulate(sizes)), min(len(sizes), least))


def _file_name(incarnation: str) -> str:
    name = quote(incarnation, safe="")
    name = f"%2E{name[1:]}" if name.startswith(".") else name  # such files are those that are being made
    if not 0 < len(name) <= NAME_MAX:
        raise StoreUnusable(f"{incarnation[:40]!r}… is no name for a file; choose another --node")
    return name


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be deleted ({error.strerror}): check the folder") from error
