"""Matches: when one is over, who has won, and how the next one starts.

    PLAYING ──time is up / score limit──► INTERMISSION ──3 s──► PLAYING     (a room opens PLAYING)

At a match's end every taken seat gets a result, also when it is alone or away; who has won, `game.arena.teams` says.
Nothing can be fired in an intermission. The clock is two columns that change once a phase (`phase`, `ends_at`): the
time that is left costs nothing on the wire.
"""

from __future__ import annotations

import numpy as np

from game import rng
from game.arena import lives, teams
from game.arena.terms import Terms
from game.rows import Rows

PLAYING, INTERMISSION = 0, 1
"""What the column `phase` says of a room."""

_LINE_UP = 2  # a purpose of randomness


def clock(rooms: Rows, terms: Terms) -> None:
    """End the matches that are over and start those whose intermission is."""
    due = rooms.ends_at <= rooms.tick
    if terms.score_limit:
        points = rooms.team_score if terms.teams else rooms.score
        due |= (rooms.phase == PLAYING) & (points.max(axis=1) >= terms.score_limit)
    if not due.any():
        return
    playing = rooms.phase == PLAYING
    _finish(rooms, terms, due & playing)
    _start(rooms, terms, np.flatnonzero(due & ~playing))


def _finish(rooms: Rows, terms: Terms, over: np.ndarray) -> None:
    row = np.flatnonzero(over)
    if not row.size:
        return
    won, team = teams.winners(rooms, terms.teams)
    rooms.end_match(over, rooms.score, won, kills=rooms.score, deaths=rooms.deaths)
    rooms.emit("match_over", row, np.where(won.sum(axis=1) == 1, won.argmax(axis=1), -1)[row], team[row])
    rooms.phase[row] = INTERMISSION
    rooms.ends_at[row] = rooms.tick[row] + np.uint32(terms.intermission_ticks)
    rooms.shot[row] = 0


def _start(rooms: Rows, terms: Terms, row: np.ndarray) -> None:
    if not row.size:
        return
    rooms.phase[row] = PLAYING
    rooms.ends_at[row] = rooms.tick[row] + np.uint32(terms.match_ticks)
    for column in (rooms.score, rooms.deaths, rooms.team_score):
        column[row] = 0
    inside = rooms.state[row] != lives.EMPTY
    at, seat = np.nonzero(inside)
    # Evenly over the points, which are in the map's order: mates start side by side, foes apart.
    points = len(terms.walls.spawn_x)
    first = rng.below(rooms.seed[row], rooms.tick[row], np.zeros(1, np.int64), _LINE_UP, points)
    count = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    point = (first + teams.ranks(rooms, row, inside) * points // count) % points
    lives.enter(rooms, terms, row[at], seat, point[at, seat])
    rooms.emit("match_start", row, rooms.match[row])
