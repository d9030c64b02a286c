"""The supervisor: several node processes on this machine, behind one front port.

    start ─► {"started": port} ─► … ─► dies ─► the others are told at once ─► started anew, as another incarnation
                                                                                 (after 1 s, 2 s … 8 s)
    stop: every node is told that all of them end: it writes final snapshots, and the next start goes on from there

Every node is a process group of its own, so Ctrl-C reaches only us. Words go over pipes: lines of JSON to a node's
standard input ({"dead": incarnation}, {"stop": true}), and from its standard output ({"started": port}). The supervisor
holds no listener, because a listener of a process that does not accept would swallow its share of the connections, and
it never looks into the store: what it knows first (waitpid) it tells, and the nodes do the rest.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence

import attrs
import structlog
import trio

from cluster.model import new_incarnation

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 8.0
"""Before a node is started anew: starting takes a second of processor time, which its rescuers need."""
WELL_S = 3.0
"""A node that lived for so long is started anew after the first wait; else it waits longer every time."""
STOP_S = 15.0
_LINE_MAX = 1 << 16

log = structlog.get_logger("holdfast.supervisor")


@attrs.define(eq=False)
class Child:
    """One node's process."""

    node: str
    incarnation: str
    process: trio.Process
    port: int = 0
    """Its own port, once it has started."""

    async def tell(self, **words: object) -> None:
        """Write a line to its standard input; nothing when it has gone."""
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send_all(json.dumps(words).encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


class Supervisor:
    """Keeps `nodes` alive. `command(node, incarnation)` gives the arguments of a node's process."""

    def __init__(self, nodes: Sequence[str], command: Callable[[str, str], Sequence[str]]) -> None:
        self.children: dict[str, Child] = {}
        """By node; those that run now."""
        self.restarts = 0
        self._nodes = nodes
        self._command = command
        self._stopping = False
        self._changed = trio.Event()

    async def run(self, stop: trio.Event) -> None:
        """Keep the nodes alive until `stop`, then end them."""
        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                nursery.start_soon(self._keep, node)
            await stop.wait()
            self._stopping = True
            self._change()
            for child in list(self.children.values()):
                await child.tell(stop=True)
            with trio.move_on_after(STOP_S):
                while self.children:
                    await self._changed.wait()
            for child in list(self.children.values()):
                log.error("node_killed", node=child.node, reason=f"it did not end within {STOP_S:g} s")
                child.process.kill()

    async def started(self) -> dict[str, int]:
        """Wait until every node serves; their own ports."""
        while not all(node in self.children and self.children[node].port for node in self._nodes):
            await self._changed.wait()
        return {node: self.children[node].port for node in self._nodes}

    async def _keep(self, node: str) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            began = trio.current_time()
            code = await self._live(node)
            if self._is_stopping():
                return
            self.restarts += 1
            wait_s = FIRST_WAIT_S if trio.current_time() - began > WELL_S else min(wait_s * 2, LONGEST_WAIT_S)
            log.warning("node_restarts", node=node, code=code, wait_s=wait_s)
            with trio.move_on_after(wait_s):
                while not self._is_stopping():
                    await self._changed.wait()
            if self._is_stopping():
                return

    async def _live(self, node: str) -> int:
        """One life of a node, to its end; the exit code (negative: the signal)."""
        incarnation = new_incarnation(node)
        process = await trio.lowlevel.open_process(
            list(self._command(node, incarnation)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        child = self.children[node] = Child(node, incarnation, process)
        log.info("node_process", node=node, incarnation=incarnation, pid=process.pid)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, child)
                code = await process.wait()
                del self.children[node]
                self._change()
                for other in list(self.children.values()):
                    nursery.start_soon(self._tell_dead, other, incarnation)
                nursery.cancel_scope.deadline = trio.current_time() + 1.0
        finally:
            self.children.pop(node, None)
            if process.returncode is None:  # we are being cancelled
                with trio.CancelScope(shield=True):
                    process.kill()
                    await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with trio.CancelScope(shield=True):
                    await pipe.aclose()
        if code < 0:
            log.warning("node_died", node=node, incarnation=incarnation, signal=signal.Signals(-code).name)
        return code

    async def _tell_dead(self, other: Child, incarnation: str) -> None:
        await other.tell(dead=incarnation)

    async def _listen(self, child: Child) -> None:
        assert child.process.stdout is not None
        rest = b""
        async for data in child.process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                told = json.loads(line)
                child.port = told.get("started", child.port)
                self._change()
            if len(rest) > _LINE_MAX:
                raise RuntimeError(f"node {child.node} says too much on its standard output")

    def _is_stopping(self) -> bool:
        return self._stopping

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


async def words_from(fd: int, take: Callable[[dict[str, object]], None]) -> None:
    """A node's side: take the supervisor's words until it is gone."""
    stream, rest = trio.lowlevel.FdStream(os.dup(fd)), b""
    async with stream:
        while data := await stream.receive_some():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                take(json.loads(line))
