"""Snapshots of the rooms that run here: taken by the tick, a few at a time, written behind its gate and off its path.

    tick ─► take (each room every SNAPSHOT_S, in turn) ─► gate ─► put ─► queue ─► run: store.snapshots.put ─► kept

The store keeps the last three of a room. `kept` knows them, too: from the oldest on the journal is needed, nothing
before (`server.housekeeping` cuts it there).

A room that cannot be saved, or whose snapshot the store refuses while it takes others', pins the journal: an alarm each
time, and after REFUSED_MAX times in a row the room is `hopeless`: its host quarantines it, with its state as evidence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from weakref import WeakKeyDictionary

import attrs
import structlog
import trio

from cluster.codec import Snapshot, encode_snapshot
from cluster.errors import ClusterError
from cluster.model import StoredSnapshot
from cluster.store import SNAPSHOTS_KEPT, Store
from game.base_batch import StepResult
from game.errors import GAME_FAULTS
from server.stage import Stage

SNAPSHOT_S = 5.0
TAKEN_MAX = 16
"""Snapshots that one tick of a stage takes; more are not due unless it has more than 16 rooms a tick and 5 s."""
OFTEN_S, OFTEN_ROOMS_S = 0.5, 4.0
"""Few rooms are snapshot more often, up to four a second and stage: that costs little, and less is to be replayed."""
WAITING_MAX = 2048
PUT_MAX = 64
REFUSED_MAX = 12
"""Turns of a room: six seconds where a node has few, a minute at the usual rate."""
PUT_EVERY_S = 0.1
RETRY_S = 1.0

log = structlog.get_logger("holdfast.snapshots")


@attrs.define
class _Refused:
    """A room without snapshots: how often in a row, and why."""

    error: BaseException
    times: int = 0
    written: int = 0
    """What had been written of others when it was refused last."""


class Snapshots:
    """Takes and writes snapshots. `run` must be running."""

    def __init__(self, store: Store, incarnation: str, every_s: float = SNAPSHOT_S) -> None:
        self.kept: dict[str, list[Snapshot]] = {}
        """Of each room the newest that are stored, oldest first; without their bytes."""
        self.missed = 0
        """Snapshots that found the queue full; the room's next turn makes up for it."""
        self._store = store
        self._incarnation = incarnation
        self._every_s = every_s
        self._waiting: deque[Snapshot] = deque()
        self._alone = 0  # so many of those that wait are written one by one, to find the one that is refused
        self._writing: set[str] = set()
        self._putting = trio.Lock()
        self._written = 0
        self._refused: dict[str, _Refused] = {}
        self._owed: WeakKeyDictionary[Stage, float] = WeakKeyDictionary()  # stages go with the last of their rooms
        self._turn: WeakKeyDictionary[Stage, int] = WeakKeyDictionary()
        self._came = trio.Event()

    def take(self, stage: Stage, position: int, result: StepResult | None = None) -> list[Snapshot]:
        """Those that are due after a tick of this stage with this result, whose record has this position."""
        rooms = stage.batch.ids
        every_s = min(self._every_s, max(OFTEN_S, len(rooms) / OFTEN_ROOMS_S))
        owed = self._owed.get(stage, 0.0) + len(rooms) / (every_s * stage.game.tick_hz)
        count = min(int(owed), len(rooms), TAKEN_MAX)
        self._owed[stage] = min(owed - count, float(TAKEN_MAX))
        if not count:
            return []
        turn = self._turn.get(stage, 0)
        self._turn[stage] = turn + count
        found = []
        for at in range(turn, turn + count):
            room = rooms[at % len(rooms)]
            try:
                found.append(self.of(stage, room, position, result))
            except GAME_FAULTS as error:
                self._refuse(room, error)
        return found

    def hopeless(self, stage: Stage) -> list[tuple[str, BaseException]]:
        """Rooms of this stage that cannot be snapshot, and why; each is told once."""
        if not self._refused:
            return []
        found = [room for room, one in self._refused.items() if one.times >= REFUSED_MAX and room in stage.batch.row]
        return [(room, self._refused.pop(room).error) for room in found]

    def of(self, stage: Stage, room: str, position: int, result: StepResult | None = None) -> Snapshot:
        """A snapshot of a room as it is now, after the record at `position`. `result`: of the tick that it has just
        made, for which its row was packed and hashed already."""
        batch, game = stage.batch, stage.game
        if result is not None and len(result.hashes) == len(batch):  # none has gone since, so none has moved
            saved, state_hash = batch.save(room, result.packed), result.hashes[batch.row[room]]
        else:
            saved, state_hash = batch.save(room), batch.hash_of(room)
        return Snapshot(
            room=room,
            epoch=stage.epochs[room],
            tick=batch.tick_of(room),
            incarnation=self._incarnation,
            position=position,
            fingerprint=game.fingerprint,
            hash=state_hash,
            game=game.name,
            options=game.option,
            tick_hz=game.tick_hz,
            saved=saved,
        )

    def put(self, snapshots: Sequence[Snapshot]) -> None:
        """Write these: the records that they come after are stored. What finds no place in the queue is left out."""
        for snapshot in snapshots:
            if len(self._waiting) < WAITING_MAX:
                self._waiting.append(snapshot)
            else:
                self.missed += 1
        self._came.set()

    def oldest(self, room: str) -> Snapshot | None:
        """The oldest that the store keeps of a room; None while there is place for more."""
        kept = self.kept.get(room)
        return kept[0] if kept is not None and len(kept) == SNAPSHOTS_KEPT else None

    def forget(self, room: str) -> None:
        """The room is not ours any more: what waits of it is not written."""
        self.kept.pop(room, None)
        self._refused.pop(room, None)
        self._writing.discard(room)
        if any(snapshot.room == room for snapshot in self._waiting):
            self._waiting = deque(snapshot for snapshot in self._waiting if snapshot.room != room)

    async def delete(self, room: str) -> None:
        """Delete all snapshots of a room that is forgotten, also those that are being written. Raises ClusterError."""
        async with self._putting:
            await self._store.snapshots.delete([room])

    async def run(self) -> None:
        """Write what waits, for ever."""
        while True:
            await self._came.wait()
            self._came = trio.Event()
            while self._waiting:
                await self._write_some()
            await trio.sleep(PUT_EVERY_S)

    async def _write_some(self) -> None:
        """Those that wait for longest; one by one after a failure."""
        count = min(1 if self._alone else PUT_MAX, len(self._waiting))
        some = [self._waiting.popleft() for _ in range(count)]
        self._alone = max(0, self._alone - 1)
        self._writing = {snapshot.room for snapshot in some}
        try:
            async with self._putting:
                await self._put(some)
        except ClusterError as error:
            log.error("snapshots_not_written", rooms=count, error=str(error))
            if count > 1:
                self._waiting.extendleft(s for s in reversed(some) if s.room in self._writing)
                self._alone = count
            elif self._writing:  # it is lost; the room's next turn makes up for it
                self._refuse_write(some[0].room, error)
            await trio.sleep(RETRY_S)
        else:
            self._written += count
            for snapshot in some:
                if snapshot.room in self._writing:
                    self.know(snapshot)

    async def write(self, snapshots: Iterable[Snapshot]) -> None:
        """Write snapshots now. Raises ClusterError."""
        some = list(snapshots)
        await self._put(some)
        for snapshot in some:
            self.know(snapshot)

    def know(self, snapshot: Snapshot) -> None:
        """This one is in the store, which keeps the newest by epoch and tick."""
        kept = {(one.epoch, one.tick): one for one in self.kept.get(snapshot.room, ())}
        kept[snapshot.epoch, snapshot.tick] = attrs.evolve(snapshot, saved=b"")
        self.kept[snapshot.room] = [kept[key] for key in sorted(kept)][-SNAPSHOTS_KEPT:]
        self._refused.pop(snapshot.room, None)

    async def _put(self, some: Sequence[Snapshot]) -> None:
        await self._store.snapshots.put([StoredSnapshot(s.room, s.epoch, s.tick, encode_snapshot(s)) for s in some])

    def _refuse_write(self, room: str, error: ClusterError) -> None:
        """The store has refused a room's snapshot alone. That is the room's fault only when the store took others'
        since it was refused last: a store that is away refuses all."""
        refused = self._refused.setdefault(room, _Refused(error, written=self._written))
        if refused.times == 0 or self._written > refused.written:
            self._refuse(room, error)

    def _refuse(self, room: str, error: BaseException) -> None:
        refused = self._refused.setdefault(room, _Refused(error))
        refused.error, refused.times, refused.written = error, refused.times + 1, self._written
        log.error("snapshot_refused", room=room, times=refused.times, of=REFUSED_MAX, error=str(error))
