"""The node's limits: who is exempt, what is counted, and that a client of ours never meets one."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from netcode.messages import ACT_MAX
from server.limits import (
    CONTROL_BYTES_BURST,
    FAILED_COST,
    NEW_GUEST_COST,
    PAUSE_MAX_S,
    REFUSALS_BURST,
    REQUESTS_BURST,
    LimitCounters,
    Limits,
    SessionBudget,
)
from server.settings import Settings
from tests.netcode.ends import ends

AWAY = "192.0.2.7"


def limits(**settings: Any) -> Limits:
    return Limits(Settings(**settings))


def counted(limits: Limits) -> dict[str, int]:
    """The counters that are not 0."""
    return {name: count for name, count in attrs.asdict(limits.counters).items() if count}


def test_connections_beyond_the_rate_of_an_address_are_refused_and_counted() -> None:
    one = limits(connects_per_s=2, connections_per_address=1000)
    assert [one.may_connect(AWAY, 0.0) for _ in range(25)].count(True) == 20
    assert one.may_connect("192.0.2.8", 0.0)
    assert counted(one) == {"connects": 5}
    assert one.may_connect(AWAY, 0.6)


def test_connections_at_once_are_counted_down_when_they_end() -> None:
    one = limits(connections_per_address=2)
    for _ in range(2):
        assert one.may_connect(AWAY, 0.0)
        one.connected(AWAY)
    assert not one.may_connect(AWAY, 0.0)
    assert one.may_connect("192.0.2.8", 0.0)
    assert counted(one) == {"connections": 1}
    one.disconnected(AWAY)
    assert one.may_connect(AWAY, 0.0)
    for _ in range(5):
        one.disconnected(AWAY)
    assert one._connections == {}


def test_addresses_of_one_ipv6_network_are_one() -> None:
    one = limits(connects_per_s=0.1, connections_per_address=1)
    one.connected("2001:db8::1")
    assert not one.may_connect("2001:db8::2", 0.0)
    assert one.may_connect("2001:db8:0:1::2", 0.0)


def test_a_refused_connection_takes_nothing_of_the_rate() -> None:
    one = limits(connects_per_s=0.1, connections_per_address=1)
    one.connected(AWAY)
    for _ in range(50):
        assert not one.may_connect(AWAY, 0.0)
    one.disconnected(AWAY)
    assert one.may_connect(AWAY, 0.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_exempt_unless_the_setting_says_otherwise(host: str) -> None:
    free, bound = limits(connects_per_s=0.1), limits(connects_per_s=0.1, logins_per_s=0.1, limit_loopback=True)
    for _ in range(100):
        free.connected(host)
        free.failed_log_in(host, 0.0)
        assert free.may_connect(host, 0.0)
        assert free.may_log_in(host, 0.0)
    assert counted(free) == {"failed_logins": 100}
    assert [bound.may_connect(host, 0.0) for _ in range(3)] == [True, False, False]
    bound.failed_log_in(host, 0.0)
    bound.failed_log_in(host, 0.0)
    assert not bound.may_log_in(host, 0.0)
    assert counted(bound) == {"connects": 2, "logins": 1, "failed_logins": 2}


def test_new_guests_and_wrong_secrets_cost_more() -> None:
    plain, guests, wrong = (limits(logins_per_s=10) for _ in range(3))
    done = dict.fromkeys(("plain", "guests", "wrong"), 0)
    for _ in range(200):
        if plain.may_log_in(AWAY, 0.0):
            done["plain"] += 1
        if guests.may_log_in(AWAY, 0.0):
            guests.new_guest(AWAY, 0.0)
            done["guests"] += 1
        if wrong.may_log_in(AWAY, 0.0):
            wrong.failed_log_in(AWAY, 0.0)
            done["wrong"] += 1
    assert done == {"plain": 100, "guests": round(100 / NEW_GUEST_COST), "wrong": round(100 / FAILED_COST)}


def test_who_has_hung_up_already_is_nobody() -> None:
    one = limits(connects_per_s=0.1)
    assert all(one.may_connect("", 0.0) for _ in range(10))
    one.connected("")
    one.disconnected("")
    assert counted(one) == {}


@pytest.mark.parametrize("tick_hz", [10, 30, 60, 128])
def test_a_client_of_ours_never_meets_its_budget(tick_hz: int) -> None:
    """Large inputs 10 % faster than the tick and ten requests a second, for a minute; then nothing passes for a second,
    and all of it comes at once."""
    budget, (_, end, drops) = SessionBudget(LimitCounters()), ends()
    size = 900
    for number in range(60 * tick_hz):
        now = number / (1.1 * tick_hz)
        assert end.take_packet(size, now)
        assert budget.take_bytes(200, now) == 0.0
        if number % tick_hz == 0:
            assert all(budget.take_message(now) for _ in range(10))
    for _ in range(tick_hz):
        assert end.take_packet(size, now + 1.0)
    assert drops.excess == 0


def test_a_flood_of_packets_is_dropped_to_the_rate() -> None:
    _, end, drops = ends()
    taken = sum(end.take_packet(60, number / 5000) for number in range(50_000))
    assert 1700 < taken < 1800
    assert drops.excess == 50_000 - taken
    _, large, _ = ends()
    assert sum(large.take_packet(1200, number / 1000) for number in range(10_000)) * 1200 < 262_144 + 10.1 * 131_072


def test_requests_are_refused_and_then_not_read() -> None:
    counters = LimitCounters()
    budget = SessionBudget(counters)
    assert [budget.take_message(0.0) for _ in range(50)].count(True) == REQUESTS_BURST
    assert counters.requests == 50 - REQUESTS_BURST
    assert all(budget.take_refusal(0.0) == 0.0 for _ in range(int(REFUSALS_BURST)))
    assert 0.0 < budget.take_refusal(0.0) <= 0.011
    assert counters.pauses == 1
    assert budget.take_message(0.06)


def test_too_many_bytes_stop_the_reading_for_a_while() -> None:
    budget = SessionBudget(LimitCounters())
    assert budget.take_bytes(int(CONTROL_BYTES_BURST), 0.0) == 0.0
    assert budget.take_bytes(6554, 0.0) == pytest.approx(0.1, abs=1e-3)
    assert budget.take_bytes(10_000_000, 0.0) == PAUSE_MAX_S
    steady = SessionBudget(LimitCounters())
    assert all(steady.take_bytes(ACT_MAX, number / 15) == 0.0 for number in range(1000))
