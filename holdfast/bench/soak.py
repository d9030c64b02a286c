"""`holdfast bench soak`: does a server that players come to and leave again stay as it was?

    holdfast serve, one core  ◄── groups of bots, the other core: each plays for a while, leaves, and comes again,
                                  a group after the other, so that rooms open and close all the time
                              ◄── a look every 10 s: memory, sessions, rooms, lateness

Every other time a group comes with the same players, else with new ones. Memory is judged over the second half of the
run, when caches and remembered ticks have filled up: it *grows* when its trend is over 1 % an hour beyond doubt (the
lower end of the 95 % interval of a least-squares line), it is *flat* when the upper end is not; a short run may not
know. A tick is late when it starts more than half a tick behind its time; what the server's log tells of it is kept.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.files import raise_file_limit

if TYPE_CHECKING:
    from holdfast.bench.serving import Cores

LOOK_EVERY_S = 10.0
GROUPS = 10
FULL_SHARE = 0.05
GROWTH_MAX = 0.01
"""Of the memory, in an hour."""
KEPT = ("rss_mb", "sessions", "rooms", "ticks_overrun", "ticks_skipped", "frames_sent", "frames_dropped", "cpu_s")
"""What a sample keeps of the server's figures as it is."""
OTHERS_MAX = 0.1
LATE_TOLD = 10
"""Lines of late ticks that are printed, the worst ones; the JSON has all."""


@click.command()
@click.option("--minutes", type=click.FloatRange(0.1, 10_000), default=30.0, show_default=True, help="How long.")
@click.option("--players", type=click.IntRange(10, 10_000), default=1000, show_default=True, help="At the same time.")
@click.option(
    "--stay-s", type=click.FloatRange(1, 3600), default=60.0, show_default=True, help="How long a group plays."
)
@click.option("--tick-hz", type=click.IntRange(10, 128), default=20, show_default=True, help="Ticks a second.")
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write samples and verdict here.")
def soak(minutes: float, players: int, stay_s: float, tick_hz: int, file: Path | None) -> int:
    """Rooms and players come and go for a long time: does memory grow, are ticks late?

    Exit code 1 when memory grows, a tick was late, or bots could not play.
    """
    from holdfast.bench.serving import CannotMeasure, ended_by_signals

    raise_file_limit()
    try:
        with ended_by_signals():
            measured = measure(minutes * 60, players, stay_s, tick_hz, show=_line)
    except CannotMeasure as error:
        click.echo(f"holdfast bench soak: {error}", err=True)
        return 1
    if file is not None:
        file.write_text(json.dumps(measured, indent=2) + "\n")
    _print(measured)
    return 1 if measured["faults"] else 0


