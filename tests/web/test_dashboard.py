"""The dashboard as an operator has it: in a browser, on real nodes, some of which are killed and drained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.web import browser
from tests.web.browser import Cluster, tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WEIGHT_MAX = 60_000
CARDS = "[...document.querySelectorAll('.node')].map((card) => [card.dataset.key, card.dataset.state])"
SERVING = f"{CARDS}.filter(([, state]) => state === 'serving').length"
LINES = "[...document.querySelectorAll('.takeover')].map((line) => line.innerText)"
CONTRAST = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => [r, g, b].map((c) => linear(c / 255))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parts(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')].filter((element) => element.checkVisibility()
      && !element.disabled && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((element) => {
      const [one, two] = [light(parts(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
      return [(one + 0.05) / (two + 0.05), element.outerHTML.slice(0, 80)];
    }).sort((a, b) => a[0] - b[0]).slice(0, 3);
}"""


@pytest.fixture(scope="module")
def cluster(chromium: Browser) -> Iterator[Cluster]:
    """Nodes of its own, whom a page may kill."""
    with browser.cluster("--http-kill", "true") as found:
        yield found


def address(cluster: Cluster, page: str = "dashboard/") -> str:
    """A page with the token."""
    return f"{cluster.pages}/{page}#token={(cluster.data / 'http.token').read_text().strip()}"


def test_without_the_token_it_asks_for_it_and_tells_nothing(chromium: Browser, cluster: Cluster) -> None:
    token = (cluster.data / "http.token").read_text().strip()
    with tab(chromium, f"{cluster.pages}/dashboard/") as opened:
        opened.until("document.getElementById('key').open")
        assert opened.value(CARDS) == []
        opened.page.fill("#key-text", "wrong" * 8)
        opened.page.keyboard.press("Enter")
        opened.until("document.getElementById('key').open && document.getElementById('key-bad').innerText")
        opened.page.fill("#key-text", token)
        opened.page.keyboard.press("Enter")
        opened.until(f"{SERVING} === 3")
        opened.errors[:] = [text for text in opened.errors if "401" not in text]  # a browser tells of each by itself


def test_it_shows_a_kill_and_a_drain_with_their_pauses(chromium: Browser, cluster: Cluster) -> None:
    with (
        tab(chromium, address(cluster, "arena/"), lost=True) as player,
        tab(chromium, address(cluster)) as opened,
    ):
        assert "token" not in opened.page.url
        player.until("globalThis.holdfast?.client && !holdfast.client.paused")
        player.value("holdfast.client.join({ game: 'arena', options: { seats: 4 } }).then(() => 0)")
        room = player.until("holdfast.client.room?.id")
        tile = f".tile[href='#/room/{room}']"
        opened.until(f"{SERVING} === 3 && document.querySelector({tile!r})")
        opened.picture("dashboard")

        player.page.click("#kill-node")  # the node under the page that plays
        dead = opened.until(f"{LINES}.find((line) => line.includes('died'))")
        assert "1 room moved" in dead
        assert "stood still for" in dead
        node = next(one for one in ("node-1", "node-2", "node-3") if one in dead)
        player.until("holdfast.client.resumes === 1 && !holdfast.client.paused")
        player.picture("arena-killed")
        opened.until(f"document.querySelector({tile!r})?.classList.contains('moved')")
        opened.picture("dashboard-killed")
        opened.until(f"{SERVING} === 3")
        assert opened.until(f"document.querySelector({tile!r}).closest('.node').dataset.key") != node

        card = opened.until(f"document.querySelector({tile!r}).closest('.node').dataset.key")
        opened.page.locator(f".node[data-key={card}] button", has_text="Drain").focus()
        opened.page.keyboard.press("Enter")
        opened.until("document.getElementById('sure').open")
        opened.page.keyboard.press("Tab")
        opened.page.keyboard.press("Enter")
        opened.until(f"{LINES}.find((line) => line.includes('was drained') && line.includes('stood still for'))")
        opened.until(f"{SERVING} === 3")


def test_a_room_is_shown_with_its_map_and_can_be_closed(chromium: Browser, cluster: Cluster) -> None:
    with tab(chromium, f"{cluster.pages}/arena/") as player:
        player.until("globalThis.holdfast?.client && !holdfast.client.paused")
        assert player.value("document.getElementById('kill-node')") is None
        player.value("holdfast.client.join({ game: 'arena', options: { seats: 3 } }).then(() => 0)")
        room = player.until("holdfast.client.room?.id")
        with tab(chromium, address(cluster), color_scheme="light") as opened:
            opened.until(f"{SERVING} === 3")
            opened.value(f"(location.hash = '#/room/{room}') && 0")
            name = player.value("holdfast.client.name")
            opened.until(f"document.querySelector('tbody')?.innerText.includes({name!r})")
            drawn = "(() => { const map = document.querySelector('canvas'); if (!map?.width) return 0;"
            drawn += (
                "return map.getContext('2d').getImageData(0, 0, map.width, map.width).data.some((value) => value); })()"
            )
            opened.until(drawn)
            opened.picture("dashboard-room")
            opened.page.click("text=Close this room")
            opened.page.click("#sure-yes")
            opened.until("document.querySelector('main').innerText.includes('This room has ended.')")
            player.until("holdfast.client.room === null")
            opened.errors[:] = [text for text in opened.errors if "404" not in text]


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_all_text_can_be_read(chromium: Browser, cluster: Cluster, scheme: str) -> None:
    with tab(chromium, address(cluster), color_scheme=scheme) as opened:
        opened.until(f"{SERVING} === 3")
        least = opened.value(CONTRAST)
        assert 4.5 <= least[0][0] < 10, least
        opened.value("(location.hash = '#/players') && 0")
        opened.until("document.querySelector('.players')")
        least = opened.value(CONTRAST)
        assert 4.5 <= least[0][0] < 10, least


def test_it_fits_a_phone_and_weighs_little(chromium: Browser, cluster: Cluster) -> None:
    with tab(chromium, address(cluster), viewport={"width": 390, "height": 844}) as opened:
        opened.until(f"{SERVING} === 3")
        opened.picture("dashboard-phone")
        assert opened.value("document.documentElement.scrollWidth <= innerWidth")
        loaded = opened.value(
            "['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))"
            ".map((each) => [new URL(each.name).pathname, each.decodedBodySize])"
        )
        weight = sum(size for path, size in loaded if path.startswith("/dashboard/"))
        assert 20_000 < weight <= WEIGHT_MAX, loaded
