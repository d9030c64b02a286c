"""The suite: a server, good players who play all the while, one attacker after the other, each in its own process.

    processor 0   server
    processor 1   this, the good players, the attacker (nice 19)

Attackers and good players share a processor, so that what attackers compute is not taken for the server's trouble;
where there is one processor only, all share it and the figures say little.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import trio

from bots.run import Lines
from netcode.client import Client, connect
from tests.hostile.attack import ATTACKS
from tests.hostile.judge import RSS_RATIO_MAX, Outcome, Window

HOME = Path(__file__).resolve().parents[2]
SERVER = ("--tick-hz", "20", "--limit-loopback", "true", "--logins-per-s", "40", "--hold-s", "5")
"""More log-ins than usual: sixty good players come in at once from one address, new guests all of them."""
PLAYERS = 60
SETTLED_S = 15.0
"""By then the memory of an attack must be back."""
QUIET_S = 1.0
"""After an attack, before the players' next window begins."""
ANSWER_S = 60.0
SAMPLE_S = 0.2


class SuiteFailed(Exception):
    """The suite itself could not run; one line."""


@attrs.frozen
class Herd:
    """The good players' process, asked over its pipes."""

    lines: Lines
    process: trio.Process
    connections: list[int]

    async def window(self) -> Window:
        """What they saw since the last window."""
        return Window(**await self._ask("window"))

    async def end(self) -> dict[str, Any]:
        """Let them leave; the server's own books of their inputs."""
        return await self._ask("end")

    async def _ask(self, word: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(word.encode() + b"\n")
        return await _answer(self.lines, "the good players")


@attrs.frozen
class Suite:
    """Everything runs; attack it."""

    port: int
    http_port: int
    token: str
    server_pid: int
    herd: Herd
    client: Client

    async def attack(self, name: str, seconds: float, before: Window | None) -> Outcome:
        """One attack. `before` is a calm window that ended just now; one is made when there is none."""
        told = {"name": name, "seconds": seconds, "port": self.port, "victims": self.herd.connections}
        told |= {"http_port": self.http_port, "token": self.token}
        async with _python("tests.hostile.attack", told) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            lines = Lines(process.stdout)
            ready = await _answer(lines, name)
            if before is None:
                await self.herd.window()
                await trio.sleep(seconds)
                before = await self.herd.window()
            late_before = await self.late(seconds)
            await self.herd.window()
            rss_before, counted, cpu_s, start = self.rss_mb(), await self.counters(), self.cpu_s(), trio.current_time()
            told_back, peak = ready, rss_before
            if ready.get("ready"):
                sampled: list[float] = []
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._sample, sampled)
                    await process.stdin.send_all(b"go\n")
                    told_back = await _answer(lines, name)
                    await process.wait()
                    nursery.cancel_scope.cancel()
                peak = max([rss_before, *sampled])
        cpu_share = (self.cpu_s() - cpu_s) / max(trio.current_time() - start, 1e-3)
        late_during = await self.late(seconds)
        during, ended = await self.herd.window(), trio.current_time()
        await trio.sleep(QUIET_S)
        quiet = await self.herd.window()
        await trio.sleep(seconds)
        after = await self.herd.window()
        limit_mb = rss_before * RSS_RATIO_MAX
        while self.rss_mb() > limit_mb and trio.current_time() < ended + SETTLED_S:  # noqa: ASYNC110 - not ours to tell
            await trio.sleep(SAMPLE_S)
        now = await self.counters()
        after = attrs.evolve(after, errors={**quiet.errors, **after.errors}, skipped=quiet.skipped + after.skipped)
        return Outcome(
            name=name,
            what=ATTACKS[name].what,
            sent=told_back.get("sent", 0),
            failed=told_back["failed"],
            before=before,
            during=during,
            after=after,
            rss_before_mb=rss_before,
            rss_peak_mb=peak,
            rss_after_mb=self.rss_mb(),
            tick_late_before_ms=late_before,
            tick_late_during_ms=late_during,
            cpu_share=round(cpu_share, 3),
            refused={key: round(now[key] - counted.get(key, 0), 3) for key in now if now[key] != counted.get(key, 0)},
        )

    async def _sample(self, into: list[float]) -> None:
        while True:
            into.append(self.rss_mb())
            await trio.sleep(SAMPLE_S)

    async def counters(self) -> dict[str, float]:
        """The server's counters of what it refused."""
        figures = await self.client.stats()
        flat: dict[str, float] = {name: figures[name] for name in COUNTERS if name in figures}
        for group in ("drops", "limits"):
            flat.update({f"{group}.{name}": count for name, count in figures.get(group, {}).items()})
        return flat

    async def late(self, seconds: float) -> dict[str, float]:
        """How late the server's ticks started over the last seconds: p50, p99, max, in ms."""
        found: dict[str, float] = (await self.client.stats(max(1, round(seconds))))["tick_lateness_ms"]
        return found

    def rss_mb(self) -> float:
        """The server's resident memory in MB (10^6 bytes)."""
        try:
            pages = int(Path(f"/proc/{self.server_pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            raise SuiteFailed("the server is gone") from None
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_s(self) -> float:
        """Processor time that the server has used."""
        fields = Path(f"/proc/{self.server_pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


COUNTERS = (
    "datagrams_truncated", "frames_dropped", "inputs_malformed", "links_too_slow",
    "sessions_opened", "sessions_lost", "ticks_overrun", "ticks_skipped",
)  # fmt: skip


@contextlib.asynccontextmanager
async def suite(data: Path, players: int = PLAYERS) -> AsyncIterator[Suite]:
    """Server and good players, playing; `data` is a folder for the server. Raises SuiteFailed."""
    with _server(data) as server:
        ports = await _ports(server, data / "server.log")
        port, token = ports[0], (data / "http.token").read_text(encoding="ascii").strip()
        told = {"server": f"127.0.0.1:{port}", "players": players}
        async with _python("tests.hostile.swarm", told) as process, connect(f"127.0.0.1:{port}") as client:
            assert process.stdout is not None
            lines = Lines(process.stdout)
            ready = await _answer(lines, "the good players")
            if ready["playing"] < players:
                raise SuiteFailed(f"{ready['playing']} of {players} good players play: {ready['errors']}")
            yield Suite(*ports, token, server.pid, Herd(lines, process, ready["connections"]), client)


async def run(
    names: list[str], seconds: float, data: Path, *, players: int = PLAYERS, show: Callable[[Outcome], None]
) -> tuple[list[Outcome], dict[str, Any]]:
    """All of these attacks; their outcomes, and the good players' books at the end."""
    async with suite(data, players) as one:
        outcomes: list[Outcome] = []
        await trio.sleep(seconds)  # caches fill, memory settles
        for name in names:
            calm = outcomes[-1].after if outcomes else None
            outcomes.append(await one.attack(name, seconds, calm))
            show(outcomes[-1])
        return outcomes, await one.herd.end()


# -- processes --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _server(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "holdfast", "serve", "--port", "0", "--data", str(data), "--log-format", "json"]
    with (data / "server.log").open("wb") as log, _pinned(0):
        process = subprocess.Popen(
            [*command, *SERVER], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environ()
        )
    try:
        with _pinned(1):
            yield process
    finally:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _ports(server: subprocess.Popen[bytes], log: Path) -> tuple[int, int]:
    """For players, for HTTP."""
    said = ""
    with trio.move_on_after(ANSWER_S):
        while server.poll() is None:
            said = await trio.Path(log).read_text()
            for line in said.splitlines():
                if '"node_started"' in line:
                    entry = json.loads(line)
                    return int(entry["port"]), int(entry["http_port"])
            await trio.sleep(0.05)
    raise SuiteFailed(f"the server did not start: {said[-300:]}")


@contextlib.asynccontextmanager
async def _python(module: str, told: Mapping[str, Any]) -> AsyncIterator[trio.Process]:
    command = [sys.executable, "-m", module, json.dumps(told)]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environ(), cwd=HOME
    )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            assert process.stdin is not None
            await process.stdin.aclose()
            with trio.move_on_after(2.0):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _answer(lines: Lines, who: str) -> dict[str, Any]:
    with trio.move_on_after(ANSWER_S):
        async for line in lines:
            told: dict[str, Any] = json.loads(line)
            return told
        raise SuiteFailed(f"{who} ended before time")
    raise SuiteFailed(f"{who} did not answer")


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), *filter(None, sys.path)])}


@contextlib.contextmanager
def _pinned(number: int) -> Iterator[None]:
    """What is started in this block runs on one processor, where there are two and the system lets us choose."""
    if not hasattr(os, "sched_setaffinity") or len(usual := sorted(os.sched_getaffinity(0))) < 2:
        yield
        return
    os.sched_setaffinity(0, {usual[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)
