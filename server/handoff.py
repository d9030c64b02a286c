"""Hand-off: rooms go from a node that leaves to others, at a tick boundary, and their players hardly notice.

    giver   players told where (Redirect) ─► they resume there, and wait ─► HandOff, a command: its last tick here
              ─► stored ─► snapshot of that tick ─► directory: (giver, e) → (target, e + 1), by compare-and-set
    target  sees the row ─► loads the snapshot ─► row: begun ─► admits: the next tick, with the players who wait

The giver never steps the room again, unless its own compare-and-set (giver, e) → (giver, e + 1) has won: that is what
it does when it cannot store the snapshot in time, or when the target has gone. Whoever dies on the way is a dead owner
like any other. A target that plays other rules passes the room on, to whoever has not had it yet and at last back to
the giver; one that finds no good snapshot of the last tick leaves the room to its rescuer, which replays it.

A room on its way is in `under_way`, from before its last tick here until it ticks there (or here again): its row alone
looks like a recovery that was broken off, and whoever mends those must not touch it.
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
from server.host import Host
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
GONE_S = 1.0
"""A room that was to go and is neither here nor being given has ended."""
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
        under_way: set[str],
    ) -> None:
        self.given = 0
        self.taken = 0
        self._store = store
        self._tenure = tenure
        self._lobby = lobby
        self._registry = registry
        self._snapshots = snapshots
        self._housekeeping = housekeeping
        self._under_way = under_way
        self._going: dict[str, float] = {}
        """Rooms that are to go, and when each was last seen here or being given."""
        self._giving: set[str] = set()
        self._left_over: set[str] = set()
        """Rooms that came to us, cannot be played here, and that nobody else takes."""
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
                    coming = await self._store.rooms.coming_to(self._tenure.incarnation)
                except ClusterError as error:
                    log.warning("rooms_not_taken", error=str(error))
                    coming = []
                for entry in coming:
                    try:
                        await self._take(entry)
                    except ClusterError as error:
                        log.warning("room_not_taken", room=entry.room, error=str(error))
                    often_until = trio.current_time() + COMING_S
                await trio.sleep(LOOK_OFTEN_S if now < often_until else LOOK_SELDOM_S)

    # -- taking -------------------------------------------------------------------------------------------------------

    async def _take(self, entry: RoomEntry) -> None:
        """Go on with a room that was given to us. Raises ClusterError."""
        if self._lobby.room(entry.room) is not None or entry.room in self._under_way:
            return
        host = self._lobby.hosts.get(entry.game)
        if host is None or host.rooms.playable(entry) is None:
            await self._pass_on(entry)
            return
        self._under_way.add(entry.room)
        try:
            snapshot = await self._last_snapshot(entry)
            begun = await self._begin(entry)
            if begun is not None and snapshot is not None:
                self._come(host, begun, snapshot)
                self.taken += 1
            elif begun is not None:
                log.error("room_came_without_snapshot", room=entry.room)
        finally:
            self._under_way.discard(entry.room)

    async def _begin(self, entry: RoomEntry) -> RoomEntry | None:
        """Begin with a room that is ours, by compare-and-set: its row then; None when it is another by now. Raises
        ClusterError."""
        begun = entry.begun(self._housekeeping.next)
        try:
            return begun if await self._store.rooms.replace(entry, begun) else None
        except ClusterError:
            if await self._store.rooms.get(entry.room) != begun:
                raise
        return begun

    def _come(self, host: Host, entry: RoomEntry, snapshot: Snapshot) -> None:
        """The room's ticks go on here."""
        room = host.rooms.admit(entry, snapshot.saved, host.phase_after(SEATING_S))
        room.stage.pending.insert(0, Recovered(entry.room, host.seating.hold_ticks))
        self._snapshots.know(snapshot)
        self._registry.came(entry.room)

    async def _last_snapshot(self, entry: RoomEntry) -> Snapshot | None:
        """The one that was made of the room's last tick elsewhere; None when it is not to be had. Raises
        ClusterError."""
        before = next(span for span in reversed(entry.chain[:-1]) if span.first)
        try:
            newest = await self._store.snapshots.newest([entry.room], 1)
            snapshots = [decode_snapshot(data) for data in newest.get(entry.room, [])]
        except Damaged:
            return None
        for snapshot in snapshots:
            if (snapshot.epoch, snapshot.position) == (before.epoch, before.last):
                return snapshot
        return None

    async def _pass_on(self, entry: RoomEntry) -> None:
        """Give a room on that cannot be played here. Raises ClusterError."""
        declined = had(entry)
        *_, giver = (span.incarnation for span in entry.chain[:-1] if span.first)
        others = [member for member in self._tenure.others() if member.incarnation not in declined]
        chosen = place(entry.room, [member for member in others if member.incarnation != giver])
        if chosen is None and any(member.incarnation == giver for member in others):
            chosen = giver
        if chosen is not None:
            log.warning("room_passed_on", room=entry.room, to=chosen, reason="it cannot be played here")
            await self._store.rooms.replace(entry, entry.given(chosen, 0))
        elif entry.room not in self._left_over:
            self._left_over.add(entry.room)
            log.error("room_left_over", room=entry.room, reason="no node is left that might play it")

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
                while True:
                    group = self._next_group(size)
                    self._look_after_going()
                    if not group and not self._going:
                        break
                    if group:
                        nursery.start_soon(self._give_some, group)
                    await trio.sleep(GROUP_EVERY_S)
        return len(self._rooms())

    def _next_group(self, players: int) -> list[tuple[Room, Member]]:
        """Rooms that are to go next, and where each goes; from now on nobody is let in."""
        group: list[tuple[Room, Member]] = []
        taken = 0
        for room in self._rooms():
            member = None if room.closing or room.id in self._going else self._target(room)
            if member is not None:
                room.closing = True
                self._going[room.id] = trio.current_time()
                group.append((room, member))
                taken += room.taken_seats
                if taken >= players:
                    break
        return group

    def _target(self, room: Room) -> Member | None:
        """The node that a room goes to: one that does not leave itself, and has not passed it on before."""
        declined = had(room.entry)
        members = {m.incarnation: m for m in self._tenure.others() if m.incarnation not in declined}
        chosen = place(room.id, list(members.values()))
        return None if chosen is None else members[chosen]

    def _look_after_going(self) -> None:
        """Forget those that were to go and have ended before."""
        now = trio.current_time()
        for room, seen_at in list(self._going.items()):
            if room in self._giving or self._lobby.room(room) is not None:
                self._going[room] = now
            elif now - seen_at > GONE_S:
                del self._going[room]

    async def _give_some(self, group: list[tuple[Room, Member]]) -> None:
        for room, member in group:
            self._tell(room, member)
        await trio.sleep(WARN_S)
        for room, member in group:
            if self._lobby.room(room.id) is room:
                self._under_way.add(room.id)
                room.stage.pending.append(HandOff(room.id, member.incarnation))

    def _tell(self, room: Room, member: Member) -> None:
        """Send the players ahead."""
        for occupant in list(room.stage.occupants.values()):
            if occupant.room == room.id and not occupant.away:
                session = occupant.session
                redirect = self._registry.redirect(member, session.id, "resume", room=room.id, epoch=room.entry.epoch)
                session.link.write(message_bytes(redirect))

    def stopped(self, entry: RoomEntry, target: str, snapshot: Snapshot) -> None:
        """The room has made its last tick here, and that is stored."""
        self._giving.add(entry.room)
        self._nursery.start_soon(self._give, entry, target, snapshot)

    async def _give(self, entry: RoomEntry, target: str, snapshot: Snapshot) -> None:
        given = False
        with trio.move_on_after(GIVE_S):
            while not given and self._may_have(target):
                try:
                    await self._snapshots.write([snapshot])
                    given = await self._store.rooms.replace(entry, entry.given(target, snapshot.position))
                    if not given:
                        found = await self._store.rooms.get(entry.room)
                        given = found is None or found.epoch > entry.epoch
                        entry = entry if found is None else found
                except ClusterError as error:
                    log.warning("room_not_given", room=entry.room, error=str(error))
                    await trio.sleep(0.02)
        if given:
            self.given += 1
        if given or not await self._take_back(entry, snapshot):
            self._snapshots.forget(entry.room)
        for rooms in (self._giving, self._under_way):
            rooms.discard(entry.room)
        self._going.pop(entry.room, None)

    def _may_have(self, target: str) -> bool:
        return any(member.incarnation == target and not member.draining for member in self._tenure.others())

    async def _take_back(self, entry: RoomEntry, snapshot: Snapshot) -> bool:
        """It could not be given: go on with it here, as a new owner. False when somebody else has it by now."""
        host, me = self._lobby.hosts[entry.game], self._tenure.incarnation
        while True:
            try:
                found = await self._store.rooms.get(entry.room)
                if found is None or found.owner != me or found.epoch > entry.epoch + 1:
                    return False
                mine = found.given(me, snapshot.position) if found.epoch == entry.epoch else found
                if mine is not found and not await self._store.rooms.replace(found, mine):
                    continue
                begun = await self._begin(mine)
                if begun is not None:
                    self._come(host, begun, snapshot)
                    log.warning("room_taken_back", room=entry.room)
                    return True
            except ClusterError as error:
                log.warning("room_not_taken_back", room=entry.room, error=str(error))
                await trio.sleep(0.1)

    def _rooms(self) -> list[Room]:
        return [room for host in self._lobby.hosts.values() for room in host.rooms.by_id.values()]


def had(entry: RoomEntry) -> set[str]:
    """Those who were given a room since somebody ticked it last, and passed it on."""
    passed_on: set[str] = set()
    for span in reversed(entry.chain):
        if span.first and span.last is not None:
            break
        if not span.first:
            passed_on.add(span.incarnation)
    return passed_on
