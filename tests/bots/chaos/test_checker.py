"""The judge of histories: a good one passes, and each way to lose or double something is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from bots.chaos.checker import check
from bots.chaos.history import Entry, Fault, History, PlayerHistory, Seen, Told
from bots.chaos.pauses import pauses

SEAT = ("r", 0, 1)
MOVED_AT = 5  # the first tick of epoch 2


def good() -> History:
    """Ten ticks of one room with one player; its node is killed behind tick 4, and tick 5 is another's."""
    history = History(rooms={"r"}, results_expected={"r/0/ann"}, results_applied=["r/0/ann"])
    player = PlayerHistory("ann", "ann")
    for tick in range(1, 11):
        epoch, incarnation = (1, "a.1") if tick < MOVED_AT else (2, "b.1")
        history.entries.append(Entry("r", epoch, tick, incarnation, tick, 1000 + tick))
        history.told["r", tick] = Told(1000 + tick, {0: 50 + tick}, [(SEAT, tick)])
        at = tick * 0.03 + (0.4 if epoch == 2 else 0.0)
        player.seen.append(Seen(at, SEAT, epoch, tick, tick, 50 + tick))
    history.players.append(player)
    history.faults.append(Fault(0.13, "kill", "a", "a.1", ("r",)))
    return history


def test_a_good_history_passes() -> None:
    verdict = check(good())
    assert verdict.violations == []
    assert (verdict.acknowledged, verdict.lost, verdict.duplicated) == (10, 0, 0)
    report = verdict.report(1)
    assert report["pauses_ms"]["count"] == 1
    assert report["pauses_ms"]["max"] == pytest.approx(430.0)


def test_nobody_who_was_elsewhere_has_a_pause() -> None:
    history = good()
    history.faults.append(Fault(0.2, "kill", "c", "c.1", ("other",)))
    assert len(pauses(history)) == 1


def test_who_never_sees_a_frame_again_has_an_endless_pause() -> None:
    history = good()
    del history.players[0].seen[4:]
    assert check(history).pauses_ms == [float("inf")] or check(history).pauses_ms[0] > 10_000


def entry(history: History, of: int, **changes: Any) -> None:
    """Change the entry of a tick."""
    history.entries[of - 1] = attrs.evolve(history.entries[of - 1], **changes)


def seen(history: History, of: int, **changes: Any) -> None:
    """Change what was seen of a tick."""
    frames = history.players[0].seen
    frames[of - 1] = attrs.evolve(frames[of - 1], **changes)


def unapplied(history: History, tick: int) -> None:
    history.told["r", tick].applied.clear()


def applied(history: History, tick: int, seq: int) -> None:
    history.told["r", tick].applied.append((SEAT, seq))


def swapped(history: History) -> None:
    unapplied(history, 8)
    applied(history, 9, 8)


BAD: dict[str, tuple[Callable[[History], object], str]] = {
    "two writers in an epoch": (lambda h: entry(h, 6, incarnation="c.1"), "writers in epoch 2"),
    "a tick made twice": (lambda h: h.entries.append(Entry("r", 2, 4, "b.1", 99, 7)), "has tick 4 again"),
    "a tick left out": (lambda h: h.entries.pop(6), "goes from tick 6 to 8"),
    "a replay that differs": (lambda h: h.broken.append("room r cannot be made again"), "cannot be made again"),
    "a tick that nobody made": (lambda h: seen(h, 10, tick=11), "which no journal has"),
    "a tick seen in another epoch": (lambda h: seen(h, 6, epoch=1), "in epoch 1; the journal made it in 2"),
    "a tick seen otherwise": (lambda h: seen(h, 3, digest=9), "otherwise than the journal"),
    "a seat that nobody had": (lambda h: h.told["r", 3].digests.clear(), "otherwise than the journal"),
    "back in a new epoch": (lambda h: seen(h, 5, tick=3), "go back from tick 4 to 3"),
    "an input applied twice": (lambda h: applied(h, 9, 8), "was applied 2 times"),
    "inputs out of order": (
        swapped,
        "not applied in order",
    ),
    "an acknowledged input lost": (lambda h: unapplied(h, 8), "were never applied: [8]"),
    "a result lost": (lambda h: h.results_applied.clear(), "was never applied"),
    "a result applied twice": (lambda h: h.results_applied.append("r/0/ann"), "was applied 2 times"),
    "a result from nowhere": (lambda h: h.results_applied.append("x/0/ann"), "no journal gives it"),
    "a room lost": (lambda h: h.rooms.clear(), "is gone, and was never closed"),
}


@pytest.mark.parametrize(("spoil", "text"), BAD.values(), ids=BAD)
def test_a_bad_history_does_not_pass(spoil: Callable[[History], object], text: str) -> None:
    history = good()
    spoil(history)
    verdict = check(history)
    assert any(text in violation for violation in verdict.violations), verdict.violations


def test_what_was_skipped_and_told_is_not_lost() -> None:
    history = good()
    history.told["r", 8].applied.clear()
    history.told["r", 8].skipped.append((SEAT, 8, 8))
    assert check(history).violations == []


def test_a_room_that_was_closed_is_not_lost() -> None:
    history = good()
    history.rooms.clear()
    history.closed.add("r")
    assert check(history).rooms_lost == 0
