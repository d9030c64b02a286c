"""The input clock: wherever it starts and whatever the link, inputs come to arrive just before their ticks."""

from __future__ import annotations

import math

import pytest

from netcode.inputs import QUEUED_MAX
from netcode.steering import FASTEST, HALVED, OUTAGE, SLOWEST, Steering
from netcode.timesync import TickClock
from tests.netcode.steered import Link, Pair

QUIET = Link(0.001, 0.0005)
HOME = Link(0.010, 0.002)
FAR = Link(0.080, 0.015, 0.02)
PHASES = [0.0, 0.3, 0.6, 0.9]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("tick_hz", [20, 60])
def test_on_a_quiet_link_from_any_phase_an_input_hardly_waits_and_few_come_late(tick_hz: int, phase: float) -> None:
    pair = Pair(tick_hz, QUIET, phase)
    pair.run(1200 / tick_hz)
    settled = pair.figures(3.0)
    assert settled.p50_ms < 10.0  # a tick has 50 or 17, the path 2
    assert settled.repeats < 0.005
    assert settled.depth < 0.05
    assert pair.figures(0.0, 3.0).repeats < 0.08


@pytest.mark.parametrize("phase", PHASES)
def test_on_a_bad_link_it_costs_a_repeat_a_lost_packet_and_no_tick_of_lag(phase: float) -> None:
    pair = Pair(20, FAR, phase, seed=int(phase * 10))
    pair.run(60.0)
    settled = pair.figures(5.0)
    assert settled.p50_ms < 160.0 + 30.0 + 12.0  # both ways, the jitter of both, a margin
    assert settled.repeats < 0.035  # 2 % are lost
    assert 0.0 <= settled.depth < 0.5


@pytest.mark.parametrize("jitter_s", [0.0, 0.005, 0.015])
def test_the_lead_is_the_least_way_down_and_the_most_delayed_way_up(jitter_s: float) -> None:
    pair = Pair(20, Link(0.040, jitter_s))
    pair.run(60.0)
    assert pair.figures(5.0).repeats < 0.006
    assert pair.play.steering.lead_s == pytest.approx((0.040 - jitter_s) + (0.040 + jitter_s), abs=0.010)


def test_a_second_without_the_server_drains_in_a_few() -> None:
    pair = Pair(20, HOME)
    pair.run(10.0)
    pair.paused = True
    pair.run(11.0)
    pair.paused = False
    pair.run(25.0)
    after = pair.figures(15.0)
    assert after.p50_ms < 40.0
    assert after.depth < 0.1


@pytest.mark.parametrize("gone_s", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("tick_hz", [20, 60])
def test_a_path_that_was_gone_leaves_no_lag(tick_hz: int, gone_s: float) -> None:
    pair = Pair(tick_hz, HOME)
    pair.run(10.0)
    pair.up = Link(loss=1.0)
    pair.run(10.0 + gone_s)
    pair.up = HOME
    pair.run(30.0)
    after = pair.figures(20.0)
    assert after.p50_ms < 40.0
    assert after.repeats < 0.03


def test_a_way_up_that_got_longer_is_followed_within_a_second() -> None:
    pair = Pair(20, HOME)
    pair.run(10.0)
    pair.up = Link(0.040, 0.002)
    pair.run(30.0)
    assert pair.figures(10.0, 12.0).repeats <= 0.1
    after = pair.figures(12.0)
    assert after.repeats < 0.01
    assert after.p50_ms < 65.0  # 50 both ways


def test_a_way_up_that_got_shorter_is_followed_within_a_minute() -> None:
    pair = Pair(20, Link(0.040, 0.002))
    pair.run(10.0)
    pair.up = HOME
    pair.run(90.0)
    assert pair.figures(75.0).p50_ms < 65.0


def test_a_client_that_stood_still_does_not_make_up_for_it() -> None:
    pair = Pair(20, HOME)
    pair.run(10.0)
    pair.stalled = True
    pair.run(15.0)
    pair.stalled = False
    pair.run(30.0)
    after = pair.figures(15.5)
    assert after.p50_ms < 40.0
    assert after.depth < 0.1


@pytest.mark.parametrize("drift", [0.001, -0.001])
def test_a_fixed_clock_keeps_its_queue_short_by_leaving_one_out_now_and_then(drift: float) -> None:
    pair = Pair(60, HOME, beats=True, drift=drift)
    pair.run(60.0)
    settled = pair.figures(3.0)
    assert settled.depth < 1.0
    assert settled.repeats < 0.01
    assert settled.p50_ms < 20.0 + 1000 / 60


def test_a_fixed_clock_on_a_bad_link_is_not_left_with_a_queue() -> None:
    pair = Pair(20, FAR, beats=True)
    pair.run(60.0)
    assert pair.figures(5.0).depth < 0.7


# -- by hand ----------------------------------------------------------------------------------------------------------


def steered() -> tuple[TickClock, Steering]:
    clock = TickClock(20)
    return clock, Steering(clock, 0)


def tell(clock: TickClock, steering: Steering, tick: int, last_seq: int, depth: int = 0) -> None:
    """The frame of `tick` comes at tick / 20."""
    clock.frame(tick, tick / 20)
    steering.frame(tick, last_seq, depth, tick / 20)


def test_before_anything_is_known_inputs_are_due_at_once_and_then_once_a_tick() -> None:
    _, steering = steered()
    assert steering.due_at == -math.inf
    steering.made(1, 7.0)
    assert steering.due_at == pytest.approx(7.05)


def test_the_period_stays_within_its_limits_whatever_is_wanted() -> None:
    clock, steering = steered()
    steering.made(1, 0.02)
    tell(clock, steering, 1, 1)
    assert steering.lead_s == pytest.approx(0.03)
    assert steering.period_s == pytest.approx(0.05)
    steering.made(2, 0.01)  # 60 ms too early: later is better
    assert steering.period_s == pytest.approx(0.05 * SLOWEST)
    steering.made(2, 0.15)
    assert steering.period_s == pytest.approx(0.05 * FASTEST)
    tell(clock, steering, 2, 1, depth=QUEUED_MAX - 1)  # full after a tick's take
    assert steering.period_s == pytest.approx(0.05 * HALVED)


def test_one_late_input_lengthens_the_lead_and_an_outage_forgets_it() -> None:
    clock, steering = steered()
    for seq in range(1, 6):
        steering.made(seq, seq / 20 - 0.03)
    tell(clock, steering, 1, 1)
    tell(clock, steering, 2, 2)
    shorter = steering.lead_s
    assert shorter is not None
    assert shorter < 0.03
    tell(clock, steering, 3, 2)
    assert steering.lead_s is not None
    assert steering.lead_s > shorter
    leads: list[float | None] = []
    for tick in range(4, 5 + OUTAGE):
        tell(clock, steering, tick, 2 if tick < 4 + OUTAGE else 3)
        leads.append(steering.lead_s)
    assert leads[-2] is None
    assert leads[-1] is not None


def test_loss_is_read_from_acknowledgements_but_for_the_newest_bits() -> None:
    _, steering = steered()
    for _ in range(200):
        steering.acknowledged((1000, 0xFFFF_FF00))
    assert steering.loss == 0.0
    steering.acknowledged((20, 0))  # there were no 32 datagrams yet
    assert steering.loss == 0.0
    for _ in range(200):
        steering.acknowledged((1000, 0x0FFF_FF00))
    assert steering.loss == pytest.approx(4 / 24, abs=0.001)
