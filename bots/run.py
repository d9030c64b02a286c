"""One run of bots: in this process, or spread over several that start their windows together.

    parent ── argv: plan ──► child (python -m bots.run)
           ◄─ {"ready": n} ─      all of its bots play (or have failed)
           ── "go" ─────────►      when every child is ready (a second one ends the window before its time)
           ◄─ {"frames": n} ─      a few times a second
           ◄─ {"tally": …} ──      when its bots have left

Lines of JSON over pipes. A child ends when its stdin does, so none outlives its parent.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import trio

from bots.crew import Crew, Plan, error_kind
from bots.report import Tally, report
from netcode.certificate import is_loopback
from netcode.client import parse_address

REACH_S = 1.0
PROGRESS_S = 0.5
START_S = 60.0
_LINE_MAX = 64 << 20
_HOME = str(Path(__file__).resolve().parent.parent)


class CannotRun(Exception):
    """There is no server, or a process of ours failed; one line with the remedy."""


@attrs.define
class Progress:
    """How a run is doing, for people to see."""

    phase: str = "joining"
    playing: int = 0
    frames: int = 0
    since_s: float = 0.0


async def run_bots(
    plan: Plan, *, processes: int = 1, show: Callable[[Progress], None] = lambda _: None
) -> tuple[dict[str, Any], Tally]:
    """Run a plan; returns its report and the tally behind it. Raises CannotRun, and ValueError for a bad address."""
    await _reach(plan.server)
    local = is_loopback(parse_address(plan.server)[0])
    plans = plan.split(processes)
    crew: Crew | None = None
    if len(plans) == 1:
        crew = Crew(plan)
        tally, before, after, seconds = await _here(crew, local, show)
    else:
        tally, before, after, seconds = await _children(plans, local, show)
    result = report(
        tally, seconds=seconds or plan.seconds, transport=plan.transport, link=plan.link, before=before, after=after
    )
    return result, tally


Outcome = tuple[Tally, dict[str, Any] | None, dict[str, Any] | None, float]


async def _reach(server: str) -> None:
    host, port = parse_address(server)
    try:
        with trio.fail_after(REACH_S):
            await (await trio.open_tcp_stream(host, port)).aclose()
    except UnicodeError:
        raise CannotRun(f"{host!r} is no host name") from None
    except (OSError, trio.TooSlowError) as error:
        why = "no answer" if isinstance(error, trio.TooSlowError) else error_kind(error)[0].replace("_", " ")
        if isinstance(error, socket.gaierror):
            raise CannotRun(f"no host {host!r}: {error.strerror}") from None
        raise CannotRun(f"no server at {server} ({why}); start one with: holdfast serve") from None


async def _here(crew: Crew, local: bool, show: Callable[[Progress], None]) -> Outcome:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_follow, crew, show)
        crew.go.set()
        tally = await crew.run(ask_server=local)
        nursery.cancel_scope.cancel()
    return tally, crew.before, crew.after, crew.measured_s


async def _follow(crew: Crew, show: Callable[[Progress], None]) -> None:
    progress, start = Progress(), 0.0
    while True:
        progress.playing = len(crew.playing)
        if crew.ready.is_set():
            start = start or trio.current_time()
            progress.phase = "settling" if crew.done.is_set() else "playing"
            progress.since_s = trio.current_time() - start
        progress.frames = crew.frames
        show(progress)
        await trio.sleep(PROGRESS_S)


# -- several processes ------------------------------------------------------------------------------------------


class _Child:
    """A process with its share of the bots."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.ready = trio.Event()
        self.playing = 0
        self.frames = 0
        self.tally: dict[str, Any] | None = None
        self.rest: dict[str, Any] = {}

    async def follow(self) -> None:
        """Take what the child says, to its end."""
        assert self.process.stdout is not None
        async for line in Lines(self.process.stdout):
            data = json.loads(line)
            self.playing = data.get("playing", self.playing)
            self.frames = data.get("frames", self.frames)
            if "ready" in data:
                self.ready.set()
            if "tally" in data:
                self.tally, self.rest = data["tally"], data
        self.ready.set()


