"""`python -m tests.hostile`: all attacks on a real server, a table, and whether any of them has succeeded."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import trio

from tests.hostile.attack import ATTACKS
from tests.hostile.judge import RATIO_MAX, RSS_RATIO_MAX, Outcome
from tests.hostile.run import PLAYERS, SuiteFailed, run

HEAD = (
    "attack            sent    p99 ms  (calm)   moved    max    late+   frames/s  CPU   MB before/peak/after   counted"
)


def main() -> int:
    """Exit code 1 when an attack has succeeded, 2 when the suite could not run."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each window (default 8)")
    parser.add_argument(
        "--only", action="append", choices=ATTACKS, metavar="NAME", help="one of: " + ", ".join(ATTACKS)
    )
    parser.add_argument("--players", type=int, default=PLAYERS, help=f"good players (default {PLAYERS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    told = parser.parse_args()
    print(HEAD, flush=True)
    names = told.only or list(ATTACKS)

    async def attack_all() -> tuple[list[Outcome], dict[str, object]]:
        with tempfile.TemporaryDirectory(prefix="holdfast-hostile-") as data:
            return await run(names, told.seconds, Path(data), players=told.players, show=show)

    refusal = ""
    try:
        outcomes, books = trio.run(attack_all)
    except* SuiteFailed as group:
        refusal = str(group.exceptions[0])
    if refusal:
        print(f"the suite failed: {refusal}", file=sys.stderr)
        return 2
    succeeded = {outcome.name: faults for outcome in outcomes if (faults := outcome.faults())}
    if books["lost"] or books["duplicated"] or books["errors"] or books["idle"]:
        succeeded["at the end"] = [f"good players: {books}"]
    if told.json:
        result = {
            "limits": {"ratio": RATIO_MAX, "rss_ratio": RSS_RATIO_MAX},
            "players": told.players,
            "attacks": [outcome.figures() for outcome in outcomes],
            "books": books,
            "succeeded": succeeded,
        }
        told.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(outcomes)} attacks, {len(succeeded)} of them succeeded; inputs lost {books['lost']}, "
          f"applied twice {books['duplicated']}")  # fmt: skip
    for name, faults in succeeded.items():
        print(f"  {name}: {'; '.join(faults)}")
    return 1 if succeeded else 0


def show(outcome: Outcome) -> None:
    """One line of the table."""
    during, calm_ms = outcome.during, (outcome.before.interval_p99_ms + outcome.after.interval_p99_ms) / 2
    counted = "  ".join(f"{name} {count:,.0f}" for name, count in outcome.refused.items())
    moved, name = f"{outcome.ratio - 1:+.1%}", outcome.name
    memory = f"{outcome.rss_before_mb:.0f} / {outcome.rss_peak_mb:.0f} / {outcome.rss_after_mb:.0f}"
    print(
        f"{name:<15} {outcome.sent:>8,} {during.interval_p99_ms:>8.1f} {calm_ms:>8.1f} {moved:>7} "
        f"{during.interval_max_ms:>7.1f} {outcome.tick_delay_ms:>+7.2f} {during.frames_per_s:>8.2f} "
        f"{outcome.cpu_share:>6.0%}   {memory:<20}  " + counted,
        flush=True,
    )
    for fault in outcome.faults():
        print(f"    ! {fault}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
