"""Bots against a real node over real sockets, for a second or two."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from bots.crew import Plan, error_kind
from bots.run import CannotRun, run_bots
from game.arena import Arena
from holdfast.cli import main
from netcode.errors import ErrorCode, RemoteError
from server.node import Address, run_node
from server.settings import Settings


@contextlib.asynccontextmanager
async def node(data: Path, **options: Any) -> AsyncIterator[str]:
    """A node in this process; gives its address."""
    stop, started = trio.Event(), trio.Event()
    found: list[Address] = []

    def on_start(address: Address, *_: object) -> None:
        found.append(address)
        started.set()

    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await run_node(Settings(data=data, port=0, **options), Arena({"match_s": 5}), stop=stop, started=on_start)

        nursery.start_soon(run)
        await started.wait()
        try:
            yield f"127.0.0.1:{found[0].port}"
        finally:
            stop.set()


def check_good(result: dict[str, Any], players: int, full: int, rooms: int) -> None:
    assert result["errors"] == {}
    assert result["could_not_play"] == 0
    assert (result["players"], result["full_clients"], result["rooms"]) == (players, full, rooms)
    assert result["tick_hz"] == 30
    assert result["frames_per_s"]["min"] > 20
    inputs = result["inputs"]
    assert inputs["sent"] == inputs["acknowledged"] > players * 20
    assert (inputs["lost"], inputs["duplicated"]) == (0, 0)
    assert 0 < result["input_rtt_ms"]["p50"] < 500
    assert 20 < result["bytes_per_frame"] < 300
    assert result["server"]["cpu_us_per_frame"] > 0
    assert result["tick_lateness_ms"]["p99"] is not None


async def test_full_and_lean_bots_over_both_transports_and_the_same_accounts_again(tmp_path: Path) -> None:
    async with node(tmp_path) as server:
        for transport in ("udp", "tcp"):
            plan = Plan(server=server, players=20, seconds=1.0, transport=transport, full_share=0.5)
            result, _ = await run_bots(plan)
            check_good(result, players=20, full=10, rooms=2)
            assert result["transport"] == transport
    with contextlib.closing(sqlite3.connect(tmp_path / "profiles.db")) as store:
        assert store.execute("select count(*) from accounts").fetchone() == (20,)  # two runs, the same players


async def test_several_processes_start_together_and_add_up(tmp_path: Path) -> None:
    async with node(tmp_path) as server:
        plan = Plan(server=server, players=12, seconds=1.0, rooms_of=4, full_share=0.25)
        result, _ = await run_bots(plan, processes=2)
        check_good(result, players=12, full=3, rooms=3)


async def test_a_game_with_fewer_seats_gets_more_rooms(tmp_path: Path) -> None:
    async with node(tmp_path) as server:
        result, tally = await run_bots(Plan(server=server, players=12, seconds=0.3, rooms_of=12, full_share=0.5))
    assert result["errors"] == {}
    assert (result["rooms"], result["could_not_play"], tally.idle) == (2, 0, 0)


async def test_a_server_that_goes_away_is_an_error_by_kind(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery, node(tmp_path) as server:
        joined = trio.Event()
        results: list[dict[str, Any]] = []

        async def play() -> None:
            def show(progress: Any) -> None:
                if progress.phase == "playing":
                    joined.set()

            plan = Plan(server=server, players=6, seconds=1.5, rooms_of=3, full_share=0.5)
            result, _ = await run_bots(plan, show=show)
            results.append(result)

        nursery.start_soon(play)
        await joined.wait()
    assert results[0]["could_not_play"] == 6
    assert sum(results[0]["errors"].values()) == 6
    assert set(results[0]["errors"]) <= {"shutting_down", "session_gone"}
    assert results[0]["inputs"]["lost"] == 0


async def test_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(CannotRun, match="start one with: holdfast serve"):
        await run_bots(Plan(server=f"127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fail-if", "nonsense"], "is no condition"),
        (["--fail-if", "no.such>1"], "no figure"),
        (["--server", "nowhere"], "host:port"),
        (["--transport", "pigeon"], "pigeon"),
        (["--full-share", "2"], "2"),
        (["--json", "no-such-folder/x.json"], "no-such-folder"),
    ],
)
def test_misuse_is_one_line_and_two(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bots", *arguments]) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert err.count("\n") == 1
    assert not out


def test_no_server_is_one_line_and_one(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    assert main(["bots", "--server", f"127.0.0.1:{port}"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_shares_are_whole_rooms_and_full_clients_are_spread() -> None:
    plan = Plan(players=95, rooms_of=10, full_share=0.05)
    parts = plan.split(3)
    assert sum(part.players for part in parts) == 95
    assert [part.first % 10 for part in parts] == [0, 0, 0]
    assert [part.first for part in parts[1:]] == [parts[0].players, parts[0].players + parts[1].players]
    assert sum(plan.is_full(player) for player in range(95)) == 4
    assert len(Plan(players=5).split(8)) == 1
    assert all(Plan(full_share=1.0).is_full(player) for player in range(50))
    assert not any(Plan(full_share=0.0).is_full(player) for player in range(50))


def test_kinds_of_errors() -> None:
    assert error_kind(ConnectionRefusedError(111, "refused"))[0] == "connection_refused"
    assert error_kind(ExceptionGroup("", [RemoteError(ErrorCode.ROOM_FULL, "full")])) == ("room_full", "full")
    assert error_kind(trio.TooSlowError())[0] == "timed_out"
    assert error_kind(ValueError("odd"))[0] == "value_error"


def test_demo_plays_and_ends_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--players", "8", "--seconds", "1.5"]) == 0
    out, err = capfd.readouterr()
    assert "8 bots in 1 rooms" in out
    assert out.endswith("8 bots played\n")
    assert not err


def test_demo_with_a_bad_option_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--players", "8", "--seconds", "1", "-o", "match_s=nonsense"]) != 0
    assert capfd.readouterr().err.count("\n") == 1


def test_json_and_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command itself, against the node of another process: see `bots.run` for what it writes."""
    from tests.bots.serving import serving

    file = tmp_path / "out.json"
    with serving(tmp_path / "data") as server:
        common = ["bots", "--server", server, "--players", "4", "--seconds", "0.5"]
        assert main([*common, "--json", str(file), "--fail-if", "inputs.lost>0"]) == 0
        assert main([*common, "--fail-if", "players==4"]) == 1
    assert json.loads(file.read_text())["players"] == 4
    assert "players==4" in capsys.readouterr().err
