"""The engine that tests share: what nodes share, in dicts of one process, with faults on demand.

    MemoryWorld ── the data, and the faults that everybody meets
      ├─ store() ── a node's handle, with faults of its own
      └─ store() ── another one

An operation checks in, meets its faults (`cluster.faults`), and is done in one go between two checkpoints: cancelled
before that it has written nothing. A handle that is closed is a process that has died: its node's name is free, its
journals stay as they are until somebody seals them. A seal kills nobody, so a zombie may go on and find out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
import msgpack

from cluster.errors import Damaged, JournalFenced, NodeTaken, StoreUnusable, UnknownJournal
from cluster.faults import Faults, Handle, Part, reads, writes
from cluster.model import Member, RoomEntry, SessionRecord, StoredSnapshot
from cluster.store import (
    PRUNE_BYTES_MAX,
    READ_BYTES_MAX,
    SNAPSHOTS_KEPT,
    Cipher,
    Directory,
    Journals,
    Sessions,
    Snapshots,
)


@attrs.define(eq=False)
class StoredJournal:
    """An incarnation as the world knows it."""

    member: Member
    """As last renewed, with its seal and tip."""
    handle: MemoryStore
    """Who opened it."""
    records: dict[int, bytes] = attrs.field(factory=dict)


@attrs.define
class StoredSession:
    """A session as the world knows it: in the open what it is found by, sealed the rest."""

    account: str
    expires_s: float
    version: int
    body: bytes


@attrs.define(eq=False)
class MemoryWorld:
    """What several handles share. Tests may look into it, and damage it."""

    faults: Faults = attrs.field(factory=Faults)
    """Met by every handle, before its own."""
    journals: dict[str, StoredJournal] = attrs.field(factory=dict)
    incarnations: set[str] = attrs.field(factory=set)
    """All that ever were."""
    snapshots: dict[str, dict[tuple[int, int], bytes]] = attrs.field(factory=dict)
    """Room → (epoch, tick) → bytes."""
    rooms: dict[str, RoomEntry] = attrs.field(factory=dict)
    sessions: dict[str, StoredSession] = attrs.field(factory=dict)
    accounts: dict[str, str] = attrs.field(factory=dict)
    """Account → its session."""
    sees_processes: bool = True
    """Whether handles tell which process lives, as on one machine; without it there are leases alone."""

    def store(self, *, direct: bool = True, cipher: Cipher | None = None) -> MemoryStore:
        """A handle for a node; with `direct` off it has to await its appends."""
        return MemoryStore(self, direct, cipher)


class MemoryStore(Handle):
    """A node's handle on a world: `cluster.store.Store`."""

    def __init__(self, world: MemoryWorld, direct: bool = True, cipher: Cipher | None = None) -> None:
        self.faults = Faults()
        super().__init__((world.faults, self.faults))
        self.world = world
        self.cipher = cipher
        self.journals: Journals = _Journals(self, direct)
        self.snapshots: Snapshots = _Snapshots(self)
        self.rooms: Directory = _Directory(self)
        self.sessions: Sessions = _Sessions(self)

    def alive(self, incarnation: str) -> bool | None:
        """Whether the handle is open that the incarnation was opened with."""
        journal = self.world.journals.get(incarnation)
        return None if journal is None or not self.world.sees_processes else not journal.handle.closed


class _MemoryPart(Part):
    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self._store = store
        self._world = store.world


