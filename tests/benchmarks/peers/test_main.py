from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.peers import __main__ as command
from benchmarks.peers.matches import PEERS, Peer, Run
from benchmarks.peers.search import Verdict
from holdfast.bench.serving import CannotMeasure

OURS = [peer for peer in PEERS if peer.dialect is None][:2]
"""They need nothing installed."""
Measure = Callable[..., Run]


def report() -> dict[str, Any]:
    return {
        "server": {"cpu_us_per_frame": 30.0},
        "input_rtt_ms": {"p50": 25.0, "p99": 50.0},
        "bytes_per_frame": 66.0,
        "frames_per_s": {"min": 20.0},
        "frame_interval_ms": {"worst_client_p99": 55.0},
    }


def machine_of(limit: int, calls: list[tuple[str, int]], others: list[float] | None = None) -> Measure:
    """Runs in which `limit` players keep the rule; `others`: of the first runs, the share of other programs."""
    shares = list(others or [])

    def run(peer: Peer, players: int, *_: object) -> Run:
        calls.append((peer.name, players))
        verdict = Verdict.KEPT if players <= limit else Verdict.BROKEN
        return Run(peer.name, players, verdict, shares.pop(0) if shares else 0.0, 17.0, report())

    return run


def session(file: Path | None = None, repeats: int = 1, searches: int = 0) -> command.Session:
    return command.Session(OURS, 100, repeats, searches, 12.0, 0.05, file)


def test_peers_take_turns_and_another_begins_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(command, "run", machine_of(1000, calls))
    session(repeats=2).measure()
    one, other = (peer.name for peer in OURS)
    assert calls == [(one, 100), (other, 100), (other, 100), (one, 100)]


def test_a_search_begins_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(command, "run", machine_of(1340, calls))
    measured = command.Session(OURS[:1], 100, 1, 2, 12.0, 0.05, None)
    measured.measure()
    first, second = (found["players"] for found in measured.capacities)
    tried = [players for _, players in calls[1:]]
    assert 1270 < first <= second <= 1340
    assert tried[0] == OURS[0].first_try
    assert tried.count(tried[0]) == 1, "the second search began as the first"
    assert tried.count(first) == 2
    assert measured.data()["table"][0]["capacity"] == {"median": (first + second) / 2, "low": first, "high": second}


def test_a_disturbed_run_is_done_again_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(command, "run", machine_of(1000, calls, [0.3, 0.0, 0.4, 0.4, 0.4]))
    measured = session(tmp_path / "out.json")
    measured.measure()
    assert len(calls) == 5
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["discarded"] == 4
    assert [row["runs"] for row in told["table"]] == [1, 0]
    assert told["warnings"][-1] == f"{OURS[1].name} with 100 players was disturbed 3 times"


def test_a_capacity_that_hangs_on_a_disturbed_run_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "run", machine_of(1000, [], [0.0, 0.0, *[0.5] * 6]))
    measured = session(searches=1)
    measured.measure()
    assert measured.capacities == []


def test_a_server_that_does_not_live_with_so_many_is_broken_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = machine_of(2400, [])

    def run(peer: Peer, players: int, *more: object) -> Run:
        if players > 2400:
            raise CannotMeasure("the server ended with code -9")
        return measure(peer, players, *more)

    monkeypatch.setattr(command, "run", run)
    measured = session(searches=1)
    measured.measure()
    assert all(2280 <= found["players"] <= 2400 for found in measured.capacities)
    assert len(measured.capacities) == 2
    assert any("code -9" in warning for warning in measured.warnings)


def test_the_command_prints_and_writes_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(command, "run", machine_of(1000, calls))
    names, page = ",".join(peer.name for peer in OURS), tmp_path / "out.md"
    done = CliRunner().invoke(command.main, ["--quick", "--peers", names, "--markdown", str(page)])
    assert done.exit_code == 0, done.output
    assert calls == [(peer.name, 50) for peer in OURS]
    assert page.read_text() in done.output
    assert "| holdfast | - | 30 | 25 / 50 | 66 | 17 |" in page.read_text()


def test_a_peer_that_there_is_not_is_named() -> None:
    done = CliRunner().invoke(command.main, ["--peers", "ws,nakama"])
    assert done.exit_code == 2
    assert "nakama" in done.output
