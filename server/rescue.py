"""Rescue: rooms of a dead incarnation go on here.

    dead (told, seen, or its lease lapsed) ─► seal ─► rooms it owned, in the order among survivors ─► claim (epoch + 1)
      ─► newest valid snapshots ─► records along the chains ─► replay, hash by hash ─► snapshot under the new epoch
      ─► admitted: the first thing that a room is told is Recovered, and its players may come

Every step can be done again by anybody: sealing is for ever, a claim is compare-and-set, what was replayed is written
nowhere but in snapshots that are true. So a rescuer that dies is just another dead incarnation. The work is done in
slices of a few milliseconds: the rooms that live here go on ticking meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import attrs
import structlog
import trio

from cluster.chain import NoStart, Start, choose, merge
from cluster.codec import Record, Snapshot, decode_record, decode_snapshot
from cluster.errors import ClusterError, Damaged, UnknownJournal
from cluster.model import RoomEntry
from cluster.placement import shares
from cluster.replay import Replay, Replayed, ReplayResult, ReplayRoom
from cluster.store import SNAPSHOTS_KEPT, Store
from game.api import Game
from game.commands import Recovered
from server.evidence import EvidenceFolder
from server.host import Host
from server.housekeeping import Housekeeping
from server.metrics import Metrics
from server.registry import Registry
from server.snapshots import Snapshots
from server.tenure import Tenure

LOOK_EVERY_S = 0.25
LOOK_AGAIN_S = 2.0
"""How often sealed incarnations are looked at once more: one may have claimed rooms after its death."""
SLICE_S = 0.004
RETRY_S = 0.05
ROOMS_AT_ONCE = 1024

log = structlog.get_logger("holdfast.rescue")
T = TypeVar("T")


@attrs.define
class Timing:
    """Milliseconds of each step of a rescue."""

    rooms: int = 0
    ticks: int = 0
    seal_ms: float = 0.0
    claim_ms: float = 0.0
    load_ms: float = 0.0
    read_ms: float = 0.0
    replay_ms: float = 0.0
    snapshot_ms: float = 0.0
    admit_ms: float = 0.0


class Rescuer:
    """Takes over what dead incarnations have left. `run` must be running."""

    def __init__(
        self,
        store: Store,
        tenure: Tenure,
        snapshots: Snapshots,
        housekeeping: Housekeeping,
        registry: Registry,
        hosts: Mapping[str, Host],
        evidence: EvidenceFolder,
        metrics: Metrics,
    ) -> None:
        self.timings: list[Timing] = []
        """Of the rescues that this node has done, oldest first."""
        self._store = store
        self._tenure = tenure
        self._snapshots = snapshots
        self._housekeeping = housekeeping
        self._registry = registry
        self._hosts = hosts
        self._evidence = evidence
        self._metrics = metrics
        self._active: set[str] = set()
        self._recovering: set[str] = set()
        self._looked: dict[str, float] = {}
        self._called = trio.Event()

    def call(self) -> None:
        """Look at once: somebody has died."""
        self._called.set()

    async def run(self) -> None:
        """Look for the dead, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                for incarnation in self._dead():
                    self._active.add(incarnation)
                    nursery.start_soon(self._rescue, incarnation)
                await self._recover_ours()
                with trio.move_on_after(LOOK_EVERY_S):
                    await self._called.wait()
                self._called = trio.Event()

    def _dead(self) -> list[str]:
        now = trio.current_time()
        lapsed = set(self._tenure.watch.lapsed(now)) | self._tenure.dead
        found = []
        for member in self._tenure.members:
            incarnation = member.incarnation
            if incarnation == self._tenure.incarnation or incarnation in self._active:
                continue
            if member.sealed:
                if now - self._looked.get(incarnation, float("-inf")) >= LOOK_AGAIN_S:
                    found.append(incarnation)
            elif incarnation in lapsed or self._store.alive(incarnation) is False:
                found.append(incarnation)
        return found

    async def _rescue(self, dead: str) -> None:
        """Everything that `dead` has left and that we can play."""
        timing = Timing()
        try:
            start = trio.current_time()
            tip = await again(lambda: self._store.journals.seal(dead))
            timing.seal_ms = since_ms(start)
            self._tenure.died(dead)
            while True:
                entries = await again(lambda: self._store.rooms.owned_by(dead))
                waits = [
                    (entry, wait_s)
                    for entry, wait_s in shares(entries, self._tenure.present(), self._tenure.incarnation)
                    if self._playable(entry) is not None
                ]
                if not waits:
                    break
                elapsed_s = trio.current_time() - start
                due = [entry.room for entry, wait_s in waits if wait_s <= elapsed_s][:ROOMS_AT_ONCE]
                if due:
                    claimed_at = trio.current_time()
                    me, first = self._tenure.incarnation, self._housekeeping.next
                    claimed = await again(partial(self._store.rooms.claim, due, dead, tip, me, first))
                    timing.claim_ms += since_ms(claimed_at)
                    await self._recover([e for e in claimed if not self._is_here(e.room)], {dead: tip}, timing)
                else:
                    await trio.sleep(max(0.01, min(wait_s for _, wait_s in waits) - elapsed_s))
            if timing.rooms:
                total_ms = since_ms(start)
                log.info("rooms_rescued", of=dead, total_ms=round(total_ms, 1), **rounded(timing))
                self.timings.append(timing)
        except UnknownJournal:
            pass  # removed meanwhile: nothing was left
        finally:
            self._looked[dead] = trio.current_time()
            self._active.discard(dead)

    async def _recover_ours(self) -> None:
        """Rooms that are ours by the directory and not here: a recovery of ours that was broken off."""
        now = trio.current_time()
        if now - self._looked.get("", now) < LOOK_AGAIN_S:
            self._looked.setdefault("", now)
            return
        self._looked[""] = now
        try:
            entries = await self._store.rooms.owned_by(self._tenure.incarnation)
        except ClusterError:
            return
        lost = [e for e in entries if len(e.chain) > 1 and not self._is_here(e.room) and not e.target]
        lost = [entry for entry in lost if entry.room not in self._recovering]
        if lost:
            await self._recover(lost, {}, Timing())

    # -- from claimed to admitted -------------------------------------------------------------------------------------

    async def _recover(self, entries: Sequence[RoomEntry], tips: Mapping[str, int], timing: Timing) -> None:
        """Bring claimed rooms to the tick that they were at, and admit them."""
        names = {entry.room for entry in entries}
        self._recovering |= names
        try:
            start = trio.current_time()
            starts = await self._starts(entries, tips)
            timing.load_ms += since_ms(start)
            failed = await self._replay(starts, timing)
            if failed:  # once more from older snapshots, before they are given up
                older = await self._starts([entry for entry, _ in failed], tips, without_newest=True)
                reasons = {entry.room: why for entry, why in failed}
                for entry, why in await self._replay(older, timing):
                    reasons[entry.room] += f"; from an older snapshot: {why}"
                for entry, _ in failed:
                    if not self._is_here(entry.room):
                        await self._quarantine(entry, reasons[entry.room])
        finally:
            self._recovering -= names

    async def _starts(
        self, entries: Sequence[RoomEntry], tips: Mapping[str, int], without_newest: bool = False
    ) -> list[Start]:
        """Where each room's replay begins. Those that have nowhere to begin are quarantined."""
        rooms = [entry.room for entry in entries]
        newest = await again(lambda: self._store.snapshots.newest(rooms, SNAPSHOTS_KEPT if without_newest else 1))
        found = []
        for entry in entries:
            snapshots = newest.get(entry.room, [])[1 if without_newest else 0 :]
            try:
                try:
                    start = choose(entry, snapshots, tips)
                except NoStart:
                    if without_newest:
                        continue
                    every = await again(partial(self._store.snapshots.newest, [entry.room]))
                    start = choose(entry, every.get(entry.room, []), tips)
            except Damaged as error:
                await self._quarantine(entry, str(error))
                continue
            for why in start.passed_over:
                log.warning("snapshot_passed_over", room=entry.room, reason=why)
            found.append(start)
        return found

    async def _replay(self, starts: Sequence[Start], timing: Timing) -> list[tuple[RoomEntry, str]]:
        """Replay and admit; returns the rooms that could not be, and why."""
        begun = trio.current_time()
        records, damaged = await self._read(starts)
        timing.read_ms += since_ms(begun)
        rooms = [
            ReplayRoom(
                start.entry.room,
                start.entry.seed,
                start.snapshot,
                (start.entry.game, start.entry.tick_hz, tuple(sorted(start.entry.options.items()))),
                tuple((s.epoch, s.incarnation, s.first, s.last) for s in start.slices),
            )
            for start in starts
        ]
        begun = trio.current_time()
        replay = Replay(self._game, rooms, records)
        await in_slices(lambda: replay.work(1))
        timing.replay_ms += since_ms(begun)
        timing.ticks += replay.result.ticks
        return await self._admit(starts, replay.result, damaged, timing)

    async def _read(self, starts: Sequence[Start]) -> tuple[dict[str, list[Record]], dict[str, list[int]]]:
        """The records that are needed, and the positions of those that are damaged."""
        records: dict[str, list[Record]] = {}
        damaged: dict[str, list[int]] = {}
        for incarnation, (first, last) in merge(piece for start in starts for piece in start.slices).items():
            found, bad, position = records.setdefault(incarnation, []), damaged.setdefault(incarnation, []), first
            while position <= last:
                try:
                    some = await again(partial(self._store.journals.read, incarnation, position, last))
                except (Damaged, UnknownJournal) as error:
                    log.error("journal_damaged", incarnation=incarnation, position=position, error=str(error))
                    bad.append(position)
                    position += 1
                    continue
                if not some:
                    bad.extend(range(position, last + 1))
                    break
                for data in some:
                    try:
                        found.append(decode_record(data, incarnation, position))
                    except Damaged as error:
                        log.error("record_damaged", incarnation=incarnation, position=position, error=str(error))
                        bad.append(position)
                    position += 1
                await trio.lowlevel.checkpoint()
        return records, damaged

    async def _admit(
        self, starts: Sequence[Start], result: ReplayResult, damaged: Mapping[str, list[int]], timing: Timing
    ) -> list[tuple[RoomEntry, str]]:
        failed: list[tuple[RoomEntry, str]] = []
        good: list[tuple[RoomEntry, Snapshot]] = []
        for start in starts:
            entry = start.entry
            if entry.room in result.ended:
                self._housekeeping.ended(entry)
            elif entry.room in result.diverged:
                failed.append((entry, result.diverged[entry.room].why))
            elif why := unsure(start, result, damaged):
                failed.append((entry, why))
            else:
                good.append((entry, self._snapshot(entry, result.good[entry.room])))
        begun = trio.current_time()
        await again(lambda: self._snapshots.write(snapshot for _, snapshot in good))
        timing.snapshot_ms += since_ms(begun)
        begun = trio.current_time()
        for number, (entry, snapshot) in enumerate(good):
            host = self._hosts[entry.game]
            room = host.rooms.admit(entry, snapshot.saved)
            room.stage.pending.insert(0, Recovered(entry.room, host.seating.hold_ticks))
            self._registry.came(entry.room)
            if number % 32 == 31:
                await trio.lowlevel.checkpoint()
        timing.admit_ms += since_ms(begun)
        timing.rooms += len(good)
        self._metrics.rooms_rescued += len(good)
        return failed

    def _snapshot(self, entry: RoomEntry, replayed: Replayed) -> Snapshot:
        """The room as it goes on here, under its new epoch."""
        return Snapshot(
            room=entry.room,
            epoch=entry.epoch,
            tick=replayed.tick,
            incarnation=self._tenure.incarnation,
            position=entry.chain[-1].first - 1,
            fingerprint=entry.fingerprint,
            hash=replayed.hash,
            game=entry.game,
            options=entry.options,
            tick_hz=entry.tick_hz,
            saved=replayed.saved,
        )

    async def _quarantine(self, entry: RoomEntry, why: str) -> None:
        """A room that cannot be had again: what there is of it is kept for a person to look at."""
        self._metrics.rooms_quarantined += 1
        snapshots = (await again(lambda: self._store.snapshots.newest([entry.room]))).get(entry.room, [])
        where = ""
        for data in snapshots[:1]:
            try:
                tick = decode_snapshot(data).tick
            except Damaged:
                tick = 0
            where = str(self._evidence.keep(entry.room, tick, data) or "")
        log.error("room_not_recovered", room=entry.room, epoch=entry.epoch, reason=why, evidence=where)
        self._housekeeping.ended(entry)

    def _playable(self, entry: RoomEntry) -> Game | None:
        host = self._hosts.get(entry.game)
        return None if host is None else host.rooms.playable(entry)

    def _game(self, name: str, options: Mapping[str, int], tick_hz: int) -> Game:
        return self._hosts[name].rooms.configured(options)

    def _is_here(self, room: str) -> bool:
        return any(room in host.rooms.by_id for host in self._hosts.values())


def unsure(start: Start, result: ReplayResult, damaged: Mapping[str, list[int]]) -> str:
    """Why it cannot be known that a room's replay is whole: a damaged record behind its last one may have been its own.
    "" when it is."""
    if not start.slices:
        return ""
    last = start.slices[-1]
    for position in damaged.get(last.incarnation, ()):
        if max(last.first, result.good[start.entry.room].last_position) <= position <= last.last:
            return f"record {position} of {last.incarnation} is damaged, and may be this room's last"
    return ""


async def again(call: Callable[[], Awaitable[T]]) -> T:
    """What a call returns, once the store is able to; Damaged, UnknownJournal and JournalFenced are raised."""
    while True:
        try:
            return await call()
        except ClusterError as error:
            if not error.retryable:
                raise
            log.warning("store_does_not_answer", error=str(error))
        await trio.sleep(RETRY_S)


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


def rounded(timing: Timing) -> dict[str, float]:
    """For people."""
    return {name: round(value, 1) for name, value in attrs.asdict(timing).items()}
