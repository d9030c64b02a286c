"""`holdfast bench tick`: where a tick's time goes, by stage and by number of rooms.

    receive  recvmmsg                             step     the game's rules, for all rooms at once
    open     find the session, window, seal       view     what each room shows, kept as baselines
    decode   input packets into queues            delta    frames against what each player has
    collect  one input a seat                     seal     nonces, seal, acknowledgements
    journal  record, hashes, append               send     sendmmsg

One process, every seat taken, real sockets on loopback (`bench.full_house`). A stage's time is its own: what it calls
of another stage counts there. All of it is processor time of this thread, so a busy machine disturbs little. Commands,
seats, events and snapshots are left out. The reference is the floor for as many players and datagrams of the same sizes
(`bench.floor`): less than receive and send cannot be.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.bench.store import numbers

if TYPE_CHECKING:
    from game.api import RowGame

STAGES = ("receive", "open", "decode", "collect", "journal", "step", "view", "delta", "seal", "send")
WARM_UP_TICKS = 10
FLOOR_TICKS = 40


@click.command()
@click.option("--rooms", default="10,100,500", show_default=True, metavar="N,N,…", help="Rooms that tick together.")
@click.option("--ticks", type=click.IntRange(1, 10_000), default=60, show_default=True, help="Of each number.")
@click.option("--tick-hz", type=click.IntRange(10, 128), default=20, show_default=True, help="The game's tick rate.")
@click.option("--game", default="arena", show_default=True, metavar="NAME|MODULE:CLASS", help="What is played.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="Option of the game; may be repeated.")
@click.option("--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures here.")
def tick(rooms: str, ticks: int, tick_hz: int, game: str, options: tuple[str, ...], file: Path | None) -> int:
    """Processor time of a tick by stage: µs a player, by number of rooms."""
    from game.api import RowGame
    from holdfast.bots import pairs
    from holdfast.games import make_game

    made = make_game(game, pairs(options), tick_hz)
    if not isinstance(made, RowGame):
        raise click.UsageError(f"--game {game}: only games of rows have inputs and frames every tick")
    measured = measure(made, numbers(rooms), ticks)
    if file is not None:
        file.write_text(json.dumps(measured, indent=2) + "\n")
    _print(measured)
    return 0


def measure(game: RowGame, rooms: Sequence[int], ticks: int) -> dict[str, Any]:
    """All numbers of rooms; see `tick`."""
    import trio

    from holdfast.bench.machine import machine, versions
    from holdfast.bench.serving import Others

    others, figures = Others(), []
    for number in rooms:
        click.echo(f"{number:,} rooms of {game.seats} …", err=True)
        with tempfile.TemporaryDirectory(prefix="holdfast-tick-") as folder:
            figures.append(trio.run(_measure, game, number, ticks, Path(folder)))
    return {
        "game": game.name,
        "seats": game.seats,
        "tick_hz": game.tick_hz,
        "ticks": ticks,
        "figures": figures,
        "others_share": others.share(),
        "machine": machine(),
        "versions": versions(),
    }


class Stopwatch:
    """Counts what watched methods take, each its own time: that of others they call counts there alone."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self.spent = dict.fromkeys(STAGES, 0.0)
        self._clock = clock
        self._within: list[float] = []  # of each watched call under way: what others took inside it

    def watch(self, owner: Any, method: str, stage: str) -> None:
        """Count the time of this object's method for a stage."""
        call, clock, within, spent = getattr(owner, method), self._clock, self._within, self.spent

        def watched(*arguments: Any) -> Any:
            within.append(0.0)
            begun = clock()
            try:
                return call(*arguments)
            finally:
                took = clock() - begun
                spent[stage] += took - within.pop()
                if within:
                    within[-1] += took

        setattr(owner, method, watched)

    def forget(self) -> None:
        """Count from here."""
        self.spent.update(dict.fromkeys(self.spent, 0.0))


