"""The public contract: what a studio writes to make a game out of rows.

A game declares *columns* (its state) and *input fields* (what one seat may want at one tick), and steps **all of
its rooms at once**::

    import numpy as np
    from game.api import Column, Input, RowGame


    class Tag(RowGame):
        name, version, seats = "tag", 1, 8
        columns = (
            Column("x", "i4", per="seat", see="all", shift=6),
            Column("it", "u1", see="all"),
        )
        inputs = (Input("run", "i1", -1, 1),)

        def step(self, rooms):
            rooms.x += rooms.run.astype(np.int32) * 256
            rooms.x = np.clip(rooms.x, 0, 65535)
            rooms.it = rooms.x.argmax(axis=1)

`rooms.x` has the shape (rooms, seats): the first axis is always the room. A step is a pure function of what it finds
there. It must not look at a clock, at global randomness (`game.rng` is a function of seed, tick, entity and purpose),
at float transcendentals, at the order of a set, or at which row a room happens to be in: two rooms with equal bytes
must stay equal wherever they are. The room's state is exactly its columns and its ledger; nothing else survives a
move.

Who sees a column: ``see="all"`` everybody in the room, ``see="own"`` only the seat that it belongs to,
``see="none"`` nobody. On the wire the value is shifted right by `shift` bits (quantised); with ``exact=True`` the owner
gets the bits that were shifted out as well, in the private part of the frame, to predict from the exact value.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import numpy as np

from game.errors import BadGame, BadOption

if TYPE_CHECKING:
    from game.rows import Rows

SEATS_MAX = 256
ENTITIES_MAX = 4096
NAME_MAX = 64
DECLARED_MAX = 64
"""Input fields and options of a game; the message that gives a seat describes them."""
COLUMN_DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
ENGINE = ("game.base_batch", "game.batch", "game.roster", "game.rows", "game.ledger", "game.commands", "game.inputs")
"""Modules of ours that decide what a tick makes of its commands; their code counts into every fingerprint."""
WIRE_DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4")


@attrs.frozen
class Column:
    """One named piece of a room's state.

    Shape of the array that a step sees: ``(rooms,)`` for ``per="room"``, ``(rooms, seats)`` for ``per="seat"``,
    ``(rooms, n)`` for ``per=n`` (n entities, such as projectiles). A private history may add one axis by `length`.
    """

    name: str
    dtype: str = "i4"
    per: Literal["room", "seat"] | int = "room"
    see: Literal["all", "own", "none"] = "none"
    shift: int = 0
    exact: bool = False
    wire: str = ""
    """Type on the wire after the shift; the column's own type when empty. Deltas wrap around in this type."""
    length: int = 0

    def __attrs_post_init__(self) -> None:
        if not self.name.isidentifier() or self.name.startswith("_"):
            raise BadGame(f"column {self.name!r}: a name is a plain identifier")
        if self.per not in ("room", "seat") and not (type(self.per) is int and 0 < self.per <= ENTITIES_MAX):
            raise BadGame(f"column {self.name}: per is 'room', 'seat' or a number of entities up to {ENTITIES_MAX}")
        if self.length < 0 or (self.wire and self.wire not in WIRE_DTYPES):
            raise BadGame(f"column {self.name}: length is not negative, wire is one of {', '.join(WIRE_DTYPES)}")
        if self.dtype not in COLUMN_DTYPES:
            raise BadGame(f"column {self.name}: dtype {self.dtype!r} is none of {', '.join(COLUMN_DTYPES)}")
        if self.see != "none" and (self.wire or self.dtype) not in WIRE_DTYPES:
            raise BadGame(f"column {self.name}: a visible column is at most 32 bits wide on the wire")
        if self.see != "none" and self.length:
            raise BadGame(f"column {self.name}: a history (length) is never visible")
        if (self.see == "own" or self.exact) and self.per != "seat":
            raise BadGame(f"column {self.name}: see='own' and exact=True belong to columns per seat")
        if self.exact and not (self.see == "all" and 0 < self.shift <= 8):
            raise BadGame(f"column {self.name}: exact=True goes with see='all' and a shift of 1 to 8")
        if not 0 <= self.shift <= 31:
            raise BadGame(f"column {self.name}: shift lies in 0..31")

    def shape(self, seats: int) -> tuple[int, ...]:
        """Shape of one room's part."""
        first = () if self.per == "room" else (seats,) if self.per == "seat" else (self.per,)
        return first + ((self.length,) if self.length else ())


@attrs.frozen
class Input:
    """One field of an input; values outside `low..high` are clipped before they are journaled."""

    name: str
    dtype: str
    low: int
    high: int

    def __attrs_post_init__(self) -> None:
        if self.dtype not in WIRE_DTYPES:
            raise BadGame(f"input {self.name}: dtype {self.dtype!r} is none of {', '.join(WIRE_DTYPES)}")
        limits = np.iinfo(self.dtype)
        if not limits.min <= self.low <= self.high <= limits.max:
            raise BadGame(f"input {self.name}: {self.low}..{self.high} does not fit {self.dtype}")


@attrs.frozen
class Option:
    """A whole-number option of a game, set by ``-o NAME=VALUE``."""

    name: str
    default: int
    low: int
    high: int
    help: str = ""


@attrs.frozen
class Result:
    """What a finished match gives one player's profile; applied exactly once by `op_id`."""

    op_id: str
    account: str
    match: int
    seat: int
    score: int
    rank: int
    players: int
    won: bool
    tick: int
    stats: dict[str, int]


