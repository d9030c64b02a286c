"""How bots decide what to want: pure and seeded, so that a run can be repeated.

    ArenaBrain   reads its frames: goes for the nearest living player, leads its aim, side-steps shots
    RandomWalk   reads nothing: for any game, and for lean bots, which do not decode views

A brain returns only the fields that change; what it does not name stays as it was. Cheap: a decision takes 10 to 30 µs,
because hundreds of bots decide thirty times a second in one process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

from game.api import Input
from game.arena import maps, match, movement, rules, shots
from game.fixed import UNIT_BITS
from netcode.frame import Frame
from netcode.play import SeatInfo

DECIDES_EVERY = 2
"""The arena's bots look at every second frame only: quick enough for a player, half the work."""
_MASK = (1 << 64) - 1


class Brain(Protocol):
    """Decides for one seat."""

    def decide(self, frame: Frame | None) -> Mapping[str, int]:
        """The input fields that change now; `frame` is None for those who do not look."""


class Dice:
    """Seeded chance: SplitMix64 (Steele, Lea, Flood 2014), the same on every machine."""

    __slots__ = ("_state",)

    def __init__(self, *seeds: int) -> None:
        self._state = 0
        for seed in seeds:
            self._state = (self._state ^ (seed & _MASK)) & _MASK
            self._draw()
            self._state = (self._state * 0xD1342543DE82EF95 + 1) & _MASK

    def _draw(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
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
        return ArenaBrain(seed, player, info.seat, info.tick_hz, info.options.get("map", 0))
    return RandomWalk(seed, player, info.inputs, info.tick_hz)


class RandomWalk:
    """Wants something within the limits of each input field, and changes its mind a few times a second.

    A field of few values jumps to any of them; one of many (an angle) turns a little at a time, around the end of its
    range.
    """

    def __init__(self, seed: int, player: int, inputs: tuple[Input, ...], tick_hz: int) -> None:
        self._dice = Dice(seed, player)
        self._inputs = inputs
        self._pause_max = max(1, tick_hz // 2)
        self._wait = 0
        self._values = {field.name: field.low + (field.high - field.low) // 2 for field in inputs}

    def decide(self, frame: Frame | None = None) -> Mapping[str, int]:
        """One or two fields change when the pause is over; nothing does before."""
        if self._wait:
            self._wait -= 1
            return {}
        dice = self._dice
        self._wait = dice.below(self._pause_max)
        changed = {}
        for _ in range(1 + dice.below(2)):
            field = self._inputs[dice.below(len(self._inputs))]
            span = field.high - field.low + 1
            if span <= 256:
                value = field.low + dice.below(span)
            else:
                turn = dice.between(-(span // 16), span // 16)
                value = field.low + (self._values[field.name] - field.low + turn) % span
            self._values[field.name] = changed[field.name] = value
        return changed


class ArenaBrain:
    """Plays the arena from what its frames show."""

    NEAR_UNITS = 110
    FAR_UNITS = 200
    RANGE_UNITS = 500
    DANGER_UNITS = 180
    WOBBLE = 350
    """How far off the aim may be, in 65536ths of a turn."""

    def __init__(self, seed: int, player: int, seat: int, tick_hz: int, map_number: int = 0) -> None:
        walls = maps.MAPS[map_number]
        self._dice = Dice(seed, player)
        self._seat = seat
        self._hz = tick_hz
        self._solid = walls.solid.tolist()
        self._width = walls.width
        self._shot_step = shots.SHOT_UNITS_S / tick_hz
        self._life = shots.LIFE_MS * tick_hz // 1000
        self._side = 1 if self._dice.below(2) else -1
        self._wish = (0, 0)
        self._keep_until = 0
        self._before: tuple[int, list[int], list[int]] | None = None
        self._sighted: tuple[int, int, bool] = (-1, 0, False)

    def decide(self, frame: Frame | None) -> Mapping[str, int]:
        """Move, aim and fire for the next tick."""
        if frame is None or (frame.tick + self._seat) % DECIDES_EVERY:
            return {}
        xs, ys, states = frame.values("x"), frame.values("y"), frame.values("state")
        seat, tick = self._seat, frame.tick
        if states[seat] != match.ALIVE:
            self._before = None
            return {"move_x": 0, "move_y": 0, "buttons": 0}
        x, y = xs[seat], ys[seat]
        foe = self._nearest(x, y, xs, ys, states)
        if foe < 0:
            wish, wanted = self._roam(tick, x, y), {"buttons": 0}
        else:
            dx, dy = (xs[foe] - x) / 256.0, (ys[foe] - y) / 256.0
            far = math.hypot(dx, dy)
            sighted = self._sees(tick, foe, x, y, xs[foe], ys[foe], far)
            wanted = self._shoot(tick, foe, dx, dy, far, xs, ys, sighted)
            wish = self._approach(tick, dx, dy, far, sighted, x, y)
        wish = self._dodge(frame, x, y) or wish
        self._before = (tick, xs, ys)
        wanted["move_x"], wanted["move_y"] = self._wish = wish
        return wanted

    def _nearest(self, x: int, y: int, xs: list[int], ys: list[int], states: list[int]) -> int:
        best, found = 1 << 62, -1
        for other, state in enumerate(states):
            if state == match.ALIVE and other != self._seat:
                apart = (xs[other] - x) ** 2 + (ys[other] - y) ** 2
                if apart < best:
                    best, found = apart, other
        return found

    def _sees(self, tick: int, foe: int, x: int, y: int, to_x: int, to_y: int, far: float) -> bool:
        """Whether no wall is in between; asked anew a few times a second."""
        who, until, sighted = self._sighted
        if who == foe and tick < until:
            return sighted
        steps = 1 + int(far) // 24
        bits, width, solid = maps.TILE_BITS, self._width, self._solid
        sighted = not any(
            solid[((y + (to_y - y) * i // steps) >> bits) * width + ((x + (to_x - x) * i // steps) >> bits)]
            for i in range(1, steps)
        )
        self._sighted = (foe, tick + self._hz // 6, sighted)
        return sighted

    def _shoot(
        self, tick: int, foe: int, dx: float, dy: float, far: float, xs: list[int], ys: list[int], sighted: bool
    ) -> dict[str, int]:
        if self._before is not None and tick > self._before[0]:
            _, old_xs, old_ys = self._before
            flight = far / self._shot_step / (tick - self._before[0]) / 256.0
            reach = movement.SPEED_UNITS_S / self._hz * (far / self._shot_step)
            dx += min(max((xs[foe] - old_xs[foe]) * flight, -reach), reach)
            dy += min(max((ys[foe] - old_ys[foe]) * flight, -reach), reach)
        aim = int(math.atan2(dy, dx) * (65536 / math.tau)) + self._dice.between(-self.WOBBLE, self.WOBBLE)
        fires = sighted and far < self.RANGE_UNITS
        return {"aim": aim & 0xFFFF, "buttons": rules.FIRE if fires else 0}

    def _approach(self, tick: int, dx: float, dy: float, far: float, sighted: bool, x: int, y: int) -> tuple[int, int]:
        if tick < self._keep_until and not self._stuck(tick, x, y):
            return self._wish
        if not sighted or self._stuck(tick, x, y):
            if self._stuck(tick, x, y) or self._dice.below(3) == 0:
                return self._roam(tick, x, y)
            self._keep_until = tick + self._hz // 4
            return _towards(dx, dy)
        self._keep_until = tick + self._dice.between(self._hz // 8, self._hz // 2)
        if self._dice.below(4) == 0:
            self._side = -self._side
        along = 1.0 if far > self.FAR_UNITS else -1.0 if far < self.NEAR_UNITS else 0.0
        return _towards(dx * along - dy * self._side, dy * along + dx * self._side)

    def _roam(self, tick: int, x: int, y: int) -> tuple[int, int]:
        if tick < self._keep_until and self._wish != (0, 0) and not self._stuck(tick, x, y):
            return self._wish
        self._keep_until = tick + self._dice.between(self._hz // 3, self._hz)
        return _EIGHT_WAYS[self._dice.below(8)]

    def _stuck(self, tick: int, x: int, y: int) -> bool:
        """Whether we wanted to move and did not."""
        if self._before is None or self._wish == (0, 0):
            return False
        _, xs, ys = self._before
        return abs(xs[self._seat] - x) + abs(ys[self._seat] - y) < 256

    def _dodge(self, frame: Frame, x: int, y: int) -> tuple[int, int] | None:
        """A step aside when somebody's shot comes this way and is noticed."""
        births = frame.values("shot_born")
        if not any(births) or self._dice.below(3):
            return None
        words = frame.values("shot")
        now = frame.tick % shots.AGES + 1
        at_x, at_y = x / 256.0, y / 256.0
        for slot, born in enumerate(births):
            if not born or slot // shots.SLOTS == self._seat:
                continue
            word = words[slot]
            rel_x, rel_y = at_x - (word & 2047), at_y - (word >> 11 & 2047)
            if abs(rel_x) + abs(rel_y) > 1000:
                continue
            angle = (word >> 22 & 1023) * (math.tau / 1024)
            cos, sin = math.cos(angle), math.sin(angle)
            ahead = rel_x * cos + rel_y * sin - (now - born) % shots.AGES * self._shot_step
            aside = rel_y * cos - rel_x * sin
            if 0 < ahead < self.DANGER_UNITS and abs(aside) < 34:
                away = 1 if aside >= 0 else -1
                self._keep_until = frame.tick + self._hz // 6
                return _towards(-sin * away, cos * away)
        return None


def _towards(dx: float, dy: float) -> tuple[int, int]:
    """The nearest of the eight ways."""
    longest = max(abs(dx), abs(dy)) * 0.41
    if not longest:
        return 0, 0
    return (
        0 if abs(dx) < longest else 1 if dx > 0 else -1,
        0 if abs(dy) < longest else 1 if dy > 0 else -1,
    )


_EIGHT_WAYS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))


def inside_world(info: SeatInfo) -> Callable[[Frame], bool] | None:
    """A test whether everybody in a frame is inside the game's world; None for a game whose world we do not know."""
    fields = {field.name: field for field in info.layout.shared}
    if info.game != rules.Arena.name or not {"x", "y"} <= fields.keys():
        return None
    units = maps.MAPS[info.options.get("map", 0)].size_units << UNIT_BITS
    parts = [(f.start, f.start + f.count, units >> f.shift) for f in (fields["x"], fields["y"])]

    def inside(frame: Frame) -> bool:
        shared = frame.shared
        return all(min(shared[start:end]) >= 0 and max(shared[start:end]) < edge for start, end, edge in parts)

    return inside
