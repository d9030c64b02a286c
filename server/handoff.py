"""Hand-off: rooms go from a node that leaves to others, at a tick boundary, and their players hardly notice.

    giver   players told where (Redirect) ─► they resume there, and wait ─► HandOff, a command: its last tick here
              ─► stored ─► snapshot of that tick ─► directory: (giver, e) → (target, e + 1), by compare-and-set
    target  sees the row ─► loads the snapshot ─► row: begun ─► admits: the next tick, with the players who wait

The giver never steps the room again, unless its own compare-and-set (giver, e) → (giver, e + 1) has won: that is what
it does when it cannot store the snapshot in time. Whoever dies on the way is a dead owner like any other.
"""

from __future__ import annotations

import structlog
import trio

from cluster.codec import Snapshot, decode_snapshot
from cluster.errors import ClusterError, Damaged
from cluster.model import Member, RoomEntry
from cluster.placement import place
from cluster.store import Store
from game.commands import HandOff, Recovered
from netcode.control import message_bytes
from server.housekeeping import Housekeeping
from server.lobby import Lobby
from server.registry import Registry
from server.rooms import Room
from server.snapshots import Snapshots
from server.tenure import Tenure

PLAYERS_AT_ONCE = 16
"""Rooms are given away in groups of so many players (or one room): who goes with hundreds waits for hundreds. In larger
ones where the time of a drain would not do."""
GROUP_EVERY_S = 0.25
GROUPS_MAX = 48
WARN_S = 1.0
"""Before a room goes: time for its players to reach the other node."""
GIVE_S = 2.0
"""For storing and giving a room; after that it is taken back."""
DRAIN_S = 30.0
LOOK_OFTEN_S, LOOK_SELDOM_S = 0.005, 0.25
SEATING_S = 0.006
"""Between a room's coming and its first tick here: its players, who wait for it, are to be in it."""
COMING_S = 2.0
"""How long one looks often after a node has begun to leave, or a room has come."""

log = structlog.get_logger("holdfast.handoff")


