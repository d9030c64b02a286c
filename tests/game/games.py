"""Small games for the tests: `Tally` counts, tells and ends matches; it raises where a room's `fuse` has
burnt down. `Pile` is much the same in plain objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import msgpack
import numpy as np

from game.api import Column, Input, Option, RowGame
from game.base_batch import BaseBatch
from game.commands import Act, Command, TickCommands
from game.errors import StepOverran
from game.object_batch import ObjectBatch
from game.objects import ObjectGame, Over, Private, Rng, Told
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
    batch: BaseBatch, *commands: Command, inputs: Mapping[tuple[str, int], Mapping[str, int]] | None = None
) -> TickCommands:
    """A tick's commands; inputs by (room, seat), their `seq` counted on where none is given."""
    records = np.zeros(len(inputs or {}), batch.input_record)
    for at, ((room, seat), fields) in enumerate((inputs or {}).items()):
        row = batch.row[room]
        values = {"row": row, "seat": seat, "seq": int(batch.rows.last_seq[row, seat]) + 1, **fields}
        for name, value in values.items():
            records[at][name] = value
    return TickCommands(records, commands)


class Pile(ObjectGame):
    """Tally in plain objects: acts are numbers to add; what else an act can do is in `step`."""

    name, version, seats = "pile", 1, 3
    options = (Option("start", 100, 0, 1000), Option("ticks", 0, 0, 1))
    ticks = False

    def configure(self) -> None:
        self.ticks = bool(self.option["ticks"])  # type: ignore[misc]

    def open(self, rng: Rng) -> dict[str, Any]:
        return {"totals": [0] * self.seats, "luck": rng.below(1 << 32), "steps": 0, "deck": [], "secrets": {}}

    def accept(self, value: Any) -> Any:
        if value == "hang":
            raise StepOverran
        if isinstance(value, dict):
            return Wish(value["add"])  # a client that leaves it out makes this raise
        return value if isinstance(value, int | str) and value != 666 else None

    def join(self, state: dict[str, Any], seat: int, profile: Mapping[str, Any], rng: Rng) -> Iterable[Told]:
        state["totals"][seat] = self.option["start"]
        state["secrets"][seat] = rng.below(100)
        if profile.get("bad") == "hook":
            raise Boom("join")
        if profile.get("bad") == "told":
            return [("hello", {1, 2})]
        return [("hello", seat), Private(seat, "secret", state["secrets"][seat])]

    def leave(self, state: dict[str, Any], seat: int, rng: Rng) -> Iterable[Told] | None:
        total, state["totals"][seat] = state["totals"][seat], 0
        del state["secrets"][seat]
        return [Over([-1 if other == seat else 0 for other in range(3)])] if total == 7 else None

    def step(self, state: dict[str, Any], inputs: list[tuple[int, Any]], rng: Rng) -> Iterable[Told]:
        state["steps"] += 1
        for seat, act in inputs:
            match act:
                case "boom":
                    state["totals"] = []
                    raise Boom("step")
                case "set":
                    state["totals"] = {1, 2}
                case "huge":
                    state["deck"] = ["x" * 1000] * 300
                case "deal":
                    state["deck"] = list(range(10))
                    rng.shuffle(state["deck"])
                    yield "dealt", state["deck"]
                case "flood":
                    yield from [("drop", n) for n in range(200)]
                case Wish(add):
                    state["totals"][seat] += add
                case int(add):
                    state["totals"][seat] += add
                    if add == 7:
                        yield "seven", seat, state["totals"][seat]
                    if add == 9:
                        yield Over(state["totals"], stats={"sum": state["totals"]})

    def view(self, state: dict[str, Any], seat: int) -> Any:
        return {"totals": state["totals"], "secret": state["secrets"].get(seat), "deck": state["deck"]}


@attrs.frozen
class Wish:
    """What `accept` makes of an act that is a dict."""

    add: int


def act(batch: ObjectBatch, room: str, seat: int, value: Any, ahead: int = 1) -> Act:
    """The next act of a seat, or one `ahead` of the last that was applied."""
    return Act(room, seat, batch.generation(room, seat), batch.last_seq(room, seat) + ahead, msgpack.packb(value))


def acts(batch: ObjectBatch, room: str, seat: int, *values: Any) -> list[Act]:
    """The next acts of a seat."""
    return [act(batch, room, seat, value, ahead) for ahead, value in enumerate(values, 1)]
