"""The arena's page as a player has it: in a browser, on real nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.web.browser import Cluster, Tab, tab
from tests.web.measure import weighed
from tests.web.players import ALIVE, ALONE, FIGHT, RECORD, UNIT, fight, playing, seat

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WEIGHT_MAX = 200_000
"""Bytes of the page and all that it loads, as they come."""


def test_a_guest_logs_in_and_plays_by_keys_alone(chromium: Browser, cluster: Cluster) -> None:
    with tab(chromium, f"{cluster.pages}/arena/") as opened:
        opened.until("document.activeElement?.id === 'name'")
        opened.picture("arena-menu")
        opened.page.keyboard.press("Control+a")
        opened.page.keyboard.type("Ada L")
        opened.page.keyboard.press("Enter")
        opened.until(ALIVE)
        assert opened.value("holdfast.client.name") == "Ada L"
        assert opened.value("document.activeElement.id") == "field"
        start = opened.value("holdfast.controls.aim")
        opened.page.keyboard.down("ArrowRight")
        opened.until(f"holdfast.controls.aim !== {start}")
        opened.page.keyboard.up("ArrowRight")
        opened.page.keyboard.press("Escape")
        opened.until("document.activeElement?.id === 'resume'")
        opened.page.keyboard.press("Enter")
        opened.until("document.activeElement?.id === 'field'")
        opened.page.keyboard.press("Enter")
        opened.page.keyboard.type("good day")
        opened.page.keyboard.press("Enter")
        opened.until("document.getElementById('feed').textContent.includes('Ada L: good day')")


def test_a_key_shows_in_the_next_picture_and_the_server_agrees(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, ALONE % 0) as opened:
        opened.value(RECORD)
        opened.until("seen.pictures.length > 20")
        west = "holdfast.round.view.columns.x[holdfast.round.room.seat] < holdfast.round.walls.width * 16 * 256"
        key, way = ("d", 1) if opened.value(west) else ("a", -1)  # away from the wall that is nearer
        opened.page.keyboard.down(key)
        opened.until("seen.after !== null")
        before, after = opened.value("[seen.before, seen.after]")
        assert way * (after - before) > 0
        mine = "holdfast.round.view.columns.x[holdfast.round.room.seat]"
        opened.until(f"{way} * ({mine} - {before}) > {40 * UNIT}")
        opened.page.keyboard.up(key)
        play = "holdfast.round.room.play"
        opened.until(f"{play}.predictor.state.vx === 0 && {play}.newest.mine({play}.seat).vx === 0")
        opened.until(f"{play}.window.newest - {play}.window.acknowledged < 8")
        predicted, told = opened.value(f"[{play}.predictor.state, {play}.newest.mine({play}.seat)]")
        assert {name: predicted[name] for name in ("x", "y")} == {name: told[name] for name in ("x", "y")}
        books = opened.value(f"{play}.predictor.corrections")
        assert books["compared"] > 20
        assert books["jumps"] == 0


def test_a_player_kills_dies_and_lives_again(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, FIGHT) as opened:
        mine = "holdfast.round.view.columns.%s[holdfast.round.room.seat]"
        fight(opened, f"{mine % 'score'} > 0")
        opened.picture("arena-fight")
        name = opened.value("holdfast.client.name")
        score = "document.querySelector('#score-list .me').textContent"
        opened.until(f"{score}.startsWith({name!r}) && /[1-9]/.test({score}.slice({len(name)}))")
        fight(opened, f"{mine % 'state'} === 2")
        opened.until("document.getElementById('banner').textContent.includes('back in')")
        opened.picture("arena-dead")
        opened.until(ALIVE)
        opened.until("document.getElementById('banner').hidden")


def test_two_players_see_each_other_by_a_shared_link(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, ALONE % 1) as one:
        room = seat(one)[0]
        with tab(chromium, f"{cluster.pages}/arena/?room={room}", color_scheme="light") as two:
            two.until("globalThis.holdfast?.client && !holdfast.client.paused")
            assert two.page.inner_text("#play") == "Join the room"
            two.page.click("#play")
            two.until(ALIVE)
            assert seat(two)[0] == room
            of_one = seat(one)[1]
            name = one.value("holdfast.client.name")
            two.until(f"holdfast.round.room.roster[{of_one}] === {name!r}")
            start = two.until(f"holdfast.round.view.columns.x[{of_one}]")
            one.page.keyboard.down("d")
            two.until(f"Math.abs(holdfast.round.view.columns.x[{of_one}] - {start}) > {10 * UNIT}")
            one.page.keyboard.up("d")
            two.picture("arena-light")


def test_a_reload_takes_the_same_seat_again(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, ALONE % 0) as opened:
        before = seat(opened)
        frames = opened.value("holdfast.round.room.frames")
        assert frames > 0
        opened.page.reload()
        opened.until(ALIVE)
        assert seat(opened) == before
        opened.until("holdfast.round.room.frames > 5")


def test_a_copy_of_a_tab_is_another_player(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, ALONE % 0) as opened:
        before, account = seat(opened), opened.value("holdfast.client.account")
        with opened.context.expect_page() as copied:
            opened.value("void open(location.href)")  # takes the session storage along, as "duplicate tab" does
        copy = Tab(copied.value, opened.context)
        copy.until("globalThis.holdfast?.client && !holdfast.client.paused")
        assert copy.value("holdfast.client.account") != account
        frames = opened.value("holdfast.round.room.frames")
        copy.page.close()
        opened.until(f"holdfast.round.room.frames > {frames}")
        assert seat(opened) == before


def test_a_phone_plays_by_touch(chromium: Browser, cluster: Cluster) -> None:
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with playing(chromium, cluster, ALONE % 0, **phone) as opened:
        start = opened.value("holdfast.round.view.columns.x[holdfast.round.room.seat]")
        touch = opened.context.new_cdp_session(opened.page)
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": 90, "y": 600, "id": 1}]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": 150, "y": 600, "id": 1}]})
        opened.until(f"holdfast.round.view.columns.x[holdfast.round.room.seat] > {start + 10 * UNIT}")
        opened.picture("arena-phone")
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        opened.until("holdfast.controls.moveStick === null")
        assert opened.value("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_weighs_little(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, ALONE % 0) as opened:
        files = weighed(opened)
        raw, sent = sum(raw for _, raw, _ in files), sum(sent for _, _, sent in files)
        assert 20_000 < sent <= WEIGHT_MAX, files
        assert sent < raw / 2, "it comes packed"
        assert all(raw > 0 and sent > 0 for _, raw, sent in files), files


def test_who_looks_away_stands_still(chromium: Browser, cluster: Cluster) -> None:
    with playing(chromium, cluster, ALONE % 0) as opened:
        opened.page.keyboard.down("d")
        opened.until("holdfast.round.room.play.held.move_x === 1")
        hide = "Object.defineProperty(document, 'hidden', { value: true })"
        told = "document.dispatchEvent(new Event('visibilitychange'))"
        assert opened.value(f"({hide}, {told}, holdfast.round.room.play.held.move_x)") == 0  # before any picture
        opened.until("holdfast.round.room.play.newest.mine(holdfast.round.room.seat).vx === 0")
