"""A server in a process of its own, for tests of commands that run Trio themselves."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import trio

from holdfast.demo import server_log, server_port, server_process
from server.settings import Settings


@contextlib.contextmanager
def serving(data: Path) -> Iterator[str]:
    """Gives the server's address."""
    with server_process(Settings(), data) as process:
        yield f"127.0.0.1:{trio.run(_port, process)}"


async def _port(process: subprocess.Popen[bytes]) -> int:
    return await server_port(server_log(process))
