"""How a swarm shares one loop: nobody's reading keeps the others waiting, and nobody's frames wait for ever."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bots.swarm import READ_AT_ONCE, UNREAD_MAX, Swarm


async def test_frames_are_read_in_order_a_few_at_a_time_and_faster_when_many_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[bytes] = []
    swarm = Swarm()
    frames = [b"%d" % number for number in range(2000)]
    for frame in frames:
        swarm.read_later(partial(read.append, frame))
    assert not read
    portions, read_now = [], swarm._read_now

    def read_and_count(frames_max: int) -> None:
        portions.append(frames_max)
        read_now(frames_max)

    monkeypatch.setattr(swarm, "_read_now", read_and_count)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(swarm._read_frames)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert read == frames
    assert portions[0] == 500
    assert portions[-1] == READ_AT_ONCE
    assert portions == sorted(portions, reverse=True)
    assert len(portions) < 40  # at READ_AT_ONCE each it would be 125


def test_a_full_queue_is_read_at_once() -> None:
    read: list[bytes] = []
    swarm = Swarm()
    for _ in range(UNREAD_MAX):
        swarm.read_later(partial(read.append, b"x"))
    assert len(read) == UNREAD_MAX
