"""Views: what players may see of a room, as rows of small whole numbers.

    shared  (rooms, V) int32: every column with see="all", shifted right by its `shift`, in the order of declaration
    own     (rooms, seats, O) int32: per seat, the low bits of `exact` columns, then every see="own" column

Values are already quantised; a delta between two views wraps around in the column's wire type (`bits`). `describe`
tells a client in any language all that it needs to turn them back.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import attrs
import numpy as np

from game.api import Column, RowGame
from game.rows import Rows


@attrs.frozen
class Field:
    """One column of a view: `count` values from index `start`, each of `bits`, signed or not, shifted by `shift`."""

    name: str
    per: Literal["room", "seat"] | int
    start: int
    count: int
    bits: int
    signed: bool
    shift: int
    exact: bool = False
    """True: these are the low bits which the shared column of the same name lost."""


@attrs.frozen(eq=False)
class ViewLayout:
    """The shape of a game's view: shared fields and own fields, in wire order."""

    shared: tuple[Field, ...]
    own: tuple[Field, ...]

    @cached_property
    def shared_width(self) -> int:
        """Values of a room's shared view (V)."""
        return sum(field.count for field in self.shared)

    @cached_property
    def own_width(self) -> int:
        """Values of a seat's own view (O)."""
        return sum(field.count for field in self.own)

    @cached_property
    def shared_at(self) -> dict[str, Field]:
        """The shared fields by name."""
        return {field.name: field for field in self.shared}

    def describe(self) -> dict[str, Any]:
        """Plain data for the welcome message."""
        return {
            part: [
                {
                    "name": f.name, "per": f.per, "count": f.count, "bits": f.bits, "signed": f.signed, "shift":
                    f.shift, "exact": f.exact
                }
                for f in fields
            ]
            for part, fields in (("shared", self.shared), ("own", self.own))
        }  # fmt: skip

    @classmethod
    def from_description(cls, data: dict[str, Any]) -> ViewLayout:
        """Inverse of `describe`; raises KeyError, TypeError or ValueError on anything else."""
        parts = []
        for part in ("shared", "own"):
            fields, at = [], 0
            for entry in data[part]:
                bits, count, shift = int(entry["bits"]), int(entry["count"]), int(entry["shift"])
                if bits not in (8, 16, 32) or not 0 < count <= 4096 or not 0 <= shift < 32:
                    raise ValueError(f"a view field of {count} values of {bits} bits shifted by {shift}")
                fields.append(
                    Field(
                        str(entry["name"]),
                        entry["per"],
                        at,
                        count,
                        bits,
                        bool(entry["signed"]),
                        shift,
                        bool(entry["exact"]),
                    )
                )
                at += count
            parts.append(tuple(fields))
        return cls(*parts)


def view_layout(game: RowGame) -> ViewLayout:
    """The layout that follows from a game's columns."""
    shared = [column for column in game.columns if column.see == "all"]
    exact = [column for column in shared if column.exact]
    private = [column for column in game.columns if column.see == "own"]
    return ViewLayout(
        _fields([(column, False) for column in shared], game.seats),
        _fields([(column, True) for column in exact] + [(column, False) for column in private], 1),
    )


def _fields(columns: list[tuple[Column, bool]], seats: int) -> tuple[Field, ...]:
    fields, at = [], 0
    for column, low_bits in columns:
        count = 1 if column.per == "room" else seats if column.per == "seat" else column.per
        wire = "u1" if low_bits else column.wire or column.dtype
        fields.append(
            Field(
                column.name,
                column.per,
                at,
                count,
                8 * int(wire[1]),
                wire[0] == "i",
                0 if low_bits else column.shift,
                low_bits,
            )
        )
        at += count
    return tuple(fields)


class Viewer:
    """Takes the views of all rooms of a game in one pass."""

    def __init__(self, game: RowGame) -> None:
        self.layout = view_layout(game)
        self._seats = game.seats
        self._shifts = {column.name: column.shift for column in game.columns}

    def shared(self, rows: Rows, which: np.ndarray | None = None) -> np.ndarray:
        """(n, V) int32, wrapped into each field's wire type; of the rows `which` alone, where they are named."""
        count = rows.n if which is None else len(which)
        out = np.empty((count, self.layout.shared_width), np.int32)
        for field in self.layout.shared:
            values = getattr(rows, field.name) if which is None else getattr(rows, field.name)[which]
            if field.shift:
                values = values >> field.shift
            out[:, field.start : field.start + field.count] = _wire(values, field).reshape(count, field.count)
        return out

    def own(self, rows: Rows) -> np.ndarray:
        """(n, seats, O) int32."""
        out = np.empty((rows.n, self._seats, self.layout.own_width), np.int32)
        for field in self.layout.own:
            values = getattr(rows, field.name)
            if field.exact:
                values = values & ((1 << self._shifts[field.name]) - 1)
            elif field.shift:
                values = values >> field.shift
            out[:, :, field.start] = _wire(values, field)
        return out


def _wire(values: np.ndarray, field: Field) -> np.ndarray:
    wire = np.dtype(f"{'i' if field.signed else 'u'}{field.bits // 8}")
    return values if values.dtype == wire else values.astype(wire)
