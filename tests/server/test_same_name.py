"""Two servers on one data folder under one node name: the second is told in one line, the first plays on."""

from __future__ import annotations

from pathlib import Path

from tests.server.books import player
from tests.server.processes import Server, command_of, serving


async def test_the_second_is_told_and_the_first_is_unharmed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(tmp_path, data, "node") as (first,):
        async with player(first.address) as ann:
            second = Server(command_of(data, "node"), tmp_path)
            assert await second.ended() == 2
            (line,) = second.log
            assert line["text"].startswith("holdfast serve: a server named node runs on this folder already")
            assert str(first.process.pid) in line["text"]
            assert "--node" in line["text"]
            await ann.plays()
            assert ann.has_kept_its_socket()
            third = Server(command_of(data, "other"), tmp_path)  # under another name it is one node more
            try:
                await third.hear("node_started")
                await ann.plays()
            finally:
                third.kill()
            assert {epoch for epoch, _ in ann.seen} == {1}
            await ann.settle()
        assert first.process.poll() is None
