"""A node's process as its supervisor sees it: it starts, hears words, obeys or not, and dies of what it is sent.

    python -m tests.server.mortal live REPORTS NODE INCARNATION MANNER
    python -m tests.server.mortal supervise REPORTS NODE …     a supervisor with such nodes, until Ctrl-C

What happens to it is written, a line each, to the named pipe REPORTS: `up PID`, `told WORDS`, `interrupted`, `ended`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence

FENCED, REFUSED = 75, 2
PORT = 4000
LIFE_S = 60
"""Nobody lives longer, whatever becomes of the test."""


def command(reports: str, manner: str, node: str, incarnation: str) -> list[str]:
    """Arguments of a node's process: without site-packages it starts in 20 ms."""
    return [sys.executable, "-E", "-S", __file__, "live", reports, node, incarnation, manner]


def live(reports: str, node: str, incarnation: str, manner: str) -> None:
    """Be a node. Manners: plain; stubborn: does not end when it is told to; loud: prints what is no word of ours;
    refused: cannot serve."""
    pipe = os.open(reports, os.O_WRONLY)

    def report(what: str) -> None:
        os.write(pipe, f"{node} {incarnation} {what}\n".encode())

    signal.alarm(LIFE_S)
    signal.signal(signal.SIGINT, lambda *_: report("interrupted"))
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(FENCED))
    if manner == "refused":
        report("refused")
        os._exit(REFUSED)
    report(f"up {os.getpid()}")
    if manner == "loud":
        os.write(1, b'no word of ours\n[1]\n{"started": "soon"}\n' + b"[" * 5000 + b"\n\xff\xfe\n" + b"x" * 1_000_000)
        os.write(1, b"\n")
    os.write(1, json.dumps({"started": PORT + int(node[-1])}).encode() + b"\n")
    for line in sys.stdin:
        report(f"told {line.strip()}")
        if "stop" in json.loads(line) and manner != "stubborn":
            break
    else:
        if manner == "stubborn":
            while True:
                signal.pause()
    report("ended")


def supervise(reports: str, nodes: Sequence[str]) -> None:
    """Be a supervisor."""
    from functools import partial

    import trio

    from holdfast.serve import stop_on_signals
    from server.supervisor import Supervisor

    async def main() -> None:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(stop_on_signals, stop)
            await Supervisor(nodes, partial(command, reports, "plain")).run(stop)
            nursery.cancel_scope.cancel()

    trio.run(main)


if __name__ == "__main__":
    if sys.argv[1] == "live":
        live(*sys.argv[2:])
    else:
        supervise(sys.argv[2], sys.argv[3:])
