"""Tickets: "node X said that you are the right one for this session", signed, for half a minute.

    | msgpack [session, room, incarnation, purpose, hops, expires_s] | 16 bytes keyed BLAKE2b of it |

A ticket only routes. It gives no right to a session (that needs the session's secret), it says to its node what the
client was sent there for, so that the client is not sent on for the same wish.
"""

from __future__ import annotations

import hashlib
import hmac

import attrs
import msgpack

from cluster.errors import BadTicket

TICKET_S = 30.0
HOPS_MAX = 4
PURPOSES = ("resume", "join", "create", "watch")
_TAG = 16
_SIZE_MAX = 256


@attrs.frozen
class Ticket:
    """Who is sent where, and what for."""

    session: str
    room: str
    incarnation: str
    """The node that it is for."""
    purpose: str
    """One of PURPOSES."""
    hops: int
    """How often the client was sent on, this time included."""
    expires_s: float
    """Seconds since 1970."""


class Tickets:
    """Signs and checks with a key that all nodes share."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, ticket: Ticket) -> bytes:
        """At most 256 bytes; raises BadTicket for a client that was sent on too often."""
        if ticket.hops > HOPS_MAX:
            raise BadTicket(f"sent on {ticket.hops} times")
        body: bytes = msgpack.packb(attrs.astuple(ticket))
        if len(body) + _TAG > _SIZE_MAX:
            raise BadTicket("the names in this ticket are too long")
        return body + self._tag(body)

    def check(self, data: bytes, now_s: float, incarnation: str) -> Ticket:
        """Inverse of `sign`; raises BadTicket."""
        body, tag = data[:-_TAG], data[-_TAG:]
        if len(data) <= _TAG or not hmac.compare_digest(self._tag(body), tag):
            raise BadTicket("this ticket is not ours")
        try:
            ticket = Ticket(*msgpack.unpackb(body))
        except (ValueError, TypeError) as error:
            raise BadTicket(f"this ticket is of another version: {error}") from error
        if now_s > ticket.expires_s:
            raise BadTicket("this ticket is too old")
        if ticket.incarnation != incarnation:
            raise BadTicket("this ticket is for another node")
        return ticket

    def _tag(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._key, digest_size=_TAG).digest()
