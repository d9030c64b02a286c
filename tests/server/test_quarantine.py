"""A poisoned room among a hundred: it is closed alone, the others miss nothing, and its evidence tells why."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio

from netcode import messages
from netcode.errors import ErrorCode
from netcode.frame import HEADER
from netcode.inputs import InputWindow
from server.row_stage import RowOccupant
from tests.server.helpers import Rig

POISONED = """
import numpy as np

from holdfast import Column, Input, ObjectGame, RowGame


class Well(RowGame):
    name, version, seats, default_tick_hz = "well", 1, 4, 50
    columns = (Column("drunk", "i4", per="seat", see="all"),)
    inputs = (Input("drink", "i1", 0, 9),)

    def step(self, rooms):
        if (rooms.drink == 9).any():
            raise ValueError(f"poison in tick {int(rooms.tick[(rooms.drink == 9).any(axis=1)][0])}")
        rooms.drunk += rooms.drink


class Maze(ObjectGame):
    name, version, seats, default_tick_hz = "maze", 1, 4, 50

    def open(self, rng):
        return {"turns": 0}

    def step(self, state, inputs, rng):
        for _, way in inputs:
            while way == "lost":
                state["turns"] += 1
            state["turns"] = way if way == "nonsense" else {way} if way == "set" else state["turns"] + 1
        return [("turned", state["turns"])]
"""


def a_game(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    (folder / "poisoned.py").write_text(POISONED)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("poisoned", None)
    return getattr(import_module("poisoned"), name)()


def replayed(folder: Path, evidence: Path) -> subprocess.CompletedProcess[str]:
    """One command, in the folder of the game."""
    command = [sys.executable, "-m", "holdfast", "replay", str(evidence)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


async def test_one_room_of_a_hundred_fails_and_ninety_nine_have_every_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    rig = Rig(tmp_path, a_game(tmp_path, monkeypatch, "Well"), rooms_max=100, spec="poisoned:Well")
    nursery.start_soon(rig.evidence.run)
    seats = []
    for number in range(100):
        session, link = rig.session(number)
        rig.join(session, rig.open(), 1)
        seats.append((session, link))
    rig.tick(3)
    first = int(rig.host.rooms.stages[0].batch.rows.tick[0])
    poisoned, told = seats[37]
    room, occupant = poisoned.seat.room, poisoned.seat
    assert isinstance(occupant, RowOccupant)
    window = InputWindow(0)
    for want in (1, 9):
        window.add(bytes([want]))
    occupant.receive(window.packet(occupant.stream, (0, 0), -1, 1))
    rig.tick(20)

    (error,) = told.heard(messages.Error)
    assert (error.code, error.fatal, poisoned.seat) == (ErrorCode.ROOM_CLOSED.number, False, None)
    assert room not in rig.host.rooms.by_id
    assert len(rig.host.rooms.by_id) == 99
    assert rig.metrics.rooms_quarantined == 1
    for session, link in seats:
        if session is not poisoned:
            ticks = [HEADER.unpack(frame[: HEADER.size])[3] for frame in link.frames]
            assert ticks[-21:] == list(range(first, first + 21))
            assert link.heard(messages.Error) == []

    await rig.evidence.drain()
    (file,) = (tmp_path / "evidence").iterdir()
    again = await trio.to_thread.run_sync(replayed, tmp_path, file)
    assert again.returncode == 0, again.stderr
    assert f"ValueError: poison in tick {first + 2}" in again.stdout
    assert "reproduced" in again.stdout


@pytest.mark.parametrize(("way", "why"), [("lost", "StepOverran"), ("set", "BadGame"), (7, "TypeError")])
async def test_an_object_room_that_hangs_or_talks_nonsense_is_closed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: object, why: str, capsys: pytest.CaptureFixture[str]
) -> None:

    rig = Rig(tmp_path, a_game(tmp_path, monkeypatch, "Maze"), watchdog_s=0.1)
    seats = []
    for number in range(3):
        session, link = rig.session(number)
        rig.join(session, rig.open(), 1)
        seats.append((session, link))
    rig.tick()
    (lost, told), (other, well), (_, idle) = seats
    if why == "TypeError":  # what the state has become is only found at the next act
        lost.seat.act(1, msgpack.packb("nonsense"))
        rig.tick()
    lost.seat.act(lost.seat.next_seq, msgpack.packb(way))
    other.seat.act(1, msgpack.packb("left"))
    rig.tick()
    (error,) = told.heard(messages.Error)
    assert (error.code, lost.seat) == (ErrorCode.ROOM_CLOSED.number, None)
    last = well.heard(messages.Events)[-1]
    assert (last.last_seq, [event[2:] for event in last.events]) == (1, [["turned", [1]]])
    assert idle.heard(messages.Error) == []
    assert why in capsys.readouterr().out
