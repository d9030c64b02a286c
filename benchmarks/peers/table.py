"""The table of peers from all runs: medians with their spread, as data and as markdown.

Of each peer, two kinds of runs count: those at the same number of players for all, of which cost, latency, bytes and
memory are told, and the capacities that the searches found. Runs in which other programs used the cores are left out;
a row says how many are behind it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

FIGURES: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "cpu_us_per_frame": lambda run: run["report"]["server"]["cpu_us_per_frame"],
    "rtt_p50_ms": lambda run: run["report"]["input_rtt_ms"]["p50"],
    "rtt_p99_ms": lambda run: run["report"]["input_rtt_ms"]["p99"],
    "bytes_per_frame": lambda run: run["report"]["bytes_per_frame"],
    "memory_kb_per_client": lambda run: run["memory_kb_per_client"],
    "frames_per_s_min": lambda run: run["report"]["frames_per_s"]["min"],
    "interval_worst_p99_ms": lambda run: run["report"]["frame_interval_ms"]["worst_client_p99"],
}
"""Name of a figure → where a run has it."""


@attrs.frozen
class Spread:
    """The figures of several runs."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """None where there are none."""
        known = [value for value in values if value is not None]
        return cls(statistics.median(known), min(known), max(known)) if known else None

    def __str__(self) -> str:
        median, low, high = (_short(value) for value in (self.median, self.low, self.high))
        return median if low == high else f"{median} ({low} to {high})"


def undisturbed(runs: Iterable[Mapping[str, Any]], others_max: float) -> list[Mapping[str, Any]]:
    """Those in which other programs took no more than this share of the machine's time."""
    return [run for run in runs if run["others"] is None or run["others"] <= others_max]


def rows(
    names: Sequence[str],
    runs: Sequence[Mapping[str, Any]],
    capacities: Sequence[Mapping[str, Any]],
    others_max: float,
) -> list[dict[str, Any]]:
    """A row a peer. `runs`: of `matches.Run`, as data, at the same number of players; `capacities`: what each search of
    a peer found: `peer`, `players`, `by_generator`."""
    found = []
    for name in names:
        mine = undisturbed([run for run in runs if run["peer"] == name], others_max)
        told = [run for run in mine if run["report"]]
        searches = [one for one in capacities if one["peer"] == name]
        row: dict[str, Any] = {"peer": name, "runs": len(mine), "kept": sum(run["verdict"] == "kept" for run in mine)}
        row |= {figure: _data(Spread.of(read(run) for run in told)) for figure, read in FIGURES.items()}
        row["capacity"] = _data(Spread.of(one["players"] for one in searches))
        row["searches"] = len(searches)
        row["capacity_by_generator"] = any(one["by_generator"] for one in searches)
        found.append(row)
    return found


def markdown(measured: Mapping[str, Any], does: Mapping[str, str]) -> str:
    """The table for people, with the machine, the versions, the commands and what each peer does less or more."""
    machine = measured["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    players, seconds = measured["players"], measured["seconds"]
    lines = [
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}. "
        f"Server on core {measured['pinned']['server']}, generator on core {measured['pinned']['generator']}. "
        f"Versions: {versions}.",
        "",
        f"| peer | players at 20 Hz | µs CPU a client and tick at {players:,} | input → frame p50 / p99, ms "
        "| bytes a frame | memory a client, kB | runs | does |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in measured["table"]:
        capacity = _say(row["capacity"])
        if row["capacity_by_generator"]:
            capacity = f"≥ {capacity}"
        rtt = f"{_say(row['rtt_p50_ms'])} / {_say(row['rtt_p99_ms'])}"
        figures = [_say(row["cpu_us_per_frame"]), rtt, _say(row["bytes_per_frame"]), _say(row["memory_kb_per_client"])]
        runs = f"{row['runs']} ({row['kept']} kept the rule), {row['searches']} searches"
        lines.append(f"| {row['peer']} | {capacity} | {' | '.join(figures)} | {runs} | {does[row['peer']]} |")
    lines += [
        "",
        "Rule: every client ≥ 19 frames/s, worst client's p99 interval ≤ 75 ms, nobody lost, "
        f"in a window of {seconds:g} s. Medians, in brackets the least and the most. "
        "≥: the generator was the limit, not the server. Bytes: payload of the datagram, or of the WebSocket message "
        "with its head; not what TCP, UDP and IP add. Memory: resident, with what a "
        "heap keeps in reserve, less that before the first client. "
        f"Runs in which other programs took more than {measured['others_max']:.0%} of the machine are left out: "
        f"{measured['discarded']}.",
        "",
        "Colyseus' uWebSockets transport is not on npm and was not measured.",
        "",
        "```",
        *(f"{name}: {command}" for name, command in measured["commands"].items()),
        "```",
    ]
    return "\n".join([*lines, *(f"\nWarning: {warning}" for warning in measured["warnings"])]) + "\n"


def _data(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else attrs.asdict(spread)


def _say(data: Mapping[str, float] | None) -> str:
    return "-" if data is None else str(Spread(**data))


def _short(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
