"""Tries a game for what would break it later: does a room always become the same, wherever it is?

The same players play the same room twice. Once it is left alone; once it lies among others of which some come and go,
and every few ticks it is saved, closed and loaded. The two must have the same hash at every tick. What this finds: a
clock, chance that is not the room's, a variable outside the state, a look at the neighbours' rows. What it cannot find:
what only another machine or another process does otherwise, such as the order of a set of strings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

from game.api import Game
from game.batch import Batch
from game.commands import Act, Command, Connect, Disconnect, Join, Leave, TickCommands
from game.errors import NotDeterministic
from game.object_batch import ObjectBatch, batch_for
from game.objects import Rng
from game.rows import EMPTY

Play = Callable[[int, int, Rng], Any]
"""(seat, tick, chance) → what a seat does: a dict of input fields, or the value of an act; None for nothing."""
MOVE_EVERY = 5
"""Ticks between two moves of the room."""
_OTHER, _ROOM = "other", "room"


def check_determinism(game: Game, play: Play | None = None, ticks: int = 200, seed: int = 1) -> list[int]:
    """The room's hash at every tick; raises NotDeterministic, and whatever the game raises.

    `play` is what the players want; by default, for a game of rows, anything within the limits of its inputs.
    """
    if play is None:
        play = _anything(game)
    alone, moved = batch_for(game), batch_for(game)
    alone.open(_ROOM, seed)
    for neighbour in range(3):
        moved.open(f"{_OTHER}{neighbour}", seed + neighbour)
    moved.open(_ROOM, seed)
    hashes = []
    for tick in range(1, ticks + 1):
        if tick % MOVE_EVERY == 0:
            _move(moved, tick, seed)
        for batch in (alone, moved):
            result = batch.step(_commands(batch, tick, seed, play))
            for room, failure in result.failed.items():
                failure.error.add_note(f"room {room} at tick {tick}")
                raise failure.error
        mine = alone.hashes()[0]
        if mine != moved.hashes()[moved.row[_ROOM]]:
            where = _difference(alone, moved)
            raise NotDeterministic(
                f"{game.name}: the same room, alone and moved about, differs at tick {tick}: {where}"
            )
        hashes.append(mine)
    return hashes


def _commands(batch: Batch | ObjectBatch, tick: int, seed: int, play: Play) -> TickCommands:
    """What the players of every room do: they come one by one, leave, lose the connection, and act in between."""
    commands: list[Command] = []
    inputs: list[tuple[int, int, dict[str, int]]] = []
    for room in sorted(batch.row):
        row = batch.row[room]
        chance = Rng(seed, tick, 0)
        if chance.below(10) == 0 or tick <= 2:
            who = chance.below(2 * batch.game.seats)
            commands.append(Join(room, f"account{who}", f"name{who}", f"join{tick}", {}))
        for seat in range(batch.game.seats):
            if batch.rows.seated[row, seat] == EMPTY:
                continue
            generation, dice = batch.generation(room, seat), chance.below(200)
            wanted = play(seat, tick, Rng(seed, tick, seat + 1))
            if dice == 0:
                commands.append(Leave(room, seat, generation))
            elif dice == 1:
                commands.append(Disconnect(room, seat, generation, 10))
            elif dice < 10:
                commands.append(Connect(room, seat, generation))
            elif wanted is not None and isinstance(batch, ObjectBatch):
                commands.append(Act(room, seat, generation, batch.last_seq(room, seat) + 1, msgpack.packb(wanted)))
            elif wanted is not None:
                inputs.append((row, seat, {"seq": batch.last_seq(room, seat) + 1, **wanted}))
    records = np.zeros(len(inputs), batch.input_record)
    for at, (row, seat, fields) in enumerate(inputs):
        for name, value in {"row": row, "seat": seat, **fields}.items():
            records[at][name] = value
    return TickCommands(records, tuple(commands))


def _move(batch: Batch | ObjectBatch, tick: int, seed: int) -> None:
    saved = batch.save(_ROOM)
    batch.close(_ROOM)
    gone = f"{_OTHER}{tick // MOVE_EVERY % 3}"
    if gone in batch.row:
        batch.close(gone)
    else:
        batch.open(gone, seed + tick)
    batch.load(saved)


def _anything(game: Game) -> Play:
    if not game.inputs:
        raise ValueError(f"{game.name}: say what its players do: check_determinism(game, play)")
    return lambda seat, tick, chance: {
        field.name: field.low + chance.below(min(field.high - field.low + 1, 1 << 32)) for field in game.inputs
    }


def _difference(alone: Batch | ObjectBatch, moved: Batch | ObjectBatch) -> str:
    row = moved.row[_ROOM]
    names = [column.name for column in alone.layout.columns]
    differ = [
        name for name in names if not np.array_equal(getattr(alone.rows, name)[0], getattr(moved.rows, name)[row])
    ]
    if "state" in differ and isinstance(alone, ObjectBatch) and isinstance(moved, ObjectBatch):
        return f"its state is {alone.states[0][:200]!r} and {moved.states[row][:200]!r}"
    return "column " + ", ".join(differ)
