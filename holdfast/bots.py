"""`holdfast bots`: bots that play on a running server, and a report of how it did."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.files import raise_file_limit

if TYPE_CHECKING:
    from bots.crew import Plan
    from bots.report import Condition, Tally
    from bots.run import Progress

FULL_UP_TO = 200
"""With more players than this (with --link: half of it), only a few are full clients unless --full-share says
otherwise."""
FEW = 0.05


@click.command()
@click.option("--server", default="127.0.0.1:7777", show_default=True, metavar="HOST:PORT", help="Where to play.")
@click.option("--players", type=click.IntRange(1, 100_000), default=40, show_default=True, help="How many bots.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 86_400),
    default=10.0,
    show_default=True,
    help="How long to measure, from when all play.",
)
@click.option("--rooms-of", type=click.IntRange(1, 256), default=10, show_default=True, help="Bots that share a room.")
@click.option(
    "--transport",
    type=click.Choice(["udp", "tcp", "ws", "wss"]),
    default="udp",
    show_default=True,
    help="How inputs and frames travel; ws is a WebSocket without TLS, to this machine only.",
)
@click.option(
    "--link",
    default="",
    metavar="CONDITIONS",
    help="Play over a bad link, such as latency=80,jitter=15,loss=2,dup=1,reorder=2: ms each way, percent.",
)
@click.option("--game", default="", metavar="NAME", help="Game to play.  [default: arena, or the server's first]")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="Option of the game; may be repeated.")
@click.option(
    "--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes to share the bots."
)
@click.option(
    "--full-share",
    type=click.FloatRange(0, 1),
    default=None,
    help=f"Part of the bots that decode and check all they see.  [default: 1 up to {FULL_UP_TO} players, {FEW} above; "
    "with --link half as many]",
)
@click.option(
    "--join-per-s",
    type=click.FloatRange(0, 100_000),
    default=0.0,
    metavar="N",
    help="Bots that come in a second.  [default: 64 at a time]",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Who the bots are, and what they decide.")
@click.option("--trust", default=None, metavar="FILE|sha256:HEX", help="Certificate to trust, not on loopback.")
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the report here.")
@click.option(
    "--fail-if", "fail_if", multiple=True, metavar="CONDITION", help="Exit 1 when this holds; may be repeated."
)
def bots(
    server: str,
    players: int,
    seconds: float,
    rooms_of: int,
    transport: str,
    link: str,
    game: str,
    options: tuple[str, ...],
    processes: int,
    full_share: float | None,
    join_per_s: float,
    seed: int,
    trust: str | None,
    file: Path | None,
    fail_if: tuple[str, ...],
) -> int:
    """Let bots play on a running server, and report how it did.

    Exit code 1 when a --fail-if holds or a bot could not play.

    \b
    Examples:
      holdfast bots --players 200 --seconds 25 --json out.json
      holdfast bots --players 1000 --transport tcp --processes 2
      holdfast bots --players 200 --link latency=80,jitter=15,loss=2,dup=1,reorder=2
      holdfast bots --fail-if 'input_rtt_ms.p99>150' --fail-if 'inputs.lost>0'
    """
    from bots.crew import Plan
    from bots.report import BadCondition, parse_condition
    from netcode.client import parse_address
    from netcode.conditions import Conditions

    try:
        conditions = [parse_condition(text) for text in fail_if]
        parse_address(server)
        conditions_of_link = str(Conditions.parse(link))
    except (BadCondition, ValueError) as error:
        raise click.UsageError(str(error)) from None
    if file is not None:
        _check_writable(file)
    if full_share is None:
        full_share = 1.0 if players <= FULL_UP_TO / (2 if link else 1) else FEW
    plan = Plan(
        server=server,
        players=players,
        seconds=seconds,
        rooms_of=rooms_of,
        transport=transport,
        full_share=full_share,
        seed=seed,
        trust=trust,
        game=game,
        options=pairs(options),
        link=conditions_of_link,
        join_per_s=join_per_s,
    )
    return _run(plan, processes, file, conditions)


def pairs(words: tuple[str, ...]) -> dict[str, str]:
    """Options of a game as the command line gives them; raises click.UsageError."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise click.UsageError(f"-o {word!r} is not KEY=VALUE; an example: -o match_s=10")
        found[key] = value
    return found


