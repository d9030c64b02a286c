"""Sessions: small rows, on the loop. In the open is what a statement needs: id, account, expiry, version; the rest is
msgpack of the record, sealed by the cipher.

To open a session is a compare-and-set on the one that the account has, tried again when somebody was faster: so exactly
one caller is told which session it replaced.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import attrs
import msgpack
import trio

from cluster.errors import Damaged
from cluster.model import SessionRecord
from cluster.sqlite.connection import Kind, Refused
from cluster.sqlite.file import File
from cluster.store import Cipher

PIECE_ROWS = 200

SESSIONS = Kind(
    "file of sessions",
    int.from_bytes(b"HFse", "big"),
    1,
    (
        "CREATE TABLE sessions (session TEXT PRIMARY KEY, account TEXT NOT NULL UNIQUE, expires_s REAL NOT NULL, "
        "version INTEGER NOT NULL, body BLOB NOT NULL)",
        "CREATE INDEX sessions_expiry ON sessions (expires_s)",
    ),
)


class SqliteSessions:
    """Players' sessions: `cluster.store.Sessions`."""

    def __init__(self, file: File, cipher: Cipher | None) -> None:
        self._file = file
        self._cipher = cipher

    async def open(self, record: SessionRecord) -> SessionRecord | None:
        row = self._row(record)
        while True:
            found = await self._file.rows(
                "SELECT session, account, expires_s, version, body FROM sessions WHERE account = ?", (record.account,)
            )
            try:
                if not found:
                    sql = "INSERT INTO sessions VALUES (?, ?, ?, ?, ?) ON CONFLICT (account) DO NOTHING"
                    changed = await self._file.change(sql, row)
                else:
                    sql = (
                        "UPDATE sessions SET (session, account, expires_s, version, body) = (?, ?, ?, ?, ?) "
                        "WHERE account = ? AND session = ? AND version = ?"
                    )
                    session, account, _, version, _ = found[0]
                    changed = await self._file.change(sql, (*row, account, session, version))
            except Refused as refused:
                raise ValueError(f"session {record.session} is another account's") from refused
            if changed:
                break
        if not found or found[0][0] == record.session:
            return None
        with contextlib.suppress(Damaged):
            return self._record(*found[0])
        return None

    async def get(self, session: str, now_s: float) -> SessionRecord | None:
        return await self._get("session", session, now_s)

    async def of_account(self, account: str, now_s: float) -> SessionRecord | None:
        return await self._get("account", account, now_s)

    async def replace(self, old: SessionRecord, new: SessionRecord) -> bool:
        if (new.session, new.account) != (old.session, old.account):
            raise ValueError("a session keeps its id and its account")
        _, _, expires_s, version, body = self._row(attrs.evolve(new, version=old.version + 1))
        sql = (
            "UPDATE sessions SET expires_s = ?, version = ?, body = ? WHERE session = ? AND account = ? AND version = ?"
        )
        return await self._file.change(sql, (expires_s, version, body, old.session, old.account, old.version)) == 1

    async def touch(self, sessions: Sequence[str], expires_s: float) -> list[str]:
        await trio.lowlevel.checkpoint()
        gone: list[str] = []
        for start in range(0, len(sessions), PIECE_ROWS):
            names = sessions[start : start + PIECE_ROWS]
            some = json.dumps(names)
            inside = "session IN (SELECT value FROM json_each(?))"
            touched = await self._file.change(f"UPDATE sessions SET expires_s = ? WHERE {inside}", (expires_s, some))
            if touched < len(names):
                there = {
                    name for (name,) in await self._file.rows(f"SELECT session FROM sessions WHERE {inside}", (some,))
                }
                gone += [name for name in names if name not in there]
        return gone

    async def delete(self, session: str) -> None:
        await self._file.change("DELETE FROM sessions WHERE session = ?", (session,))

    async def purge(self, now_s: float) -> int:
        oldest = f"SELECT session FROM sessions WHERE expires_s < ? LIMIT {PIECE_ROWS}"
        purged = 0
        while True:
            count = await self._file.change(f"DELETE FROM sessions WHERE session IN ({oldest})", (now_s,))
            purged += count
            if count < PIECE_ROWS:
                return purged

    async def _get(self, column: str, value: str, now_s: float) -> SessionRecord | None:
        rows = await self._file.rows(
            f"SELECT session, account, expires_s, version, body FROM sessions WHERE {column} = ? AND expires_s >= ?",
            (value, now_s),
        )
        return self._record(*rows[0]) if rows else None

    def _row(self, record: SessionRecord) -> tuple[Any, ...]:
        body: bytes = msgpack.packb(attrs.asdict(record, recurse=False))
        if self._cipher is not None:
            body = self._cipher.encrypt(body)
        return record.session, record.account, record.expires_s, record.version, body

    def _record(self, session: str, account: str, expires_s: float, version: int, body: bytes) -> SessionRecord:
        try:
            opened = body if self._cipher is None else self._cipher.decrypt(body)
            fields: dict[str, Any] = msgpack.unpackb(opened)
            record = SessionRecord(**{**fields, "expires_s": expires_s, "version": version})
        except Exception as error:  # whatever a cipher raises for bytes that are not its own
            raise Damaged(f"session {session} cannot be read: {error!r}") from error
        if (record.session, record.account) != (session, account):
            raise Damaged(f"session {session} holds another one")
        return record
