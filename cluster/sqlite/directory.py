"""The directory: who owns which room. Small rows, on the loop; lists are read in pieces, each row as it is then.

A claim of many rooms is one statement, whose condition is the compare-and-set and which writes the chains as JSON; what
is ours by it now, or was by an earlier attempt, is read afterwards: nobody else moves rooms of a claimant who lives.

A row that makes no sense any more is left out of every list, kept, and told once: it costs nobody but its own room. Who
asks for that room by its id is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import structlog
import trio

from cluster.errors import Damaged
from cluster.model import RoomEntry, dump_entry, load_entry
from cluster.sqlite.connection import Kind, Row
from cluster.sqlite.file import File

PIECE_ROWS = 100
CLAIM_ROWS = 250
"""Rooms that one statement claims, in a few milliseconds at most."""

DIRECTORY = Kind(
    "directory",
    int.from_bytes(b"HFdi", "big"),
    1,
    (
        "CREATE TABLE rooms (room TEXT PRIMARY KEY, game TEXT NOT NULL, options TEXT NOT NULL, "
        "tick_hz INTEGER NOT NULL, seed TEXT NOT NULL, fingerprint TEXT NOT NULL, code TEXT NOT NULL, "
        "opened_by TEXT NOT NULL, owner TEXT NOT NULL, epoch INTEGER NOT NULL, chain TEXT NOT NULL, "
        "players INTEGER NOT NULL, attempts INTEGER NOT NULL, strikes INTEGER NOT NULL, target TEXT NOT NULL, "
        "version INTEGER NOT NULL)",
        "CREATE INDEX rooms_owner ON rooms (owner, room)",
        "CREATE INDEX rooms_target ON rooms (target) WHERE target != ''",
        "CREATE INDEX rooms_code ON rooms (code) WHERE code != ''",
    ),
)
_FIELDS = tuple(field.name for field in attrs.fields(RoomEntry))
_TYPES = {
    **dict.fromkeys(("room", "game", "fingerprint", "code", "opened_by", "owner", "target"), str),
    **dict.fromkeys(("tick_hz", "seed", "epoch", "players", "attempts", "strikes", "version"), int),
    "options": dict,
    "chain": list,
}
_ROW = ", ".join(_FIELDS)
_PLACES = ", ".join("?" * len(_FIELDS))
_CLAIM = """
    UPDATE rooms SET owner = :me, epoch = epoch + 1, attempts = attempts + 1, target = '',
        version = version + 1, chain = json_insert(
            json_set(chain, '$[#-1][3]', :tip), '$[#]', json_array(epoch + 1, :me, :first, NULL))
    WHERE owner = :dead AND room IN (SELECT value FROM json_each(:rooms))
"""
_CLAIMED = f"""
    SELECT {_ROW} FROM rooms WHERE room IN (SELECT value FROM json_each(?)) AND owner = ?
        AND json_extract(chain, '$[#-2][1]') = ? AND json_extract(chain, '$[#-2][3]') = ?
