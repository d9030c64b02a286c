"""A small run of the real thing."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from bots.chaos.nemesis import KINDS, blows
from holdfast.chaos import chaos

EVERY_KIND = 32
"""A seed whose first three blows are of three kinds."""


def test_the_schedule_is_the_seeds() -> None:
    assert list(blows("mixed", 20, 1)) == list(blows("mixed", 20, 1)) != list(blows("mixed", 20, 2))
    assert {blow.kind for blow in blows("mixed", 30, 1)} == set(KINDS)
    assert {blow.kind for blow in blows("stop", 30, 1)} == {"stop"}


def test_a_cluster_that_is_hit_in_every_way_loses_nothing(tmp_path: Path) -> None:
    assert [blow.kind for blow in blows("mixed", 3, EVERY_KIND)] == ["kill", "drain", "stop"]
    file = tmp_path / "out.json"
    told = ["--players", "20", "--faults", "3", "--nemesis", "mixed", "--seed", str(EVERY_KIND), "--match-s", "5"]
    result = CliRunner().invoke(chaos, [*told, "--json", str(file)], standalone_mode=False)
    assert result.return_value == 0, result.output
    report = json.loads(file.read_text())
    assert (report["faults"], report["violations"], report["inputs"]["lost"]) == (3, [], 0)
    assert report["inputs"]["acknowledged"] > 1000
    assert report["results"]["applied"] == report["results"]["expected"] > 0
    assert report["pauses_ms"]["count"] >= 20
