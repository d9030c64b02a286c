"""What a seat sees: the right columns, quantised, and enough to have its own values back exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from game.arena import Arena
from game.rows import RowLayout, Rows
from game.view import Viewer, ViewLayout, view_layout
from tests.game.games import Tally

GAME = Tally()
LAYOUT = RowLayout(GAME)


def test_the_layout_follows_the_columns() -> None:
    layout = view_layout(GAME)
    assert [(f.name, f.start, f.count, f.bits, f.signed, f.shift) for f in layout.shared] == [
        ("total", 0, 3, 16, True, 2),
        ("marks", 3, 5, 16, False, 0),
    ]
    assert [(f.name, f.start, f.bits, f.signed, f.exact) for f in layout.own] == [
        ("total", 0, 8, False, True),
        ("secret", 1, 16, True, False),
    ]
    assert (layout.shared_width, layout.own_width) == (8, 2)


@pytest.mark.parametrize("game", [GAME, Arena()], ids=["tally", "arena"])
def test_a_description_comes_back(game: Tally | Arena) -> None:
    layout = view_layout(game)
    again = ViewLayout.from_description(layout.describe())
    assert (again.shared, again.own) == (layout.shared, layout.own)


@pytest.mark.parametrize("change", [{"bits": 64}, {"count": 0}, {"count": 5000}, {"shift": 32}, {"bits": "x"}])
def test_a_senseless_description_is_refused(change: dict[str, object]) -> None:
    data = view_layout(GAME).describe()
    data["shared"][0] |= change
    with pytest.raises(ValueError, match=r"."):
        ViewLayout.from_description(data)


@given(st.lists(st.integers(-(2**17), 2**17 - 1), min_size=6, max_size=6), st.integers(-(2**15), 2**15 - 1))
def test_shared_and_own_together_are_exact(totals: list[int], secret: int) -> None:
    rows = Rows(LAYOUT, capacity=2, n=2)
    rows.total = np.array(totals).reshape(2, 3)
    rows.secret[1, 2] = secret
    viewer = Viewer(GAME)
    shared, own = viewer.shared(rows), viewer.own(rows)
    assert (shared.shape, own.shape) == ((2, 8), (2, 3, 2))
    assert shared.dtype == own.dtype == np.dtype(np.int32)
    wrapped = ((np.array(totals) >> 2) + 2**15) % 2**16 - 2**15
    assert shared[:, :3].ravel().tolist() == wrapped.tolist()
    assert own[1, 2, 1] == secret
    exact = (shared[:, :3] << 2) + own[:, :, 0]
    assert exact.ravel().tolist() == [
        total - (total >> 2 << 2) + (int(w) << 2) for total, w in zip(totals, wrapped, strict=True)
    ]


def test_hidden_columns_are_nowhere() -> None:
    rows = Rows(LAYOUT, capacity=1, n=1)
    before = (Viewer(GAME).shared(rows), Viewer(GAME).own(rows))
    rows.hidden[:] = 2**64 - 1
    rows.past[:] = 77
    rows.seed[:] = 5
    after = (Viewer(GAME).shared(rows), Viewer(GAME).own(rows))
    assert all((one == two).all() for one, two in zip(before, after, strict=True))


def test_an_arena_place_comes_back_exactly() -> None:
    game = Arena()
    rows = Rows(RowLayout(game), capacity=1, n=1)
    rows.x = np.arange(10)[None] * 39_317 + 12_345
    viewer = Viewer(game)
    at = {field.name: field for field in viewer.layout.shared}["x"]
    low = {field.name: field for field in viewer.layout.own if field.exact}["x"]
    shared = viewer.shared(rows)[0, at.start : at.start + at.count]
    assert ((shared << at.shift) + viewer.own(rows)[0, :, low.start] == rows.x[0]).all()
