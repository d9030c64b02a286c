"""Several nodes, each a process: any of them answers for all, and what happens to one the others tell."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import trio

from netcode.client import connect
from tests.server.helpers import frame_when
from tests.server.http.asking import Web
from tests.server.processes import Server, command_of, write_game

PATIENCE_S = 30.0


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Server]:
    """Three nodes behind one HTTP port, whom it may kill."""
    write_game(folder)
    server = Server(command_of(folder / "data", "node", "--nodes", "3", "--http-kill", "true"), folder)
    try:
        server.started = server.wait_for("nodes_started")
        yield server
    finally:
        server.end()


@attrs.frozen
class Cluster:
    """Its HTTP: by the port of all, or by a node's own."""

    front: Web
    token: str

    async def nodes(self) -> dict[str, dict[str, Any]]:
        """By name, once all have answered."""
        with trio.fail_after(PATIENCE_S):
            while True:
                found = {one["node"]: one for one in (await self.front.get("/api/v1/cluster")).told["nodes"]}
                if len(found) == 3 and all(one["report"] for one in found.values()):
                    return found

    async def web_of(self, node: str) -> Web:
        """A node's own port."""
        return Web(None, (await self.nodes())[node]["http_port"], self.token)  # type: ignore[arg-type]

    async def targets(self, web: Web) -> dict[str, str]:
        """Ports by node, once this one has heard of all."""
        with trio.fail_after(PATIENCE_S):
            while True:
                listed = (await web.get("/api/v1/targets")).told
                if len(listed) == 3:
                    return {one["labels"]["node"]: one["targets"][0].partition(":")[2] for one in listed}

    async def takeover(self, web: Web, incarnation: str, rooms: int) -> dict[str, Any]:
        """The timeline's line of a node, once so many rooms have moved."""
        with trio.fail_after(PATIENCE_S):
            while True:
                for one in (await web.get("/api/v1/takeovers")).told:
                    if one["incarnation"] == incarnation and one["count"] == rooms:
                        return dict(one)


async def test_any_node_answers_for_all_and_tells_what_became_of_the_others(tmp_path: Path) -> None:
    with cluster(tmp_path) as server:
        token = (tmp_path / "data" / "http.token").read_text().strip()
        all_ = Cluster(Web(None, server.started["http_port"], token), token)  # type: ignore[arg-type]
        nodes = await all_.nodes()
        webs = {name: await all_.web_of(name) for name in nodes}
        assert len({web.port for web in webs.values()} | {all_.front.port}) == 4
        async with connect(server.address) as one, connect(server.address) as two:
            first = await one.join("counter")
            second = await two.join(room=first.info.room)
            await first.next_frame()
            await second.next_frame()
            room = first.info.room
            assert second.info.room == room
            assert await all_.targets(webs[min(webs)]) == {name: str(web.port) for name, web in webs.items()}
            path = f"/api/v1/rooms/{room}"
            told = {name: (await web.get(path)).told for name, web in webs.items()}
            (owner,) = {found["node"] for found in told.values()}
            assert {len(found["roster"]) for found in told.values()} == {2}
            other, third = sorted(name for name in webs if name != owner)
            players = {name: (await web.get("/api/v1/players")).told for name, web in webs.items()}
            assert [{line["name"] for line in found} for found in players.values()] == [{one.name, two.name}] * 3
            assert (await webs[other].post("/api/v1/broadcast", {"text": "hello"})).told == {"told": 2, "silent": []}
            assert (await webs[other].post("/api/v1/players/" + "0" * 32 + "/kick")).error == "not_found"

            assert (await webs[other].post(f"/api/v1/nodes/{owner}/kill")).told == {"done": True}
            await frame_when(first, lambda frame: frame.epoch == 2)
            died = await all_.takeover(webs[third], nodes[owner]["incarnation"], 1)
            assert (died["node"], died["how"]) == (owner, "died")
            assert 0.0 < died["pause_ms"]["max"] < PATIENCE_S * 1000
            assert died["rooms"][0]["room"] == room

            heir = died["rooms"][0]["to"].rpartition(".")[0]
            nodes = await all_.nodes()
            assert (await webs[heir].post(f"/api/v1/nodes/{heir}/drain")).told == {"done": True}
            await frame_when(first, lambda frame: frame.epoch == 3)
            asked = webs[other if heir == third else third]
            drained = await all_.takeover(asked, nodes[heir]["incarnation"], 1)
            assert (drained["how"], drained["pause_ms"]["known"]) == ("drained", 1)
            assert (await asked.post(path + "/close")).told == {"done": True}
