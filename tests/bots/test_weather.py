"""The conditions of a whole swarm: each packet of each bot comes when it should, at the right end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from bots.bot import Bot
from bots.control import Identity
from bots.weather import RELEASE_EVERY_S, Parcel, Way, Weather
from netcode.conditions import Conditions


@attrs.frozen(eq=False)
class Nobody:
    """As much of a bot as the weather knows."""

    who: Identity


def bots(count: int) -> Iterator[Bot]:
    for player in range(count):
        yield cast(Bot, Nobody(Identity("", "udp", None, 7, player, "", b"")))


async def test_packets_come_when_they_are_due_and_in_the_order_of_their_times(autojump_clock: MockClock) -> None:
    came: list[tuple[float, Parcel]] = []
    weather = Weather(Conditions(latency_ms=40), lambda parcels, now: came.extend((now, one) for one in parcels))
    (ann, ben) = bots(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(weather.run)
        start = trio.current_time()
        sent = []
        for number in range(20):
            await trio.sleep(0.009)
            parcel = ((ann, ben)[number % 2], Way(number % 4), b"%d" % number)
            sent.append((trio.current_time(), parcel))
            weather.push(*parcel, trio.current_time())
        await trio.sleep(1.0)
        weather.push(ann, Way.UP, b"later", trio.current_time())
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    assert start < came[0][0]
    assert [parcel for _, parcel in came[:-1]] == [parcel for _, parcel in sent]
    assert came[-1][1] == (ann, Way.UP, b"later")
    for (at, _), (was, _) in zip(came, sent, strict=False):
        assert 0.04 <= at - was + 1e-9 <= 0.04 + RELEASE_EVERY_S + 1e-6


async def test_every_bot_and_way_has_chances_of_its_own(autojump_clock: MockClock) -> None:
    came: list[Parcel] = []
    weather = Weather(Conditions(loss_percent=50), lambda parcels, _: came.extend(parcels))
    all_bots = list(bots(3))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(weather.run)
        for number in range(64):
            for bot in all_bots:
                for way in Way:
                    weather.push(bot, way, b"%d" % number, trio.current_time())
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    for way in (Way.UP, Way.DOWN):
        passed = {frozenset(packet for who, its, packet in came if (who, its) == (bot, way)) for bot in all_bots}
        assert len(passed) == 3
        assert all(10 < len(one) < 54 for one in passed)
    for way in (Way.STREAM_UP, Way.STREAM_DOWN):
        for bot in all_bots:
            order = [int(packet) for who, its, packet in came if (who, its) == (bot, way)]
            assert order == list(range(64))


@pytest.mark.parametrize("way", Way)
async def test_a_bot_that_left_starts_afresh(autojump_clock: MockClock, way: Way) -> None:
    weather = Weather(Conditions(latency_ms=5), lambda *_: None)
    (bot,) = bots(1)
    weather.push(bot, way, b"x", 0.0)
    assert len(weather._ways) == 1
    weather.forget(bot)
    assert not weather._ways
