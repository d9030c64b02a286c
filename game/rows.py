"""Rooms as rows: the columns of all rooms of a game, as arrays in one buffer.

    buffer   | tick ........ | seed ........ | x ................ | y ................ |   (structure of arrays)
    x        (capacity, seats) int32, little-endian; a step sees its first n rooms as `rooms.x`
    packed   one row of bytes a room: its part of every column, in order            (hash, snapshot, save)

One buffer, so that the copy which makes a failing step harmless is a single memcpy; arrays over all rooms, so that a
step is a handful of NumPy calls whatever the number of rooms; one packing pass into a (rooms, bytes) matrix where the
bytes of a room are wanted. Nothing in a row depends on which row it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from game.api import Column, Game
from game.errors import BadGame

EMPTY, CONNECTED, HELD = 0, 1, 2
"""What `rooms.seated` says of a seat: free; its player is here; kept for a player who lost the connection."""

OWN_NAMES = frozenset({"layout", "n", "emitted", "ended", "capacity", "kept", "whole", "buffer", "spare", "joints"})
"""Attributes of `Rows` that no column may be named like."""

SYSTEM_COLUMNS = (
    Column("tick", "u4"),  # the tick that this state is the outcome of; 0 before the first
    Column("seed", "u8"),
    Column("match", "u4"),  # counts the matches that this room has finished
    Column("ledger", "u8"),  # rolling hash of everything that ever changed the room's ledger
    Column("seated", "u1", per="seat"),
    Column("generation", "u2", per="seat"),  # counts the joins of a seat; input sequences restart with it
    Column("held_until", "u4", per="seat"),  # tick at which a held seat is given up
    Column("last_seq", "u4", per="seat"),  # the last input sequence that was applied
    Column("applied", "u4", per="seat"),  # how many inputs were applied since the join
    Column("rewind", "u1", per="seat"),  # how many ticks back the seat's player saw when it made its input
)


@attrs.define(eq=False)
class RowLayout:
    """Where each column lies in a packed row. Shared by all `Rows` of one game."""

    game: Game
    columns: tuple[Column, ...] = attrs.field(init=False)
    offsets: dict[str, int] = attrs.field(init=False)
    shapes: dict[str, tuple[int, ...]] = attrs.field(init=False)
    widths: dict[str, int] = attrs.field(init=False)
    """Bytes of one room's part of each column."""
    row_bytes: int = attrs.field(init=False)
    packed: np.dtype[Any] = attrs.field(init=False)
    """A packed row: for every column as many bytes as it has."""

    def __attrs_post_init__(self) -> None:
        inputs = tuple(Column(field.name, field.dtype, per="seat") for field in self.game.inputs)
        self.columns = SYSTEM_COLUMNS + inputs + self.game.columns
        self.offsets, self.shapes, self.widths, at = {}, {}, {}, 0
        for column in self.columns:
            if column.name in self.offsets or column.name in OWN_NAMES or hasattr(Rows, column.name):
                raise BadGame(f"{self.game.name}: the column name {column.name!r} is taken by the server")
            self.shapes[column.name] = column.shape(self.game.seats)
            self.offsets[column.name] = at
            self.widths[column.name] = math.prod(self.shapes[column.name]) * np.dtype(column.dtype).itemsize
            at += self.widths[column.name]
        self.row_bytes = at
        self.packed = np.dtype([(name, f"V{width}") for name, width in self.widths.items()])


