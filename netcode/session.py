"""Sessions: a player's authenticated presence on this node, and the table that finds it.

    log-in ──► CONNECTED ──connection lost──► LOST ──not resumed in time──► gone
                   ▲   └─resume: fresh keys─┐   │
                   └────────────────────────┴───┘       (a log-in of the same account ends the older session)

A session is found by its id (control channel, resume), by its connection id (every datagram) and by its account (one
session a player). While it is lost its keys are worth nothing: no datagram finds it. The table is pure: ids, secrets
and keys are drawn by its owner, `now` is passed in, and whoever calls `silent`, `outlived` or `expired` acts on what
they return. Only the hash of a session's secret is kept. Who may take a session up again is decided elsewhere
(`server.registry`), for other nodes may have it by now.
"""

from __future__ import annotations

import hashlib
from typing import Any

import attrs

from netcode.ends import ServerEnds
from netcode.errors import ErrorCode, ProtocolError
from netcode.seal import DropCounters
from netcode.server_end import ServerEnd

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
    """The control connection (a `ByteLink`); while the session is lost, the closed one it had."""
    generation: int = 0
    """Counts the session's connections; the keys of earlier ones are worth nothing."""
    lost_at: float | None = None
    """Since when the session has no connection; None while it has one."""
    ended: bool = False
    """It cannot be resumed any more."""
    seat: Any = None
    """The server's occupant of the seat that the session sits in; None without one."""
    joining: str = ""
    """Id of the join that waits for its tick; "" when none does."""
    profile: dict[str, Any] = attrs.field(factory=dict)
    """What a game is told of the player."""
    record: Any = None
    """What all nodes know of the session (`cluster.model.SessionRecord`), as this one has written it last."""
    ticket: Any = None
    """What the session was sent here for (`cluster.tickets.Ticket`), until it has asked for it."""
    budget: Any = None
    """What the server still lets the session ask for (`server.limits.SessionBudget`)."""
    streams: int = 0
    """How many seats this connection was given; numbers frames and inputs (low 8 bits)."""


def secret_hash(secret: bytes) -> bytes:
    """What is kept of a session's secret (32 random bytes, so a plain hash suffices)."""
    return hashlib.blake2b(secret, digest_size=32, person=b"holdfast session"[:16]).digest()


class SessionTable:
    """All sessions of a node; at most `sessions_max`. A log-in into a full table ends the session that has been lost
    for longest; where none is lost it is refused."""

    def __init__(self, sessions_max: int, drops: DropCounters | None = None) -> None:
        self.sessions_max = sessions_max
        self.ends = ServerEnds(DropCounters() if drops is None else drops)
        """By connection: the realtime channels of all sessions that have one."""
        self.by_id: dict[str, Session] = {}
        self.by_account: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self.by_id)

    def add(self, session: Session) -> Session | None:
        """Take a new session in; returns the one that it replaces (of the same account, or lost for longest where the
        table is full), already removed.

        Raises ProtocolError(TOO_MANY_SESSIONS) when the table is full of players who are here.
        """
        replaced = self.by_account.get(session.account)
        if replaced is None and len(self.by_id) >= self.sessions_max:
            lost = [(found.lost_at, found.id) for found in self.by_id.values() if found.lost_at is not None]
            if not lost:
                raise ProtocolError(
                    ErrorCode.TOO_MANY_SESSIONS, f"this server takes {self.sessions_max} players at once"
                )
            replaced = self.by_id[min(lost)[1]]
        if replaced is not None:
            self.remove(replaced)
        self.by_id[session.id] = session
        self.ends.open(session.end, session)
        self.by_account[session.account] = session
        return replaced

    def lose(self, session: Session, now: float) -> None:
        """The session's connection is gone; it can be resumed for a while."""
        if session.lost_at is None and not session.ended:
            session.lost_at = now
            session.end.close()

    def resume(self, session: Session, end: ServerEnd, link: Any, now: float) -> Any:
        """Give a session a new connection, and with `end` fresh keys; returns the link it had."""
        before, session.link = session.link, link
        session.end.close()
        session.end = end
        self.ends.open(end, session)
        session.generation += 1
        session.lost_at, session.heard_at = None, now
        return before

    def remove(self, session: Session) -> None:
        """Forget a session; harmless when it is gone already."""
        session.ended = True
        if self.by_id.pop(session.id, None) is not None:
            session.end.close()
            if self.by_account.get(session.account) is session:
                del self.by_account[session.account]

    def silent(self, now: float, idle_s: float) -> list[Session]:
        """Sessions with a connection that were heard on neither channel for `idle_s`."""
        limit = now - idle_s
        return [s for s in self.by_id.values() if s.lost_at is None and s.heard_at < limit and s.end.heard_at < limit]

    def expired(self, now: float, resume_s: float) -> list[Session]:
        """Sessions that have been lost for longer than `resume_s`."""
        return [s for s in self.by_id.values() if s.lost_at is not None and now - s.lost_at > resume_s]

    def outlived(self, now: float) -> list[Session]:
        """Sessions older than SESSION_MAX_S."""
        return [s for s in self.by_id.values() if now - s.opened_at > SESSION_MAX_S]
