"""Many strings in one array, and the compiled code that puts them together."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netcode.packed
from netcode.packed import Packed, dense, joined, packed, rows, stacked

compiled_only = pytest.mark.skipif(
    netcode.packed.compiled is None, reason="netcode._packed was not built: no C compiler, or no ciphers for it"
)
STRINGS = st.lists(st.binary(max_size=20), max_size=12)


@pytest.fixture(params=["compiled", "portable"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test is made with and without the compiled code."""
    if request.param == "portable":
        monkeypatch.setattr(netcode.packed, "compiled", None)
    return str(request.param)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here: all is done in Python")
def test_the_compiled_code_is_here() -> None:
    """Where it can be built it is, and the tests hold it against what is done without it."""
    assert netcode.packed.compiled is not None


@given(STRINGS, st.data())
def test_strings_come_out_as_they_went_in(strings: list[bytes], data: st.DataObject) -> None:
    all_of_them = packed(strings)
    assert len(all_of_them) == len(strings)
    assert all_of_them.strings() == strings
    which = np.array(
        data.draw(st.lists(st.integers(0, len(strings) - 1), max_size=20) if strings else st.just([])), int
    )
    assert all_of_them[which].strings() == [strings[number] for number in which]
    assert [all_of_them[which].string(at) for at in range(len(which))] == all_of_them[which].strings()
    mask = np.array([bool(len(one) % 2) for one in strings], bool)
    assert stacked([all_of_them, all_of_them[mask]]).strings() == strings + [one for one in strings if len(one) % 2]


@pytest.mark.usefixtures("way")
def test_parts_are_joined_row_by_row() -> None:
    heads, tails = rows(np.arange(12, dtype=np.uint8).reshape(4, 3)), packed([b"", b"one", b"", b"three"])
    some = packed([b"x" * number for number in range(9)])[np.array([8, 0, 2, 8])]
    told = joined(heads, some, tails)
    assert told.strings() == [
        bytes([0, 1, 2]) + b"x" * 8,
        bytes([3, 4, 5]) + b"one",
        bytes([6, 7, 8]) + b"xx",
        bytes([9, 10, 11]) + b"x" * 8 + b"three",
    ]
    assert told.data.tobytes() == b"".join(told.strings())
    assert joined(packed([]), packed([])).strings() == []


@compiled_only
@pytest.mark.parametrize(("begin", "size"), [(-1, 2), (0, 5), (4, 1), (2**62, 2**62), (3, -1)])
def test_a_row_out_of_bounds_is_refused(begin: int, size: int) -> None:
    out, data = np.zeros(64, np.uint8), np.zeros(4, np.uint8)
    part = Packed(data, np.array([0, begin]), np.array([1, size]))
    with pytest.raises(ValueError, match="out of bounds"):
        netcode.packed.compiled.add(out, np.array([0, 1]), part.data, part.begins, part.sizes)
    with pytest.raises(ValueError, match="different lengths"):
        netcode.packed.compiled.add(out, np.array([0]), part.data, part.begins, part.sizes)
    with pytest.raises(ValueError, match="out of bounds"):
        netcode.packed.compiled.add(out, np.array([64]), data, np.array([0]), np.array([1]))
    assert not out[1:].any()


@compiled_only
def test_deltas_of_no_view_are_refused() -> None:
    views, fields = np.zeros((3, 2), np.int32), np.array([[0, 2, 8, 0]], np.int32)
    out, sizes = np.zeros(64, np.uint8), np.zeros(1, np.int64)
    for current, baseline in [(3, 0), (-1, 0), (0, 3)]:
        with pytest.raises(ValueError, match="out of bounds"):
            netcode.packed.compiled.deltas(views, 2, np.array([current]), np.array([baseline]), fields, 10, out, sizes)
    with pytest.raises(ValueError, match="out of bounds"):
        netcode.packed.compiled.deltas(views, 2, np.array([0]), np.array([0]), fields, 65, out, sizes)


@compiled_only
@pytest.mark.parametrize("field", [(-1, 2, 8), (0, 3, 8), (2, 1, 8), (0, 0, 8), (0, 2, 0), (0, 2, 33)])
def test_a_layout_that_does_not_fit_its_views_is_refused(field: tuple[int, int, int]) -> None:
    table, one = np.array([(*field, 0)], np.int32), np.zeros(1, np.int64)
    views, out = np.zeros((1, 2), np.int32), np.zeros(64, np.uint8)
    with pytest.raises(ValueError, match="a field out of bounds"):
        netcode.packed.compiled.deltas(views, 2, one, one, table, 60, out, one.copy())
    with pytest.raises(ValueError, match="a field out of bounds"):
        netcode.packed.compiled.undelta(b"\x01\x03\x01\x01", 0, table, np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="a field out of bounds"):
        netcode.packed.compiled.undeltas(
            *(b"\x01\x03\x01\x01", one, one + 4, table, np.zeros((1, 2), np.int64), 2, one - 1, one)
        )


@compiled_only
@pytest.mark.parametrize(
    ("begin", "size", "baseline", "place"),
    [(-1, 2, 0, 0), (0, 4, 0, 0), (2**62, 2**62, 0, 0), (0, 2, 3, 0), (0, 2, 0, 3), (0, 2, 0, -1)],
)
def test_a_delta_of_no_view_is_not_applied(begin: int, size: int, baseline: int, place: int) -> None:
    table, views = np.array([(0, 2, 8, 0)], np.int32), np.zeros((3, 2), np.int64)
    columns = [np.array([number], np.int64) for number in (begin, size, baseline, place)]
    with pytest.raises(ValueError, match="a row out of bounds"):
        netcode.packed.compiled.undeltas(bytes(3), *columns[:2], table, views, 2, *columns[2:])
    with pytest.raises(ValueError, match="different lengths"):
        netcode.packed.compiled.undeltas(bytes(3), *columns[:2], table, views, 2, columns[2], np.zeros(2, np.int64))


@compiled_only
def test_a_delta_that_may_be_longer_than_told_is_refused() -> None:
    table, one = np.array([(0, 2, 32, 0)], np.int32), np.zeros(1, np.int64)
    for longest in (9, 10):
        arguments = (np.zeros((1, 2), np.int32), 2, one, one, table, longest, np.zeros(64, np.uint8), one.copy())
        if longest < 10:
            with pytest.raises(ValueError, match="a field out of bounds"):
                netcode.packed.compiled.deltas(*arguments)
        else:
            assert netcode.packed.compiled.deltas(*arguments) == 1


def test_dense_strings_stand_one_behind_the_other() -> None:
    assert dense(np.frombuffer(b"abcdef", np.uint8), np.array([1, 0, 5])).strings() == [b"a", b"", b"bcdef"]
