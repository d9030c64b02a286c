"""Acknowledgements: two trackers at both ends of a path that loses and reorders, against plain sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcode.acks import ACK_BITS, TIMES_MAX, AckTracker


def told_by(ack: tuple[int, int], highest: int) -> set[int]:
    """The sequences that an ack pair speaks of, given the whole highest one."""
    low, bits = ack
    assert highest & 0xFFFF == low
    told = {highest - 1 - bit for bit in range(ACK_BITS) if bits >> bit & 1}
    return told | {highest} if highest else told


@given(st.lists(st.integers(1, 100), max_size=120))
def test_the_ack_pair_tells_the_last_33(sequences: list[int]) -> None:
    tracker = AckTracker()
    for sequence in sequences:
        tracker.received(sequence)
    highest = max(sequences, default=0)
    expected = {sequence for sequence in sequences if highest - sequence <= ACK_BITS}
    assert told_by(tracker.ack, highest) == expected


def test_before_anything_came_in_the_pair_acknowledges_nothing() -> None:
    ours, theirs = AckTracker(), AckTracker()
    ours.sent(1, 0.0)
    assert ours.acknowledged(*theirs.ack, 1.0) == 0
    assert ours.newest_acked == 0
    assert ours.rtt_ms is None


@given(st.lists(st.sampled_from(["arrives", "lost", "ack", "late ack"]), max_size=300))
def test_both_ends_agree_on_what_was_delivered(steps: list[str]) -> None:
    ours, theirs = AckTracker(), AckTracker()
    known: set[int] = set()
    acks: list[tuple[tuple[int, int], int]] = [((0, 0), 0)]
    now = 0.0
    for step in steps:
        now += 0.05
        if step in ("arrives", "lost"):
            ours.sent(ours.newest_sent + 1, now)
            if step == "arrives":
                theirs.received(ours.newest_sent)
        else:
            acks.append((theirs.ack, theirs.highest_received))
            pair, highest = acks[-1 if step == "ack" else max(-5, -len(acks))]
            told = {s for s in told_by(pair, highest) if s >= ours.newest_acked - ACK_BITS}
            assert ours.acknowledged(*pair, now) == len(told - known)
            known |= told
    newest = max(known, default=0)
    assert ours.newest_acked == newest
    assert ours.delivered == len(known)
    assert ours.lost == len(set(range(1, newest - ACK_BITS)) - known)
    assert 0.0 <= ours.loss <= 1.0


def test_it_goes_on_past_the_wrap_of_sixteen_bits() -> None:
    ours, theirs = AckTracker(), AckTracker()
    for sequence in range(1, 70_001):
        ours.sent(sequence, sequence * 0.01)
        theirs.received(sequence)
        assert ours.acknowledged(*theirs.ack, sequence * 0.01 + 0.02) == 1
    assert (ours.newest_acked, ours.delivered, ours.lost) == (70_000, 70_000, 0)
    assert ours.rtt_ms == pytest.approx(20.0)


def test_an_ack_of_what_was_never_sent_changes_nothing() -> None:
    tracker = AckTracker()
    tracker.sent(1, 0.0)
    assert tracker.acknowledged(2, 0xFFFFFFFF, 0.1) == 0
    assert tracker.acknowledged(30_000, 0xFFFFFFFF, 0.1) == 0
    assert (tracker.newest_acked, tracker.delivered, tracker.rtt_ms) == (0, 0, None)
    assert tracker.acknowledged(1, 0xFFFFFFFF, 0.1) == 1


def test_round_trip_times_are_smoothed_as_rfc_6298_says() -> None:
    tracker = AckTracker()
    for sequence, rtt_s in enumerate([0.100, 0.200, 0.100], start=1):
        tracker.sent(sequence, 10.0 * sequence)
        tracker.acknowledged(sequence, 0, 10.0 * sequence + rtt_s)
        if sequence == 1:
            assert [tracker.rtt_ms, tracker.rttvar_ms] == pytest.approx([100.0, 50.0])
            assert tracker.jitter_ms == 0.0
        if sequence == 2:
            assert [tracker.rtt_ms, tracker.rttvar_ms] == pytest.approx([112.5, 62.5])
            assert tracker.jitter_ms == pytest.approx(100 / 16)
    assert tracker.rtt_ms == pytest.approx(112.5 + (100 - 112.5) / 8)


def test_only_the_newest_newly_acknowledged_datagram_is_timed() -> None:
    tracker = AckTracker()
    for sequence in (1, 2, 3):
        tracker.sent(sequence, float(sequence))
    assert tracker.acknowledged(3, 0b01, 3.010) == 2
    assert tracker.rtt_ms == pytest.approx(10.0)
    assert tracker.acknowledged(3, 0b11, 9.0) == 1
    assert tracker.acknowledged(3, 0b11, 9.0) == 0
    assert tracker.acknowledged(2, 0b1, 9.0) == 0
    assert tracker.rtt_ms == pytest.approx(10.0)


def test_a_send_time_that_was_overwritten_gives_no_sample() -> None:
    tracker = AckTracker()
    for sequence in range(1, TIMES_MAX + 2):
        tracker.sent(sequence, float(sequence))
    assert tracker.acknowledged(1, 0, 1000.0) == 1
    assert tracker.rtt_ms is None
    assert tracker.acknowledged(2, 0, 1000.0) == 1
    assert tracker.rtt_ms == pytest.approx(998_000.0)


def test_loss_follows_the_path() -> None:
    ours, theirs = AckTracker(), AckTracker()
    for sequence in range(1, 2001):
        ours.sent(sequence, 0.0)
        if sequence % 4:
            theirs.received(sequence)
        ours.acknowledged(*theirs.ack, 0.1)
    assert ours.loss == pytest.approx(0.25, abs=0.02)
    assert ours.lost == pytest.approx(2000 / 4, abs=10)


def test_sending_out_of_order_is_a_bug_of_ours() -> None:
    tracker = AckTracker()
    with pytest.raises(AssertionError):
        tracker.sent(2, 0.0)
