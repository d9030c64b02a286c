"""`holdfast bench capacity`: how many players one core carries, and what a frame costs it.

    a run   holdfast serve on one core ◄── holdfast bots on another, S seconds ──► report, judged by `bench.rule`
            then, on the same cores: the floor for as many players and datagrams of that run's sizes (`bench.floor`)

Real servers and real bots as users run them, encrypted, with journal and gate. Without --players the largest number
that keeps the rule is searched. Runs that other programs disturbed are told, not left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from holdfast.bench.capacity_table import show
from holdfast.bench.rule import CPU_GOAL_US, FLOOR_RATIO_GOAL, Rule, Search, judged, median_run, most_held, spread
from holdfast.files import raise_file_limit

if TYPE_CHECKING:
    from game.api import Game

TRANSPORTS = ("udp", "tcp", "ws", "wss")
FULL_SHARE_MIN = 0.05
FLOOR_TICKS = 60
FIRST_STEPS = 2
"""A search begins with so many steps."""
LIFE = ("tick_lateness_ms", "ticks_overrun", "ticks_skipped", "frames_dropped")
"""What a server tells of a run with everybody's coming and going, not of its window alone."""
SEAL_BYTES = 27
"""Of a datagram: type, connection id, sequence and tag (docs/protocol.md)."""


@attrs.frozen(kw_only=True)
class Workload:
    """What is measured, but for the number of players."""

    game: str
    options: Mapping[str, str]
    rooms_of: int
    input_size: int
    """Bytes of one packed input."""
    tick_hz: int
    seconds: float
    journal: str
    transport: str
    full_share: float

    @property
    def served(self) -> list[str]:
        """Arguments of `holdfast serve` that all numbers of players share."""
        options = [word for name, value in self.options.items() for word in ("-o", f"{name}={value}")]
        return ["--game", self.game, "--tick-hz", str(self.tick_hz), "--journal", self.journal, *options]

    @property
    def played(self) -> list[str]:
        """Arguments of `holdfast bots`."""
        share = ["--full-share", str(self.full_share)]
        return ["--rooms-of", str(self.rooms_of), "--transport", self.transport, *share]


