"""What kills meant to players: which rooms moved, who waited how long, and when that is known."""

from __future__ import annotations

import pytest

from bots.chaos.pauses import AFTER_S
from holdfast.demo.kills import KEPT_MAX
from tests.holdfast.demo.scene import Scene


def taken_over(scene: Scene) -> None:
    """node-2 is killed; node-1 has its room bb after 0.3 s, node-3 its room cc after 0.4 s."""
    scene.plays(1.0)
    scene.kill("node-2")
    scene.plays(0.25)
    scene.claims("bb", "node-1")
    scene.claims("cc", "node-3")
    scene.look()
    scene.goes_on("bb")
    scene.plays(0.1)
    scene.look()
    scene.goes_on("cc")
    scene.plays(0.1)


def test_a_pause_is_from_the_last_tick_before_to_the_first_behind() -> None:
    scene = Scene()
    taken_over(scene)
    kill = scene.kills.all[0]
    assert not kill.settled
    assert scene.look() == ([], [kill])
    assert kill.homes == {"bb": "node-1", "cc": "node-3"}
    assert kill.players == 4
    assert kill.pauses_ms == pytest.approx([300, 300, 400, 400])
    assert kill.told() == (
        "node-2 killed: 2 rooms moved (1 to node-1, 1 to node-3), 4 players waited p50 300 ms, max 400 ms"
    )
    assert kill.told(homes=False) == "node-2 killed: 2 rooms moved, 4 players waited p50 300 ms, max 400 ms"
    assert scene.kills.summary() == "1 node killed, 2 rooms moved, 4 pauses: p50 300 ms, max 400 ms"


def test_a_settled_kill_is_told_once_and_stays_as_it_is() -> None:
    scene = Scene()
    taken_over(scene)
    scene.look()
    told = scene.kills.all[0].told()
    scene.silent.add("bb")
    scene.plays(2.0)
    scene.goes_on("bb")
    scene.plays(0.1)
    assert scene.look() == ([], [])
    assert scene.kills.all[0].told() == told


def test_who_still_waits_is_told_as_that() -> None:
    scene = Scene()
    scene.plays(0.5)
    kill = scene.kill("node-2")
    assert kill.struck() == "node-2 gets SIGKILL: 2 rooms to move"
    scene.plays(0.2)
    scene.look()
    assert kill.told() == "node-2 killed: 0 rooms moved, 2 not yet, 4 players waiting"
    scene.claims("bb", "node-1")
    scene.goes_on("bb")
    scene.plays(0.1)
    scene.look()
    assert kill.told() == (
        "node-2 killed: 1 room moved (1 to node-1), 1 not yet, 2 players waited p50 250 ms, max 250 ms; 2 waiting"
    )
    assert not kill.settled
    assert scene.kills.summary().endswith("; 2 players still waiting")


def test_frames_that_were_under_way_end_no_pause() -> None:
    scene = Scene()
    scene.plays(0.5)
    kill = scene.kill("node-2")
    scene.silent.clear()
    scene.plays(0.05)  # of the old epoch: sent before the node died
    scene.silent.update(("bb", "cc"))
    scene.look()
    assert kill.pauses_ms == []
    scene.plays(0.45)
    scene.claims("bb", "node-1")
    scene.claims("cc", "node-1")
    scene.goes_on("bb", "cc")
    scene.plays(0.05)
    scene.look()
    assert kill.settled
    assert kill.pauses_ms == pytest.approx([500] * 4)


def test_who_was_elsewhere_has_no_pause() -> None:
    scene = Scene()
    scene.plays(0.5)
    scene.silent.update(("aa", "dd"))
    scene.kill("node-2")
    scene.plays(1.0)
    scene.claims("bb", "node-1")
    scene.claims("cc", "node-1")
    scene.goes_on("aa", "bb", "cc", "dd")
    scene.plays(0.05)
    scene.look()
    assert scene.kills.all[0].players == 4


def test_a_rescuer_that_is_killed_too_makes_the_pause_longer() -> None:
    scene = Scene()
    scene.plays(0.5)
    first = scene.kill("node-2")
    scene.claims("bb", "node-1")
    scene.claims("cc", "node-1")
    scene.plays(0.2)
    second = scene.kill("node-1")
    assert set(second.epochs) == {"aa", "bb", "cc"}
    scene.plays(0.2)
    for room in ("aa", "bb", "cc"):
        scene.claims(room, "node-3")
    scene.goes_on("aa", "bb", "cc")
    scene.plays(0.05)
    _, settled = scene.look()
    assert settled == [first, second]
    assert first.pauses_ms == pytest.approx([450] * 4)
    assert second.pauses_ms == pytest.approx([250] * 2 + [450] * 4)
    assert scene.kills.summary() == "2 nodes killed, 5 rooms moved, 10 pauses: p50 450 ms, max 450 ms"


def test_a_player_who_never_comes_back_is_waited_for_only_so_long() -> None:
    scene = Scene()
    scene.plays(0.5)
    kill = scene.kill("node-2")
    scene.plays(AFTER_S - 0.2)
    scene.look()
    assert not kill.settled
    scene.plays(0.3)
    _, settled = scene.look()
    assert settled == [kill]
    assert kill.told().endswith("2 not yet, 4 players waiting")


def test_a_node_without_rooms() -> None:
    scene = Scene()
    taken_over(scene)
    scene.look()
    scene.starts("node-2")
    kill = scene.kill("node-2")
    _, settled = scene.look()
    assert settled == [kill]
    assert kill.told() == "node-2 killed: it had no rooms, nobody waited"


def test_a_room_that_has_ended_is_not_waited_for() -> None:
    scene = Scene()
    scene.plays(0.5)
    for name in ("bb-1", "bb-2"):
        scene.players[name].seen.clear()
    kill = scene.kill("node-2")
    scene.claims("cc", "node-1")
    scene.goes_on("cc")
    scene.plays(0.1)
    del scene.owner["bb"]
    _, settled = scene.look()
    assert settled == [kill]


def test_no_kill_at_all() -> None:
    assert Scene().kills.summary() == "no node was killed"


def test_frames_are_kept_only_as_long_as_they_are_needed() -> None:
    scene = Scene()
    for _ in range(20):
        scene.plays(1.0)
        scene.look()
    assert max(len(player.seen) for player in scene.kills.players) <= KEPT_MAX
    taken_over(scene)
    scene.look()
    assert scene.kills.all[0].pauses_ms == pytest.approx([300, 300, 400, 400])
