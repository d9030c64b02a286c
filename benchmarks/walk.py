"""The benchmarks' own game: points that walk on a round world, and nothing else, in rooms of 2 to 256 seats.

What it costs is what any game costs: inputs in, frames out. The walls, shots and sight of the arena are left out, and a
room may be much larger than one of its. From the folder of the project:

    holdfast serve --game benchmarks.walk:Walk -o seats=50
    holdfast bench capacity --game benchmarks.walk:Walk -o seats=50
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from game import rng
from holdfast import Column, Input, Option, RowGame

STEP = 160
"""A tick's way. Positions are 16 bits wide and wrap around; clients see them in steps of 16."""
PLACES = 1
"""A purpose of chance: where a player starts."""


class Walk(RowGame):
    """Everybody moves every tick as they want; nobody is in anybody's way."""

    name, version, seats = "walk", 1, 10
    default_tick_hz = 20
    options = (Option("seats", 10, 2, 256, "players of a room"),)
    columns = (
        Column("x", "i4", per="seat", see="all", shift=4, exact=True, wire="u2"),
        Column("y", "i4", per="seat", see="all", shift=4, exact=True, wire="u2"),
    )
    inputs = (Input("move_x", "i1", -1, 1), Input("move_y", "i1", -1, 1))

    def configure(self) -> None:
        """Rooms as large as wanted."""
        self.seats = self.option["seats"]

    def join(self, rooms: Any, seat: int, profile: Mapping[str, Any]) -> None:
        """Somewhere, by the room's own chance."""
        place = rng.below(rooms.seed, rooms.tick, np.array([2 * seat, 2 * seat + 1]), PLACES, 1 << 16)
        rooms.x[:, seat], rooms.y[:, seat] = place[:, 0], place[:, 1]

    def step(self, rooms: Any) -> None:
        """Walk on."""
        rooms.x = (rooms.x + rooms.move_x.astype(np.int32) * STEP) & 0xFFFF
        rooms.y = (rooms.y + rooms.move_y.astype(np.int32) * STEP) & 0xFFFF
