"""Several node processes behind one port, real clients, real signals.

One cluster for all tests: each begins when all of its nodes live, and has a player and a room of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from cluster.model import Member
from cluster.sqlite import SqliteStore
from netcode.client import Client, SeatedRoom, connect
from netcode.frame import Frame
from tests.server.processes import HOME, Server, serving, supervising

NODES = 3


@attrs.define
class Cluster:
    """A supervisor and its nodes."""

    server: Server
    data: Path
    gone: int = 0
    """Nodes that have been made to end, and come again."""

    async def whole(self) -> str:
        """Wait until all nodes live; where they are."""
        await self.server.hear("node_started", NODES + self.gone)
        return self.server.address

    async def owner(self, room: str) -> Member:
        """The node that runs a room."""
        async with SqliteStore.open(self.data / "cluster") as store:
            while True:
                entry = await store.rooms.get(room)
                for member in await store.journals.members():
                    if entry is not None and member.incarnation == entry.owner and not entry.target:
                        return member
                await trio.sleep(0.02)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with supervising(folder, folder / "data", NODES) as server:
        yield Cluster(server, folder / "data")


class Played:
    """A player who writes down what it sees."""

    def __init__(self, client: Client, room: SeatedRoom) -> None:
        self.client, self.room = client, room
        self.frames: list[tuple[int, int]] = []
        self.pauses: list[str] = []
        client.on_pause = lambda: self.pauses.append("paused")
        client.on_resume = lambda: self.pauses.append("resumed")
        room.on_frame = self._saw

    def _saw(self, frame: Frame) -> None:
        self.frames.append((frame.epoch, frame.tick))

    async def until(self, epoch: int) -> None:
        """Wait for frames of this epoch."""
        while not self.frames or self.frames[-1][0] < epoch:
            await self.room.next_frame()
        for _ in range(10):
            await self.room.next_frame()

    async def books_are_exact(self) -> None:
        self.client.sending = False
        window = self.room.play.window
        while window.acknowledged < window.newest:
            await self.room.next_frame()
        made = window.newest
        left = await self.client.leave()
        assert (left.last_seq, left.applied) == (made, made)
        ticks = [tick for _, tick in self.frames]
        assert ticks == sorted(set(ticks)), "no tick twice, and none back"


async def test_players_meet_whichever_node_they_come_by(cluster: Cluster) -> None:
    server = await cluster.whole()
    async with contextlib.AsyncExitStack() as stack:
        rooms = set()
        for number in range(4):
            if number:
                await trio.sleep(1.2)  # as long as nodes take to hear of each other's rooms
            client = await stack.enter_async_context(connect(server))
            room: SeatedRoom = await client.join("counter")
            await room.next_frame()
            rooms.add(room.info.room)
        assert len(rooms) == 1


@pytest.mark.parametrize(("how", "pauses"), [(signal.SIGKILL, 1), (signal.SIGTERM, 0), (signal.SIGSTOP, 1)])
async def test_the_same_client_plays_on_when_its_node_goes(cluster: Cluster, how: signal.Signals, pauses: int) -> None:
    async with connect(await cluster.whole(), name="Ann") as client:
        room = await client.join("counter")
        played = Played(client, room)
        await played.until(1)
        victim = await cluster.owner(room.info.room)
        cluster.gone += 1
        os.kill(victim.pid, how)
        await played.until(2)
        assert client.room is room
        assert played.pauses == ["paused", "resumed"] * pauses
        await played.books_are_exact()


async def test_an_operator_drains_a_node(cluster: Cluster) -> None:
    async with connect(await cluster.whole(), name="Ann") as client:
        room = await client.join("counter")
        played = Played(client, room)
        await played.until(1)
        owner = await cluster.owner(room.info.room)
        command = [sys.executable, "-m", "holdfast", "admin", "drain", owner.node, "--data", str(cluster.data)]
        cluster.gone += 1
        told = await trio.run_process(command, capture_stdout=True, capture_stderr=True, cwd=HOME)
        assert told.stdout.decode() == f"{owner.node} has given its rooms away\n"
        await played.until(2)
        assert played.pauses == []
        await played.books_are_exact()
        command[5] = "nobody"
        refused = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, cwd=HOME)
        assert refused.returncode == 2
        assert b"no node 'nobody' runs on" in refused.stderr


async def test_a_single_server_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    with serving(tmp_path, tmp_path / "data", "node") as (first,):
        async with connect(first.address, name="Ann") as client:
            room = await client.join("counter")
            played = Played(client, room)
            await played.until(1)
            saved, tick = client.saved(), played.frames[-1][1]
            first.kill()
            with serving(tmp_path, tmp_path / "data", "node") as (second,):
                async with connect(resume=attrs.evolve(saved, server=second.address)) as back:
                    resumed = await back.resumed_room()
                    assert isinstance(resumed, SeatedRoom)
                    frame = await resumed.next_frame()
                    assert (resumed.info.room, resumed.info.seat) == (room.info.room, room.info.seat)
                    assert (frame.epoch, frame.tick > tick) == (2, True)