class _Journals(_MemoryPart):
    name = "journals"

    def __init__(self, store: MemoryStore, direct: bool) -> None:
        super().__init__(store)
        self.direct = direct

    @writes
    def open(self, member: Member) -> None:
        if member.incarnation in self._world.incarnations:
            raise StoreUnusable(f"{member.incarnation} was there before; an incarnation lives once")
        for known, other in self._world.journals.items():
            if other.member.node == member.node and not other.member.sealed and self._store.alive(known):
                raise NodeTaken(f"a server named {member.node} runs here already; choose another name")
        self._world.incarnations.add(member.incarnation)
        fresh = attrs.evolve(member, sealed=False, tip=0)
        self._world.journals[member.incarnation] = StoredJournal(fresh, self._store)

    @writes
    def renew(self, member: Member) -> None:
        journal = self._unsealed(member.incarnation)
        journal.member = attrs.evolve(member, sealed=False, tip=journal.member.tip)

    @reads
    def members(self) -> list[Member]:
        return [self._world.journals[incarnation].member for incarnation in sorted(self._world.journals)]

    @writes
    def seal(self, incarnation: str) -> int:
        journal = self._journal(incarnation)
        journal.member = attrs.evolve(journal.member, sealed=True)
        return journal.member.tip

    def append_now(self, incarnation: str, position: int, data: bytes) -> None:
        if not self.direct:
            raise RuntimeError("appends to this store are to be awaited")
        self._store.write_now("journals.append", lambda: self._append(incarnation, position, data))

    @writes
    def append(self, incarnation: str, position: int, data: bytes) -> None:
        self._append(incarnation, position, data)

    def _append(self, incarnation: str, position: int, data: bytes) -> None:
        journal = self._unsealed(incarnation)
        tip = journal.member.tip
        if position != tip + 1:
            if position in journal.records and journal.records[position] == data:
                return
            raise ValueError(f"record {position} does not go behind record {tip} of {incarnation}")
        journal.records[position] = bytes(data)
        journal.member = attrs.evolve(journal.member, tip=position)

    @reads
    def read(self, incarnation: str, first: int, last: int, bytes_max: int = READ_BYTES_MAX) -> list[bytes]:
        journal = self._journal(incarnation)
        found: list[bytes] = []
        size = 0
        for position in range(first, min(last, journal.member.tip) + 1):
            data = journal.records.get(position)
            if data is None and found:
                break
            if data is None:
                raise Damaged(f"record {position} of {incarnation} is not there (any more)")
            size += len(data)
            if found and size > bytes_max:
                break
            found.append(data)
        return found

    @writes
    def prune(self, incarnation: str, through: int, bytes_max: int = PRUNE_BYTES_MAX) -> bool:
        records = self._journal(incarnation).records
        size = 0
        for position in sorted(position for position in records if position <= through):
            size += len(records[position])
            if size > bytes_max and size > len(records[position]):
                return False
            del records[position]
        return True

    @writes
    def remove(self, incarnation: str) -> None:
        journal = self._world.journals.get(incarnation)
        if journal is not None and not journal.member.sealed:
            raise ValueError(f"the journal of {incarnation} is not sealed")
        self._world.journals.pop(incarnation, None)

    def _journal(self, incarnation: str) -> StoredJournal:
        journal = self._world.journals.get(incarnation)
        if journal is None:
            raise UnknownJournal(f"there is no journal of {incarnation}")
        return journal

    def _unsealed(self, incarnation: str) -> StoredJournal:
        journal = self._journal(incarnation)
        if journal.member.sealed:
            raise JournalFenced(f"{incarnation} was sealed")
        return journal


class _Snapshots(_MemoryPart):
    name = "snapshots"

    @writes
    def put(self, snapshots: Sequence[StoredSnapshot]) -> None:
        for snapshot in snapshots:
            kept = self._world.snapshots.setdefault(snapshot.room, {})
            kept[snapshot.epoch, snapshot.tick] = bytes(snapshot.data)
            for key in sorted(kept)[:-SNAPSHOTS_KEPT]:
                del kept[key]

    @reads
    def newest(self, rooms: Sequence[str], limit: int = SNAPSHOTS_KEPT) -> dict[str, list[bytes]]:
        found = {room: self._world.snapshots[room] for room in rooms if room in self._world.snapshots}
        return {room: [kept[key] for key in sorted(kept, reverse=True)[:limit]] for room, kept in found.items()}

    @writes
    def delete(self, rooms: Sequence[str]) -> None:
        for room in rooms:
            self._world.snapshots.pop(room, None)


class _Directory(_MemoryPart):
    name = "rooms"

    @writes
    def create(self, entry: RoomEntry) -> None:
        if self._world.rooms.setdefault(entry.room, _apart(entry)) != entry:
            raise ValueError(f"room {entry.room} is there already, and is another one or has moved on")

    @reads
    def get(self, room: str) -> RoomEntry | None:
        return _apart(self._world.rooms[room]) if room in self._world.rooms else None

    @reads
    def find_code(self, code: str) -> RoomEntry | None:
        return next(self._found(lambda row: code != "" and row.code == code), None)

    @reads
    def coming_to(self, incarnation: str) -> list[RoomEntry]:
        return [_apart(row) for _, row in sorted(self._world.rooms.items()) if row.target == incarnation != ""]

    @reads
    def owned_by(self, incarnation: str) -> list[RoomEntry]:
        return sorted(self._found(lambda row: row.owner == incarnation), key=_fullest)

    @writes
    def claim(self, rooms: Iterable[str], dead: str, tip: int, me: str, first: int) -> list[RoomEntry]:
        wanted = set(rooms)
        for row in self._found(lambda row: row.room in wanted and row.owner == dead):
            self._world.rooms[row.room] = row.claimed(me, first, tip)
        return sorted(self._found(lambda row: row.room in wanted and _came(row, dead, tip, me)), key=_fullest)

    @writes
    def replace(self, old: RoomEntry, new: RoomEntry) -> bool:
        if new.room != old.room:
            raise ValueError(f"room {old.room} cannot become room {new.room}")
        row = self._world.rooms.get(old.room)
        if row is None or row.version != old.version:
            return False
        self._world.rooms[old.room] = attrs.evolve(_apart(new), version=old.version + 1)
        return True

    @writes
    def delete(self, entry: RoomEntry) -> bool:
        row = self._world.rooms.get(entry.room)
        if row is not None and (row.owner, row.epoch) != (entry.owner, entry.epoch):
            return False
        self._world.rooms.pop(entry.room, None)
        return True

    @reads
    def entries(self) -> list[RoomEntry]:
        return list(self._found(lambda row: True))

    @reads
    def owners(self) -> list[str]:
        return sorted({row.owner for row in self._world.rooms.values()})

    def _found(self, wanted: Callable[[RoomEntry], bool]) -> Iterator[RoomEntry]:
        rows = self._world.rooms
        return (_apart(rows[room]) for room in sorted(rows) if wanted(rows[room]))


