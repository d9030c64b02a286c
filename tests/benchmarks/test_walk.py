"""The benchmarks' own game is a game like any other, and moves everybody who wants to move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.walk import STEP, Walk
from game.batch import Batch
from game.commands import Join, TickCommands
from game.trial import check_determinism
from holdfast.games import make_game
from netcode.frame import FrameEncoder, Readers

ROOT = Path(__file__).resolve().parents[2]


def test_it_is_found_from_the_projects_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    game = make_game("benchmarks.walk:Walk", {"seats": "50"})
    assert (game.name, game.seats) == ("walk", 50)


def test_a_room_becomes_the_same_wherever_it_is() -> None:
    hashes = check_determinism(Walk({"seats": "3"}, 20), ticks=40)
    assert len(set(hashes)) == 40


@pytest.mark.parametrize("seats", [2, 10, 50, 200])
def test_everybody_moves_and_a_whole_room_fits_into_a_datagram(seats: int) -> None:
    batch = Batch(Walk({"seats": str(seats)}, 20))
    batch.open("r", 1)
    joins = tuple(Join("r", f"a{seat}", "", f"j{seat}") for seat in range(seats))
    batch.step(TickCommands(np.zeros(0, batch.input_record), joins))
    x, y = batch.rows.x.copy(), batch.rows.y.copy()
    inputs = np.zeros(seats, batch.input_record)
    inputs["seat"], inputs["seq"], inputs["move_x"], inputs["move_y"] = np.arange(seats), 1, 1, -1
    batch.step(TickCommands(inputs))
    assert (batch.rows.x == (x + STEP) & 0xFFFF).all()
    assert (batch.rows.y == (y - STEP) & 0xFFFF).all()

    encoder, everybody = FrameEncoder(batch), np.arange(seats)
    encoder.push()
    none, zeros = np.full(seats, -1), np.zeros(seats, np.int64)
    frames = encoder.encode(Readers(zeros, everybody, none, zeros + 1, zeros, zeros))
    assert frames.sizes.max() < 1150
