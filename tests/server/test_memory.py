"""Memory is given back when a crowd has left, and not before; who has left is forgotten, without a collector's help."""

from __future__ import annotations

import gc
from collections import Counter as Counts
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from game.ledger import Ledger
from netcode.client import connect
from netcode.server_end import ServerEnd
from netcode.session import Session
from server.memory import CROWD, RELIEF_EVERY_S, Relief, give_back
from server.rooms import Room
from server.row_stage import RowOccupant, RowStage
from server.visitor import Visitor
from tests.server.helpers import running, until

OURS = Session, ServerEnd, Visitor, RowOccupant, Room, Ledger, RowStage


@pytest.fixture
def uncollected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody looks for cycles."""
    monkeypatch.setattr("server.node.collect_garbage", trio.sleep_forever)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def there() -> Counts[type[Any]]:
    return Counts(type(one) for one in gc.get_objects() if type(one) in OURS)


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("transport", ["udp", "tcp", "ws"])
async def test_players_rooms_and_sets_of_options_go_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setattr("server.rooms.EMPTY_ROOM_S", 0.0)
    monkeypatch.setattr("server.host.SWEEP_EVERY_S", 0.02)
    async with running(tmp_path, hold_s=1.0) as node:
        before = there()
        for seats in (1, 2, 3):
            async with connect(node.server, transport=transport) as client:
                room = await client.join("counter", options={"seats": seats})
                await room.next_frame()
                if seats > 1:  # else it just hangs up
                    await client.leave()
        most = there()
        await until(lambda: not node.lobby.room_count)
        await until(lambda: there()[Session] <= before[Session] + 1)
        await until(lambda: len(node.host.rooms.stages) == before[RowStage])
        left = there() - before
    assert all(most[one] > before[one] for one in (Session, ServerEnd))
    assert all(count <= 1 for count in left.values()), left  # which a task that waits may still name


@pytest.mark.parametrize(
    ("seen", "times"),
    [
        ([0, 0, 0], 0),
        ([CROWD - 1, 0], 0),
        ([CROWD, 0], 1),
        ([CROWD, CROWD // 2, 0, 0, 0], 1),
        ([1000, 1000, 999, 1000 - CROWD, 1000 - CROWD], 1),
        ([1000, 900, 1000, 900, 1000, 1000], 1),
        ([CROWD, 0, CROWD, 0], 1),
        ([CROWD, 0, CROWD, *[0] * int(RELIEF_EVERY_S)], 2),
        (list(range(5000, 0, -10)), 38),
    ],
)
async def test_a_crowd_that_has_left_is_worth_it_once(
    seen: list[int], times: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Looks are a second apart."""
    given: list[bool] = []
    relief = Relief(lambda: given.append(True))
    for connections in seen:
        await relief.look(connections)
        await trio.sleep(1.0)
    assert len(given) == times


def test_giving_back_is_harmless() -> None:
    give_back()
