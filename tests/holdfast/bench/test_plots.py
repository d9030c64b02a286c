"""Drawings from the JSON of other commands: what is drawn, and that it is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from holdfast.bench.plots import costs, felt, machine_of, sorted_out
from holdfast.cli import main

MACHINE = {"cpu": "Some CPU", "cores": 2, "memory_gb": 24, "system": "Linux 6.1"}


def run(players: int, cpu_us: float, floor_us: float | None = 3.0, broken: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "players": players,
        "server": {"cpu_us_per_frame": cpu_us},
        "floor_us_per_frame": floor_us,
        "broken": list(broken),
    }


def capacity(*runs: dict[str, Any], transport: str = "udp") -> dict[str, Any]:
    more = {"game": "benchmarks.walk:Walk", "options": {"seats": "50"}, "transport": transport, "machine": MACHINE}
    return {**more, "points": [{"players": one["players"], "runs": [one]} for one in runs]}


def chaos(nemesis: str, *pauses_ms: float) -> dict[str, Any]:
    names = ("p50", "p99", "max")
    return {
        "nemesis": nemesis,
        "pauses_ms": {"count": len(pauses_ms), **dict(zip(names, pauses_ms, strict=False))},
        "machine": MACHINE,
    }


RECOVERY = {
    "rooms": 500,
    "seconds_of_journal": 5.0,
    "staggered": True,
    "steps_ms": {"seal": 1.0, "replay": 400.0, "first_tick": 20.0},
    "machine": MACHINE,
}


def test_files_are_known_by_their_keys() -> None:
    files = {"a": capacity(), "b": chaos("kill"), "c": RECOVERY, "d": {"players": 3}, "e": [1]}
    assert {kind: set(some) for kind, some in sorted_out(files).items()} == {
        "capacity": {"a"},
        "pauses": {"b"},
        "recovery": {"c"},
        "other": {"d", "e"},
    }


def test_costs_are_medians_of_the_runs_that_kept_the_rule() -> None:
    files = [
        capacity(run(1000, 12.0), run(1000, 10.0), run(1000, 11.0), run(100, 20.0, None)),
        capacity(run(2000, 9.0), run(4000, 9.0, broken=("too slow",))),
        capacity(run(500, 30.0, None), transport="tcp"),
    ]
    assert costs(files) == {
        "Walk seats=50, udp": [(100, 20.0, None), (1000, 11.0, 3.0), (2000, 9.0, 3.0)],
        "Walk seats=50, tcp": [(500, 30.0, None)],
    }


def test_pauses_are_told_by_the_kind_of_fault() -> None:
    files = [chaos("kill", 400, 900, 1000), chaos("drain", 50, 75, 85), chaos("kill", 500, 1100, 1300), chaos("stop")]
    assert felt(files) == [("kill", 450, 1000, 1150), ("drain", 50, 75, 85)]


def test_machines_are_named_and_not_mixed() -> None:
    assert machine_of([RECOVERY, RECOVERY]) == "Some CPU, 2 cores, Linux 6.1"
    with pytest.raises(click.UsageError, match="several machines"):
        machine_of([RECOVERY, {**RECOVERY, "machine": {**MACHINE, "cores": 4}}])


def test_what_there_is_is_drawn_and_again_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runs, docs = tmp_path / "runs", tmp_path / "docs"
    runs.mkdir()
    kept = {"capacity": capacity(run(1000, 12.0), run(2000, 10.0)), "kill": chaos("kill", 400, 900, 1000)}
    for name, data in {**kept, "recovery": RECOVERY, "bots": {"players": 3}}.items():
        (runs / f"{name}.json").write_text(json.dumps(data))
    assert main(["bench", "plots", str(runs), "--into", str(docs)]) == 0
    drawn = {path.name: path.read_bytes() for path in docs.iterdir()}
    assert drawn.keys() == {"capacity.svg", "pauses.svg", "recovery.svg"}
    assert all(b"<svg" in data and b"Some CPU" in data for data in drawn.values())
    assert capfd.readouterr().err == "left out: bots.json\n"
    assert main(["bench", "plots", str(runs), "--into", str(docs)]) == 0
    assert {path.name: path.read_bytes() for path in docs.iterdir()} == drawn


def test_a_folder_without_figures_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "plots", str(tmp_path), "--into", str(tmp_path)]) == 2
    assert "nothing that can be drawn" in capfd.readouterr().err
