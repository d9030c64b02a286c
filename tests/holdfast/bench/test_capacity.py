"""What one core carries: sizes, what is searched, and runs with real servers and bots."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.bench.capacity import Workload, search, sizes_of
from holdfast.bench.capacity_table import warnings_of
from holdfast.bench.profile import CannotProfile, check_profiler
from holdfast.bench.serving import CannotMeasure
from holdfast.cli import main

capacity = sys.modules["holdfast.bench.capacity"]  # the package has the command under that name
ROOT = Path(__file__).resolve().parents[3]
WORKLOAD = Workload(
    game="arena",
    options={"match_s": "10"},
    rooms_of=10,
    input_size=5,
    tick_hz=20,
    seconds=1.0,
    journal="process",
    transport="udp",
    full_share=0.05,
)


def seen(**more: Any) -> dict[str, Any]:
    return {"bytes_per_frame": 66.6, "input_rtt_ms": {"p50": 50.0}, **more}


def test_the_sizes_of_the_floor_are_those_of_the_run() -> None:
    assert sizes_of(seen(bytes_per_input=51.2), WORKLOAD) == (51, 67)
    by_format = 27 + 15 + 1.5 * 5  # sealed, header, an input and a half under way
    assert sizes_of(seen(), WORKLOAD) == (round(by_format), 67)
    assert sizes_of({**seen(), "bytes_per_frame": None}, WORKLOAD) is None


def test_server_and_bots_are_told_the_same_workload() -> None:
    assert WORKLOAD.served == ["--game", "arena", "--tick-hz", "20", "--journal", "process", "-o", "match_s=10"]
    assert WORKLOAD.played == ["--rooms-of", "10", "--transport", "udp", "--full-share", "0.05"]


def test_the_search_goes_on_until_it_knows() -> None:
    tried: list[int] = []

    def held(number: int) -> bool:
        tried.append(number)
        return number <= 70

    search(held, 10)
    assert tried == [20, 40, 80, 60, 70]


def run(players: int, broken: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "players": players,
        "tick_hz": 20,
        "broken": list(broken),
        "limited_by": "server" if broken else None,
        "server": {"cpu_us_per_frame": 9.5},
        "floor_us_per_frame": 3.0,
        "floor_ratio": 3.167,
        "frames_per_s": {"min": 20.0},
        "frame_interval_ms": {"worst_client_p99": 60.0},
        "input_rtt_ms": {"p50": 40.0},
        "tick_lateness_ms": {"p99": 1.0},
        "errors": {},
        "warnings": [],
        "with_joins": {"tick_lateness_ms": {"max": 24.9}, "ticks_skipped": 0},
        "others_share": 0.05,
    }


def test_so_many_that_nothing_can_be_measured_is_more_than_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_once(_: Workload, players: int, *rest: object) -> dict[str, Any]:
        if players >= 80:
            raise CannotMeasure("the bots have not come to an end")
        return run(players, ("too slow",) * (players > 50))

    monkeypatch.setattr(capacity, "run_once", run_once)
    told = capacity.measure(WORKLOAD, None, 10, 1)
    assert [(point["players"], point["held"]) for point in told["points"]] == [
        *((20, True), (40, True), (80, False)),
        *((60, False), (50, True)),
    ]
    assert (told["capacity"], told["players"], told["held"], told["searched"]) == (50, 50, True, True)
    assert told["goal_met"] == {"cpu_us_per_frame": True, "floor_ratio": False}
    with pytest.raises(CannotMeasure):
        capacity.measure(WORKLOAD, 80, 10, 1)
    assert capacity.measure(WORKLOAD, 60, 10, 1)["capacity"] is None


def test_what_makes_a_run_worth_less_is_told() -> None:
    assert warnings_of(run(10)) == []
    late = {"tick_lateness_ms": {"max": 26.0}, "ticks_skipped": 3}
    more = {"with_joins": late, "others_share": 0.3, "errors": {"timed_out": 2}, "warnings": ["the bots were late"]}
    assert warnings_of({**run(10, ("too slow",)), **more}) == [
        "too slow",
        "the bots were late",
        "2 errors timed_out",
        "while players came, played or left a tick was 26 ms late",
        "3 ticks skipped",
        "other programs kept 30% of the machine busy",
    ]
    assert warnings_of({**run(10), "with_joins": None, "others_share": None}) == []


def test_a_real_run_is_judged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    arguments = ["--players", "8", "--seconds", "0.5", "--tick-hz", "60", "--repeats", "2", "--full-share", "0.5"]
    code = main(["bench", "capacity", *arguments, "--json", str(file)])
    told = json.loads(file.read_text())
    assert code == (0 if told["held"] else 1), "a busy machine may be too slow, and says so"
    assert (told["players"], told["full_clients"], told["tick_hz"]) == (8, 4, 60)
    assert (told["errors"], told["could_not_play"], told["inputs"]["lost"]) == ({}, 0, 0)
    (point,) = told["points"]
    assert len(point["runs"]) == 2
    for run in point["runs"]:
        assert run["floor"]["frame_bytes"] == round(run["bytes_per_frame"])
        assert run["with_joins"]["tick_lateness_ms"]["max"] >= run["tick_lateness_ms"]["max"] - 0.001
        assert run["floor_ratio"] == pytest.approx(
            run["server"]["cpu_us_per_frame"] / run["floor_us_per_frame"], abs=0.01
        )
    assert told["server"]["cpu_us_per_frame"] == told["spread"]["cpu_us_per_frame"]["min"]
    assert told["rule"] == {"frames_per_s_min": 57.0, "worst_client_p99_ms": 25.0}
    out, err = capfd.readouterr()
    assert "8 players, run 2 of 2 …" in err
    assert "carried" in out


def test_another_game_over_the_control_channel_has_no_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    file = tmp_path / "out.json"
    game = ["--game", "benchmarks.walk:Walk", "-o", "seats=4", "--transport", "tcp", "--journal", "off"]
    main(["bench", "capacity", "--players", "4", "--seconds", "0.5", *game, "--json", str(file)])
    told = json.loads(file.read_text())
    assert (told["rooms"], told["rooms_of"], told["transport"], told["journal"]) == (1, 4, "tcp", "off")
    assert told["inputs"]["acknowledged"] > 0
    assert (told["floor_us_per_frame"], told["floor_ratio"]) == (None, None)


def test_a_graph_needs_its_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotProfile, match="pip install py-spy"):
        check_profiler()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="looking into a process takes rights")
def test_a_graph_is_drawn_of_the_server_that_is_measured(tmp_path: Path) -> None:
    file, graph = tmp_path / "out.json", tmp_path / "graph.svg"
    arguments = ["--players", "4", "--seconds", "2", "--tick-hz", "60", "--json", str(file), "--profile", str(graph)]
    main(["bench", "capacity", *arguments])
    assert json.loads(file.read_text())["profiled"]
    assert "server/host.py" in graph.read_text()
