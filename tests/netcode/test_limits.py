"""Token buckets: nobody gets more than the rate allows, in any window, and nothing grows without bound."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcode.limits import LOOKED_AT, OVERFLOW, Buckets, HalfOpen, TokenBucket, address_key
from netcode.seal import DatagramType
from tests.netcode.ends import ends, live_path, seal_frame

RATES = st.floats(0.1, 1000)
BURSTS = st.floats(1, 1000)
STEPS = st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 20)), max_size=60)
"""(seconds since the last, cost) of each take."""


class Keyed:
    """One bucket of a table, used like a `TokenBucket`."""

    def __init__(self, rate: float, burst: float) -> None:
        self._buckets = Buckets(rate, burst)

    def take(self, now: float, cost: float) -> bool:
        return self._buckets.take("key", now, cost)


@pytest.mark.parametrize("kind", [TokenBucket, Keyed])
@given(rate=RATES, burst=BURSTS, steps=STEPS)
def test_in_no_window_is_more_taken_than_burst_and_rate_allow(
    kind: type[TokenBucket] | type[Keyed], rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket, now = kind(rate, burst), 1000.0
    taken: list[tuple[float, float]] = []
    for wait_s, cost in steps:
        now += wait_s
        if bucket.take(now, cost):
            taken.append((now, cost))
    for first in range(len(taken)):
        total = 0.0
        for when, cost in taken[first:]:
            total += cost
            assert total <= (burst + rate * (when - taken[first][0])) * (1 + 1e-8) + 1e-6


@given(rate=RATES, burst=BURSTS, steps=STEPS)
def test_a_refusal_takes_nothing_and_who_waits_long_enough_gets_it(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket, now = TokenBucket(rate, burst), 1000.0
    for wait_s, cost in steps:
        now += wait_s
        if bucket.take(now, cost):
            continue
        assert not bucket.take(now, cost)
        wanted = min(cost, burst) * 0.999
        now += wanted / rate
        assert bucket.take(now, wanted)


def test_a_burst_at_once_then_the_rate() -> None:
    bucket = TokenBucket(2.0, 5.0)
    assert [bucket.take(0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(100.0) for _ in range(6)] == [True] * 5 + [False]


def test_what_cannot_be_refused_is_waited_for() -> None:
    bucket = TokenBucket(100.0, 200.0)
    assert bucket.spend(0.0, 200.0) == 0.0
    assert bucket.spend(0.0, 50.0) == pytest.approx(0.5)
    assert bucket.spend(0.5, 100.0) == pytest.approx(1.0)
    assert not bucket.take(1.49)
    assert bucket.take(1.52)


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (float("nan"), 1.0)])
def test_a_bucket_that_makes_no_sense_is_refused(rate: float, burst: float) -> None:
    for kind in (TokenBucket, Buckets):
        with pytest.raises(ValueError, match="rate and burst must be positive"):
            kind(rate, burst)


def test_one_address_does_not_use_up_another_s() -> None:
    buckets = Buckets(1.0, 3.0)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert [buckets.take("b", 0.0) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 2)), max_size=200))
def test_a_table_never_remembers_more_than_its_limit(takes: list[tuple[int, float]]) -> None:
    buckets, now = Buckets(1.0, 3.0, keys_max=8), 0.0
    for key, wait_s in takes:
        now += wait_s
        buckets.take(key, now)
        assert len(buckets) <= 8


def test_very_many_addresses_share_one_bucket_and_those_known_before_notice_nothing() -> None:
    buckets = Buckets(1.0, 10.0, keys_max=100)
    assert all(buckets.take(("known", number), 0.0, 5.0) for number in range(100))
    let_in = sum(buckets.take(number, 0.0) for number in range(200_000))
    assert let_in == 10 * OVERFLOW
    assert len(buckets) == 100
    assert all(buckets.take(("known", number), 0.0, 5.0) for number in range(100))
    assert not buckets.take(("known", 0), 0.0)


def test_full_buckets_make_room_for_newcomers() -> None:
    buckets = Buckets(1.0, 10.0, keys_max=100)
    for number in range(100):
        assert buckets.take(number, 0.0)
    assert [buckets.take("new", 1.5) for _ in range(11)] == [True] * 10 + [False]
    assert 100 - LOOKED_AT < len(buckets) <= 100


def test_those_who_do_not_come_again_are_forgotten_long_before_the_table_is_full() -> None:
    buckets = Buckets(1.0, 10.0)
    for number in range(5000):
        assert buckets.take(number, number * 0.1)
    assert len(buckets) <= 12, "a bucket is full again after a second, in which ten come"


def test_busy_buckets_in_front_do_not_hide_idle_ones_for_ever() -> None:
    buckets = Buckets(1.0, 10.0, keys_max=40)
    for number in range(20):
        buckets.take(number, 0.0, 10.0)
    for number in range(20, 40):
        buckets.take(number, 0.0, 1.0)
    served: Hashable = None
    for attempt in range(6):
        before = len(buckets)
        assert buckets.take(("new", attempt), 2.0)
        if len(buckets) < 40 or before < 40:
            served = ("new", attempt)
    assert served is not None


def test_a_fine_is_paid_before_anything_is_given() -> None:
    buckets = Buckets(1.0, 10.0)
    assert buckets.take("a", 0.0)
    buckets.fine("a", 0.0, 12.0)
    assert not buckets.take("a", 3.9)
    assert buckets.take("a", 4.1)
    for _ in range(1000):
        buckets.fine("a", 10.0, 100.0)
    assert not buckets.take("a", 20.5)
    assert buckets.take("a", 21.1)


@pytest.mark.parametrize("keys_max", [0, -1])
def test_a_table_holds_at_least_one(keys_max: int) -> None:
    with pytest.raises(ValueError, match="keys_max"):
        Buckets(1.0, 1.0, keys_max)
    with pytest.raises(ValueError, match="entries_max"):
        HalfOpen[int](keys_max)


def test_the_oldest_half_open_connection_is_given_up_first() -> None:
    half_open: HalfOpen[str] = HalfOpen(3)
    assert [half_open.add(name) for name in "abc"] == [None, None, None]
    assert half_open.settle("a")
    assert half_open.add("d") is None
    assert half_open.add("e") == "b"
    assert not half_open.settle("b")
    assert not half_open.settle("a")
    assert len(half_open) == 3
    assert [half_open.add("f"), half_open.add("g")] == ["c", "d"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200))
def test_half_open_is_a_queue_with_a_limit(steps: list[tuple[bool, int]]) -> None:
    half_open: HalfOpen[tuple[int, int]] = HalfOpen(5)
    model: list[tuple[int, int]] = []
    for number, (comes, back) in enumerate(steps):
        if comes:
            expected = model.pop(0) if len(model) == 5 else None
            assert half_open.add((number, 0)) == expected
            model.append((number, 0))
        else:
            entry = (number - back, 0)
            assert half_open.settle(entry) == (entry in model)
            if entry in model:
                model.remove(entry)
        assert len(half_open) == len(model)


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("2001:db8:1:3::9", "2001:db8:1:3::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::1"),
        ("", ""),
        ("somewhere", "somewhere"),
    ],
)
def test_what_counts_as_one_address(host: str, key: str) -> None:
    assert address_key(host) == key


# -- amplification ----------------------------------------------------------------------------------------------------

SAID = st.lists(
    st.tuples(
        st.sampled_from(["input", "probe", "keepalive", "close", "proof", "wrong proof", "again", "junk", "frame"]),
        st.integers(0, 1100),
        st.sampled_from([b"\x02home", b"\x02away", b"\x02elsewhere"]),
        st.floats(0, 1),
    ),
    max_size=80,
)


@given(SAID)
def test_an_address_that_is_not_proven_gets_at_most_three_times_what_it_sent(
    said: list[tuple[str, int, bytes, float]],
) -> None:
    """Whatever comes, in whatever order, from wherever; proofs are true only where the challenge went."""
    client, server, _ = ends()
    now, last = 0.0, bytes(27)
    came: dict[bytes, int] = {}
    sent: dict[bytes, int] = {}
    kinds = {
        "input": DatagramType.INPUT,
        "probe": DatagramType.PROBE,
        "keepalive": DatagramType.KEEPALIVE,
        "close": DatagramType.CLOSE,
        "wrong proof": DatagramType.PROOF,
    }
    for what, size, address, wait_s in said:
        now += wait_s
        if what == "frame":  # a tick: a frame for the path, if there is one
            path = live_path(server, now)
            if path is not None:
                assert path == b"\x02home"
                seal_frame(server, bytes(9), now)
            continue
        if what == "proof":  # only who lives at home hears the challenges that go there
            address = b"\x02home"
            packet = client._seal(DatagramType.PROOF, server._token(address), now)
        elif what == "again":
            packet = last
        elif what == "junk":
            packet = bytes(size)
        else:
            packet = client._seal(kinds[what], bytes(size), now)
        last = packet
        _, reply = server.receive(packet, address, now)
        came[address] = came.get(address, 0) + len(packet)
        sent[address] = sent.get(address, 0) + len(reply or b"")
        assert sent[address] <= 3 * came[address]
    assert server.path in (None, b"\x02home")