def _run(plan: Plan, processes: int, file: Path | None, conditions: list[Condition]) -> int:
    import trio

    from bots.run import CannotRun, run_bots

    raise_file_limit()
    with _Line(plan) as line:
        try:
            result, tally = trio.run(_call(run_bots, plan, processes, line.show))
        except CannotRun as error:
            line.clear()
            click.echo(f"holdfast bots: {error}", err=True)
            return 1
    _print_table(result, tally)
    if file is not None:
        file.write_text(json.dumps(result, indent=2) + "\n")
    failed = [reason for condition in conditions if (reason := condition.judge(result)) is not None]
    for reason in failed:
        click.echo(f"holdfast bots: failed: {reason}", err=True)
    if result["could_not_play"]:
        click.echo(
            f"holdfast bots: {result['could_not_play']} of {plan.players} bots could not play, or not to the end",
            err=True,
        )
    return 1 if failed or result["could_not_play"] else 0


def _call(run_bots: Any, plan: Plan, processes: int, show: Any) -> Any:
    async def call() -> Any:
        return await run_bots(plan, processes=processes, show=show)

    return call


class _Line:
    """One line of live progress, on a terminal only."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shown = sys.stderr.isatty()
        self._frames = 0
        self._at_s = 0.0

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, progress: Progress) -> None:
        """Draw the line anew."""
        if not self._shown:
            return
        plan = self._plan
        text = f"{progress.phase}  {progress.playing}/{plan.players} bots"
        if progress.phase != "joining":
            elapsed_s = progress.since_s - self._at_s
            rate = (progress.frames - self._frames) / elapsed_s if elapsed_s > 0 else 0.0
            self._frames, self._at_s = progress.frames, progress.since_s
            text += f"  {min(progress.since_s, plan.seconds):.0f}/{plan.seconds:g} s  {rate:,.0f} frames/s"
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _print_table(result: dict[str, Any], tally: Tally) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    interval, rtt, inputs = result["frame_interval_ms"], result["input_rtt_ms"], result["inputs"]
    late, server, own = result["tick_lateness_ms"], result["server"], result["generator_late_ms"]
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    kinds = f"{result['full_clients']} full clients, {result['lean_clients']} lean"
    who = f"{result['players']:,} ({kinds}) in {result['rooms']} rooms"
    over = result["transport"] + (f" with {result['link']}" if result["link"] else "")
    table.add_row("players", f"{who}, {result['seconds']:g} s at {result['tick_hz']} Hz over {over}")
    table.add_row("frames/s", f"min {_say(result['frames_per_s']['min'])}  mean {_say(result['frames_per_s']['mean'])}")
    names = ("p50", "p99", "max")
    worst = f"  worst client's p99 {_say(interval['worst_client_p99'])}"
    table.add_row("frame interval, ms", _several(interval, names) + worst)
    table.add_row("input → frame, ms", _several(rtt, ("p50", "p99")))
    table.add_row("bytes a frame", _say(result["bytes_per_frame"]))
    table.add_row("inputs", "  ".join(f"{name} {count:,}" for name, count in inputs.items()))
    table.add_row("joining, ms", _several(result["join_ms"], names))
    moves = f"{result['fallbacks']:,} fallbacks  {result['reconnects']:,} reconnects"
    table.add_row("channel", f"{_say(_percent(result['udp_share']))} % of the frames by UDP  {moves}")
    if (corrections := result["corrections"])["compared"]:
        told = f"{corrections['count']:,} of {corrections['compared']:,} frames  "
        table.add_row("corrections, units", told + _several(corrections, names))
    table.add_row("server", f"{_say(server['cpu_us_per_frame'])} µs CPU a frame  {_say(server['rss_mb'])} MB")
    table.add_row("ticks late, ms", _several(late, names))
    table.add_row("bots late, ms", _several(own, names))
    table.add_row("bots", f"{_say(result['generator_cpu_us_per_frame'])} µs CPU a frame")
    console.print(table)
    for kind, count in result["errors"].items():
        console.print(f"error {kind}: {count}  ({tally.examples.get(kind, '')})", style="red", markup=False)
    for warning in result["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def _several(values: dict[str, float | None], names: tuple[str, ...]) -> str:
    return "  ".join(f"{name} {_say(values[name])}" for name in names)


def _say(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def _check_writable(file: Path) -> None:
    """Say it before the run, not after it."""
    try:
        file.open("a").close()
    except OSError as error:
        raise click.UsageError(f"--json {file}: {error.strerror or error}") from None
