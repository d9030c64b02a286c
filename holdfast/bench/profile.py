"""Flame graphs of a server that is being measured: py-spy looks at it from outside while all bots play.

    server ◄── stats ── this process: all players in? ──► py-spy record --pid … for the window ──► FILE.svg

It is a development tool, which need not be there: without it whoever asks for a graph is told how to get it. Looking
costs the server little, but not nothing, so a run that is profiled tells no capacity.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.bench.serving import Server

TOOL = "py-spy"
SAMPLES_PER_S = 200
JOIN_S = 600.0
LOOK_EVERY_S = 0.25
END_S = 30.0
"""How long the tool may take to draw."""


class CannotProfile(Exception):
    """There is no graph; one line with the remedy."""


def check_profiler() -> str:
    """The path of the tool. Raises CannotProfile."""
    beside = shutil.which(TOOL, path=os.path.dirname(sys.executable))
    if found := beside or shutil.which(TOOL):
        return found
    raise CannotProfile(f"--profile needs {TOOL}, a tool of development: pip install {TOOL}")


@contextlib.contextmanager
def profiled(serving: Server, file: Path | None, players: int, seconds: float) -> Iterator[None]:
    """Watch the server from when so many sessions are open, for so long; at once None where there is no `file`.

    Raises CannotProfile after the block when nothing was drawn.
    """
    if file is None:
        yield
        return
    tool, over, failed = check_profiler(), threading.Event(), []

    def watch() -> None:
        if _wait_for(serving.address, players, over):
            failed.append(_record(tool, serving.pid, file, seconds))
        else:
            failed.append("the players did not come")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed[0]:
        raise CannotProfile(f"{TOOL}: {failed[0]}")


def _record(tool: str, pid: int, file: Path, seconds: float) -> str:
    """Draw; what went wrong, or ""."""
    what = ["--pid", str(pid), "--format", "flamegraph", "--output", str(file), "--duration", str(max(1, int(seconds)))]
    command = [tool, "record", *what, "--rate", str(SAMPLES_PER_S), "--nonblocking", "--function"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + END_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "it did not come to an end"
    said = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 and file.exists() else (said[-1] if said else f"code {done.returncode}")


def _wait_for(address: str, players: int, over: threading.Event) -> bool:
    """Whether so many sessions were open before it was all over; ours is one more."""
    import trio

    from netcode.client import connect

    async def look() -> bool:
        with trio.move_on_after(JOIN_S):
            async with connect(address) as client:
                while not over.is_set():
                    if (await client.stats(1))["sessions"] > players:
                        return True
                    await trio.sleep(LOOK_EVERY_S)
        return False

    return trio.run(look)
