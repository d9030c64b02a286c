"""Small games for the tests: `Tally` counts, tells and ends matches; it raises where a room's `fuse` has
burnt down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from game.api import Column, Input, Option, RowGame
from game.batch import Batch
from game.commands import Command, TickCommands
from game.rows import Rows


class Boom(Exception):
    """What a broken game raises."""


class Tally(RowGame):
    """Every tick each taken seat's `total` grows by its `add`; sevens are told; a match ends when `add` is 9
    somewhere."""

    name = "tally"
    seats = 3
    options = (Option("start", 100, 0, 1000),)
    columns: tuple[Column, ...] = (
        Column("total", "i4", per="seat", see="all", shift=2, exact=True, wire="i2"),
        Column("secret", "i2", per="seat", see="own"),
        Column("marks", "u2", per=5, see="all"),
        Column("hidden", "u8"),
        Column("past", "i2", per="seat", length=4),
        Column("fuse", "u1"),
    )
    inputs: tuple[Input, ...] = (Input("add", "i2", -9, 9), Input("light", "u1", 0, 3))

    def open(self, rooms: Rows) -> None:
        rooms.hidden[:] = rooms.seed
        rooms.emit("opened", np.array([0]))

    def join(self, rooms: Rows, seat: int, profile: Mapping[str, Any]) -> None:
        if profile.get("bad") == "hook":
            rooms.total[0, seat] = 12345
            raise Boom("join")
        rooms.total[0, seat] = self.option["start"]
        rooms.secret[0, seat] = -seat
        rooms.emit("hello", np.array([0]), np.array([1.5 if profile.get("bad") == "told" else seat]))

    def leave(self, rooms: Rows, seat: int) -> None:
        rooms.total[0, seat] = 0

    def step(self, rooms: Rows) -> None:
        rooms.past[:, :, 1:] = rooms.past[:, :, :-1].copy()
        rooms.past[:, :, 0] = rooms.add
        rooms.total += rooms.add * (rooms.seated > 0)
        rooms.marks[:, 0] += np.uint16(1)
        row, seat = np.nonzero((rooms.add == 7) & (rooms.seated > 0))
        rooms.emit("seven", row, seat, rooms.total[row, seat])
        over = (rooms.add == 9).any(axis=1)
        if over.any():
            rooms.end_match(over, rooms.total.astype(np.int16), sum=rooms.total)
        rooms.fuse[:] = np.maximum(rooms.fuse, rooms.light.max(axis=1))
        if (rooms.fuse == 1).any():
            raise Boom("fuse")
        rooms.hidden //= (rooms.fuse != 2).astype(np.uint64)  # a division by zero in room and batch
        if (rooms.fuse == 3).any():
            rooms.emit("nonsense", np.array([rooms.n]))


def tick(
    batch: Batch, *commands: Command, inputs: Mapping[tuple[str, int], Mapping[str, int]] | None = None
) -> TickCommands:
    """A tick's commands; inputs by (room, seat), their `seq` counted on where none is given."""
    records = np.zeros(len(inputs or {}), batch.input_record)
    for at, ((room, seat), fields) in enumerate((inputs or {}).items()):
        row = batch.row[room]
        values = {"row": row, "seat": seat, "seq": int(batch.rows.last_seq[row, seat]) + 1, **fields}
        for name, value in values.items():
            records[at][name] = value
    return TickCommands(records, commands)
