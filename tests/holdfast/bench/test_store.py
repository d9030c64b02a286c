"""What the store takes, beside bare files: real writes, a few of each."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import click
import pytest

from holdfast.bench.bare import BareFile, BareTable
from holdfast.bench.past import Played
from holdfast.bench.store import numbers, quantiles
from holdfast.cli import main


def test_a_played_tick_is_everybodys() -> None:
    played = Played(3, 4)
    first, second = played.tick(), played.tick()
    assert list(first.rooms) == ["room0", "room1", "room2"]
    assert (second.ticks == first.ticks + 1).all()
    assert (second.hashes != first.hashes).all()
    assert len(first.commands) > 3 * 4
    assert [(one.room, one.hash) for one in played.snapshots()] == list(
        zip(second.rooms, second.hashes.tolist(), strict=True)
    )


def test_bare_rows_are_kept(tmp_path: Path) -> None:
    table, file = BareTable(tmp_path / "table"), BareFile(tmp_path / "file")
    for bare in (table, file):
        bare.write([b"one"])
        bare.write([b"two", b"three"])
        bare.close()
    rows = sqlite3.connect(tmp_path / "table")
    assert [data for (data,) in rows.execute("SELECT data FROM records")] == [b"one", b"two", b"three"]
    rows.close()
    assert (tmp_path / "file").read_bytes() == b"onetwothree"


def test_durations_are_told_by_their_place() -> None:
    assert quantiles([float(number) for number in range(200, 0, -1)]) == {"p50": 100.0, "p99": 199.0, "max": 200.0}
    assert quantiles([3.0]) == {"p50": 3.0, "p99": 3.0, "max": 3.0}


@pytest.mark.parametrize("text", ["", "1,x", "100,1"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="an example: 100,1000"):
        numbers(text, 2)
    assert numbers("100,5000") == [100, 5000]


def test_real_writes_are_measured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file, data = tmp_path / "out.json", tmp_path / "data"
    arguments = ["--players", "20,200", "--samples", "3", "--rooms", "5", "--data", str(data), "--json", str(file)]
    assert main(["bench", "store", *arguments]) == 0
    told = json.loads(file.read_text())
    kinds = [("append", 20), ("append", 200), ("snapshots", None), ("claims", None), ("session", None)]
    for durability in ("process", "disk"):
        some = [one for one in told["figures"] if one["durability"] == durability]
        assert [(one["what"], one.get("players")) for one in some] == kinds
        assert some[1]["bytes"] > 5 * some[0]["bytes"]
        assert all(one["ms"]["max"] > 0 and one["reference"]["max"] > 0 for one in some)
    assert {one["reference"]["what"] for one in told["figures"]} == {"sqlite3, one transaction", "write and fdatasync"}
    assert list(data.iterdir()) == [], "nothing is left behind"
    assert "append, 200 players" in capfd.readouterr().out
