"""A server and bots as processes of their own, for what is measured as users run it: `holdfast serve`, `holdfast bots`.

    this process (waits) ── starts ──► holdfast serve --port 0 --data TEMPORARY   on one core, its log in a file
                         └─ starts ──► holdfast bots --json FILE                  on another

Each is pinned by what a child inherits, from its first thread on, so that neither takes the other's time; on a machine
with one core, or where the system cannot pin, both run anywhere. Nobody has to read a pipe meanwhile: what they say
goes into files. Both are in process groups of their own: Ctrl-C reaches this process, which ends them, and SIGTERM is
no other (`ended_by_signals`).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

START_S = 30.0
LOOK_EVERY_S = 0.05
STOP_S = 5.0
JOIN_PER_S = 5.0
"""So many bots are seated in a second at least."""
_HOME = str(Path(__file__).resolve().parent.parent.parent)


class CannotMeasure(Exception):
    """A process of ours did not do its part; one line."""


@attrs.frozen
class Cores:
    """Where the two run; None: anywhere."""

    server: int | None = None
    bots: int | None = None

    @classmethod
    def found(cls) -> Cores:
        """The first two that this process may use."""
        if not hasattr(os, "sched_setaffinity"):
            return cls()
        mine = sorted(os.sched_getaffinity(0))
        return cls(mine[0], mine[1]) if len(mine) > 1 else cls()

    @property
    def pinned(self) -> bool:
        """Whether each has a core of its own."""
        return self.server is not None

    def told(self) -> dict[str, Any]:
        """For a report: what runs where, and what saw to it."""
        return {"server": self.server, "bots": self.bots, "by": "sched_setaffinity" if self.pinned else None}


class Others:
    """How busy everybody else kept the machine, from when this was made: what is measured meanwhile is worth less."""

    def __init__(self, counted: Path = Path("/proc/stat")) -> None:
        self._counted = counted
        self._before = self._now()

    def share(self) -> float | None:
        """Of the time of all processors, since then, and leaving out our own processes that have ended; None where
        the system does not tell."""
        if self._before is None or (now := self._now()) is None:
            return None
        busy_s, ours_s, all_s = (here - there for here, there in zip(now, self._before, strict=True))
        return round(min(1.0, max(0.0, (busy_s - ours_s) / max(all_s, 1e-9))), 3)

    def _now(self) -> tuple[float, float, float] | None:
        """Seconds of processor time since the system started: of everybody, of ours, that there were."""
        try:
            first = self._counted.read_bytes().split(b"\n", 1)[0]
        except OSError:
            return None
        user, nice, system, idle, waiting, *interrupts = (int(field) for field in first.split()[1:9])
        busy, ours = user + nice + system + sum(interrupts), os.times()
        ticks_s = os.sysconf("SC_CLK_TCK")
        ours_s = ours.user + ours.system + ours.children_user + ours.children_system
        return busy / ticks_s, ours_s, (busy + idle + waiting) / ticks_s


@attrs.frozen
class Server:
    """A server that has started."""

    address: str
    pid: int
    said: Path
    """Its log, until it ends."""

    def told(self, event: str) -> list[dict[str, Any]]:
        """What it has said of this, so far."""
        return _told(self.said, event)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """What runs within is ended by SIGTERM and SIGHUP as by Ctrl-C: in order, and leaving no process behind."""
    numbers = [signal.SIGTERM, signal.SIGHUP]
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def server(arguments: Sequence[str], core: int | None = None) -> Iterator[Server]:
    """`holdfast serve` with these arguments, in a folder of its own, until the block ends. Raises CannotMeasure."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        own, said = ["--host", "127.0.0.1", "--port", "0", "--data", f"{folder}/data"], Path(folder, "log")
        command = ["serve", *own, "--log-format", "json", "--log-level", "info", *arguments]
        with _process(command, core, said) as process:
            yield Server(f"127.0.0.1:{_port(process, said)}", process.pid, said)
            if process.poll() is not None:
                raise CannotMeasure(f"the server ended with code {process.returncode}: {_last_line(said)}")


def bots(
    address: str, players: int, seconds: float, core: int | None = None, more: Sequence[str] = ()
) -> dict[str, Any]:
    """The report of `holdfast bots` on a server (see `bots.report.report`), with `more` arguments.

    Raises CannotMeasure.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        file, said = Path(folder, "report"), Path(folder, "said")
        command = ["bots", "--server", address, "--players", str(players), "--seconds", str(seconds)]
        limit_s = START_S + players / JOIN_PER_S + seconds
        with _process([*command, *more, "--json", str(file)], core, said) as process:
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired:
                raise CannotMeasure(f"the bots have not come to an end in {limit_s:.0f} s") from None
        if process.returncode not in (0, 1) or not file.exists() or not file.stat().st_size:
            raise CannotMeasure(f"the bots ended with code {process.returncode}: {_last_line(said)}")
        report: dict[str, Any] = json.loads(file.read_text())
    return report


def figures_of(address: str, window_s: float) -> dict[str, Any]:
    """What a server counts about itself, lateness over the last `window_s`, made whole seconds upwards.

    Raises CannotMeasure.
    """
    import trio

    from netcode.client import connect
    from netcode.errors import NetcodeError

    async def ask() -> dict[str, Any]:
        async with connect(address, name="onlooker") as client:
            return await client.stats(min(3600, math.ceil(window_s)))

    try:
        return trio.run(ask)
    except (OSError, NetcodeError) as error:
        raise CannotMeasure(f"the server does not answer: {error}") from None


def child_environ() -> dict[str, str]:
    """The environment of a process of ours: it finds the same modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([_HOME, *filter(None, sys.path)])}


@contextlib.contextmanager
def _process(arguments: Sequence[str], core: int | None, said: Path) -> Iterator[subprocess.Popen[bytes]]:
    with said.open("wb") as out, on_core(core):
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=out,
            env=child_environ(),
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


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """This thread, and what it starts within, runs on this core; None: anywhere."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port that a server tells in its log when it has started."""
    for _ in range(int(START_S / LOOK_EVERY_S)):
        for entry in _told(log, "node_started"):
            return int(entry["port"])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_EVERY_S)
            break
    raise CannotMeasure(f"the server did not start: {_last_line(log) or 'it said nothing'}")


def _told(log: Path, event: str) -> list[dict[str, Any]]:
    found = []
    for line in log.read_bytes().splitlines():
        with contextlib.suppress(ValueError):  # a line that is not written to its end
            entry = json.loads(line)
            if entry.get("event") == event:
                found.append(entry)
    return found


def _last_line(said: Path) -> str:
    lines = said.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
