"""Recovery: rooms that are ours by the directory come back to the tick that they were at.

    rows ─► newest valid snapshots ─► records along the chains ─► replay, hash by hash ─► snapshot under the new epoch
         ─► admitted: the first thing that a room is told is Recovered, and its players may come

The work is done in slices of a few milliseconds: the rooms that live here go on ticking meanwhile.

A room may be what its owners die of. So from the second attempt on the replay is done in a child process
(`server.apart`), and from the third on rooms are let in by waves that get smaller with each attempt; a wave comes when
the one before has ticked for a moment. A room that a child held alone when it died, or that was let in alone when its
owner died, has a *strike* in its row. Two, and it is quarantined. A room that is well loses attempts and strikes.

    attempt   replay             let in
    1         here               all at once
    2         in a child         all at once
    3, 4 …    in a child         an eighth, a sixty-fourth … of them at once; whoever is alone bears a strike meanwhile
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial

import attrs
import structlog
import trio

from cluster.chain import Start
from cluster.codec import Snapshot, decode_snapshot
from cluster.errors import Damaged
from cluster.model import RoomEntry
from cluster.replay import Replay, Replayed, ReplayResult, ReplayRoom
from cluster.store import Store
from game.api import Game
from game.commands import Recovered
from game.save import SavedRoom, pack_room
from server.apart import CannotReplayApart, replay_apart
from server.evidence import EvidenceFolder
from server.host import Host
from server.housekeeping import Housekeeping
from server.metrics import Metrics
from server.registry import Registry
from server.remains import Damage, Remains, again
from server.rooms import Room
from server.snapshots import Snapshots

SLICE_S = 0.004
APART_FROM = 2
"""Attempts from which on a room is replayed in a child."""
WAVES_FROM = 3
WAVE_SHARE = 8
"""By how much the waves get smaller with each attempt."""
WAVE_TICKS = 8
"""Ticks that a wave makes before the next one comes."""
WAVE_MOST_S, WAVE_LOOK_S = 2.0, 0.05
STRIKES_MAX = 2
ADMITTED_AT_ONCE = 64

log = structlog.get_logger("holdfast.recovery")


@attrs.define
class Timing:
    """A rescue: when it began (to seal) and ended (all admitted), in seconds; milliseconds of each step."""

    began: float = 0.0
    ended: float = 0.0
    rooms: int = 0
    ticks: int = 0
    seal_ms: float = 0.0
    claim_ms: float = 0.0
    load_ms: float = 0.0
    read_ms: float = 0.0
    replay_ms: float = 0.0
    snapshot_ms: float = 0.0
    admit_ms: float = 0.0


class Recovery:
    """Brings claimed rooms back. What the store cannot do now is done again until it can."""

    def __init__(
        self,
        store: Store,
        incarnation: str,
        snapshots: Snapshots,
        housekeeping: Housekeeping,
        registry: Registry,
        hosts: Mapping[str, Host],
        evidence: EvidenceFolder,
        metrics: Metrics,
    ) -> None:
        self.under_way: set[str] = set()
        """Rooms that are being brought back."""
        self._store = store
        self._remains = Remains(store)
        self._incarnation = incarnation
        self._snapshots = snapshots
        self._housekeeping = housekeeping
        self._registry = registry
        self._hosts = hosts
        self._evidence = evidence
        self._metrics = metrics

    async def recover(self, entries: Sequence[RoomEntry], tips: Mapping[str, int], timing: Timing) -> None:
        """Bring rooms of ours to the tick that they were at, and admit them. `tips`: of sealed journals."""
        entries = [entry for entry in entries if not self._is_known(entry)]
        names = {entry.room for entry in entries}
        self.under_way |= names
        try:
            good, suspect = [], []
            for entry in entries:
                if entry.strikes >= STRIKES_MAX:
                    await self.quarantine(entry, f"{entry.strikes} processes have died of it")
                elif entry.attempts >= APART_FROM or entry.strikes:
                    suspect.append(entry)
                else:
                    good.append(entry)
            for some, replay in ((good, self._replay_here), (suspect, self._replay_apart)):
                if some:
                    await self._recover(some, tips, timing, replay)
        finally:
            self.under_way -= names

    def _is_known(self, entry: RoomEntry) -> bool:
        """Whether it is here, on its way, or has just ended here."""
        room = entry.room
        return self.is_here(room) or room in self.under_way or (room, entry.epoch) in self._housekeeping.left

    def is_here(self, room: str) -> bool:
        """Whether a room runs on this node."""
        return any(room in host.rooms.by_id for host in self._hosts.values())

    def playable(self, entry: RoomEntry) -> bool:
        """Whether its game is played here, by the very rules."""
        host = self._hosts.get(entry.game)
        return host is not None and host.rooms.playable(entry) is not None

    async def _recover(
        self, entries: Sequence[RoomEntry], tips: Mapping[str, int], timing: Timing, replay: _Replaying
    ) -> None:
        begun = trio.current_time()
        starts, hopeless = await self._remains.starts(entries, tips)
        for entry, why in hopeless:
            await self.quarantine(entry, why)
        timing.load_ms += since_ms(begun)
        failed = await replay(starts, timing)
        if not failed:
            return
        used = {start.entry.room: start.snapshot for start in starts}
        older = await self._remains.older_starts([entry for entry, _ in failed], used, tips)
        tried = {start.entry.room for start in older}
        worse = {entry.room: why for entry, why in await replay(older, timing)}
        for entry, why in failed:
            if entry.room in worse:
                await self.quarantine(entry, f"{why}; from an older snapshot: {worse[entry.room]}")
            elif entry.room not in tried:
                await self.quarantine(entry, why)

    # -- made again ---------------------------------------------------------------------------------------------------

    async def _replay_here(self, starts: Sequence[Start], timing: Timing) -> list[tuple[RoomEntry, str]]:
        """Replay and admit; returns the rooms that could not be, and why."""
        begun = trio.current_time()
        records, damaged = await self._remains.read(starts)
        timing.read_ms += since_ms(begun)
        begun = trio.current_time()
        replay = Replay(self._game, [to_replay(start) for start in starts], records)
        await in_slices(lambda: replay.work(1))
        timing.replay_ms += since_ms(begun)
        return await self._take(starts, replay.result, damaged, timing)

    async def _replay_apart(self, starts: Sequence[Start], timing: Timing) -> list[tuple[RoomEntry, str]]:
        """The same in child processes: when one dies its rooms go into two others, until the one at fault is alone."""
        if not starts:
            return []
        records, damaged = await self._remains.read(starts)
        failed: list[tuple[RoomEntry, str]] = []
        waiting = [list(starts)]
        while waiting:
            some = waiting.pop()
            begun = trio.current_time()
            try:
                result = await replay_apart(self._game, [to_replay(start) for start in some], records)
            except CannotReplayApart as error:
                log.error("replay_not_apart", rooms=len(some), error=str(error))
                return failed + await self._replay_here([start for part in (some, *waiting) for start in part], timing)
            timing.replay_ms += since_ms(begun)
            if result is not None:
                failed += await self._take(some, result, damaged, timing)
            elif len(some) > 1:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
            else:
                await self._strike(some[0].entry, "its replay was the death of a process that held no other room")
        return failed

    async def _take(
        self, starts: Sequence[Start], result: ReplayResult, damaged: Damage, timing: Timing
    ) -> list[tuple[RoomEntry, str]]:
        """Admit what a replay has made; returns the rooms that it could not make, and why."""
        timing.ticks += result.ticks
        failed: list[tuple[RoomEntry, str]] = []
        good: list[Claimed] = []
        for start in starts:
            entry = start.entry
            if entry.room in result.ended:
                self._housekeeping.ended(entry)
            elif entry.room in result.diverged:
                failed.append((entry, result.diverged[entry.room].why))
            elif why := unsure(start, result, damaged):
                failed.append((entry, why))
            else:
                good.append((entry, result.good[entry.room]))
        begun = trio.current_time()
        snapshots = [self._snapshot(*one) for one in good]
        await again(lambda: self._snapshots.write(snapshots))
        timing.snapshot_ms += since_ms(begun)
        begun = trio.current_time()
        for wave in waves(good):
            if len(wave) == 1 and wave[0][0].attempts >= WAVES_FROM:
                marked = await self._strike(wave[0][0], "it is let in alone", admit=True)
                wave = [] if marked is None else [(marked, wave[0][1])]
            rooms = await self._admit(wave)
            if wave and wave[0][0].attempts >= WAVES_FROM:
                await self._watch(rooms)
        timing.admit_ms += since_ms(begun)
        timing.rooms += len(good)
        self._metrics.rooms_rescued += len(good)
        return failed

    async def _admit(self, rooms: Sequence[Claimed]) -> list[Room]:
        """Rooms tick here from now on."""
        admitted = []
        by_game: dict[str, list[tuple[RoomEntry, SavedRoom]]] = {}
        for entry, replayed in rooms:
            by_game.setdefault(entry.game, []).append((entry, replayed.saved))
        for game, some in by_game.items():
            host = self._hosts[game]
            for begin in range(0, len(some), ADMITTED_AT_ONCE):
                for room in host.rooms.admit_all(some[begin : begin + ADMITTED_AT_ONCE]):
                    room.stage.pending.insert(0, Recovered(room.id, host.seating.hold_ticks))
                    self._registry.came(room.id)
                    admitted.append(room)
                await trio.lowlevel.checkpoint()
        return admitted

    async def _watch(self, rooms: Sequence[Room]) -> None:
        """Let a wave tick for a moment. If this process still lives then, they are not what others have died of."""
        with trio.move_on_after(WAVE_MOST_S) as waiting:
            while any(self._is_young(room) for room in rooms):  # noqa: ASYNC110
                await trio.sleep(WAVE_LOOK_S)
        if not waiting.cancelled_caught:
            for room in rooms:
                await again(partial(self._housekeeping.well, room))

    def _is_young(self, room: Room) -> bool:
        return self._hosts[room.entry.game].rooms.by_id.get(room.id) is room and room.ticked < WAVE_TICKS

    async def _strike(self, entry: RoomEntry, why: str, *, admit: bool = False) -> RoomEntry | None:
        """Note in a room's row that it may be what processes die of; the new row. None when the row is another by now,
        or (not `admit`) when that was one strike too many: then it is quarantined."""
        struck = attrs.evolve(entry, strikes=entry.strikes + 1, version=entry.version + 1)
        written = await again(lambda: self._store.rooms.replace(entry, struck))
        if not written and await again(lambda: self._store.rooms.get(entry.room)) != struck:
            return None
        log.warning("room_struck", room=entry.room, strikes=struck.strikes, reason=why)
        if struck.strikes >= STRIKES_MAX and not admit:
            await self.quarantine(struck, why)
            return None
        return struck

    def _snapshot(self, entry: RoomEntry, replayed: Replayed) -> Snapshot:
        """The room as it goes on here, under its new epoch."""
        return Snapshot(
            room=entry.room,
            epoch=entry.epoch,
            tick=replayed.tick,
            incarnation=self._incarnation,
            position=entry.chain[-1].first - 1,
            fingerprint=entry.fingerprint,
            hash=replayed.hash,
            game=entry.game,
            options=entry.options,
            tick_hz=entry.tick_hz,
            saved=pack_room(self._game(entry.game, entry.options, entry.tick_hz), replayed.saved),
        )

    async def quarantine(self, entry: RoomEntry, why: str) -> None:
        """A room that cannot be had again: what there is of it is kept for a person to look at, and then its row goes.
        One that has another owner by now is left to it."""
        where = ""
        for data in (await self._remains.snapshots([entry.room], 1)).get(entry.room, []):
            try:
                tick = decode_snapshot(data).tick
            except Damaged:
                tick = 0
            path = await self._evidence.write(entry.room, tick, data)
            if path is None:
                return  # its turn comes again, when there is room for the evidence
            where = str(path)
        self._metrics.rooms_quarantined += 1
        log.error("room_not_recovered", room=entry.room, epoch=entry.epoch, reason=why, evidence=where)
        self._housekeeping.ended(entry)

    def _game(self, name: str, options: Mapping[str, int], tick_hz: int) -> Game:
        return self._hosts[name].rooms.configured(options)


_Replaying = Callable[[Sequence[Start], Timing], Awaitable[list[tuple[RoomEntry, str]]]]
Claimed = tuple[RoomEntry, Replayed]


def waves(rooms: Sequence[Claimed]) -> Iterator[list[Claimed]]:
    """Who is let in together: all of those that have not killed anybody yet, the others by the wave."""
    sure = [room for room in rooms if room[0].attempts < WAVES_FROM]
    if sure:
        yield sure
    by_attempts: dict[int, list[Claimed]] = {}
    for room in rooms:
        if room[0].attempts >= WAVES_FROM:
            by_attempts.setdefault(room[0].attempts, []).append(room)
    for attempts, some in sorted(by_attempts.items()):
        size = max(1, len(some) // WAVE_SHARE ** (attempts - WAVES_FROM + 1))
        for begin in range(0, len(some), size):
            yield some[begin : begin + size]


def to_replay(start: Start) -> ReplayRoom:
    """A room as a replay takes it."""
    entry = start.entry
    return ReplayRoom(
        entry.room,
        entry.seed,
        start.snapshot,
        (entry.game, entry.tick_hz, tuple(sorted(entry.options.items()))),
        tuple((piece.epoch, piece.incarnation, piece.first, piece.last) for piece in start.slices),
    )


def unsure(start: Start, result: ReplayResult, damaged: Damage) -> str:
    """Why it cannot be known that a room's replay is whole: a damaged record behind its last one may have been its own.
    "" when it is."""
    incarnation, position = result.good[start.entry.room].last
    at = next((at for at, piece in enumerate(start.slices) if piece.incarnation == incarnation), 0)
    for piece in start.slices[at:]:
        first = max(piece.first, position) if piece.incarnation == incarnation else piece.first
        for begin, end in damaged.get(piece.incarnation, ()):
            if begin <= piece.last and end >= first:
                return f"records {begin} to {end} of {piece.incarnation} are damaged, and may be this room's last"
    return ""


async def in_slices(work: Callable[[], bool]) -> None:
    """Do work until it says that it is done, with room for others every SLICE_S."""
    done = False
    while not done:
        until = trio.current_time() + SLICE_S
        while not done and trio.current_time() < until:
            done = work()
        await trio.lowlevel.checkpoint()


def since_ms(start: float) -> float:
    """Milliseconds since `start`."""
    return (trio.current_time() - start) * 1000.0
