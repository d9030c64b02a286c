"""What dead nodes leave behind, and nodes that take it over: on one store in memory, without sockets.

`Dead` plays rooms and keeps what a node keeps, by the same parts; then it just stops. `Survivor` has all of a node that
a rescue needs; its rooms tick when a test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from cluster.codec import Snapshot
from cluster.journal import JournalWriter
from cluster.memory import MemoryStore, MemoryWorld
from cluster.model import Member, RoomEntry, Span, new_incarnation
from cluster.tickets import Tickets
from game.api import RowGame
from game.commands import Command, Join, TickCommands
from server.evidence import EvidenceFolder
from server.held import HeldSeats
from server.host import Host, Services
from server.housekeeping import Housekeeping
from server.metrics import Metrics
from server.recovery import Recovery
from server.registry import Registry
from server.rescue import Rescuer
from server.rooms import Room
from server.row_stage import RowStage
from server.snapshots import SNAPSHOT_S, Snapshots
from server.tenure import Tenure
from tests.server.games import Counter
from tests.server.helpers import FakeDatagrams

Inputs = Callable[[str, int, int], int]
"""What a seat of a room adds at a tick: (room, seat, tick) → -10 … 10."""


class Dead:
    """A node that has played rooms, two seats taken in each, and is no more."""

    def __init__(self, world: MemoryWorld, game: RowGame | None = None, name: str = "dead") -> None:
        self.game = game or Counter()
        self.store: MemoryStore = world.store()
        self.incarnation = new_incarnation(name)
        self.stage = RowStage(self.game)
        self.journal = JournalWriter(self.store.journals, self.incarnation)
        self.snapshots = Snapshots(self.store, self.incarnation)
        self.hashes: dict[str, int] = {}
        """Of each room after its last tick."""

    async def open(self, *rooms: str, **more: Any) -> None:
        await self.store.journals.open(Member(incarnation=self.incarnation, node="dead", host="", port=1))
        for number, room in enumerate(rooms):
            entry = RoomEntry(
                room=room,
                game=self.game.name,
                options=dict(self.game.option),
                tick_hz=self.game.tick_hz,
                seed=number,
                fingerprint=self.game.fingerprint,
                owner=self.incarnation,
                chain=(Span(1, self.incarnation, 1),),
            )
            await self.store.rooms.create(attrs.evolve(entry, **more))
            self.stage.batch.open(room, number)
            self.stage.epochs[room] = 1
        self.tick(*(Join(room, f"{room}-{seat}", "", f"{room}-{seat}") for room in rooms for seat in range(2)))

    def tick(self, *commands: Command, adds: Inputs | None = None) -> None:
        stage = self.stage
        rooms, ticks = list(stage.batch.ids), stage.batch.rows.tick.copy()
        inputs = np.zeros(0 if adds is None else 2 * len(rooms), stage.batch.input_record)
        for at in range(len(inputs)):
            row, seat = divmod(at, 2)
            assert adds is not None
            value = adds(rooms[row], seat, int(ticks[row]) + 1)
            inputs[at] = (row, seat, stage.batch.last_seq(rooms[row], seat) + 1, 0, value)
        tick = TickCommands(inputs, commands)
        self.journal.begin([stage.record(rooms, ticks, tick, stage.step(tick))])
        self.hashes = dict(zip(stage.batch.ids, stage.batch.hashes(), strict=True))

    async def play(self, ticks: int, adds: Inputs = lambda room, seat, tick: (len(room) + seat + tick) % 7 - 3) -> None:
        for _ in range(ticks):
            self.tick(adds=adds)

    async def keep(self) -> None:
        """Snapshots of all rooms."""
        ids = self.stage.batch.ids
        await self.snapshots.write([self.snapshots.of(self.stage, room, self.journal.position) for room in ids])

    async def die(self) -> None:
        await self.store.aclose()

    @property
    def ticks(self) -> Mapping[str, int]:
        return {room: self.stage.batch.tick_of(room) for room in self.stage.batch.ids}


class Survivor:
    """A node that rescues."""

    def __init__(
        self,
        world: MemoryWorld,
        folder: Path,
        name: str,
        game: RowGame | None = None,
        *,
        snapshot_s: float = SNAPSHOT_S,
        hold_s: float = 1.0,
        keep_journals: bool = False,
    ) -> None:
        self.name = name
        self.game = game or Counter()
        self.store: MemoryStore = world.store()
        self.incarnation = new_incarnation(name)
        self.metrics = Metrics()
        self.evidence = EvidenceFolder(folder / name)
        self.journal = JournalWriter(self.store.journals, self.incarnation)
        self.tenure = Tenure(self.store, self.member, self.incarnation)
        self.snapshots = Snapshots(self.store, self.incarnation, snapshot_s)
        self.housekeeping = Housekeeping(
            self.store, self.tenure, self.journal, self.snapshots, keep_journals=keep_journals
        )
        self.registry = Registry(self.store, self.tenure, Tickets(bytes(32)), 1.0, lambda room: room in self.rooms)
        self.held = HeldSeats()
        self.datagrams = FakeDatagrams(self.metrics)
        services = Services(
            right=self.tenure,
            journal=self.journal,
            snapshots=self.snapshots,
            housekeeping=self.housekeeping,
            datagrams=self.datagrams,
            metrics=self.metrics,
            evidence=self.evidence,
            held=self.held,
            stopped=self.stopped,
            left=self.registry.left,
            deliver=lambda game, room, results: None,
        )
        self.host = Host(self.game, RowStage, services, spec="counter", phases=2, hold_s=hold_s)
        self.recovery = Recovery(
            self.store,
            self.incarnation,
            self.snapshots,
            self.housekeeping,
            self.registry,
            {self.game.name: self.host},
            self.evidence,
            self.metrics,
        )
        self.rescuer = Rescuer(self.store, self.tenure, self.housekeeping, self.recovery)

    def member(self, counter: int) -> Member:
        """What its lease tells."""
        return Member(incarnation=self.incarnation, node=self.name, host="", port=1, counter=counter)

    def stopped(self, entry: RoomEntry, target: str, snapshot: Snapshot) -> None:
        """Who rescues gives nothing away."""

    @property
    def rooms(self) -> Mapping[str, Room]:
        return self.host.rooms.by_id

    @property
    def hashes(self) -> dict[str, int]:
        return {room.id: room.stage.batch.hash_of(room.id) for room in self.rooms.values()}

    @property
    def ticks(self) -> dict[str, int]:
        return {room.id: room.stage.batch.tick_of(room.id) for room in self.rooms.values()}

    def tick(self, count: int = 1) -> None:
        """All rooms here, so many times."""
        for _ in range(count):
            for phase in self.host.rooms.phases:
                if stages := [stage for stage in phase if len(stage.batch)]:
                    self.host._tick(stages)
