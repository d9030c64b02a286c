"""Inputs that a batch takes: the next of each seat, one a seat; anything else is our own fault and is told loudly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from game.batch import Batch
from game.commands import Close, Join, Leave, Skip, TickCommands
from game.errors import GameError
from game.inputs import fitting, flat
from game.rows import EMPTY, RowLayout, Rows
from tests.game.games import Tally, tick

ROOMS = ("r0", "r1", "r2")


@pytest.fixture
def batch() -> Batch:
    """Three rooms with a player in seat 1 whose last input was number 2, and one in seat 0 who has given none."""
    rooms = Batch(Tally())
    for number, room in enumerate(ROOMS):
        rooms.open(room, number)
    rooms.step(tick(rooms, *(Join(room, who, "", f"{room}{who}") for room in ROOMS for who in "ab")))
    for _ in range(2):
        rooms.step(tick(rooms, inputs={(room, 1): {"add": 1} for room in ROOMS}))
    return rooms


def told(batch: Batch, *inputs: tuple[int, int, int], commands: tuple[Any, ...] = ()) -> TickCommands:
    """Inputs as (row, seat, seq), each of which adds 5."""
    records = np.array([(row, seat, seq, 0, 5, 0) for row, seat, seq in inputs], batch.input_record)
    return TickCommands(records, commands)


def counts(batch: Batch, room: str, seat: int) -> tuple[int, int, int]:
    rows, row = batch.rows, batch.row[room]
    return int(rows.last_seq[row, seat]), int(rows.applied[row, seat]), int(rows.total[row, seat])


WRONG = [
    ((1, 1, 4), "room r1: seat 1 is given input 4 where 3 is the next"),
    ((1, 1, 2), "room r1: seat 1 is given input 2 where 3 is the next"),
    ((1, 1, 0), "room r1: seat 1 is given input 0 where 3 is the next"),
    ((1, 0, 2), "room r1: seat 0 is given input 2 where 1 is the next"),
    ((0, 1, 3), "room r0: seat 1 is given input 3 where 3 is the next; one a tick"),
]


@pytest.mark.parametrize(("wrong", "why"), WRONG)
def test_an_input_that_is_not_the_next_is_our_fault(batch: Batch, wrong: tuple[int, int, int], why: str) -> None:
    with pytest.raises(GameError, match=f"^{why}$"):
        batch.step(told(batch, (0, 1, 3), (2, 1, 3), wrong))


@pytest.mark.parametrize(("wrong", "why"), WRONG)
def test_from_a_journal_it_costs_its_room_alone(batch: Batch, wrong: tuple[int, int, int], why: str) -> None:
    room, other = ROOMS[wrong[0]], ROOMS[1 - wrong[0]]
    before = [counts(batch, room, seat) for seat in range(3)]
    right = [(row, 1, 3) for row in range(3) if row != wrong[0] or wrong[0] == 0]
    result = batch.step(told(batch, *right, wrong, (wrong[0], 2, 9)), stored=True)
    assert {name: str(failure.error) for name, failure in result.failed.items()} == {room: why}
    assert [counts(batch, room, seat) for seat in range(3)] == before, "as it was before its step"
    assert [counts(batch, name, 1) for name in (other, "r2")] == [(3, 3, 108 - 1)] * 2


@pytest.mark.parametrize("place", [(3, 0), (0, 3), (2**32 - 1, 0), (0, 255)])
@pytest.mark.parametrize("stored", [False, True])
def test_rows_and_seats_that_there_are_not(batch: Batch, place: tuple[int, int], stored: bool) -> None:
    with pytest.raises(GameError, match=f"an input of row {place[0]}, seat {place[1]}; there are 3 rows of 3 seats"):
        batch.step(told(batch, (*place, 1)), stored=stored)


def test_an_input_goes_on_behind_a_skip_of_its_tick(batch: Batch) -> None:
    batch.step(told(batch, (0, 1, 8), commands=(Skip("r0", 1, 1, 3, 7),)))
    assert counts(batch, "r0", 1) == (8, 3, 107)
    with pytest.raises(GameError, match="given input 9 where 3 is the next"):
        batch.step(told(batch, (1, 1, 9), commands=(Skip("r1", 1, 1, 4, 8),)))


@pytest.mark.parametrize("seq", [1, 3, 77])
def test_the_inputs_of_a_seat_that_is_joined_again_were_for_the_player_before(batch: Batch, seq: int) -> None:
    again = (Join("r0", "b", "", "again"), Leave("r1", 1, 1), Join("r1", "c", "", "instead"), Leave("r2", 1, 1))
    result = batch.step(told(batch, (0, 1, seq), (1, 1, seq), (2, 1, seq), commands=again))
    assert result.failed == {}
    assert [counts(batch, room, 1) for room in ROOMS] == [(0, 0, 102), (0, 0, 100), (2, 2, 0)]


def test_rooms_that_end_take_no_inputs(batch: Batch) -> None:
    result = batch.step(told(batch, (1, 1, 55), (2, 1, 3), commands=(Close("r1"),)))
    assert (result.closed, result.failed) == (["r1"], {})
    assert counts(batch, "r2", 1) == (3, 3, 107)


LAYOUT = RowLayout(Tally())
SEATS = LAYOUT.game.seats
INPUT = st.tuples(st.integers(0, 3), st.integers(0, SEATS - 1), st.integers(0, 3))


@given(inputs=st.lists(INPUT, max_size=8), seed=st.integers(0, 2**32))
def test_what_fits_is_what_a_loop_would_find(inputs: list[tuple[int, int, int]], seed: int) -> None:
    chance = np.random.default_rng(seed)
    rows = Rows(LAYOUT, n=4)
    rows.seated = chance.integers(0, 3, (4, SEATS))
    rows.last_seq = chance.integers(0, 3, (4, SEATS))
    rows.generation = chance.integers(0, 2, (4, SEATS))
    joins = chance.integers(0, 2, (4, SEATS)).astype(np.uint16)
    records = np.zeros(len(inputs), Batch(Tally()).input_record)
    for name, column in zip(("row", "seat", "seq"), zip(*inputs, strict=True), strict=False):
        records[name] = column
    found, wrong = fitting(rows, records, joins)
    mine = [
        (row, seat, seq)
        for row, seat, seq in inputs
        if rows.seated[row, seat] != EMPTY and rows.generation[row, seat] == joins[row, seat]
    ]
    assert list(zip(*(found[name].tolist() for name in ("row", "seat", "seq")), strict=True)) == mine
    places = [(row, seat) for row, seat, _ in mine]
    assert set(wrong) == {
        row for row, seat, seq in mine if seq != int(rows.last_seq[row, seat]) + 1 or places.count((row, seat)) > 1
    }
    assert flat(rows, found).tolist() == [row * SEATS + seat for row, seat in places]
