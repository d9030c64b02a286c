"""Players made of a seed: what they do at a tick is a function of (seed, tick, state of their room) and
nothing else.

So a run can go on after a save, in another process or at another row, and must give the same hashes. Whole
numbers only, also in the aiming: the golden hashes must not depend on a maths library. They are remade, after
a change of the rules that is meant, by

    python -m tests.game.driver --write
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import xxhash

from game.arena import Arena
from game.batch import Batch, StepResult
from game.commands import Applied, Chat, Command, Connect, Disconnect, Join, Leave, Skip, TickCommands
from game.fixed import TURN, cos_sin
from game.rows import CONNECTED, EMPTY, HELD

GOLDEN = Path(__file__).parent / "golden" / "arena.json"
SAMPLED_TICKS = 10


@attrs.frozen(eq=False)
class Case:
    """One golden run: a room alone."""

    tick_hz: int
    seed: int
    ticks: int
    options: Mapping[str, int]

    @property
    def room(self) -> str:
        """Its id; match results carry it, so it counts into the hashes."""
        return f"room-{self.seed}"

    def game(self) -> Arena:
        return Arena(self.options, self.tick_hz)


CASES = {
    "duel-10hz": Case(10, 7, 300, {"seats": 4, "map": 1, "match_s": 5, "respawn_ms": 500, "fillers": 3}),
    "yard-30hz": Case(
        30, 0xFFFF_FFFF_FFFF_FFFE, 500, {"match_s": 30, "score_limit": 2, "teams": 2, "friendly_fire": 1, "fillers": 5}
    ),
    "full-128hz": Case(128, 3, 700, {"seats": 16, "map": 1, "match_s": 5, "respawn_ms": 0, "protect_ms": 100}),
}

_COS, _SIN = cos_sin(np.arange(64) * (TURN // 64))


def commands_of(batch: Batch, room: str, seed: int) -> tuple[list[Command], list[tuple[int, ...]]]:
    """What a room's players do at its next tick: commands, and inputs as (row, seat, seq, rewind, x, y, aim,
    buttons)."""
    row, rows, ledger = batch.row[room], batch.rows, batch.ledger(room)
    tick = int(rows.tick[row]) + 1
    chance = random.Random(f"{seed}/{tick}").random  # of `random` only this method is the same in every Python
    habit = random.Random(f"{seed}/{tick // 8}").random
    commands: list[Command] = []
    if chance() < 0.2:
        who = int(chance() * 20)
        commands.append(Join(room, f"account{who}", f"name{who}", f"join{tick}", {"rating": who}))
    if ledger.outbox and chance() < 0.1:
        commands.append(Applied(room, tuple(ledger.outbox)))
    inputs: list[tuple[int, ...]] = []
    for seat, seated in enumerate(rows.seated[row].tolist()):
        generation = int(rows.generation[row, seat])
        last = int(rows.last_seq[row, seat])
        walk = (int(habit() * 3) - 1, int(habit() * 3) - 1)
        dice = chance()
        if seated == EMPTY:
            continue
        if dice < 0.005:
            commands.append(Leave(room, seat, generation))
        elif dice < 0.01:
            commands.append(Leave(room, seat, generation - 1))
        elif dice < 0.025 and seated == CONNECTED:
            commands.append(Disconnect(room, seat, generation, 3 + int(chance() * 20)))
        elif dice < 0.2 and seated == HELD:
            commands.append(Connect(room, seat, generation))
        elif 0.2 <= dice < 0.21:
            commands.append(Chat(room, seat, generation, f"hello {tick}"))
        elif 0.21 <= dice < 0.22:
            commands.append(Skip(room, seat, generation, last + 1, last + 1 + int(chance() * 3)))
        elif dice < 0.97 and seated == CONNECTED:
            aim, chase = _nearest(batch, row, seat)
            buttons = int(chance() * 4) or int(chance() < 0.5)
            if habit() < 0.7:
                walk = chase
            if dice > 0.96:
                walk = (int(chance() * 256) - 128, 100)
            inputs.append((row, seat, last + 1, int(chance() * 8), *walk, aim, buttons))
    return commands, inputs


def _nearest(batch: Batch, row: int, seat: int) -> tuple[int, tuple[int, int]]:
    """Where to aim and where to walk to get at the nearest other player."""
    rows = batch.rows
    x, y = rows.x[row].astype(np.int64), rows.y[row].astype(np.int64)
    away_x, away_y = x - x[seat], y - y[seat]
    distance = away_x * away_x + away_y * away_y
    distance[rows.state[row] & 1 == 0] = 1 << 62
    distance[seat] = (1 << 62) + 1
    other = int(distance.argmin())
    aim = int((_COS * away_x[other] + _SIN * away_y[other]).argmax()) * (TURN // 64)
    return aim, (int(np.sign(away_x[other])), int(np.sign(away_y[other])))


def tick_commands(batch: Batch, seeds: Mapping[str, int]) -> TickCommands:
    """The next tick's commands of the rooms that have a seed."""
    commands: list[Command] = []
    inputs: list[tuple[int, ...]] = []
    for room, seed in seeds.items():
        room_commands, room_inputs = commands_of(batch, room, seed)
        commands += room_commands
        inputs += room_inputs
    return TickCommands(np.array(inputs, batch.input_record), tuple(commands))


def run(batch: Batch, seeds: Mapping[str, int], ticks: int) -> Iterable[StepResult]:
    """Step so many ticks; a game that raises is an error of the test."""
    for _ in range(ticks):
        result = batch.step(tick_commands(batch, seeds))
        for failure in result.failed.values():
            raise failure.error
        yield result


def hashes_alone(case: Case) -> list[int]:
    """The room's hash at every tick."""
    batch = Batch(case.game())
    batch.open(case.room, case.seed)
    return [result.hashes[0] for result in run(batch, {case.room: case.seed}, case.ticks)]


def summary(hashes: list[int]) -> dict[str, Any]:
    """What the golden file holds of a run: every tenth hash, to find the place, and a digest of all, to miss
    nothing."""
    every = b"".join(value.to_bytes(8, "little") for value in hashes)
    sampled = [f"{value:016x}" for value in hashes[SAMPLED_TICKS - 1 :: SAMPLED_TICKS]]
    return {"ticks": len(hashes), "all": f"{xxhash.xxh3_64_intdigest(every):016x}", "sampled": sampled}


def cpu_features() -> list[str]:
    """NumPy's CPU features beyond its baseline that are in use in this process."""
    core = importlib.import_module("numpy._core._multiarray_umath")  # what `numpy.show_runtime` reads
    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__[name]]


def main() -> None:
    found = {name: summary(hashes_alone(case)) for name, case in CASES.items()}
    if sys.argv[1:] == ["--write"]:
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    else:
        print(json.dumps({"cpu_features": cpu_features(), "cases": found}))


if __name__ == "__main__":
    main()
