"""Leases: ours ends before others may think so; theirs are judged by our own looking alone."""

from __future__ import annotations

import attrs

from cluster.lease import GAP_MAX_S, LEASE_TTL_S, MARGIN, LeaseWatch, OwnLease
from cluster.model import Member
from tests.cluster.helpers import member

A, B = member("a"), member("b")
GOOD_S = LEASE_TTL_S * (1 - MARGIN)
LOOK_S = 0.25


def test_a_lease_runs_from_the_time_of_sending() -> None:
    lease = OwnLease()
    assert not lease.held(0.0)
    sent = lease.sent(10.0)  # and the answer comes a second later
    lease.renewed(sent)
    assert lease.held(10.0 + GOOD_S - 0.01)
    assert not lease.held(10.0 + GOOD_S)


def test_answers_out_of_order_never_shorten_it() -> None:
    lease = OwnLease()
    first, second = lease.sent(1.0), lease.sent(2.0)
    assert lease.counter == 2
    lease.renewed(second)
    lease.renewed(first)
    assert lease.held(2.0 + GOOD_S - 0.01)


def test_a_sealed_one_is_never_held_again() -> None:
    lease = OwnLease()
    lease.renewed(lease.sent(1.0))
    lease.sealed = True
    assert not lease.held(1.0)


class Looking:
    """A watcher that looks every quarter of a second; some renew, some do not."""

    def __init__(self) -> None:
        self.watch, self.now, self.counter = LeaseWatch(A.incarnation), 100.0, 0

    def pass_s(
        self, seconds: float, renewing: tuple[Member, ...], still: tuple[Member, ...] = (), *, writes: bool = True
    ) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            if writes:
                self.watch.wrote(self.now)
            self.counter += 1
            alive = [attrs.evolve(one, counter=self.counter) for one in renewing]
            self.watch.observe([*alive, *still], self.now)

    @property
    def lapsed(self) -> list[str]:
        return self.watch.lapsed(self.now)


def test_who_stands_still_for_a_ttl_has_lapsed_and_comes_back() -> None:
    looking = Looking()
    looking.pass_s(5, (A, B))
    assert looking.lapsed == []
    looking.pass_s(LEASE_TTL_S, (A,), (B,))
    assert looking.lapsed == []
    looking.pass_s(LOOK_S, (A,), (B,))
    assert looking.lapsed == [B.incarnation]
    assert looking.watch.present(looking.now) == [A.incarnation]
    looking.pass_s(LOOK_S, (A, B))
    assert looking.lapsed == []


def test_we_never_judge_ourselves_nor_the_sealed() -> None:
    looking = Looking()
    looking.pass_s(10, (), (A, attrs.evolve(B, sealed=True)))
    assert looking.lapsed == []
    assert looking.watch.present(looking.now) == [A.incarnation]


def test_while_the_store_was_away_nobody_has_lapsed() -> None:
    looking = Looking()
    looking.pass_s(5, (A, B))
    for _ in range(40):
        looking.now += LOOK_S
        looking.watch.failed(looking.now)
        assert looking.lapsed == []
    looking.pass_s(LEASE_TTL_S, (A,), (B,))
    assert looking.lapsed == [], "healthy for a TTL, but not for longer"
    looking.pass_s(LOOK_S, (A,), (B,))
    assert looking.lapsed == [B.incarnation]


def test_while_the_store_takes_no_writes_nobody_has_lapsed() -> None:
    """A full disk is read as ever, and nobody can renew."""
    looking = Looking()
    looking.pass_s(5, (A, B))
    looking.pass_s(30, (), (A, B), writes=False)
    assert looking.lapsed == []
    looking.pass_s(LEASE_TTL_S, (A,), (B,))
    assert looking.lapsed == [], "it has been healthy for a TTL, but not for longer"
    looking.pass_s(LOOK_S, (A,), (B,))
    assert looking.lapsed == [B.incarnation]


def test_a_renewal_that_took_long_counts_from_its_sending() -> None:
    looking = Looking()
    looking.pass_s(5, (A, B))
    sent = looking.now
    looking.pass_s(LEASE_TTL_S * 2, (), (A, B), writes=False)
    looking.watch.wrote(sent)
    looking.pass_s(LOOK_S, (A,), (B,), writes=False)
    assert looking.lapsed == []


def test_the_time_that_we_were_stopped_does_not_count() -> None:
    looking = Looking()
    looking.pass_s(5, (A, B))
    looking.now += 30.0  # SIGSTOP, and now we look again before anybody else has renewed
    looking.watch.wrote(looking.now)
    looking.watch.observe([A, attrs.evolve(B, counter=looking.counter)], looking.now)
    assert looking.lapsed == []
    looking.pass_s(LEASE_TTL_S - LOOK_S, (A,), (B,))
    assert looking.lapsed == []


def test_an_old_look_tells_nothing() -> None:
    looking = Looking()
    looking.pass_s(5, (A,), (B,))
    assert looking.lapsed == [B.incarnation]
    assert looking.watch.lapsed(looking.now + GAP_MAX_S + 0.01) == []
