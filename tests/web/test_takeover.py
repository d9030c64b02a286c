"""Pages whose node dies, stops or is drained: they play on, in the same seat."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
from typing import TYPE_CHECKING

from tests.web.browser import Cluster, tab
from tests.web.players import ALONE, FIGHT, JUMP, RECORD, fight, playing, seat

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MINE = "holdfast.round.view.columns.%s[holdfast.round.room.seat]"
EPOCH = "holdfast.round.room.epoch"
LISTEN = """(globalThis.told = [], void ["paused", "resumed", "moved"].forEach(
  (kind) => holdfast.client.on(kind, (what) => told.push([kind, what]))))"""


def test_the_node_under_a_page_is_killed_and_the_page_plays_on(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, FIGHT, lost=True) as opened:
        fight(opened, f"{MINE % 'score'} > 0")
        opened.value(RECORD)
        opened.value(LISTEN)
        opened.until("seen.pictures.length > 30")
        before, epoch, score = seat(opened), opened.value(EPOCH), opened.value(MINE % "score")
        dead = cluster.kill_node_of(before[0])
        opened.until("told.length === 2")
        opened.picture("arena-moved")
        (paused, _), (resumed, how) = opened.value("told")
        assert (paused, resumed, how["moved"]) == ("paused", "resumed", True)
        assert how["pauseMs"] < 10_000  # `python -m tests.web.measure` measures it; this machine may be busy
        assert re.fullmatch(r"Moved to node-\d in \d+ ms", opened.page.inner_text("#note"))
        opened.until("seen.pictures.length > 200")
        assert seat(opened) == before
        assert opened.value(MINE % "score") >= score
        assert opened.value("[holdfast.client.resumes, told.length]") == [1, 2]
        assert cluster.node_of(before[0])["node"] != dead
        pictures = opened.value("seen.pictures")
        steps = [
            max(abs(now[1] - was[1]), abs(now[2] - was[2]))
            for was, now in itertools.pairwise(pictures)
            if was[3] and now[3] and was[4] == now[4]
        ]
        assert len(steps) > 30
        assert max(steps) < JUMP
        assert {picture[5] for picture in pictures} == {epoch, epoch + 1}

        address = f"{cluster.pages}/dashboard/#token={cluster.token}"
        with tab(chromium, address) as dashboard:
            row = "[...document.querySelectorAll('.takeover')].find((each) => each.textContent.includes(%r))"
            dashboard.until(row % f"{dead} died")
            assert dashboard.value(f"({row % f'{dead} died'}).dataset.how") == "died"
            dashboard.picture("dashboard-takeover")


def test_a_node_that_is_drained_hands_its_pages_over_without_a_pause(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, ALONE % 0) as opened:
        before, epoch = seat(opened), opened.value(EPOCH)
        node = cluster.node_of(before[0])["node"]
        opened.value(LISTEN)
        cluster.ask(f"nodes/{node}/drain", "POST")
        [kind, how] = opened.until("told[0]")
        assert kind == "moved"
        assert how["epoch"] == epoch + 1
        opened.until(f"holdfast.round.room.play.newest?.epoch === {epoch + 1}")
        assert seat(opened) == before
        opened.page.keyboard.down("d")
        start = opened.value(MINE % "x")
        opened.until(f"{MINE % 'x'} !== {start}")
        assert opened.value("told.length") == 1


def test_a_node_that_stands_still_is_left_for_another(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, ALONE % 1, lost=True) as opened:
        before, epoch = seat(opened), opened.value(EPOCH)
        opened.value(LISTEN)
        pid = cluster.node_of(before[0])["report"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            opened.until("told.length === 2")
        finally:
            with contextlib.suppress(ProcessLookupError):  # whoever took its room over has killed it
                os.kill(pid, signal.SIGKILL)
        [(paused, why), (resumed, how)] = opened.value("told")
        assert (paused, why, resumed) == ("paused", "nothing is heard of the room", "resumed")
        assert how["moved"]
        assert how["pauseMs"] > 500
        opened.until(f"holdfast.round.room.play.newest?.epoch === {epoch + 1}")
        assert seat(opened) == before
