"""Lives and matches: who is hurt, who comes back where, when a match is over and the next one starts.

    seat    EMPTY ──join──► ALIVE ──three hits──► DEAD ──respawn_ms──► ALIVE    (leave: EMPTY, from anywhere)
    room    PLAYING ──time is up / score limit──► INTERMISSION ──3 s──► PLAYING     (a room opens PLAYING)

A kill is one point. At a match's end every taken seat gets a result, also when it is alone or away; *won* is
whoever has the most points, if there are any and there was someone to win against (so nobody earns wins in an
empty room). Nothing can be fired in an intermission. The clock is two columns that change once a phase
(`phase`, `ends_at`): the time that is left costs nothing on the wire.
"""

from __future__ import annotations

import numpy as np

from game import rng
from game.arena.maps import Walls
from game.fixed import UNIT_BITS
from game.rows import Rows

EMPTY, ALIVE, DEAD = 0, 1, 2
"""What the column `state` says of a seat."""
PLAYING, INTERMISSION = 0, 1
"""What the column `phase` says of a room."""

HP_MAX = 100
DAMAGE = 34
INTERMISSION_S = 3

_CHOICES = 4
_RESPAWN, _LINE_UP = 1, 2  # purposes of randomness


def hurt(rooms: Rows, row: np.ndarray, attacker: np.ndarray, victim: np.ndarray, respawn_ticks: int) -> None:
    """Take the damage of this tick's hits (one element a hit) and count kills; attackers and victims are
    seats.

    When several hit a victim in the tick it dies, the kill is one attacker's, in turns by the tick.
    """
    seats = rooms.hp.shape[1]
    damage = np.zeros(rooms.hp.shape, np.int32)
    np.add.at(damage, (row, victim), DAMAGE)
    np.copyto(rooms.hp, np.maximum(rooms.hp - damage, 0).astype(np.uint8), where=damage > 0)
    died_row, died = np.nonzero((rooms.hp == 0) & (rooms.state == ALIVE))
    if not died.size:
        return
    ticks = rooms.tick.astype(np.int64)
    turn = np.full(rooms.hp.shape, seats)
    np.minimum.at(turn, (row, victim), (attacker + ticks[row]) % seats)
    killer = (turn[died_row, died] - ticks[died_row]) % seats
    np.add.at(rooms.score, (died_row, killer), 1)
    rooms.deaths[died_row, died] += np.int16(1)
    rooms.state[died_row, died] = DEAD
    rooms.vx[died_row, died] = 0
    rooms.vy[died_row, died] = 0
    rooms.respawn_at[died_row, died] = rooms.tick[died_row] + np.uint32(respawn_ticks)
    rooms.emit("kill", died_row, killer, died)


def respawn_due(rooms: Rows, walls: Walls) -> None:
    """Bring back the dead whose time has come."""
    due = (rooms.state == DEAD) & (rooms.respawn_at <= rooms.tick[:, None])
    if due.any():
        spawn(rooms, walls, *np.nonzero(due))


def spawn(rooms: Rows, walls: Walls, row: np.ndarray, seat: np.ndarray) -> None:
    """Put seats (one element each) on the field, far from others.

    Of four spawn points drawn by lot each seat gets the one that is farthest from anybody alive.
    """
    lots = (seat * _CHOICES)[:, None] + np.arange(_CHOICES)
    point = rng.below(rooms.seed[row], rooms.tick[row], lots, _RESPAWN, len(walls.spawn_x))
    apart_x = (walls.spawn_x[point][:, :, None] - rooms.x[row][:, None, :]) >> UNIT_BITS
    apart_y = (walls.spawn_y[point][:, :, None] - rooms.y[row][:, None, :]) >> UNIT_BITS
    others = (rooms.state[row] == ALIVE)[:, None, :]
    apart = np.where(others, apart_x * apart_x + apart_y * apart_y, np.iinfo(np.int32).max).min(axis=2)
    _enter(rooms, walls, row, seat, point[np.arange(row.size), apart.argmax(axis=1)])


def clock(rooms: Rows, walls: Walls, match_ticks: int, intermission_ticks: int, score_limit: int) -> None:
    """End the matches that are over and start those whose intermission is."""
    due = rooms.ends_at <= rooms.tick
    if score_limit:
        due |= (rooms.phase == PLAYING) & (rooms.score.max(axis=1) >= score_limit)
    if not due.any():
        return
    playing = rooms.phase == PLAYING
    _finish(rooms, due & playing, intermission_ticks)
    _start(rooms, walls, np.flatnonzero(due & ~playing), match_ticks)


def _finish(rooms: Rows, over: np.ndarray, intermission_ticks: int) -> None:
    row = np.flatnonzero(over)
    if not row.size:
        return
    taken = rooms.seated > 0
    top = np.where(taken, rooms.score, np.int16(0)).max(axis=1, keepdims=True)
    contested = taken.sum(axis=1, keepdims=True) >= 2
    won = taken & (rooms.score == top) & (top > 0) & contested
    rooms.end_match(over, rooms.score, won, kills=rooms.score, deaths=rooms.deaths)
    rooms.emit("match_over", row, np.where(won.sum(axis=1) == 1, won.argmax(axis=1), -1)[row])
    rooms.phase[row] = INTERMISSION
    rooms.ends_at[row] = rooms.tick[row] + np.uint32(intermission_ticks)
    rooms.shot_born[row] = 0


def _start(rooms: Rows, walls: Walls, row: np.ndarray, match_ticks: int) -> None:
    if not row.size:
        return
    rooms.phase[row] = PLAYING
    rooms.ends_at[row] = rooms.tick[row] + np.uint32(match_ticks)
    rooms.score[row] = 0
    rooms.deaths[row] = 0
    at, seat = np.nonzero(rooms.seated[row] > 0)
    points = len(walls.spawn_x)
    first = rng.below(rooms.seed[row], rooms.tick[row], np.zeros(1, np.int64), _LINE_UP, points)[:, 0]
    _enter(rooms, walls, row[at], seat, (first[at] + seat) % points)
    rooms.emit("match_start", row, rooms.match[row])


def _enter(rooms: Rows, walls: Walls, row: np.ndarray, seat: np.ndarray, point: np.ndarray) -> None:
    rooms.x[row, seat] = walls.spawn_x[point]
    rooms.y[row, seat] = walls.spawn_y[point]
    rooms.vx[row, seat] = 0
    rooms.vy[row, seat] = 0
    rooms.hp[row, seat] = HP_MAX
    rooms.state[row, seat] = ALIVE
