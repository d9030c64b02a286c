"""The timeline: pauses as they were, from what several nodes have written into one file."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from cluster.model import RoomEntry, Span
from server import timeline
from server.timeline import Timeline

A, B = "a.0000000000000001", "b.0000000000000002"


class Place:
    """A node's rooms, as the timeline sees them."""

    def __init__(self, folder: Path, incarnation: str) -> None:
        self.rooms: dict[str, Any] = {}
        self.timeline = Timeline(folder, incarnation, self.rooms.get)
        self.incarnation = incarnation

    def takes(self, room: str, before: str, epoch: int, *, attempts: int = 0, died_at: float | None = None) -> Any:
        """A room comes here, and does not tick yet."""
        entry = RoomEntry(
            room=room, game="g", options={}, tick_hz=20, seed=1, fingerprint="", owner=self.incarnation, epoch=epoch,
            chain=(Span(epoch - 1, before, 1, 9), Span(epoch, self.incarnation, 1)), attempts=attempts,
        )  # fmt: skip
        self.rooms[room] = SimpleNamespace(id=room, entry=entry, ticked=0)
        self.timeline.came(room, {before: died_at}.get)
        return self.rooms[room]


async def test_of_a_dead_nodes_room_it_is_the_time_from_its_death_to_the_first_tick(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    here, other = Place(tmp_path, B), Place(tmp_path, "c.0000000000000003")
    for place in (here, other):
        nursery.start_soon(place.timeline.run)
    died_at = trio.current_time()
    await trio.sleep(0.1)
    first = here.takes("r1", A, 2, attempts=1, died_at=died_at)
    second = here.takes("r2", A, 2, attempts=1, died_at=died_at)
    await trio.sleep(0.1)
    first.ticked = 1
    await trio.sleep(0.2)
    second.ticked = 3
    await trio.sleep(1.0)
    for place in (here, other):
        (takeover,) = place.timeline.takeovers
        assert (takeover.incarnation, takeover.how, takeover.count) == (A, "died", 2)
        assert [moved.room for moved in takeover.rooms] == ["r1", "r2"]
        assert takeover.pauses_ms == pytest.approx([200.0, 400.0], abs=6.0)


async def test_of_a_room_that_was_given_it_is_the_time_between_two_ticks(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", trio.current_time)
    giver, taker = Place(tmp_path, A), Place(tmp_path, B)
    for place in (giver, taker):
        nursery.start_soon(place.timeline.run)
    giver.timeline.gave("r1", 4)
    await trio.sleep(0.07)
    taker.takes("r1", A, 5).ticked = 1
    taker.takes("r2", A, 5).ticked = 1
    await trio.sleep(1.0)
    (takeover,) = giver.timeline.takeovers
    assert (takeover.how, takeover.count) == ("drained", 2)
    assert [moved.pause_ms for moved in takeover.rooms] == [pytest.approx(70.0, abs=6.0), None]


async def test_a_room_that_goes_before_it_ticks_is_no_news(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    here = Place(tmp_path, B)
    nursery.start_soon(here.timeline.run)
    here.takes("r1", A, 2)
    here.takes("r2", A, 2)
    del here.rooms["r1"]
    await trio.sleep(timeline.TICK_WITHIN_S + 1.0)
    assert here.timeline.takeovers == []


async def test_a_line_that_makes_no_sense_is_passed_over(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    here = Place(tmp_path, B)
    good = {"took": [["r1", 2, 100.0, 5.0]], "from": A, "by": B, "how": "died"}
    lines = [b"{", b"[]", b'{"took": [[1]]}', b"\xff", json.dumps(good).encode(), b'{"took"']
    (tmp_path / timeline.FILE).write_bytes(b"\n".join(lines))
    nursery.start_soon(here.timeline.run)
    await trio.sleep(1.0)
    assert [moved.room for takeover in here.timeline.takeovers for moved in takeover.rooms] == ["r1"]


async def test_the_file_stays_short_and_old_takeovers_are_forgotten(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "BYTES_MAX", 4000)
    monkeypatch.setattr(timeline, "KEPT", 5)
    here, reader = Place(tmp_path, B), Place(tmp_path, A)
    nursery.start_soon(here.timeline.run)
    nursery.start_soon(reader.timeline.run)
    for number in range(100):
        here.takes(f"r{number}", f"n{number}.{number:016x}", 2).ticked = 1
        await trio.sleep(0.5)
        assert (tmp_path / timeline.FILE).stat().st_size < 4400
    await trio.sleep(1.0)
    for place in (here, reader):
        assert [takeover.rooms[0].room for takeover in place.timeline.takeovers] == [f"r{n}" for n in range(95, 100)]


async def test_a_folder_that_takes_no_file_is_no_fault_of_the_games(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    here = Place(tmp_path / "nowhere", B)
    nursery.start_soon(here.timeline.run)
    here.takes("r1", A, 2).ticked = 1
    await trio.sleep(20.0)
    assert here.timeline.takeovers == []
