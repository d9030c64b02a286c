"""Several nodes in one process, on one store in memory: all of a node but its sockets, on a clock that jumps.

`Node.kill` is SIGKILL: nothing of it runs any more, and its handle of the store is closed. What really happened is in
the journals: `history` reads all records that ever were, also those that have been cut since.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from cluster.codec import decode_record, decode_snapshot
from cluster.memory import MemoryWorld
from cluster.model import Member, SessionRecord
from game.api import RowGame
from game.rows import CONNECTED, HELD
from netcode.seal import Suite
from netcode.server_end import SLOT_BITS, Channel, ServerEnd
from netcode.session import Session
from server.handoff import HandOffs
from server.lobby import Lobby
from server.rooms import Room
from tests.server.helpers import FakeLink
from tests.server.left_behind import Survivor

HOLD_S = 1000.0
LONG_S = 60.0
STEP_S = 0.005
SLOW_HZ = 10
"""Of rooms that are cheap to watch for minutes."""


class Records(dict[int, bytes]):
    """The records of a journal, and those that have been deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: dict[int, bytes] = {}

    def __setitem__(self, position: int, data: bytes) -> None:
        super().__setitem__(position, data)
        self.ever[position] = data


class Node(Survivor):
    """A node that does everything. Seats are held for so long that rooms stay."""

    def __init__(
        self,
        world: MemoryWorld,
        folder: Path,
        name: str,
        game: RowGame | None = None,
        *,
        snapshot_s: float = 1.0,
        keep_journals: bool = False,
    ) -> None:
        super().__init__(world, folder, name, game, snapshot_s=snapshot_s, hold_s=HOLD_S, keep_journals=keep_journals)
        self.world = world
        self.records = Records()
        self.when_stopped: Callable[[], object] = lambda: None
        """Called when a room has made its last tick here, before it is given."""
        self.lobby = Lobby(
            {self.game.name: self.host},
            registry=self.registry,
            tenure=self.tenure,
            housekeeping=self.housekeeping,
            held=self.held,
            rooms_max=100,
        )
        self.handoffs = HandOffs(
            self.store,
            self.tenure,
            self.lobby,
            self.registry,
            self.snapshots,
            self.housekeeping,
            self.recovery.under_way,
        )
        self.ticking = trio.CancelScope()
        self.scope = trio.CancelScope()
        self._sessions = 0

    def member(self, counter: int) -> Member:
        """What its lease tells."""
        draining, rooms = self.tenure.draining, len(self.rooms)
        return attrs.evolve(super().member(counter), host=self.name, draining=draining, rooms=rooms)

    def stopped(self, *given: Any) -> None:
        """A room has made its last tick here."""
        self.when_stopped()
        self.handoffs.stopped(*given)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live, until it is killed."""
        await self.tenure.start()
        self.world.journals[self.incarnation].records = self.records
        with self.scope:
            async with trio.open_nursery() as nursery:
                for task in (
                    self.tenure.run,
                    self.journal.run,
                    self.evidence.run,
                    self.snapshots.run,
                    partial(self.housekeeping.run, lambda: list(self.rooms.values())),
                    self.rescuer.run,
                    self.handoffs.run,
                    self._tick,
                ):
                    nursery.start_soon(task)
                task_status.started()

    async def _tick(self) -> None:
        with self.ticking:
            await self.host.run()

    async def kill(self) -> None:
        """It is no more, from one moment to the next."""
        self.scope.cancel()
        await self.store.aclose()

    async def open(self, players: int = 1, **options: int) -> Room:
        """A new room, and players who sit in it from its first tick on."""
        rooms = self.host.rooms
        entry = rooms.draft(options, private=False, account="", owner=self.incarnation, first=self.housekeeping.next)
        await self.housekeeping.enter(entry)
        room = rooms.open(entry)
        for _ in range(players):
            self.join(room)
        return room

    def session(self) -> Session:
        """A player who has logged in here."""
        self._sessions += 1
        name = f"{self.name}{self._sessions}"
        end = ServerEnd(self._sessions << SLOT_BITS, bytes(32), bytes(32), bytes(32), Suite.AES_256_GCM)
        session = Session(name, name, "", b"", end, 0.0, 0.0, FakeLink())
        self.datagrams.ends.open(end, session)
        end.channel = Channel.CONTROL
        session.record = SessionRecord(session=name, account=name, name="", secret_hash=b"")
        return session

    def join(self, room: Room) -> FakeLink:
        """A player asks for a seat; what it is told."""
        session = self.session()
        self.host.seating.join(session, room, 1, f"join {session.id}")
        assert isinstance(session.link, FakeLink)
        return session.link

    @property
    def positions(self) -> list[int]:
        """The records that its journal still has."""
        return sorted(self.records)


@contextlib.asynccontextmanager
async def living(*nodes: Node) -> AsyncIterator[None]:
    """Nodes that know of each other."""
    async with trio.open_nursery() as nursery:
        with trio.fail_after(1000.0):  # not around the end, which may wait for a thread while the clock jumps
            for node in nodes:
                await nursery.start(node.run)
            await trio.sleep(1.0)
            yield
        nursery.cancel_scope.cancel()


async def until(test: Any, within_s: float = LONG_S) -> float:
    """Wait until `test()` holds; seconds that it took."""
    began = trio.current_time()
    with trio.fail_after(within_s):
        while not test():  # noqa: ASYNC110 - a step of the test's clock
            await trio.sleep(STEP_S)
    return trio.current_time() - began


@attrs.frozen(order=True)
class Ticked:
    """A tick of a room, as a journal has it."""

    epoch: int
    tick: int
    node: str
    position: int


def history(nodes: Iterable[Node], room: str) -> list[Ticked]:
    """Every tick of a room that was ever stored, by epoch."""
    found = []
    for node in nodes:
        for position, data in node.records.ever.items():
            for stage in decode_record(data, node.incarnation, position).stages:
                for name, epoch, tick in zip(stage.rooms, stage.epochs.tolist(), stage.ticks.tolist(), strict=True):
                    if name == room:
                        found.append(Ticked(epoch, tick, node.name, position))
    return sorted(found)


def is_one_line(ticks: list[Ticked]) -> bool:
    """Whether no tick was made twice, none left out and none later under a lower epoch: one owner after the other."""
    return [one.tick for one in ticks] == list(range(ticks[0].tick, ticks[0].tick + len(ticks)))


def stored(world: MemoryWorld, room: str) -> list[int]:
    """The ticks of the snapshots that the store keeps of a room."""
    return [decode_snapshot(data).tick for _, data in sorted(world.snapshots.get(room, {}).items())]


def owner(world: MemoryWorld, room: Room) -> str:
    """The node that has a room by the directory."""
    return world.rooms[room.id].owner.partition(".")[0]


def goes_on(node: Node, room: Room, *nodes: Node) -> None:
    """The room ticks at `node`, and its whole history over `nodes` is one line."""
    (found,) = node.rooms.values()
    batch = found.stage.batch
    assert found.id == room.id
    assert batch.rows.steps[batch.row[room.id]] == batch.tick_of(room.id), "its state is that of all of its ticks"
    assert found.entry == node.world.rooms[room.id], "it knows its row"
    assert found.entry.target == ""
    seats = batch.rows.seated[batch.row[room.id]]
    assert [seat for seat in seats.tolist() if seat] == [HELD if found.entry.epoch > 1 else CONNECTED]
    ticks = history(nodes, room.id)
    assert is_one_line(ticks)
    assert ticks[0].tick == 1
    assert [other.name for other in nodes if room.id in other.rooms and not other.store.closed] == [node.name]
