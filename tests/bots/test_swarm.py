"""How a swarm shares one loop: nobody's reading keeps the others waiting, and nobody's frames wait for ever."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bots.bot import Bot
from bots.swarm import READ_AT_ONCE, UNREAD_MAX, Swarm


class Reader:
    """As much of a bot as reading takes."""

    def __init__(self) -> None:
        self.read: list[bytes] = []

    def read_frame(self, data: bytes, *_: Any) -> None:
        self.read.append(data)


async def test_frames_are_read_in_order_a_few_at_a_time_and_faster_when_many_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, swarm = Reader(), Swarm()
    bot = cast(Bot, reader)
    frames = [b"%d" % number for number in range(2000)]
    for frame in frames:
        swarm.read_later(bot, frame, 10, 0.0, True)
    assert not reader.read
    portions, read_now = [], swarm._read_now

    def read_and_count(frames_max: int) -> None:
        portions.append(frames_max)
        read_now(frames_max)

    monkeypatch.setattr(swarm, "_read_now", read_and_count)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(swarm._read_frames)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert reader.read == frames
    assert portions[0] == 500
    assert portions[-1] == READ_AT_ONCE
    assert portions == sorted(portions, reverse=True)
    assert len(portions) < 40  # at READ_AT_ONCE each it would be 125


def test_a_full_queue_is_read_at_once() -> None:
    reader, swarm = Reader(), Swarm()
    for _ in range(UNREAD_MAX):
        swarm.read_later(cast(Bot, reader), b"x", 10, 0.0, True)
    assert len(reader.read) == UNREAD_MAX
