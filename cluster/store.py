"""The interface to what nodes share. An engine implements all of it (`cluster.memory`, `cluster.sqlite`), one suite of
tests holds for every engine (`tests/cluster/contract.py`), and no rule of takeover is in here.

    journals    an incarnation: its lease, its records, its fence (sealed or not); all three change together
    snapshots   the last three of every room
    rooms       the directory: who owns a room, at which epoch, and where its past lies
    sessions    who plays, and where

Every method may raise StoreUnavailable (read before you write again); those that write may raise StoreBusy (nothing was
written). Writes are idempotent or compare-and-set, so doing one again after an unknown outcome does no harm. ValueError
and RuntimeError are our own faults. What is given out is the caller's: changing it changes nothing that is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from cluster.model import Member, RoomEntry, SessionRecord, StoredSnapshot

SNAPSHOTS_KEPT = 3
READ_BYTES_MAX = 1 << 20
PRUNE_BYTES_MAX = 1 << 20


class Journals(Protocol):
    """Incarnations: lease, journal, fence."""

    @property
    def direct(self) -> bool:
        """Whether `append_now` stores without awaiting, in well under a millisecond."""

    async def open(self, member: Member) -> None:
        """A new incarnation with an empty journal, whose positions count from 1. Once for each id: raises StoreUnusable
        for one that is there, sealed or not (those whose journals were removed are never drawn again), NodeTaken when a
        living process has the node's name (where that can be seen). `member`'s sealed and tip are not looked at."""

    async def renew(self, member: Member) -> None:
        """Write the lease anew: `counter` and what else members tell, but for sealed and tip, which are the journal's.
        Raises JournalFenced (nothing was written), UnknownJournal."""

    async def members(self) -> list[Member]:
        """All incarnations whose journals are there, sealed ones too, in order of their ids."""

    async def seal(self, incarnation: str) -> int:
        """Fence an incarnation for ever; its journal's tip. Idempotent. Where members share a machine a process that
        still lives is killed first. Raises UnknownJournal."""

    def append_now(self, incarnation: str, position: int, data: bytes) -> None:
        """Store a record at `position` = tip + 1; the same once more changes nothing. Raises StoreBusy,
        StoreUnavailable, UnknownJournal; JournalFenced once sealed, for a repetition too; ValueError for other bytes or
        another position; RuntimeError where `direct` is False."""

    async def append(self, incarnation: str, position: int, data: bytes) -> None:
        """The same, awaited; on every engine."""

    async def read(self, incarnation: str, first: int, last: int, bytes_max: int = READ_BYTES_MAX) -> list[bytes]:
        """The records at `first`, `first` + 1, … up to `last` (or the tip), as many as fit into `bytes_max`, at least
        one; [] beyond the tip. Raises UnknownJournal, and Damaged where the very first is missing (pruned, or lost);
        before another that is missing it ends."""

    async def prune(self, incarnation: str, through: int, bytes_max: int = PRUNE_BYTES_MAX) -> bool:
        """Delete records up to `through` (or the tip), the oldest first, about `bytes_max` at a time and at least one;
        whether that was all of them. The tip stays as it is. Raises UnknownJournal."""

    async def remove(self, incarnation: str) -> None:
        """Delete a sealed journal altogether. Harmless when it is gone; ValueError while it is not sealed."""


class Snapshots(Protocol):
    """The newest snapshots of every room."""

    async def put(self, snapshots: Sequence[StoredSnapshot]) -> None:
        """Store some; of each room the SNAPSHOTS_KEPT newest by (epoch, tick) stay. Another one of the same epoch and
        tick takes the place of the first."""

    async def newest(self, rooms: Sequence[str], limit: int = SNAPSHOTS_KEPT) -> dict[str, list[bytes]]:
        """For each room the bytes of at most `limit`, the newest first; rooms without any are left out."""

    async def delete(self, rooms: Sequence[str]) -> None:
        """Forget all snapshots of these rooms."""


class Directory(Protocol):
    """Rooms and their owners."""

    async def create(self, entry: RoomEntry) -> None:
        """A new room. The same entry once more changes nothing; raises ValueError when the id is another room's, or the
        room has moved on."""

    async def get(self, room: str) -> RoomEntry | None:
        """A room's row; None when there is none (any more)."""

    async def find_code(self, code: str) -> RoomEntry | None:
        """The private room with this code; None for "", which is no code."""

    async def owned_by(self, incarnation: str) -> list[RoomEntry]:
        """The rows of its rooms, fullest first, then by id."""

    async def coming_to(self, incarnation: str) -> list[RoomEntry]:
        """The rows of rooms that were given to an incarnation (`RoomEntry.target`), by id."""

    async def claim(self, rooms: Iterable[str], dead: str, tip: int, me: str, first: int) -> list[RoomEntry]:
        """Of these rooms take those that `dead` (sealed at `tip`) owns: `RoomEntry.claimed`, each by compare-and-set.

        Returns the rows that are ours by this now, fullest first, then by id; those of an earlier attempt whose outcome
        was unknown, too, whatever its `first`: a row that `me` owns and whose chain comes from `dead`, closed at `tip`.
        """

    async def replace(self, old: RoomEntry, new: RoomEntry) -> bool:
        """Compare-and-set on `old.version`; `new` is stored with `old.version` + 1. False: somebody was faster, or the
        row is gone."""

    async def delete(self, entry: RoomEntry) -> bool:
        """Delete a room's row if owner and epoch are still these, at any version; True when it is gone (also from
        before)."""

    async def entries(self) -> list[RoomEntry]:
        """All rows, by id."""

    async def owners(self) -> list[str]:
        """All incarnations that own a room, in order."""


