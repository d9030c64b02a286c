"""One chaos run: a local cluster, bots on it, faults by schedule, and everything that is needed to judge it afterwards.

    supervisor (child process) ◄── SIGKILL, SIGSTOP, SIGTERM to its nodes ── nemesis
            ▲                                                                   │ who has which rooms: the store
            └── bots, every frame written down ──► PlayerHistory                ▼
    all end ─► journals, directory ─► truth ─► History ─► checker

The nodes' process ids and rooms come from the store, by a handle of our own that only reads. What a stop does to a node
is found out by the others alone: nothing here tells them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
import trio

from bots.bot import Bot
from bots.chaos.history import Fault, History, PlayerHistory
from bots.chaos.nemesis import Blow, blows
from bots.chaos.truth import enter_truth
from bots.chaos.watch import Recorder, living, owned
from bots.crew import Crew, Plan
from bots.run import CannotRun, Lines
from cluster.codec import Record, decode_record
from cluster.errors import Damaged
from cluster.model import RoomEntry
from cluster.sqlite import SqliteStore
from game.api import Game

START_S = 30.0
WHOLE_S = 30.0
"""How long the cluster may take to be whole again after a fault."""
LOOK_EVERY_S = 0.05
CALM_S = 2.0
FULL_SHARE = 0.1
"""Bots that decide by what they see. The frames of all are read, and compared with the journals, when it is over."""
"""At the end, for the last results to be applied."""
STOP_S = 20.0
FOREVER_S = 1e9
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "drain": signal.SIGTERM}


@attrs.frozen(kw_only=True)
class Chaos:
    """What a run is told."""

    nodes: int
    players: int
    nemesis: str
    faults: int
    seed: int
    command: Sequence[str]
    """Starts the cluster; logs JSON lines to its standard error."""
    environ: Mapping[str, str]
    data: Path
    make_game: Callable[[str, Mapping[str, int], int], Game]


async def run_chaos(chaos: Chaos, show: Callable[[str], None] = lambda _: None) -> History:
    """Run it; the history lacks the profiles' part. Raises CannotRun."""
    history = History()
    cluster = subprocess.Popen(  # noqa: ASYNC220 - it takes a few ms, before anything runs
        list(chaos.command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(chaos.environ),
        start_new_session=True,
    )
    try:
        async with trio.open_nursery() as nursery:
            assert cluster.stderr is not None
            log = Lines(trio.lowlevel.FdStream(os.dup(cluster.stderr.fileno())))
            with trio.move_on_after(START_S) as patience:
                port = await _front_port(log)
            if patience.cancelled_caught:
                raise CannotRun(f"the cluster did not start within {START_S:g} s")
            nursery.start_soon(_drain, log, chaos.data / "cluster.log")
            async with SqliteStore.open(chaos.data / "cluster") as store:
                await _play(chaos, f"127.0.0.1:{port}", store, history, show)
                rooms = await store.rooms.entries()
            await _end(cluster)
            nursery.cancel_scope.cancel()
    finally:
        if cluster.poll() is None:
            cluster.kill()
            cluster.wait()
        assert cluster.stderr is not None
        cluster.stderr.close()
    show("checking the history")
    async with SqliteStore.open(chaos.data / "cluster") as store:
        await read_truth(store, rooms, history, chaos.make_game)
    return history


async def _play(chaos: Chaos, server: str, store: SqliteStore, history: History, show: Callable[[str], None]) -> None:
    def on_bot(bot: Bot) -> None:
        player = PlayerHistory(bot.who.name)
        history.players.append(player)
        recorders.append(Recorder(bot, player))

    recorders: list[Recorder] = []
    gc.disable()  # what is written down is never garbage, and looking through it would be a pause of our own
    plan = Plan(server=server, players=chaos.players, seconds=FOREVER_S, seed=chaos.seed, full_share=FULL_SHARE)
    crew = Crew(plan, on_bot)
    crew.go.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crew.run)
        show(f"{chaos.players} bots join on {server}")
        await crew.ready.wait()
        if len(crew.playing) < chaos.players:
            raise CannotRun(f"{chaos.players - len(crew.playing)} bots could not play: {crew.tally.examples}")
        for number, blow in enumerate(blows(chaos.nemesis, chaos.faults, chaos.seed), 1):
            await _until_whole(store, chaos.nodes)
            await trio.sleep(blow.wait_s)
            fault = await _strike(store, blow)
            history.faults.append(fault)
            show(f"fault {number}/{chaos.faults}: {fault.kind} {fault.node} with {len(fault.rooms)} rooms")
        await _until_whole(store, chaos.nodes)
        await trio.sleep(CALM_S)
        for bot, player in zip(crew.bots, history.players, strict=True):
            player.account, player.made = bot.account, bot.in_flight
            if bot.error is not None:
                history.broken.append(f"{player.name} could not play on: {bot.error}")
        nursery.cancel_scope.cancel()
    gc.enable()
    for recorder in recorders:
        await trio.to_thread.run_sync(recorder.read)


