"""Several node processes behind one port, real clients, real signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio

from bots.run import Lines
from cluster.model import Member
from cluster.sqlite import SqliteStore
from netcode.client import Client, SeatedRoom, connect
from netcode.frame import Frame

HANG_S = 60.0
HOME = Path(__file__).resolve().parent.parent.parent


@attrs.define
class Cluster:
    """A supervisor and its nodes."""

    process: subprocess.Popen[bytes]
    data: Path
    port: int

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def owner(self, room: str) -> Member:
        """The node that runs a room."""
        async with SqliteStore.open(self.data / "cluster") as store:
            while True:
                entry = await store.rooms.get(room)
                for member in await store.journals.members():
                    if entry is not None and member.incarnation == entry.owner and not entry.target:
                        return member
                await trio.sleep(0.02)


@contextlib.asynccontextmanager
async def cluster(data: Path, nodes: int = 2) -> AsyncIterator[Cluster]:
    command = [sys.executable, "-m", "holdfast", "serve", "--port", "0", "--data", str(data), "--log-format", "json"]
    if nodes > 1:
        command += ["--nodes", str(nodes)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), *filter(None, sys.path)])}
    process = subprocess.Popen(  # noqa: ASYNC220 - a few ms
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environ
    )
    wanted = "nodes_started" if nodes > 1 else "node_started"
    try:
        with trio.fail_after(HANG_S):
            async with trio.open_nursery() as nursery:
                assert process.stderr is not None
                log = Lines(trio.lowlevel.FdStream(os.dup(process.stderr.fileno())))
                port = 0
                async for line in log:
                    with contextlib.suppress(ValueError):
                        told = json.loads(line)
                        if told["event"] == wanted:
                            port = told["port"]
                            break
                nursery.start_soon(drain, log)
                yield Cluster(process, data, port)
                nursery.cancel_scope.cancel()
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(process.wait)
        assert process.stderr is not None
        process.stderr.close()


async def drain(log: Lines) -> None:
    async for _ in log:
        pass


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


@pytest.mark.parametrize(("how", "pauses"), [(signal.SIGKILL, 1), (signal.SIGTERM, 0), (signal.SIGSTOP, 1)])
async def test_the_same_client_plays_on_when_its_node_goes(tmp_path: Path, how: signal.Signals, pauses: int) -> None:
    async with cluster(tmp_path) as nodes, connect(nodes.server, name="Ann") as client:
        room = await client.join("arena")
        played = Played(client, room)
        await played.until(1)
        victim = await nodes.owner(room.info.room)
        os.kill(victim.pid, how)
        await played.until(2)
        assert client.room is room
        assert played.pauses == ["paused", "resumed"] * pauses
        await played.books_are_exact()


async def test_an_operator_drains_a_node(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes, connect(nodes.server, name="Ann") as client:
        room = await client.join("arena")
        played = Played(client, room)
        await played.until(1)
        owner = await nodes.owner(room.info.room)
        command = [sys.executable, "-m", "holdfast", "admin", "drain", owner.node, "--data", str(tmp_path)]
        told = await trio.run_process(command, capture_stdout=True, capture_stderr=True, cwd=HOME)
        assert told.stdout.decode() == f"{owner.node} has given its rooms away\n"
        await played.until(2)
        assert played.pauses == []
        await played.books_are_exact()
        command[5] = "nobody"
        refused = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, cwd=HOME)
        assert refused.returncode == 2
        assert b"no node 'nobody' runs on" in refused.stderr


async def test_players_meet_whichever_node_they_come_by(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as nodes, contextlib.AsyncExitStack() as stack:
        rooms = set()
        for number in range(4):
            if number:
                await trio.sleep(1.2)  # as long as nodes take to hear of each other's rooms
            client = await stack.enter_async_context(connect(nodes.server))
            room: SeatedRoom = await client.join("arena")
            await room.next_frame()
            rooms.add(room.info.room)
        assert len(rooms) == 1


async def test_a_single_server_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as first, connect(first.server, name="Ann") as client:
        room = await client.join("arena")
        played = Played(client, room)
        await played.until(1)
        saved, tick = client.saved(), played.frames[-1][1]
        first.process.kill()
        first.process.wait()
        async with cluster(tmp_path, 1) as second:
            again = attrs.evolve(saved, server=second.server)
            async with connect(resume=again) as back:
                resumed = await back.resumed_room()
                assert isinstance(resumed, SeatedRoom)
                frame = await resumed.next_frame()
                assert (resumed.info.room, resumed.info.seat) == (room.info.room, room.info.seat)
                assert (frame.epoch, frame.tick > tick) == (2, True)