@attrs.frozen
class Event:
    """Something that happened in a room and that its players are told reliably, in order, once.

    `(tick, index)` is its id within the room. `seat` is the only one that is told, -1 for everybody.
    """

    tick: int
    index: int
    kind: str
    data: tuple[Any, ...]
    seat: int = -1


class Game:
    """What the two tiers have in common: `RowGame` below, and `game.objects.ObjectGame`."""

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    default_tick_hz: ClassVar[int] = 30
    options: ClassVar[tuple[Option, ...]] = ()
    engine: ClassVar[tuple[str, ...]] = ENGINE
    columns: tuple[Column, ...] = ()
    inputs: tuple[Input, ...] = ()
    seats: int = 8

    def __init__(self, options: Mapping[str, str | int] | None = None, tick_hz: int | None = None) -> None:
        self.tick_hz = self.default_tick_hz if tick_hz is None else tick_hz
        if not 1 <= self.tick_hz <= 128:
            raise BadOption(f"tick_hz={self.tick_hz}: a game ticks 1 to 128 times a second")
        self.option = parse_options(self.name, self.options, options or {})
        self.configure()
        check_game(self)
        self.input_dtype = np.dtype([(field.name, "<" + field.dtype) for field in self.inputs])
        self.fingerprint = fingerprint(self)

    def code(self) -> tuple[Any, ...]:
        """Further modules whose code decides what a step does; they count into the fingerprint."""
        return ()

    def configure(self) -> None:
        """Set `seats`, `columns` and constants from `self.option` and `self.tick_hz`. Called once, before use."""


class RowGame(Game):
    """Base class of a game over rows. Subclass it, declare, and write `step`."""

    def open(self, rooms: Rows) -> None:
        """Give new rooms their first state; every column is zero, `rooms.seed` is set."""

    def join(self, rooms: Rows, seat: int, profile: Mapping[str, Any]) -> None:
        """A player took `seat` of the one room in `rooms` (rooms.n is 1)."""

    def leave(self, rooms: Rows, seat: int) -> None:
        """The player of `seat` of the one room in `rooms` is gone for good."""

    def step(self, rooms: Rows) -> None:
        """Move all rooms by one tick, in place. `rooms.tick` already counts the tick being made."""
        raise BadGame(f"{type(self).__name__} has no step")

    def predict(self, own: dict[str, int], view: Mapping[str, np.ndarray], wanted: Mapping[str, int]) -> dict[str, int]:
        """The client's side of `step` for its own seat: its columns after one more input. Default: no prediction.

        `own` holds every column per seat that the seat itself sees, exact ones exact, the others as the wire has
        them, shifted back; `view` the room's shared columns; `wanted` an input. Neither is changed.
        """
        return own


def parse_options(game: str, declared: Sequence[Option], given: Mapping[str, str | int]) -> dict[str, int]:
    """Whole numbers for every declared option; raises BadOption naming the choices or the limits."""
    values = {option.name: option.default for option in declared}
    known = {option.name: option for option in declared}
    for name, text in given.items():
        if name not in known:
            raise BadOption(f"{game} has no option {name!r}; it has: {', '.join(sorted(known)) or 'none'}")
        try:
            value = int(text)
        except ValueError:
            raise BadOption(f"{game} option {name}={text!r}: a whole number is wanted") from None
        if not known[name].low <= value <= known[name].high:
            raise BadOption(f"{game} option {name}={value}: it lies in {known[name].low}..{known[name].high}")
        values[name] = value
    return values


def check_game(game: Game) -> None:
    """Raise BadGame when a declaration cannot work."""
    if not 0 < len(game.name) <= NAME_MAX:
        raise BadGame(f"{type(game).__name__} needs a name of at most {NAME_MAX} characters")
    if len(game.inputs) > DECLARED_MAX or len(game.options) > DECLARED_MAX:
        raise BadGame(f"{game.name}: at most {DECLARED_MAX} input fields and as many options")
    if not 1 <= game.seats <= SEATS_MAX:
        raise BadGame(f"{game.name}: seats={game.seats} lies outside 1..{SEATS_MAX}")
    if isinstance(game, RowGame) and not game.inputs:
        raise BadGame(f"{game.name}: declare at least one input field")
    names = [column.name for column in game.columns] + [field.name for field in game.inputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadGame(f"{game.name}: declared twice: {', '.join(twice)}")


def fingerprint(game: Game) -> str:
    """16 hex digits over the code of the game's modules, its declaration and its options.

    A replay demands an equal fingerprint: other rules would give other hashes.
    """
    digest = hashlib.blake2b(digest_size=8)
    declaration = (
        game.name,
        game.version,
        game.tick_hz,
        game.seats,
        sorted(game.option.items()),
        game.columns,
        game.inputs,
    )
    digest.update(repr(declaration).encode())
    classes = [cls for cls in type(game).__mro__ if issubclass(cls, Game) and cls.__module__ != __name__]
    modules: list[Any] = [inspect.getmodule(cls) or cls for cls in classes]
    for module in (*modules, *game.code(), *(import_module(name) for name in game.engine)):
        digest.update(source_of(module))
    return digest.hexdigest()


@functools.cache
def source_of(thing: Any) -> bytes:
    """Source text of a module or class as it was when first asked for, which is what runs; its name where the source is
    not to be had (an interactive session)."""
    try:
        return inspect.getsource(thing).encode()
    except (OSError, TypeError):
        return repr(thing).encode()
