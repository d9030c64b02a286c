"""Watching: a page that has no seat sees a room of the arena, wherever it goes, and may take a seat in it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.web.browser import Cluster, Tab, tab
from tests.web.players import ALIVE, ALONE, FIGHT, JUMP, playing, seat
from tests.web.test_takeover import LISTEN

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SEEN = "holdfast.client.watched?.frames > 3 && holdfast.round.view"
PATH = """new Promise((resolve) => {
  const pictures = [], ends = performance.now() + 1500, frames = holdfast.client.watched.frames;
  const look = () => {
    const { x, y, state, deaths } = holdfast.round.view.columns;
    pictures.push(state.map((is, seat) => [x[seat], y[seat], is, deaths[seat]]));
    if (performance.now() < ends) requestAnimationFrame(look);
    else resolve([pictures, holdfast.client.watched.frames - frames]);
  };
  requestAnimationFrame(look);
})"""


@contextmanager
def watching(chromium: Browser, cluster: Cluster, where: str, **context: Any) -> Iterator[Tab]:
    """A page that has come by a link, and has seen a picture."""
    with tab(chromium, f"{cluster.pages}/arena/?{where}", **context) as opened:
        opened.until(SEEN)
        yield opened


def test_a_link_shows_a_room_to_who_has_no_seat_and_lets_him_in(chromium: Browser, cluster: Cluster) -> None:
    with (
        playing(chromium, cluster, FIGHT) as player,
        watching(chromium, cluster, f"watch={seat(player)[0]}") as opened,
    ):
        room, number, _ = seat(player)
        assert opened.value("[holdfast.client.room, holdfast.round.room.seat, holdfast.client.watched.id]") == [
            None, -1, room,
        ]  # fmt: skip
        opened.until("document.getElementById('feed').textContent.includes('▶')")
        opened.until("document.querySelectorAll('#score-list li').length >= 5")
        pictures, frames = opened.value(PATH)
        walks = [
            [
                max(abs(now[0] - was[0]), abs(now[1] - was[1]))
                for was, now in zip(before, after, strict=True)
                if was[2] == now[2] == 1 and was[3] == now[3]
            ]
            for before, after in itertools.pairwise(pictures)
        ]
        assert max(max(walk, default=0) for walk in walks) < JUMP
        assert 5 < frames < len(pictures) / 2, "fewer frames than pictures"
        assert sum(any(walk) for walk in walks) > 1.5 * frames, "who walks does so between frames, too"
        opened.picture("arena-watch")
        name = opened.value("document.getElementById('watched-name').textContent")
        opened.page.keyboard.press("ArrowRight")
        opened.until(f"document.getElementById('watched-name').textContent !== {name!r}")
        assert opened.value("document.getElementById('vitals').hidden")
        me = player.value("holdfast.client.name")
        assert opened.value(f"holdfast.round.room.roster[{number}]") == me
        opened.page.click("#watch-join")
        opened.until(ALIVE)
        assert seat(opened)[0] == room
        assert opened.value("holdfast.client.watched") is None
        assert opened.value("[document.getElementById('watching').hidden, location.search]") == [True, f"?room={room}"]
        opened.until("holdfast.round.room.frames > 20")


def test_the_menu_shows_rooms_and_takes_who_has_seen_enough(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, ALONE % 0), tab(chromium, f"{cluster.pages}/arena/") as opened:
        opened.page.click("#rooms li button:nth-child(2)")
        opened.until(SEEN)
        opened.until("location.search.startsWith('?watch=') && document.getElementById('menu').hidden")
        opened.page.click("#watch-leave")
        opened.until("!document.getElementById('menu').hidden && holdfast.client.watched === null")
        assert opened.value("[holdfast.round, location.search]") == [None, ""]
        opened.page.click("#play")
        opened.until(ALIVE)


def test_a_private_room_is_watched_by_its_code_alone(chromium: Browser, cluster: Cluster) -> None:
    with tab(chromium, f"{cluster.pages}/arena/") as player:
        player.until("globalThis.holdfast?.client && !holdfast.client.paused")
        player.page.click("#create")
        player.until(ALIVE)
        code = player.until("new URLSearchParams(location.search).get('code')")
        with watching(chromium, cluster, f"watch=x&code={code}") as opened:
            assert opened.value("holdfast.client.watched.id") == seat(player)[0]
        with tab(chromium, f"{cluster.pages}/arena/?watch={seat(player)[0]}") as stranger:
            stranger.until("document.getElementById('trouble').textContent.includes('no room')")


def test_who_watches_follows_a_room_that_is_handed_over_and_one_whose_node_dies(
    chromium: Browser, cluster: Cluster
) -> None:
    with (
        playing(chromium, cluster, ALONE % 0, lost=True) as player,
        watching(chromium, cluster, f"watch={seat(player)[0]}", lost=True) as opened,
    ):
        room = seat(player)[0]
        opened.value(LISTEN)
        for times, why in enumerate(("drained", "killed"), 1):
            epoch = opened.value("holdfast.client.watched.epoch")
            node = cluster.node_of(room)["node"]
            if why == "drained":
                cluster.ask(f"nodes/{node}/drain", "POST")
            else:
                cluster.kill_node_of(room)
            opened.until(f"told.length === {2 * times}")
            (paused, _), (resumed, how) = opened.value("told.slice(-2)")
            assert (paused, resumed, how["moved"], how["epoch"]) == ("paused", "resumed", True, epoch + 1)
            assert how["pauseMs"] < 10_000
            assert re.fullmatch(r"Moved to node-\d in \d+ ms", opened.page.inner_text("#note"))
            frames = opened.value("holdfast.client.watched.frames")
            opened.until(f"holdfast.client.watched.frames > {frames + 5}")
        assert opened.value("holdfast.client.room") is None
