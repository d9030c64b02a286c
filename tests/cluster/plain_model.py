"""What a store should do, in the plainest words: one step of chance at a time, done by a store and by the model.

The model knows no handles and keeps what it is told in lists and dicts; what an operation returns or raises must be the
same on both sides, and now and then so must all that can be read. A failure names its seed and its step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import attrs

from cluster.errors import ClusterError, Damaged, JournalFenced, StoreUnusable, UnknownJournal
from cluster.model import Member, RoomEntry, SessionRecord, Span, StoredSnapshot
from cluster.store import Store
from tests.cluster.helpers import append, entry, member, session, snapshot

STEPS = 400
NODES = ("a", "b", "c")
ROOMS = tuple(f"room {i}" for i in range(6))
ACCOUNTS = ("ann", "bob", "cid")

Step = tuple[str, Callable[[], Awaitable[Any]], Callable[[], Any]]
"""What it is, done by the store, done by the model."""


@attrs.define
class PlainJournal:
    """A journal: all records that ever were, and how many of the first are gone."""

    member: Member
    records: list[bytes] = attrs.field(factory=list)
    pruned: int = 0
    sealed: bool = False


@attrs.define
class PlainModel:
    """All that is stored."""

    journals: dict[str, PlainJournal] = attrs.field(factory=dict)
    snapshots: list[StoredSnapshot] = attrs.field(factory=list)
    rooms: dict[str, RoomEntry] = attrs.field(factory=dict)
    sessions: dict[str, SessionRecord] = attrs.field(factory=dict)
    """By account."""

    def journal(self, incarnation: str, fence: bool = False) -> PlainJournal:
        if incarnation not in self.journals:
            raise UnknownJournal
        if fence and self.journals[incarnation].sealed:
            raise JournalFenced
        return self.journals[incarnation]

    def open(self, told: Member) -> None:
        if told.incarnation in self.journals:
            raise StoreUnusable
        self.journals[told.incarnation] = PlainJournal(told)

    def renew(self, told: Member) -> None:
        self.journal(told.incarnation, fence=True).member = told

    def members(self) -> list[Member]:
        known = sorted(self.journals.items())
        return [attrs.evolve(j.member, sealed=j.sealed, tip=len(j.records)) for _, j in known]

    def seal(self, incarnation: str) -> int:
        self.journal(incarnation).sealed = True
        return len(self.journals[incarnation].records)

    def append(self, incarnation: str, position: int, data: bytes) -> None:
        journal = self.journal(incarnation, fence=True)
        if position == len(journal.records) + 1:
            journal.records.append(data)
        elif not journal.pruned < position <= len(journal.records) or journal.records[position - 1] != data:
            raise ValueError

    def read(self, incarnation: str, first: int, last: int, bytes_max: int) -> list[bytes]:
        journal = self.journal(incarnation)
        wanted = journal.records[first - 1 : last]
        if wanted and first <= journal.pruned:
            raise Damaged
        while len(wanted) > 1 and sum(map(len, wanted)) > bytes_max:
            wanted.pop()
        return wanted

    def prune(self, incarnation: str, through: int) -> bool:
        journal = self.journal(incarnation)
        journal.pruned = max(journal.pruned, min(through, len(journal.records)))
        return True

    def remove(self, incarnation: str) -> None:
        if incarnation in self.journals and not self.journals[incarnation].sealed:
            raise ValueError
        self.journals.pop(incarnation, None)

    def put(self, snapshots: Sequence[StoredSnapshot]) -> None:
        for new in snapshots:
            same = (new.room, new.epoch, new.tick)
            self.snapshots = [s for s in self.snapshots if (s.room, s.epoch, s.tick) != same] + [new]
            kept = self.newest(new.room)
            self.snapshots = [s for s in self.snapshots if s.room != new.room or s.data in kept]

    def newest(self, room: str) -> list[bytes]:
        mine = sorted((s for s in self.snapshots if s.room == room), key=lambda s: (-s.epoch, -s.tick))
        return [s.data for s in mine[:3]]

    def delete_snapshots(self, room: str) -> None:
        self.snapshots = [s for s in self.snapshots if s.room != room]

    def create(self, row: RoomEntry) -> None:
        if self.rooms.setdefault(row.room, row) != row:
            raise ValueError

    def claim(self, rooms: Sequence[str], dead: str, tip: int, me: str, first: int) -> list[RoomEntry]:
        ours = []
        for row in [self.rooms[room] for room in rooms if room in self.rooms]:
            if row.owner == dead:
                self.rooms[row.room] = row.claimed(me, first, tip)
            before = self.rooms[row.room].chain[-2:-1]
            if self.rooms[row.room].owner == me and [(s.incarnation, s.last) for s in before] == [(dead, tip)]:
                ours.append(self.rooms[row.room])
        return sorted(ours, key=lambda row: (-row.players, row.room))

    def replace_room(self, old: RoomEntry, new: RoomEntry) -> bool:
        won = old.room in self.rooms and self.rooms[old.room].version == old.version
        if won:
            self.rooms[old.room] = attrs.evolve(new, version=old.version + 1)
        return won

    def delete_room(self, row: RoomEntry) -> bool:
        found = self.rooms.get(row.room, row)
        if (found.owner, found.epoch) == (row.owner, row.epoch):
            self.rooms.pop(row.room, None)
        return row.room not in self.rooms

    def open_session(self, record: SessionRecord) -> SessionRecord | None:
        before = self.sessions.get(record.account)
        self.sessions[record.account] = record
        return None if before is None or before.session == record.session else before

    def find_session(self, name: str) -> SessionRecord | None:
        return next((s for s in self.sessions.values() if s.session == name), None)

    def replace_session(self, old: SessionRecord, new: SessionRecord) -> bool:
        found = self.find_session(old.session)
        if found is None or found.version != old.version:
            return False
        self.sessions[old.account] = attrs.evolve(new, version=old.version + 1)
        return True

    def touch(self, names: Sequence[str], expires_s: float) -> list[str]:
        for found in filter(None, map(self.find_session, names)):
            self.sessions[found.account] = attrs.evolve(found, expires_s=expires_s)
        return [name for name in names if self.find_session(name) is None]

    def delete_session(self, name: str) -> None:
        self.purge(lambda s: s.session == name)

    def purge(self, gone: Callable[[SessionRecord], bool]) -> int:
        before = len(self.sessions)
        self.sessions = {account: s for account, s in self.sessions.items() if not gone(s)}
        return before - len(self.sessions)


async def compare_at_random(seed: int, stores: Sequence[Store]) -> None:
    """Do STEPS operations drawn from `seed`, each by one of the handles; raises AssertionError where they differ."""
    walk = _Walk(Random(seed), PlainModel(), stores)
    for number in range(STEPS):
        name, by_store, by_model = walk.step()
        try:
            expected: Any = by_model()
        except (ClusterError, ValueError) as error:
            expected = type(error)
        try:
            found: Any = await by_store()
        except (ClusterError, ValueError) as error:
            found = type(error)
        assert found == expected, f"seed {seed}, step {number}: {name}"
        if number % 40 == 39:
            await walk.compare_all(f"seed {seed}, after step {number}: {name}")


@attrs.define
class _Walk:
    chance: Random
    model: PlainModel
    stores: Sequence[Store]
    lives: dict[str, tuple[str, Store]] = attrs.field(factory=dict)
    """Node → its newest incarnation and the handle that it was opened with: a node's journal has one writer."""
    now_s: float = 0.5
    drawn: int = 0

    def step(self) -> Step:
        kinds = (self._journal, self._journal, self._journal, self._snapshot, self._room, self._room, self._session)
        return self.chance.choice(kinds)(self.chance.choice(self.stores))

    async def compare_all(self, where: str) -> None:
        """All that can be read, on both sides."""
        for store in self.stores:
            model, now_s = self.model, self.now_s
            assert await store.journals.members() == model.members(), where
            for incarnation, journal in model.journals.items():
                left = journal.records[journal.pruned :]
                assert await store.journals.read(incarnation, journal.pruned + 1, 10**6) == left, where
            for room in ROOMS:
                assert (await store.snapshots.newest([room])).get(room, []) == model.newest(room), where
                assert await store.rooms.get(room) == model.rooms.get(room), where
            assert await store.rooms.entries() == [model.rooms[room] for room in sorted(model.rooms)], where
            for account in ACCOUNTS:
                record = model.sessions.get(account)
                alive = None if record is None or record.expires_s < now_s else record
                assert await store.sessions.of_account(account, now_s) == alive, where
                if record is not None:
                    assert await store.sessions.get(record.session, now_s) == alive, where

    def _journal(self, store: Store) -> Step:
        chance, model = self.chance, self.model
        node = chance.choice(NODES)
        life = self.lives.get(node)
        journal = None if life is None else model.journals.get(life[0])
        if life is None or journal is None or (journal.sealed and chance.random() < 0.3):
            return self._open(node)
        mine, writer = life
        known = chance.choice([*sorted(model.journals), mine, "x.1"])
        size = len(model.journals[mine].records)
        position = size + 1 + chance.choice((0, 0, 0, 0, 0, -1, -2, 1))
        data = bytes([chance.randrange(4)]) * chance.randrange(40)
        if size + 1 > position > 0 and chance.random() < 0.5:
            data = model.journals[mine].records[position - 1]
        first, through = chance.randrange(1, size + 4), chance.randrange(size + 3)
        last, bytes_max = first + chance.randrange(10), chance.randrange(1, 200)
        told = attrs.evolve(model.journals[mine].member, counter=self._draw(), players=chance.randrange(50))
        kind = chance.choices(("append", "read", "renew", "prune", "seal", "remove"), (12, 4, 2, 1, 1, 1))[0]
        steps: dict[str, Step] = {
            "append": (
                "append",
                lambda: append(writer, mine, position, data),
                lambda: model.append(mine, position, data),
            ),
            "read": (
                "read",
                lambda: store.journals.read(known, first, last, bytes_max),
                lambda: model.read(known, first, last, bytes_max),
            ),
            "renew": ("renew", lambda: writer.journals.renew(told), lambda: model.renew(told)),
            "prune": ("prune", lambda: writer.journals.prune(mine, through), lambda: model.prune(mine, through)),
            "seal": ("seal", lambda: store.journals.seal(known), lambda: model.seal(known)),
            "remove": ("remove", lambda: store.journals.remove(known), lambda: model.remove(known)),
        }
        return steps[kind]

    def _open(self, node: str) -> Step:
        """A node's next life: under another name, since its last life's process still has the first one."""
        fresh = member(f"{node}{self._draw()}")
        writer = self.chance.choice(self.stores)
        self.lives[node] = (fresh.incarnation, writer)
        return "open", lambda: writer.journals.open(fresh), lambda: self.model.open(fresh)

    def _snapshot(self, store: Store) -> Step:
        room, chance, model = self.chance.choice(ROOMS), self.chance, self.model
        some = [snapshot(chance.choice(ROOMS), chance.randrange(1, 4), chance.randrange(30)) for _ in range(3)]
        if chance.random() < 0.1:
            return "delete", lambda: store.snapshots.delete([room]), lambda: model.delete_snapshots(room)
        return "put", lambda: store.snapshots.put(some), lambda: model.put(some)

    def _room(self, store: Store) -> Step:
        chance, model = self.chance, self.model
        room, dead, me = chance.choice(ROOMS), chance.choice(NODES), chance.choice(NODES)
        row = model.rooms.get(room, entry(room, dead))
        seen = attrs.evolve(row, version=row.version - chance.choice((0, 0, 0, 1)))
        new = attrs.evolve(row, players=chance.randrange(20), strikes=chance.randrange(2), version=self._draw())
        claimed = chance.sample(ROOMS, chance.randrange(len(ROOMS)))
        tip, first = chance.randrange(3), chance.randrange(1, 9)
        gone = attrs.evolve(row, epoch=row.epoch + chance.choice((0, 0, 1)), version=0)
        fresh = entry(room, dead, players=chance.randrange(20), chain=(Span(1, dead, first),))
        kind = chance.choices(("create", "claim", "replace", "delete", "owned"), (4, 4, 4, 1, 2))[0]
        steps: dict[str, Step] = {
            "create": ("create", lambda: store.rooms.create(fresh), lambda: model.create(fresh)),
            "claim": (
                "claim",
                lambda: store.rooms.claim(claimed, dead, tip, me, first),
                lambda: model.claim(claimed, dead, tip, me, first),
            ),
            "replace": ("replace", lambda: store.rooms.replace(seen, new), lambda: model.replace_room(seen, new)),
            "delete": ("delete", lambda: store.rooms.delete(gone), lambda: model.delete_room(gone)),
            "owned": (
                "owned by",
                lambda: store.rooms.owned_by(dead),
                lambda: sorted(
                    (r for r in model.rooms.values() if r.owner == dead), key=lambda r: (-r.players, r.room)
                ),
            ),
        }
        return steps[kind]

    def _session(self, store: Store) -> Step:
        chance, model = self.chance, self.model
        account = chance.choice(ACCOUNTS)
        record = model.sessions.get(account, session(f"gone of {account}", account))
        seen = attrs.evolve(record, version=record.version - chance.choice((0, 0, 1)))
        new = attrs.evolve(record, generation=self._draw(), room=chance.choice(ROOMS))
        fresh = chance.choice(
            (session(f"s{self._draw()}", account, expires_s=self.now_s + chance.randrange(9)), record)
        )
        names = [*(s.session for s in model.sessions.values()), "never there"]
        self.now_s += chance.randrange(3)
        now_s, until_s = self.now_s, self.now_s + 4
        kind = chance.choices(("open", "replace", "touch", "delete", "purge", "get"), (6, 6, 2, 1, 2, 3))[0]
        found = model.sessions.get(account)
        steps: dict[str, Step] = {
            "open": ("log in", lambda: store.sessions.open(fresh), lambda: model.open_session(fresh)),
            "replace": ("raise", lambda: store.sessions.replace(seen, new), lambda: model.replace_session(seen, new)),
            "touch": ("touch", lambda: store.sessions.touch(names, until_s), lambda: model.touch(names, until_s)),
            "delete": (
                "forget",
                lambda: store.sessions.delete(record.session),
                lambda: model.delete_session(record.session),
            ),
            "purge": (
                "purge",
                lambda: store.sessions.purge(now_s),
                lambda: model.purge(lambda s: s.expires_s < now_s),
            ),
            "get": (
                "get",
                lambda: store.sessions.get(record.session, now_s),
                lambda: None if found is None or found.expires_s < now_s else found,
            ),
        }
        return steps[kind]

    def _draw(self) -> int:
        self.drawn += 1
        return self.drawn
