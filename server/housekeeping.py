"""Housekeeping: this node's rows in the directory, and what may be thrown away because nothing needs it any more.

    a room opens ─► its row, before tick 0            a room has ended, stored ─► its row and snapshots go
    now and then ─► rooms that are well lose attempts and strikes; rows tell how many players there are
                    chains lose the spans before a room's oldest snapshot
                    our journal is cut behind every chain that names it, whoever owns the room now
                    dead journals that no chain names any more are removed, a while after their seal

What a room needs of our journal is read from its row: from our first span on, or from its oldest snapshot on where we
know it. A room that is on its way here or away, that others own by now, or whose end is not stored yet, has its row and
is safe. All of it can be done again: what fails is tried at the next turn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence

import attrs
import structlog
import trio

from cluster.chain import Kept, prune_through, referenced, trimmed
from cluster.errors import ClusterError, Damaged
from cluster.journal import Journal
from cluster.model import RoomEntry
from cluster.store import Store
from server.rooms import Room
from server.snapshots import Snapshots
from server.tenure import Tenure

EVERY_S = 0.25
RETRY_S = 1.0
CLEAN_EVERY_S = 5.0
REMOVE_AFTER_S = 30.0
"""After we have seen a seal: its journal stays while somebody may still be giving the dead one a room."""
LEFT_MAX = 4096
LEFT_S = 60.0
"""So long after a room's row went nobody acts on what he has read of it."""
PLAYERS_ROWS_MAX = 64
"""Rows that are written in one turn because their numbers of players are off by a quarter or more."""
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
        self.left: dict[tuple[str, int], float] = {}
        """The last LEFT_MAX rooms that have ended here, with their epochs, and when their rows went (`math.inf`: not
        yet): until that is stored, their rows look like a recovery that was broken off."""
        self._store = store
        self._tenure = tenure
        self._journal = journal
        self._snapshots = snapshots
        self._sealed: dict[str, float] = {}
        """When we have first seen that an incarnation is sealed."""
        self._ended: deque[RoomEntry] = deque()
        self._forgetting = trio.Lock()
        self._came = trio.Event()

    @property
    def next(self) -> int:
        """The position from which on our journal may speak of a room that comes now."""
        return self._journal.position + 1

    async def enter(self, entry: RoomEntry) -> None:
        """Write a new room's row. Raises ClusterError; what is not known to be written then is taken back later."""
        try:
            await self._store.rooms.create(entry)
        except ClusterError:
            self.ended(entry)
            raise

    def ends(self, entry: RoomEntry) -> None:
        """A room has made its last tick, which is not stored yet."""
        self.left[entry.room, entry.epoch] = math.inf
        if len(self.left) > LEFT_MAX:
            del self.left[next(iter(self.left))]

    def ended(self, entry: RoomEntry) -> None:
        """A room has ended, and that is stored."""
        self.ends(entry)
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
                for room in [room for room in rooms() if room.suspect and room.ticked >= WELL_TICKS]:
                    await self.well(room)
                if trio.current_time() - cleaned_at >= CLEAN_EVERY_S:
                    cleaned_at = trio.current_time()
                    await self._clean(list(rooms()))
            except ClusterError as error:
                log.warning("housekeeping_failed", error=str(error))
                await trio.sleep(RETRY_S)

    async def forget_ended(self) -> None:
        """Delete the rows of rooms that have ended. Raises ClusterError."""
        async with self._forgetting:  # the node's end comes here, too
            while self._ended:
                entry = self._ended[0]
                try:
                    if await self._store.rooms.delete(entry):
                        await self._snapshots.delete(entry.room)
                    self._row_went(entry)
                except Damaged as error:  # its own rows; the others' turn comes
                    log.error("room_not_forgotten", room=entry.room, error=str(error))
                self._ended.popleft()

    def _row_went(self, entry: RoomEntry) -> None:
        """The row is deleted, or another's by now; those of whom this was long ago need not be known any more."""
        now = trio.current_time()
        if (entry.room, entry.epoch) in self.left:  # else: too many have ended since
            self.left[entry.room, entry.epoch] = now
        while now - next(iter(self.left.values()), math.inf) >= LEFT_S:
            del self.left[next(iter(self.left))]

    async def well(self, room: Room) -> None:
        """A room that was taken over is well: attempts and strikes are taken back. Raises ClusterError."""
        if room.suspect:
            await self._replace(room, attrs.evolve(room.entry, attempts=0, strikes=0))

    async def _clean(self, rooms: Sequence[Room]) -> None:
        """Bring rows up to date, cut our journal, remove dead ones."""
        here = {room.id for room in rooms}
        await self._refresh(rooms)
        if self._keep_journals:
            return
        position, now = self._journal.position, trio.current_time()  # rows that come from now on need what comes now
        sealed = {member.incarnation for member in self._tenure.members if member.sealed}
        self._sealed = {incarnation: self._sealed.get(incarnation, now) for incarnation in sealed}
        entries = await self._store.rooms.entries()
        await self._prune(entries, here, position)
        dead = {incarnation for incarnation, since in self._sealed.items() if now - since >= REMOVE_AFTER_S}
        for incarnation in sorted(dead - referenced(entries)):
            await self._store.journals.remove(incarnation)
            log.info("journal_removed", incarnation=incarnation)

    async def _prune(self, entries: Iterable[RoomEntry], here: Container[str], position: int) -> None:
        """Cut our journal behind every chain that names it, no further than `position`."""
        me = self._tenure.incarnation
        holds = [Kept(me, held) for entry in entries if (held := self._held(entry, here)) is not None]
        through = min(prune_through(me, holds), position) if holds else position
        if through > self.pruned_through:
            while not await self._store.journals.prune(me, through):
                await trio.lowlevel.checkpoint()
            self.pruned_through = through

    def _held(self, entry: RoomEntry, here: Container[str]) -> int | None:
        """Position behind which a room needs our journal; None when it does not."""
        me = self._tenure.incarnation
        oldest = self._snapshots.oldest(entry.room) if entry.room in here else None
        if oldest is not None and oldest.incarnation == me:
            return oldest.position
        firsts = [span.first for span in entry.chain if span.incarnation == me and span.first]
        return min(firsts) - 1 if firsts else None

    async def _refresh(self, rooms: Iterable[Room]) -> None:
        """Bring rooms' rows up to date: shorter chains, players."""
        counted, changed = 0, []
        for room in rooms:
            entry, players = room.entry, room.taken_seats
            oldest = self._snapshots.oldest(room.id)
            new = entry if oldest is None else trimmed(entry, oldest.epoch, oldest.position)
            if new is entry and counted < PLAYERS_ROWS_MAX and abs(players - entry.players) * 4 > entry.players:
                counted += 1
                new = attrs.evolve(entry, players=players)
            if new is not entry:
                changed.append((room, new.chain, players))
        for room, chain, players in changed:  # some may end, or be found well, meanwhile
            await self._replace(room, attrs.evolve(room.entry, chain=chain, players=players))

    async def _replace(self, room: Room, new: RoomEntry) -> None:
        """Write a room's row anew. Where it is another one by now (a write of unknown outcome), know that one."""
        entry, new = room.entry, attrs.evolve(new, version=room.entry.version + 1)
        if await self._store.rooms.replace(entry, new):
            found: RoomEntry | None = new
        else:
            found = await self._store.rooms.get(room.id)
        if found is not None and room.entry is entry and (found.owner, found.epoch) == (entry.owner, entry.epoch):
            room.entry = found
