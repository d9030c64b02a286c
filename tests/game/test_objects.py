"""The contract of object games: what a state, an act and an event may be, and chance without a generator's state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from game.errors import BadAct, BadGame
from game.objects import (
    EVENTS_MAX,
    EVENTS_MAX_BYTES,
    STATE_MAX,
    VIEW_MAX,
    ObjectGame,
    Over,
    Private,
    Rng,
    Told,
    check_said,
    decode_act,
    decode_state,
    encode_state,
    encode_view,
    find_fault,
)
from game.rng import below_of
from tests.game.games import Pile

KEY = st.text(max_size=5) | st.integers(-(2**63), 2**64 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """A value with the types and the order that `==` does not look at."""
    if isinstance(value, dict):
        return [(exact(key), exact(part)) for key, part in value.items()]
    return [exact(part) for part in value] if isinstance(value, list) else (type(value), value)


@given(st.dictionaries(KEY, PLAIN, max_size=4))
def test_a_state_comes_back_exactly(state: dict[Any, Any]) -> None:
    assert exact(decode_state(encode_state(state))) == exact(state)
    assert find_fault(state) == ""


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (None, "a dict, not NoneType"),
        ([], "a dict, not list"),
        ({"a": (1, 2)}, r"\['a'\]: a tuple is no plain value"),
        ({"a": [{"b": {1}}]}, r"\['a'\]\[0\]\['b'\]: a set is no plain value"),
        ({"a": 2**64}, "more than 64 bits"),
        ({"a": -(2**63) - 1}, "more than 64 bits"),
        ({"a": Counter()}, "a Counter is no plain value"),
        ({(1, 2): 3}, "a key of type tuple"),
        ({"a": object()}, "a object is no plain value"),
        ({"a": "x" * STATE_MAX}, "are the limit"),
        ({"a": "\ud800"}, "cannot be kept"),
    ],
)
def test_a_state_that_cannot_be_kept_is_refused(state: Any, why: str) -> None:
    with pytest.raises(BadGame, match=why):
        encode_state(state)


def test_a_state_that_holds_itself_is_refused() -> None:
    state: dict[str, Any] = {}
    state["self"] = state
    with pytest.raises(BadGame, match="nested too deeply"):
        encode_state(state)


def test_a_view_has_its_own_limit() -> None:
    assert encode_view([1]) == b"\x91\x01"
    with pytest.raises(BadGame, match="the view has"):
        encode_view("x" * VIEW_MAX)


@given(PLAIN)
def test_an_act_is_any_plain_value(value: Any) -> None:
    assert exact(decode_act(msgpack.packb(value))) == exact(value)


@given(st.binary(max_size=40))
def test_random_bytes_are_refused_or_plain(data: bytes) -> None:
    try:
        value = decode_act(data)
    except BadAct:
        return
    assert find_fault(value) == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 40 + b"\x01",
        b"\x91" * 4000 + b"\x01",
        b"\x81\x90\x01",
        b"\x81\xc0\x01",
        b"\xa1\xff",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xd4\x05\x00",
    ],
    ids=[
        *("empty", "unused byte", "two values", "giant list", "deep", "very deep"),
        *("list as key", "nil as key", "no utf-8", "timestamp", "extension"),
    ],
)
def test_other_acts_are_refused(data: bytes) -> None:
    with pytest.raises(BadAct):
        decode_act(data)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (["kind"], "tuples"),
        ([["kind", 1]], "tuples"),
        ([()], "tuples"),
        ([(1, 2)], "tuples"),
        ([("",)], "tuples"),
        ([("k" * 65,)], "tuples"),
        ([("kind", {1})], r"a set is no plain value"),
        ([("kind", 2**70)], "64 bits"),
        ([Private(3, "kind")], "no seat 3"),
        ([Private(-1, "kind")], "no seat -1"),
        ([("kind", b"x" * EVENTS_MAX_BYTES)], "are the limit"),
        ([("kind", "x" * 4097)], "a str has at most 4096 bytes"),
        ([("kind", [0] * 4097)], "a list 4096 items"),
        ([("kind", {str(n): n for n in range(1025)})], "a dict 1024"),
        ([("kind", {1: 2})], "keys of str"),
        ([("kind", n) for n in range(EVENTS_MAX + 1)], "at most 64 events"),
        ([("kind", b"x" * 20_000), ("kind", b"x" * 20_000)], "32768 bytes in all"),
        ([Over([1, 2])], "score has one whole number for each of the 3 seats"),
        ([Over([1, 2, 0.5])], "whole numbers"),  # type: ignore[list-item]
        ([Over([1, 2, 3], stats={"x": [1]})], "x has one"),
        ([Over([1, 2, 3], [True])], "won has one"),
    ],
)
def test_what_cannot_be_told_is_refused(told: Any, why: str) -> None:
    with pytest.raises(BadGame, match=why):
        check_said(told, seats=3)


def test_what_may_be_told() -> None:
    over = Over([1, 2, 3], [False, True, False], {"x": [0, 0, 0]})
    told: list[Told] = [("move", 1, [2]), Private(2, "card", {"suit": 1}), over]
    said = check_said(iter(told), seats=3)
    assert said.events == [(-1, "move", (1, [2])), (2, "card", ({"suit": 1},))]
    assert said.over == [over]
    assert check_said(None, seats=3).events == []
    many = [("kind", n) for n in range(EVENTS_MAX + 16)]
    assert len(check_said(many, seats=3, acts=1).events) == EVENTS_MAX + 16


def test_an_endless_generator_is_cut_off() -> None:
    def endless() -> Iterable[tuple[str]]:
        while True:
            yield ("more",)

    with pytest.raises(BadGame, match="at most"):
        check_said(endless(), seats=3)


def test_what_was_told_is_a_copy() -> None:
    cards = [1, 2]
    said = check_said([("cards", cards)], seats=3)
    cards.append(3)
    assert said.events == [(-1, "cards", ([1, 2],))]


def test_chance_is_a_function_of_seed_tick_and_purpose() -> None:
    def drawn(seed: int, tick: int, purpose: int) -> list[int]:
        rng = Rng(seed, tick, purpose)
        return [rng.below(1000) for _ in range(5)]

    assert drawn(1, 2, 3) == drawn(1, 2, 3) == [below_of(1, 2, asked, 3, 1000) for asked in range(1, 6)]
    assert len({tuple(drawn(*which)) for which in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4)]}) == 4


def test_a_shuffle_brings_every_order() -> None:
    orders = set()
    for seed in range(200):
        cards = [1, 2, 3]
        Rng(seed, 0, 0).shuffle(cards)
        orders.add(tuple(cards))
    assert len(orders) == 6
    assert {Rng(seed, 0, 0).choice("abc") for seed in range(50)} == set("abc")


def test_a_game_is_its_code_and_options() -> None:
    assert Pile().fingerprint == Pile().fingerprint
    assert len({Pile().fingerprint, Pile({"start": 5}).fingerprint, Pile(tick_hz=11).fingerprint}) == 3
    assert Pile().tick_hz == 10


def test_a_game_without_a_step_says_so() -> None:
    class Idle(ObjectGame):
        name = "idle"

    with pytest.raises(BadGame, match="Idle has no step"):
        Idle().step({}, [], Rng(0, 0, 0))
