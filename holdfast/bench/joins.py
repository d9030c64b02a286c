"""`holdfast bench joins`: are ticks on time while many players come at once?

    holdfast serve, one core ◄── the players who are there: they see every frame, or do not   } bots, both on
                             ◄── the newcomers: so many a second log in and take their seats  } the other core
    the server's own figures over the newcomers' joining: how late ticks began, how many were skipped

A newcomer's time begins when it was to come, whatever became of those before it, and ends with its seat; rooms are
opened on the way, and whoever has a seat plays. A tick is late when it begins more than half a tick behind its time.
"""

from __future__ import annotations

import contextlib
import json
import math
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from holdfast.files import raise_file_limit

if TYPE_CHECKING:
    from bots.crew import Plan
    from bots.report import Tally

FULL_SHARE = 0.05
CALM_S = 3.0
"""The players who are there play for so long before the first newcomer."""
WAIT_S = 120.0
STAY_S = 600.0
"""Longer than any run: their window is ended when all has been seen."""
NEWCOMERS_SEED = 2


@click.command()
@click.option("--players", type=click.IntRange(1, 20_000), default=1000, show_default=True, help="Who come.")
@click.option(
    "--per-s", type=click.FloatRange(1, 100_000), default=500.0, show_default=True, help="How many come in a second."
)
@click.option("--there", type=click.IntRange(10, 10_000), default=500, show_default=True, help="Who play already.")
@click.option("--tick-hz", type=click.IntRange(10, 128), default=20, show_default=True, help="Ticks a second.")
@click.option("--repeats", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs, a server each.")
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures here.")
def joins(repeats: int, file: Path | None, **given: Any) -> int:
    """Players come at a rate, others play meanwhile: is a tick more than half a tick late, how long does a join take?

    Exit code 1 when a tick was late or skipped, somebody could not play, or something could not be measured.

    \b
    Examples:
      holdfast bench joins
      holdfast bench joins --per-s 100000    (all of them at once)
    """
    from holdfast.bench.serving import CannotMeasure, ended_by_signals

    raise_file_limit()
    try:
        with ended_by_signals():
            measured = measure(repeats=repeats, **given)
    except CannotMeasure as error:
        click.echo(f"holdfast bench joins: {error}", err=True)
        return 1
    if file is not None:
        file.write_text(json.dumps(measured, indent=2) + "\n")
    _print(measured)
    return 1 if any(run["faults"] for run in measured["runs"]) else 0


def measure(
    *, players: int, per_s: float, there: int, tick_hz: int, repeats: int, calm_s: float = CALM_S
) -> dict[str, Any]:
    """All runs; see `joins`. Raises CannotMeasure."""
    from holdfast.bench.machine import machine, versions
    from holdfast.bench.serving import Cores

    cores, runs = Cores.found(), list[dict[str, Any]]()
    for repeat in range(1, repeats + 1):
        click.echo(f"{players:,} players come, run {repeat} of {repeats} …", err=True)
        runs.append(run_once(cores, players, per_s, there, tick_hz, calm_s))
    return {
        "players": players,
        "per_s": per_s,
        "there": there,
        "tick_hz": tick_hz,
        "late_limit_ms": 500 / tick_hz,
        "worst_late_ms": max(run["tick_lateness_ms"]["max"] for run in runs),
        "ticks_skipped": sum(run["ticks_skipped"] for run in runs),
        "join_p50_ms": statistics.median(run["join_ms"]["p50"] or math.inf for run in runs),
        "join_p99_ms": statistics.median(run["join_ms"]["p99"] or math.inf for run in runs),
        "pinned": cores.told(),
        "machine": machine(),
        "versions": versions(),
        "runs": runs,
    }


def run_once(cores: Any, players: int, per_s: float, there: int, tick_hz: int, calm_s: float) -> dict[str, Any]:
    """One server, and all who come to it. Raises CannotMeasure."""
    from bots.crew import Plan
    from holdfast.bench.serving import Others, figures_of, server

    most, others = str(players + there + 9), Others()
    limits = ["--tick-hz", str(tick_hz), "--rooms-max", most, "--sessions-max", most]
    with server(limits, cores.server) as serving:
        plan = Plan(server=serving.address, players=there, seconds=STAY_S, full_share=FULL_SHARE)
        with crowd(plan, cores.bots) as residents:
            residents.wait("ready")
            time.sleep(calm_s)
            before = figures_of(serving.address, calm_s)
            residents.say()
            more = attrs.evolve(plan, players=players, join_per_s=per_s, seed=NEWCOMERS_SEED)
            with crowd(more, cores.bots) as newcomers:
                told = newcomers.wait("ready")
                after = figures_of(serving.address, told["joining_s"])
                residents.say()
                seen = residents.tally()
                newcomers.say(2)
                came = newcomers.tally()
    return judged(before, after, seen, came, told["joining_s"], tick_hz) | {"others_share": others.share()}


def judged(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    seen: Mapping[str, Any],
    came: Mapping[str, Any],
    joining_s: float,
    tick_hz: int,
) -> dict[str, Any]:
    """One run from the server's figures at its two ends and the reports of both crowds, with its `faults` in words."""
    late, skipped = after["tick_lateness_ms"], after["ticks_skipped"] - before["ticks_skipped"]
    faults = []
    if late["max"] > 500 / tick_hz:
        faults.append(f"a tick began {late['max']:.0f} ms late")
    if skipped:
        faults.append(f"{skipped} ticks were skipped")
    idle = [(report["could_not_play"], report["players"]) for report in (seen, came)]
    faults += [f"{few} of {many} could not play" for few, many in idle if few]
    return {
        "tick_lateness_ms": {name: round(late[name], 2) for name in ("p50", "p99", "max")},
        "calm_lateness_ms": {name: round(before["tick_lateness_ms"][name], 2) for name in ("p50", "p99", "max")},
        "ticks_skipped": skipped,
        "ticks_overrun": after["ticks_overrun"] - before["ticks_overrun"],
        "joining_s": round(joining_s, 2),
        "joined_per_s": round(came["players"] / joining_s, 1),
        "join_ms": came["join_ms"],
        "server_core_share": round((after["cpu_s"] - before["cpu_s"]) / joining_s, 3),
        "frame_interval_ms": seen["frame_interval_ms"],
        "inputs_lost": seen["inputs"]["lost"] + came["inputs"]["lost"],
        "generator_late_ms": seen["generator_late_ms"],
        "errors": came["errors"],
        "faults": faults,
    }


class Crowd:
    """A process of bots, as `bots.run` starts them."""

    def __init__(self, process: subprocess.Popen[bytes], plan: Plan) -> None:
        self._process, self._plan = process, plan

    def say(self, times: int = 1) -> None:
        """Begin the window of the bots, or end it (`bots.run`)."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # noticed by `wait`
            self._process.stdin.write(b"go\n" * times)
            self._process.stdin.flush()

    def wait(self, word: str) -> dict[str, Any]:
        """The next line that tells this. Raises CannotMeasure."""
        from holdfast.bench.serving import CannotMeasure

        assert self._process.stdout is not None
        until = time.monotonic() + WAIT_S
        while select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
            line = self._process.stdout.readline()
            if not line:
                raise CannotMeasure(f"the bots ended with code {self._process.wait()}")
            told: dict[str, Any] = json.loads(line)
            if word in told:
                return told
        raise CannotMeasure(f"the bots have not come to an end in {WAIT_S:.0f} s")

    def tally(self) -> dict[str, Any]:
        """What they report in the end. Raises CannotMeasure."""
        from bots.report import Tally, report

        told = self.wait("tally")
        tally: Tally = Tally.load(told["tally"])
        return report(tally, seconds=told["seconds"], transport=self._plan.transport)


@contextlib.contextmanager
def crowd(plan: Plan, core: int | None) -> Iterator[Crowd]:
    """Bots in a process of their own, pinned to a core (None: anywhere), until the block ends."""
    from holdfast.bench.serving import STOP_S, child_environ, on_core

    told = json.dumps({"plan": attrs.asdict(plan), "ask_server": False})
    with on_core(core):
        process = subprocess.Popen(
            [sys.executable, "-m", "bots.run", told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environ(),
            start_new_session=True,
            bufsize=0,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Crowd(process, plan)
    finally:
        process.stdin.close()  # it ends with that
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _print(measured: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"{measured['players']:,} come, {measured['per_s']:g} a second, to {measured['there']:,} who play"
    table = Table(
        "", "late p99, ms", "max", "skipped", "join p50, ms", "p99", "joined/s", title=title, title_justify="left"
    )
    for number, run in enumerate(measured["runs"], 1):
        late, join = run["tick_lateness_ms"], run["join_ms"]
        figures = [late["p99"], late["max"], run["ticks_skipped"], join["p50"], join["p99"], run["joined_per_s"]]
        table.add_row(f"run {number}", *("-" if value is None else f"{value:,.1f}" for value in figures))
    console = Console()
    console.print(table)
    faults: Sequence[str] = [
        f"run {number}: {fault}" for number, run in enumerate(measured["runs"], 1) for fault in run["faults"]
    ]
    for fault in faults:
        console.print(f"failed: {fault}", style="red", markup=False, highlight=False)
    told = "no tick was late by more than" if not faults else "the limit is"
    console.print(f"{told} {measured['late_limit_ms']:g} ms", highlight=False)
