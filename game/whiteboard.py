"""The whiteboard: a room that people draw in together, and the example of what an object game looks like.

    act                              told to everybody
    ["begin", colour, width, xy]     begin   id seat colour width xy      a stroke starts: the pen is down
    ["extend", xy]                   extend  id xy                        the pen moves on; in chunks, while drawing
    ["end"]                          end     id                           the pen is up
    ["undo"]                         undo    id                           one's own newest stroke goes
    ["clear"]                        clear   seat                         everything goes
    ["cursor", x, y]                 cursor  seat x y                     where somebody's pointer is

`colour` is "#rrggbb", `width` 1 to 64, `xy` the bytes of up to 256 points: x and y as little-endian u16 each, the board
being 65,536 wide and high whatever the screen. `id` counts the strokes of the board.

What is full: a stroke takes no more points (its pen must be lifted), and when the board holds too much its oldest
finished strokes go (everybody is told "drop" and a list of ids). A pen that finds no room is told "full", in private.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

from game.api import Option
from game.objects import ObjectGame, Private, Rng, Told

POINT_BYTES = 4
ACT_POINTS_MAX = 256
STROKE_POINTS_MAX = 4096
BOARD_POINTS_MAX = 20_000
STROKES_MAX = 1000
WIDTH_MAX = 64
SIDE = 65536
_COLOUR = re.compile(r"#[0-9a-f]{6}")


class Whiteboard(ObjectGame):
    """State: `strokes` [id, seat, colour, width, xy], oldest first; `pens` seat → id of the stroke being drawn;
    `cursors` seat → [x, y]; `next` stroke id; `points` of all strokes."""

    name, version = "whiteboard", 1
    options = (Option("seats", 16, 1, 64, "people at the board"),)

    def configure(self) -> None:
        self.seats = self.option["seats"]

    def open(self, rng: Rng) -> dict[str, Any]:
        return {"strokes": [], "pens": {}, "cursors": {}, "next": 1, "points": 0}

    def leave(self, state: dict[str, Any], seat: int, rng: Rng) -> Iterable[Told]:
        # The drawing stays; the pen is put down. Whoever gets the seat next could undo these strokes, so they are
        # nobody's from now on.
        state["pens"].pop(seat, None)
        state["cursors"].pop(seat, None)
        for stroke in state["strokes"]:
            if stroke[1] == seat:
                stroke[1] = -1
        return [("away", seat)]

    def accept(self, value: Any) -> Any:
        """Any client can send anything: what `step` gets has the right form and size. Raising refuses, too."""
        match value:
            case ["begin", str(colour), int(width), bytes(xy)]:
                well = _COLOUR.fullmatch(colour) and 1 <= width <= WIDTH_MAX and _points(xy)
            case ["extend", bytes(xy)]:
                well = _points(xy)
            case ["end"] | ["undo"] | ["clear"]:
                well = True
            case ["cursor", int(x), int(y)]:
                well = 0 <= x < SIDE and 0 <= y < SIDE
            case _:
                well = False
        return value if well else None

    def step(self, state: dict[str, Any], inputs: list[tuple[int, Any]], rng: Rng) -> Iterator[Told]:
        cursors: dict[int, tuple[int, int]] = {}
        for seat, act in inputs:
            match act:
                case ["begin", colour, width, xy]:
                    yield from self._begin(state, seat, colour, width, xy)
                case ["extend", xy]:
                    yield from self._extend(state, seat, xy)
                case ["end"]:
                    yield from self._lift(state, seat)
                case ["undo"]:
                    yield from self._undo(state, seat)
                case ["clear"]:
                    state["strokes"], state["pens"], state["points"] = [], {}, 0
                    yield "clear", seat
                case ["cursor", x, y]:
                    cursors[seat] = (x, y)  # the last one of the tick is enough
        for seat, (x, y) in cursors.items():
            state["cursors"][seat] = [x, y]
            yield "cursor", seat, x, y

    def view(self, state: dict[str, Any], seat: int) -> Any:
        return {"strokes": state["strokes"], "cursors": state["cursors"], "pens": state["pens"]}

    def _begin(self, state: dict[str, Any], seat: int, colour: str, width: int, xy: bytes) -> Iterator[Told]:
        yield from self._lift(state, seat)
        if not (yield from self._make_room(state, len(xy) // POINT_BYTES, 1)):
            yield Private(seat, "full")
            return
        number = state["next"]
        state["next"] += 1
        state["strokes"].append([number, seat, colour, width, xy])
        state["pens"][seat] = number
        state["points"] += len(xy) // POINT_BYTES
        yield "begin", number, seat, colour, width, xy

    def _extend(self, state: dict[str, Any], seat: int, xy: bytes) -> Iterator[Told]:
        number = state["pens"].get(seat)
        if number is None:
            return  # the board was cleared meanwhile, or the stroke was full
        stroke = _stroke(state, number)
        more = len(xy) // POINT_BYTES
        fits = len(stroke[4]) // POINT_BYTES + more <= STROKE_POINTS_MAX
        if not fits or not (yield from self._make_room(state, more, 0)):
            yield Private(seat, "full")
            yield from self._lift(state, seat)
            return
        stroke[4] += xy
        state["points"] += more
        yield "extend", number, xy

    def _lift(self, state: dict[str, Any], seat: int) -> Iterator[Told]:
        number = state["pens"].pop(seat, None)
        if number is not None:
            yield "end", number

    def _undo(self, state: dict[str, Any], seat: int) -> Iterator[Told]:
        mine = [stroke for stroke in state["strokes"] if stroke[1] == seat]
        if mine:
            state["pens"].pop(seat, None)
            _remove(state, mine[-1])
            yield "undo", mine[-1][0]

    def _make_room(self, state: dict[str, Any], points: int, strokes: int) -> Generator[Told, None, bool]:
        """Drop the oldest finished strokes until so much more fits; returns whether it does.

        One event tells of all of them: an event for each could be more than a step may tell.
        """
        if _fits(state, points, strokes):
            return True
        in_hand, dropped = set(state["pens"].values()), []
        while not _fits(state, points, strokes):
            oldest = next((stroke for stroke in state["strokes"] if stroke[0] not in in_hand), None)
            if oldest is None:
                break
            dropped.append(oldest[0])
            _remove(state, oldest)
        if dropped:
            yield "drop", dropped
        return _fits(state, points, strokes)


def _fits(state: Mapping[str, Any], points: int, strokes: int) -> bool:
    return bool(state["points"] + points <= BOARD_POINTS_MAX and len(state["strokes"]) + strokes <= STROKES_MAX)


def _points(xy: bytes) -> bool:
    return 0 < len(xy) <= ACT_POINTS_MAX * POINT_BYTES and len(xy) % POINT_BYTES == 0


def _stroke(state: Mapping[str, Any], number: int) -> list[Any]:
    """A stroke that is on the board; the pen's is near the end."""
    found: list[Any] = next(stroke for stroke in reversed(state["strokes"]) if stroke[0] == number)
    return found


def _remove(state: dict[str, Any], stroke: list[Any]) -> None:
    state["strokes"].remove(stroke)
    state["points"] -= len(stroke[4]) // POINT_BYTES
