"""How long a tick may have to wait for HTTP: the processor time of every pass of the scheduler, under each attack.

    python -m tests.hostile.pieces [--seconds 4] [--only http_heads]        JSON, one object an attack

A tick that is due waits for the pass that is under way. Here a node without rooms is attacked over HTTP, so that what a
pass takes is HTTP's (and the node's housekeeping); processor time is counted, so other programs change nothing. Exit
code 1 where one pass in a thousand is longer than TICK_DELAY_MAX_MS. What an attack does to players is measured by
`python -m tests.hostile`, which wants an idle machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

from bots.run import Lines
from holdfast.logs import configure
from server.node import PlayedGame, Running, run_node
from server.settings import Settings
from tests.hostile.http import ATTACKS
from tests.hostile.judge import TICK_DELAY_MAX_MS
from tests.hostile.run import HOME
from tests.server.games import Counter

FIRST_PASSES = 20
"""Left out: this program's own work at the beginning of an attack."""


class Passes(trio.abc.Instrument):
    """Counts what the scheduler's passes take of the processor."""

    def __init__(self) -> None:
        self.took_s: list[float] = []
        self._began = self._pass_s = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task goes on."""
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It waits again."""
        self._pass_s += time.thread_time() - self._began

    def before_io_wait(self, timeout: float) -> None:
        """The pass is over."""
        if self._pass_s:
            self.took_s.append(self._pass_s)
        self._pass_s = 0.0

    def figures(self) -> dict[str, float]:
        """In milliseconds."""
        took = sorted(self.took_s[FIRST_PASSES:])
        shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
        return {
            name: round(took[min(len(took) - 1, int(share * len(took)))] * 1000, 3) for name, share in shares.items()
        }


async def measure(names: Sequence[str], seconds: float, data: Path) -> list[dict[str, Any]]:
    """All of these attacks on one node."""
    found, stop = [], trio.Event()
    send, receive = trio.open_memory_channel[Running](1)
    settings = Settings(port=0, data=data, limit_loopback=True)

    async def serve() -> None:
        await run_node(settings, [PlayedGame(Counter(), "counter")], stop=stop, started=send.send_nowait)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        node = await receive.receive()
        token = (data / "http.token").read_text(encoding="ascii").strip()
        told = {
            "seconds": seconds,
            "port": node.address.port,
            "victims": [],
            "http_port": node.http_port,
            "token": token,
        }
        for name in names:
            command = [sys.executable, "-m", "tests.hostile.attack", json.dumps({"name": name, "token": token, **told})]
            attacker = await trio.lowlevel.open_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HOME
            )
            assert attacker.stdin is not None
            assert attacker.stdout is not None
            lines = Lines(attacker.stdout)
            await anext(lines)
            passes = Passes()
            trio.lowlevel.add_instrument(passes)
            await attacker.stdin.send_all(b"go\n")
            sent = json.loads(await anext(lines))["sent"]
            trio.lowlevel.remove_instrument(passes)
            await attacker.wait()
            found.append({"attack": name, "sent": sent, "passes": len(passes.took_s), "pass_ms": passes.figures()})
            print(json.dumps(found[-1]), flush=True)
        stop.set()
    return found


def main() -> int:
    """Exit code 1 where a tick may have to wait too long."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.pieces", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", action="append", choices=ATTACKS, metavar="NAME")
    told = parser.parse_args()
    configure("error", "json")
    with tempfile.TemporaryDirectory(prefix="holdfast-pieces-") as data:
        found = trio.run(measure, told.only or list(ATTACKS), told.seconds, Path(data))
    return int(any(one["pass_ms"]["p999"] > TICK_DELAY_MAX_MS for one in found))


if __name__ == "__main__":
    sys.exit(main())
