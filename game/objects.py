"""The public contract of the other tier: a game in plain Python, for rooms of few things and much structure.

A card game, a board, a whiteboard: the state is a dict of plain values, and a few hooks say what happens to it::

    from game.objects import ObjectGame


    class Countdown(ObjectGame):
        name, version, seats = "countdown", 1, 4

        def open(self, rng):
            return {"left": 10 + rng.below(10)}

        def accept(self, value):
            return value if value in (1, 2, 3) else None

        def step(self, state, inputs, rng):
            for seat, taken in inputs:
                state["left"] = max(0, state["left"] - taken)
                yield "left", state["left"]

Between two calls a room's state *is* the msgpack of that dict: each hook gets it freshly decoded and what it leaves
behind is encoded again. So nothing survives in a variable of the game's own, a room that was saved and loaded cannot
differ from one that was not, and a hook that raises has changed nothing. Plain values are None, bool, int of 64 bits,
float, str, bytes, list and dict; a dict keeps its order, a tuple or a set is refused.

A hook is a pure function of what it is given: no clock, no chance but `rng`, no order of a set. A game that raises or
breaks the contract loses the room that it did it in, and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from typing import Any, ClassVar, TypeVar

import attrs
import msgpack

from game.api import ENGINE, Column, Game
from game.errors import BadAct, BadGame
from game.rng import below_of

STATE_MAX = 128 * 1024
"""Bytes of a room's state."""
VIEW_MAX = STATE_MAX
"""Bytes of what one seat may see of it."""
EVENTS_MAX, EVENTS_MAX_BYTES = 64, 32 * 1024
"""What one call of a hook may tell, and ..."""
EVENTS_PER_ACT, EVENT_BYTES_PER_ACT = 16, 4 * 1024
"""... what a step may tell besides for each act: who tells no more is safe from any flood of acts."""
EVENT_LIMITS = {"max_str_len": 4096, "max_array_len": 4096, "max_map_len": 1024, "strict_map_key": True}
"""What one value in an event may be; a client takes no message with more in it."""
DEPTH_MAX = 32
"""Nesting of lists and dicts in an act or an event."""
KIND_MAX = 64

T = TypeVar("T")
PLAIN_TYPES = (type(None), bool, int, float, str, bytes)


class Private:
    """An event that one seat is told and nobody else."""

    __slots__ = ("data", "kind", "seat")

    def __init__(self, seat: int, kind: str, *data: Any) -> None:
        self.seat, self.kind, self.data = seat, kind, data


@attrs.frozen
class Over:
    """The match ends: every taken seat gets a result, and the room goes on with the next match.

    Each list holds one whole number a seat, of free seats too. `won` defaults to having the highest score; `stats` are
    summed up in profiles.
    """

    score: Sequence[int]
    won: Sequence[bool] | None = None
    stats: Mapping[str, Sequence[int]] = attrs.field(factory=dict)


Told = tuple[Any, ...] | Private | Over
"""What a hook tells: `(kind, *data)` to everybody, `Private` to one seat, `Over` when the match has ended."""


class Rng:
    """Chance as a pure function of (seed, tick, purpose) and how often it was asked in this call."""

    __slots__ = ("_asked", "_purpose", "_seed", "_tick")

    def __init__(self, seed: int, tick: int, purpose: int) -> None:
        self._seed, self._tick, self._purpose, self._asked = seed, tick, purpose, 0

    def below(self, limit: int) -> int:
        """A whole number in 0..limit-1, for a limit of 1 to 2**32."""
        self._asked += 1
        return below_of(self._seed, self._tick, self._asked, self._purpose, limit)

    def choice(self, of: Sequence[T]) -> T:
        """One of them."""
        return of[self.below(len(of))]

    def shuffle(self, values: MutableSequence[Any]) -> None:
        """Bring them into another order, in place; every order is as likely (Fisher and Yates)."""
        for last in range(len(values) - 1, 0, -1):
            other = self.below(last + 1)
            values[last], values[other] = values[other], values[last]


class ObjectGame(Game):
    """Base class of a game over plain objects. Subclass it, name it, and write `open` and `step`."""

    default_tick_hz: ClassVar[int] = 10
    ticks: ClassVar[bool] = False
    """Whether `step` is called at every tick or only at ticks with inputs (False: a quiet room costs nothing)."""
    engine = (*ENGINE, "game.object_batch", "game.objects", "game.rng")
    columns = (Column("state", "u8"),)  # the hash of the state: with it in its row, a room's hash covers everything

    def open(self, rng: Rng) -> dict[str, Any]:
        """The first state of a room."""
        return {}

    def accept(self, value: Any) -> Any:
        """Check one act, which any client may have made up: what `step` shall get for it, or None to refuse it.

        `value` is plain. It may be refused by raising as well, so that `value["x"]` needs no care. The state is not at
        hand: what depends on it (whose turn it is) is for `step` to check and to ignore.
        """
        return value

    def join(self, state: dict[str, Any], seat: int, profile: Mapping[str, Any], rng: Rng) -> Iterable[Told] | None:
        """A player took `seat`."""

    def leave(self, state: dict[str, Any], seat: int, rng: Rng) -> Iterable[Told] | None:
        """The player of `seat` is gone for good; a match that ends here still counts for that player."""

    def step(self, state: dict[str, Any], inputs: list[tuple[int, Any]], rng: Rng) -> Iterable[Told] | None:
        """Change the state, in place, and tell what happened. `inputs`: (seat, accepted act), by seat and arrival."""
        raise BadGame(f"{type(self).__name__} has no step")

    def view(self, state: dict[str, Any], seat: int) -> Any:
        """What `seat` may see of the state when it joins or comes back; the default is all of it."""
        return state


