"""`holdfast bench memory`: what a connected session takes of a server's memory, beyond its socket and TLS.

    holdfast serve ◄── 100 players log in, then N more who do nothing      (R then, less R before) / N = a session
    a bare server  ◄── 100 connections, then N more that shake hands       the same                 = socket and TLS

R is the resident memory of the server's process. The first hundred are there so that what is made once, or is needed
for handshakes under way, is there before it counts; both servers see the same handshakes, as many at the same time.
What the kernel keeps for a socket is in neither figure.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from holdfast.files import raise_file_limit

FIRST = 100
SETTLE_S = 3.0
"""Until young garbage is collected and everything sent is read."""
GOAL_KB = 12.0
WAIT_S = 600.0


@click.command()
@click.option("--sessions", type=click.IntRange(1, 20_000), default=2000, show_default=True, help="How many.")
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures here.")
def memory(sessions: int, file: Path | None) -> int:
    """Memory of a connected, idle session, beyond socket and TLS: kB, by resident memory.

    Exit code 1 when something could not be measured.
    """
    from holdfast.bench.serving import CannotMeasure, ended_by_signals

    raise_file_limit()
    try:
        with ended_by_signals():
            measured = measure(sessions)
    except CannotMeasure as error:
        click.echo(f"holdfast bench memory: {error}", err=True)
        return 1
    if file is not None:
        file.write_text(json.dumps(measured, indent=2) + "\n")
    _print(measured)
    return 0


def measure(sessions: int, first: int = FIRST, settle_s: float = SETTLE_S) -> dict[str, Any]:
    """Both servers, one after the other; see `memory`. Raises CannotMeasure."""
    from holdfast.bench.machine import machine, versions
    from holdfast.bench.serving import server

    limits = ["--sessions-max", str(sessions + first), "--idle-s", "3600"]
    with server(limits) as serving:
        whole = _grown(serving.pid, ["sit", serving.address], sessions, first, settle_s)
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-memory-") as folder,
        child(["serve", folder]) as (process, words),
    ):
        bare = _grown(process.pid, ["hold", f"127.0.0.1:{words['port']}"], sessions, first, settle_s)
    return {
        **beyond(whole, bare, sessions),
        "rss_mb": {"session": whole, "socket_and_tls": bare},
        "machine": machine(),
        "versions": versions(),
    }


def beyond(whole: tuple[float, float], bare: tuple[float, float], sessions: int) -> dict[str, Any]:
    """What a session takes by resident MB before and after so many: whole, socket and TLS alone, and the rest."""
    session_kb, link_kb = ((after - before) * 1000 / sessions for before, after in (whole, bare))
    own_kb = session_kb - link_kb
    return {
        "sessions": sessions,
        "session_kb": round(session_kb, 2),
        "socket_and_tls_kb": round(link_kb, 2),
        "beyond_kb": round(own_kb, 2),
        "goal_kb": GOAL_KB,
        "goal_met": own_kb <= GOAL_KB,
    }


def _grown(pid: int, what: list[str], sessions: int, first: int, settle_s: float) -> tuple[float, float]:
    """Resident MB of a server with the first clients, and with all."""
    kind, address = what
    more = [[1, first], [2, sessions]] if kind == "sit" else [[first], [sessions]]
    with child([kind, address, *more[0]]):
        time.sleep(settle_s)
        before = resident_mb(pid)
        with child([kind, address, *more[1]]):
            time.sleep(settle_s)
            return before, resident_mb(pid)


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB. Raises CannotMeasure where the system does not tell."""
    from holdfast.bench.serving import CannotMeasure

    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError as error:
        raise CannotMeasure(f"the memory of process {pid} is not told: {error.strerror}") from None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 3)


@contextlib.contextmanager
def child(what: list[Any]) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """A process of `holdfast.bench.sitters` while the block lasts, and what it said when it was ready.

    Raises CannotMeasure.
    """
    from holdfast.bench.serving import CannotMeasure, child_environ

    command = [sys.executable, "-m", "holdfast.bench.sitters", json.dumps(what)]
    environ = child_environ()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise CannotMeasure(f"{what[0]} ended with code {process.wait()}")
        yield process, json.loads(line)
    finally:
        process.stdin.close()
        try:
            process.wait(WAIT_S)
        finally:
            process.kill()
            process.stdout.close()


def _print(measured: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "kB", title=f"{measured['sessions']:,} idle sessions, each", title_justify="left")
    table.add_row("a session, all of it", f"{measured['session_kb']:.1f}")
    table.add_row("socket and TLS alone", f"{measured['socket_and_tls_kb']:.1f}")
    table.add_row("beyond socket and TLS", f"{measured['beyond_kb']:.1f}", style="bold")
    console = Console()
    console.print(table)
    told = "within it" if measured["goal_met"] else "not within it"
    console.print(f"goal: ≤ {measured['goal_kb']:g} kB ({told})", highlight=False)
