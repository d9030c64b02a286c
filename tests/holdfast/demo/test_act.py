"""Killing a node: the right one, only while it lives, and never the last."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cluster.memory import MemoryStore, MemoryWorld
from cluster.model import Member
from holdfast.demo.act import Cluster, choose
from holdfast.demo.kills import Kills
from holdfast.demo.picture import Picture, Room
from tests.cluster.helpers import entry, member

A, B, C = (member(node) for node in ("node-1", "node-2", "node-3"))
ROOMS = {
    A.incarnation: [entry("aa", A.incarnation)],
    B.incarnation: [entry("bb", B.incarnation), entry("cc", B.incarnation)],
    C.incarnation: [],
}


@pytest.mark.parametrize(
    ("players", "name", "expected"),
    [
        ({"aa": 5, "bb": 1, "cc": 1}, "", "node-1"),
        ({"aa": 2, "bb": 1, "cc": 2}, "", "node-2"),
        ({}, "", "node-2"),  # no players: the one with most rooms
        ({"aa": 5}, "node-3", "node-3"),
    ],
)
def test_the_node_with_most_players_or_the_one_that_is_named(players: dict[str, int], name: str, expected: str) -> None:
    chosen = choose([A, B, C], ROOMS, players, name)
    assert isinstance(chosen, Member)
    assert chosen.node == expected


def test_who_is_not_there_and_who_is_the_last_are_not_killed() -> None:
    assert choose([A, C], ROOMS, {}, "node-2") == "node-2 is not alive just now"
    last = choose([A], ROOMS, {}, "")
    assert isinstance(last, str)
    assert last.startswith("the last node alive is spared")


class Machine:
    """Nodes that are real processes, which do nothing, and a store that has them as members."""

    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.cluster = Cluster(Picture(), Kills())
        self.cluster.store = self.world.store()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.stores: dict[str, MemoryStore] = {}

    async def starts(self, node: str, *rooms: str) -> None:
        waits = [sys.executable, "-c", "input()"]
        process = self.processes[node] = subprocess.Popen(waits, stdin=subprocess.PIPE)  # noqa: ASYNC220
        store = self.stores[node] = self.world.store()
        its = member(node, pid=process.pid)
        await store.journals.open(its)
        for room in rooms:
            await store.rooms.create(entry(room, its.incarnation, epoch=3))
            self.cluster.picture.rooms[room] = Room(room, node, its.incarnation, 3, players=5)
        self.cluster.picture.heard(
            {"event": "node_process", "node": node, "incarnation": its.incarnation, "pid": process.pid}, 0.0
        )

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.end()


async def test_a_kill_is_sigkill_to_the_nodes_process_alone(machine: Machine) -> None:
    await machine.starts("node-1", "aa")
    await machine.starts("node-2", "bb", "cc")
    kill = await machine.cluster.kill()
    assert kill is not None
    assert (kill.fault.node, kill.epochs) == ("node-2", {"bb": 3, "cc": 3})
    assert machine.processes["node-2"].wait(10) == -signal.SIGKILL
    assert machine.processes["node-1"].poll() is None
    assert machine.cluster.picture.nodes["node-2"].state == "killed"
    assert machine.cluster.kills.all == [kill]


async def test_who_has_ended_is_never_hit_whatever_has_its_pid_now(machine: Machine) -> None:
    await machine.starts("node-1", "aa")
    await machine.starts("node-2", "bb")
    await machine.starts("node-3", "cc")
    await machine.stores["node-2"].aclose()  # its process has let go of it
    assert await machine.cluster.kill("node-2") is None
    assert machine.cluster.picture.note == "node-2 is not alive just now"
    assert machine.processes["node-2"].poll() is None
    assert machine.cluster.kills.all == []


async def test_one_life_is_killed_once(machine: Machine) -> None:
    await machine.starts("node-1", "aa")
    await machine.starts("node-2", "bb")
    await machine.starts("node-3")
    assert await machine.cluster.kill("node-2") is not None
    assert await machine.cluster.kill("node-2") is None  # its store does not know yet that it has ended
    assert len(machine.cluster.kills.all) == 1


async def test_before_the_nodes_are_there_nothing_is_killed() -> None:
    cluster = Cluster(Picture(), Kills())
    assert await cluster.kill() is None
    assert cluster.picture.note == "not yet: the nodes are starting"