# -- the limits of the contract, for the batch -------------------------------------------------------------------------


def encode_state(state: Any) -> bytes:
    """A state's canonical bytes; raises BadGame."""
    if type(state) is not dict:
        raise BadGame(f"a room's state is a dict, not {type(state).__name__}")
    return _encode(state, "the state", STATE_MAX)


def encode_view(view: Any) -> bytes:
    """A view's bytes; raises BadGame."""
    return _encode(view, "the view", VIEW_MAX)


def decode_state(data: bytes) -> Any:
    """Inverse of `encode_state`."""
    return msgpack.unpackb(data, strict_map_key=False)


def decode_act(data: bytes) -> Any:
    """The value of an act; raises BadAct."""
    try:
        value = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise BadAct(f"no msgpack value: {error}") from None
    fault = find_fault(value)
    if fault:
        raise BadAct(fault)
    return value


@attrs.define
class Said:
    """What a hook told, checked."""

    events: list[tuple[int, str, tuple[Any, ...]]] = attrs.field(factory=list)
    """Seat or -1, kind, data."""
    over: list[Over] = attrs.field(factory=list)


def check_said(told: Iterable[Told] | None, seats: int, acts: int = 0) -> Said:
    """What a hook returned, or yields, when it keeps to the contract; raises BadGame, and what a generator raises."""
    said, size, limit = Said(), 0, EVENTS_MAX + EVENTS_PER_ACT * acts
    size_max = EVENTS_MAX_BYTES + EVENT_BYTES_PER_ACT * acts
    for one in () if told is None else told:
        if isinstance(one, Over):
            said.over.append(_check_over(one, seats))
        else:
            event, length = _check_event(one, seats)
            said.events.append(event)
            size += length
        if len(said.events) + len(said.over) > limit or size > size_max:
            raise BadGame(f"a hook tells at most {limit} events of {size_max} bytes in all here")
    return said


def find_fault(value: Any, where: str = "", depth: int = DEPTH_MAX) -> str:
    """What keeps a value from being plain, and where it is; empty when it is plain."""
    kind = type(value)
    if kind is int:
        return "" if -(2**63) <= value < 2**64 else f"{where or 'the value'}: a whole number of more than 64 bits"
    if kind in PLAIN_TYPES:
        return ""
    if kind not in (list, dict):
        return f"{where or 'the value'}: a {kind.__name__} is no plain value"
    if depth == 0:
        return f"{where[:40]}...: nested too deeply"
    for key, part in value.items() if kind is dict else enumerate(value):
        if kind is dict and type(key) not in (str, int):
            return f"{where or 'the value'}: a key of type {type(key).__name__}; keys are str or int"
        fault = (kind is dict and find_fault(key, where, 0)) or find_fault(part, f"{where}[{key!r}]", depth - 1)
        if fault:
            return fault
    return ""


def _encode(value: Any, what: str, size_max: int) -> bytes:
    try:
        data: bytes = msgpack.packb(value, strict_types=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadGame(f"{what} cannot be kept: {find_fault(value) or error}") from None
    if len(data) > size_max:
        raise BadGame(f"{what} has {len(data)} bytes; {size_max} are the limit")
    return data


def _check_event(told: Any, seats: int) -> tuple[tuple[int, str, tuple[Any, ...]], int]:
    seat = -1
    if isinstance(told, Private):
        seat, told = told.seat, (told.kind, *told.data)
        if type(seat) is not int or not 0 <= seat < seats:
            raise BadGame(f"Private: there is no seat {seat!r}")
    if type(told) is not tuple or not told or type(told[0]) is not str or not 0 < len(told[0]) <= KIND_MAX:
        raise BadGame(f"a hook tells tuples (kind, *data), Private and Over; this is {str(told)[:80]!r}")
    listed = list(told)
    fault = find_fault(listed)
    if fault:
        raise BadGame(f"event {told[0]!r}: {fault}")
    data = _encode(listed, f"event {told[0]!r}", EVENTS_MAX_BYTES)
    try:
        copy = msgpack.unpackb(data, **EVENT_LIMITS)
    except ValueError as error:
        raise BadGame(
            f"event {told[0]!r}: a str has at most 4096 bytes, a list 4096 items, a dict 1024 with keys of str: {error}"
        ) from None
    return (seat, told[0], tuple(copy[1:])), len(data)


def check_name(what: str, name: object) -> None:
    """Raise BadGame unless this is a name that can be told: 1 to KIND_MAX characters that encode."""
    try:
        good = isinstance(name, str) and 0 < len(name) <= KIND_MAX and bool(name.encode())
    except UnicodeEncodeError:
        good = False
    if not good:
        raise BadGame(f"{what} {str(name)[:80]!r}: a name is text of 1 to {KIND_MAX} characters")


def _check_over(over: Over, seats: int) -> Over:
    lists = {"score": over.score, **over.stats}
    if over.won is not None:
        lists["won"] = over.won
    for name, values in lists.items():
        check_name("Over:", name)
        if type(values) not in (list, tuple) or len(values) != seats:
            raise BadGame(f"Over: {name} has one whole number for each of the {seats} seats")
        if not all(type(value) in (int, bool) and -(2**63) <= value < 2**63 for value in values):
            raise BadGame(f"Over: {name} holds whole numbers")
    return over
