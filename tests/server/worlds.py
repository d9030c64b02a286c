"""Whole nodes on the memory engine, with real sockets and clients, in the test's own process and on its clock.

The clock is an ordinary one until a test lets it jump: then it does whenever everybody has been idle for IDLE_S of real
time, so that what is under way in a socket arrives first. Half a minute without a store passes in seconds. A log-in is
done in a thread, which such a clock does not wait for, so players come before.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from cluster.memory import MemoryStore, MemoryWorld
from server.keys import Keys
from server.node import NodeFenced, PlayedGame, Running, run_node
from server.settings import Settings
from tests.server.games import Counter
from tests.server.helpers import HOST

IDLE_S = 0.001


def ordinary_clock() -> MockClock:
    """A clock for whole nodes, to be made by a fixture."""
    return MockClock(rate=1.0)


def let_jump(clock: MockClock) -> None:
    """From now on."""
    clock.autojump_threshold = IDLE_S


@attrs.define(eq=False)
class Life:
    """One life of a node."""

    name: str
    store: MemoryStore
    running: Running
    stop: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)
    fenced: bool = False
    """Whether it has ended because others had taken it for dead."""

    @property
    def address(self) -> str:
        """Where clients come in."""
        return f"{HOST}:{self.running.address.port}"

    @property
    def incarnation(self) -> str:
        """Which life of the node it is."""
        return self.running.tenure.incarnation


class Nodes:
    """Nodes on one world. They share a data folder for accounts and keys."""

    def __init__(self, world: MemoryWorld, data: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self._data, self._nursery = world, data, nursery
        self._stores: dict[str, MemoryStore] = {}
        self._lives: list[Life] = []
        monkeypatch.setattr("server.node.open_store", self._open_store)

    async def start(self, name: str, *, direct: bool = True, keep_journals: bool = True) -> Life:
        """A node that has started; with `direct` off it awaits its appends."""
        self._stores[name] = self.world.store(direct=direct)
        settings = Settings(
            host=HOST, port=0, data=self._data, node=name, snapshot_s=0.5, phases=1, keep_journals=keep_journals
        )
        life: Life = await self._nursery.start(self._live, settings)
        self._lives.append(life)
        return life

    async def end(self) -> None:
        """Stop them all at once."""
        for life in self._lives:
            life.running.end_with_all()
            life.stop.set()
        for life in self._lives:
            await life.ended.wait()

    async def _live(self, settings: Settings, task_status: trio.TaskStatus[Life]) -> None:
        lives: list[Life] = []
        stop = trio.Event()

        def started(running: Running) -> None:
            lives.append(Life(settings.node, self._stores[settings.node], running, stop))
            task_status.started(lives[0])

        try:
            await run_node(settings, [PlayedGame(Counter({}, 20), "counter")], stop=stop, started=started)
        except NodeFenced:
            lives[0].fenced = True
        lives[0].ended.set()

    @contextlib.asynccontextmanager
    async def _open_store(self, settings: Settings, keys: Keys) -> AsyncIterator[MemoryStore]:
        yield self._stores[settings.node]
        await self._stores[settings.node].aclose()
