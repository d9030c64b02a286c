"""A bad link does what it says, the same way for the same seed, and a game over it loses and doubles no input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcode.conditions import (
    HELD_BACK_MS,
    RETRANSMITTED_MS,
    BadConditions,
    Conditioner,
    Conditions,
    Waiting,
    Wire,
)
from netcode.inputs import InputWindow
from tests.netcode.ends import HOME, ends, prove, seal_frame
from tests.netcode.queue import OneQueue

BAD = Conditions.parse("latency=80,jitter=15,loss=2,dup=1,reorder=2")
AWFUL = Conditions(latency_ms=60, jitter_ms=60, loss_percent=30, dup_percent=20, reorder_percent=30)


def arrivals(
    conditions: Conditions, count: int, *, seed: int = 7, lane: int = 0, stream: bool = False
) -> list[list[float]]:
    """For each of `count` packets, sent 20 ms apart, how long its copies took in ms."""
    link: Conditioner[int] = Conditioner(conditions, seed, lane, stream=stream)
    took: list[list[float]] = [[] for _ in range(count)]
    for number in range(count + 1):
        until = number * 0.02 if number < count else math.inf
        while (due := link.due) <= until and due < math.inf:
            for one in link.pop(due):
                took[one].append((due - one * 0.02) * 1000)
        if number < count:
            link.push(number, number * 0.02)
    assert link.waiting.dropped == 0
    return took


def test_a_text_gives_what_it_says_and_back() -> None:
    assert Conditions(latency_ms=80, jitter_ms=15, loss_percent=2, dup_percent=1, reorder_percent=2) == BAD
    assert str(BAD) == "latency=80,jitter=15,loss=2,dup=1,reorder=2"
    assert Conditions.parse(" loss = 0.5 , latency=3 ") == Conditions(latency_ms=3, loss_percent=0.5)
    assert Conditions.parse("") == Conditions()
    assert str(Conditions()) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("speed=3", r"'speed=3' is none of latency=0..5000, jitter=0..5000, loss=0..100"),
        ("latency", "'latency' is none of"),
        ("latency=", "a number from 0 to 5000"),
        ("latency=fast", "a number from 0 to 5000"),
        ("latency=-1", "lies in 0..5000"),
        ("loss=101", "lies in 0..100"),
        ("loss=nan", "lies in 0..100"),
        ("latency=inf", "lies in 0..5000"),
        ("latency=10,jitter=11", "may not exceed latency=10"),
        ("loss=1,loss=2", "given twice"),
    ],
)
def test_nonsense_is_told_with_the_limits(text: str, told: str) -> None:
    with pytest.raises(BadConditions, match=told):
        Conditions.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_conditions_or_a_typed_error(text: str) -> None:
    try:
        conditions = Conditions.parse(text)
    except BadConditions:
        return
    assert Conditions.parse(str(conditions)) == Conditions.parse(str(Conditions.parse(str(conditions))))


def test_a_perfect_link_delivers_at_once_and_in_order() -> None:
    link: Conditioner[int] = Conditioner(Conditions(), seed=1)
    for number in range(50):
        link.push(number, 5.0)
    assert link.due == 5.0
    assert link.pop(5.0) == list(range(50))
    assert link.due == math.inf
    assert link.pop(9.0) == []


def test_every_delay_lies_within_the_jitter_and_shares_are_as_told() -> None:
    took = arrivals(BAD, 20_000)
    lost = sum(not copies for copies in took) / len(took)
    doubled = sum(len(copies) == 2 for copies in took) / len(took)
    held = sum(max(copies, default=0.0) > 95.001 for copies in took) / len(took)
    assert lost == pytest.approx(0.02, abs=0.004)
    assert doubled == pytest.approx(0.01, abs=0.003)
    assert held == pytest.approx(0.02, abs=0.004)
    delays = np.array([delay for copies in took for delay in copies])
    usual = delays[delays < 95.001]
    assert usual.min() >= 64.999
    assert usual.min() < 65.5
    assert usual.max() > 94.5
    assert usual.mean() == pytest.approx(80, abs=0.3)
    assert delays.max() <= 95.001 + HELD_BACK_MS


def test_a_seed_is_a_run_and_lanes_differ() -> None:
    assert arrivals(AWFUL, 200) == arrivals(AWFUL, 200)
    assert arrivals(AWFUL, 200) != arrivals(AWFUL, 200, seed=8)
    assert arrivals(AWFUL, 200) != arrivals(AWFUL, 200, lane=1)
    lost = [[not copies for copies in arrivals(Conditions(loss_percent=30), 200, lane=lane)] for lane in range(4)]
    assert len({tuple(one) for one in lost}) == 4


def test_what_becomes_of_a_packet_does_not_depend_on_other_conditions() -> None:
    plain = [not copies for copies in arrivals(Conditions(loss_percent=10), 500)]
    rich = [
        not copies
        for copies in arrivals(Conditions(latency_ms=50, jitter_ms=50, loss_percent=10, reorder_percent=9), 500)
    ]
    assert plain == rich


def test_a_packet_that_is_held_back_is_overtaken() -> None:
    link: Conditioner[int] = Conditioner(Conditions(latency_ms=10, reorder_percent=20), seed=3)
    order = []
    for number in range(100):
        link.push(number, number * 0.033)
        order += link.pop(number * 0.033)
    order += link.pop(math.inf)
    assert sorted(order) == list(range(100))
    assert order != sorted(order)
    assert link.held_back == pytest.approx(20, abs=10)


def test_a_stream_keeps_order_and_loses_nothing() -> None:
    took = arrivals(AWFUL, 300, stream=True)
    assert all(len(copies) == 1 for copies in took)
    came = [round(number * 20 + copies[0], 6) for number, copies in enumerate(took)]
    assert came == sorted(came)
    smooth = arrivals(Conditions(latency_ms=60, jitter_ms=60), 300, stream=True)
    assert max(copies[0] for copies in smooth) <= 120.001
    assert 120 + RETRANSMITTED_MS >= max(copies[0] for copies in took) > RETRANSMITTED_MS


def test_a_full_link_drops_and_counts() -> None:
    waiting: Waiting[int] = Waiting(packets_max=8)
    links = [Conditioner(Conditions(latency_ms=100), 1, lane, waiting=waiting) for lane in range(2)]
    for number in range(10):
        links[number % 2].push(number, 0.0)
    assert (len(waiting), waiting.dropped) == (8, 2)
    assert waiting.pop(0.1) == list(range(8))


def test_conditions_may_change_under_way() -> None:
    link: Conditioner[int] = Conditioner(Conditions(latency_ms=100), seed=1)
    link.push(1, 0.0)
    link.conditions = Conditions(loss_percent=100)
    link.push(2, 0.0)
    link.conditions = Conditions()
    link.push(3, 0.01)
    assert link.pop(1.0) == [3, 1]
    assert link.lost == 1


# -- a seat over a bad link ----------------------------------------------------------------------------------------


def play(conditions: Conditions, seed: int, seconds: float = 20.0, tick_hz: int = 30) -> tuple[list[int], int]:
    """Sealed inputs up, acknowledgements down, over one wire: (sequences as applied, inputs acknowledged)."""
    client, server, _ = ends()
    prove(client, server)
    wire: Wire[bytes] = Wire(conditions, seed)
    window, queue = InputWindow(0), OneQueue(0, 2)
    applied: list[int] = []
    ticks = int(seconds * tick_hz)
    for tick in range(1, ticks + 3 * tick_hz):  # the last seconds only repeat
        now = tick / tick_hz
        for packet in wire.down.pop(now):
            told, _ = client.receive(packet, now)
            if told is not None:
                window.acknowledge(int.from_bytes(told[-4:], "little"))
        if tick <= ticks and not window.full:
            window.add((window.newest % 65536).to_bytes(2, "little"))
        wire.up.push(client.seal_input(window.packet(0, client.acks.ack, -1, 0), now), now)
        for packet in wire.up.pop(now):
            plaintext, _ = server.receive(packet, HOME, now)
            if plaintext is not None:
                queue.offer(plaintext)
        taken = queue.take()
        if taken is not None:
            assert int.from_bytes(taken[2], "little") == (taken[0] - 1) % 65536
            applied.append(taken[0])
        last = applied[-1] if applied else 0
        wire.down.push(seal_frame(server, bytes(9) + last.to_bytes(4, "little"), now), now)
    assert not queue.skipping
    return applied, window.acknowledged


@pytest.mark.parametrize("conditions", [BAD, AWFUL], ids=["bad", "awful"])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_input_is_applied_once_and_in_order(conditions: Conditions, seed: int) -> None:
    applied, acknowledged = play(conditions, seed)
    assert applied == list(range(1, len(applied) + 1))
    assert acknowledged == len(applied)
    assert len(applied) > (590 if conditions is BAD else 100)
