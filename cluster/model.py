"""What nodes share, as values: members with their leases, rooms with their owners, sessions.

    Member ── one incarnation of a node: its lease (a counter that rises), its address, its load; sealed once dead
    RoomEntry ── a room's row in the directory: owner, epoch, and the chain of journals that its past lies in
    SessionRecord ── a player's session as any node can take it up

Rows are replaced as a whole by compare-and-set on `version`, so a writer that knows an older one changes nothing.
"""

from __future__ import annotations

import secrets
from typing import Any

import attrs

from cluster.errors import Damaged

ROOM_CHAIN_MAX = 64
"""Spans of a chain; a room that changes its owner more often than it can be snapshot is quarantined."""


def new_incarnation(node: str) -> str:
    """An id for one life of a node, never used again: `node.` and 64 random bits."""
    return f"{node}.{secrets.token_hex(8)}"


@attrs.frozen(kw_only=True)
class Member:
    """One incarnation of a node."""

    incarnation: str
    node: str
    host: str
    """Where clients reach this very node, not just any: host and port of its own TCP listener."""
    port: int
    pid: int = 0
    """The process, where members share a machine."""
    counter: int = 0
    """Rises with every renewal of the lease; others judge the lease by watching it."""
    draining: bool = False
    """It gives its rooms away and takes no new ones."""
    players: int = 0
    rooms: int = 0
    load: float = 0.0
    """Share of its time that the node spends in ticks, 0 to 1."""
    listing: bytes = b""
    """msgpack of what it tells the other nodes: the rooms that it lists, and where it answers HTTP."""
    sealed: bool = False
    tip: int = 0
    """Position of the newest record of its journal; 0: none. Final once sealed."""


@attrs.frozen
class Span:
    """A part of a room's past: the records of (room, epoch) in one incarnation's journal."""

    epoch: int
    incarnation: str
    first: int
    """Position from which on its records may lie; 0: its owner was given the room and has not begun yet."""
    last: int | None = None
    """Position up to which they may: the sealed tip, or that of the hand-off; None while the owner lives."""

    def dump(self) -> list[Any]:
        """Plain data; `load` is the inverse."""
        return [self.epoch, self.incarnation, self.first, self.last]


@attrs.frozen(kw_only=True)
class RoomEntry:
    """A room's row in the directory, written before its tick 0 and deleted after its journaled end."""

    room: str
    game: str
    options: dict[str, int]
    tick_hz: int
    seed: int
    fingerprint: str
    """Of the game that runs it: who has another one can neither load nor replay it, and does not claim it."""
    code: str = ""
    """What a private room is found by; "" for an open one."""
    opened_by: str = ""
    owner: str
    """Incarnation that runs the room, or is taking it over."""
    epoch: int = 1
    """Counts the room's owners."""
    chain: tuple[Span, ...]
    """Oldest first; the last one is the owner's."""
    players: int = 0
    """As of the last write: who takes rooms over begins with the fullest."""
    attempts: int = 0
    """Times that it was claimed since it last ran well."""
    strikes: int = 0
    """Processes that died of replaying it alone."""
    target: str = ""
    """The owner, as long as it was given the room by hand and has not begun; "" once it has."""
    version: int = 0

    def claimed(self, me: str, first: int, tip: int) -> RoomEntry:
        """The row after `me` has taken the room over from an owner whose journal is sealed at `tip`; `first` is the
        position from which on our own journal may speak of it."""
        *before, last = self.chain
        chain = (*before, attrs.evolve(last, last=tip), Span(self.epoch + 1, me, first))
        return attrs.evolve(
            self,
            owner=me,
            epoch=self.epoch + 1,
            chain=chain,
            attempts=self.attempts + 1,
            target="",
            version=self.version + 1,
        )

    def given(self, to: str, position: int) -> RoomEntry:
        """The row after its owner has given the room away, its last record being at `position`."""
        *before, last = self.chain
        chain = (*before, attrs.evolve(last, last=position), Span(self.epoch + 1, to, 0))
        return attrs.evolve(
            self, owner=to, epoch=self.epoch + 1, chain=chain, target=to, attempts=0, version=self.version + 1
        )

    def begun(self, first: int) -> RoomEntry:
        """The row after the new owner has begun: its records lie at `first` and behind."""
        *before, last = self.chain
        chain = (*before, attrs.evolve(last, first=first))
        return attrs.evolve(self, chain=chain, target="", version=self.version + 1)


def dump_entry(entry: RoomEntry) -> dict[str, Any]:
    """Plain data of a row; `load_entry` is the inverse."""
    fields = attrs.asdict(entry, recurse=False)
    fields["chain"] = [span.dump() for span in entry.chain]
    return fields


def load_entry(fields: dict[str, Any]) -> RoomEntry:
    """Raises Damaged, also for a chain that is none: its spans are as `Span.dump` has them, the last is the owner's."""
    try:
        entry = RoomEntry(**{**fields, "chain": tuple(Span(*span) for span in fields["chain"])})
    except (TypeError, ValueError, KeyError) as error:
        raise Damaged(f"a row of the directory makes no sense: {error}") from error
    for span in fields["chain"]:
        kinds = tuple(map(type, span))
        if kinds[:3] != (int, str, int) or kinds[3:] not in [(int,), (type(None),)]:
            raise Damaged(f"a row of the directory makes no sense: the chain of room {entry.room} has a span {span!r}")
    if not entry.chain or (entry.chain[-1].epoch, entry.chain[-1].incarnation) != (entry.epoch, entry.owner):
        raise Damaged(
            f"a row of the directory makes no sense: the chain of room {entry.room} does not end with its owner"
        )
    return entry


@attrs.frozen(kw_only=True)
class SessionRecord:
    """A session as any node can take it up. The roster of its room is the truth about the seat, this is the hint."""

    session: str
    account: str
    name: str
    secret_hash: bytes
    profile: dict[str, Any] = attrs.field(factory=dict)
    generation: int = 0
    """Counts the connections; whoever raises it by compare-and-set serves the session, and the others do no more."""
    node: str = ""
    """Incarnation that serves it."""
    room: str = ""
    """Where it has, or has asked for, a seat."""
    join_id: str = ""
    """Of the join that was reserved last."""
    opened_s: float = 0.0
    expires_s: float = 0.0
    """Seconds since 1970 after which nobody takes it up any more."""
    version: int = 0


@attrs.frozen
class StoredSnapshot:
    """A snapshot's bytes (`cluster.codec`) and what it is found by."""

    room: str
    epoch: int
    tick: int
    data: bytes
