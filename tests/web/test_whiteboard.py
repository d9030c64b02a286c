"""The whiteboard's page: two people at one board, and a node that dies under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.web.browser import Cluster, Tab, tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

READY = "globalThis.holdfast?.room?.ready ?? false"
STROKES = "[...holdfast.board.strokes.values()].map((each) => [each.id, each.colour, each.points])"


def stroke(opened: Tab, *places: tuple[float, float]) -> None:
    """Draw by the mouse, places as shares of the board's sides."""
    box = opened.page.locator("#hands").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    opened.page.mouse.move(*points[0])
    opened.page.mouse.down()
    for point in points[1:]:
        opened.page.mouse.move(*point, steps=8)
    opened.page.mouse.up()


def settled(opened: Tab) -> None:
    """All that was drawn here is the room's."""
    opened.until("holdfast.pen.own.length === 0 && holdfast.room.unsettled === 0")


def test_two_people_draw_on_one_board_and_a_dying_node_loses_nothing(chromium: Browser, cluster: Cluster) -> None:
    with tab(chromium, f"{cluster.pages}/whiteboard/", lost=True) as one:
        one.until(READY)
        with tab(chromium, one.page.url, lost=True, viewport={"width": 390, "height": 844}) as two:
            two.until(READY)
            room = one.value("holdfast.room.id")
            assert two.value("holdfast.room.id") == room
            one.until("document.getElementById('people').textContent.startsWith('2 people')")
            one.page.click("[aria-label=Blue]")
            stroke(one, (0.2, 0.2), (0.5, 0.6), (0.8, 0.2))
            stroke(two, (0.1, 0.8), (0.9, 0.8))
            settled(one)
            settled(two)
            two.until("holdfast.board.strokes.size === 2")
            one.until("holdfast.board.strokes.size === 2")
            assert one.value(STROKES) == two.value(STROKES)
            assert {colour for _, colour, _ in one.value(STROKES)} == {"#1668c7", "#1b222d"}

            stroke(one, (0.3, 0.3), (0.4, 0.4))
            two.until("holdfast.board.strokes.size === 3")
            one.page.click("#undo")
            two.until("holdfast.board.strokes.size === 2")

            cluster.kill_node_of(room)
            stroke(one, (0.5, 0.1), (0.5, 0.9))  # while there is nobody to tell it to
            one.until("holdfast.client.resumes === 1 && !holdfast.client.paused")
            settled(one)
            two.until("holdfast.board.strokes.size === 3 && !holdfast.client.paused")
            assert one.value(STROKES) == two.value(STROKES)
            one.until("document.getElementById('note').textContent.includes('Nothing is lost')")
            one.picture("whiteboard")
            two.picture("whiteboard-phone")
            assert two.value("document.documentElement.scrollWidth <= innerWidth")

            two.page.reload()
            two.until(READY)
            assert two.value(STROKES) == one.value(STROKES)


def test_a_board_is_drawn_on_by_keys_alone(chromium: Browser, cluster: Cluster) -> None:
    with tab(chromium, f"{cluster.pages}/whiteboard/") as opened:
        opened.until(READY)
        there = opened.value("holdfast.board.strokes.size")
        opened.page.focus("#hands")
        opened.page.keyboard.press("Space")
        for _ in range(6):
            opened.page.keyboard.press("Shift+ArrowRight")
        opened.page.keyboard.press("Space")
        settled(opened)
        opened.until(f"holdfast.board.strokes.size === {there + 1}")
        xs = opened.value("[...holdfast.board.strokes.values()].at(-1).points.filter((_, at) => at % 2 === 0)")
        assert xs == sorted(xs)
        assert xs[-1] > xs[0]
        opened.page.keyboard.press("Control+z")
        opened.until(f"holdfast.board.strokes.size === {there}")
