"""Tenure: this node's right to run rooms, and what it makes of the others'.

    renewed every 0.5 s ──► held ──margin over, no renewal──► suspended ──a renewal succeeds──► held
                              └────────── sealed by another ──────────► JournalFenced: the process ends

While it is suspended no room ticks and nothing that comes of a tick goes out; sockets stay, and players are told in the
answers to their pings. No clock decides about safety: a node that is wrong about its lease finds its journal sealed.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from cluster.errors import ClusterError, Damaged, JournalFenced, StoreBusy, StoreUnavailable, UnknownJournal
from cluster.lease import RENEW_EVERY_S, LeaseWatch, OwnLease
from cluster.model import Member
from cluster.store import Store

LOOK_EVERY_S = 0.25
RETRY_S = 0.1
"""Before the next try to renew what could not be renewed: players wait for it."""
TELL_EVERY_S = 5.0
"""How often the log repeats that the lease cannot be renewed."""

log = structlog.get_logger("holdfast.tenure")


class Tenure:
    """One incarnation's lease. `run` must be running."""

    def __init__(self, store: Store, describe: Callable[[int], Member], incarnation: str) -> None:
        self.incarnation = incarnation
        self.members: list[Member] = []
        """All incarnations, as of the last look."""
        self.dead: set[str] = set()
        """Incarnations whose processes have ended, as far as we were told."""
        self.died_at: dict[str, float] = {}
        """When we heard of it first, by our clock."""
        self.lease = OwnLease()
        self.watch = LeaseWatch(incarnation)
        self.draining = False
        """We give our rooms away and take no new ones."""
        self.suspensions = 0
        self._store = store
        self._describe = describe
        self._news = trio.Event()
        self._was_held = True
        self._left = False
        self._failing_since: float | None = None
        self._told_at = float("-inf")

    @property
    def held(self) -> bool:
        """Whether rooms may tick now."""
        held = self.lease.held(trio.current_time())
        if held != self._was_held:
            self._was_held = held
            if not held:
                self.suspensions += 1
                log.warning("node_suspended", incarnation=self.incarnation)
            else:
                log.info("node_goes_on", incarnation=self.incarnation)
        return held

    async def until_held(self) -> None:
        """Wait until rooms may tick."""
        while not self.held:
            await self._news.wait()

    async def start(self) -> None:
        """Take the first lease. Raises what `Journals.open` raises."""
        now = trio.current_time()
        token = self.lease.sent(now)
        await self._store.journals.open(self._describe(self.lease.counter))
        self.lease.renewed(token)
        self.watch.wrote(token)
        await self.look()

    async def run(self) -> None:
        """Renew the lease, and look at the others', for ever. Raises JournalFenced."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew)
            nursery.start_soon(self._look)

    async def _renew(self) -> None:
        while not self._left:
            well = self._failing_since is None and self.lease.held(trio.current_time())
            await trio.sleep(RENEW_EVERY_S if well else RETRY_S)
            try:
                await self.renew()
            except JournalFenced:
                if not self._left:
                    raise

    async def renew(self) -> None:
        """Renew the lease once, as far as the store lets us. Raises JournalFenced."""
        token = self.lease.sent(trio.current_time())
        try:
            await self._store.journals.renew(self._describe(self.lease.counter))
        except UnknownJournal as error:  # only what is sealed is ever removed
            raise JournalFenced(f"{self.incarnation} was sealed, and its journal removed") from error
        except (StoreBusy, StoreUnavailable, Damaged) as error:
            self._failed(error)
            return
        self._failing_since = None
        self.lease.renewed(token)
        self.watch.wrote(token)
        self._news.set()
        self._news = trio.Event()

    async def leave(self) -> None:
        """Seal our own journal, the last that we do: that a renewal meanwhile finds it sealed is no news. Raises what
        `Journals.seal` raises."""
        self._left = True
        await self._store.journals.seal(self.incarnation)

    def _failed(self, error: ClusterError) -> None:
        now = trio.current_time()
        if self._failing_since is None:
            self._failing_since, self._told_at = now, float("-inf")
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            log.warning("lease_not_renewed", for_s=round(now - self._failing_since, 1), error=str(error))

    async def _look(self) -> None:
        while True:
            await trio.sleep(LOOK_EVERY_S)
            _ = self.held  # so that the log tells of a suspension, whoever else may ask
            await self.look()

    async def look(self) -> None:
        """Read everybody's lease."""
        try:
            self.members = await self._store.journals.members()
        except (StoreBusy, StoreUnavailable):
            self.watch.failed(trio.current_time())
        else:
            self.watch.observe(self.members, trio.current_time())

    def died(self, incarnation: str) -> None:
        """Somebody who must know says that this process is dead."""
        self.dead.add(incarnation)
        self.died_at.setdefault(incarnation, trio.current_time())

    def present(self) -> list[Member]:
        """Those who may be given rooms and players: neither sealed, lapsed nor dead; ourselves, too."""
        alive = {*self.watch.present(trio.current_time()), self.incarnation} - self.dead
        return [member for member in self.members if member.incarnation in alive]

    def others(self) -> list[Member]:
        """The same without ourselves."""
        return [member for member in self.present() if member.incarnation != self.incarnation]
