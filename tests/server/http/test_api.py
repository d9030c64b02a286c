"""The API of one node with players: what it tells is what is there, what it is told to do is done."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from game.arena import Arena
from netcode import messages
from netcode.errors import ErrorCode
from server.node import PlayedGame
from server.settings import Settings
from tests.server.helpers import HANG_S, last_frame, playing, rude, until
from tests.server.http.asking import Answer, Web, serving_web

ARENA = [PlayedGame(Arena({}, 30), "arena")]


async def test_nodes_rooms_and_players_are_told_as_they_are(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web, playing(web.node) as (client, room):
        node = (await web.get("/api/v1/node")).told
        assert (node["node"], node["state"], node["players"], node["rooms"]) == ("node", "serving", 1, 1)
        assert node["lease"]["held"] is True
        assert node["journal"]["position"] > 0
        assert node["counts"]["ticks"] > 0
        (line,) = node["rooms_told"]
        assert (line["room"], line["players"], line["seats"], line["epoch"]) == (room.info.room, 1, 4, 1)

        cluster = (await web.get("/api/v1/cluster")).told
        assert (cluster["node"], cluster["players"], cluster["rooms"]) == ("node", 1, 1)
        assert cluster["nodes"][0]["http_port"] == web.port
        assert [one["room"] for one in (await web.get("/api/v1/rooms")).told] == [room.info.room]
        assert (await web.get("/api/v1/rooms?game=chess")).told == []
        (player,) = (await web.get("/api/v1/players")).told
        assert (player["name"], player["room"], player["seat"]) == (client.name, room.info.room, room.info.seat)
        assert (await web.get("/api/v1/nodes/node")).told["report"]["node"] == "node"
        assert (await web.get("/api/v1/nodes/other")).error == "not_found"
        assert (await web.get("/api/v1/takeovers")).told == []


async def test_a_room_of_the_arena_is_told_with_its_map(tmp_path: Path) -> None:
    async with serving_web(tmp_path, ARENA) as web, playing(web.node) as (client, room):
        found = (await web.get(f"/api/v1/rooms/{room.info.room}?walls=yes")).told
        (place,) = found["map"]["places"]
        rows, stage = web.node.host.rooms, web.node.host.rooms.by_id[room.info.room].stage
        assert rows.by_id
        assert (place["seat"], place["name"]) == (room.info.seat, client.name)
        assert place["x"] == int(stage.batch.rows.x[0][place["seat"]])
        size = len(found["map"]["walls"]["rows"]) * found["map"]["walls"]["tile"]
        assert (found["map"]["low"], found["map"]["high"]) == ([0, 0], [size, size])
        assert set("".join(found["map"]["walls"]["rows"])) == {".", "#"}
        (sitting,) = found["roster"]
        assert (sitting["score"], sitting["connected"]) == (0, True)
        assert (await web.get(f"/api/v1/rooms/{room.info.room}")).told["map"]["walls"] is None


async def test_a_game_without_places_has_no_map(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web, playing(web.node) as (_, room):
        assert (await web.get(f"/api/v1/rooms/{room.info.room}")).told["map"] is None


async def test_the_leaderboard_is_the_profiles(tmp_path: Path) -> None:
    async with serving_web(tmp_path, http_names="") as web:
        async with playing(web.node):
            pass
        assert (await web.get("/api/v1/leaderboard?board=xp&limit=5")).told == []
        for wrong in ("board=gold", "limit=0", "limit=501", "limit=x", "limit=1&limit=2", "nothing=1"):
            answer = await web.get(f"/api/v1/leaderboard?{wrong}")
            assert (answer.status, answer.error) == (400, "bad_message"), wrong


async def test_a_room_on_its_way_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = trio.Event()

    async def locate(*_: object) -> None:
        asked.set()
        await trio.sleep_forever()

    async with serving_web(tmp_path) as web, trio.open_nursery() as nursery:
        monkeypatch.setattr("server.registry.Registry.locate", locate)
        moving = list[Answer]()

        async def look() -> None:
            moving.append(await web.get("/api/v1/rooms/" + "0" * 16))

        nursery.start_soon(look)
        await asked.wait()
        assert (await web.get("/healthz", token=None)).status == 200
        assert moving == []
        nursery.cancel_scope.cancel()


async def test_a_room_that_is_closed_tells_its_players(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web, playing(web.node, reconnect=False) as (_, room):
        path = f"/api/v1/rooms/{room.info.room}/close"
        assert (await web.post(path)).told == {"done": True}
        with trio.fail_after(HANG_S), pytest.raises(Exception, match="closed"):
            await last_frame(room)
        await until(lambda: not web.node.host.rooms.by_id)
        again = await web.post(path)
        assert again.error in ("unknown_room", "room_closed")
        assert (await web.get("/api/v1/rooms/" + "0" * 16)).error == "unknown_room"


async def test_who_is_kicked_loses_session_and_seat(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web, rude(web.node) as peer:
        welcome = await peer.log_in()
        await peer.seat()
        assert (await web.post(f"/api/v1/players/{welcome.session}/kick")).told == {"done": True}
        error = await peer.hear(messages.Error)
        assert (error.code, error.fatal) == (ErrorCode.NOT_ALLOWED.number, True)
        await peer.ended()
        (room,) = web.node.host.rooms.by_id.values()
        await until(lambda: room.taken_seats == 0)
        assert len(web.node.parts.lobby.held) == 0
        async with rude(web.node) as other:
            other.say(messages.Hello(protocol=1), messages.Resume(session=welcome.session, secret=welcome.secret))
            assert (await other.hear(messages.Error)).code == ErrorCode.SESSION_GONE.number
        assert (await web.post(f"/api/v1/players/{welcome.session}/kick")).error == "not_found"


async def test_a_broadcast_reaches_everybody_or_a_room(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web, rude(web.node) as seated, rude(web.node) as waiting:
        await seated.log_in(b"a" * 16)
        room = (await seated.seat()).room
        await waiting.log_in(b"b" * 16)
        told = await web.post("/api/v1/broadcast", {"text": "to\nall"})
        assert told.told == {"told": 2, "silent": []}
        assert [(await one.hear(messages.Notice)).text for one in (seated, waiting)] == ["to all"] * 2
        assert (await web.post("/api/v1/broadcast", {"text": "to you", "room": room})).told["told"] == 1
        assert (await seated.hear(messages.Notice)).text == "to you"
        assert (await web.post("/api/v1/broadcast", {"text": "none", "room": "0" * 16})).told["told"] == 0


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"{", b'{"text": 1}', b'{"text": ""}', b'{"text": "x", "more": 1}', b'{"text": null}'),
        *(b'{"text": "x", "room": "y"}', b'{"text": "x", "reach": "world"}', b"\xff\xfe", b"[" * 4000),
        b'{"text": "' + b"x" * 301 + b'"}',
    ],
)
async def test_a_body_that_is_wrong_is_told_so(tmp_path: Path, body: bytes) -> None:
    async with serving_web(tmp_path) as web:
        answer = await web.ask("POST", "/api/v1/broadcast", headers={"Content-Type": "application/json"}, body=body)
        assert (answer.status, answer.error) == (400, "bad_message")


async def test_a_broadcast_reaches_the_python_client(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web, playing(web.node) as (client, room):
        await web.post("/api/v1/broadcast", {"text": "back in a minute"})
        await until(lambda: list(client.notices) == ["back in a minute"], room)


async def test_a_body_of_another_type_is_refused(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = await web.ask("POST", "/api/v1/broadcast", headers={"Content-Type": kind}, body=b'{"text": "x"}')
            assert answer.status == 415


async def test_other_methods_are_refused_with_those_that_are_taken(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            answer = await web.ask(method, "/api/v1/cluster")
            assert (answer.status, answer.headers["allow"], answer.error) == (405, "GET, HEAD", "not_allowed"), method
        assert (await web.get("/api/v1/broadcast")).headers["allow"] == "POST"


async def test_a_node_that_is_drained_says_that_it_is_not_ready_and_ends(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        assert (await web.get("/readyz", token=None)).told == {"state": "serving"}
        web.node.parts.tenure.draining = True
        answer = await web.get("/readyz", token=None)
        assert (answer.status, answer.told) == (503, {"state": "draining"})
        assert (await web.get("/healthz", token=None)).status == 200
        assert (await web.post("/api/v1/nodes/node/drain")).told == {"done": True}
        with trio.fail_after(HANG_S):
            await web.node.stopped.wait()


async def test_a_node_without_its_store_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving_web(tmp_path) as web:
        lease = web.node.parts.tenure.lease
        monkeypatch.setattr(lease, "held", lambda now: False)
        answer = await web.get("/readyz", token=None)
        assert (answer.status, answer.told) == (503, {"state": "suspended"})
        monkeypatch.undo()


async def test_a_fault_of_ours_tells_nothing_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("a secret")

    async with serving_web(tmp_path) as web:
        monkeypatch.setattr("server.http.api_watch.report", fails)
        answer = await web.get("/api/v1/node")
        assert (answer.status, answer.error) == (500, "internal")
        assert b"secret" not in answer.body
    assert "RuntimeError: a secret" in capsys.readouterr().out


def test_the_settings_have_their_limits() -> None:
    assert Settings(http_port=-1).http_port == -1
    with pytest.raises(ValueError, match="http_port"):
        Settings(http_port=-2)


async def figures_of(web: Web) -> dict[str, float]:
    """Every sample without labels."""
    text = (await web.get("/metrics")).body.decode()
    lines = [line.split(" ") for line in text.splitlines() if not line.startswith("#") and "{" not in line]
    return {name: float(value) for name, value in lines}
