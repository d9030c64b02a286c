"""Prediction: one's own seat as the server will have it, and what happens when the server says otherwise."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from game.api import Column, Input, RowGame
from game.arena import Arena
from game.batch import Batch
from game.commands import Join, TickCommands
from game.rows import Rows
from game.view import view_layout
from netcode.frame import Frame, FrameDecoder, FrameEncoder, Readers
from netcode.predict import HALVES_IN_S, Predictor

UNIT = 256


class Runner(RowGame):
    """Runs to and fro; a wall of wind, shared by all, pushes everybody."""

    name, version, seats, default_tick_hz = "runner", 1, 3, 20
    columns = (
        Column("x", "i4", per="seat", see="all", shift=7, exact=True, wire="u2"),
        Column("y", "i4", per="seat", see="all", shift=7, exact=True, wire="u2"),
        Column("vx", "i2", per="seat", see="own"),
        Column("heat", "i4", per="seat", see="own", shift=3),
        Column("state", "u1", per="seat", see="all"),
        Column("wind", "i2", see="all", shift=1),
    )
    inputs = (Input("go", "i1", -1, 1),)

    def step(self, rooms: Rows) -> None:
        rooms.vx[:] = rooms.vx + rooms.go * np.int16(40)
        rooms.x[:] = rooms.x + rooms.vx + rooms.wind[:, None]

    def predict(self, own: dict[str, int], view: Mapping[str, np.ndarray], wanted: Mapping[str, int]) -> dict[str, int]:
        vx = own["vx"] + wanted["go"] * 40
        return own | {"vx": vx, "x": own["x"] + vx + int(view["wind"])}


class Blind(Runner):
    """Its prediction looks at nobody else. `calls` counts."""

    name = "blind"
    calls = 0

    def predict(self, own: dict[str, int], view: Mapping[str, np.ndarray], wanted: Mapping[str, int]) -> dict[str, int]:
        type(self).calls += 1
        return own | {"vx": own["vx"] + wanted["go"] * 40, "x": own["x"] + own["vx"] + wanted["go"] * 40}


class Room:
    """A server's room of one game; its frames for one seat, as that seat's client decodes them."""

    def __init__(self, game: RowGame, seat: int = 0) -> None:
        self.batch, self.seat = Batch(game), seat
        self.encoder = FrameEncoder(self.batch)
        self.batch.open("r", 7)
        joins = tuple(Join("r", f"account-{seat}", "", f"join-{seat}") for seat in range(seat + 1))
        self.batch.step(TickCommands(np.zeros(0, self.batch.input_record), joins))
        self.decoder = FrameDecoder(view_layout(game), 0, 0, self.batch.tick_of("r"), 0)

    def tick(self, seq: int = 0, **wanted: int) -> Frame:
        """Apply an input (`seq` 0: none has come, the last is repeated); the frame of this tick."""
        record = np.zeros(1 if seq else 0, self.batch.input_record)
        if seq:
            record["seat"], record["seq"] = self.seat, seq
            for name, value in wanted.items():
                record[name] = value
        assert not self.batch.step(TickCommands(record, ())).failed
        self.encoder.push()
        zero = np.zeros(1, np.int64)
        data = self.encoder.encode(Readers(zero, zero + self.seat, zero - 1, zero, zero, zero))
        frame = self.decoder.receive(data.string(0))
        assert frame is not None
        return frame

    def value(self, name: str) -> int:
        """The truth of the seat's column."""
        return int(getattr(self.batch.rows, name)[0, self.seat])

    def put(self, name: str, value: int) -> None:
        """Somebody interfered."""
        getattr(self.batch.rows, name)[0, self.seat] = value


def started(game: RowGame, **fields: Any) -> tuple[Room, Predictor]:
    """A room and a predictor that has seen its first frame; the seat stands at x = 8192."""
    room = Room(game)
    room.put("x", 32 * UNIT + 77)
    predictor = Predictor(game, 0, **fields)
    predictor.frame(room.tick(), 0.0)
    return room, predictor


def arena_input(chance: random.Random, game: RowGame) -> dict[str, int]:
    """Run and turn, but shoot nobody (and pull no trigger that could change how one runs)."""
    moves = {"move_x": chance.randint(-1, 1), "move_y": chance.randint(-1, 1), "aim": chance.randint(0, 65535)}
    return {field.name: moves.get(field.name, 0) for field in game.inputs}


