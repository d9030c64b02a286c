"""A field for the tests: one arena room whose players stand where a test puts them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from game.api import Event
from game.arena import Arena, shots, weapons
from game.batch import Batch, StepResult
from game.commands import Command, Join, TickCommands
from game.fixed import UNIT

EAST, SOUTH, WEST, NORTH = 0, 16384, 32768, 49152


class Field:
    """Room `r` with players a, b, c … in seats 0, 1, 2 …; places are whole units."""

    def __init__(self, tick_hz: int = 30, players: int = 2, **options: int) -> None:
        self.game = Arena({"seats": 4, "protect_ms": 0, **options}, tick_hz)
        self.batch = Batch(self.game)
        self.batch.open("r", 1)
        self.rows: Any = self.batch.rows
        self.told: list[Event] = []
        self.step(commands=[Join("r", "abcd"[seat], "name", "j") for seat in range(players)])

    def put(self, seat: int, x: int, y: int) -> None:
        self.rows.x[0, seat], self.rows.y[0, seat] = x * UNIT, y * UNIT

    def place(self, seat: int) -> tuple[float, float]:
        return self.rows.x[0, seat] / UNIT, self.rows.y[0, seat] / UNIT

    def step(
        self, wanted: Mapping[int, Mapping[str, int]] | None = None, commands: list[Command] | None = None
    ) -> StepResult:
        records = np.zeros(len(wanted or {}), self.batch.input_record)
        for at, (seat, fields) in enumerate((wanted or {}).items()):
            due = int(self.batch.rows.last_seq[0, seat]) + 1
            for name, value in {"seat": seat, "seq": due, **fields}.items():
                records[at][name] = value
        result = self.batch.step(TickCommands(records, tuple(commands or ())))
        for failure in result.failed.values():
            raise failure.error
        self.told += result.events.get("r", [])
        return result

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def shoot(self, seat: int, aim: int, button: int = weapons.FIRE, rewind: int = 0) -> None:
        """One shot: the trigger is pulled for one tick and let go in the next."""
        self.step({seat: {"aim": aim, "buttons": button, "rewind": rewind}})
        self.step({seat: {"aim": aim, "buttons": 0}})

    def events(self, kind: str) -> list[tuple[Any, ...]]:
        """Data of the events of a kind, in order."""
        return [event.data for event in self.told if event.kind == kind]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]

    def flying(self) -> list[int]:
        """Seats whose shots are in the air."""
        return np.flatnonzero(self.rows.shot[0]).tolist()

    def shot_place(self, seat: int) -> tuple[float, float]:
        """Where a client draws a shot, in units."""
        rows = self.rows
        shot, origin = rows.shot[:, seat], rows.shot_from[:, seat]
        x, y = shots.place(self.game.terms.ballistics, shot, origin, shots.age_of(shot, rows.tick))
        return x[0] / 4, y[0] / 4
