"""A small run of the real thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bots.chaos.nemesis import KINDS, blows
from holdfast.chaos import chaos


def test_the_schedule_is_the_seeds() -> None:
    assert list(blows("mixed", 20, 1)) == list(blows("mixed", 20, 1)) != list(blows("mixed", 20, 2))
    assert {blow.kind for blow in blows("mixed", 30, 1)} == set(KINDS)
    assert {blow.kind for blow in blows("stop", 30, 1)} == {"stop"}


@pytest.mark.parametrize("nemesis", ["kill", "drain"])
def test_a_cluster_that_is_hit_loses_nothing(tmp_path: Path, nemesis: str) -> None:
    file = tmp_path / "out.json"
    told = ["--players", "20", "--faults", "2", "--nemesis", nemesis, "--match-s", "5", "--json", str(file)]
    result = CliRunner().invoke(chaos, told, standalone_mode=False)
    assert result.return_value == 0, result.output
    report = json.loads(file.read_text())
    assert (report["faults"], report["violations"], report["inputs"]["lost"]) == (2, [], 0)
    assert report["inputs"]["acknowledged"] > 1000
    assert report["results"]["applied"] == report["results"]["expected"] > 0
    assert report["pauses_ms"]["count"] >= 20