"""

log = structlog.get_logger("holdfast.store")


class SqliteDirectory:
    """Rooms and their owners: `cluster.store.Directory`."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._told: set[Any] = set()
        """Rooms whose rows were told to be damaged."""

    async def create(self, entry: RoomEntry) -> None:
        values = _dump(entry)
        made = await self._file.change(f"INSERT INTO rooms ({_ROW}) VALUES ({_PLACES}) ON CONFLICT DO NOTHING", values)
        if not made and await self.get(entry.room) != entry:
            raise ValueError(f"room {entry.room} is there already, and is another one or has moved on")

    async def get(self, room: str) -> RoomEntry | None:
        rows = await self._file.rows(f"SELECT {_ROW} FROM rooms WHERE room = ?", (room,))
        return self._load(rows[0]) if rows else None

    async def find_code(self, code: str) -> RoomEntry | None:
        sql = f"SELECT {_ROW} FROM rooms WHERE code = ? AND code != '' ORDER BY room LIMIT 1"
        return next(iter(self._listed(await self._file.rows(sql, (code,)))), None)

    async def owned_by(self, incarnation: str) -> list[RoomEntry]:
        return sorted(await self._pages("owner = ? AND", (incarnation,)), key=_fullest)

    async def coming_to(self, incarnation: str) -> list[RoomEntry]:
        return await self._pages("target = ? AND target != '' AND", (incarnation,))

    async def claim(self, rooms: Iterable[str], dead: str, tip: int, me: str, first: int) -> list[RoomEntry]:
        await trio.lowlevel.checkpoint()
        wanted = list(dict.fromkeys(rooms))
        claimed: list[RoomEntry] = []
        for start in range(0, len(wanted), CLAIM_ROWS):
            some = json.dumps(wanted[start : start + CLAIM_ROWS])
            values = {"me": me, "tip": tip, "first": first, "dead": dead, "rooms": some}
            await self._file.change(_CLAIM, values)
            claimed += self._listed(await self._file.rows(_CLAIMED, (some, me, dead, tip)))
        return sorted(claimed, key=_fullest)

    async def replace(self, old: RoomEntry, new: RoomEntry) -> bool:
        if new.room != old.room:
            raise ValueError(f"room {old.room} cannot become room {new.room}")
        values = [*_dump(attrs.evolve(new, version=old.version + 1)), old.room, old.version]
        replaced = f"UPDATE rooms SET ({_ROW}) = ({_PLACES}) WHERE room = ? AND version = ?"
        return await self._file.change(replaced, values) == 1

    async def delete(self, entry: RoomEntry) -> bool:
        sql = "DELETE FROM rooms WHERE room = ? AND owner = ? AND epoch = ?"
        if await self._file.change(sql, (entry.room, entry.owner, entry.epoch)):
            return True
        return await self.get(entry.room) is None

    async def entries(self) -> list[RoomEntry]:
        return await self._pages("", ())

    async def owners(self) -> list[str]:
        rows = await self._file.rows("SELECT DISTINCT owner FROM rooms ORDER BY owner")
        return [owner for (owner,) in rows if isinstance(owner, str)]

    async def _pages(self, where: str, values: tuple[Any, ...]) -> list[RoomEntry]:
        """All rows with a property, by id."""
        sql = f"SELECT {_ROW} FROM rooms WHERE {where} room > ? ORDER BY room LIMIT {PIECE_ROWS}"
        found: list[RoomEntry] = []
        last: Any = ""
        try:
            while rows := await self._file.rows(sql, (*values, last)):
                found += self._listed(rows)
                if len(rows) < PIECE_ROWS:
                    break
                last = rows[-1][0]
        except Damaged:
            return await self._singly(where, values)
        return found

    async def _singly(self, where: str, values: tuple[Any, ...]) -> list[RoomEntry]:
        """The same where SQLite cannot read one of them, which ends the whole list. Raises Damaged when it cannot even
        tell which there are."""
        found: list[RoomEntry] = []
        for (number,) in await self._file.rows(f"SELECT rowid FROM rooms WHERE {where} true ORDER BY room", values):
            try:
                found += self._listed(await self._file.rows(f"SELECT {_ROW} FROM rooms WHERE rowid = ?", (number,)))
            except Damaged as error:
                self._tell(number, error)
        return found

    def _listed(self, rows: Sequence[Row]) -> list[RoomEntry]:
        """Those that can be read."""
        found = []
        for row in rows:
            try:
                found.append(self._load(row))
            except Damaged as error:
                self._tell(row[0], error)
        return found

    def _tell(self, room: Any, error: Damaged) -> None:
        if room not in self._told:
            self._told.add(room)
            log.error("row_unreadable", room=room, error=str(error))

    def _load(self, row: Row) -> RoomEntry:
        fields = dict(zip(_FIELDS, row, strict=True))
        try:
            fields["options"] = json.loads(fields["options"])
            fields["chain"] = json.loads(fields["chain"])
            fields["seed"] = int(fields["seed"])
            if not all(isinstance(fields[name], kind) for name, kind in _TYPES.items()):
                raise TypeError("a column has a value of another type")
            return load_entry(fields)
        except (ValueError, TypeError, RecursionError, Damaged) as error:
            raise Damaged(
                f"the row of room {fields['room']} in {self._file.path} is damaged ({error}): "
                "restore the file from a backup, or delete the row"
            ) from error


def _dump(entry: RoomEntry) -> list[Any]:
    fields = dump_entry(entry)
    fields["options"] = json.dumps(fields["options"])
    fields["chain"] = json.dumps(fields["chain"])
    fields["seed"] = str(fields["seed"])  # 64 bits without a sign, which SQLite's integers have
    return [fields[name] for name in _FIELDS]


def _fullest(entry: RoomEntry) -> tuple[int, str]:
    return -entry.players, entry.room
