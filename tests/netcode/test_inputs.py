"""Inputs over a network that loses, doubles and reorders: each is taken once, in order, and none is skipped."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from netcode.errors import BadFrame
from netcode.inputs import (
    HAS_BASELINE,
    HEADER,
    PACKETS_MAX,
    QUEUED_MAX,
    UNACKED_MAX,
    InputQueues,
    InputWindow,
    check_input_packet,
)
from netcode.packed import Packed, compiled
from tests.effort import examples
from tests.netcode.queue import OneQueue, parse_input_packet

SIZE = 4


def packed(seq: int) -> bytes:
    return seq.to_bytes(SIZE, "little")


class Link(RuleBasedStateMachine):
    """A client's window and a server's queue; `wire` holds the packets under way, `told` the acknowledgements."""

    @initialize(start=st.sampled_from([0, 1, 65500, 65535, 2**17 - 3]))
    def begin(self, start: int) -> None:
        self.window = InputWindow(start)
        self.queue = OneQueue(start, SIZE)
        self.first = self.applied = start
        self.wire: list[bytes] = []
        self.told: list[int] = []

    @rule(count=st.integers(1, 12))
    def play(self, count: int) -> None:
        for _ in range(count):
            if not self.window.full:
                assert self.window.add(packed(self.window.newest + 1)) == self.window.newest
            self.wire.append(self.window.packet(0, (1, 2), 7, self.window.newest))

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), again=st.booleans())
    def arrive(self, data: st.DataObject, again: bool) -> None:
        at = data.draw(st.integers(0, len(self.wire) - 1))
        before = len(self.queue)
        taken = self.queue.offer(self.wire[at] if again else self.wire.pop(at))
        assert len(self.queue) == before + taken

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        del self.wire[data.draw(st.integers(0, len(self.wire) - 1)) :]

    @rule(ticks=st.integers(1, 10))
    def tick(self, ticks: int) -> None:
        for _ in range(ticks):
            assert self.queue.take_skip() is None
            taken = self.queue.take()
            if taken is not None:
                seq, _, data = taken
                assert seq == self.applied + 1
                assert data == packed(seq)
                self.applied = seq
        self.told.append(self.applied)

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        before = self.window.acknowledged
        last = self.told[data.draw(st.integers(0, len(self.told) - 1))]
        assert self.window.acknowledge(last) == max(0, last - before)

    @rule()
    def settle(self) -> None:
        """When nothing is lost any more, everything comes through."""
        self.wire.clear()
        for _ in range(2 * UNACKED_MAX):
            self.queue.offer(self.window.packet(0, (0, 0), -1, 0))
            self.tick(1)
            self.window.acknowledge(self.applied)
        assert self.applied == self.window.acknowledged == self.window.newest
        self.told = [self.applied]

    @invariant()
    def limits_hold(self) -> None:
        if hasattr(self, "window"):
            assert self.window.newest - self.window.acknowledged <= UNACKED_MAX
            assert self.window.full == (self.window.newest - self.window.acknowledged == UNACKED_MAX)
            assert len(self.queue) <= QUEUED_MAX
            assert self.applied <= self.window.newest


TestLink = Link.TestCase
TestLink.settings = hypothesis_settings(max_examples=examples(20), stateful_step_count=30, deadline=None)


def test_a_long_game_over_a_bad_link_past_the_wrap() -> None:
    chance = random.Random(7)
    window, queue = InputWindow(65000), OneQueue(65000, SIZE)
    wire: list[bytes] = []
    applied = 65000
    for tick in range(4000):
        if not window.full:
            window.add(packed(window.newest + 1))
        wire.append(window.packet(0, (0, 0), tick, tick))
        chance.shuffle(wire)
        while wire and chance.random() < 0.6:
            data = wire.pop() if chance.random() < 0.9 else wire[-1]
            if chance.random() > 0.2:
                queue.offer(data)
        del wire[20:]
        assert not queue.skipping
        taken = queue.take()
        if taken is not None:
            assert (taken[0], taken[2]) == (applied + 1, packed(applied + 1))
            applied += 1
        if chance.random() < 0.7:
            window.acknowledge(applied)
    assert applied > 65000 + 2500


def test_a_full_window_takes_no_more_and_opens_again() -> None:
    window = InputWindow(0)
    while not window.full:
        window.add(packed(window.newest + 1))
    assert window.newest == UNACKED_MAX
    with pytest.raises(AssertionError):
        window.add(b"")
    assert window.acknowledge(UNACKED_MAX + 100) == UNACKED_MAX
    assert window.acknowledge(3) == 0
    assert window.add(b"more") == UNACKED_MAX + 1
    assert window.acknowledge(UNACKED_MAX + 1) == 1
    assert window.newest == window.acknowledged == UNACKED_MAX + 1


def packet(newest: int, count: int, seen: int = 9) -> bytes:
    inputs = b"".join(packed(newest - back) for back in range(count))
    return HEADER.pack(1, 0, 0, 0, 0, seen, newest & 0xFFFF, count) + inputs


def test_a_queue_that_is_full_takes_the_rest_when_it_comes_again() -> None:
    queue = OneQueue(0, SIZE)
    assert queue.offer(packet(20, 20)) == QUEUED_MAX
    assert queue.offer(packet(20, 20)) == 0
    assert queue.take() == (1, (9 - 19) & 0xFFFF, packed(1))
    assert queue.offer(packet(20, 20)) == 1
    assert [queue.take() for _ in range(8)] == [(seq, (seq - 11) & 0xFFFF, packed(seq)) for seq in range(2, 10)]
    assert queue.take() is None


@given(st.lists(st.integers(1, 6), min_size=1, max_size=20), st.integers(0, 0xFFFF))
def test_an_input_saw_what_its_player_saw_whichever_packet_brings_it(bursts: list[int], first: int) -> None:
    queue, newest = OneQueue(0, SIZE), 0
    for lost in bursts:  # so many packets in a row are lost but for the last
        newest += lost
        queue.offer(packet(newest, lost, seen=(first + newest) & 0xFFFF))
        for seq in range(newest - lost + 1, newest + 1):
            assert queue.take() == (seq, (first + seq) & 0xFFFF, packed(seq))


def test_a_range_that_the_client_dropped_is_skipped_once_and_only_behind_an_empty_queue() -> None:
    queue = OneQueue(0, SIZE)
    assert queue.offer(packet(2, 2)) == 2
    assert queue.offer(packet(10, 3)) == 0
    assert not queue.skipping
    queue.take()
    queue.take()
    assert queue.offer(packet(10, 3)) == 3
    assert queue.offer(packet(40, 3)) == 0
    assert queue.take_skip() == (3, 7)
    assert queue.take_skip() is None
    assert queue.take() == (8, 7, packed(8))


def test_a_leap_beyond_two_windows_and_old_news_change_nothing() -> None:
    queue = OneQueue(100, SIZE)
    for newest in (101 + 2 * UNACKED_MAX, 5000, 100, 1, 40_000):
        assert queue.offer(packet(newest, 1)) == 0
    assert not queue.skipping
    assert queue.offer(packet(0, 0)) == 0
    assert queue.offer(packet(101, 32)) == 1


def test_what_a_packet_says() -> None:
    window = InputWindow(70_000)
    window.add(b"aaaa")
    window.add(b"bbbb")
    said = parse_input_packet(window.packet(9, (5, 6), 65_537, 65_538), SIZE)
    assert (said.stream, said.ack, said.baseline, said.seen, said.newest) == (9, (5, 6), 1, 2, 70_002 & 0xFFFF)
    assert (said.inputs, said.count) == (b"bbbbaaaa", 2)
    assert parse_input_packet(window.packet(9, (5, 6), -1, 0), SIZE).baseline == -1


@given(st.binary(max_size=60), st.integers(1, 8))
def test_any_bytes_are_a_packet_or_a_bad_frame(data: bytes, size: int) -> None:
    try:
        said = parse_input_packet(data, size)
    except BadFrame:
        with pytest.raises(BadFrame):
            check_input_packet(data, size)
        queue = OneQueue(0, size)
        assert (queue.offer(data), queue.malformed) == (
            0,
            int(len(data) < 2 or data[1] == 0 or len(data) < HEADER.size),
        )
        return
    check_input_packet(data, size)
    assert len(said.inputs) == said.count * size
    assert OneQueue(0, size).offer(data) <= QUEUED_MAX


@pytest.mark.parametrize("count", [UNACKED_MAX + 1, 255])
def test_more_inputs_than_a_window_are_no_packet(count: int) -> None:
    data = HEADER.pack(0, 0, 0, 0, 0, 0, 0, count) + bytes(count * SIZE)
    with pytest.raises(BadFrame):
        check_input_packet(data, SIZE)
    queue = OneQueue(0, SIZE)
    assert (queue.offer(data, packet(1, 1)), queue.malformed) == (1, 1)


def said(newest: int, count: int, baseline: int) -> bytes:
    return HEADER.pack(HAS_BASELINE, 0, 0, 0, baseline & 0xFFFF, 9, newest & 0xFFFF, count) + bytes(count * SIZE)


def test_of_several_packets_between_two_ticks_the_newest_says_all() -> None:
    queue = OneQueue(0, SIZE)
    assert queue.offer(packet(2, 2), packet(4, 4), packet(3, 3)) == 4
    assert [queue.take() for _ in range(4)] == [(seq, (5 + seq) & 0xFFFF, packed(seq)) for seq in range(1, 5)]


def test_a_baseline_only_moves_forward_and_never_beyond_the_room() -> None:
    queue = OneQueue(0, SIZE, tick=70_000)
    for told, then in [(69_000, 69_000), (68_000, 69_000), (70_001, 69_000), (70_000, 70_000)]:
        queue.offer(said(1, 1, told))
        assert queue.baseline == then


def test_places_do_not_touch_each_other_and_are_given_again() -> None:
    queues = InputQueues(SIZE)
    places = [queues.open() for _ in range(40)]
    for number, place in enumerate(places):
        queues.begin(place, 100 * number, 0)
    assert len(set(places)) == 40
    for number, place in enumerate(places):
        queues.put_one(place, packet(100 * number + 1 + number % 3, 1 + number % 3))
    queues.begin(places[7], 5000, 0)  # another connection of that seat: what came before is not its own
    queues.take_in(np.zeros(len(queues.waiting), np.int64))
    which, seqs, _, data = queues.take(np.array(places))
    assert which.tolist() == [number for number in range(40) if number != 7]
    assert seqs.tolist() == [100 * number + 1 for number in which.tolist()]
    assert [one.tobytes() for one in data] == [packed(seq) for seq in seqs.tolist()]
    queues.put_one(places[3], packet(9999, 1))
    queues.close(places[3])
    queues.take_in(np.zeros(len(queues.waiting), np.int64))
    assert queues.open() == places[3]
    assert queues.waiting[places[3]] == 0


def test_packets_that_are_too_many_to_be_kept_come_again() -> None:
    queues = InputQueues(SIZE)
    early, late = queues.open(), queues.open()
    queues.begin(early, 0, 0)
    queues.begin(late, 0, 0)
    for _ in range(PACKETS_MAX // 2):
        queues.put_one(early, packet(1, 1))
    for _ in range(PACKETS_MAX // 2):
        queues.put_one(late, packet(1, 1))
    queues.begin(late, 7, 0)
    queues.put_one(late, packet(8, 1))
    queues.take_in(np.zeros(len(queues.waiting), np.int64))
    assert (queues.waiting[early], queues.waiting[late]) == (0, 1)
    assert queues.take(np.array([late]))[1].tolist() == [8]


def test_another_stream_is_of_another_seat_and_changes_nothing() -> None:
    queue = OneQueue(0, SIZE)
    assert (queue.offer(HEADER.pack(HAS_BASELINE, 4, 0, 0, 9, 9, 1, 1) + packed(1)), queue.malformed) == (0, 0)
    assert queue.baseline == -1


class InColumns(InputQueues):
    """As it is where nothing is compiled."""

    _read_compiled = InputQueues._read_in_columns


@pytest.mark.skipif(compiled is None, reason="netcode._packed was not built: no C compiler, or no ciphers for it")
@hypothesis_settings(max_examples=examples(150), deadline=None)
@given(st.data())
def test_compiled_and_in_columns_are_the_same(data: st.DataObject) -> None:
    """Packets good, old, far ahead, behind a gap, of another stream, cut, or none: every column is the same."""
    both = InputQueues(SIZE), InColumns(SIZE)
    places, _ = ([queues.open() for _ in range(3)] for queues in both)
    firsts = [data.draw(st.sampled_from([0, 20, 65530, 2**17 - 3])) for _ in places]
    for queues in both:
        for place, first in zip(places, firsts, strict=True):
            queues.begin(place, first, 5)
    ticks = np.array(data.draw(st.lists(st.integers(0, 70_000), min_size=16, max_size=16)))
    for _ in range(data.draw(st.integers(1, 6))):
        for _ in range(data.draw(st.integers(0, 8))):
            number = data.draw(st.integers(0, 2))
            count = data.draw(st.sampled_from([0, 1, 1, 2, 3, 8, 20, UNACKED_MAX, UNACKED_MAX + 1]))
            newest = int(both[0]._next[places[number]]) + data.draw(st.integers(-3, 12) | st.integers(-70, 70))
            told = int(ticks[places[number]]) + data.draw(st.integers(-5, 2))
            head = (data.draw(st.integers(0, 3)), data.draw(st.sampled_from([5, 5, 5, 6])), 0, 0, told & 0xFFFF)
            seen, body = data.draw(st.integers(0, 0xFFFF)), data.draw(st.binary(min_size=4, max_size=4)) * count
            one = HEADER.pack(*head, seen, newest & 0xFFFF, count) + body
            one = one[: data.draw(st.sampled_from([len(one)] * 4 + [len(one) - 1, HEADER.size, 3, 1, 0]))]
            for queues in both:
                queues.put_one(places[number], one)
        if data.draw(st.integers(0, 9)) == 0:
            for queues in both:
                queues.begin(places[0], 7, 5)
        assert both[0].take_in(ticks) == both[1].take_in(ticks)
        for name in ("waiting", "baseline", "_next", "_skips", "_skipped", "_seen", "_data"):
            np.testing.assert_array_equal(getattr(both[0], name), getattr(both[1], name), name)
        for place in places:
            if data.draw(st.booleans()):
                for queues in both:
                    queues.take_skip(place)
        for taken, other in zip(both[0].take(np.array(places)), both[1].take(np.array(places)), strict=True):
            np.testing.assert_array_equal(taken, other)


@pytest.mark.skipif(compiled is None, reason="netcode._packed was not built: no C compiler, or no ciphers for it")
@pytest.mark.parametrize(("place", "begin", "size"), [(16, 0, 15), (0, -1, 15), (0, 5, 16), (0, 0, 2**62), (0, 0, -1)])
def test_a_row_out_of_bounds_is_refused(place: int, begin: int, size: int) -> None:
    """Nothing of ours calls it so; what comes from the network must not reach memory if something ever does."""
    queues = InputQueues(SIZE)
    queues.open()
    before = queues._data.copy()
    where, data = np.array([0, place]), np.zeros(20, np.uint8)
    with pytest.raises(ValueError, match="a row out of bounds"):
        queues._read_compiled(where, Packed(data, np.array([0, begin]), np.array([15, size])), np.zeros(16, np.int64))
    with pytest.raises(ValueError, match="different lengths"):
        queues._read_compiled(where[:1], Packed(data, where[:1], where[:1]), np.zeros(15, np.int64))
    queues.input_bytes = SIZE + 1
    with pytest.raises(ValueError, match="different lengths"):
        queues._read_compiled(where[:1], Packed(data, where[:1], where[:1]), np.zeros(16, np.int64))
    assert (queues._data == before).all()
