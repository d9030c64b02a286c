"""`holdfast demo`: a server and bots in one command, with a live view.

    this process: bots (full clients) and view ──── sockets ────► child: holdfast serve --port 0 --data TEMPORARY

The server is the real command in a process of its own, and all that is shown is what any client can ask or see: its
statistics, its list of rooms, and the bots' frames. The server starts first and the rest is imported meanwhile, so that
the demo is there within seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from holdfast.options import settings_options
from server.settings import Settings

if TYPE_CHECKING:
    import trio

    from bots.crew import Crew
    from bots.run import Lines

START_S = 30.0
STOP_S = 5.0
VIEW_EVERY_S = 0.5
FOREVER_S = 1e9
ROOMS_SHOWN = 12
PLAYERS_SHOWN = 10


@click.command()
@click.option("--players", type=click.IntRange(1, 1000), default=40, show_default=True, help="How many bots.")
@click.option(
    "--seconds", type=click.FloatRange(0, 86_400), default=0.0, show_default=True, help="How long; 0: until Ctrl-C."
)
@settings_options("game", "tick_hz", "options")
def demo(settings: Settings, players: int, seconds: float) -> int:
    """Server and bots in one terminal, with a live view. Ctrl-C ends it and leaves nothing behind.

    \b
    Examples:
      holdfast demo
      holdfast demo --players 100 --seconds 30
      holdfast demo --tick-hz 60 -o match_s=30 -o map=1
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as data, server_process(settings, Path(data)) as server:
        import trio

        from bots.run import CannotRun

        failed = ""
        end = _End()
        try:
            trio.run(_demo, server, players, seconds, end)
        except* CannotRun as group:
            failed = str(group.exceptions[0])
    if server.returncode == 2:  # the server refused what we were told to give it
        raise click.UsageError(failed.rpartition("holdfast serve: ")[2])
    if failed or end.errors:
        click.echo(f"holdfast demo: {failed or end.errors}", err=True)
    click.echo(f"{end.played} bots played" if end.played else "no bot played")
    return 1 if failed or end.errors else 0


@attrs.define
class _End:
    """What the last lines say, once the view is closed."""

    played: int = 0
    errors: str = ""


