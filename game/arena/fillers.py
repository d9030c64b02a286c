"""Fillers: players made by the room itself, so that a few people have somebody to play with.

    people in the room, fewer bodies than `fillers` ──► one comes a tick, to the last free seat
    more bodies than `fillers`, or nobody left      ──► one goes a tick (the last), or all
    teams of unequal size                           ──► one goes from the largest; the next comes to the smallest

A filler lives in a free seat (`seated` 0, `filler` 1): a join takes the seat as if it were empty. Fillers come from
the end and people from the start, so the two seldom meet. What a filler wants is written where a player's input is
(`move_x`, `aim`, `buttons`); everything after that makes no difference between the two, but nobody keeps results
for it. A pure function of the state like the rest of a step: its memory is its last input.

    sees a foe (near, no wall between)   keep a distance, circle, aim ahead with an error, fire
    else                                 follow the map's way to some item; meet others there

Each decides six times a second, in turns, about as quick as a person.
"""

from __future__ import annotations

import numpy as np

from game import rng
from game.arena import lives, maps, match, shots, teams, weapons
from game.arena.maps import TILE_BITS, TILE_UNITS
from game.arena.terms import Terms
from game.fixed import TURN, UNIT, UNIT_BITS, cos_sin, isqrt
from game.rows import Rows

SIGHT_UNITS = 480
NEAR_UNITS, FAR_UNITS = 110, 220
RAIL_UNITS = 200
"""From here on a filler prefers the rail."""
ERROR = TURN // 40
"""How far off its aim may be, to either side, 16-bit turns."""
DECIDES_HZ = 6

_WAY, _ERROR, _CIRCLE = 11, 12, 13  # purposes of randomness
_LOOKS = np.arange(1, 20)[:, None]  # where a line of sight is tested, in 20ths
_SLOPES = 256