def measure(
    seconds: float,
    players: int,
    stay_s: float,
    tick_hz: int,
    *,
    look_every_s: float = LOOK_EVERY_S,
    groups: int = GROUPS,
    show: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """All of it; see `soak`. Raises CannotMeasure."""
    import trio

    from holdfast.bench.machine import machine, versions
    from holdfast.bench.serving import CannotMeasure, Cores, Others, server

    cores, others = Cores.found(), Others()
    run = _Run(cores, players // groups, stay_s, groups)
    limits = ["--rooms-max", str(players + 100), "--sessions-max", str(2 * players + 100)]
    with server(["--tick-hz", str(tick_hz), *limits], cores.server) as serving:
        try:
            trio.run(run.play, serving.address, seconds, look_every_s, show)
        except OSError as error:
            raise CannotMeasure(f"the server does not answer: {error}") from None
        late_ticks = serving.told("tick_late")
    return {
        "players": players,
        "groups": groups,
        "stay_s": stay_s,
        "tick_hz": tick_hz,
        "seconds": seconds,
        "stays": run.stays,
        "could_not_play": run.could_not_play,
        "inputs": run.inputs,
        "errors": run.errors,
        **verdict(run.samples, tick_hz, run.could_not_play, run.inputs),
        "pinned": cores.told(),
        "late_ticks": late_ticks,
        "others_share": others.share(),
        "machine": machine(),
        "versions": versions(),
        "samples": run.samples,
    }


class _Run:
    """The groups of bots and the looks at the server, while they last."""

    def __init__(self, cores: Cores, players: int, stay_s: float, groups: int) -> None:
        self.samples: list[dict[str, Any]] = []
        self.stays = 0
        """How often a group came and left again."""
        self.could_not_play = 0
        self.inputs = dict.fromkeys(("sent", "acknowledged", "lost", "duplicated"), 0)
        self.errors: dict[str, int] = {}
        self._cores, self._players, self._stay_s, self._groups = cores, players, stay_s, groups

    async def play(
        self, address: str, seconds: float, look_every_s: float, show: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """Until the time is over, and the groups that are there have left."""
        import trio

        from netcode.client import connect

        end_s = time.monotonic() + seconds
        async with trio.open_nursery() as nursery:
            for number in range(self._groups):
                nursery.start_soon(self._group, number, address, end_s)
            async with connect(address, name="onlooker") as client:
                begun_s = time.monotonic()
                while (now_s := time.monotonic()) < end_s:
                    await trio.sleep(min(look_every_s, end_s - now_s))
                    figures = await client.stats(max(1, round(look_every_s)))
                    self.samples.append(sample_of(time.monotonic() - begun_s, figures))
                    show(self.samples[-1])

    async def _group(self, number: int, address: str, end_s: float) -> None:
        """Come, play, leave, and come again; each group has its own place in the time of a stay."""
        import trio

        from holdfast.bench.serving import bots

        await trio.sleep(number * self._stay_s / self._groups)
        for stay in range(1_000_000):
            left_s = end_s - time.monotonic()
            if left_s < 1:
                return
            seed = number + 1 + stay // 2 * self._groups  # the same players once more, then others
            more = ["--full-share", str(FULL_SHARE), "--seed", str(seed)]
            play_s = min(self._stay_s, left_s)
            report = await trio.to_thread.run_sync(bots, address, self._players, play_s, self._cores.bots, more)
            self.stays += 1
            self.could_not_play += report["could_not_play"]
            for name in self.inputs:
                self.inputs[name] += report["inputs"][name]
            for kind, count in report["errors"].items():
                self.errors[kind] = self.errors.get(kind, 0) + count


def sample_of(at_s: float, figures: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a look: counters since the start, lateness of the ticks since the last look."""
    late = figures["tick_lateness_ms"]
    kept = {name: round(figures[name], 3) for name in KEPT}
    return {"at_s": round(at_s, 1), **kept, "late_p99_ms": round(late["p99"], 2), "late_max_ms": round(late["max"], 2)}


def verdict(
    samples: Sequence[Mapping[str, Any]], tick_hz: int, could_not_play: int, inputs: Mapping[str, int]
) -> dict[str, Any]:
    """What the samples say: `faults` in words, none if all is well."""
    limit_ms = 500 / tick_hz
    late = [sample for sample in samples if sample["late_max_ms"] > limit_ms]
    second = [(sample["at_s"], sample["rss_mb"]) for sample in samples[len(samples) // 2 :]]
    trend = growth(second)
    faults = []
    if trend["memory"] == "grows":
        faults.append(f"memory grows by {trend['growth_per_hour']:.1%} an hour")
    if late:
        worst_ms = max(sample["late_max_ms"] for sample in late)
        faults.append(f"ticks were late in {len(late)} of {len(samples)} samples, by up to {worst_ms:.0f} ms")
    if could_not_play:
        faults.append(f"{could_not_play} bots could not play")
    faults += [f"{inputs[name]} inputs {name}" for name in ("lost", "duplicated") if inputs[name]]
    return {**trend, "late_limit_ms": limit_ms, "late_samples": len(late), "faults": faults}


def growth(points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The trend of (s, MB) points, as a share of their mean an hour, with its 95 % interval, and what that means:
    "grows", "flat", or "not known"."""
    n = len(points)
    at_mean, mean = (sum(values) / max(n, 1) for values in (zip(*points, strict=True) if n else ([], [])))
    spread = sum((at - at_mean) ** 2 for at, _ in points)
    if n < 3 or not spread or not mean:
        return {"memory": "not known", "growth_per_hour": None, "growth_low": None, "growth_high": None}
    slope = sum((at - at_mean) * (value - mean) for at, value in points) / spread
    rest = sum((value - mean - slope * (at - at_mean)) ** 2 for at, value in points)
    doubt = 2 * math.sqrt(rest / (n - 2) / spread)
    per_hour, low, high = (3600 * value / mean for value in (slope, slope - doubt, slope + doubt))
    told = "grows" if low > GROWTH_MAX else "flat" if high <= GROWTH_MAX else "not known"
    named = {"growth_per_hour": per_hour, "growth_low": low, "growth_high": high}
    return {"memory": told, **{name: round(value, 5) for name, value in named.items()}}


def _line(sample: Mapping[str, Any]) -> None:
    what = f"{sample['at_s']:6.0f} s  {sample['rss_mb']:6.1f} MB  {sample['sessions']:5} sessions"
    late = f"late p99 {sample['late_p99_ms']:.1f} ms, max {sample['late_max_ms']:.1f} ms"
    click.echo(f"{what}  {sample['rooms']:4} rooms  {late}", err=True)


def _print(measured: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console, samples = Console(), measured["samples"]
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("players", f"{measured['players']:,}, {measured['seconds'] / 60:g} min at {measured['tick_hz']} Hz")
    table.add_row("came and left", f"{measured['stays']} times a group of {measured['players'] // measured['groups']}")
    if samples:
        for name, unit in (("rss_mb", "MB"), ("sessions", ""), ("rooms", "")):
            values = [sample[name] for sample in samples]
            told = f"first {values[0]:,.0f}  last {values[-1]:,.0f}  most {max(values):,.0f} {unit}"
            table.add_row("memory" if unit else name, told)
        p99, most = (max(sample[name] for sample in samples) for name in ("late_p99_ms", "late_max_ms"))
        table.add_row("ticks late", f"worst p99 {p99:.1f}  max {most:.1f} ms")
        table.add_row("ticks skipped", f"{samples[-1]['ticks_skipped']:,}")
    if (per_hour := measured["growth_per_hour"]) is not None:
        between = f"{measured['growth_low']:+.2%} to {measured['growth_high']:+.2%}"
        table.add_row("trend an hour", f"{per_hour:+.2%} ({between}): {measured['memory']}")
    table.add_row("inputs", "  ".join(f"{name} {count:,}" for name, count in measured["inputs"].items()))
    console.print(table, highlight=False)
    for kind, count in measured["errors"].items():
        console.print(f"error {kind}: {count}", style="red", markup=False)
    for fault in measured["faults"]:
        console.print(f"failed: {fault}", style="red", markup=False)
    for line in sorted(measured["late_ticks"], key=lambda line: -line["late_ms"])[:LATE_TOLD]:
        console.print(f"late: {json.dumps(line)}", markup=False)
    with contextlib.suppress(TypeError):  # not known
        if measured["others_share"] > OTHERS_MAX:
            told = f"other programs kept {measured['others_share']:.0%} of the machine busy"
            console.print(f"warning: {told}", style="yellow", markup=False)