class Sessions(Protocol):
    """Players' sessions, one for each account. What the engine keeps of a record is sealed by the cipher it was given,
    but for the id, the account, the expiry and the version. What the cipher refuses to open raises Damaged where it is
    asked for; to replace or to delete it needs no key."""

    async def open(self, record: SessionRecord) -> SessionRecord | None:
        """Make this the account's session; the other one that it replaces, expired or not. None: there was none, it was
        this very session, or the cipher does not open it."""

    async def get(self, session: str, now_s: float) -> SessionRecord | None:
        """None when there is none, or when it has expired (`expires_s` < `now_s`)."""

    async def of_account(self, account: str, now_s: float) -> SessionRecord | None:
        """The account's session; None as above."""

    async def replace(self, old: SessionRecord, new: SessionRecord) -> bool:
        """Compare-and-set on `old.version`; `new` is stored with `old.version` + 1. False: somebody was faster, or the
        session is gone."""

    async def touch(self, sessions: Sequence[str], expires_s: float) -> list[str]:
        """Put their expiry off, which changes no version; returns those that are not there any more."""

    async def delete(self, session: str) -> None:
        """Forget it. Harmless when it is gone."""

    async def purge(self, now_s: float) -> int:
        """Forget what has expired; how many."""


class Cipher(Protocol):
    """Seals what is private in a store (`cryptography`'s MultiFernet has this shape)."""

    def encrypt(self, data: bytes) -> bytes:
        """Sealed bytes."""

    def decrypt(self, token: bytes) -> bytes:
        """Inverse; raises when the bytes are not ours."""


class Store(Protocol):
    """All of it."""

    @property
    def journals(self) -> Journals:
        """Leases and records."""

    @property
    def snapshots(self) -> Snapshots:
        """The newest states of rooms."""

    @property
    def rooms(self) -> Directory:
        """Who owns which room."""

    @property
    def sessions(self) -> Sessions:
        """Who plays where."""

    def alive(self, incarnation: str) -> bool | None:
        """Whether its process lives, where that can be seen; None: not known, its lease alone tells. A process that is
        stopped lives."""

    async def aclose(self) -> None:
        """Let go of files and connections."""
