"""All rules of takeover together: nodes that die, leave and lose their store on a schedule drawn from a seed.

Whatever happens, at the end every room ticks on one node, its history is one line without a gap or a tick made twice,
its state is that of all of its ticks, and nobody was quarantined. `holdfast chaos` does the same with processes.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from cluster.errors import ClusterError
from cluster.memory import MemoryWorld
from server import housekeeping, recovery
from server.rooms import Room
from tests.effort import LONG
from tests.server.cluster_ends import Node, history, is_one_line
from tests.server.games import Counter

SEEDS = range(40 if LONG else 2)
EVENTS = 12
ROOMS = 4
QUIET_S = 40.0
"""At the end: for drains and rescues under way, and the longest wait of those that try again."""
OPERATIONS = (
    "rooms.*",
    "snapshots.*",
    "journals.*",
    "journals.append",
    "rooms.replace",
    "snapshots.put",
    "rooms.claim",
)


class Story:
    """Three nodes, and what happens to them."""

    def __init__(self, seed: int, world: MemoryWorld, folder: Path, nursery: trio.Nursery) -> None:
        self.random = random.Random(seed)
        self.world = world
        self.nodes: list[Node] = []
        """All that ever were."""
        self.rooms: list[Room] = []
        self.told: list[str] = []
        """What has happened, for who reads a failure."""
        self._folder = folder
        self._nursery = nursery

    @property
    def living(self) -> list[Node]:
        return [node for node in self.nodes if not node.store.closed]

    @property
    def staying(self) -> list[Node]:
        return [node for node in self.living if not node.tenure.draining]

    async def live(self, name: str) -> None:
        """Lives of a node, one after the other, as its supervisor has it."""
        while True:
            node = Node(self.world, self._folder, name, Counter(None, 10))
            self.nodes.append(node)
            try:
                await node.run()
            except* ClusterError as error:  # it is fenced, or finds no store to begin with
                self.told.append(f"{trio.current_time():.2f} {name} ends: {error.exceptions}")
            await node.kill()
            for other in self.living:
                other.tenure.died(node.incarnation)
                other.rescuer.call()
            await trio.sleep(1.0)

    async def begin(self) -> None:
        for name in "abc":
            self._nursery.start_soon(self.live, name)
        await trio.sleep(1.0)
        for node in self.nodes:
            self.rooms += [await node.open() for _ in range(ROOMS // 3 + 1)]

    async def happen(self) -> None:
        """One thing."""
        things: list[Callable[[Node], Awaitable[None]]] = [self.away, self.all_away, self.fault]
        nodes = self.living
        if len(self.staying) > 1 and self.random.random() < 0.6:
            things, nodes = [self.death, self.leave], self.staying
        thing, node = self.random.choice(things), self.random.choice(nodes)
        self.told.append(f"{trio.current_time():.2f} {thing.__name__} {node.name}")
        self._nursery.start_soon(thing, node)

    async def death(self, node: Node) -> None:
        """As with SIGKILL."""
        await node.kill()

    async def leave(self, node: Node) -> None:
        """As with SIGTERM."""
        await node.handoffs.drain()
        await node.kill()

    async def away(self, node: Node) -> None:
        """Its store is away for a while."""
        node.store.faults.away()
        await trio.sleep(self.random.uniform(0.2, 4.0))
        node.store.faults.back()

    async def all_away(self, _: Node) -> None:
        """Everybody's is."""
        self.world.faults.away()
        await trio.sleep(self.random.uniform(0.2, 4.0))
        self.world.faults.back()

    async def fault(self, node: Node) -> None:
        """Some operations of its store fail, or take long."""
        faults, times, operation = node.store.faults, self.random.randint(1, 5), self.random.choice(OPERATIONS)
        match self.random.randrange(4):
            case 0:
                faults.busy(operation, times)
            case 1:
                faults.lost(operation, times)
            case 2:
                faults.unknown(operation, times)
            case 3:
                faults.delay(operation, self.random.uniform(0.1, 3.0), times)
        self.told[-1] += f": {faults.rules[-1].fault.value} {operation} {times} times"
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_every_room_goes_on(
    seed: int, tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "CLEAN_EVERY_S", 0.5)  # whatever may be cut is cut
    monkeypatch.setattr(housekeeping, "REMOVE_AFTER_S", 4.0)
    monkeypatch.setattr(recovery, "APART_FROM", 1000)  # no processes: the clock jumps
    monkeypatch.setattr(recovery, "WAVES_FROM", 1000)
    async with trio.open_nursery() as nursery:
        story = Story(seed, MemoryWorld(), tmp_path, nursery)
        await story.begin()
        for _ in range(EVENTS):
            await trio.sleep(story.random.uniform(0.1, 4.0))
            await story.happen()
        await trio.sleep(QUIET_S)
        print("\n".join([f"seed {seed}", *story.told]))
        check(story)
        nursery.cancel_scope.cancel()


def check(story: Story) -> None:
    assert [node.metrics.rooms_quarantined for node in story.nodes] == [0] * len(story.nodes)
    assert set(story.world.rooms) == {room.id for room in story.rooms}
    for room in story.rooms:
        ticks = history(story.nodes, room.id)
        assert ticks[0].tick == 1
        assert is_one_line(ticks), [pair for pair in pairwise(ticks) if pair[1].tick != pair[0].tick + 1]
        (owner,) = [node for node in story.living if room.id in node.rooms]
        found = owner.rooms[room.id]
        assert found.entry == story.world.rooms[room.id]
        batch = found.stage.batch
        assert batch.rows.steps[batch.row[room.id]] == batch.tick_of(room.id)
        assert [seat for seat in batch.rows.seated[batch.row[room.id]].tolist() if seat] != []
        assert found.ticked > 0
