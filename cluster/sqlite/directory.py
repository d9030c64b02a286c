"""The directory of rooms: one row each. A claim of any number of rooms is one statement."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import msgpack

from cluster.model import RoomEntry, dump_entry, load_entry
from cluster.sqlite.connection import patiently, typed

SCHEMA = """
CREATE TABLE rooms(
    room TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL, chain TEXT NOT NULL, players INTEGER NOT NULL,
    attempts INTEGER NOT NULL, target TEXT NOT NULL, version INTEGER NOT NULL,
    code TEXT NOT NULL, rest BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX owned ON rooms(owner, players DESC, room);
CREATE INDEX coming ON rooms(target) WHERE target != '';
CREATE INDEX coded ON rooms(code) WHERE code != '';
"""
COLUMNS = ("room", "owner", "epoch", "chain", "players", "attempts", "target", "version", "code")
_ALL = f"SELECT {', '.join(COLUMNS)}, rest FROM rooms"
_INSERT = f"INSERT INTO rooms VALUES ({', '.join('?' * (len(COLUMNS) + 1))}) ON CONFLICT DO NOTHING"
_REPLACE = f"UPDATE rooms SET {', '.join(f'{name} = ?' for name in COLUMNS)}, rest = ? WHERE room = ? AND version = ?"
_CLAIM = """
UPDATE rooms SET
    owner = :me,
    chain = json_insert(json_set(chain, '$[#-1][3]', :tip), '$[#]', json_array(epoch + 1, :me, :first, NULL)),
    epoch = epoch + 1, attempts = attempts + 1, target = '', version = version + 1
WHERE owner = :dead AND room IN (SELECT value FROM json_each(:rooms))
"""


class SqliteDirectory:
    """`cluster.store.Directory` in a file."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path, self._db = path, db

    async def create(self, entry: RoomEntry) -> None:
        """See `cluster.store.Directory`."""
        await self._write(_INSERT, _row(entry))
        if await self.get(entry.room) != entry:
            raise ValueError(f"room {entry.room} is there already, and is another one or has moved on")

    async def get(self, room: str) -> RoomEntry | None:
        """See `cluster.store.Directory`."""
        return next(iter(await self._select("WHERE room = ?", room)), None)

    async def find_code(self, code: str) -> RoomEntry | None:
        """See `cluster.store.Directory`."""
        return next(iter(await self._select("WHERE code = ? AND code != '' ORDER BY room", code)), None)

    async def owned_by(self, incarnation: str) -> list[RoomEntry]:
        """See `cluster.store.Directory`."""
        return await self._select("WHERE owner = ? ORDER BY players DESC, room", incarnation)

    async def coming_to(self, incarnation: str) -> list[RoomEntry]:
        """See `cluster.store.Directory`."""
        return await self._select("WHERE target = ? AND target != '' ORDER BY room", incarnation)

    async def claim(self, rooms: Iterable[str], dead: str, tip: int, me: str, first: int) -> list[RoomEntry]:
        """See `cluster.store.Directory`."""
        wanted = json.dumps(sorted(set(rooms)))
        await self._write(_CLAIM, {"rooms": wanted, "dead": dead, "tip": tip, "me": me, "first": first})
        found = await self._select(
            "WHERE owner = ? AND room IN (SELECT value FROM json_each(?)) ORDER BY players DESC, room", me, wanted
        )
        return [
            entry
            for entry in found
            if len(entry.chain) > 1 and (entry.chain[-2].incarnation, entry.chain[-2].last) == (dead, tip)
        ]

    async def replace(self, old: RoomEntry, new: RoomEntry) -> bool:
        """See `cluster.store.Directory`."""
        if new.room != old.room:
            raise ValueError(f"room {old.room} cannot become room {new.room}")
        stored = attrs.evolve(new, version=old.version + 1)
        return await self._write(_REPLACE, (*_row(stored), old.room, old.version)) > 0

    async def delete(self, entry: RoomEntry) -> bool:
        """See `cluster.store.Directory`."""
        if await self._write(
            "DELETE FROM rooms WHERE room = ? AND owner = ? AND epoch = ?", (entry.room, entry.owner, entry.epoch)
        ):
            return True
        return await self.get(entry.room) is None

    async def entries(self) -> list[RoomEntry]:
        """See `cluster.store.Directory`."""
        return await self._select("ORDER BY room")

    async def _write(self, statement: str, values: Any) -> int:
        def act() -> int:
            with typed(self._path):
                return self._db.execute(statement, values).rowcount

        return await patiently(self._path, act)

    async def _select(self, where: str, *values: str) -> list[RoomEntry]:
        def act() -> list[Any]:
            with typed(self._path):
                return self._db.execute(f"{_ALL} {where}", values).fetchall()

        return [_entry(row) for row in await patiently(self._path, act)]


def _row(entry: RoomEntry) -> tuple[Any, ...]:
    fields = dump_entry(entry)
    columns = {name: fields.pop(name) for name in COLUMNS}
    columns["chain"] = json.dumps(columns["chain"])
    return (*columns.values(), msgpack.packb(fields))


def _entry(row: tuple[Any, ...]) -> RoomEntry:
    fields = dict(zip(COLUMNS, row, strict=False))
    fields["chain"] = json.loads(fields["chain"])
    return load_entry({**fields, **msgpack.unpackb(row[-1])})
