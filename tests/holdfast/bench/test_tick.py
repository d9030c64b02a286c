"""Where a tick's time goes: the stopwatch, a full house, and a real run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from game.arena import Arena
from holdfast.bench.full_house import FullHouse
from holdfast.bench.tick import STAGES, Stopwatch, figure
from holdfast.cli import main


class _Parts:
    """Calls within calls, on a clock that they move."""

    def __init__(self) -> None:
        self.now = 0.0

    def outer(self) -> str:
        self.now += 1.0
        self.inner()
        self.inner()
        return "done"

    def inner(self) -> None:
        self.now += 10.0

    def fails(self) -> None:
        self.now += 5.0
        raise ValueError("as it must")


def test_each_stage_has_its_own_time_alone() -> None:
    parts = _Parts()
    watch = Stopwatch(lambda: parts.now)
    watch.watch(parts, "inner", "open")
    watch.watch(parts, "outer", "decode")
    watch.watch(parts, "fails", "send")
    assert parts.outer() == "done"
    parts.inner()
    with pytest.raises(ValueError, match="as it must"):
        parts.fails()
    assert (watch.spent["decode"], watch.spent["open"], watch.spent["send"]) == (1.0, 30.0, 5.0)
    watch.forget()
    parts.inner()
    assert watch.spent["open"] == 10.0
    assert sum(watch.spent.values()) == 10.0


def test_a_figure_is_by_player_and_tick() -> None:
    told = figure(10, 100, 20, dict.fromkeys(STAGES, 0.002))
    assert told["us_per_player"]["seal"] == 1.0
    assert told["us_all"] == len(STAGES)
    assert told["ms_per_tick"] == pytest.approx(len(STAGES) * 0.1)


@pytest.fixture
async def house() -> AsyncIterator[FullHouse]:
    one = FullHouse(Arena({"seats": "3"}, 20), 4)
    yield one
    one.close()


async def test_every_input_of_a_full_house_is_applied_and_every_frame_comes(house: FullHouse) -> None:
    house.prove_paths()
    stage = house.stage
    for tick in range(1, 6):
        house.say()
        house.receive()
        commands = stage.collect()
        assert len(commands.inputs) == 12
        stage.step(commands)
        frames = stage.frames(house.datagrams.ends, trio.current_time())
        assert frames is not None
        house.datagrams.send_frames(frames)
        house.hear()
        assert house.heard == 12 * tick
    assert (stage.batch.rows.last_seq == 5).all()
    assert house.metrics.frames_dropped == 0


def test_a_real_run_tells_every_stage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    arguments = ["--rooms", "1,4", "--ticks", "5", "--tick-hz", "60", "-o", "seats=5", "--json", str(file)]
    assert main(["bench", "tick", *arguments]) == 0
    told = json.loads(file.read_text())
    assert [(one["rooms"], one["players"]) for one in told["figures"]] == [(1, 5), (4, 20)]
    for one in told["figures"]:
        assert one["us_per_player"].keys() == set(STAGES)
        assert all(us > 0 for us in one["us_per_player"].values())
        assert one["us_all"] == pytest.approx(sum(one["us_per_player"].values()), abs=0.02)
        assert one["frames_heard"] == one["players"] * 5
        assert 20 < one["frame_bytes"] < 200
        assert one["floor_us_per_frame"] > 0
    assert "floor: receive and send alone" in capfd.readouterr().out
