"""A node's past for `holdfast bench recovery`: rooms full of players, their snapshots and journal, and a sudden end.

Everything is written by the parts that a server writes it with (stages, journal writer, snapshots, the engine), a tick
as fast as the next. The inputs are those of bots that walk at random.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import trio

from bots.brain import RandomWalk
from cluster.codec import Snapshot, StageRecord
from cluster.journal import JournalWriter
from cluster.model import Member, RoomEntry, Span, new_incarnation
from cluster.sqlite import SqliteStore
from game.arena import Arena
from game.base_batch import StepResult
from game.batch import Batch
from game.commands import Join, TickCommands, encode_commands
from server.row_stage import RowStage
from server.snapshots import Snapshots

WARM_UP_S = 2.0
"""Simulated seconds before the snapshots: shots are in the air."""


def write_past(told: dict[str, Any]) -> None:
    """Play rooms full of players, keep what a node keeps of it, and die."""
    trio.run(_past, told, Arena({}, told["tick_hz"]))


async def _past(told: dict[str, Any], game: Arena) -> None:
    me, rooms, seed, data = new_incarnation("dead"), told["rooms"], told["seed"], Path(told["data"])
    phases = told["phases"]
    stages = [RowStage(game) for _ in range(phases)]
    names = [f"room{number}" for number in range(rooms)]
    async with SqliteStore.open(data / "cluster") as store:
        await store.journals.open(Member(incarnation=me, node="dead", host="", port=0, pid=os.getpid()))
        for number, name in enumerate(names):
            stage = stages[number % phases]
            entry = RoomEntry(
                room=name,
                game=game.name,
                options=dict(game.option),
                tick_hz=game.tick_hz,
                seed=seed + number,
                fingerprint=game.fingerprint,
                owner=me,
                chain=(Span(1, me, 1),),
                players=game.seats,
            )
            await store.rooms.create(entry)
            stage.batch.open(name, entry.seed)
            stage.epochs[name] = 1
        journal, snapshots = JournalWriter(store.journals, me), Snapshots(store, me, told["seconds"])

        due: list[Snapshot] = []

        def tick(stage: RowStage, commands: TickCommands) -> None:
            rooms, ticks = list(stage.batch.ids), stage.batch.rows.tick.copy()
            result = stage.step(commands)
            journal.begin([stage.record(rooms, ticks, commands, result)])
            due.extend(snapshots.take(stage, journal.position, result))

        for stage in stages:
            seats = [(name, f"{name}-{seat}") for name in stage.batch.ids for seat in range(game.seats)]
            joins = [Join(name, who, "", who) for name, who in seats]
            tick(stage, TickCommands(np.zeros(0, stage.batch.input_record), tuple(joins)))
        crowds = [Crowd(game, stage.batch, seed + number) for number, stage in enumerate(stages)]
        for _ in range(int(WARM_UP_S * game.tick_hz)):
            for stage, crowd in zip(stages, crowds, strict=True):
                tick(stage, TickCommands(crowd.inputs()))
        for stage in stages:
            await snapshots.write([snapshots.of(stage, name, journal.position) for name in stage.batch.ids])
        first, before = journal.position + 1, len(due)
        for _ in range(int(told["seconds"] * game.tick_hz)):
            for stage, crowd in zip(stages, crowds, strict=True):
                tick(stage, TickCommands(crowd.inputs()))
        if told["staggered"]:
            await snapshots.write(due[before:])
        assert not journal.waits, "a direct engine stores at once"
        figures = {"records": journal.position + 1 - first}
        print(json.dumps(figures), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


class Played:
    """Rooms full of players that walk at random, without a node: what a tick of theirs is to be stored as."""

    def __init__(self, rooms: int, seats: int, tick_hz: int = 20, seed: int = 1) -> None:
        self.game = Arena({"seats": str(seats)}, tick_hz)
        self.batch = Batch(self.game)
        for number in range(rooms):
            self.batch.open(f"room{number}", seed + number)
        joins = [Join(name, f"{name}-{seat}", "", f"{name}-{seat}") for name in self.batch.ids for seat in range(seats)]
        self.batch.step(TickCommands(np.zeros(0, self.batch.input_record), tuple(joins)))
        self._crowd = Crowd(self.game, self.batch, seed)
        self._result: StepResult | None = None

    def tick(self) -> StageRecord:
        """One more; what the journal keeps of it."""
        batch, game = self.batch, self.game
        commands = TickCommands(self._crowd.inputs())
        self._result = batch.step(commands)
        epochs, hashes = np.ones(len(batch), np.uint32), np.array(self._result.hashes, np.uint64)
        told = (list(batch.ids), epochs, batch.rows.tick.astype(np.uint32), hashes, encode_commands(commands))
        return StageRecord(game.name, game.option, game.tick_hz, *told)

    def snapshots(self) -> list[Snapshot]:
        """Of all rooms, after the last tick."""
        batch, game, result = self.batch, self.game, self._result
        assert result is not None
        return [
            Snapshot(
                room=room,
                epoch=1,
                tick=batch.tick_of(room),
                incarnation="bench",
                position=1,
                fingerprint=game.fingerprint,
                hash=result.hashes[row],
                game=game.name,
                options=game.option,
                tick_hz=game.tick_hz,
                saved=batch.save(room, result.packed),
            )
            for row, room in enumerate(batch.ids)
        ]


class Crowd:
    """The inputs of everybody in some rooms: as bots that do not look make them."""

    def __init__(self, game: Arena, batch: Batch, seed: int) -> None:
        players = [(row, seat) for row in range(len(batch)) for seat in range(game.seats)]
        self._fields = {field.name: at for at, field in enumerate(game.inputs)}
        self._brains = [RandomWalk(seed, number, game.inputs, game.tick_hz) for number in range(len(players))]
        self._values = np.zeros((len(self._fields), len(players)), np.int64)
        self._records = np.zeros(len(players), batch.input_record)
        self._records["row"], self._records["seat"] = np.array(players, np.int64).T

    def inputs(self) -> np.ndarray:
        """One input of every seat, the next in order."""
        for number, brain in enumerate(self._brains):
            for name, value in brain.decide().items():
                self._values[self._fields[name], number] = value
        records = self._records.copy()
        records["seq"], records["rewind"] = records["seq"] + 1, 2
        self._records["seq"] += 1
        for name, column in self._fields.items():
            records[name] = self._values[column]
        return records


if __name__ == "__main__":
    write_past(json.loads(sys.argv[1]))