class HandOffs:
    """Gives rooms away and takes those that are given. `run` must be running."""

    def __init__(
        self,
        store: Store,
        tenure: Tenure,
        lobby: Lobby,
        registry: Registry,
        snapshots: Snapshots,
        housekeeping: Housekeeping,
    ) -> None:
        self.given = 0
        self.taken = 0
        self._store = store
        self._tenure = tenure
        self._lobby = lobby
        self._registry = registry
        self._snapshots = snapshots
        self._housekeeping = housekeeping
        self._going: dict[str, trio.Event] = {}
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """Take what is given, for ever."""
        async with trio.open_nursery() as self._nursery:
            often_until = float("-inf")
            while True:
                now = trio.current_time()
                if any(member.draining for member in self._tenure.others()):
                    often_until = now + COMING_S
                try:
                    for entry in await self._store.rooms.coming_to(self._tenure.incarnation):
                        await self._take(entry)
                        often_until = trio.current_time() + COMING_S
                except ClusterError as error:
                    log.warning("rooms_not_taken", error=str(error))
                await trio.sleep(LOOK_OFTEN_S if now < often_until else LOOK_SELDOM_S)

    async def _take(self, entry: RoomEntry) -> None:
        """Go on with a room that was given to us. Raises ClusterError."""
        if self._lobby.room(entry.room) is not None:
            return
        host = self._lobby.hosts.get(entry.game)
        newest = (await self._store.snapshots.newest([entry.room], 1)).get(entry.room, [])
        try:
            snapshot = decode_snapshot(newest[0]) if newest else None
        except Damaged:
            snapshot = None
        before = entry.chain[-2]
        good = snapshot is not None and (snapshot.epoch, snapshot.position) == (before.epoch, before.last)
        if host is None or host.rooms.playable(entry) is None or snapshot is None or not good:
            log.error("room_not_taken", room=entry.room, reason="it cannot be continued here")
            return
        begun = entry.begun(self._housekeeping.next)
        if not await self._store.rooms.replace(entry, begun):
            return
        room = host.rooms.admit(begun, snapshot.saved, host.phase_after(SEATING_S))
        room.stage.pending.insert(0, Recovered(entry.room, host.seating.hold_ticks))
        self._snapshots.know(snapshot)
        self._registry.came(entry.room)
        self.taken += 1

    # -- giving -------------------------------------------------------------------------------------------------------

    async def drain(self) -> int:
        """Give all rooms away; how many are left (nobody is there to take them, or the time is up)."""
        self._tenure.draining = True
        try:
            await self._tenure.renew()
        except ClusterError as error:
            log.warning("drain_not_told", error=str(error))
        with trio.move_on_after(DRAIN_S):
            async with trio.open_nursery() as nursery:
                size = max(PLAYERS_AT_ONCE, sum(room.taken_seats for room in self._rooms()) // GROUPS_MAX)
                while group := self._next_group(size):
                    targets = [member for member in self._tenure.others() if not member.draining]
                    if not targets:
                        break
                    for room in group:
                        room.closing = True
                    nursery.start_soon(self._give_some, group, targets)
                    await trio.sleep(GROUP_EVERY_S)
        return len(self._rooms())

    def _next_group(self, players: int) -> list[Room]:
        group: list[Room] = []
        for room in self._rooms():
            if not room.closing:
                group.append(room)
                if sum(one.taken_seats for one in group) >= players:
                    break
        return group

    async def _give_some(self, rooms: list[Room], members: list[Member]) -> None:
        by_incarnation = {member.incarnation: member for member in members}
        going: list[tuple[Room, Member]] = []
        for room in rooms:
            chosen = place(room.id, members)
            if chosen is not None:
                going.append((room, by_incarnation[chosen]))
                self._tell(room, by_incarnation[chosen])
        await trio.sleep(WARN_S)
        gone = []
        for room, member in going:
            if self._lobby.room(room.id) is room:
                self._going[room.id] = trio.Event()
                gone.append(self._going[room.id])
                room.stage.pending.append(HandOff(room.id, member.incarnation))
        for event in gone:
            await event.wait()

    def _tell(self, room: Room, member: Member) -> None:
        """Send the players ahead."""
        for occupant in list(room.stage.occupants.values()):
            if occupant.room == room.id and not occupant.away:
                session = occupant.session
                redirect = self._registry.redirect(member, session.id, "resume", room=room.id, epoch=room.entry.epoch)
                session.link.write(message_bytes(redirect))

    def stopped(self, entry: RoomEntry, target: str, snapshot: Snapshot) -> None:
        """The room has made its last tick here, and that is stored."""
        self._nursery.start_soon(self._give, entry, target, snapshot)

    async def _give(self, entry: RoomEntry, target: str, snapshot: Snapshot) -> None:
        done = False
        with trio.move_on_after(GIVE_S):
            while not done:
                try:
                    await self._snapshots.write([snapshot])
                    done = await self._store.rooms.replace(entry, entry.given(target, snapshot.position))
                    if not done:
                        found = await self._store.rooms.get(entry.room)
                        done = found is None or found.epoch > entry.epoch
                        entry = entry if found is None else found
                except ClusterError as error:
                    log.warning("room_not_given", room=entry.room, error=str(error))
                    await trio.sleep(0.02)
        if done:
            self.given += 1
            self._snapshots.forget(entry.room)
        else:
            await self._take_back(entry, snapshot)
        event = self._going.pop(entry.room, None)
        if event is not None:
            event.set()

    async def _take_back(self, entry: RoomEntry, snapshot: Snapshot) -> None:
        """It could not be given in time: go on with it here, as a new owner, if nobody else has it by now."""
        while True:
            try:
                found = await self._store.rooms.get(entry.room)
                if found is None or (found.owner, found.epoch) != (self._tenure.incarnation, entry.epoch):
                    return
                mine = found.given(self._tenure.incarnation, snapshot.position).begun(self._housekeeping.next)
                if await self._store.rooms.replace(found, mine):
                    break
            except ClusterError:
                await trio.sleep(0.1)
        host = self._lobby.hosts[entry.game]
        stored = await self._reread(mine)
        room = host.rooms.admit(stored, snapshot.saved)
        room.stage.pending.insert(0, Recovered(entry.room, host.seating.hold_ticks))
        self._registry.came(entry.room)
        log.warning("room_taken_back", room=entry.room)

    async def _reread(self, entry: RoomEntry) -> RoomEntry:
        while True:
            try:
                return await self._store.rooms.get(entry.room) or entry
            except ClusterError:
                await trio.sleep(0.1)

    def _rooms(self) -> list[Room]:
        return [room for host in self._lobby.hosts.values() for room in host.rooms.by_id.values()]