@pytest.mark.parametrize("delay", [0, 1, 5])
@pytest.mark.parametrize("tick_hz", [20, 60])
def test_the_arena_is_predicted_to_the_last_bit_whatever_the_delay(tick_hz: int, delay: int) -> None:
    game, chance = Arena({"map": 1}, tick_hz), random.Random(delay)
    room, truth = Room(game, seat=2), {}
    predictor = Predictor(game, 2)
    predictor.frame(room.tick(), 0.0)
    for seq in range(1, 200):
        if seq % 7 == 1:
            held = arena_input(chance, game)
        predictor.sent(seq, held, seq / tick_hz)
        assert predictor.state is not None
        truth[seq] = (held, {name: predictor.state[name] for name in ("x", "y", "vx", "vy")})
        if seq > delay:
            wanted, predicted = truth.pop(seq - delay)
            frame = room.tick(seq - delay, **wanted)
            assert predicted == {name: room.value(name) for name in predicted}
            predictor.frame(frame, seq / tick_hz)
    assert (predictor.corrections.compared, predictor.corrections.count, predictor.corrections.jumps) == (
        199 - delay,
        0,
        0,
    )


def test_a_move_is_seen_before_the_server_knows_of_it() -> None:
    room, predictor = started(Runner())
    predictor.sent(1, {"go": 1}, 0.0)
    predictor.sent(2, {"go": 1}, 0.05)
    assert predictor.state is not None
    assert predictor.state["x"] == 32 * UNIT + 77 + 40 + 80
    assert predictor.smoothed(0.05)["x"] == 32 * UNIT + 77 + 40
    assert predictor.smoothed(0.075)["x"] == 32 * UNIT + 77 + 80
    assert predictor.smoothed(9.0)["x"] == predictor.state["x"]
    predictor.frame(room.tick(1, go=1), 0.06)
    assert predictor.state["x"] == 32 * UNIT + 77 + 40 + 80
    assert predictor.corrections.count == 0


def test_own_columns_are_as_the_wire_has_them_and_exact_ones_exact() -> None:
    room, predictor = started(Runner())
    room.put("heat", 1003)
    room.put("state", 9)
    room.put("vx", -7)
    predictor.frame(room.tick(), 0.05)
    assert predictor.state == {"x": room.value("x"), "y": 0, "vx": -7, "heat": 1000, "state": 9}


def test_what_others_share_is_seen_by_the_prediction_in_the_columns_own_shape_and_type() -> None:
    seen: dict[str, np.ndarray] = {}

    class Looking(Runner):
        def predict(
            self, own: dict[str, int], view: Mapping[str, np.ndarray], wanted: Mapping[str, int]
        ) -> dict[str, int]:
            seen.update(view)
            return own

    room, predictor = started(Looking())
    room.batch.rows.wind[:] = -5
    predictor.frame(room.tick(), 0.05)
    predictor.sent(1, {"go": 0}, 0.05)
    assert set(seen) == {"x", "y", "state", "wind"}
    assert (seen["wind"].shape, seen["wind"].dtype.name, int(seen["wind"])) == ((), "int16", -6)
    assert (seen["x"].shape, seen["x"].dtype.name) == ((3,), "int32")
    assert seen["x"][0] == room.value("x") >> 7 << 7


def test_a_repeated_input_is_one_correction_of_one_ticks_way_and_then_forgotten() -> None:
    room, predictor = started(Runner())
    for seq in (1, 2, 3):
        predictor.sent(seq, {"go": int(seq == 1)}, seq / 20)
    predictor.frame(room.tick(1, go=1), 0.16)
    assert predictor.corrections.count == 0
    room.batch.rows.go[:] = 0
    predictor.frame(room.tick(), 0.21)  # input 2 is late
    assert (predictor.corrections.count, predictor.corrections.max) == (1, 40.0)
    predictor.frame(room.tick(2), 0.26)
    predictor.frame(room.tick(3), 0.31)
    assert (predictor.corrections.compared, predictor.corrections.count, predictor.corrections.sum) == (4, 1, 40.0)
    assert list(predictor.corrections.recent) == [40.0]
    assert predictor.state is not None
    assert predictor.state["x"] == room.value("x")


