"""Bots against a real node over real sockets, for a second or two."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from bots.crew import Crew, Plan, error_kind
from bots.report import Tally
from bots.run import CannotRun, run_bots
from holdfast.cli import main
from netcode.errors import ErrorCode, RemoteError
from netcode.tcp import ByteLink
from tests.bots.serving import node, serving


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
            corrections = result["corrections"]
            assert corrections["predicting"] == 4
            assert corrections["compared"] > 4 * 20
            assert corrections["count"] < corrections["compared"] / 2, "a busy machine is late, and inputs are repeated"
    with contextlib.closing(sqlite3.connect(tmp_path / "profiles.db")) as store:
        assert store.execute("select count(*) from accounts").fetchone() == (20,)  # two runs, the same players


async def test_several_processes_start_together_and_add_up(tmp_path: Path) -> None:
    async with node(tmp_path) as server:
        plan = Plan(server=server, players=12, seconds=1.0, rooms_of=4, full_share=0.25)
        result, _ = await run_bots(plan, processes=2)
        check_good(result, players=12, full=3, rooms=3)


async def test_rooms_are_of_the_game_and_options_asked_for_and_more_where_seats_are_few(tmp_path: Path) -> None:
    async with node(tmp_path) as server:
        plan = Plan(server=server, players=8, seconds=0.3, rooms_of=8, game="arena", options={"seats": "4"})
        result, tally = await run_bots(plan)
        assert (result["errors"], result["rooms"], result["could_not_play"], tally.idle) == ({}, 2, 0, 0)
        _, tally = await run_bots(attrs.evolve(plan, game="chess"))
        assert tally.errors == {"unknown_game": 8}


async def test_over_a_bad_link_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    link = "latency=80,jitter=15,loss=2,dup=1,reorder=2"
    async with node(tmp_path) as server:
        result, _ = await run_bots(Plan(server=server, players=20, seconds=1.0, full_share=0.25, link=link))
    assert result["errors"] == {}
    assert (result["link"], result["could_not_play"]) == (link, 0)
    inputs = result["inputs"]
    assert inputs["sent"] == inputs["acknowledged"] > 20 * 15
    assert (inputs["lost"], inputs["duplicated"]) == (0, 0)
    assert result["frames_per_s"]["mean"] > 20
    assert 2 * (80 - 15) < result["input_rtt_ms"]["p50"] < 500
    assert (result["udp_share"], result["fallbacks"]) == (1.0, 0)


async def test_over_a_bad_link_of_a_stream_all_is_late_and_in_order(tmp_path: Path) -> None:
    async with node(tmp_path) as server:
        plan = Plan(server=server, players=10, seconds=0.5, transport="tcp", link="latency=40,jitter=10,loss=1")
        result, _ = await run_bots(plan)
    assert result["errors"] == {}  # a tick that went back would be one
    assert result["inputs"]["sent"] == result["inputs"]["acknowledged"] > 0
    assert result["input_rtt_ms"]["p50"] > 2 * (40 - 10)
    assert result["udp_share"] == 0.0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_bots_whose_connections_break_are_back_with_exact_books(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path) as server, trio.open_nursery() as nursery:
        crew = Crew(Plan(server=server, players=10, seconds=60.0, full_share=0.5, transport=transport))
        tallies: list[Tally] = []

        async def run() -> None:
            tallies.append(await crew.run())

        nursery.start_soon(run)
        crew.go.set()
        await crew.ready.wait()
        for _ in range(2):
            for bot in crew.bots:
                assert isinstance(bot.link, ByteLink)
                bot.link._socket.shutdown(socket.SHUT_RDWR)
            while not all(bot.trouble for bot in crew.bots):
                await trio.lowlevel.checkpoint()
            while any(bot.trouble or bot.away for bot in crew.bots):
                await trio.lowlevel.checkpoint()
            frames = [bot.series.frames + 5 for bot in crew.bots]
            while any(bot.series.frames < least for bot, least in zip(crew.bots, frames, strict=True)):
                await trio.lowlevel.checkpoint()
        crew.enough.set()
    (tally,) = tallies
    assert (tally.errors, tally.idle, tally.reconnects) == ({}, 0, 20)
    assert tally.sent == tally.acknowledged > 0
    assert (tally.lost, tally.duplicated) == (0, 0)


async def test_a_server_that_goes_away_is_an_error_by_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bots.crew.SETTLE_S", 0.1)
    async with trio.open_nursery() as nursery, node(tmp_path) as server:
        joined = trio.Event()
        results: list[dict[str, Any]] = []

        async def play() -> None:
            def show(progress: Any) -> None:
                if progress.phase == "playing":
                    joined.set()

            plan = Plan(server=server, players=6, seconds=0.7, rooms_of=3, full_share=0.5)
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
        (["--link", "latency=fast"], "a number from 0 to 5000"),
        (["--link", "speed=1"], "latency=0..5000"),
        (["-o", "seats"], "KEY=VALUE"),
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


def test_processes_share_a_rate_of_joining() -> None:
    parts = Plan(players=40, rooms_of=10, join_per_s=100.0).split(3)
    assert [part.join_per_s for part in parts] == [25.0, 25.0, 50.0]


def test_kinds_of_errors() -> None:
    assert error_kind(ConnectionRefusedError(111, "refused"))[0] == "connection_refused"
    assert error_kind(ExceptionGroup("", [RemoteError(ErrorCode.ROOM_FULL, "full")])) == ("room_full", "full")
    assert error_kind(trio.TooSlowError())[0] == "timed_out"
    assert error_kind(ValueError("odd"))[0] == "value_error"


def test_demo_plays_and_ends_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--nodes", "1", "--players", "8", "--seconds", "1.5"]) == 0
    out, err = capfd.readouterr()
    assert "8 bots in 1 room on 127.0.0.1:" in out
    assert "killed" not in out
    assert out.endswith("8 bots played\n")
    assert not err


def test_demo_with_a_bad_option_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--players", "8", "--seconds", "1", "-o", "match_s=nonsense"]) != 0
    assert capfd.readouterr().err.count("\n") == 1


def test_json_and_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command itself, against the node of another process: see `bots.run` for what it writes."""
    file = tmp_path / "out.json"
    with serving(tmp_path / "data") as server:
        common = ["bots", "--server", server, "--players", "4", "--seconds", "0.5"]
        assert main([*common, "--json", str(file), "--fail-if", "inputs.lost>0"]) == 0
        assert main([*common, "--fail-if", "players==4"]) == 1
    assert json.loads(file.read_text())["players"] == 4
    assert "players==4" in capsys.readouterr().err