def _arctangents() -> np.ndarray:
    """(_SLOPES + 1,) int32: the angle, 16-bit turns, whose tangent is i / _SLOPES: the first 4096th that reaches
    it."""
    angle = np.arange(513) * (TURN // 4096)
    cos, sin = cos_sin(angle)
    slope = sin.astype(np.int64) * _SLOPES // cos
    return angle[np.searchsorted(slope, np.arange(_SLOPES + 1))].astype(np.int32)


_ARCTANGENT = _arctangents()


def angle_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The direction of vectors of whole numbers, 16-bit turns in 0..65535, to within a third of a degree; (0, 0)
    points along +x."""
    wide, high = np.abs(x), np.abs(y)
    longer = np.maximum(np.maximum(wide, high), 1)
    first = _ARCTANGENT[np.minimum(wide, high) * _SLOPES // longer]
    upper = np.where(high > wide, TURN // 4 - first, first)
    right = np.where(x < 0, TURN // 2 - upper, upper)
    angle: np.ndarray = np.where(y < 0, -right, right) & (TURN - 1)
    return angle


def manage(rooms: Rows, terms: Terms) -> None:
    """Let fillers come and go."""
    people = (rooms.seated > 0).any(axis=1)
    inside = rooms.state != lives.EMPTY
    wanted = np.where(people, terms.fillers, 0)
    count = inside.sum(axis=1)
    seats = inside.shape[1]

    row = np.flatnonzero(count < wanted)
    if row.size:
        seat = seats - 1 - (~inside[row, ::-1]).argmax(axis=1)
        rooms.team[row, seat] = teams.neediest(rooms, terms.teams)[row]
        rooms.filler[row, seat] = 1
        lives.spawn(rooms, terms, row, seat)
    # The last filler (of the largest team) goes where there are too many, or its team is too large.
    claim = np.where(rooms.filler > 0, np.arange(1, seats + 1), 0)
    too_many = count > wanted
    if terms.teams:
        size = teams.members(rooms, terms.teams)
        of_seat = np.take_along_axis(size, np.maximum(rooms.team.astype(np.intp) - 1, 0), axis=1)
        claim += of_seat * seats * (claim > 0)
        too_many |= (of_seat * (claim > 0)).max(axis=1) > size.min(axis=1) + 1
    goes = too_many[:, None] & (claim > 0)
    if goes.any():
        goes &= ~people[:, None] | (claim == claim.max(axis=1, keepdims=True))
        row, seat = np.nonzero(goes)
        lives.vacate(rooms, row, seat)
        forget(rooms, row, seat)


def forget(rooms: Rows, row: np.ndarray, seat: np.ndarray) -> None:
    """These seats want nothing any more."""
    for column in (rooms.move_x, rooms.move_y, rooms.aim, rooms.buttons):
        column[row, seat] = 0


def think(rooms: Rows, terms: Terms) -> None:
    """Write down what those fillers want whose turn it is."""
    every = max(1, terms.tick_hz // DECIDES_HZ)
    turn = (rooms.tick[:, None] + np.arange(rooms.x.shape[1], dtype=np.uint32)) % np.uint32(every) == 0
    row, seat = np.nonzero((rooms.filler > 0) & turn & lives.living(rooms))
    if not row.size:
        return
    foe, sees = _look(rooms, terms, row, seat)
    _walk(rooms, terms, row, seat)
    if sees.any():
        _fight(rooms, terms, row[sees], seat[sees], foe[sees])
    rooms.buttons[row[~sees], seat[~sees]] = 0


def _look(rooms: Rows, terms: Terms, row: np.ndarray, seat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k,) the nearest foe of each, and whether it is in sight."""
    x, y = rooms.x[row, seat], rooms.y[row, seat]
    away_x = (rooms.x[row] - x[:, None]) >> UNIT_BITS
    away_y = (rooms.y[row] - y[:, None]) >> UNIT_BITS
    apart = away_x * away_x + away_y * away_y
    fair = teams.foes(rooms, terms.teams, row, seat) & (rooms.state[row] == lives.ALIVE)
    apart = np.where(fair, apart, np.iinfo(np.int32).max)
    foe = apart.argmin(axis=1)
    sees = apart[np.arange(row.size), foe] <= SIGHT_UNITS * SIGHT_UNITS
    to_x, to_y = rooms.x[row, foe], rooms.y[row, foe]
    tile_x = (x + (to_x - x) * _LOOKS // 20) >> TILE_BITS
    tile_y = (y + (to_y - y) * _LOOKS // 20) >> TILE_BITS
    sees &= ~terms.walls.solid.take(tile_y * terms.walls.width + tile_x).any(axis=0)
    return foe, sees


def _walk(rooms: Rows, terms: Terms, row: np.ndarray, seat: np.ndarray) -> None:
    """Towards the middle of the next tile on the way to an item, another one every few seconds."""
    walls = terms.walls
    errand = rooms.tick[row] // np.uint32(5 * terms.tick_hz)
    item = rng.below(rooms.seed[row], errand, seat[:, None], _WAY, len(walls.item_kind))[:, 0]
    x, y = rooms.x[row, seat], rooms.y[row, seat]
    tile = (y >> TILE_BITS) * walls.width + (x >> TILE_BITS)
    to = maps.ways(walls)[item, tile]
    middle = TILE_UNITS * UNIT // 2
    off_x = ((to % walls.width << TILE_BITS) + middle - x) >> UNIT_BITS
    off_y = ((to // walls.width << TILE_BITS) + middle - y) >> UNIT_BITS
    rooms.move_x[row, seat] = np.sign(off_x) * (np.abs(off_x) > 6)
    rooms.move_y[row, seat] = np.sign(off_y) * (np.abs(off_y) > 6)
    moves = (off_x != 0) | (off_y != 0)
    rooms.aim[row, seat] = np.where(moves, angle_of(off_x, off_y), rooms.aim[row, seat])


def _fight(rooms: Rows, terms: Terms, row: np.ndarray, seat: np.ndarray, foe: np.ndarray) -> None:
    """Aim at where the foe will be, fire, keep a distance and circle."""
    away_x = ((rooms.x[row, foe] - rooms.x[row, seat]) >> UNIT_BITS).astype(np.int64)
    away_y = ((rooms.y[row, foe] - rooms.y[row, seat]) >> UNIT_BITS).astype(np.int64)
    apart = isqrt(away_x * away_x + away_y * away_y)
    beam = (apart >= RAIL_UNITS) & (rooms.charges[row, seat] > 0)
    flight = np.where(beam, 0, apart * terms.tick_hz // shots.SHOT_UNITS_S)
    ahead_x = away_x + (rooms.vx[row, foe] * flight >> UNIT_BITS)
    ahead_y = away_y + (rooms.vy[row, foe] * flight >> UNIT_BITS)
    error = rng.below(rooms.seed[row], rooms.tick[row], seat[:, None], _ERROR, 2 * ERROR + 1)[:, 0] - ERROR
    rooms.aim[row, seat] = (angle_of(ahead_x, ahead_y) + error) & (TURN - 1)
    playing = rooms.phase[row] == match.PLAYING
    rooms.buttons[row, seat] = np.where(beam, weapons.RAIL, weapons.FIRE) * playing

    # Circle, one way for a second at a time.
    second = rooms.tick[row] // np.uint32(terms.tick_hz)
    side = rng.below(rooms.seed[row], second, seat[:, None], _CIRCLE, 2)[:, 0] * 2 - 1
    along = np.where(apart > FAR_UNITS, 1, np.where(apart < NEAR_UNITS, -1, 0))
    want_x, want_y = away_x * along - away_y * side, away_y * along + away_x * side
    longest = np.maximum(np.abs(want_x), np.abs(want_y))
    rooms.move_x[row, seat] = np.sign(want_x) * (np.abs(want_x) * 5 > longest * 2)
    rooms.move_y[row, seat] = np.sign(want_y) * (np.abs(want_y) * 5 > longest * 2)