async def _children(plans: list[Plan], local: bool, show: Callable[[Progress], None]) -> Outcome:
    children: list[_Child] = []
    try:
        for number, plan in enumerate(plans):
            children.append(_Child(await _start(plan, local and number == 0)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, children, show)
            async with trio.open_nursery() as followers:
                for child in children:
                    followers.start_soon(child.follow)
                for child in children:
                    await child.ready.wait()
                for child in children:
                    assert child.process.stdin is not None
                    try:
                        await child.process.stdin.send_all(b"go\n")
                    except trio.BrokenResourceError:
                        continue  # it has died; noticed below
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            for child in children:
                assert child.process.stdin is not None
                await child.process.stdin.aclose()
                with trio.move_on_after(2.0):
                    await child.process.wait()
                if child.process.returncode is None:
                    child.process.kill()
                    await child.process.wait()
    total = Tally()
    for child in children:
        if child.tally is None:
            raise CannotRun(f"a process of the bots ended with code {child.process.returncode}")
        total.merge(Tally.load(child.tally))
    rest = children[0].rest
    return total, rest["before"], rest["after"], max(child.rest["seconds"] for child in children)


async def _start(plan: Plan, ask_server: bool) -> trio.Process:
    told = json.dumps({"plan": attrs.asdict(plan), "ask_server": ask_server})
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([_HOME, *filter(None, sys.path)])}
    command = [sys.executable, "-m", "bots.run", told]
    return await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)


async def _watch(children: list[_Child], show: Callable[[Progress], None]) -> None:
    progress, start = Progress(), 0.0
    while True:
        progress.playing = sum(child.playing for child in children)
        progress.frames = sum(child.frames for child in children)
        if all(child.ready.is_set() for child in children):
            start = start or trio.current_time()
            progress.phase, progress.since_s = "playing", trio.current_time() - start
        show(progress)
        await trio.sleep(PROGRESS_S)


class Lines:
    """The lines of a byte stream, to be iterated over (again, too: it goes on where it was left)."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._whole: deque[bytes] = deque()
        self._rest = b""

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> bytes:
        while not self._whole:
            data = await self._stream.receive_some()
            if not data:
                raise StopAsyncIteration
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._whole.extend(whole)
            if len(self._rest) > _LINE_MAX:
                raise CannotRun("a process of ours says too much")
        return self._whole.popleft()


async def child_main(told: dict[str, Any]) -> None:
    """A child's life: run its share and tell the parent."""
    crew = Crew(Plan(**told["plan"]))
    out, into = trio.lowlevel.FdStream(os.dup(1)), trio.lowlevel.FdStream(os.dup(0))

    async def say(**data: Any) -> None:
        await out.send_all(json.dumps(data).encode() + b"\n")

    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            async for _ in Lines(into):
                if crew.go.is_set():
                    crew.enough.set()
                crew.go.set()
            nursery.cancel_scope.cancel()

        async def tell() -> None:
            told_ready = False
            while True:
                await say(playing=len(crew.playing), frames=crew.frames)
                if crew.ready.is_set() and not told_ready:
                    told_ready = True
                    await say(ready=True, joining_s=crew.joining_s)
                await trio.sleep(PROGRESS_S if told_ready else 0.05)

        nursery.start_soon(listen)
        with trio.CancelScope() as telling:
            async with trio.open_nursery() as inner:
                inner.start_soon(tell)
                tally = await crew.run(ask_server=told["ask_server"])
                telling.cancel()
        await say(tally=tally.dump(), before=crew.before, after=crew.after, seconds=crew.measured_s)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent closes our stdin
    trio.run(child_main, json.loads(sys.argv[1]))