# -- faults ------------------------------------------------------------------------------------------------------------


async def _until_whole(store: SqliteStore, nodes: int) -> None:
    """Wait until every node lives and every room has a living owner that has begun."""
    with trio.move_on_after(WHOLE_S):
        while True:
            alive = await living(store)
            owners = {member.incarnation for member in alive}
            entries = await store.rooms.entries()
            settled = all(entry.owner in owners and not entry.target for entry in entries)
            if len(alive) >= nodes and settled and not any(member.draining for member in alive):
                return
            await trio.sleep(LOOK_EVERY_S)
    raise CannotRun(f"the cluster was not whole again within {WHOLE_S:g} s")


async def _strike(store: SqliteStore, blow: Blow) -> Fault:
    members = await living(store)
    rooms_of = await owned(store, members)
    victims = [member for member in members if rooms_of[member.incarnation]] or members
    victim = victims[blow.victim % len(victims)]
    rooms = tuple(entry.room for entry in rooms_of[victim.incarnation])
    at = trio.current_time()
    os.kill(victim.pid, _SIGNALS[blow.kind])
    lasted_s = 0.0
    if blow.kind == "stop":
        lasted_s = blow.lasts_s
        await trio.sleep(lasted_s)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGCONT)
    else:
        with trio.move_on_after(WHOLE_S):
            while store.alive(victim.incarnation):  # noqa: ASYNC110 - another process
                await trio.sleep(LOOK_EVERY_S)
    return Fault(at, blow.kind, victim.node, victim.incarnation, rooms, lasted_s)


# -- the cluster's process ---------------------------------------------------------------------------------------------


async def _front_port(log: Lines) -> int:
    line = b""
    async for line in log:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("event") == "nodes_started":
            return int(entry["port"])
    raise CannotRun(f"the cluster did not start: {line.decode(errors='replace').strip()}")


async def _drain(log: Lines, into: Path) -> None:
    """Read the cluster's log, so that it never waits for us, and keep it."""
    with into.open("wb", buffering=0) as file:
        async for line in log:
            file.write(line + b"\n")


async def _end(cluster: subprocess.Popen[bytes]) -> None:
    cluster.terminate()
    with trio.move_on_after(STOP_S):
        while cluster.poll() is None:  # noqa: ASYNC110 - another process
            await trio.sleep(0.05)
        return
    raise CannotRun(f"the cluster did not end within {STOP_S:g} s")


async def read_truth(
    store: SqliteStore,
    rooms: Sequence[RoomEntry],
    history: History,
    make_game: Callable[[str, Mapping[str, int], int], Game],
) -> None:
    """Put what the journals of a cluster that has ended say into a history."""
    records: dict[str, list[Record]] = {}
    for member in await store.journals.members():
        found, position = records.setdefault(member.incarnation, []), 1
        while position <= member.tip:
            for data in await store.journals.read(member.incarnation, position, member.tip):
                try:
                    found.append(decode_record(data, member.incarnation, position))
                except Damaged as error:
                    history.broken.append(str(error))
                position += 1
    await trio.to_thread.run_sync(enter_truth, history, rooms, records, make_game)
