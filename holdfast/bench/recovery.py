"""`holdfast bench recovery`: how long it takes until the rooms of a dead node tick again.

    child process: rooms full of players ─► snapshots of all ─► S seconds of records ─► SIGKILL, by itself
    this process:  a node like any other starts on the same folder ─► seal ─► claim ─► load ─► read ─► replay
                   ─► snapshot ─► admit ─► every room has made its first tick

Every snapshot is as old as the journal is long, which is the worst case; or, --staggered, of any age up to that. The
dead node's records and snapshots are made by the parts that a server makes them with (`holdfast.bench.past`); the
rescuer is the whole node, sockets and all.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from server.node import Running

PHASES = 1
LOOK_EVERY_S = 0.001
HANG_S = 120.0
STEPS = ("seal", "claim", "load", "read", "replay", "snapshot", "admit")


@click.command()
@click.option("--rooms", type=click.IntRange(1, 4000), default=500, show_default=True, help="Arenas of ten players.")
@click.option(
    "--seconds-of-journal",
    type=click.FloatRange(0.1, 120),
    default=5.0,
    show_default=True,
    help="Simulated time since the snapshots.",
)
@click.option(
    "--staggered",
    is_flag=True,
    help="Rooms were snapshot in turn during that time, as a node does it; else all of them at its beginning.",
)
@click.option("--tick-hz", type=click.IntRange(10, 128), default=30, show_default=True, help="Ticks a second.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of rooms and bots.")
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures here.")
def recovery(
    rooms: int, seconds_of_journal: float, staggered: bool, tick_hz: int, seed: int, file: Path | None
) -> None:
    """Milliseconds from sealing a dead node's journal to the first tick of its rooms, by step."""
    measured = measure(rooms, seconds_of_journal, staggered, tick_hz, seed)
    if file is not None:
        file.write_text(json.dumps(measured, indent=2) + "\n")
    _print(measured)


def measure(rooms: int, seconds: float, staggered: bool, tick_hz: int, seed: int) -> dict[str, Any]:
    """Let a node die, and rescue its rooms; see `recovery`."""
    import trio

    from holdfast.bench.machine import machine, versions

    with tempfile.TemporaryDirectory(prefix="holdfast-recovery-") as folder:
        told = {"data": folder, "phases": PHASES, "rooms": rooms, "seconds": seconds, "tick_hz": tick_hz, "seed": seed}
        told["staggered"] = staggered
        path = os.pathsep.join([str(Path(__file__).resolve().parent.parent.parent), *filter(None, sys.path)])
        command = [sys.executable, "-m", "holdfast.bench.past", json.dumps(told)]
        past = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=False)
        if past.returncode != -signal.SIGKILL:
            raise click.ClickException(f"the node that was to be rescued ended with code {past.returncode}")
        rescued = trio.run(_rescue, Path(folder), rooms, tick_hz)
    wanted = int(seconds * tick_hz) * rooms
    if not staggered and rescued["ticks"] != wanted:
        raise click.ClickException(f"{rescued['ticks']} ticks were made again, not {wanted}")
    return {
        "rooms": rooms,
        "players": rooms * 10,
        "seconds_of_journal": seconds,
        "staggered": staggered,
        "tick_hz": tick_hz,
        "seed": seed,
        **json.loads(past.stdout),
        **rescued,
        "machine": machine(),
        "versions": versions(),
    }


async def _rescue(data: Path, rooms: int, tick_hz: int) -> dict[str, Any]:
    import trio

    from game.arena import Arena
    from holdfast.logs import configure
    from server.node import PlayedGame, run_node
    from server.settings import Settings

    configure("warning", "text")
    stop = trio.Event()
    found: list[Running] = []

    def started(running: Running) -> None:
        found.append(running)

    async with trio.open_nursery() as nursery:
        settings = Settings(port=0, data=data, phases=PHASES, rooms_max=max(rooms, 1024))

        async def node() -> None:
            await run_node(settings, [PlayedGame(Arena({}, tick_hz), "arena")], stop=stop, started=started)

        nursery.start_soon(node)
        with trio.fail_after(HANG_S):
            while not found or not found[0].rescuer.timings:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(LOOK_EVERY_S)
            running = found[0]
            here = list(running.lobby.hosts["arena"].rooms.by_id.values())
            while not all(room.ticked for room in here):  # noqa: ASYNC110
                await trio.sleep(LOOK_EVERY_S)
        now = trio.current_time()
        timing = running.rescuer.timings[0]
        steps = {name: round(getattr(timing, f"{name}_ms"), 1) for name in STEPS}
        total_ms = (now - timing.began) * 1000.0
        figures = {
            "total_ms": round(total_ms, 1),
            "steps_ms": {**steps, "first_tick": round((now - timing.ended) * 1000.0, 1)},
            "share": {name: round(took / total_ms, 3) for name, took in steps.items()},
            "rooms_rescued": timing.rooms,
            "ticks": timing.ticks,
        }
        stop.set()
    return figures


def _print(measured: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("step", "ms", "share", title="From seal to first tick", title_justify="left")
    for name, took_ms in measured["steps_ms"].items():
        table.add_row(name, f"{took_ms:.1f}", f"{took_ms / measured['total_ms']:.0%}")
    table.add_row("all", f"{measured['total_ms']:.1f}", "", style="bold")
    console = Console()
    console.print(table)
    console.print(
        f"{measured['rooms_rescued']} rooms, {measured['ticks']:,} ticks of rooms "
        f"({measured['seconds_of_journal']:g} s at {measured['tick_hz']} Hz)"
    )
