"""Teams, or everybody against everybody: who is whose foe, who belongs where, and whose match it was.

Teams are numbered from 1; 0 is the team of those who play for themselves. Everything else asks here, so that the two
ways of playing differ nowhere else. A team keeps the points of those who have left it (`team_score`).
"""

from __future__ import annotations

import numpy as np

from game.rows import Rows

TEAMS_MAX = 4


def foes(rooms: Rows, teams: int, row: np.ndarray, seat: np.ndarray) -> np.ndarray:
    """(k, seats) bool: whom each of k seats plays against, empty seats included."""
    others: np.ndarray = np.arange(rooms.team.shape[1]) != seat[:, None]
    if teams:
        others &= rooms.team[row] != rooms.team[row, seat][:, None]
    return others


def members(rooms: Rows, teams: int, person: int = 1) -> np.ndarray:
    """(n, teams) how many each team has, a person counting for `person` fillers."""
    weight = np.where(rooms.filler > 0, 1, person)[:, None, :]
    count: np.ndarray = ((rooms.team[:, None, :] == np.arange(1, teams + 1)[:, None]) * weight).sum(axis=2)
    return count


def neediest(rooms: Rows, teams: int, person: int = 1) -> np.ndarray:
    """(n,) uint8: the team that the next player of each room goes to, the first of the smallest; 0 without teams."""
    if not teams:
        return np.zeros(rooms.n, np.uint8)
    smallest: np.ndarray = members(rooms, teams, person).argmin(axis=1) + 1
    return smallest.astype(np.uint8)


def count_point(rooms: Rows, row: np.ndarray, seat: np.ndarray) -> None:
    """One point for each of these seats, and for its team."""
    np.add.at(rooms.score, (row, seat), 1)
    team = rooms.team[row, seat].astype(np.intp)
    np.add.at(rooms.team_score, (row[team > 0], team[team > 0] - 1), 1)


def winners(rooms: Rows, teams: int) -> tuple[np.ndarray, np.ndarray]:
    """Who has won, as things are: (n, seats) bool, and (n,) the winning team, 0 for none.

    The people with the most points, or of the team with the most, if there are any and there was somebody to win
    against: people, for wins over fillers would be cheap. Equals have all won.
    """
    people = rooms.seated > 0
    if not teams:
        top = np.where(people, rooms.score, np.int16(0)).max(axis=1, keepdims=True)
        contested = people.sum(axis=1, keepdims=True) >= 2
        return people & (rooms.score == top) & (top > 0) & contested, np.zeros(rooms.n, np.int64)
    numbers = np.arange(1, TEAMS_MAX + 1)
    there = ((rooms.team[:, None, :] == numbers[:, None]) & people[:, None, :]).any(axis=2)
    top = rooms.team_score.max(axis=1, keepdims=True)
    best = (rooms.team_score == top) & (top > 0) & (there.sum(axis=1, keepdims=True) >= 2)
    wins = np.hstack([np.zeros((rooms.n, 1), bool), best])
    won = people & np.take_along_axis(wins, rooms.team.astype(np.intp), axis=1)
    return won, np.where(best.sum(axis=1) == 1, best.argmax(axis=1) + 1, 0)


def ranks(rooms: Rows, row: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(k, seats) a number from 0 for each seat that is `inside` (k, seats): mates come one after the other."""
    outside = TEAMS_MAX + 1
    order = np.argsort(np.where(inside, rooms.team[row], outside), axis=1, kind="stable")
    return np.argsort(order, axis=1, kind="stable")
