"""Sessions: a player's authenticated presence on this node, and the table that finds it.

A session is found by its id (control channel, resume), by its connection id (every datagram) and by its account (one
session a player: a new log-in replaces the old one). The table is pure: ids, secrets and keys are drawn by its owner,
`now` is passed in, and whoever calls `silent` or `outlived` acts on what they return. Only the hash of a session's
secret is kept.
"""

from __future__ import annotations

import hashlib
from typing import Any

import attrs

from netcode.errors import ErrorCode, ProtocolError
from netcode.realtime import ServerEnd

SESSION_MAX_S = 24 * 3600.0
"""The absolute age at which a session ends and its player logs in again."""


@attrs.define(eq=False)
class Session:
    """One player's presence. `seat` and `link` belong to the server that runs the room and the connection."""

    id: str
    account: str
    name: str
    secret_hash: bytes
    end: ServerEnd
    opened_at: float
    heard_at: float
    """When the player was last heard on the control channel; datagrams count in `end.heard_at`."""
    link: Any = None
    """The control connection (a `ByteLink`)."""
    seat: Any = None
    """The server's occupant of the seat that the session sits in; None without one."""
    joining: str = ""
    """Id of the join that waits for its tick; "" when none does."""
    profile: dict[str, Any] = attrs.field(factory=dict)
    """What a game is told of the player."""
    opened: list[str] = attrs.field(factory=list)
    """Rooms that this session has opened, as far as they are still there."""
    by_datagram: bool | None = None
    """Frames go by datagrams (True) or over the control channel (False); None: the client has shown neither yet."""
    streams: int = 0
    """How many seats this connection was given; numbers frames and inputs (low 8 bits)."""


def secret_hash(secret: bytes) -> bytes:
    """What is kept of a session's secret (32 random bytes, so a plain hash suffices)."""
    return hashlib.blake2b(secret, digest_size=32, person=b"holdfast session"[:16]).digest()


class SessionTable:
    """All sessions of a node; at most `sessions_max`, beyond that a log-in is refused."""

    def __init__(self, sessions_max: int) -> None:
        self.sessions_max = sessions_max
        self.by_id: dict[str, Session] = {}
        self.by_connection: dict[int, Session] = {}
        self.by_account: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self.by_id)

    def add(self, session: Session) -> Session | None:
        """Take a new session in; returns the one of the same account that it replaces, already removed.

        Raises ProtocolError(TOO_MANY_SESSIONS) when the table is full.
        """
        replaced = self.by_account.get(session.account)
        if replaced is None and len(self.by_id) >= self.sessions_max:
            raise ProtocolError(ErrorCode.TOO_MANY_SESSIONS, f"this server takes {self.sessions_max} players at once")
        if replaced is not None:
            self.remove(replaced)
        self.by_id[session.id] = session
        self.by_connection[session.end.connection] = session
        self.by_account[session.account] = session
        return replaced

    def remove(self, session: Session) -> None:
        """Forget a session; harmless when it is gone already."""
        if self.by_id.pop(session.id, None) is not None:
            del self.by_connection[session.end.connection]
            if self.by_account.get(session.account) is session:
                del self.by_account[session.account]

    def silent(self, now: float, idle_s: float) -> list[Session]:
        """Sessions that were heard on neither channel for `idle_s`."""
        limit = now - idle_s
        return [s for s in self.by_id.values() if s.heard_at < limit and s.end.heard_at < limit]

    def outlived(self, now: float) -> list[Session]:
        """Sessions older than SESSION_MAX_S."""
        return [s for s in self.by_id.values() if now - s.opened_at > SESSION_MAX_S]
