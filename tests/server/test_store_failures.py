"""A store that fails under two nodes with players: nothing is told that is not stored, nobody is taken over, sockets
stay, and all of it goes on as soon as the store is back.

Real processes, real failures: a disk that is full, writes and fsyncs that fail, files that another program has locked.
TEST_OUTAGE_S=30 makes each last as long as that. On the memory engine, with a clock that jumps, half a minute is usual.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from cluster.codec import decode_record
from cluster.lease import LEASE_TTL_S
from cluster.memory import MemoryWorld
from cluster.sqlite import SqliteStore
from tests.server import failing_syncs
from tests.server.books import player
from tests.server.disks import filled, small_disk
from tests.server.processes import Server, serving
from tests.server.worlds import Nodes, let_jump, ordinary_clock

OUTAGE_S = float(os.environ.get("TEST_OUTAGE_S", "1.5"))
BACK_S = 1.0
"""Within this all goes on."""
AWAY_S = 30.0
RECORDS_READ = 32
WAITS = ("journal_not_written", "lease_not_renewed", "store_busy")
"""What the log says of a store that fails."""


@contextlib.contextmanager
def limited(servers: list[Server], what: int, most: int) -> Iterator[None]:
    """Processes under a limit (`resource`): RLIMIT_FSIZE 0 lets no write succeed, as a quota that is used up."""
    limits = [resource.prlimit(server.process.pid, what) for server in servers]
    for server, (_, hard) in zip(servers, limits, strict=True):
        resource.prlimit(server.process.pid, what, (most, hard))
    try:
        yield
    finally:
        for server, limit in zip(servers, limits, strict=True):
            resource.prlimit(server.process.pid, what, limit)


LOCKER = """
import sqlite3, sys
held = [sqlite3.connect(path, isolation_level=None, timeout=10) for path in sys.argv[1:]]
for one in held:
    one.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def locked(files: list[Path]) -> Iterator[None]:
    """By another program, exclusively."""
    command = [sys.executable, "-c", LOCKER, *map(str, files)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        yield


async def stored_ticks(store: SqliteStore, room: str) -> set[int]:
    """The ticks of a room that the newest records of its owner's journal hold."""
    entry = await store.rooms.get(room)
    assert entry is not None
    (member,) = [member for member in await store.journals.members() if member.incarnation == entry.owner]
    first, ticks = max(1, member.tip - RECORDS_READ + 1), set()
    for position, data in enumerate(await store.journals.read(member.incarnation, first, member.tip), first):
        for stage in decode_record(data, member.incarnation, position).stages:
            ticks |= {int(tick) for name, tick in zip(stage.rooms, stage.ticks, strict=True) if name == room}
    return ticks


@attrs.frozen
class Cluster:
    """Nodes, two as a rule, and the disk that their data is on."""

    servers: list[Server]
    data: Path
    disk: Path | None
    """Where it is mounted; None: it is not one of their own."""

    async def withstands(self, trouble: contextlib.AbstractContextManager[object], words: str) -> None:
        """Have the trouble befall both, with a player on each; `words`: what the log says of it."""
        before = [len(server.log) for server in self.servers]
        counts = [len(server.said("node_suspended")) for server in self.servers]
        async with (
            SqliteStore.open(self.data / "cluster") as store,
            player(self.servers[0].address) as ann,
            player(self.servers[-1].address, own_room=True) as bob,
        ):
            with trouble:
                began = trio.current_time()
                for server, count in zip(self.servers, counts, strict=True):
                    await server.hear("node_suspended", count + 1)
                told = [each.told for each in (ann, bob)]
                while trio.current_time() - began < OUTAGE_S:
                    async with trio.open_nursery() as nursery:
                        for each in (ann, bob):
                            nursery.start_soon(each.hears, True)
                assert [each.told for each in (ann, bob)] == told, "nothing is told meanwhile"
                for each in (ann, bob):
                    assert each.seen[-1][1] in await stored_ticks(store, each.room_id), "what was told is stored"
            back = trio.current_time()
            for each in (ann, bob):
                await each.plays(1)
            assert trio.current_time() - back <= BACK_S
            for each in (ann, bob):
                await each.plays()
                assert each.has_kept_its_socket()
                assert each.pauses == ["paused", "resumed"] * (len(each.pauses) // 2), (
                    "on a busy machine more than once"
                )
                assert each.pauses
                assert {epoch for epoch, _ in each.seen} == {1}
            members = await store.journals.members()
            assert {member.incarnation for member in members} == {server.incarnation for server in self.servers}
            assert not any(member.sealed for member in members), "nobody was taken over"
            for each in (ann, bob):
                await each.settle()
        for server, begun, count in zip(self.servers, before, counts, strict=True):
            log = server.log[begun:]
            waits = [line for line in log if line.get("event") in WAITS]
            assert any(words in line["error"] for line in waits), log
            assert len(waits) < 8 + OUTAGE_S, "the log tells, and is not filled"
            assert len(server.said("node_suspended")) == len(server.said("node_goes_on")) > count


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with small_disk(folder / "disk") as disk:
        data = (disk or folder) / "data"
        with serving(folder, data, "a", "b") as servers:
            yield Cluster(servers, data, disk)


async def test_a_full_disk(cluster: Cluster) -> None:
    if cluster.disk is None:
        pytest.skip("to fill a disk it takes one of our own, and root to mount it")
    await cluster.withstands(filled(cluster.disk), "the disk is full")


async def test_writes_that_fail(cluster: Cluster) -> None:
    await cluster.withstands(limited(cluster.servers, resource.RLIMIT_FSIZE, 0), "check the disk")


async def test_files_locked_by_another_program(cluster: Cluster) -> None:
    files = sorted((cluster.data / "cluster").rglob("*.db"))
    assert len(files) == 5
    await cluster.withstands(locked(files), "locked by another program")


async def test_no_file_can_be_opened(cluster: Cluster) -> None:
    """What a node needs is open already: it plays on, knows less of the others meanwhile, and takes none for dead."""
    servers = [server.address for server in cluster.servers]
    async with player(servers[0]) as ann, player(servers[1], own_room=True) as bob:
        with limited(cluster.servers, resource.RLIMIT_NOFILE, 3):
            await ann.plays(150)  # more than a lease
            await bob.plays(1)
            assert [server.process.poll() for server in cluster.servers] == [None, None]
        for each in (ann, bob):
            await each.plays()
            assert each.has_kept_its_socket()
            await each.settle()


@pytest.mark.skipif(not failing_syncs.possible(), reason="no test can answer for this kernel (seccomp)")
async def test_syncs_that_fail(tmp_path: Path) -> None:
    syncs, data, disk = failing_syncs.FailingSyncs(tmp_path / "socket"), tmp_path / "data", ("--journal", "disk")
    with contextlib.closing(syncs), serving(tmp_path, data, "a", options=disk, before=syncs.command) as servers:
        await Cluster(servers, data, None).withstands(syncs.fail(), "check the disk")
        assert syncs.refused


# -- away for long -----------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> MockClock:
    return ordinary_clock()


async def test_a_store_that_is_away_for_half_a_minute(
    clock: MockClock, tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = MemoryWorld()
    nodes = Nodes(world, tmp_path, nursery, monkeypatch)
    lives = [await nodes.start(name) for name in ("a", "b")]
    async with player(lives[0].address) as ann:
        let_jump(clock)
        await ann.plays(20)
        world.faults.away()
        away = trio.current_time()
        await ann.hears(suspended=True)
        told = ann.told
        await trio.sleep_until(away + AWAY_S)
        assert ann.told == told, "nothing is told meanwhile"
        world.faults.back()
        back = trio.current_time()
        await ann.plays(1)
        assert trio.current_time() - back <= BACK_S
        assert ann.has_kept_its_socket()
        await trio.sleep(LEASE_TTL_S * 2)
        assert not any(journal.member.sealed for journal in world.journals.values()), "nobody was taken over"
        await ann.plays()
        assert {epoch for epoch, _ in ann.seen} == {1}
        assert ann.pauses == ["paused", "resumed"]
        await ann.settle()
    await nodes.end()
