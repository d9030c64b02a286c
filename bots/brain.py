"""How bots decide what to want: pure and seeded, so that a run can be repeated.

    ArenaBrain   reads its frames: fights the nearest foe in sight, leads its aim, side-steps shots, fetches
                 what it needs
    RandomWalk   reads nothing: for any game, and for lean bots, which do not decode views
    RandomWalks  the same for many bots at once, in columns

A brain returns only the fields that change; what it does not name stays as it was. Cheap: a decision takes 10 to 30 µs,
because hundreds of bots decide thirty times a second in one process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Protocol

import numpy as np

from game.api import Input
from game.arena import lives, maps, movement, rules, shots, weapons
from game.fixed import UNIT_BITS
from netcode.frame import Frame
from netcode.play import SeatInfo

LEAP_MAX = 256
"""A field of so many values may jump to any of them."""
DECIDES_PER_S = 6
"""At least so often the arena's bots look at a frame and decide: as quick as a player."""
_MASK = (1 << 64) - 1
_STRIDE = 0x9E3779B97F4A7C15


class Brain(Protocol):
    """Decides for one seat."""

    def looks(self, tick: int) -> bool:
        """Whether it wants to see the frame of this tick."""

    def decide(self, frame: Frame | None) -> Mapping[str, int]:
        """The input fields that change now; `frame` is None for those who do not look."""


class Dice:
    """Seeded chance: SplitMix64 (Steele, Lea, Flood 2014), the same on every machine."""

    __slots__ = ("state",)

    def __init__(self, *seeds: int) -> None:
        self.state = 0
        for seed in seeds:
            self.state = (self.state ^ (seed & _MASK)) & _MASK
            self._draw()
            self.state = (self.state * 0xD1342543DE82EF95 + 1) & _MASK

    def _draw(self) -> int:
        self.state = (self.state + _STRIDE) & _MASK
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed >> 32

    def below(self, bound: int) -> int:
        """A whole number in 0..bound-1, bound at most 2**32."""
        return self._draw() * bound >> 32

    def between(self, low: int, high: int) -> int:
        """A whole number in low..high."""
        return low + self.below(high - low + 1)


def make_brain(info: SeatInfo, seed: int, player: int, *, sees: bool) -> Brain:
    """The brain for a seat: the arena's own where the bot sees its frames, else one that walks at random."""
    if sees and info.game == rules.Arena.name and "x" in {field.name for field in info.layout.shared}:
        return ArenaBrain(seed, player, info.seat, info.tick_hz, info.options)
    return RandomWalk(seed, player, info.inputs, info.tick_hz)


