"""Real servers: `holdfast serve` in a process of its own that plays a counter, and every line that it logs.

Two of them on one data folder, under different names, are two nodes that share rooms: what a supervisor would start.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import trio

from tests.server.helpers import HOST

HOME = Path(__file__).resolve().parents[2]
WAIT_S = 30.0
"""A server that does not say what a test waits for within this has failed."""


class Server:
    """A running one. `serving` makes it."""

    def __init__(self, command: Sequence[str], cwd: Path) -> None:
        environ = {**os.environ, "PYTHONPATH": str(HOME)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=cwd, env=environ
        )
        self.log: list[dict[str, Any]] = []
        """Its lines; those that are not JSON under "text"."""
        self.started: dict[str, Any] = {}
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def address(self) -> str:
        """Where clients come in."""
        return f"{HOST}:{self.started['port']}"

    @property
    def incarnation(self) -> str:
        """Which life of the node it is."""
        found: str = self.started["incarnation"]
        return found

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of an event so far."""
        return [line for line in list(self.log) if line.get("event") == event]

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """Block until an event is logged for the `count`-th time: its line."""
        with self._news:
            self._news.wait_for(lambda: self._reader_done() or len(self.said(event)) >= count, WAIT_S)
        found = self.said(event)
        assert len(found) >= count, f"no {event} ({len(found)} of {count}) in: {self.log}"
        return found[count - 1]

    async def hear(self, event: str, count: int = 1) -> dict[str, Any]:
        """The same for a test that goes on meanwhile."""
        return await trio.to_thread.run_sync(self.wait_for, event, count, abandon_on_cancel=True)

    def stop(self) -> None:
        """SIGSTOP, and only then return: no instruction of its is carried out behind this."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def end(self) -> None:
        """SIGTERM, and wait for its end."""
        self.process.terminate()
        try:
            self.process.wait(WAIT_S)
        finally:
            self.kill()

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        code = await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
        await trio.to_thread.run_sync(self._reader.join)
        return code

    def _reader_done(self) -> bool:
        return not self._reader.is_alive()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for text in lines:
                try:
                    line = json.loads(text)
                except ValueError:
                    line = {"text": text.decode(errors="replace").rstrip()}
                with self._news:
                    self.log.append(line)
                    self._news.notify_all()


def command_of(data: Path, node: str, *options: str) -> list[str]:
    """What starts a server with its data in `data`, on a free port."""
    words = ["--data", str(data), "--node", node, "--port", "0", "--game", "counting:Counter", "--log-format", "json"]
    return [sys.executable, "-m", "holdfast", "serve", *words, *options]


def write_game(folder: Path) -> None:
    """The game that the servers find in their working directory."""
    (folder / "counting.py").write_text("from tests.server.games import Counter as Counter\n")


@contextlib.contextmanager
def serving(
    folder: Path, data: Path, *nodes: str, options: Sequence[str] = (), before: Sequence[str] = ()
) -> Iterator[list[Server]]:
    """Servers that have started, all on the same data; killed at the end. `folder` is where their game lies, `before`
    is put before their commands."""
    write_game(folder)
    servers: list[Server] = []
    try:
        servers.extend(Server([*before, *command_of(data, node, *options)], folder) for node in nodes)
        for server in servers:
            server.started = server.wait_for("node_started")
        yield servers
    finally:
        for server in servers:
            server.kill()


@contextlib.contextmanager
def supervising(folder: Path, data: Path, nodes: int) -> Iterator[Server]:
    """A supervisor whose nodes have all started: "node-1", "node-2" …; ended in peace. It logs what they log."""
    write_game(folder)
    supervisor = Server(command_of(data, "node", "--nodes", str(nodes)), folder)
    try:
        supervisor.started = supervisor.wait_for("nodes_started")
        yield supervisor
    finally:
        supervisor.end()
