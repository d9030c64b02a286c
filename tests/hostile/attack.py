"""One attacker's process: makes itself ready, waits for a line, attacks for so many seconds at its rate, tells.

python -m tests.hostile.attack '{"name": …, "seconds": …, "port": …, "victims": […]}'     ─► {"ready": true}   "go" ─►
                                                                                    ─► {"sent": n, "failed": ""}
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from typing import Any

import trio

from tests.hostile import http, members, tcp, udp, web
from tests.hostile.kit import Attack, Target

ATTACKS: dict[str, Attack] = {**udp.ATTACKS, **tcp.ATTACKS, **members.ATTACKS, **http.ATTACKS, **web.ATTACKS}
NAP_S = 0.005
"""When an attacker can do nothing at the moment."""


async def fire(steps: Iterator[int], rate: float, seconds: float) -> int:
    """Let an attack run at its rate; how many units went out."""
    start, sent = trio.current_time(), 0
    for units in steps:
        sent += units
        now = trio.current_time()
        if now >= start + seconds:
            break
        await trio.sleep_until(max(start + sent / rate, now + (0.0 if units else NAP_S)))
    return sent


def main(told: dict[str, Any]) -> None:
    """The attacker's life."""
    os.nice(19)  # the good players share the processor, and are to be late only when the server is
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    attack, sent, failed = ATTACKS[told["name"]], 0, ""
    try:
        steps = attack.run(Target(told["port"], told["victims"], http_port=told["http_port"], token=told["token"]))
        next(steps)
        say({"ready": True})
        sys.stdin.readline()
        sent = trio.run(fire, steps, attack.rate, told["seconds"])
    except Exception as error:
        failed = f"{type(error).__name__}: {error}"
    say({"sent": sent, "failed": failed})


def say(told: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
