"""`holdfast bench journal`: what it costs that nothing is told before it is stored.

    pair 1   server with the journal ◄── bots    server without ◄── bots
    pair 2   server without ◄── bots             server with the journal ◄── bots     … one at a time, in turn

Real servers and real bots, over encrypted datagrams, as users run them (`holdfast.bench.serving`). A machine has better
and worse minutes, so the two are measured close together, the one first that was second before, and what is told is the
median of the pairs' differences, never the difference of two means.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from holdfast.files import raise_file_limit

CPU_RATIO_GOAL = 1.10
RTT_MORE_GOAL_MS = 3.0
OTHERS_MAX = 0.1
"""Of the machine's time, that other programs may take before it is worth a warning."""
DIFFERENCES = {
    "rtt_p50_more_ms": ("input_rtt_ms", "p50"),
    "rtt_p99_more_ms": ("input_rtt_ms", "p99"),
    "late_p50_more_ms": ("tick_lateness_ms", "p50"),
    "late_p99_more_ms": ("tick_lateness_ms", "p99"),
}
"""What a pair tells in ms: the figure of the run with the journal less that of the run without."""
FIGURES = ("frames_per_s", "input_rtt_ms", "tick_lateness_ms", "generator_late_ms", "inputs", "errors")
"""What a run keeps of the bots' report as it is."""


@click.command()
@click.option("--players", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Bots, ten a room.")
@click.option("--tick-hz", type=click.IntRange(10, 128), default=20, show_default=True, help="Ticks a second.")
@click.option("--pairs", type=click.IntRange(1, 100), default=5, show_default=True, help="Measurements of each.")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 3600), default=12.0, show_default=True, help="Length of a measurement."
)
@click.option(
    "--journal",
    type=click.Choice(["process", "disk"]),
    default="process",
    show_default=True,
    help="The journal that is compared with none.",
)
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures here.")
def journal(players: int, tick_hz: int, pairs: int, seconds: float, journal: str, file: Path | None) -> int:
    """What journal and gate cost: CPU time a frame, and time from an input to the frame that acknowledges it.

    Exit code 1 when something could not be measured.
    """
    from holdfast.bench.serving import CannotMeasure, ended_by_signals

    raise_file_limit()
    try:
        with ended_by_signals():
            measured = measure(players, tick_hz, pairs, seconds, journal)
    except CannotMeasure as error:
        click.echo(f"holdfast bench journal: {error}", err=True)
        return 1
    if file is not None:
        file.write_text(json.dumps(measured, indent=2) + "\n")
    _print(measured)
    return 0


def measure(players: int, tick_hz: int, pairs: int, seconds: float, journal: str) -> dict[str, Any]:
    """Run all pairs; see `journal`. Raises CannotMeasure."""
    from holdfast.bench.machine import machine, versions
    from holdfast.bench.serving import Cores, Others, bots, server

    cores, runs = Cores.found(), []
    for pair in range(1, pairs + 1):
        for kind in order(pair, journal):
            click.echo(f"pair {pair} of {pairs}: journal {kind} …", err=True)
            others = Others()
            with server(["--tick-hz", str(tick_hz), "--journal", kind], cores.server) as serving:
                report = bots(serving.address, players, seconds, cores.bots)
            runs.append(run_of(pair, kind, report, others.share()))
    return {
        "players": players,
        "tick_hz": tick_hz,
        "seconds": seconds,
        "journal": journal,
        "pinned": cores.told(),
        "machine": machine(),
        "versions": versions(),
        "runs": runs,
        **compare(runs, journal),
        "warnings": warnings_of(runs, players),
    }


def order(pair: int, journal: str) -> tuple[str, str]:
    """Which journals a pair is measured with, in turn: what is first is second in the next."""
    return (journal, "off") if pair % 2 else ("off", journal)


def run_of(pair: int, kind: str, report: Mapping[str, Any], others: float | None) -> dict[str, Any]:
    """What is kept of a report of the bots; `others`: see `holdfast.bench.serving.Others`."""
    return {
        "pair": pair,
        "journal": kind,
        "cpu_us_per_frame": report["server"]["cpu_us_per_frame"],
        "rss_mb": report["server"]["rss_mb"],
        **{name: report[name] for name in FIGURES},
        "others_share": others,
        "could_not_play": report["could_not_play"],
        "warnings": report["warnings"],
    }


