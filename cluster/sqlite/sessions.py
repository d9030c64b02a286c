"""Sessions: one row each, one session an account. All but what they are found by is sealed by the cipher."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import msgpack

from cluster.errors import Damaged
from cluster.model import SessionRecord
from cluster.sqlite.connection import patiently, typed
from cluster.store import Cipher

SCHEMA = """
CREATE TABLE sessions(
    session TEXT PRIMARY KEY, account TEXT NOT NULL UNIQUE, expires_s REAL NOT NULL, version INTEGER NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX expiry ON sessions(expires_s);
"""
_ALL = "SELECT expires_s, version, body FROM sessions"


class SqliteSessions:
    """`cluster.store.Sessions` in a file."""

    def __init__(self, path: Path, db: sqlite3.Connection, cipher: Cipher | None) -> None:
        self._path, self._db, self._cipher = path, db, cipher

    async def open(self, record: SessionRecord) -> SessionRecord | None:
        """See `cluster.store.Sessions`."""
        replaced = None
        rows = await self._do(f"{_ALL} WHERE account = ? AND session != ?", record.account, record.session)
        if rows:
            try:
                replaced = self._record(rows[0])
            except Damaged:  # sealed by a key that is gone: nobody can take it up either
                replaced = None
        await self._do(
            "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?)",
            record.session,
            record.account,
            record.expires_s,
            record.version,
            self._body(record),
        )
        return replaced

    async def get(self, session: str, now_s: float) -> SessionRecord | None:
        """See `cluster.store.Sessions`."""
        rows = await self._do(f"{_ALL} WHERE session = ? AND expires_s >= ?", session, now_s)
        return self._record(rows[0]) if rows else None

    async def of_account(self, account: str, now_s: float) -> SessionRecord | None:
        """See `cluster.store.Sessions`."""
        rows = await self._do(f"{_ALL} WHERE account = ? AND expires_s >= ?", account, now_s)
        return self._record(rows[0]) if rows else None

    async def replace(self, old: SessionRecord, new: SessionRecord) -> bool:
        """See `cluster.store.Sessions`."""
        if (new.session, new.account) != (old.session, old.account):
            raise ValueError("a session keeps its id and its account")
        stored = attrs.evolve(new, version=old.version + 1)
        rows = await self._do(
            "UPDATE sessions SET expires_s = ?, version = ?, body = ? WHERE session = ? AND version = ? RETURNING 1",
            stored.expires_s,
            stored.version,
            self._body(stored),
            old.session,
            old.version,
        )
        return bool(rows)

    async def touch(self, sessions: Sequence[str], expires_s: float) -> list[str]:
        """See `cluster.store.Sessions`."""
        rows = await self._do(
            "UPDATE sessions SET expires_s = ? WHERE session IN (SELECT value FROM json_each(?)) RETURNING session",
            expires_s,
            json.dumps(list(sessions)),
        )
        there = {row[0] for row in rows}
        return [session for session in sessions if session not in there]

    async def delete(self, session: str) -> None:
        """See `cluster.store.Sessions`."""
        await self._do("DELETE FROM sessions WHERE session = ?", session)

    async def purge(self, now_s: float) -> int:
        """See `cluster.store.Sessions`."""
        return len(await self._do("DELETE FROM sessions WHERE expires_s < ? RETURNING 1", now_s))

    async def _do(self, statement: str, *values: Any) -> list[Any]:
        def act() -> list[Any]:
            with typed(self._path):
                return self._db.execute(statement, values).fetchall()

        return await patiently(self._path, act)

    def _body(self, record: SessionRecord) -> bytes:
        body: bytes = msgpack.packb(attrs.asdict(record, recurse=False))
        return body if self._cipher is None else self._cipher.encrypt(body)

    def _record(self, row: tuple[float, int, bytes]) -> SessionRecord:
        expires_s, version, body = row
        try:
            plain = body if self._cipher is None else self._cipher.decrypt(body)
            fields = msgpack.unpackb(plain)
            return SessionRecord(**{**fields, "expires_s": expires_s, "version": version})
        except Exception as error:  # each cipher has an exception of its own
            raise Damaged(f"a session's record cannot be read: {type(error).__name__}") from error
