"""The good players' process: bots that play all the while, and windows of what they saw.

python -m tests.hostile.swarm '{"server": …, "players": …}'
    ─► {"playing": n, "connections": […]}      when all play
    "window" ─► {Window}                       what was seen since the last window
    "end" ─► {"lost": …, "duplicated": …, "errors": {…}}       by the server's own books
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any

import attrs
import trio

from bots.bot import Bot
from bots.crew import SETTLE_S, Crew, Plan, error_kind
from bots.histogram import Histogram
from bots.run import Lines
from tests.hostile.judge import Window

VICTIMS = 10


class Herd(Crew):
    """A crew whose window is cut into windows, and which plays until it is told to end."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.over = trio.Event()
        self._since = 0.0
        self._frames = 0
        self._skipped = 0
        self._errors: dict[str, int] = {}

    async def _window(self, ask_server: bool) -> None:
        await self.ready.wait()
        self._since = trio.current_time()
        self._swarm.open_window(self._since)
        for bot in self.bots:
            bot.series.open(self._since)
        self._measuring = True
        await self.over.wait()
        for bot in self.playing:
            bot.stop_inputs()
        with trio.move_on_after(SETTLE_S):
            while not all(bot.settled for bot in self.playing if bot.alive):  # noqa: ASYNC110 - frames settle it
                await trio.sleep(0.02)
        self._leave.set()

    def cut(self) -> Window:
        """What was seen since the last cut."""
        now, late, gaps = trio.current_time(), self.tally.late, Histogram()
        for bot in self.bots:
            bot.series.close(now)  # so that silence counts
            gaps.merge(bot.series.gaps)
            bot.series.gaps = Histogram()
            bot.series.open(now)
            bot.series._end = math.inf
        self.tally.late = Histogram()
        seconds, self._since = now - self._since, now
        frames, self._frames = self.frames - self._frames, self.frames
        skipped = sum(bot.series.skipped for bot in self.bots)
        lost, self._skipped = skipped - self._skipped, skipped
        all_errors = _errors(self.bots)
        errors = {kind: count - self._errors.get(kind, 0) for kind, count in all_errors.items()}
        self._errors = all_errors
        return Window(
            seconds=round(seconds, 3),
            frames_per_s=round(frames / seconds / len(self.bots), 3),
            interval_p99_ms=round(gaps.percentile(0.99) or 0.0, 3),
            interval_max_ms=round(gaps.max_ms, 3),
            late_p99_ms=round(late.percentile(0.99) or 0.0, 3),
            errors={kind: count for kind, count in errors.items() if count},
            skipped=lost,
        )


def _errors(bots: list[Bot]) -> dict[str, int]:
    found: dict[str, int] = {}
    for bot in bots:
        kinds = dict(bot.faults)
        if bot.error is not None:
            kinds[error_kind(bot.error)[0]] = 1
        for kind, count in kinds.items():
            found[kind] = found.get(kind, 0) + count
    return found


async def main(told: dict[str, Any]) -> None:
    """The process' life; it ends with its stdin, too."""
    herd = Herd(Plan(server=told["server"], players=told["players"], full_share=0.25))
    out, into = trio.lowlevel.FdStream(os.dup(1)), trio.lowlevel.FdStream(os.dup(0))

    async def say(data: dict[str, Any]) -> None:
        await out.send_all(json.dumps(data).encode() + b"\n")

    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            await herd.ready.wait()
            connections = [bot.end.connection for bot in herd.playing[:VICTIMS]]
            await say({"playing": len(herd.playing), "connections": connections, "errors": herd.tally.examples})
            async for line in Lines(into):
                if line == b"window":
                    await say(attrs.asdict(herd.cut()))
                elif line == b"end":
                    herd.over.set()
                    return
            nursery.cancel_scope.cancel()

        nursery.start_soon(listen)
        tally = await herd.run()
        await say({"lost": tally.lost, "duplicated": tally.duplicated, "errors": tally.errors, "idle": tally.idle})


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
