from __future__ import annotations

from typing import Any

from benchmarks.peers.table import Spread, markdown, rows, undisturbed


def run(peer: str, cpu_us: float, others: float | None = 0.0, verdict: str = "kept") -> dict[str, Any]:
    report = {
        "server": {"cpu_us_per_frame": cpu_us},
        "input_rtt_ms": {"p50": 25.0, "p99": None},
        "bytes_per_frame": 76.0,
        "frames_per_s": {"min": 19.9},
        "frame_interval_ms": {"worst_client_p99": 60.0},
    }
    return {"peer": peer, "verdict": verdict, "others": others, "memory_kb_per_client": 17.0, "report": report}


def test_a_spread_is_the_median_and_both_ends() -> None:
    assert Spread.of([3.0, None, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)
    assert Spread.of([None]) is None
    assert str(Spread(1234.5, 1000.0, 2000.0)) == "1,234 (1,000 to 2,000)"
    assert str(Spread(3.14159, 3.14159, 3.14159)) == "3.14"


def test_disturbed_runs_do_not_count() -> None:
    runs = [run("ws", 20.0), run("ws", 22.0, others=None), run("ws", 90.0, others=0.3)]
    assert undisturbed(runs, 0.05) == runs[:2]
    (row,) = rows(["ws"], runs, [], 0.05)
    assert row["runs"] == 2
    assert row["cpu_us_per_frame"] == {"median": 21.0, "low": 20.0, "high": 22.0}
    assert row["rtt_p99_ms"] is None
    assert row["capacity"] is None


def test_a_run_without_a_report_counts_as_broken() -> None:
    nobody = {"peer": "ws", "verdict": "broken", "others": 0.0, "memory_kb_per_client": None, "report": {}}
    (row,) = rows(["ws"], [nobody, run("ws", 20.0)], [], 0.05)
    assert (row["runs"], row["kept"]) == (2, 1)
    assert row["cpu_us_per_frame"]["median"] == 20.0


def test_the_page_says_what_is_known() -> None:
    runs = [run("ws", 20.0), run("colyseus", 31.0)]
    capacities = [
        {"peer": "ws", "players": 1800, "by_generator": True},
        {"peer": "ws", "players": 1900, "by_generator": False},
        {"peer": "ws", "players": 1700, "by_generator": False},
    ]
    measured = {
        "players": 1000,
        "seconds": 12.0,
        "others_max": 0.05,
        "discarded": 3,
        "machine": {"cpu": "a CPU", "cores": 2, "memory_gb": 24, "system": "Linux 6"},
        "pinned": {"server": 0, "generator": 1},
        "versions": {"ws": "8.23.0"},
        "commands": {"ws": "node ws.mjs"},
        "table": rows(["ws", "colyseus"], runs, capacities, 0.05),
        "warnings": ["something"],
    }
    page = markdown(measured, {"ws": "not encrypted", "colyseus": "deltas"})
    lines = {line.split(" ")[1]: line for line in page.splitlines() if line.startswith("| ")}
    assert "≥ 1,800 (1,700 to 1,900)" in lines["ws"]
    assert "25 / -" in lines["ws"]
    assert lines["ws"].endswith("| not encrypted |")
    assert lines["colyseus"].startswith("| colyseus | - | 31 |")
    for word in ("a CPU", "ws 8.23.0", "node ws.mjs", "uWebSockets", "are left out: 3", "Warning: something"):
        assert word in page
