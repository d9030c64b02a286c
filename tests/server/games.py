"""Small games for the server's tests: the state can be worked out on paper."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from game.api import Column, Input, Option, RowGame
from game.rows import Rows


class Counter(RowGame):
    """Each seat adds what it wants to its sum; the room counts its steps. A match ends every `match_ticks`."""

    name, version, seats = "counter", 1, 4
    default_tick_hz = 50
    options: ClassVar[tuple[Option, ...]] = (
        Option("match_ticks", 0, 0, 10_000, "ticks of a match; 0: it never ends"),
        Option("seats", 4, 1, 16, "seats of a room"),
    )
    columns: tuple[Column, ...] = (
        Column("sum", "i4", per="seat", see="all"),
        Column("steps", "u4", see="all"),
        Column("secret", "i4", per="seat", see="own"),
    )
    inputs = (Input("add", "i1", -10, 10),)

    def configure(self) -> None:
        self.seats = self.option["seats"]

    def join(self, rooms: Rows, seat: int, profile: Mapping[str, Any]) -> None:
        rooms.sum[:, seat] = 0
        rooms.secret[:, seat] = 1000 + seat

    def step(self, rooms: Rows) -> None:
        rooms.sum[:] = rooms.sum + rooms.add
        rooms.steps[:] = rooms.steps + np.uint32(1)
        match_ticks = self.option["match_ticks"]
        if match_ticks:
            over = rooms.tick % np.uint32(match_ticks) == 0
            rooms.end_match(over, rooms.sum.astype(np.int64), adds=rooms.sum.astype(np.int64))


class Fragile(Counter):
    """A counter whose step raises as soon as somebody wants 10, whose join raises while `refuses_joins` holds."""

    name = "fragile"
    refuses_joins = False
    refuses_rooms = False

    def open(self, rooms: Rows) -> None:
        if self.refuses_rooms:
            raise RuntimeError("no room today")

    def join(self, rooms: Rows, seat: int, profile: Mapping[str, Any]) -> None:
        if self.refuses_joins:
            raise RuntimeError("nobody may join")
        super().join(rooms, seat, profile)

    def step(self, rooms: Rows) -> None:
        if (rooms.add == 10).any():
            raise RuntimeError("ten is too much")
        super().step(rooms)


class Large(Counter):
    """A counter whose full frame does not fit into a datagram."""

    name = "large"
    columns = (*Counter.columns, Column("noise", "i4", per=800, see="all"))

    def step(self, rooms: Rows) -> None:
        super().step(rooms)
        rooms.noise[:] = 1_000_000 + rooms.steps[:, None]


class Deadly(Counter):
    """A counter that, where DEADLY is set, ends its process when somebody adds 9 (DEADLY=exit: as if all were well),
    and hangs when somebody adds 8; with DEADLY=later it does so from the tick on that comes after the 9."""

    name = "deadly"

    def step(self, rooms: Rows) -> None:
        way = os.environ.get("DEADLY", "")
        if way and (rooms.add == 8).any():
            while True:
                pass
        if (way == "now" and (rooms.add == 9).any()) or (way == "later" and (rooms.secret == -9).any()):
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "exit" and (rooms.add == 9).any():
            os._exit(0)
        super().step(rooms)
        rooms.secret[rooms.add == 9] = -9
