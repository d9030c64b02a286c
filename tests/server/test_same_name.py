"""Two servers on one data folder under one node name: the second is told in one line, the first plays on."""

from __future__ import annotations

import os
from pathlib import Path

from tests.server.books import player
from tests.server.helpers import running
from tests.server.processes import Server, command_of, write_game


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
