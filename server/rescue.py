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

from cluster.errors import ClusterError, Damaged, JournalFenced, StoreUnusable, UnknownJournal
from cluster.lease import LEASE_TTL_S
from cluster.model import RoomEntry
from cluster.placement import shares
from cluster.store import Store
from server.housekeeping import Housekeeping
from server.recovery import Recovery, Timing, since_ms
from server.remains import again
from server.tenure import Tenure

LOOK_EVERY_S = 0.25
LOOK_AGAIN_S = 2.0
"""How often sealed incarnations are looked at once more: one may have claimed rooms after its death."""
ROOMS_AT_ONCE = 1024
SHORTEST_WAIT_S = 0.01
TOLD_MAX = 8

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
        self._looked_around_at = trio.current_time()
        self._orphaned: dict[str, float] = {}
        """Owners without a journal, and since when."""
        self._told: set[str] = set()
        """Rooms that we cannot play, and journals that we cannot read, as far as the log knows."""
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
                if lost := await self._look_around():
                    nursery.start_soon(self._bring_back, lost)
                with trio.move_on_after(LOOK_EVERY_S):
                    await self._called.wait()
                self._called = trio.Event()

    def _dead(self) -> list[str]:
        now = trio.current_time()
        lapsed = set(self._tenure.watch.lapsed(now)) | self._tenure.dead
        lately = {name for name, looked in self._looked.items() if now - looked < LOOK_AGAIN_S}
        known = {member.incarnation for member in self._tenure.members}
        found = [
            owner
            for owner, since in self._orphaned.items()
            if now - since > LEASE_TTL_S and owner not in lately and owner not in known
        ]
        for member in self._tenure.members:
            incarnation = member.incarnation
            if incarnation == self._tenure.incarnation:
                continue
            if member.sealed:
                if incarnation not in lately:
                    found.append(incarnation)
            elif incarnation in lapsed or self._store.alive(incarnation) is False:
                found.append(incarnation)
        return [incarnation for incarnation in found if incarnation not in self._active]

    async def _rescue(self, dead: str) -> None:
        """Everything that `dead` has left and that we can play."""
        timing = Timing(began=trio.current_time())
        self._tenure.died(dead)  # from here on: it will be sealed, so nobody is sent there any more
        try:
            tip = await self._seal(dead)
            timing.seal_ms = since_ms(timing.began)
            if tip is not None:
                await self._take_all(dead, tip, timing)
        except JournalFenced:
            raise
        except ClusterError as error:  # of ours, or of the store: what is left is looked at again
            log.error("rescue_broken_off", of=dead, error=str(error))
        finally:
            self._looked[dead] = trio.current_time()
            self._active.discard(dead)
        if timing.rooms:
            timing.ended = trio.current_time()
            total_ms = round((timing.ended - timing.began) * 1000.0, 1)
            log.info("rooms_rescued", of=dead, total_ms=total_ms, **rounded(timing))
            self.timings.append(timing)

    async def _seal(self, dead: str) -> int | None:
        """Fence a dead incarnation: its tip; None where there is nothing to go on with, and its rooms are given up."""
        try:
            return await again(lambda: self._store.journals.seal(dead))
        except UnknownJournal:  # removed, when nothing was left; or lost
            why = f"the journal of {dead} is gone"
        except Damaged as error:
            why = f"the journal of {dead} cannot be read: {error}"
        except StoreUnusable as error:  # of another version, perhaps: its rooms wait for who can read it
            if dead not in self._told:
                self._told.add(dead)
                log.error("journal_not_ours", of=dead, error=str(error))
            return None
        entries = await again(lambda: self._store.rooms.owned_by(dead))
        for entry, wait_s in self._shares(entries):
            if not wait_s:
                await self._recovery.quarantine(entry, why)
        return None

    async def _take_all(self, dead: str, tip: int, timing: Timing) -> None:
        """Claim the rooms of a sealed incarnation, each in its turn, and bring them back."""
        waits: dict[str, float] = {}  # of each room from the beginning on: what we take changes no other's share
        while True:
            entries = await self._playable(dead)
            if not entries:
                return
            new = [entry for entry in entries if entry.room not in waits]
            waits |= {entry.room: wait_s for entry, wait_s in self._shares(new)}
            elapsed_s = trio.current_time() - timing.began
            due = [entry.room for entry in entries if waits[entry.room] <= elapsed_s][:ROOMS_AT_ONCE]
            if due:
                begun = trio.current_time()
                me, first = self._tenure.incarnation, self._housekeeping.next
                claimed = await again(partial(self._store.rooms.claim, due, dead, tip, me, first))
                timing.claim_ms += since_ms(begun)
                await self._recovery.recover(claimed, {dead: tip}, timing)
            else:
                soonest_s = min(waits[entry.room] for entry in entries) - elapsed_s
                await trio.sleep(max(SHORTEST_WAIT_S, soonest_s))

    async def _playable(self, dead: str) -> list[RoomEntry]:
        """The rooms of a dead incarnation that can go on here; that others cannot is told once."""
        entries = await again(lambda: self._store.rooms.owned_by(dead))
        found, others = [], []
        for entry in entries:
            if self._recovery.playable(entry):
                found.append(entry)
            elif entry.room not in self._told:
                self._told.add(entry.room)
                others.append(entry)
        if others:
            log.warning(
                "rooms_left_alone",
                of=dead,
                rooms=[entry.room for entry in others[:TOLD_MAX]],
                count=len(others),
                reason="this node does not play their game by the same code, options and tick rate",
            )
        return found

    def _shares(self, entries: list[RoomEntry]) -> list[tuple[RoomEntry, float]]:
        return shares(entries, self._tenure.present(), self._tenure.incarnation)

    async def _look_around(self) -> list[RoomEntry]:
        """Rooms that are ours by the directory and not here: a recovery of ours that was broken off. And owners that
        have no journal, which no look at the members tells."""
        now, me = trio.current_time(), self._tenure.incarnation
        if now - self._looked_around_at < LOOK_AGAIN_S:
            return []
        self._looked_around_at = now
        try:
            entries = await self._store.rooms.owned_by(me)
            owners = await self._store.rooms.owners()
        except ClusterError:
            return []
        known = {me, *(member.incarnation for member in self._tenure.members)}
        self._orphaned = {owner: self._orphaned.get(owner, now) for owner in owners if owner not in known}
        return [e for e in entries if len(e.chain) > 1 and not self._recovery.is_here(e.room) and not e.target]

    async def _bring_back(self, entries: list[RoomEntry]) -> None:
        try:
            await self._recovery.recover(entries, {}, Timing())
        except JournalFenced:
            raise
        except ClusterError as error:
            log.error("rescue_broken_off", of=self._tenure.incarnation, error=str(error))


def rounded(timing: Timing) -> dict[str, float]:
    """For people."""
    return {name: round(value, 1) for name, value in attrs.asdict(timing).items() if name not in ("began", "ended")}
