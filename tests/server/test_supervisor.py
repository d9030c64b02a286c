"""The supervisor: real processes that live, die, print and stop listening, under a clock that the test moves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.supervisor import FIRST_WAIT_S, LINE_MAX, LONGEST_WAIT_S, STOP_S, TELL_S, WELL_S, Supervisor, words_from
from tests.server import mortal

HANG_S = "30"
HOME = Path(__file__).resolve().parent.parent.parent


@attrs.frozen
class Report:
    """What a node's process has told the test."""

    node: str
    incarnation: str
    what: str


class Watched:
    """A supervisor, and what its nodes report."""

    def __init__(self, pipe: Path) -> None:
        os.mkfifo(pipe)
        self.begun: list[tuple[str, str]] = []
        """Node and incarnation of every process that it was asked for."""
        self.manner: dict[str, str] = {}
        self.stop = trio.Event()
        self.ended = trio.Event()
        self.supervisor = Supervisor([], lambda *_: [])
        self.pipe = pipe
        self._reports = trio.lowlevel.FdStream(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
        self._rest = b""
        self._heard: list[Report] = []

    async def run(self, *nodes: str) -> None:
        """Supervise, to the end."""
        self.supervisor = Supervisor(nodes, self._command)
        await self.supervisor.run(self.stop)
        self.ended.set()

    def _command(self, node: str, incarnation: str) -> list[str]:
        self.begun.append((node, incarnation))
        manner = self.manner.get(node, "plain")
        return ["/nowhere/at/all"] if manner == "absent" else mortal.command(str(self.pipe), manner, node, incarnation)

    async def hear(self, node: str, what: str) -> Report:
        """The next report of a node that begins so; those of others, and other ones of it, wait for who asks."""
        while True:
            for report in self._heard:
                if report.node == node and report.what.startswith(what):
                    self._heard.remove(report)
                    return report
            *lines, self._rest = (self._rest + await self._reports.receive_some()).split(b"\n")
            self._heard += [Report(*line.decode().split(" ", 2)) for line in lines]

    def pending(self) -> list[str]:
        """What was reported and nobody has asked for."""
        with contextlib.suppress(BlockingIOError):
            self._rest += os.read(self._reports.fileno(), 1 << 16)
        *lines, self._rest = self._rest.split(b"\n")
        self._heard += [Report(*line.decode().split(" ", 2)) for line in lines]
        return [f"{report.node} {report.what}" for report in self._heard]

    async def up(self, *nodes: str) -> None:
        """Wait until these run and have told their ports."""
        for node in nodes:
            await self.hear(node, "up")
        await self.supervisor.started()

    def kill(self, node: str, how: signal.Signals = signal.SIGKILL) -> str:
        """Send a node's process a signal; its incarnation."""
        child = self.supervisor.children[node]
        os.kill(child.process.pid, how)
        return child.incarnation

    def deafen(self, node: str) -> None:
        """Stop a node's process, and fill the pipe of its standard input."""
        self.kill(node, signal.SIGSTOP)
        os.waitid(os.P_PID, self.supervisor.children[node].process.pid, os.WSTOPPED)  # microseconds
        stdin = self.supervisor.children[node].process.stdin
        assert isinstance(stdin, trio.lowlevel.FdStream)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(stdin.fileno(), b"\n" * 4096)

    async def aclose(self) -> None:
        await self._reports.aclose()


@contextlib.asynccontextmanager
async def at_most() -> AsyncIterator[None]:
    """A body that takes longer, on a clock that nobody stops, has failed."""

    async def guard() -> None:
        await trio.run_process(["sleep", HANG_S])
        raise AssertionError(f"nothing happened for {HANG_S} s")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guard)
        yield
        nursery.cancel_scope.cancel()


@pytest.fixture
async def watched(tmp_path: Path, mock_clock: MockClock) -> AsyncIterator[Watched]:
    async with at_most(), trio.open_nursery() as nursery:
        found = Watched(tmp_path / "reports")
        yield found
        nursery.cancel_scope.cancel()
        await found.aclose()


@pytest.fixture
def clock(mock_clock: MockClock) -> MockClock:
    """Stands still until it is told to jump."""
    return mock_clock


