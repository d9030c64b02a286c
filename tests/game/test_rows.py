"""Columns in one buffer: writes, growth, copies, undoing, packed bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from game.arena import Arena
from game.rows import RowLayout, Rows
from tests.game.games import Tally

LAYOUT = RowLayout(Tally())


def scrambled(n: int, seed: int = 1) -> Rows:
    rows = Rows(LAYOUT, capacity=1, n=0)
    rows.resize(n)
    chance = np.random.default_rng(seed)
    for column in LAYOUT.columns:
        array = getattr(rows, column.name)
        limits = np.iinfo(array.dtype)
        array[...] = chance.integers(limits.min, limits.max, array.shape, array.dtype, endpoint=True)
    return rows


def test_shapes_follow_the_declaration() -> None:
    rows = Rows(LAYOUT, capacity=4, n=2)
    shapes = {"tick": (2,), "total": (2, 3), "marks": (2, 5), "past": (2, 3, 4), "add": (2, 3)}
    assert {name: getattr(rows, name).shape for name in shapes} == shapes
    assert rows.total.dtype == np.dtype("<i4")


def test_assigning_writes_in_place() -> None:
    rows = Rows(LAYOUT, capacity=2, n=2)
    column = rows.total
    rows.total = np.full((2, 3), 7)
    rows.total += 1
    assert rows.total is column
    assert (column == 8).all()
    with pytest.raises(TypeError, match="integers"):
        rows.total = column / 2
    with pytest.raises(AttributeError, match="no column 'totl'"):
        rows.totl = 1
    with pytest.raises(AttributeError, match="no column 'totl'"):
        _ = rows.totl


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_packed_rows_come_back(n: int, seed: int) -> None:
    rows = scrambled(n, seed)
    packed = rows.pack().copy()
    assert packed.shape == (n, LAYOUT.row_bytes)
    again = Rows(LAYOUT, capacity=n, n=n)
    for row in range(n):
        again.unpack(row, packed[row].tobytes())
    assert (again.pack() == packed).all()


def test_growth_keeps_rooms_and_new_rows_are_zero() -> None:
    rows = scrambled(3)
    before = rows.pack().copy()
    rows.resize(2)
    rows.resize(100)
    after = rows.pack().copy()
    assert (after[:2] == before[:2]).all()
    assert not after[2:].any()


def test_remove_moves_the_last_room() -> None:
    rows = scrambled(4)
    before = rows.pack().copy()
    rows.remove([1])
    assert (rows.pack() == before[[0, 3, 2]]).all()


def test_take_is_a_copy_and_put_brings_it_back_with_what_it_emitted() -> None:
    rows = scrambled(4)
    some = rows.take([3, 1])
    before = rows.pack().copy()
    assert (some.pack() == before[[3, 1]]).all()
    some.total += 1
    assert (rows.pack() == before).all()
    some.emit("ping", np.array([0]), np.array([5]))
    some.end_match(np.array([False, True]), some.total, bonus=some.total)
    rows.put([3, 1], some)
    assert (rows.total[[3, 1]] == some.total).all()
    kind, where, data = rows.emitted[0]
    assert (kind, where.tolist(), [part.tolist() for part in data]) == ("ping", [3], [[5]])
    over, score, won, stats = rows.ended[0]
    assert over.tolist() == [1]
    assert score.shape == won.shape == rows.seated.shape
    assert (stats["bonus"][1] == some.total[1]).all()


def test_restore_undoes_the_step_and_no_more() -> None:
    rows = scrambled(3)
    rows.emit("before", np.array([0]))
    before = rows.pack().copy()
    rows.backup()
    rows.total += 1
    rows.emit("after", np.array([1]))
    rows.end_match(np.array([True, False, False]), rows.total)
    rows.restore()
    assert (rows.pack() == before).all()
    assert ([kind for kind, _, _ in rows.emitted], rows.ended) == (["before"], [])


def test_the_winner_has_the_highest_score_of_those_who_are_there() -> None:
    rows = Rows(LAYOUT, capacity=2, n=2)
    rows.seated = np.array([[1, 1, 0], [2, 1, 1]])
    score = np.array([[-5, -3, 0], [4, 4, 1]], np.int16)
    rows.end_match(np.array([True, True]), score)
    assert rows.ended[0][2].tolist() == [[False, True, False], [True, True, False]]


def test_no_column_is_a_float_in_the_arena() -> None:
    assert all(column.dtype[0] in "iu" for column in RowLayout(Arena()).columns)
