"""The real thing: nodes, bots, a kill; and nothing left behind, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import trio

from holdfast.demo.launch import server_log, server_port, server_process
from server.settings import Settings
from tests.holdfast.demo.terminal import left_behind, terminal

ROOT = Path(__file__).resolve().parent.parent.parent.parent
DEMO = [sys.executable, "-m", "holdfast", "demo"]
MEASURED = re.compile(
    r"^(node-\d) killed: (\d) rooms? moved \((.*)\), (\d+) players waited p50 (\d[\d,]*) ms, max (\d[\d,]*) ms$", re.M
)


def environ(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_lines_tell_of_the_kill_the_rooms_that_moved_and_the_pauses(tmp_path: Path) -> None:
    told = [*DEMO, "--players", "12", "--seconds", "6", "--kill-after", "3"]
    done = subprocess.run(told, capture_output=True, text=True, check=False, env=environ(tmp_path), cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    out = done.stdout
    struck = re.findall(r"^(node-\d) gets SIGKILL: (\d) rooms? to move$", out, re.M)
    assert len(struck) == 1, out
    [(victim, rooms)] = struck
    moves = re.findall(r"^room (\w+) goes on: (node-\d) -> (node-\d), epoch (\d)$", out, re.M)
    assert len(moves) == int(rooms) > 0
    assert all(source == victim != target and epoch == "2" for _, source, target, epoch in moves)
    measured = MEASURED.findall(out)
    assert len(measured) == 2, out  # when it was known, and at the end
    name, moved, homes, players, p50_ms, max_ms = measured[0]
    assert measured[1] == measured[0]
    assert (name, moved) == (victim, rooms)
    assert victim not in homes
    assert 0 < int(players) <= 12
    assert 33 <= number(p50_ms) <= number(max_ms) < 10_000  # a tick alone takes 33 ms
    assert re.search(rf"^12 bots .*{victim} (killed|starting)[,)]", out, re.M)  # it takes two seconds and more
    assert re.search(r"^12 bots in 3 rooms on 3 nodes \(", out, re.M)
    *_, summary, last = out.splitlines()
    assert summary == f"1 node killed, {rooms} room{'s' * (rooms != '1')} moved, {players} pauses: p50 " + (
        f"{p50_ms} ms, max {max_ms} ms"
    )
    assert last == "12 bots played"
    assert left_behind(tmp_path) == []


def test_a_key_kills_ctrl_c_ends_it_and_the_terminal_is_as_before(tmp_path: Path) -> None:
    told = [*DEMO, "--players", "8", "--nodes", "2", "--kill-after", "0"]
    with terminal(told, environ(tmp_path)) as screen:
        screen.until("8 bots in 2 rooms")
        assert screen.modes != screen.modes_before  # single keys, no echo
        screen.press("k")
        screen.until("SIGKILL")
        screen.until("waited p50")
        screen.press("\x03")
        assert screen.ended() == 0
        assert screen.modes == screen.modes_before
        assert re.search(r"1 node killed, \d rooms? moved, \d pauses: p50 [\d,]+ ms, max [\d,]+ ms", screen.shown)
        assert "8 bots played" in screen.shown
        assert screen.shown.count("\x1b[?25h") > 0  # the cursor is back
    assert left_behind(tmp_path) == []


def test_ctrl_c_while_it_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    with terminal([*DEMO, "--nodes", "2"], environ(tmp_path)) as screen:
        screen.until("starting")
        screen.press("\x03\x03")  # somebody in a hurry
        assert screen.ended() == 0
        assert screen.modes == screen.modes_before
        assert "no bot played" in screen.shown
    assert left_behind(tmp_path) == []


def test_a_supervisor_that_is_killed_leaves_no_nodes(tmp_path: Path) -> None:
    async def port(server: subprocess.Popen[bytes]) -> int:
        return await server_port(server_log(server), 2)

    with server_process(Settings(), tmp_path / "data", 2) as server:
        assert trio.run(port, server) > 0
        os.kill(server.pid, signal.SIGKILL)
    assert server.returncode == -signal.SIGKILL
    assert left_behind(tmp_path) == [str(tmp_path / "data")]


def test_when_nobody_reads_any_more_it_ends_without_a_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*DEMO, "--players", "2", "--nodes", "2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ(tmp_path),
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert b" http://127.0.0.1:" in process.stdout.readline()
    assert b" on 2 nodes (" in process.stdout.readline()
    process.stdout.close()
    _, errors = process.communicate()
    assert (process.returncode, errors) == (1, b"")
    assert left_behind(tmp_path) == []


def test_a_node_that_the_page_kills_is_counted_like_any_other(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*DEMO, "--players", "4", "--nodes", "2", "--kill-after", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environ(tmp_path),
        cwd=ROOT,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = re.search(r"(http://127\.0\.0\.1:\d+)/#token=([\w-]+)", process.stdout.readline())
        assert told is not None
        assert "4 bots in" in next(line for line in process.stdout if line.startswith("4 bots"))
        kill = urllib.request.Request(
            f"{told[1]}/api/v1/nodes/node-1/kill", method="POST", headers={"Authorization": f"Bearer {told[2]}"}
        )
        with urllib.request.urlopen(kill, timeout=10) as answer:
            assert answer.status == 200
        assert next(line for line in process.stdout if line.startswith("node-1 gets SIGKILL"))
        assert next(line for line in process.stdout if line.startswith("node-1 killed"))
        process.terminate()
        assert "1 node killed" in process.stdout.read()
    assert left_behind(tmp_path) == []
