"""Two servers on one data folder under one node name: the second is told in one line, the first plays on."""

from __future__ import annotations

import os
from pathlib import Path

from tests.server.books import player
from tests.server.helpers import running
from tests.server.processes import Server, command_of, supervising, write_game


async def test_the_second_is_told_and_the_first_is_unharmed(tmp_path: Path) -> None:
    write_game(tmp_path)
    async with running(tmp_path / "data") as first, player(first.server) as ann:
        second = Server(command_of(tmp_path / "data", "node"), tmp_path)
        assert await second.ended() == 2
        (line,) = second.log
        assert line["text"].startswith("holdfast serve: a server named node runs on this folder already")
        assert str(os.getpid()) in line["text"]
        assert "--node" in line["text"]
        await ann.plays()
        assert ann.has_kept_its_socket()
        assert {epoch for epoch, _ in ann.seen} == {1}
        await ann.settle()


async def test_a_second_cluster_is_told_and_ends(tmp_path: Path) -> None:
    with supervising(tmp_path, tmp_path / "data", 2) as first:
        async with player(first.address) as ann:
            second = Server(command_of(tmp_path / "data", "node", "--nodes", "2"), tmp_path)
            assert await second.ended() == 2
            told = [line["text"] for line in second.log if "text" in line]
            assert sum("runs on this folder already" in text for text in told) == 2
            assert told[-1] == "holdfast serve: none of the nodes could start; each has told why"
            await ann.plays()
            assert {epoch for epoch, _ in ann.seen} == {1}
