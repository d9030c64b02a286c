"""Rescue: rooms of a dead incarnation go on here.

    dead (told, seen, or its lease lapsed) ─► seal ─► rooms it owned, in the order among survivors ─► claim (epoch + 1)
      ─► newest valid snapshots ─► records along the chains ─► replay, hash by hash ─► snapshot under the new epoch
      ─► admitted: the first thing that a room is told is Recovered, and its players may come

Every step can be done again by anybody: sealing is for ever, a claim is compare-and-set, what was replayed is written
nowhere but in snapshots that are true. So a rescuer that dies is just another dead incarnation. What happens between
claim and admission is in `server.recovery`.
"""

from __future__ import annotations

from functools import partial

import attrs
import structlog
import trio

from cluster.errors import ClusterError, UnknownJournal
from cluster.model import RoomEntry
from cluster.placement import shares
from cluster.store import Store
from server.housekeeping import Housekeeping
from server.recovery import Recovery, Timing, again, since_ms
from server.tenure import Tenure

LOOK_EVERY_S = 0.25
LOOK_AGAIN_S = 2.0
"""How often sealed incarnations are looked at once more: one may have claimed rooms after its death."""
ROOMS_AT_ONCE = 1024
SHORTEST_WAIT_S = 0.01

log = structlog.get_logger("holdfast.rescue")


class Rescuer:
    """Takes over what dead incarnations have left. `run` must be running."""

    def __init__(self, store: Store, tenure: Tenure, housekeeping: Housekeeping, recovery: Recovery) -> None:
        self.timings: list[Timing] = []
        """Of the rescues that this node has done, oldest first."""
        self._store = store
        self._tenure = tenure
        self._housekeeping = housekeeping
        self._recovery = recovery
        self._active: set[str] = set()
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
        start = trio.current_time()
        timing = Timing(began=start)
        try:
            tip = await again(lambda: self._store.journals.seal(dead))
            timing.seal_ms = since_ms(start)
            self._tenure.died(dead)
            waits: dict[str, float] = {}  # of each room from the beginning on: what we take changes no other's share
            while True:
                entries = await again(lambda: self._store.rooms.owned_by(dead))
                entries = [entry for entry in entries if self._recovery.playable(entry)]
                if not entries:
                    break
                new = [entry for entry in entries if entry.room not in waits]
                waits |= {entry.room: wait_s for entry, wait_s in self._shares(new)}
                elapsed_s = trio.current_time() - start
                due = [entry.room for entry in entries if waits[entry.room] <= elapsed_s][:ROOMS_AT_ONCE]
                if due:
                    claimed_at = trio.current_time()
                    me, first = self._tenure.incarnation, self._housekeeping.next
                    claimed = await again(partial(self._store.rooms.claim, due, dead, tip, me, first))
                    timing.claim_ms += since_ms(claimed_at)
                    await self._recovery.recover(claimed, {dead: tip}, timing)
                else:
                    soonest_s = min(waits[entry.room] for entry in entries) - elapsed_s
                    await trio.sleep(max(SHORTEST_WAIT_S, soonest_s))
            if timing.rooms:
                timing.ended = trio.current_time()
                total_ms = since_ms(start)
                log.info("rooms_rescued", of=dead, total_ms=round(total_ms, 1), **rounded(timing))
                self.timings.append(timing)
        except UnknownJournal:
            pass  # removed meanwhile: nothing was left
        finally:
            self._looked[dead] = trio.current_time()
            self._active.discard(dead)

    def _shares(self, entries: list[RoomEntry]) -> list[tuple[RoomEntry, float]]:
        return shares(entries, self._tenure.present(), self._tenure.incarnation)

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
        lost = [e for e in entries if len(e.chain) > 1 and not self._recovery.is_here(e.room) and not e.target]
        if lost:
            await self._recovery.recover(lost, {}, Timing())


def rounded(timing: Timing) -> dict[str, float]:
    """For people."""
    return {name: round(value, 1) for name, value in attrs.asdict(timing).items() if name not in ("began", "ended")}