def compare(runs: Sequence[Mapping[str, Any]], journal: str) -> dict[str, Any]:
    """Each pair's ratio of CPU time and differences in ms, their medians, and whether these are within the goal.

    A figure that one of the two runs does not have (nobody could play) is None, and left out of the median.
    """
    pairs = []
    for number in sorted({run["pair"] for run in runs}):
        with_it, without = (
            next(run for run in runs if (run["pair"], run["journal"]) == (number, kind)) for kind in (journal, "off")
        )
        pair: dict[str, Any] = {"pair": number}
        cpu, cpu_off = with_it["cpu_us_per_frame"], without["cpu_us_per_frame"]
        pair["cpu_ratio"] = round(cpu / cpu_off, 4) if cpu is not None and cpu_off else None
        for name, (figure, part) in DIFFERENCES.items():
            here, there = with_it[figure][part], without[figure][part]
            pair[name] = round(here - there, 3) if here is not None and there is not None else None
        pairs.append(pair)
    median = {name: _median([pair[name] for pair in pairs]) for name in ("cpu_ratio", *DIFFERENCES)}
    goal = {"cpu_ratio": CPU_RATIO_GOAL, "rtt_p50_more_ms": RTT_MORE_GOAL_MS}
    met = {name: None if (found := median[name]) is None else found <= limit for name, limit in goal.items()}
    return {"pairs": pairs, "median": median, "goal": goal, "goal_met": met}


def warnings_of(runs: Sequence[Mapping[str, Any]], players: int) -> list[str]:
    """What makes runs worth less: a generator that was late itself, a busy machine, players who could not play."""
    found = []
    for run in runs:
        told = list(run["warnings"])
        if run["could_not_play"]:
            told.append(f"{run['could_not_play']} of {players} bots could not play")
        told += [f"{count} errors {kind}" for kind, count in run["errors"].items()]
        if run["others_share"] is not None and run["others_share"] > OTHERS_MAX:
            told.append(f"other programs kept {run['others_share']:.0%} of the machine busy")
        if run["cpu_us_per_frame"] is None:
            told.append("the server did not tell its CPU time")
        found += [f"pair {run['pair']}, journal {run['journal']}: {text}" for text in told]
    return found


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 4) if known else None


def _print(measured: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    what = f"{measured['players']:,} players at {measured['tick_hz']} Hz, {measured['seconds']:g} s each"
    table = Table(title=f"{what}; CPU in µs a frame, ticks and bots late (p99) in ms", title_justify="left")
    for name in ("pair", "journal", "frames/s", "CPU", "RTT p50", "p99", "ticks", "bots"):
        table.add_column(name, justify="left" if name == "journal" else "right", no_wrap=True)
    for run in measured["runs"]:
        rtt, late = run["input_rtt_ms"], run["tick_lateness_ms"]
        figures = (run["frames_per_s"]["mean"], run["cpu_us_per_frame"], rtt["p50"], rtt["p99"], late["p99"])
        table.add_row(str(run["pair"]), run["journal"], *map(_say, (*figures, run["generator_late_ms"]["p99"])))
    console = Console()
    console.print(table)
    more = Table(title=f"journal {measured['journal']} less off; CPU in %, ms", title_justify="left")
    for name in ("pair", "CPU", "RTT p50", "p99", "ticks p50", "p99"):
        more.add_column(name, justify="right", no_wrap=True)
    for name, pair in [*((str(pair["pair"]), pair) for pair in measured["pairs"]), ("median", measured["median"])]:
        percent = None if pair["cpu_ratio"] is None else (pair["cpu_ratio"] - 1) * 100
        more.add_row(name, *map(_more, (percent, *(pair[name] for name in DIFFERENCES))))
    console.print(more)
    cores = measured["pinned"]
    where = "anywhere" if cores["server"] is None else f"core {cores['server']}, bots on core {cores['bots']}"
    told = {True: "within it", False: "not within it", None: "not known"}
    goal, met = measured["goal"], measured["goal_met"]
    console.print(
        f"server on {where}; goal: CPU ≤ {(goal['cpu_ratio'] - 1):+.0%} ({told[met['cpu_ratio']]}), "
        f"RTT p50 ≤ {goal['rtt_p50_more_ms']:+g} ms ({told[met['rtt_p50_more_ms']]})"
    )
    for warning in measured["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def _say(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _more(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}"
