"""What there is of rooms that are to be brought back: their snapshots, and the records behind them.

What the store cannot do now is done again until it can. What is damaged is told and left out; whether a room can do
without it is decided in `server.recovery`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog
import trio

from cluster.chain import NoStart, Start, choose, merge
from cluster.codec import Record, Snapshot, decode_record, decode_snapshot
from cluster.errors import ClusterError, Damaged, StoreUnusable, UnknownJournal
from cluster.model import RoomEntry
from cluster.store import SNAPSHOTS_KEPT, Store

RETRY_S = 0.05
HOLE_MAX = 16
"""Records that are looked for one by one behind a missing one; a longer hole is taken for what was cut."""

log = structlog.get_logger("holdfast.recovery")
T = TypeVar("T")
Damage = dict[str, list[tuple[int, int]]]
"""By incarnation, first and last positions of records that cannot be read."""


class Remains:
    """Reads a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def starts(
        self, entries: Sequence[RoomEntry], tips: Mapping[str, int]
    ) -> tuple[list[Start], list[tuple[RoomEntry, str]]]:
        """Where each room's replay begins; and those that have nowhere to begin, and why."""
        newest = await self.snapshots([entry.room for entry in entries], 1)
        found: list[Start] = []
        hopeless: list[tuple[RoomEntry, str]] = []
        for entry in entries:
            snapshots = newest.get(entry.room, [])
            try:
                try:
                    start = choose(entry, snapshots, tips, seed=not snapshots)
                except NoStart:
                    every = (await self.snapshots([entry.room], SNAPSHOTS_KEPT)).get(entry.room, [])
                    start = choose(entry, every, tips, seed=len(every) < SNAPSHOTS_KEPT)
            except Damaged as error:
                hopeless.append((entry, str(error)))
                continue
            for why in start.passed_over:
                log.warning("snapshot_passed_over", room=entry.room, reason=why)
            found.append(start)
        return found, hopeless

    async def older_starts(
        self, entries: Sequence[RoomEntry], used: Mapping[str, Snapshot | None], tips: Mapping[str, int]
    ) -> list[Start]:
        """Where else replays can begin: before the snapshots that were used. Rooms that have no such start are left
        out."""
        kept = await self.snapshots([entry.room for entry in entries], SNAPSHOTS_KEPT)
        found = []
        for entry in entries:
            every, before = kept.get(entry.room, []), used[entry.room]
            if before is None:
                continue
            with contextlib.suppress(Damaged):
                found.append(choose(entry, older(every, before), tips, seed=len(every) < SNAPSHOTS_KEPT))
        return found

    async def snapshots(self, rooms: Sequence[str], limit: int) -> dict[str, list[bytes]]:
        """What the store has; for a room of which it cannot read them, one that is none."""
        try:
            return await again(lambda: self._store.snapshots.newest(rooms, limit))
        except Damaged as error:
            if len(rooms) == 1:
                log.error("snapshots_unreadable", room=rooms[0], error=str(error))
                return {rooms[0]: [b""] * SNAPSHOTS_KEPT}
        found: dict[str, list[bytes]] = {}
        for room in rooms:
            found |= await self.snapshots([room], limit)
        return found

    async def read(self, starts: Sequence[Start]) -> tuple[dict[str, list[Record]], Damage]:
        """The records that are needed, and where some are missing or damaged."""
        records: dict[str, list[Record]] = {}
        damaged: Damage = {}
        for incarnation, (first, last) in merge(piece for start in starts for piece in start.slices).items():
            found, bad, position = records.setdefault(incarnation, []), damaged.setdefault(incarnation, []), first
            while position <= last:
                try:
                    some = await self._stored(incarnation, position, last)
                except (Damaged, StoreUnusable, UnknownJournal) as error:
                    log.error("journal_damaged", incarnation=incarnation, position=position, error=str(error))
                    begin, position = position, await self._next_stored(incarnation, position, last)
                    bad.append((begin, position - 1))
                    continue
                if not some:
                    bad.append((position, last))
                    break
                for data in some:
                    try:
                        found.append(decode_record(data, incarnation, position))
                    except Damaged as error:
                        log.error("record_damaged", incarnation=incarnation, position=position, error=str(error))
                        bad.append((position, position))
                    position += 1
                await trio.lowlevel.checkpoint()
        return records, damaged

    async def _stored(self, incarnation: str, first: int, last: int) -> list[bytes]:
        return await again(lambda: self._store.journals.read(incarnation, first, last))

    async def _next_stored(self, incarnation: str, missing: int, last: int) -> int:
        """Where records go on behind one that cannot be read: the next position in a small hole, and behind what was
        cut the first that was not; `last` + 1 where nothing does."""
        low, high = missing, last + 1
        for position in range(missing + 1, missing + HOLE_MAX):
            if position > last or await self._is_stored(incarnation, position):
                return min(position, last + 1)
            low = position
        while high - low > 1:
            middle = (low + high) // 2
            if await self._is_stored(incarnation, middle):
                high = middle
            else:
                low = middle
        return high

    async def _is_stored(self, incarnation: str, position: int) -> bool:
        try:
            return bool(await self._stored(incarnation, position, position))
        except (Damaged, StoreUnusable, UnknownJournal):
            return False


def older(snapshots: Sequence[bytes], used: Snapshot) -> list[bytes]:
    """Those of these (newest first) that come after the one that was used."""
    for at, data in enumerate(snapshots):
        with contextlib.suppress(Damaged):
            found = decode_snapshot(data)
            if (found.epoch, found.tick) == (used.epoch, used.tick):
                return list(snapshots[at + 1 :])
    return []


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
