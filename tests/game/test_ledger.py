"""The ledger's bytes are canonical, and its digest tells histories apart."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from game.api import Event, Result
from game.errors import BadRoomData
from game.ledger import EVENTS_KEPT, EVENTS_KEPT_BYTES, Ledger, Player, fold, packb

TEXT = st.text(max_size=8)
PLAYER = st.builds(
    Player, account=TEXT, name=TEXT, join_id=TEXT, profile=st.dictionaries(TEXT, st.integers(0, 2**32), max_size=3)
)
EVENT = st.builds(
    Event,
    tick=st.integers(0, 2**32 - 1),
    index=st.integers(0, 70),
    kind=TEXT,
    data=st.lists(st.integers(-(2**63), 2**63 - 1) | TEXT, max_size=3).map(tuple),
    seat=st.integers(-1, 255),
)
WHOLE = st.integers(0, 1000)
RESULT = st.builds(
    Result,
    op_id=TEXT,
    account=TEXT,
    match=WHOLE,
    seat=WHOLE,
    score=st.integers(-1000, 1000),
    rank=WHOLE,
    players=WHOLE,
    won=st.booleans(),
    tick=WHOLE,
    stats=st.dictionaries(TEXT, WHOLE, max_size=3),
)


@given(st.lists(st.none() | PLAYER, max_size=4), st.lists(EVENT, max_size=70), st.lists(RESULT, max_size=3))
def test_bytes_come_back(players: list[Player | None], events: list[Event], results: list[Result]) -> None:
    ledger = Ledger(players)
    for event in events:
        ledger.keep(event, 0)
    ledger.outbox = {result.op_id: result for result in results}
    again = Ledger.decode(ledger.encode())
    assert again == ledger
    assert again.encode() == ledger.encode() == packb(msgpack.unpackb(ledger.encode(), strict_map_key=False))
    assert list(again.events) == events[-EVENTS_KEPT:]


@pytest.mark.parametrize("data", [b"", b"\xc1", packb([1, 2]), packb([[["a"]], [], []]), packb([[], [[1]], []])])
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadRoomData):
        Ledger.decode(data)


def test_dictionaries_pack_in_the_order_of_their_keys() -> None:
    assert packb({"b": [{"y": 1, "x": 2}], "a": 1}) == packb({"a": 1, "b": [{"x": 2, "y": 1}]})


def test_the_digest_depends_on_every_change_and_their_order() -> None:
    one, two = fold(fold(0, "a"), "b"), fold(fold(0, "b"), "a")
    assert len({0, fold(0, "a"), fold(0, "a", 0), one, two}) == 5


def test_indices_count_up_within_a_tick_even_past_what_is_kept() -> None:
    ledger = Ledger([])
    for expected in range(EVENTS_KEPT + 20):
        assert ledger.next_index(5) == expected
        ledger.keep(Event(5, ledger.next_index(5), "chat", ()), 0)
    assert ledger.next_index(6) == 0


@given(st.lists(st.integers(0, EVENTS_KEPT_BYTES + 10), max_size=100))
def test_kept_events_are_few_and_small(sizes: list[int]) -> None:
    ledger = Ledger([])
    for tick, size in enumerate(sizes):
        ledger.keep(Event(tick, 0, "big", (b"x" * size,)), 0)
    kept = sum(len(event.data[0]) for event in ledger.events)
    assert len(ledger.events) <= EVENTS_KEPT
    assert kept <= EVENTS_KEPT_BYTES or len(ledger.events) == 1
    if sizes:
        assert ledger.events[-1].tick == len(sizes) - 1, "the newest is always kept"
    assert ledger.kept_bytes == sum(map(len, ledger.packed))
    assert Ledger.decode(ledger.encode()) == ledger


def test_the_digest_covers_who_is_told() -> None:
    event = Event(1, 0, "x", (1,))
    told = {Ledger([]).keep(one, 7) for one in (event, Event(1, 0, "x", (1,), 0), Event(1, 0, "x", (1,), 1))}
    assert len(told) == 3
    assert Ledger([]).keep(event, 7) == fold(7, 1, 0, "x", (1,))


def test_keys_of_two_types_have_an_order() -> None:
    assert packb({"b": 1, 2: 2, 1: 3}) == packb({1: 3, "b": 1, 2: 2})