async def _measure(game: RowGame, rooms: int, ticks: int, folder: Path) -> dict[str, Any]:
    from cluster.journal import JournalWriter
    from cluster.model import Member, new_incarnation
    from cluster.sqlite import SqliteStore
    from holdfast.bench.floor import measure_floor
    from holdfast.bench.full_house import FullHouse
    from holdfast.bench.serving import Cores

    me, house, watch = new_incarnation("bench"), FullHouse(game, rooms), Stopwatch()
    try:
        async with SqliteStore.open(folder / "cluster") as store:
            await store.journals.open(Member(incarnation=me, node=me, host="", port=0, pid=os.getpid()))
            journal = JournalWriter(store.journals, me)
            house.prove_paths()
            _watch(watch, house, journal)
            _play(house, journal, WARM_UP_TICKS)
            gc.collect()
            gc.freeze()  # as a server does
            gc.disable()
            watch.forget()
            before = house.in_bytes, house.out_bytes, house.heard
            _play(house, journal, ticks)
            assert not journal.waits, "a direct engine stores at once"
    finally:
        gc.enable()
        gc.unfreeze()
        house.close()
    players = len(house.players)
    frames = house.heard - before[2]
    in_bytes, out_bytes = (house.in_bytes - before[0]) / players / ticks, (house.out_bytes - before[1]) / max(1, frames)
    floor = measure_floor(players, round(in_bytes), round(out_bytes), FLOOR_TICKS, Cores.found(), game.tick_hz)
    return figure(rooms, players, ticks, watch.spent) | {
        "frames_heard": frames,
        "input_bytes": round(in_bytes, 1),
        "frame_bytes": round(out_bytes, 1),
        "floor_us_per_frame": floor.us_per_frame,
    }


def figure(rooms: int, players: int, ticks: int, spent: dict[str, float]) -> dict[str, Any]:
    """What a number of rooms took: µs a player and tick by stage and in all, ms a tick."""
    us = {stage: round(spent[stage] / ticks / players * 1e6, 3) for stage in STAGES}
    total_s = sum(spent.values()) / ticks
    return {
        "rooms": rooms,
        "players": players,
        "us_per_player": us,
        "us_all": round(total_s / players * 1e6, 3),
        "ms_per_tick": round(total_s * 1000, 3),
    }


def _watch(watch: Stopwatch, house: Any, journal: Any) -> None:
    datagrams, stage = house.datagrams, house.stage
    for owner, method, name in (
        (datagrams, "receive", "decode"),
        (datagrams._inbox, "take", "receive"),
        (datagrams.ends, "receive", "open"),
        (stage, "take_in", "decode"),
        (stage, "collect", "collect"),
        (stage, "step", "step"),
        (stage, "record", "journal"),
        (journal, "begin", "journal"),
        (stage.encoder, "push", "view"),
        (stage, "frames", "delta"),
        (datagrams, "send_frames", "seal"),
        (datagrams._outbox, "put", "send"),
    ):
        watch.watch(owner, method, name)


def _play(house: Any, journal: Any, ticks: int) -> None:
    """Ticks as `server.host` makes them, all rooms in one stage."""
    import trio

    stage = house.stage
    for _ in range(ticks):
        house.say()
        house.datagrams.receive()
        rooms, before = list(stage.batch.ids), stage.batch.rows.tick.copy()
        commands = stage.collect()
        result = stage.step(commands)
        journal.begin([stage.record(rooms, before, commands, result)])
        house.datagrams.send_frames(stage.frames(house.datagrams.ends, trio.current_time()))
        house.hear()


def _print(measured: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console, figures = Console(), measured["figures"]
    what = f"{measured['game']}, {measured['seats']} a room, {measured['ticks']} ticks"
    table = Table(title=f"µs of processor time a player and tick: {what}", title_justify="left")
    table.add_column("stage")
    for one in figures:
        table.add_column(f"{one['rooms']:,} rooms", justify="right")
    for stage in STAGES:
        table.add_row(stage, *(f"{one['us_per_player'][stage]:.2f}" for one in figures))
    table.add_row("all", *(f"{one['us_all']:.2f}" for one in figures), style="bold")
    table.add_row("floor: receive and send alone", *(f"{one['floor_us_per_frame']:.2f}" for one in figures))
    table.add_row("ms a tick", *(f"{one['ms_per_tick']:.2f}" for one in figures))
    console.print(table)
