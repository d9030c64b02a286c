"""The supervisor: several node processes on this machine, behind one front port.

    start ─► {"started": port} ─► … ─► dies ─► the others are told at once ─► started anew, as another incarnation
                                                                                 (after 1 s, 2 s … 8 s)
    stop: every node is told that all of them end: it writes final snapshots, and the next start goes on from there

Every node is a process group of its own, so Ctrl-C reaches only us. Words go over pipes: lines of JSON to a node's
standard input ({"dead": incarnation}, {"stop": true}), and from its standard output ({"started": port}). The supervisor
holds no listener, because a listener of a process that does not accept would swallow its share of the connections, and
it never looks into the store: what it knows first (waitpid) it tells, and the nodes do the rest. Nothing that one node
says or does ends the supervisor, because with it all nodes would end; only when none of them can serve at all is there
nothing to look after.
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
TELL_S = 1.0
"""For a word to a node whose pipe is full: it reads nothing, so it is left out, and finds out by itself."""
REFUSED = 2
"""Exit code of a node that cannot serve what it is told to, or where; it has said why."""
LINE_MAX = 1 << 16
"""Bytes of a line that a node says; the beginning of a longer one is forgotten."""

log = structlog.get_logger("holdfast.supervisor")


@attrs.define(eq=False)
class Child:
    """One node's process."""

    node: str
    incarnation: str
    process: trio.Process
    port: int = 0
    """Its own port, once it has started."""
    _speaking: trio.Lock = attrs.field(factory=trio.Lock)

    async def tell(self, **words: object) -> None:
        """Write a line to its standard input; nothing when it has gone, or takes nothing for TELL_S. (A line is shorter
        than what a pipe takes as a whole, so there are no halves of lines.)"""
        assert self.process.stdin is not None
        with trio.move_on_after(TELL_S) as waiting:
            async with self._speaking:
                try:
                    await self.process.stdin.send_all(json.dumps(words).encode() + b"\n")
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
        if waiting.cancelled_caught:
            log.warning("node_not_told", node=self.node, words=words)


class Supervisor:
    """Keeps `nodes` alive. `command(node, incarnation)` gives the arguments of a node's process."""

    def __init__(self, nodes: Sequence[str], command: Callable[[str, str], Sequence[str]]) -> None:
        self.children: dict[str, Child] = {}
        """By node; those that run now."""
        self.restarts = 0
        self.refused: set[str] = set()
        """Nodes that have never served, and ended with REFUSED; when these are all, `run` ends."""
        self._nodes = nodes
        self._command = command
        self._served: set[str] = set()
        self._changed = trio.Event()

    async def run(self, stop: trio.Event) -> None:
        """Keep the nodes alive until `stop`, then end them. No process of a node outlives this call."""
        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                nursery.start_soon(self._keep, node, stop)

    async def started(self) -> dict[str, int]:
        """Wait until every node serves; their own ports."""
        while not all(node in self.children and self.children[node].port for node in self._nodes):
            await self._changed.wait()
        return {node: self.children[node].port for node in self._nodes}

    async def _keep(self, node: str, stop: trio.Event) -> None:
        wait_s = 0.0
        while not stop.is_set():
            began = trio.current_time()
            code = await self._live(node, stop)
            if code == REFUSED and node not in self._served:
                self.refused.add(node)
            if len(self.refused) == len(self._nodes):
                stop.set()
            if stop.is_set():
                return
            self.restarts += 1
            well = trio.current_time() - began > WELL_S
            wait_s = FIRST_WAIT_S if well else min(max(wait_s * 2, FIRST_WAIT_S), LONGEST_WAIT_S)
            log.warning("node_restarts", node=node, code=code, wait_s=wait_s)
            with trio.move_on_after(wait_s):
                await stop.wait()

    async def _live(self, node: str, stop: trio.Event) -> int | None:
        """One life of a node, to its end; the exit code (negative: the signal), None when it could not be started."""
        incarnation = new_incarnation(node)
        try:
            process = await trio.lowlevel.open_process(
                list(self._command(node, incarnation)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            log.error("node_not_started", node=node, error=str(error))
            return None
        child = self.children[node] = Child(node, incarnation, process)
        log.info("node_process", node=node, incarnation=incarnation, pid=process.pid)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, child)
                nursery.start_soon(self._end, child, stop)
                code = await process.wait()
                nursery.cancel_scope.cancel()
            del self.children[node]
            self._change()
            if code < 0:
                log.warning("node_died", node=node, incarnation=incarnation, signal=signal_name(-code))
            async with trio.open_nursery() as nursery:
                for other in list(self.children.values()):
                    nursery.start_soon(self._tell_dead, other, incarnation)
        finally:
            self.children.pop(node, None)
            with trio.CancelScope(shield=True):
                if process.returncode is None:  # we are being cancelled
                    process.kill()
                    await process.wait()
                for pipe in (process.stdin, process.stdout):
                    assert pipe is not None
                    await pipe.aclose()
        return code

    async def _end(self, child: Child, stop: trio.Event) -> None:
        """Once all nodes end: tell it so, and do not wait for it for ever."""
        await stop.wait()
        await child.tell(stop=True)
        await trio.sleep(STOP_S)
        log.error("node_killed", node=child.node, reason=f"it did not end within {STOP_S:g} s")
        child.process.kill()

    async def _tell_dead(self, other: Child, incarnation: str) -> None:
        await other.tell(dead=incarnation)

    async def _listen(self, child: Child) -> None:
        assert child.process.stdout is not None
        rest = b""
        async for data in child.process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._hear(child, line)
            if len(rest) > LINE_MAX:
                log.warning("node_says_too_much", node=child.node, text=rest[:80].decode(errors="replace"))
                rest = b""

    def _hear(self, child: Child, line: bytes) -> None:
        """A node's line; what a game prints comes here, too."""
        try:
            port = json.loads(line)["started"]
        except (ValueError, TypeError, KeyError, RecursionError):
            port = None
        if isinstance(port, int):
            child.port = port
            self._served.add(child.node)
            self.refused.discard(child.node)
            self._change()
        else:
            log.info("node_says", node=child.node, text=line[:80].decode(errors="replace"))

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def signal_name(number: int) -> str:
    """For people: not every number has a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


async def words_from(fd: int, take: Callable[[dict[str, object]], None]) -> None:
    """A node's side: take the supervisor's words until it is gone."""
    stream, rest = trio.lowlevel.FdStream(os.dup(fd)), b""
    async with stream:
        while data := await stream.receive_some():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                take(json.loads(line))
