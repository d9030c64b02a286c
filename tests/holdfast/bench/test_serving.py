"""Servers and bots that are measured: where they run, what becomes of them, and who else was busy."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from holdfast.bench.serving import CannotMeasure, Cores, Others, bots, ended_by_signals, server

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_runs_where_it_is_told_and_ends_with_its_block() -> None:
    core = CORES[-1] if CORES else None
    with server(["--journal", "off"], core) as serving:
        if core is not None:
            threads = [int(name) for name in os.listdir(f"/proc/{serving.pid}/task")]
            assert all(os.sched_getaffinity(thread) == {core} for thread in threads)
            assert sorted(os.sched_getaffinity(0)) == CORES, "we ourselves may run anywhere, as before"
        host, port = serving.address.split(":")
        socket.create_connection((host, int(port))).close()
    assert not alive(serving.pid)


def test_what_a_server_has_said_can_be_asked() -> None:
    """One that was stopped under its players says that a tick was late, and that it has not computed meanwhile."""
    with server(["--journal", "off", "--tick-hz", "20"]) as serving:
        assert [line["port"] for line in serving.told("node_started")] == [int(serving.address.split(":")[1])]
        players = threading.Thread(target=bots, args=(serving.address, 2, 5.0))
        players.start()
        late: list[dict[str, Any]] = []
        while players.is_alive() and not late:
            os.kill(serving.pid, signal.SIGSTOP)
            try:
                players.join(0.15)
            finally:
                os.kill(serving.pid, signal.SIGCONT)
            players.join(0.1)
            late = [line for line in serving.told("tick_late") if line["cpu_ms"] < 50.0 < line["late_ms"]]
        players.join()
    assert late


def test_whoever_is_told_to_end_leaves_no_server_behind() -> None:
    before, started = signal.getsignal(signal.SIGTERM), []

    def measured() -> None:
        with ended_by_signals(), server(["--journal", "off"]) as serving:
            started.append(serving.pid)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        measured()
    assert not alive(started[0])
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_server_that_died_meanwhile_is_told() -> None:
    def measured() -> None:
        with server(["--journal", "off"]) as serving:
            os.kill(serving.pid, signal.SIGKILL)
            os.waitid(os.P_PID, serving.pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(CannotMeasure, match="ended with code -9"):
        measured()


def test_a_server_that_cannot_start_says_why() -> None:
    with (
        pytest.raises(CannotMeasure, match="did not start: holdfast serve: no_such:Game"),
        server(["--game", "no_such:Game"]),
    ):
        pass


def test_bots_without_a_server_say_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(CannotMeasure, match="code 1: holdfast bots: no server at"):
        bots(f"127.0.0.1:{port}", 1, 0.1)


def test_each_has_a_core_of_its_own_where_there_are_two() -> None:
    found = Cores.found()
    assert found.pinned == (len(CORES) > 1)
    if found.pinned:
        assert found == Cores(CORES[0], CORES[1])


def test_how_busy_the_others_were(tmp_path: Path) -> None:
    counted = tmp_path / "stat"
    counted.write_text("cpu  1000 0 2000 70000 500 0 0 0 0 0\ncpu0 1 1 1 1\n")
    others = Others(counted)
    more = 10_000_000  # far more than we take ourselves meanwhile
    counted.write_text(f"cpu  {1000 + more} 0 {2000 + more} {70000 + 5 * more} {500 + more} 0 {2 * more} 0 0 0\n")
    assert others.share() == pytest.approx(0.4, abs=0.001)
    counted.write_text(f"cpu  1000 0 2000 {70000 + more} 500 0 0 0 0 0\n")
    assert others.share() == 0.0
    assert Others(tmp_path / "none").share() is None