@click.command()
@click.option("--players", type=click.IntRange(1, 20_000), default=None, help="How many.  [default: searched]")
@click.option("--step", type=click.IntRange(10, 5000), default=500, show_default=True, help="Of the search.")
@click.option("--tick-hz", type=click.IntRange(10, 128), default=20, show_default=True, help="Ticks a second.")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=12.0, show_default=True, help="Of each run.")
@click.option("--repeats", type=click.IntRange(1, 100), default=1, show_default=True, help="Runs of each number.")
@click.option("--rooms-of", type=click.IntRange(1, 256), default=None, help="Players a room.  [default: its seats]")
@click.option(
    "--full-share",
    type=click.FloatRange(FULL_SHARE_MIN, 1),
    default=FULL_SHARE_MIN,
    show_default=True,
    help="Part of the bots that decode and check all they see; the others time it only.",
)
@click.option(
    "--transport", type=click.Choice(["udp", "tcp", "ws", "wss"]), default="udp", show_default=True, help="Of frames."
)
@click.option("--journal", type=click.Choice(["process", "disk", "off"]), default="process", show_default=True)
@click.option("--game", default="arena", show_default=True, metavar="NAME|MODULE:CLASS", help="What is played.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="Option of the game; may be repeated.")
@click.option("--profile", type=click.Path(path_type=Path), metavar="SVG", help="Draw a flame graph of the server.")
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures here.")
def capacity(
    players: int | None,
    step: int,
    repeats: int,
    rooms_of: int | None,
    game: str,
    options: tuple[str, ...],
    profile: Path | None,
    file: Path | None,
    **given: Any,
) -> int:
    """How many players one core carries: 95 % of all frames for every client, and no p99 interval over 1.5 ticks.

    Exit code 1 when the given number is not carried, or something could not be measured.

    \b
    Examples:
      holdfast bench capacity --players 5000 --json out.json
      holdfast bench capacity --repeats 3
      holdfast bench capacity --players 2000 --transport tcp
      holdfast bench capacity --players 1000 --game benchmarks.walk:Walk -o seats=50
    """
    from holdfast.bench.profile import CannotProfile, check_profiler
    from holdfast.bench.serving import CannotMeasure, ended_by_signals
    from holdfast.bots import pairs
    from holdfast.games import make_game

    made = make_game(game, pairs(options), given["tick_hz"])
    workload = Workload(
        game=game, options=pairs(options), rooms_of=rooms_of or made.seats, input_size=_input_size(made), **given
    )
    raise_file_limit()
    try:
        if profile is not None:
            check_profiler()
        with ended_by_signals():
            measured = measure(workload, players, step, repeats, profile)
    except (CannotMeasure, CannotProfile) as error:
        click.echo(f"holdfast bench capacity: {error}", err=True)
        return 1
    if file is not None:
        file.write_text(json.dumps(measured, indent=2) + "\n")
    show(measured)
    return 0 if measured["held"] else 1


def measure(
    workload: Workload, players: int | None, step: int, repeats: int, profile: Path | None = None
) -> dict[str, Any]:
    """All runs; see `capacity`. Raises CannotMeasure, CannotProfile."""
    from holdfast.bench.serving import CannotMeasure

    rule = Rule.at(workload.tick_hz)
    points: list[dict[str, Any]] = []

    def tried(number: int) -> bool:
        """Whether so many are held; a number beyond what holds may be so many that nothing can be measured."""
        try:
            return held(number)
        except CannotMeasure as error:
            if not any(point["held"] for point in points):
                raise
            click.echo(f"{number:,} players: {error}", err=True)
            points.append({"players": number, "held": False, "runs": [], "failed": str(error)})
            return False

    def held(number: int) -> bool:
        runs = []
        for repeat in range(1, repeats + 1):
            click.echo(f"{number:,} players, run {repeat} of {repeats} …", err=True)
            runs.append(run_once(workload, number, rule, profile))
        points.append({"players": number, "held": most_held(runs), "runs": runs})
        return bool(points[-1]["held"])

    if players is not None:
        held(players)
    else:
        search(tried, step)
    return whole(workload, rule, points, searched=players is None)


def search(held: Callable[[int], bool], step: int) -> None:
    """Try numbers of players until the largest that holds is known."""
    looking = Search(FIRST_STEPS * step, step)
    while (number := looking.next()) is not None:
        looking.tried(number, held(number))


def run_once(workload: Workload, players: int, rule: Rule, profile: Path | None) -> dict[str, Any]:
    """One run with so many players, and its floor. Raises CannotMeasure, CannotProfile."""
    from holdfast.bench.floor import figures, measure_floor
    from holdfast.bench.profile import profiled
    from holdfast.bench.serving import CannotMeasure, Cores, Others, bots, figures_of, server

    cores, others = Cores.found(), Others()
    limits = ["--rooms-max", str(players), "--sessions-max", str(players + 100)]
    with (
        server([*workload.served, *limits], cores.server) as serving,
        profiled(serving, profile, players, workload.seconds),
    ):
        begun_s = time.monotonic()
        report = bots(serving.address, players, workload.seconds, cores.bots, workload.played)
        try:
            life = figures_of(serving.address, time.monotonic() - begun_s)
        except CannotMeasure:  # it has too much to do to take another connection
            life = None
    share = others.share()
    sizes = sizes_of(report, workload)
    floor = None
    if sizes is not None:
        floor = figures(measure_floor(players, *sizes, FLOOR_TICKS, cores, workload.tick_hz))
    return {
        **judged(report, floor, rule),
        "with_joins": None if life is None else {name: life[name] for name in LIFE},
        "pinned": cores.told(),
        "others_share": share,
        "profiled": profile is not None,
    }


def sizes_of(report: Mapping[str, Any], workload: Workload) -> tuple[int, int] | None:
    """Bytes of a datagram in and out, as the run's clients sent and got them; None where there were none.

    Where the bots do not tell what they sent it follows from the wire format: an input is repeated until its round trip
    is over, so so many are under way, and half of one more when a packet has just been made.
    """
    from netcode.inputs import HEADER

    frame_bytes, rtt_ms = report["bytes_per_frame"], report["input_rtt_ms"]["p50"]
    if workload.transport != "udp" or frame_bytes is None or rtt_ms is None:
        return None
    under_way = max(1.0, rtt_ms * workload.tick_hz / 1000 + 0.5)
    in_bytes = report.get("bytes_per_input") or SEAL_BYTES + HEADER.size + under_way * workload.input_size
    return round(in_bytes), round(frame_bytes)


def whole(workload: Workload, rule: Rule, points: Sequence[Mapping[str, Any]], *, searched: bool) -> dict[str, Any]:
    """The report of all runs: the keys of the median run of the number that counts, and everything beside them."""
    from holdfast.bench.machine import machine, versions

    kept = [point for point in points if point["held"]]
    point = max(kept, key=_number) if kept else min(points, key=_number)
    middle = median_run(point["runs"])
    cpu_us, ratio = middle["server"]["cpu_us_per_frame"], middle["floor_ratio"]
    return {
        **middle,
        "game": workload.game,
        "options": dict(workload.options),
        "rooms_of": workload.rooms_of,
        "journal": workload.journal,
        "searched": searched,
        "capacity": point["players"] if point["held"] else None,
        "rule": attrs.asdict(rule),
        "held": point["held"],
        "goal": {"cpu_us_per_frame": CPU_GOAL_US, "floor_ratio": FLOOR_RATIO_GOAL},
        "goal_met": {
            "cpu_us_per_frame": None if cpu_us is None else cpu_us <= CPU_GOAL_US,
            "floor_ratio": None if ratio is None else ratio <= FLOOR_RATIO_GOAL,
        },
        "spread": spread(point["runs"]),
        "machine": machine(),
        "versions": versions(),
        "points": list(points),
    }


def _number(point: Mapping[str, Any]) -> int:
    return int(point["players"])


def _input_size(game: Game) -> int:
    from game.api import RowGame

    if not isinstance(game, RowGame):
        raise click.UsageError(f"--game {game.name}: only games of rows have inputs and frames every tick")
    return game.input_dtype.itemsize
