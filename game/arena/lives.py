"""Lives: who is hurt, who dies, who comes back where.

    EMPTY ──join──► PROTECTED ──protect_ms, or it fires──► ALIVE ──no health left──► DEAD
                        ▲                                                              │
                        └──────────────────────── respawn_ms ──────────────────────────┘      (leave: EMPTY)

One column, `until`, tells when a protection or a death is over; like `state` it changes with the phases of a life
only. A kill of a foe is one point; of a mate (with `friendly_fire`) none. `born_at` is the tick of a life's begin:
the rail, which looks back, must not hit a life at places of the one before.
"""

from __future__ import annotations

import numpy as np

from game import rng
from game.arena import teams
from game.arena.terms import Terms
from game.fixed import UNIT_BITS
from game.rows import Rows

EMPTY, ALIVE, DEAD, PROTECTED = 0, 1, 2, 3
"""What the column `state` says of a seat; the living are the odd ones."""
HP_MAX = 100
"""Health at the start of a life; a shield comes on top."""
CHARGES_START = 2
"""Shots of the rail that a life starts with."""

_CHOICES = 4
_RESPAWN = 1  # a purpose of randomness


def living(rooms: Rows) -> np.ndarray:
    """(n, seats) bool: alive, protected or not."""
    there: np.ndarray = (rooms.state & 1).astype(bool)
    return there


def hurt(
    rooms: Rows, terms: Terms, row: np.ndarray, attacker: np.ndarray, victim: np.ndarray, damage: int, weapon: int
) -> None:
    """Take the damage of one weapon's hits in this tick (one element a hit) and count kills; attackers and victims
    are seats.

    When several hit a victim in the tick it dies, the kill is one attacker's, in turns by the tick.
    """
    seats = rooms.hp.shape[1]
    open_to = rooms.state[row, victim] == ALIVE
    row, attacker, victim = row[open_to], attacker[open_to], victim[open_to]
    taken = np.zeros(rooms.hp.shape, np.int32)
    np.add.at(taken, (row, victim), damage)
    np.copyto(rooms.hp, np.maximum(rooms.hp - taken, 0).astype(np.uint8), where=taken > 0)
    died_row, died = np.nonzero((rooms.hp == 0) & (rooms.state == ALIVE))
    if not died.size:
        return
    ticks = rooms.tick.astype(np.int64)
    turn = np.full(rooms.hp.shape, seats)
    np.minimum.at(turn, (row, victim), (attacker + ticks[row]) % seats)
    killer = (turn[died_row, died] - ticks[died_row]) % seats
    point = teams.foes(rooms, terms.teams, died_row, died)[np.arange(died.size), killer]
    teams.count_point(rooms, died_row[point], killer[point])
    rooms.deaths[died_row, died] += np.int16(1)
    rooms.state[died_row, died] = DEAD
    rooms.vx[died_row, died] = 0
    rooms.vy[died_row, died] = 0
    rooms.until[died_row, died] = rooms.tick[died_row] + np.uint32(terms.respawn_ticks)
    rooms.emit("kill", died_row, killer, died, np.full(died.size, weapon))


def go_on(rooms: Rows, terms: Terms) -> None:
    """Bring back the dead whose time has come; end the protections that are over."""
    due = (rooms.state >= DEAD) & (rooms.until <= rooms.tick[:, None])
    if not due.any():
        return
    np.copyto(rooms.state, np.uint8(ALIVE), where=due & (rooms.state == PROTECTED))
    row, seat = np.nonzero(due & (rooms.state == DEAD))
    if row.size:
        spawn(rooms, terms, row, seat)


def spawn(rooms: Rows, terms: Terms, row: np.ndarray, seat: np.ndarray) -> None:
    """Put seats (one element each) on the field, far from their foes.

    Of four spawn points drawn by lot each seat gets the one that is farthest from any foe alive.
    """
    walls = terms.walls
    lots = (seat * _CHOICES)[:, None] + np.arange(_CHOICES)
    point = rng.below(rooms.seed[row], rooms.tick[row], lots, _RESPAWN, len(walls.spawn_x))
    apart_x = (walls.spawn_x[point][:, :, None] - rooms.x[row][:, None, :]) >> UNIT_BITS
    apart_y = (walls.spawn_y[point][:, :, None] - rooms.y[row][:, None, :]) >> UNIT_BITS
    foes = (teams.foes(rooms, terms.teams, row, seat) & living(rooms)[row])[:, None, :]
    apart = np.where(foes, apart_x * apart_x + apart_y * apart_y, np.iinfo(np.int32).max).min(axis=2)
    enter(rooms, terms, row, seat, point[np.arange(row.size), apart.argmax(axis=1)])


def enter(rooms: Rows, terms: Terms, row: np.ndarray, seat: np.ndarray, point: np.ndarray) -> None:
    """A life of each of these seats begins, at a spawn point."""
    rooms.x[row, seat] = terms.walls.spawn_x[point]
    rooms.y[row, seat] = terms.walls.spawn_y[point]
    rooms.vx[row, seat] = 0
    rooms.vy[row, seat] = 0
    rooms.hp[row, seat] = HP_MAX
    rooms.charges[row, seat] = CHARGES_START
    rooms.born_at[row, seat] = rooms.tick[row]
    rooms.state[row, seat] = PROTECTED if terms.protect_ticks else ALIVE
    rooms.until[row, seat] = rooms.tick[row] + np.uint32(terms.protect_ticks)


def vacate(rooms: Rows, row: np.ndarray, seat: np.ndarray) -> None:
    """Off the field, with everything that the seat had; it keeps a legal place."""
    for column in _OF_A_LIFE:
        getattr(rooms, column)[row, seat] = 0


_OF_A_LIFE = (
    *("vx", "vy", "facing", "state", "hp", "score", "deaths", "team", "filler", "charges"),
    *("until", "ready_at", "born_at", "shot", "shot_from"),
)
