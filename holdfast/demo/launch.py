"""The demo's server: the real command in a process of its own, told by options, and heard by its log.

    holdfast demo ── holdfast serve --port 0 --data TEMPORARY ──┬── node-1     (with one node: no more processes)
         ▲                        │ log: lines of JSON          ├── node-2
         └────────────────────────┘                             └── node-3

It is a process group of its own: Ctrl-C reaches the demo alone, which ends the server, which ends its nodes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.settings import Settings

if TYPE_CHECKING:
    from bots.run import Lines

STOP_S = 20.0
"""A supervisor gives its nodes 15 s."""


@contextlib.contextmanager
def server_process(
    settings: Settings, data: Path, nodes: int = 1, http_port: int = -1
) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a child process, whose page may kill nodes; when the block ends, it and all its nodes have ended."""
    command = [sys.executable, "-m", "holdfast", "serve", "--host", "127.0.0.1", "--port", "0", "--data", str(data)]
    command += ["--nodes", str(nodes), "--game", settings.game, "--log-format", "json", "--log-level", "info"]
    command += ["--http-port", str(http_port), "--http-kill", "true"]
    if settings.tick_hz is not None:
        command += ["--tick-hz", str(settings.tick_hz)]
    for key, value in settings.options.items():
        command += ["-o", f"{key}={value}"]
    home = str(Path(__file__).resolve().parent.parent.parent)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([home, *filter(None, sys.path)])},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if (
            process.returncode < 0 and nodes > 1 and (data / "cluster").exists()
        ):  # a supervisor that was killed leaves its nodes alone
            end_nodes(data)
        assert process.stderr is not None
        process.stderr.close()


def free_port(wanted: int) -> int:
    """This port of loopback where nobody has it, else 0, which takes another."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


def end_nodes(data: Path) -> None:
    """End the nodes that still live on a data folder, by the locks that they hold there."""
    import trio

    from bots.chaos.watch import living
    from cluster.sqlite import SqliteStore
    from holdfast.logs import only_errors

    async def end() -> None:
        async with SqliteStore.open(data / "cluster") as store:
            for member in await living(store):
                await store.journals.seal(member.incarnation)

    with only_errors():
        trio.run(end)


def server_log(server: subprocess.Popen[bytes]) -> Lines:
    """The lines of a server's log. Uses the pipe up: nothing else may read or close it."""
    import trio

    from bots.run import Lines

    assert server.stderr is not None
    return Lines(trio.lowlevel.FdStream(os.dup(server.stderr.fileno())))


def _ignore(_: dict[str, Any]) -> None:
    pass


async def server_port(log: Lines, nodes: int = 1, tell: Callable[[dict[str, Any]], None] = _ignore) -> int:
    """The port that a server just started tells in its log, once all its nodes serve. Raises CannotRun."""
    from bots.run import CannotRun

    line = b"it said nothing"
    async for line in log:
        entry = log_entry(line)
        tell(entry)
        if entry.get("event") == ("nodes_started" if nodes > 1 else "node_started"):
            return int(entry["port"])
    raise CannotRun(f"the server did not start: {line.decode(errors='replace').strip()}")


async def listen(log: Lines, server: subprocess.Popen[bytes], tell: Callable[[dict[str, Any]], None]) -> None:
    """Read the server's log, so that it never waits for us. Raises CannotRun when it ends."""
    from bots.run import CannotRun

    last = b""
    async for last in log:
        tell(log_entry(last))
    raise CannotRun(f"the server ended with code {server.poll()}: {last.decode(errors='replace').strip()[:300]}")


def log_entry(line: bytes) -> dict[str, Any]:
    """What a line of a log says by name; nothing when it is no entry."""
    with contextlib.suppress(ValueError):
        entry = json.loads(line)
        if isinstance(entry, dict):
            return entry
    return {}
