"""How the demo looks: all that matters is there, in every size of a terminal, and in plain lines."""

from __future__ import annotations

import pytest
from rich.console import Console

from holdfast.demo.picture import Gauge
from holdfast.demo.view import draw, moved_line, status
from tests.holdfast.demo.scene import Scene
from tests.holdfast.demo.test_kills import taken_over


def seen(scene: Scene, width: int = 140, height: int = 45, *, colours: bool = False) -> str:
    """What a terminal of this size shows."""
    console = Console(width=width, height=height, force_terminal=colours, color_system="standard" if colours else None)
    with console.capture() as capture:
        console.print(draw(scene.picture, scene.kills, scene.now, width, height))
    return capture.get()


def test_a_cluster_that_plays() -> None:
    scene = Scene()
    scene.plays(0.5)
    scene.look()
    scene.picture.nodes["node-1"].gauge = Gauge(tick_ms=4.2, late_ms=1.0, rss_mb=90.0)
    scene.picture.kill_at = scene.now + 12.0
    shown = seen(scene)
    for text in ("3 nodes behind 127.0.0.1:7777", "8 bots in 4 rooms at 20 Hz", "killed by itself in 12 s"):
        assert text in shown
    for text in ("node-1 alive", "node-2 alive", "node-3 alive", "4.2 of 50 ms", "2 rooms  4 players", "epoch 1"):
        assert text in shown
    assert "bb epoch 1 2p 10 bb-2 2" in shown
    assert "killed:" not in shown


def test_a_node_is_killed_and_its_rooms_move() -> None:
    scene = Scene()
    scene.plays(0.5)
    scene.look()
    scene.kill("node-2")
    scene.picture.heard({"event": "node_restarts", "node": "node-2", "code": -9, "wait_s": 1.0}, scene.now)
    scene.plays(0.3)
    scene.claims("bb", "node-3")
    scene.look()
    shown = seen(scene)
    for text in ("node-2 killed", "SIGKILL 0.3 s ago", "starts again in 0.7 s", "epochs 1-2"):
        assert text in shown
    assert "bb epoch 2 2p waits 0.3 s ◄ node-2" in shown
    assert "node-2 killed: 0 rooms moved, 2 not yet, 4 players waiting" in shown
    scene.claims("cc", "node-1")
    scene.goes_on("bb", "cc")
    scene.plays(0.1)
    scene.look()
    shown = seen(scene, colours=True)
    assert "\x1b[1;30;42mepoch 2\x1b[0m" in shown  # it stands out
    assert "4 players waited p50 350 ms, max 350 ms" in shown
    scene.plays(6.0)
    scene.look()
    shown = seen(scene, colours=True)
    assert "\x1b[1;30;42m" not in shown
    assert "◄" not in shown


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (100, 30), (140, 45), (250, 60)])
def test_it_fits_and_the_pause_is_never_cut(width: int, height: int) -> None:
    scene = Scene()
    taken_over(scene)
    scene.look()
    shown = seen(scene, width, height)
    lines = shown.splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert all(f"node-{number} " in shown for number in (1, 2, 3))
    if width >= 80:
        assert "4 players waited p50 300 ms, max 400 ms" in shown


def test_more_rooms_than_lines_show_those_that_have_moved() -> None:
    scene = Scene()
    for number in range(60):
        scene.owner[f"r{number:02}"], scene.epoch[f"r{number:02}"] = scene.owner["dd"], 1
    scene.owner["zz"], scene.epoch["zz"] = scene.owner["aa"], 1
    scene.plays(0.1)
    scene.look()
    assert "zz" in seen(scene, 80, 24)  # alone with its node
    scene.kill("node-1")
    scene.claims("zz", "node-3")
    scene.look()
    shown = seen(scene, 80, 24)
    assert len(shown.splitlines()) < 24
    assert "zz" in shown
    assert "r59" not in shown
    assert "more" in shown


def test_before_anything_is_there() -> None:
    scene = Scene()
    scene.picture.address = ""
    assert "Holdfast starts" in seen(scene)
    scene.picture.nodes.clear()
    assert "Holdfast starts" in seen(scene)


def test_a_line_says_the_same() -> None:
    scene = Scene()
    scene.plays(0.5)
    scene.look()
    scene.picture.nodes["node-2"].gauge = Gauge(tick_ms=4.2, late_ms=1.5)
    scene.kill("node-1")
    line = status(scene.picture)
    assert line.startswith(
        "8 bots in 4 rooms on 3 nodes (node-1 killed, node-2 2 rooms 4 players, node-3 1 room 2 players) "
        "at 127.0.0.1:7777  tick 4.2 of 50 ms, late p99 1.5 ms  "
    )
    assert "\n" not in line
    scene.claims("aa", "node-3")
    [room], _ = scene.look()
    assert moved_line(room) == "room aa goes on: node-1 -> node-3, epoch 2"


def test_one_node_has_no_names() -> None:
    scene = Scene()
    del scene.picture.nodes["node-2"], scene.picture.nodes["node-3"]
    scene.plays(0.1)
    scene.look()
    assert "rooms on 127.0.0.1:7777  tick" in status(scene.picture)
    assert "kills a node" not in seen(scene)
