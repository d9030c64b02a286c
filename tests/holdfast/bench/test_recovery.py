"""`holdfast bench recovery`: a small one, with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = 8
HOME = Path(__file__).resolve().parent.parent.parent.parent


@pytest.mark.parametrize("staggered", [False, True])
def test_every_room_ticks_again_and_every_step_has_its_time(tmp_path: Path, staggered: bool) -> None:
    told = tmp_path / "out.json"
    words = ["bench", "recovery", "--rooms", str(ROOMS), "--seconds-of-journal", "1", "--json", str(told)]
    command = [sys.executable, "-m", "holdfast", *words, *(["--staggered"] if staggered else [])]
    subprocess.run(command, cwd=HOME, check=True, stdout=subprocess.DEVNULL)
    measured = json.loads(told.read_text())
    assert measured["rooms_rescued"] == ROOMS
    assert measured["records"] == 30, "a second"
    worst = 30 * ROOMS
    assert 0 < measured["ticks"] < worst if staggered else measured["ticks"] == worst
    steps = measured["steps_ms"]
    assert set(steps) == {"seal", "claim", "load", "read", "replay", "snapshot", "admit", "first_tick"}
    assert all(took_ms >= 0 for took_ms in steps.values())
    assert sum(steps.values()) <= measured["total_ms"] * 1.01
