"""Acts on their way and views in parts."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from netcode import messages
from netcode.acts import ACTS_BYTES_MAX, ACTS_MAX, VIEW_MAX, ActWindow, ViewParts, pack_act
from netcode.errors import ErrorCode, ProtocolError

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=20,
)


def part(number: int, data: bytes) -> messages.Part:
    return messages.Part(room="b", part=number, data=data)


def test_acts_are_numbered_and_settled_in_order() -> None:
    window = ActWindow(7)
    assert [window.add(pack_act(value)).seq for value in ("a", "b", "c")] == [8, 9, 10]
    assert (window.acknowledge(9), window.acknowledge(9), window.acknowledge(3)) == (2, 0, 0)
    assert window.unsettled() == [messages.Act(seq=10, data=msgpack.packb("c"))]
    assert (window.acknowledged, window.newest) == (9, 10)


def test_a_room_that_has_applied_more_goes_on_behind_it() -> None:
    window = ActWindow(0)
    window.add(b"\x01")
    assert window.acknowledge(50) == 1
    assert (window.newest, window.unsettled()) == (50, [])
    assert window.add(b"\x01").seq == 51


def test_the_window_is_bounded_by_count_and_by_bytes() -> None:
    window = ActWindow(0)
    for _ in range(ACTS_MAX):
        window.add(b"\x01")
    assert not window.takes(b"\x01")
    window.acknowledge(1)
    assert window.takes(b"\x01")
    large, count = ActWindow(0), 0
    data = bytes(messages.ACT_MAX)
    while large.takes(data):
        large.add(data)
        count += 1
    assert count == ACTS_BYTES_MAX // messages.ACT_MAX < ACTS_MAX


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**70, 1j, pytest])
def test_what_msgpack_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(ProtocolError, match="any value of msgpack") as caught:
        pack_act(value)
    assert caught.value.code is ErrorCode.BAD_MESSAGE


def test_an_act_that_is_too_deep_or_too_large_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (deep, bytes(messages.ACT_MAX)):
        with pytest.raises(ProtocolError):
            pack_act(value)


@given(plain, st.integers(1, 40))
def test_a_view_comes_whole_out_of_any_parts(value: Any, size: int) -> None:
    data = msgpack.packb(value) if not isinstance(value, int) or abs(value) < 2**63 else msgpack.packb(None)
    size = max(size, -(-len(data) // 250))
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    parts = ViewParts(len(pieces))
    for number, piece in enumerate(pieces[:-1]):
        assert parts.add(part(number, piece)) is None
    whole = parts.add(part(len(pieces) - 1, pieces[-1]))
    assert whole is not None
    assert msgpack.packb(whole[0]) == data


@pytest.mark.parametrize(
    ("total", "given_parts", "complaint"),
    [
        (2, [(1, b"")], "part 1 of a view where 0 is next"),
        (2, [(0, b""), (0, b"")], "part 0 of a view where 1 is next"),
        (1, [(0, b"\x01"), (1, b"")], "part 1"),
        (0, [(0, b"\x01")], "part 0"),
        (1, [(0, b"\xc1")], "no msgpack"),
        (1, [(0, b"")], "no msgpack"),
        (1, [(0, b"\x01\x01")], "no msgpack"),
        (1, [(0, b"\x91" * 30_000)], "no msgpack"),
        (1, [(0, b"\x81\x90\x01")], "no msgpack"),
    ],
)
def test_parts_that_make_no_view(total: int, given_parts: list[tuple[int, bytes]], complaint: str) -> None:
    parts = ViewParts(total)
    with pytest.raises(ProtocolError, match=complaint):  # noqa: PT012
        for number, data in given_parts:
            parts.add(part(number, data))


def test_a_view_is_bounded() -> None:
    parts, data = ViewParts(256), bytes(messages.PART_MAX)
    for number in range(VIEW_MAX // messages.PART_MAX):
        parts.add(part(number, data))
    with pytest.raises(ProtocolError) as caught:
        parts.add(part(VIEW_MAX // messages.PART_MAX, b"\x01"))
    assert caught.value.code is ErrorCode.TOO_LARGE


class Machine(RuleBasedStateMachine):
    """A client's window against a room that applies acts in order, over connections that lose the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.window = ActWindow(0)
        self.made: list[bytes] = []
        self.applied: list[bytes] = []
        self.wire: list[messages.Act] = []

    @precondition(lambda self: self.window.takes(b"1234"))
    @rule(data=st.binary(min_size=1, max_size=4))
    def act(self, data: bytes) -> None:
        self.made.append(data)
        self.wire.append(self.window.add(data))

    @rule(count=st.integers(0, 5))
    def arrive(self, count: int) -> None:
        for act in self.wire[:count]:
            if act.seq == len(self.applied) + 1:
                self.applied.append(act.data)
        del self.wire[:count]

    @rule()
    def tell(self) -> None:
        self.window.acknowledge(len(self.applied))

    @rule()
    def resume(self) -> None:
        self.window.acknowledge(len(self.applied))
        self.wire = self.window.unsettled()

    @invariant()
    def exact(self) -> None:
        assert self.applied == self.made[: len(self.applied)]
        assert self.window.acknowledged <= len(self.applied) <= self.window.newest == len(self.made)

    def teardown(self) -> None:
        self.resume()
        self.arrive(len(self.wire))
        assert self.applied == self.made


TestMachine = Machine.TestCase
