"""Players of the arena in a browser: how they come in, fight, and what is written down of what they see."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.web.browser import Cluster, Tab, tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

UNIT = 256
JUMP = 64 * UNIT
FIGHT = '{ game: "arena", options: { map: 1, fillers: 16, seats: 16, protect_ms: 0, respawn_ms: 900, match_s: 900 } }'
"""A crowd: somebody dies every second."""
ALONE = '{ game: "arena", options: { seats: 2, match_s: 901, map: %d } }'
ALIVE = "[1, 3].includes(holdfast.round?.view?.columns.state[holdfast.round.room.seat])"

RECORD = """() => {
  const seen = (globalThis.seen = { pressed: null, before: null, after: null, pictures: [], ticks: [] });
  addEventListener("keydown", () => {
    const round = holdfast.round;
    seen.pressed ??= performance.now();
    seen.before ??= round.view.columns.x[round.room.seat];
  }, { capture: true });
  const look = () => {
    requestAnimationFrame(look);
    const round = holdfast.round, view = round?.view;
    if (!view) return;
    const { x, y, state, deaths } = view.columns, me = round.room.seat, tick = round.room.play.newest?.tick;
    if (seen.pressed !== null && seen.after === null) seen.after = x[me];
    const alive = state[me] === 1 || state[me] === 3;
    seen.pictures.push([performance.now(), x[me], y[me], alive, deaths[me], round.room.epoch]);
    if (tick !== undefined && tick !== seen.ticks.at(-1)?.[1]) seen.ticks.push([performance.now(), tick]);
  };
  requestAnimationFrame(look); // behind the page's own: it looks at what was just drawn
}"""


@contextmanager
def playing(chromium: Browser, cluster: Cluster, where: str, *, lost: bool = False, **context: Any) -> Iterator[Tab]:
    """A player in a room of the arena, with a first picture there."""
    with tab(chromium, f"{cluster.pages}/arena/", lost=lost, **context) as opened:
        opened.until("globalThis.holdfast?.client && !holdfast.client.paused")
        opened.value(f"holdfast.client.join({where}).then(() => 0)")
        opened.until(ALIVE)
        yield opened


def seat(opened: Tab) -> tuple[str, int, int]:
    """Room, seat and generation."""
    found = opened.value("[holdfast.round.room.id, holdfast.round.room.seat, holdfast.round.room.generation]")
    return found[0], found[1], found[2]


def fight(opened: Tab, expression: str) -> None:
    """Walk about and shoot whoever is near, until an expression is true."""
    for key in ("q", "Space", "e"):
        opened.page.keyboard.down(key)
    for key in itertools.cycle("wdsa"):
        opened.page.keyboard.down(key)
        found = opened.within(expression, 0.8)
        opened.page.keyboard.up(key)
        if found:
            return
