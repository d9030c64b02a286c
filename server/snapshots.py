"""Snapshots of the rooms that run here: taken by the tick, a few at a time, written behind its gate and off its path.

    tick ─► take (each room every SNAPSHOT_S, in turn) ─► gate ─► put ─► queue ─► run: store.snapshots.put ─► kept

The store keeps the last three of a room. `kept` knows them, too: from the oldest on the journal is needed, nothing
before (`server.housekeeping` cuts it there).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import attrs
import structlog
import trio

from cluster.codec import Snapshot, encode_snapshot
from cluster.errors import ClusterError
from cluster.model import StoredSnapshot
from cluster.store import SNAPSHOTS_KEPT, Store
from server.stage import Stage

SNAPSHOT_S = 5.0
TAKEN_MAX = 16
"""Snapshots that one tick of a stage takes; more are not due unless it has more than 16 rooms a tick and 5 s."""
WAITING_MAX = 2048
PUT_MAX = 64
PUT_EVERY_S = 0.1
RETRY_S = 1.0

log = structlog.get_logger("holdfast.snapshots")


class Snapshots:
    """Takes and writes snapshots. `run` must be running."""

    def __init__(self, store: Store, incarnation: str, every_s: float = SNAPSHOT_S) -> None:
        self.kept: dict[str, deque[Snapshot]] = {}
        """Of each room the newest that are stored, oldest first; without their bytes."""
        self.missed = 0
        """Snapshots that found the queue full; the room's next turn makes up for it."""
        self._store = store
        self._incarnation = incarnation
        self._every_s = every_s
        self._waiting: deque[Snapshot] = deque()
        self._owed: dict[Stage, float] = {}
        self._turn: dict[Stage, int] = {}
        self._came = trio.Event()

    def take(self, stage: Stage, position: int) -> list[Snapshot]:
        """Those that are due after a tick of this stage, whose record has this position."""
        rooms = stage.batch.ids
        owed = self._owed.get(stage, 0.0) + len(rooms) / (self._every_s * stage.game.tick_hz)
        count = min(int(owed), len(rooms), TAKEN_MAX)
        self._owed[stage] = min(owed - count, float(TAKEN_MAX))
        if not count:
            return []
        turn = self._turn.get(stage, 0)
        self._turn[stage] = turn + count
        return [self.of(stage, rooms[at % len(rooms)], position) for at in range(turn, turn + count)]

    def of(self, stage: Stage, room: str, position: int) -> Snapshot:
        """A snapshot of a room as it is now, after the record at `position`."""
        batch, game = stage.batch, stage.game
        return Snapshot(
            room=room,
            epoch=stage.epochs[room],
            tick=batch.tick_of(room),
            incarnation=self._incarnation,
            position=position,
            fingerprint=game.fingerprint,
            hash=batch.hash_of(room),
            game=game.name,
            options=game.option,
            tick_hz=game.tick_hz,
            saved=batch.save(room),
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
        """The room is not ours any more."""
        self.kept.pop(room, None)

    async def run(self) -> None:
        """Write what waits, for ever."""
        while True:
            await self._came.wait()
            self._came = trio.Event()
            while self._waiting:
                some = [self._waiting.popleft() for _ in range(min(PUT_MAX, len(self._waiting)))]
                try:
                    await self.write(some)
                except ClusterError as error:
                    log.error("snapshots_not_written", rooms=len(some), error=str(error))
                    await trio.sleep(RETRY_S)  # these are lost; the rooms' next turns make up for it
            await trio.sleep(PUT_EVERY_S)

    async def write(self, snapshots: Iterable[Snapshot]) -> None:
        """Write snapshots now. Raises ClusterError."""
        some = list(snapshots)
        await self._store.snapshots.put([StoredSnapshot(s.room, s.epoch, s.tick, encode_snapshot(s)) for s in some])
        for snapshot in some:
            self.know(snapshot)

    def know(self, snapshot: Snapshot) -> None:
        """This one is in the store."""
        kept = self.kept.setdefault(snapshot.room, deque(maxlen=SNAPSHOTS_KEPT))
        kept.append(attrs.evolve(snapshot, saved=b""))