def test_nothing_leaps_at_a_correction_and_little_of_it_is_left_after_a_tenth_of_a_second() -> None:
    room, predictor = started(Runner())
    for seq in (1, 2):
        predictor.sent(seq, {"go": 1}, seq / 20)
    before = predictor.smoothed(0.15)
    room.put("x", room.value("x") - 2560)
    room.put("y", 1280)
    predictor.frame(room.tick(1, go=1), 0.15)
    assert predictor.smoothed(0.15) == pytest.approx(before)
    assert predictor.corrections.max == pytest.approx((2560**2 + 1280**2) ** 0.5)
    assert predictor.state is not None
    assert predictor.smoothed(0.15 + HALVES_IN_S)["y"] == pytest.approx(640)
    assert abs(predictor.smoothed(0.25)["x"] - predictor.state["x"]) < 2560 / 7
    predictor.frame(room.tick(2, go=1), 0.20)  # a frame in between, nothing new: it decays on
    assert predictor.smoothed(0.25)["y"] == pytest.approx(1280 - 1280 * 0.5 ** (0.1 / HALVES_IN_S))


def test_a_teleport_is_shown_at_once_and_counted_apart() -> None:
    room, predictor = started(Runner())
    predictor.sent(1, {"go": 0}, 0.0)
    room.put("x", 100 * UNIT)
    predictor.frame(room.tick(1), 0.1)
    assert predictor.smoothed(0.1)["x"] == 100 * UNIT
    assert (predictor.corrections.jumps, predictor.corrections.count) == (1, 0)


def test_without_a_place_the_exact_columns_count_by_their_largest_difference() -> None:
    room, predictor = started(Runner(), places=())
    room.put("x", room.value("x") + 30)
    room.put("y", 50)
    predictor.frame(room.tick(), 0.1)
    assert predictor.corrections.max == 50.0
    room, predictor = started(Runner(), places=("vx",))
    room.put("vx", 12)
    predictor.frame(room.tick(), 0.1)
    assert predictor.corrections.max == 12.0
    assert predictor.smoothed(9.0) == {"vx": 12.0}


def test_what_came_true_is_not_worked_out_again_unless_others_matter() -> None:
    room, predictor = started(Blind())
    for seq in range(1, 11):
        predictor.sent(seq, {"go": 1}, seq / 20)
    Blind.calls = 0
    for seq in range(1, 6):
        predictor.frame(room.tick(seq, go=1), 1.0)
    assert Blind.calls == 0
    room.put("heat", 800)
    predictor.frame(room.tick(6, go=1), 1.0)
    assert Blind.calls == 4
    assert predictor.state is not None
    assert predictor.state["heat"] == 800
    room, predictor = started(Runner())
    for seq in range(1, 4):
        predictor.sent(seq, {"go": 0}, seq / 20)
    room.batch.rows.wind[:] = 4
    room.put("x", room.value("x") - 4)
    predictor.frame(room.tick(1), 1.0)
    assert predictor.corrections.count == 0
    assert predictor.state is not None
    assert predictor.state["x"] == room.value("x") + 8


def test_inputs_sent_before_the_first_frame_are_replayed_from_it() -> None:
    room = Room(Runner())
    predictor = Predictor(Runner(), 0)
    assert predictor.smoothed(1.0) == {}
    for seq in (1, 2, 3):
        predictor.sent(seq, {"go": 1}, 0.0)
    predictor.frame(room.tick(1, go=1), 0.1)
    assert predictor.state is not None
    assert predictor.state["vx"] == 120
    assert predictor.corrections.compared == 0


def test_after_a_new_connection_what_is_unsettled_goes_on_and_nothing_is_compared_with_before() -> None:
    room, predictor = started(Runner())
    for seq in (1, 2, 3):
        predictor.sent(seq, {"go": 1}, seq / 20)
    room.tick(1, go=1)
    room.put("x", 40 * UNIT)
    predictor.restart(1)
    predictor.frame(room.tick(2, go=1), 1.0)
    assert predictor.corrections.compared == 0
    assert predictor.state is not None
    assert predictor.state["vx"] == 120
    assert predictor.state["x"] == room.value("x") + 120
