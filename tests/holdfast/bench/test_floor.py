"""The floor: real datagrams between two processes, counted."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from holdfast.bench.far_end import share_of
from holdfast.bench.floor import BATCH, Floor, figures, parts_of
from holdfast.cli import main

FOUND = Floor(
    players=10, input_bytes=60, frame_bytes=70, tick_hz=20, ticks=5, received=50, sent=50, receive_us=1.2, send_us=2.0
)


def test_a_frame_is_one_datagram_in_and_one_out() -> None:
    assert figures(FOUND)["floor_us_per_frame"] == FOUND.us_per_frame == 3.2
    assert figures(FOUND)["lost_share"] == 0.0
    assert attrs.evolve(FOUND, received=45).lost_share == pytest.approx(0.1)
    assert attrs.evolve(FOUND, received=53).lost_share == 0.0, "the other end was a little ahead"


@pytest.mark.parametrize("players", [1, 7, BATCH, BATCH + 1, 5000])
def test_every_player_has_a_turn_in_each_tick_and_no_part_is_more_than_a_call_takes(players: int) -> None:
    parts = parts_of(players)
    shares = [share_of(players, parts, part) for part in range(parts)]
    assert sum(shares) == players
    assert max(shares) <= BATCH


def test_real_datagrams_are_measured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    sizes = ["--input-bytes", "61", "--frame-bytes", "72"]
    assert main(["bench", "floor", "--players", "40", *sizes, "--seconds", "0.5", "--json", str(file)]) == 0
    told = json.loads(file.read_text())
    assert (told["players"], told["input_bytes"], told["frame_bytes"], told["ticks"]) == (40, 61, 72, 10)
    assert told["sent"] == 400
    assert told["received"] > 200
    assert told["receive_us"] > 0
    assert told["send_us"] > 0
    assert told["floor_us_per_frame"] == pytest.approx(told["receive_us"] + told["send_us"], abs=0.002)
    assert {"pinned", "others_share", "machine", "versions"} <= told.keys()
    out, err = capfd.readouterr()
    assert "40 players at 20 Hz" in " ".join(out.split())  # a title is as wide as its table
    assert err == ""