class RandomWalk:
    """Wants something within the limits of each input field, and changes its mind a few times a second.

    A field of few values jumps to any of them; one of many (an angle) turns a little at a time, around the end of its
    range.
    """

    def __init__(self, seed: int, player: int, inputs: tuple[Input, ...], tick_hz: int) -> None:
        self.dice = Dice(seed, player)
        self._inputs = inputs
        self._pause_max = max(1, tick_hz // 2)
        self.pause = 0
        """For how many inputs nothing changes."""
        self.values = {field.name: field.low + (field.high - field.low) // 2 for field in inputs}
        """What it wanted last, by field."""

    def looks(self, tick: int) -> bool:
        """Never."""
        return False

    def decide(self, frame: Frame | None = None) -> Mapping[str, int]:
        """One or two fields change when the pause is over; nothing does before."""
        if self.pause:
            self.pause -= 1
            return {}
        dice = self.dice
        self.pause = dice.below(self._pause_max)
        changed = {}
        for _ in range(1 + dice.below(2)):
            field = self._inputs[dice.below(len(self._inputs))]
            span = field.high - field.low + 1
            if span <= LEAP_MAX:
                value = field.low + dice.below(span)
            else:
                turn = dice.between(-(span // 16), span // 16)
                value = field.low + (self.values[field.name] - field.low + turn) % span
            self.values[field.name] = changed[field.name] = value
        return changed


class RandomWalks:
    """The random walks of many bots in one game, a row each: they decide what `RandomWalk` would, all at once."""

    def __init__(self, inputs: tuple[Input, ...], tick_hz: int) -> None:
        self.kind = inputs, tick_hz
        self.record = np.dtype([(field.name, "<" + field.dtype) for field in inputs])
        """One input as the wire has it."""
        self.pause = np.zeros(0, np.int64)
        """As in `RandomWalk`."""
        self.packed = np.zeros((0, self.record.itemsize), np.uint8)
        """What each bot wants, as the wire has it."""
        self._dice = np.zeros(0, np.uint64)
        self._values = np.zeros((0, len(inputs)), np.int64)
        self._low = np.array([field.low for field in inputs])
        self._span = np.array([field.high - field.low + 1 for field in inputs])
        self._turn = np.where(self._span <= LEAP_MAX, 0, self._span // 16)
        self._pause_max = max(1, tick_hz // 2)

    def grow(self, rows: int) -> None:
        """Room for so many rows."""
        for name in ("pause", "packed", "_dice", "_values"):
            column = getattr(self, name)
            setattr(
                self, name, np.concatenate([column, np.zeros((rows - len(column), *column.shape[1:]), column.dtype)])
            )

    def enter(self, row: int, walk: RandomWalk) -> None:
        """Go on where a bot's walk is; what it wants at present is in `packed` already."""
        self.pause[row], self._dice[row] = walk.pause, walk.dice.state
        self._values[row] = list(walk.values.values())

    def leave(self, row: int, walk: RandomWalk) -> dict[str, int]:
        """Bring a row back to its walk; returns what the bot wants at present."""
        walk.pause, walk.dice.state = int(self.pause[row]), int(self._dice[row])
        walk.values.update(zip(walk.values, self._values[row].tolist(), strict=True))
        wanted = self.packed[row].view(self.record)[0]
        return {name: int(wanted[name]) for name in walk.values}

    def decide(self, rows: np.ndarray) -> None:
        """`RandomWalk.decide` for each of these rows, all different."""
        pause = self.pause[rows]
        self.pause[rows] = pause - 1
        rows = rows[pause == 0]
        if not len(rows):
            return
        # Six throws each; whose second field does not change has not made the last two.
        dice = self._dice[rows]
        throws = _mixed(dice[:, None] + _THROWS)
        self.pause[rows] = throws[:, 0] * self._pause_max >> 32
        twice = throws[:, 1] >= 1 << 31
        self._dice[rows] = dice + np.where(twice, _THROWS[5], _THROWS[3])
        wanted = self.packed[rows].view(self.record)[:, 0]
        for which, throw in ((slice(None), 2), (twice, 4)):
            number = throws[which, throw] * len(self._span) >> 32
            at, chance = rows[which], throws[which, throw + 1]
            low, span, turn = self._low[number], self._span[number], self._turn[number]
            ahead = np.where(turn > 0, self._values[at, number] - low - turn, 0)
            value = low + (ahead + (chance * np.where(turn > 0, 2 * turn + 1, span) >> 32)) % span
            self._values[at, number] = value
            for place, name in enumerate(self.record.names or ()):
                wanted[name][which] = np.where(number == place, value, wanted[name][which])
        self.packed[rows] = wanted[:, None].view(np.uint8)


_THROWS = np.array([n * _STRIDE & _MASK for n in range(1, 7)], np.uint64)


def _mixed(state: np.ndarray) -> np.ndarray:
    """What `Dice` makes of these states: whole numbers below 2**32."""
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    thrown: np.ndarray = (mixed >> np.uint64(32)).astype(np.int64)
    return thrown


class ArenaBrain:
    """Plays the arena from what its frames show: fights whoever is in sight, else fetches what it needs."""

    NEAR_UNITS = 130
    FAR_UNITS = 240
    RANGE_UNITS = 340
    RAIL_UNITS = (220, 800)
    """Where the rail is worth a charge: nearer than this the blaster does it, farther off it would miss."""
    DANGER_UNITS = 180
    WOBBLE = 1500
    """How far off the aim may be, in 65536ths of a turn; it drifts, as a hand does."""
    HURT_HP = 50
    """From here down health comes first."""
    LAG_S = 0.1
    """From what a frame shows to the tick that the answer counts in, roughly."""

    def __init__(self, seed: int, player: int, seat: int, tick_hz: int, options: Mapping[str, int]) -> None:
        number = options.get("map", 0)
        walls = maps.MAPS[number]
        self._dice = Dice(seed, player)
        self._seat = seat
        self._hz = tick_hz
        self._every = max(2, tick_hz // DECIDES_PER_S)
        self._teams = options.get("teams", 0) > 0
        self._solid = walls.solid.tolist()
        self._width = walls.width
        self._kinds = walls.item_kind.tolist()
        self._tiles = walls.item_tile.tolist()
        self._ways = _ways_of(number)
        self._shot_step = shots.SHOT_UNITS_S / tick_hz
        self._side = 1 if self._dice.below(2) else -1
        self._wish = (0, 0)
        self._keep_until = 0
        self._off = 0
        self._before: tuple[int, list[int], list[int]] | None = None
        self._foe, self._look_at = -1, 0
        self._errand_until = 0
        self.errand = -1
        """The item that it is on its way to; -1: none yet."""

    def looks(self, tick: int) -> bool:
        """A few times a second, and not all seats at the same tick."""
        return (tick + self._seat) % self._every == 0

    def decide(self, frame: Frame | None) -> Mapping[str, int]:
        """Move, aim and fire for the next ticks."""
        if frame is None or not self.looks(frame.tick):
            return {}
        xs, ys, states = frame.values("x"), frame.values("y"), frame.values("state")
        seat, tick = self._seat, frame.tick
        if states[seat] not in _LIVING:
            self._before = None
            self._foe = -1
            return {"move_x": 0, "move_y": 0, "buttons": 0}
        x, y = xs[seat], ys[seat]
        foe = self._target(frame, x, y, xs, ys, states)
        if foe < 0:
            wish = self._fetch(frame, x, y)
            wanted = {"buttons": 0, "aim": _HEADINGS[wish]} if wish in _HEADINGS else {"buttons": 0}
        else:
            dx, dy = (xs[foe] - x) / 256.0, (ys[foe] - y) / 256.0
            far = math.hypot(dx, dy)
            wanted = self._shoot(frame, foe, dx, dy, far, xs, ys)
            wish = self._approach(tick, dx, dy, far, x, y)
        wish = self._dodge(frame, x, y) or wish
        self._before = (tick, xs, ys)
        wanted["move_x"], wanted["move_y"] = self._wish = wish
        return wanted

    def _target(self, frame: Frame, x: int, y: int, xs: list[int], ys: list[int], states: list[int]) -> int:
        """The nearest foe in sight, -1 for none; looked for anew a few times a second."""
        foe, tick = self._foe, frame.tick
        if tick < self._look_at and (foe < 0 or states[foe] == lives.ALIVE):
            return foe
        self._look_at = tick + self._hz // 6
        sides = frame.values("team") if self._teams else None
        near = sorted(
            ((xs[other] - x) ** 2 + (ys[other] - y) ** 2, other)
            for other, state in enumerate(states)
            if state == lives.ALIVE and other != self._seat and (sides is None or sides[other] != sides[self._seat])
        )
        self._foe = -1
        for square, other in near[:3]:
            far = math.sqrt(square) / 256.0
            if far < self.RAIL_UNITS[1] and self._sees(x, y, xs[other], ys[other], far):
                self._foe = other
                break
        return self._foe

    def _sees(self, x: int, y: int, to_x: int, to_y: int, far: float) -> bool:
        """Whether no wall is in between."""
        steps = 1 + int(far) // 24
        bits, width, solid = maps.TILE_BITS, self._width, self._solid
        return not any(
            solid[((y + (to_y - y) * i // steps) >> bits) * width + ((x + (to_x - x) * i // steps) >> bits)]
            for i in range(1, steps)
        )

    def _shoot(
        self, frame: Frame, foe: int, dx: float, dy: float, far: float, xs: list[int], ys: list[int]
    ) -> dict[str, int]:
        seat, tick = self._seat, frame.tick
        beam = self.RAIL_UNITS[0] <= far and frame.mine("charges", seat) > 0
        if self._before is not None and tick > self._before[0]:
            then, old_xs, old_ys = self._before
            ticks = 256.0 * (tick - then)
            reach = movement.SPEED_UNITS_S / self._hz * 1.05
            lag = self.LAG_S * self._hz
            # The rail hits where we see the foe, a shot where it will be; either starts where we shall be.
            flight = 0.0 if beam else lag + far / self._shot_step
            dx += _within((xs[foe] - old_xs[foe]) / ticks, reach) * flight
            dy += _within((ys[foe] - old_ys[foe]) / ticks, reach) * flight
            dx -= _within((xs[seat] - old_xs[seat]) / ticks, reach) * lag
            dy -= _within((ys[seat] - old_ys[seat]) / ticks, reach) * lag
        self._off = (self._off * 7 + self._dice.between(-self.WOBBLE, self.WOBBLE)) // 8
        aim = int(math.atan2(dy, dx) * (65536 / math.tau)) + self._off
        fires = weapons.RAIL if beam else weapons.FIRE if far < self.RANGE_UNITS else 0
        return {"aim": aim & 0xFFFF, "buttons": fires}

    def _approach(self, tick: int, dx: float, dy: float, far: float, x: int, y: int) -> tuple[int, int]:
        if tick < self._keep_until and not self._stuck(tick, x, y):
            return self._wish
        self._keep_until = tick + self._dice.between(self._hz // 8, self._hz // 2)
        if self._dice.below(4) == 0 or self._stuck(tick, x, y):
            self._side = -self._side
        along = 1.0 if far > self.FAR_UNITS else -1.0 if far < self.NEAR_UNITS else 0.0
        return _towards(dx * along - dy * self._side, dy * along + dx * self._side)

    def _fetch(self, frame: Frame, x: int, y: int) -> tuple[int, int]:
        """The way to the item that is needed most, or to any: others are met there."""
        tick = frame.tick
        at = (y >> maps.TILE_BITS) * self._width + (x >> maps.TILE_BITS)
        if tick >= self._errand_until or at == self._tiles[self.errand]:
            self._errand_until = tick + self._dice.between(2 * self._hz, 5 * self._hz)
            self.errand = self._needed(frame, at)
        to = self._ways[self.errand][at]
        middle = 1 << (maps.TILE_BITS - 1)
        off_x = ((to % self._width) << maps.TILE_BITS) + middle - x
        off_y = ((to // self._width) << maps.TILE_BITS) + middle - y
        slack = 6 << UNIT_BITS
        return (off_x > slack) - (off_x < -slack), (off_y > slack) - (off_y < -slack)

    def _needed(self, frame: Frame, at: int) -> int:
        there, seat = frame.values("pickups")[0], self._seat
        if frame.mine("hp", seat) <= self.HURT_HP:
            kinds = {maps.HEALTH, maps.SHIELD}
        elif frame.mine("charges", seat) < 2:
            kinds = {maps.CHARGES}
        else:
            return self._dice.below(len(self._tiles))
        width = self._width
        found = [
            (abs(tile % width - at % width) + abs(tile // width - at // width), item)
            for item, (kind, tile) in enumerate(zip(self._kinds, self._tiles, strict=True))
            if kind in kinds and there >> item & 1
        ]
        return min(found)[1] if found else self._dice.below(len(self._tiles))

    def _stuck(self, tick: int, x: int, y: int) -> bool:
        """Whether we wanted to move and did not."""
        if self._before is None or self._wish == (0, 0):
            return False
        _, xs, ys = self._before
        return abs(xs[self._seat] - x) + abs(ys[self._seat] - y) < 512

    def _dodge(self, frame: Frame, x: int, y: int) -> tuple[int, int] | None:
        """A step aside when somebody's shot comes this way and is noticed."""
        flying = frame.values("shot")
        if not any(flying) or self._dice.below(4):
            return None
        xs, ys = frame.values("x"), frame.values("y")
        for shooter, shot in enumerate(flying):
            if not shot or shooter == self._seat or shot & 128:
                continue
            # Where the shooter is now is close enough to where it was when it fired.
            rel_x, rel_y = (x - xs[shooter]) / 256.0, (y - ys[shooter]) / 256.0
            if abs(rel_x) + abs(rel_y) > 600:
                continue
            angle = (shot >> 8) * (math.tau / 256)
            cos, sin = math.cos(angle), math.sin(angle)
            ahead = rel_x * cos + rel_y * sin - (frame.tick + 1 - (shot & 127)) % shots.AGES * self._shot_step
            aside = rel_y * cos - rel_x * sin
            if 0 < ahead < self.DANGER_UNITS and abs(aside) < 34:
                away = 1 if aside >= 0 else -1
                self._keep_until = frame.tick + self._hz // 6
                return _towards(-sin * away, cos * away)
        return None


@cache
def _ways_of(map_number: int) -> list[list[int]]:
    """The map's ways to its items, as plain numbers; shared by all bots."""
    ways: list[list[int]] = maps.ways(maps.MAPS[map_number]).tolist()
    return ways


def _within(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)


def _towards(dx: float, dy: float) -> tuple[int, int]:
    """The nearest of the eight ways."""
    longest = max(abs(dx), abs(dy)) * 0.41
    if not longest:
        return 0, 0
    return (
        0 if abs(dx) < longest else 1 if dx > 0 else -1,
        0 if abs(dy) < longest else 1 if dy > 0 else -1,
    )


_HEADINGS = {
    way: eighth * 8192
    for eighth, way in enumerate(((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)))
}
"""Where one looks who walks this way, 16-bit turns."""
_LIVING = (lives.ALIVE, lives.PROTECTED)


def world_edges(info: SeatInfo) -> list[tuple[int, int, int]] | None:
    """Which shared values must be within the game's world: (first, end, edge), of whole numbers from 0 to below the
    edge; None for a game whose world we do not know."""
    fields = info.layout.shared_at
    if info.game != rules.Arena.name or not {"x", "y"} <= fields.keys():
        return None
    units = maps.MAPS[info.options.get("map", 0)].size_units << UNIT_BITS
    return [(f.start, f.start + f.count, units >> f.shift) for f in (fields["x"], fields["y"])]


def inside_world(info: SeatInfo) -> Callable[[Frame], bool] | None:
    """A test whether everybody in a frame is inside the game's world; None for a game whose world we do not know."""
    edges = world_edges(info)
    if edges is None:
        return None

    def inside(frame: Frame) -> bool:
        shared = frame.shared
        return all(min(shared[start:end]) >= 0 and max(shared[start:end]) < edge for start, end, edge in edges)

    return inside