def gone(pid: int) -> bool:
    """Whether there is no such process, not even one that waits to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_every_node_is_a_process_and_an_incarnation_of_its_own(watched: Watched, nursery: trio.Nursery) -> None:
    nursery.start_soon(watched.run, "n1", "n2")
    assert await watched.supervisor.started() == {}  # of a supervisor without nodes
    ups = [await watched.hear(node, "up") for node in ("n1", "n2")]
    assert await watched.supervisor.started() == {"n1": mortal.PORT + 1, "n2": mortal.PORT + 2}
    assert sorted((report.node, report.incarnation) for report in ups) == sorted(watched.begun)
    assert len({incarnation for _, incarnation in watched.begun}) == 2
    for report in ups:
        pid = int(report.what.split()[1])
        assert report.incarnation.startswith(f"{report.node}.")
        assert os.getpgid(pid) == os.getsid(pid) == pid, "a process group, and a session, of its own"
    watched.stop.set()
    await watched.ended.wait()


async def test_a_death_is_told_to_all_others_at_once(watched: Watched, nursery: trio.Nursery, clock: MockClock) -> None:
    nursery.start_soon(watched.run, "n1", "n2", "n3")
    await watched.up("n1", "n2", "n3")
    dead = watched.kill("n2")
    for node in ("n1", "n3"):
        assert (await watched.hear(node, "told")).what == f'told {{"dead": "{dead}"}}'
    assert "n2" not in watched.supervisor.children
    assert clock.current_time() == 0.0
    watched.stop.set()
    await watched.ended.wait()


async def test_two_deaths_at_once_are_both_told(watched: Watched, nursery: trio.Nursery) -> None:
    nursery.start_soon(watched.run, "n1", "n2", "n3")
    await watched.up("n1", "n2", "n3")
    dead = {watched.kill("n1"), watched.kill("n2")}
    told = {(await watched.hear("n3", "told")).what for _ in range(2)}
    assert told == {f'told {{"dead": "{incarnation}"}}' for incarnation in dead}
    watched.stop.set()
    await watched.ended.wait()


async def test_the_dead_live_again_as_others_after_a_wait_that_grows(
    watched: Watched, nursery: trio.Nursery, clock: MockClock
) -> None:
    nursery.start_soon(watched.run, "n1", "n2")
    await watched.up("n1", "n2")
    for wait_s in (1.0, 2.0, 4.0, 8.0, 8.0):
        assert FIRST_WAIT_S <= wait_s <= LONGEST_WAIT_S
        before = len(watched.begun)
        dead = watched.kill("n1")
        await watched.hear("n2", "told")
        await wait_all_tasks_blocked()
        clock.jump(wait_s - 0.01)
        await wait_all_tasks_blocked()
        assert len(watched.begun) == before, f"not before {wait_s} s"
        clock.jump(0.02)
        assert (await watched.hear("n1", "up")).incarnation == watched.begun[-1][1] != dead
        assert len(watched.begun) == before + 1
    clock.jump(WELL_S + 0.1)  # it lives well
    watched.kill("n1")
    await watched.hear("n2", "told")
    await wait_all_tasks_blocked()
    clock.jump(FIRST_WAIT_S + 0.01)
    await watched.hear("n1", "up")
    assert watched.supervisor.restarts == 6
    assert len(set(watched.begun)) == len(watched.begun), "no incarnation lives twice"
    watched.stop.set()
    await watched.ended.wait()


async def test_a_node_that_was_fenced_is_started_anew_as_another(
    watched: Watched, nursery: trio.Nursery, clock: MockClock
) -> None:
    nursery.start_soon(watched.run, "n1", "n2")
    await watched.up("n1", "n2")
    fenced = watched.kill("n1", signal.SIGUSR1)  # it ends with exit code 75
    assert (await watched.hear("n2", "told")).what == f'told {{"dead": "{fenced}"}}'
    await wait_all_tasks_blocked()
    clock.jump(FIRST_WAIT_S + 0.01)
    assert (await watched.hear("n1", "up")).incarnation != fenced
    watched.stop.set()
    await watched.ended.wait()


async def test_when_no_node_can_serve_there_is_nothing_to_look_after(watched: Watched, nursery: trio.Nursery) -> None:
    watched.manner = {"n1": "refused", "n2": "refused"}
    nursery.start_soon(watched.run, "n1", "n2")
    await watched.ended.wait()
    assert watched.supervisor.refused == {"n1", "n2"}


async def test_a_node_that_cannot_serve_beside_others_that_do_is_tried_again(
    watched: Watched, nursery: trio.Nursery, clock: MockClock
) -> None:
    watched.manner = {"n1": "refused"}
    nursery.start_soon(watched.run, "n1", "n2")
    await watched.hear("n2", "up")
    await watched.hear("n1", "refused")
    while not watched.supervisor.restarts:
        await trio.lowlevel.checkpoint()
    del watched.manner["n1"]
    await wait_all_tasks_blocked()
    clock.jump(FIRST_WAIT_S + 0.01)
    await watched.up("n1")
    watched.stop.set()
    await watched.ended.wait()
    assert watched.supervisor.refused == set()


async def test_stop_reaches_all_and_nobody_is_started_anew(watched: Watched, nursery: trio.Nursery) -> None:
    nursery.start_soon(watched.run, "n1", "n2", "n3")
    await watched.up("n1", "n2", "n3")
    watched.kill("n3")
    await watched.hear("n1", "told")
    await wait_all_tasks_blocked()
    watched.stop.set()  # while n3 waits to be started
    for node in ("n1", "n2"):
        assert (await watched.hear(node, 'told {"stop"')).what == 'told {"stop": true}'
        await watched.hear(node, "ended")
    await watched.ended.wait()
    assert len(watched.begun) == 3
    assert watched.supervisor.children == {}


async def test_stop_reaches_who_is_just_being_started(watched: Watched, nursery: trio.Nursery) -> None:
    nursery.start_soon(watched.run, "n1", "n2")
    while not watched.begun:
        await trio.lowlevel.checkpoint()
    assert watched.supervisor.children == {}
    watched.stop.set()
    await watched.ended.wait()
    for node in {node for node, _ in watched.begun}:
        await watched.hear(node, "ended")


async def test_who_does_not_end_is_killed(watched: Watched, nursery: trio.Nursery, clock: MockClock) -> None:
    watched.manner["n2"] = "stubborn"
    nursery.start_soon(watched.run, "n1", "n2")
    await watched.up("n1", "n2")
    pid = watched.supervisor.children["n2"].process.pid
    watched.stop.set()
    await watched.hear("n1", "ended")
    await watched.hear("n2", "told")
    await wait_all_tasks_blocked()
    clock.jump(STOP_S - 0.1)
    await wait_all_tasks_blocked()
    assert not gone(pid)
    clock.jump(0.2)
    await watched.ended.wait()
    assert gone(pid)


async def test_who_hears_nothing_keeps_no_word_from_the_others(
    watched: Watched, nursery: trio.Nursery, clock: MockClock
) -> None:
    nursery.start_soon(watched.run, "n1", "n2", "n3", "n4")
    await watched.up("n1", "n2", "n3", "n4")
    deaf = watched.supervisor.children["n1"].process.pid
    watched.deafen("n1")
    for node in ("n2", "n3"):
        dead = watched.kill(node)
        assert dead in (await watched.hear("n4", "told")).what
    await wait_all_tasks_blocked()
    clock.jump(TELL_S + 0.01)  # it is not told, so much for it
    await wait_all_tasks_blocked()
    clock.jump(FIRST_WAIT_S + 0.01)
    await watched.up("n2", "n3")
    watched.stop.set()
    for node in ("n2", "n3", "n4"):
        await watched.hear(node, "ended")
    await wait_all_tasks_blocked()
    clock.jump(TELL_S + 0.01)
    await wait_all_tasks_blocked()
    clock.jump(STOP_S + 0.01)
    await watched.ended.wait()
    assert gone(deaf)


async def test_what_a_node_prints_ends_nobody(watched: Watched, nursery: trio.Nursery) -> None:
    watched.manner["n1"] = "loud"
    assert LINE_MAX < 1_000_000
    nursery.start_soon(watched.run, "n1", "n2")
    await watched.up("n1", "n2")
    assert (await watched.supervisor.started())["n1"] == mortal.PORT + 1, "the word of ours between the others counts"
    watched.stop.set()
    for node in ("n1", "n2"):
        await watched.hear(node, "ended")
    await watched.ended.wait()
    assert watched.supervisor.restarts == 0


async def test_a_program_that_is_not_there_and_a_signal_without_a_name_end_nobody(
    watched: Watched, nursery: trio.Nursery, clock: MockClock
) -> None:
    watched.manner["n1"] = "absent"
    nursery.start_soon(watched.run, "n1", "n2")
    await watched.hear("n2", "up")
    os.kill(watched.supervisor.children["n2"].process.pid, signal.SIGRTMIN + 3)
    while watched.supervisor.restarts < 2:
        await trio.lowlevel.checkpoint()
    watched.manner.clear()
    await wait_all_tasks_blocked()
    clock.jump(FIRST_WAIT_S + 0.01)
    await watched.up("n1", "n2")
    watched.stop.set()
    await watched.ended.wait()


async def test_cancelled_it_leaves_no_process(watched: Watched) -> None:
    watched.manner["n2"] = "stubborn"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run, "n1", "n2", "n3")
        await watched.up("n1", "n2", "n3")
        watched.deafen("n3")
        pids = [child.process.pid for child in watched.supervisor.children.values()]
        nursery.cancel_scope.cancel()
    assert len(pids) == 3
    assert all(gone(pid) for pid in pids)


async def test_ctrl_c_reaches_the_supervisor_alone(watched: Watched) -> None:
    path = os.pathsep.join([str(HOME), *filter(None, sys.path)])
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.server.mortal", "supervise", str(watched.pipe), "n1", "n2"],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for node in ("n1", "n2"):
            await watched.hear(node, "up")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        for node in ("n1", "n2"):
            await watched.hear(node, 'told {"stop": true}')
            await watched.hear(node, "ended")
        assert await process.wait() == 0
        assert watched.pending() == []
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(end)


async def test_a_node_takes_words_as_they_come_until_its_supervisor_is_gone(
    pipe: tuple[int, int], nursery: trio.Nursery
) -> None:
    reading, writing = pipe
    taken: list[dict[str, object]] = []
    done = trio.Event()

    async def hear() -> None:
        await words_from(reading, taken.append)
        done.set()

    nursery.start_soon(hear)
    os.write(writing, b'{"dead": "n1.1"}\n{"st')
    await wait_all_tasks_blocked()
    assert taken == [{"dead": "n1.1"}]
    os.write(writing, b'op": true}\n')
    os.close(writing)
    await done.wait()
    assert taken == [{"dead": "n1.1"}, {"stop": True}]