@contextlib.contextmanager
def server_process(settings: Settings, data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a child process, in a process group of its own: Ctrl-C reaches us, and we end it."""
    command = [sys.executable, "-m", "holdfast", "serve", "--host", "127.0.0.1", "--port", "0", "--data", str(data)]
    command += ["--game", settings.game, "--log-format", "json", "--log-level", "info"]
    if settings.tick_hz is not None:
        command += ["--tick-hz", str(settings.tick_hz)]
    for key, value in settings.options.items():
        command += ["-o", f"{key}={value}"]
    path = os.pathsep.join([str(Path(__file__).resolve().parent.parent), *filter(None, sys.path)])
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stderr is not None
        process.stderr.close()


async def _demo(server: subprocess.Popen[bytes], players: int, seconds: float, end: _End) -> None:
    import trio

    from bots.crew import Crew, Plan
    from bots.run import CannotRun

    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signals, nursery.cancel_scope)
        log = server_log(server)
        try:
            with trio.fail_after(START_S):
                port = await server_port(log)
        except trio.TooSlowError:
            raise CannotRun(f"the server did not start within {START_S:g} s") from None
        nursery.start_soon(_drain, log, server)
        address = f"127.0.0.1:{port}"
        crew = Crew(Plan(server=address, players=players, seconds=seconds or FOREVER_S))
        crew.go.set()
        nursery.start_soon(_view, crew, address)
        try:
            tally = await crew.run()
        finally:
            end.played = len(crew.playing)
        if crew.done.is_set():
            end.played = players - tally.idle
            end.errors = "; ".join(f"{count} x {kind.replace('_', ' ')}" for kind, count in tally.errors.items())
        else:
            raise CannotRun(f"no bot could play: {', '.join(tally.examples.values()) or 'no reason known'}")
        nursery.cancel_scope.cancel()


async def _cancel_on_signals(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
    import trio

    wanted = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    with trio.open_signal_receiver(*wanted) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


def server_log(server: subprocess.Popen[bytes]) -> Lines:
    """The lines of a server's log. Uses the pipe up: nothing else may read or close it."""
    import trio

    from bots.run import Lines

    assert server.stderr is not None
    return Lines(trio.lowlevel.FdStream(os.dup(server.stderr.fileno())))


async def server_port(log: Lines) -> int:
    """The port that a server just started tells in its log; raises CannotRun."""
    from bots.run import CannotRun

    line = b"it said nothing"
    async for line in log:
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if entry.get("event") == "node_started":
                return int(entry["port"])
    raise CannotRun(f"the server did not start: {line.decode(errors='replace').strip()}")


async def _drain(log: Lines, server: subprocess.Popen[bytes]) -> None:
    """Read the server's log, so that it never waits for us; when it ends, so do we."""
    from bots.run import CannotRun

    last = b""
    async for line in log:
        last = line
    raise CannotRun(f"the server ended with code {server.poll()}: {last.decode(errors='replace').strip()[:300]}")


# -- the view ----------------------------------------------------------------------------------------------------


@attrs.define
class _Shown:
    """What the view draws; rates are over the last moments."""

    address: str
    figures: dict[str, Any] = attrs.field(factory=dict)
    rooms: list[dict[str, Any]] = attrs.field(factory=list)
    leaders: dict[str, tuple[str, int]] = attrs.field(factory=dict)
    top: list[tuple[int, str, str]] = attrs.field(factory=list)
    tick_hz: int = 0
    tick_ms: float = 0.0
    frames_s: float = 0.0
    inputs_s: float = 0.0
    kbytes_s: float = 0.0
    playing: int = 0


async def _view(crew: Crew, address: str) -> None:
    import trio

    shown = _Shown(address)
    before: tuple[float, dict[str, Any], int] = (0.0, {}, 0)
    terminal = sys.stdout.isatty()
    live: Any = contextlib.nullcontext()
    if terminal:
        from rich.live import Live

        live = Live(auto_refresh=False, screen=False, transient=False)
    with live:
        turn = 0
        while True:
            await trio.sleep(VIEW_EVERY_S if terminal or not crew.playing else 1.0)
            before = await _look(crew, shown, before)
            turn += 1
            if terminal:
                live.update(_draw(shown), refresh=True)
            elif shown.figures and not crew.done.is_set():
                click.echo(_status(shown))


async def _look(crew: Crew, shown: _Shown, before: tuple[float, dict[str, Any], int]) -> tuple[float, Any, int]:
    import trio

    from netcode.errors import ProtocolError

    playing = [bot for bot in crew.playing if bot.alive]
    shown.playing = len(playing)
    if not playing:
        return before
    try:
        figures, shown.rooms = await playing[0].stats(10), await playing[0].rooms()
    except ProtocolError:
        return before
    now, received = trio.current_time(), sum(bot.frame_bytes for bot in playing)
    was_at, was, had = before
    if was:
        elapsed_s = max(now - was_at, 1e-3)
        shown.frames_s = (figures["frames_sent"] - was["frames_sent"]) / elapsed_s
        shown.inputs_s = (figures["inputs_applied"] - was["inputs_applied"]) / elapsed_s
        shown.kbytes_s = max(0, received - had) / elapsed_s / 1000
        busy = (figures["ticks_busy_s"] - was["ticks_busy_s"]) / elapsed_s
        shown.tick_ms = busy * 1000 / playing[0].tick_hz
    shown.figures, shown.tick_hz = figures, playing[0].tick_hz
    shown.leaders, scores = {}, []
    for bot in playing:
        score = bot.score()
        room = bot.room
        if score is not None:
            scores.append((score, bot.who.name, room))
            if room not in shown.leaders or score > shown.leaders[room][1]:
                shown.leaders[room] = (bot.who.name, score)
    shown.top = sorted(scores, key=lambda one: (-one[0], one[1]))[:PLAYERS_SHOWN]
    return now, figures, received


def _status(shown: _Shown) -> str:
    late = shown.figures["tick_lateness_ms"]
    best = f"  best {shown.top[0][1]} {shown.top[0][0]}" if shown.top else ""
    return (
        f"{shown.playing} bots in {len(shown.rooms)} rooms on {shown.address}  "
        f"tick {shown.tick_ms:.1f} of {1000 / max(1, shown.tick_hz):.0f} ms, late p99 {late['p99']:.1f} ms  "
        f"{shown.frames_s:,.0f} frames/s  {shown.inputs_s:,.0f} inputs/s  {shown.kbytes_s:,.0f} KB/s{best}"
    )


def _draw(shown: _Shown) -> Any:
    from rich.columns import Columns
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if not shown.figures:
        return Text(f"starting on {shown.address} …")
    budget_ms = 1000 / max(1, shown.tick_hz)
    used = min(1.0, shown.tick_ms / budget_ms)
    bar = "█" * max(1, round(used * 20)) + "·" * (20 - max(1, round(used * 20)))
    late = shown.figures["tick_lateness_ms"]
    head = Text.assemble(
        ("Holdfast ", "bold"),
        f"on {shown.address}   {shown.playing} bots in {len(shown.rooms)} rooms at {shown.tick_hz} Hz   Ctrl-C ends it",
        f"\ntick  {bar} {shown.tick_ms:.2f} of {budget_ms:.1f} ms   ",
        f"late p50 {late['p50']:.1f}  p99 {late['p99']:.1f} ms\n",
        f"{shown.frames_s:,.0f} frames/s   {shown.inputs_s:,.0f} inputs/s   {shown.kbytes_s:,.0f} KB/s   "
        f"{shown.figures['rss_mb']:.0f} MB",
    )
    rooms = Table("room", "players", "tick", "leader", "score", title="Rooms", title_justify="left")
    for room in shown.rooms[:ROOMS_SHOWN]:
        name, score = shown.leaders.get(room["room"], ("-", 0))
        rooms.add_row(room["room"][:8], f"{room['players']}/{room['seats']}", f"{room['tick']:,}", name, str(score))
    if len(shown.rooms) > ROOMS_SHOWN:
        rooms.caption = f"and {len(shown.rooms) - ROOMS_SHOWN} more"
    players = Table("player", "room", "score", title="Top scores", title_justify="left")
    for score, name, where in shown.top:
        players.add_row(name, where[:8], str(score))
    return Group(head, Columns([rooms, players]))
