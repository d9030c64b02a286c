"""Housekeeping: this node's rows in the directory, and what may be thrown away because nothing needs it any more.

    a room opens ─► its row, before tick 0            a room has ended, stored ─► its row and snapshots go
    now and then ─► our journal is cut behind the oldest snapshot that a room of ours keeps
                    rooms that are well lose attempts and strikes; chains lose the spans before the oldest snapshot
                    dead journals that no chain names any more are removed

All of it can be done again: what fails is tried at the next turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import attrs
import structlog
import trio

from cluster.chain import Kept, prune_through, referenced, trimmed
from cluster.errors import ClusterError
from cluster.journal import Journal
from cluster.model import RoomEntry
from cluster.store import Store
from server.rooms import Room
from server.snapshots import Snapshots
from server.tenure import Tenure

EVERY_S = 1.0
CLEAN_EVERY_S = 5.0
WELL_TICKS = 16
"""So many ticks prove that a room that was taken over is well."""

log = structlog.get_logger("holdfast.housekeeping")


class Housekeeping:
    """`run` must be running."""

    def __init__(
        self, store: Store, tenure: Tenure, journal: Journal, snapshots: Snapshots, *, keep_journals: bool = False
    ) -> None:
        self._keep_journals = keep_journals
        self.pruned_through = 0
        self._store = store
        self._tenure = tenure
        self._journal = journal
        self._snapshots = snapshots
        self._ended: deque[RoomEntry] = deque()
        self._forgetting = trio.Lock()
        self._came = trio.Event()

    @property
    def next(self) -> int:
        """The position from which on our journal may speak of a room that comes now."""
        return self._journal.position + 1

    async def enter(self, entry: RoomEntry) -> None:
        """Write a new room's row. Raises ClusterError."""
        await self._store.rooms.create(entry)

    def ended(self, entry: RoomEntry) -> None:
        """A room has ended, and that is stored."""
        self._snapshots.forget(entry.room)
        self._ended.append(entry)
        self._came.set()

    async def run(self, rooms: Callable[[], Iterable[Room]]) -> None:
        """Keep house, for ever; `rooms` are ours."""
        cleaned_at = trio.current_time()
        while True:
            with trio.move_on_after(EVERY_S):
                await self._came.wait()
            self._came = trio.Event()
            try:
                await self.forget_ended()
                await self._prune(rooms())
                for room in list(rooms()):
                    if room.ticked >= WELL_TICKS:
                        await self.well(room)
                if trio.current_time() - cleaned_at >= CLEAN_EVERY_S:
                    cleaned_at = trio.current_time()
                    await self._clean(rooms())
            except ClusterError as error:
                log.warning("housekeeping_failed", error=str(error))
                await trio.sleep(EVERY_S)

    async def forget_ended(self) -> None:
        """Delete the rows of rooms that have ended. Raises ClusterError."""
        async with self._forgetting:  # the node's end comes here, too
            while self._ended:
                entry = self._ended[0]
                if await self._store.rooms.delete(entry):
                    await self._store.snapshots.delete([entry.room])
                self._ended.popleft()

    async def well(self, room: Room) -> None:
        """A room that was taken over is well: attempts and strikes are taken back. Raises ClusterError."""
        entry = room.entry
        if entry.attempts or entry.strikes:
            await self._replace(room, attrs.evolve(entry, attempts=0, strikes=0))

    async def _prune(self, rooms: Iterable[Room]) -> None:
        """Cut our journal behind the oldest snapshot that is kept."""
        if self._keep_journals:
            return
        me = self._tenure.incarnation
        kept = [self._kept(room, me) for room in rooms]
        through = min(prune_through(me, kept), self._journal.position) if kept else self._journal.position
        if through > self.pruned_through:
            while not await self._store.journals.prune(me, through):
                await trio.lowlevel.checkpoint()
            self.pruned_through = through

    def _kept(self, room: Room, me: str) -> Kept:
        """From where on a room needs our journal."""
        oldest = self._snapshots.oldest(room.id)
        if oldest is not None and oldest.incarnation == me:
            return Kept(me, oldest.position)
        return Kept(me, room.entry.chain[-1].first - 1)

    async def _clean(self, rooms: Iterable[Room]) -> None:
        """Shorten chains, and remove journals that none names."""
        for room in list(rooms):
            await self._refresh(room)
        dead = {member.incarnation for member in self._tenure.members if member.sealed}
        if dead and not self._keep_journals:
            needed = referenced(await self._store.rooms.entries())
            for incarnation in sorted(dead - needed):
                await self._store.journals.remove(incarnation)
                log.info("journal_removed", incarnation=incarnation)

    async def _refresh(self, room: Room) -> None:
        """Bring a room's row up to date: shorter chain, players."""
        entry = new = room.entry
        oldest = self._snapshots.oldest(room.id)
        if oldest is not None:
            new = trimmed(new, oldest.epoch, oldest.position)
        if new != entry:
            await self._replace(room, attrs.evolve(new, players=room.taken_seats))

    async def _replace(self, room: Room, new: RoomEntry) -> None:
        entry, new = room.entry, attrs.evolve(new, version=room.entry.version + 1)
        if await self._store.rooms.replace(entry, new) and room.entry is entry:
            room.entry = new