class Rows:
    """`n` rooms of one game. Every column is an attribute of shape (n, …); assigning to it writes in place."""

    def __init__(self, layout: RowLayout, capacity: int = 16, n: int = 0) -> None:
        put = object.__setattr__
        put(self, "layout", layout)
        put(self, "emitted", [])
        put(self, "ended", [])
        put(self, "n", n)
        self._allocate(max(capacity, n, 1))

    layout: RowLayout
    n: int
    emitted: list[tuple[str, np.ndarray, tuple[np.ndarray, ...]]]
    ended: list[tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]]
    capacity: int
    kept: tuple[int, int]
    joints: tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]] | None
    """For `pack`: the packed rows, and each column beside its place in them, as values of as many bytes as it has."""

    # -- what a game's step uses ------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        """`rooms.x = array` copies into the column, so a step may write it either way; floats are refused."""
        try:
            column = self.__dict__[name]
        except KeyError:
            raise AttributeError(f"{self.layout.game.name} has no column {name!r}") from None
        if column is value:
            return
        if np.asarray(value).dtype.kind == "f":
            raise TypeError(f"column {name} takes integers; a float would not be the same on every machine")
        column[...] = value

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self.layout.game.name} has no column {name!r}")

    def emit(self, kind: str, rows: np.ndarray, *data: np.ndarray) -> None:
        """Tell the players of `rows` (k row indices) an event each; `data`: arrays of k whole numbers."""
        if len(rows):
            parts = tuple(np.array(np.broadcast_to(part, len(rows))) for part in data)
            self.emitted.append((kind, np.array(rows), parts))

    def end_match(
        self, over: np.ndarray, score: np.ndarray, won: np.ndarray | None = None, **stats: np.ndarray
    ) -> None:
        """End the match of the rooms where `over` (n,) holds: every taken seat gets a result from `score` (n, seats).

        `won` (n, seats) defaults to having the highest score; equal scores share a rank. `stats` (n, seats) are
        summed up in profiles.
        """
        over = np.asarray(over)
        if over.shape != (self.n,):
            raise BadGame(f"end_match: `over` has one entry for each of the {self.n} rooms, not the shape {over.shape}")
        if won is None:
            taken = np.where(self.seated > 0, score.astype(np.int64), np.iinfo(np.int64).min)
            won = taken == taken.max(axis=1, keepdims=True)
        self.ended.append((np.flatnonzero(over), score.copy(), won.copy(), {k: v.copy() for k, v in stats.items()}))

    # -- what the batch uses ----------------------------------------------------------------------------------------

    def _allocate(self, capacity: int) -> None:
        put = object.__setattr__
        starts, total = [], 0
        for column in self.layout.columns:
            starts.append(total)
            total += -(-capacity * self.layout.widths[column.name] // 64) * 64
        buffer = np.zeros(total, np.uint8)
        whole: dict[str, np.ndarray] = {}
        for column, start in zip(self.layout.columns, starts, strict=True):
            size = capacity * self.layout.widths[column.name]
            shape = (capacity, *self.layout.shapes[column.name])
            whole[column.name] = buffer[start : start + size].view("<" + column.dtype).reshape(shape)
        if "whole" in self.__dict__:
            for name, array in self.__dict__["whole"].items():
                whole[name][: self.n] = array[: self.n]
        put(self, "capacity", capacity)
        put(self, "buffer", buffer)
        put(self, "spare", np.empty_like(buffer))
        put(self, "whole", whole)
        self.resize(self.n)

    def resize(self, n: int) -> None:
        """Let the columns show the first `n` rooms; new rows are zero."""
        if n > self.capacity:
            self._allocate(max(n, self.capacity * 2))
        for name, array in self.whole.items():
            if n > self.n:
                array[self.n : n] = 0
            self.__dict__[name] = array[:n]
        self.__dict__["n"] = n
        self.__dict__["joints"] = None

    def remove(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        """Take some rooms out; the last rooms that stay move into their rows: returns (from, to) of those."""
        left = self.n - len(rows)
        stays = np.ones(self.n, bool)
        stays[list(rows)] = False
        movers, holes = np.flatnonzero(stays[left:]) + left, np.flatnonzero(~stays[:left])
        moves = list(zip(movers.tolist(), holes.tolist(), strict=True))
        for array in self.whole.values():
            for begin, end in moves:
                array[end] = array[begin]
        self.resize(left)
        return moves

    def take(self, rows: Sequence[int] | np.ndarray, into: Rows | None = None) -> Rows:
        """A copy of some rooms, as rows of their own; `into`: what `take` gave for as many rooms, to use it again."""
        some = Rows(self.layout, capacity=len(rows), n=len(rows)) if into is None else into
        some.emitted.clear()
        some.ended.clear()
        at = _index(rows)
        for name, array in some.whole.items():
            array[:] = self.whole[name][at]
        return some

    def put(self, rows: Sequence[int] | np.ndarray, some: Rows) -> None:
        """Write rooms taken by `take` back, with what they emitted."""
        at, index = _index(rows), np.asarray(rows)
        for name, array in some.whole.items():
            self.whole[name][at] = array[: some.n]
        self.emitted.extend((kind, index[at], data) for kind, at, data in some.emitted)
        for over, score, won, stats in some.ended:
            wide = {key: self._scatter(index, value) for key, value in stats.items()}
            self.ended.append((index[over], self._scatter(index, score), self._scatter(index, won), wide))

    def _scatter(self, rows: np.ndarray, part: np.ndarray) -> np.ndarray:
        whole = np.zeros((self.n, *part.shape[1:]), part.dtype)
        whole[rows] = part
        return whole

    def backup(self) -> None:
        """Keep a copy of every column, for `restore`."""
        self.spare[:] = self.buffer
        object.__setattr__(self, "kept", (len(self.emitted), len(self.ended)))

    def restore(self) -> None:
        """Undo everything since `backup`, emissions included."""
        self.buffer[:] = self.spare
        del self.emitted[self.kept[0] :]
        del self.ended[self.kept[1] :]

    def pack(self) -> np.ndarray:
        """(n, row_bytes) uint8: one canonical little-endian row of bytes a room. The next `pack` writes over it."""
        joined = self.joints
        if joined is None:
            packed = np.zeros(self.n, self.layout.packed)
            joints = []
            for name, width in self.layout.widths.items():
                column = self.__dict__[name]
                column = column.reshape(self.n, width // column.itemsize).view(f"V{width}")
                joints.append((packed[name], column.reshape(self.n)))
            joined = packed.view(np.uint8).reshape(self.n, self.layout.row_bytes), joints
            self.__dict__["joints"] = joined
        for part, column in joined[1]:
            part[...] = column
        return joined[0]

    def unpack(self, first: int, data: bytes) -> None:
        """Fill rows, from `first` on, from their packed bytes, one after the other."""
        packed = np.frombuffer(data, np.uint8).reshape(-1, self.layout.row_bytes)
        for column in self.layout.columns:
            at, width = self.layout.offsets[column.name], self.layout.widths[column.name]
            part = np.ascontiguousarray(packed[:, at : at + width]).view("<" + column.dtype)
            array = self.whole[column.name][first : first + len(packed)]
            array[...] = part.reshape(array.shape)


def _index(rows: Sequence[int] | np.ndarray) -> slice | np.ndarray:
    """What takes these rows out of a column; a single one, as every command does, in a fifth of the time."""
    return slice(rows[0], rows[0] + 1) if len(rows) == 1 else np.asarray(rows)
