"""The demo's picture: nodes by the server's log, rooms by their rows and what players see, and what flows."""

from __future__ import annotations

import pytest

from holdfast.demo.picture import CELL_S, HIGHLIGHT_S, Flow, Gauge, Picture
from tests.holdfast.demo.scene import Scene, incarnation


def test_everybody_plays() -> None:
    scene = Scene()
    assert [node.state for node in scene.picture.in_order()] == ["alive"] * 3
    scene.plays(0.5)
    assert scene.look() == ([], [])
    rooms = scene.picture.rooms
    assert {room: rooms[room].node for room in rooms} == {
        "aa": "node-1",
        "bb": "node-2",
        "cc": "node-2",
        "dd": "node-3",
    }
    assert [room.id for room in scene.picture.rooms_of("node-2")] == ["bb", "cc"]
    bb = rooms["bb"]
    assert (bb.epoch, bb.runs, bb.players, bb.tick, bb.leader, bb.score) == (1, True, 2, 10, "bb-2", 2)
    assert not bb.moved(scene.now)
    assert scene.picture.playing == 8
    assert scene.picture.top[0].score == 2
    assert scene.picture.whole


def test_a_room_that_moves() -> None:
    scene = Scene()
    scene.plays(0.5)
    scene.look()
    scene.kill("node-2")
    scene.plays(0.1)
    assert scene.look() == ([], [])
    bb = scene.picture.rooms["bb"]
    assert (bb.node, bb.runs) == ("node-2", False)  # dead, and not claimed yet
    scene.claims("bb", "node-3")
    scene.plays(0.1)
    moved, _ = scene.look()
    assert moved == [bb]
    assert (bb.node, bb.came_from, bb.epoch, bb.runs) == ("node-3", "node-2", 2, False)  # claimed, and not seen yet
    scene.goes_on("bb")
    scene.plays(0.1)
    assert scene.look()[0] == []
    assert (bb.runs, bb.moved(scene.now)) == (True, True)
    scene.plays(HIGHLIGHT_S)
    assert not bb.moved(scene.now)


def test_a_room_that_was_given_runs_when_its_owner_has_begun() -> None:
    scene = Scene()
    scene.plays(0.1)
    scene.given.add("aa")
    scene.look()
    assert not scene.picture.rooms["aa"].runs
    assert not scene.picture.whole
    scene.given.clear()
    scene.look()
    assert scene.picture.rooms["aa"].runs


def test_the_lives_of_a_node() -> None:
    scene = Scene()
    node = scene.picture.nodes["node-2"]
    node.gauge = Gauge(tick_ms=3.0)
    scene.kill("node-2")
    scene.now += 0.1
    scene.picture.heard({"event": "node_died", "node": "node-2", "incarnation": node.incarnation}, scene.now)
    assert (node.state, node.since) == ("killed", scene.now - 0.1)  # by us: that it died is no news
    scene.picture.heard({"event": "node_restarts", "node": "node-2", "code": -9, "wait_s": 1.0}, scene.now)
    assert node.restart_at == scene.now + 1.0
    scene.now += 1.0
    born = incarnation("node-2", 2)
    scene.picture.heard({"event": "node_process", "node": "node-2", "incarnation": born, "pid": 99}, scene.now)
    assert (node.state, node.life, node.pid) == ("starting", 2, 99)
    assert scene.picture.nodes["node-2"].restart_at is None
    assert node.gauge == Gauge()
    assert not scene.picture.whole
    scene.picture.heard({"event": "node_started", "node": "node-2", "incarnation": born}, scene.now)
    assert (node.state, node.life) == ("alive", 2)


def test_a_node_that_dies_by_itself_is_dead_and_not_killed() -> None:
    scene = Scene()
    scene.picture.heard({"event": "node_died", "node": "node-1", "incarnation": incarnation("node-1")}, scene.now)
    assert scene.picture.nodes["node-1"].state == "dead"


def test_one_node_tells_of_itself() -> None:
    picture = Picture()
    picture.heard({"event": "node_started", "node": "node", "incarnation": "node.1", "port": 1}, 0.0)
    assert [(node.name, node.state, node.life) for node in picture.in_order()] == [("node", "alive", 1)]


def test_other_entries_of_the_log_change_nothing() -> None:
    picture = Picture()
    picture.heard({}, 0.0)
    picture.heard({"event": "rooms_rescued", "of": "node-1.1"}, 0.0)
    picture.heard({"event": "something", "node": "node-9"}, 0.0)
    assert picture.in_order() == []


def test_the_tenth_node_comes_behind_the_ninth() -> None:
    picture = Picture()
    for number in (10, 9, 2, 1):
        picture.heard({"event": "node_process", "node": f"node-{number}", "incarnation": "x", "pid": 1}, 0.0)
    assert [node.name for node in picture.in_order()] == ["node-1", "node-2", "node-9", "node-10"]


def test_rates_are_over_the_last_second_and_the_strip_shows_a_dent() -> None:
    flow = Flow()
    assert flow.rates() == []
    count = 0
    for cell in range(17):
        flow.add(cell * CELL_S, (count, 2 * count))
        count += 0 if cell in (8, 9) else 100
    assert flow.rates() == pytest.approx([400.0, 800.0])
    assert flow.strip() == pytest.approx([400.0] * 8 + [0.0] * 2 + [400.0] * 6)
    flow.add(16 * CELL_S + 0.01, (10**6, 0))  # sooner than a cell
    assert flow.rates() == pytest.approx([400.0, 800.0])