def _apart(entry: RoomEntry) -> RoomEntry:
    return attrs.evolve(entry, options=dict(entry.options))


def _fullest(entry: RoomEntry) -> tuple[int, str]:
    return -entry.players, entry.room


def _came(row: RoomEntry, dead: str, tip: int, me: str) -> bool:
    before = row.chain[-2] if len(row.chain) > 1 else None
    return row.owner == me and before is not None and (before.incarnation, before.last) == (dead, tip)


class _Sessions(_MemoryPart):
    name = "sessions"

    @writes
    def open(self, record: SessionRecord) -> SessionRecord | None:
        taken = self._world.sessions.get(record.session)
        if taken is not None and taken.account != record.account:
            raise ValueError(f"session {record.session} is another account's")
        before = self._world.accounts.get(record.account)
        replaced = None
        if before is not None and before != record.session:
            with contextlib.suppress(Damaged):
                replaced = self._unsealed(before)
            del self._world.sessions[before]
        self._world.sessions[record.session] = self._sealed(record)
        self._world.accounts[record.account] = record.session
        return replaced

    @reads
    def get(self, session: str, now_s: float) -> SessionRecord | None:
        return self._get(session, now_s)

    @reads
    def of_account(self, account: str, now_s: float) -> SessionRecord | None:
        return self._get(self._world.accounts.get(account, ""), now_s)

    def _get(self, session: str, now_s: float) -> SessionRecord | None:
        if session not in self._world.sessions or self._world.sessions[session].expires_s < now_s:
            return None
        return self._unsealed(session)

    @writes
    def replace(self, old: SessionRecord, new: SessionRecord) -> bool:
        if (new.session, new.account) != (old.session, old.account):
            raise ValueError("a session keeps its id and its account")
        row = self._world.sessions.get(old.session)
        if row is None or (row.account, row.version) != (old.account, old.version):
            return False
        self._world.sessions[old.session] = self._sealed(attrs.evolve(new, version=old.version + 1))
        return True

    @writes
    def touch(self, sessions: Sequence[str], expires_s: float) -> list[str]:
        for session in sessions:
            if session in self._world.sessions:
                self._world.sessions[session].expires_s = expires_s
        return [session for session in sessions if session not in self._world.sessions]

    @writes
    def delete(self, session: str) -> None:
        self._forget([session])

    @writes
    def purge(self, now_s: float) -> int:
        return self._forget([session for session, row in self._world.sessions.items() if row.expires_s < now_s])

    def _forget(self, sessions: Sequence[str]) -> int:
        rows = [self._world.sessions.pop(session) for session in sessions if session in self._world.sessions]
        for row in rows:
            del self._world.accounts[row.account]
        return len(rows)

    def _sealed(self, record: SessionRecord) -> StoredSession:
        body: bytes = msgpack.packb(attrs.asdict(record, recurse=False))
        if self._store.cipher is not None:
            body = self._store.cipher.encrypt(body)
        return StoredSession(record.account, record.expires_s, record.version, body)

    def _unsealed(self, session: str) -> SessionRecord:
        row = self._world.sessions[session]
        try:
            body = row.body if self._store.cipher is None else self._store.cipher.decrypt(row.body)
            fields: dict[str, Any] = msgpack.unpackb(body)
            record = SessionRecord(**{**fields, "expires_s": row.expires_s, "version": row.version})
        except Exception as error:  # whatever a cipher raises for bytes that are not its own
            raise Damaged(f"session {session} cannot be read: {error!r}") from error
        if (record.session, record.account) != (session, row.account):
            raise Damaged(f"session {session} holds another one")
        return record
