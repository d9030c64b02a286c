"""What a tick's inputs must be, seen to before they are applied.

    of a room and a seat that there is  ·  at most one a seat  ·  the next of its seat: last applied + 1

A journal promises this to whoever replays it, and who acknowledges inputs counts on it. An input of a seat that is
empty by now, or that another join has taken within the tick, was meant for the player before: it is dropped.
"""

from __future__ import annotations

import numpy as np

from game.errors import GameError
from game.rows import EMPTY, Rows


def fitting(rows: Rows, inputs: np.ndarray, joins: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """The inputs that are for the players who sit there now, and the rows with some that break the promise, and why.

    `joins`: the generations (n, seats) before the tick's commands. Raises GameError for rows and seats that there are
    not.
    """
    if not len(inputs):
        return inputs, {}
    n, seats = rows.seated.shape
    row, seat = inputs["row"], inputs["seat"]
    if row.max() >= n or seat.max() >= seats:
        raise GameError(f"an input of row {row.max()}, seat {seat.max()}; there are {n} rows of {seats} seats")
    at = flat(rows, inputs)
    stays = rows.seated.reshape(-1)[at] != EMPTY
    stays &= rows.generation.reshape(-1)[at] == joins.reshape(-1)[at]
    if not stays.all():
        inputs, at = inputs[stays], at[stays]
    count = np.arange(len(at))
    newest = np.empty(n * seats, np.intp)
    newest[at] = count
    due = rows.last_seq.reshape(-1)[at] + np.uint32(1)
    bad = (inputs["seq"] != due) | (newest[at] != count)
    wrong: dict[int, str] = {}
    for one in np.flatnonzero(bad).tolist() if bad.any() else ():
        index, place, seq, *_ = inputs[one].item()
        again = "; one a tick" if newest[at[one]] != one else ""
        wrong.setdefault(index, f"seat {place} is given input {seq} where {due[one]} is the next{again}")
    return inputs, wrong


def flat(rows: Rows, inputs: np.ndarray) -> np.ndarray:
    """Where the inputs' seats are in columns of one value a seat, taken as one line."""
    at: np.ndarray = inputs["row"] * np.intp(rows.seated.shape[1])
    at += inputs["seat"]
    return at
