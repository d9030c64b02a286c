"""Deltas: what is encoded is decoded, in every layout; damaged ones are refused or wrong, never worse."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from game.view import Field
from netcode.delta import DeltaDecoder, DeltaEncoder
from netcode.errors import BadFrame
from netcode.packed import packed
from tests.effort import examples


def layout(shapes: list[tuple[int, int, bool]]) -> tuple[Field, ...]:
    """Fields of (count, bits, signed)."""
    fields, at = [], 0
    for number, (count, bits, signed) in enumerate(shapes):
        fields.append(Field(f"f{number}", count, at, count, bits, signed, 0))
        at += count
    return tuple(fields)


SHAPES = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 7, 8, 9, 15, 16, 17, 64, 65, 100, 130]) | st.integers(1, 40),
        st.sampled_from([8, 16, 32]),
        st.booleans(),
    ),
    min_size=1,
    max_size=9,
).filter(lambda shapes: sum(count for count, _, _ in shapes) <= 300)


def wrapped(fields: tuple[Field, ...], values: np.ndarray) -> np.ndarray:
    """Random whole numbers, wrapped into each field's wire type as `Viewer` does it."""
    out = np.empty(values.shape, np.int32)
    for field in fields:
        part = slice(field.start, field.start + field.count)
        out[:, part] = values[:, part].astype(f"{'i' if field.signed else 'u'}{field.bits // 8}")
    return out


def views(fields: tuple[Field, ...], rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Baselines and current views: some equal, some a little changed, some at the ends of their type."""
    rng, width = np.random.default_rng(seed), sum(field.count for field in fields)
    baseline = wrapped(fields, rng.integers(-(2**31), 2**31, (rows, width)))
    step = rng.choice([0, 1, -1, 127, -128, 128, 32767, -32768, 32768, 2**31 - 1, -(2**31)], (rows, width))
    step *= rng.random((rows, width)) < rng.choice([0.0, 0.05, 0.5, 1.0], (rows, 1))
    return wrapped(fields, baseline.astype(np.int64) + step), baseline


def encoded(fields: tuple[Field, ...], current: np.ndarray, baseline: np.ndarray) -> list[bytes]:
    """One delta a row, made by whatever this installation uses, which is what the other way makes, too."""
    encoder, numbers = DeltaEncoder(fields), np.arange(len(current))
    deltas = encoder.encode(np.concatenate([current, baseline]), numbers, numbers + len(current)).strings()
    assert encoder.encode_portably(current, baseline).strings() == deltas
    return deltas


def decoded(fields: tuple[Field, ...], data: bytes, at: int, before: list[int]) -> tuple[list[int], int]:
    """What this installation reads, or its error, which is what the other ways read, too."""
    decoder, baseline = DeltaDecoder(fields), array("q", before)
    views = np.zeros((2, len(before)), np.int64)
    views[0] = before
    (end,) = decoder.decode_all(packed([data[at:]]), views, np.array([0]), np.array([1])).tolist()
    try:
        values, after = decoder.decode(data, at, baseline)
    except BadFrame as error:
        assert end == -1
        with pytest.raises(BadFrame, match=str(error)):
            decoder.decode_portably(data, at, baseline)
        raise
    assert (values, after) == decoder.decode_portably(data, at, baseline)
    assert (values.tolist(), after - at) == (views[1].tolist(), end)
    assert views[0].tolist() == baseline.tolist() == before
    return values.tolist(), after


def on_the_wire(fields: tuple[Field, ...], row: np.ndarray) -> list[int]:
    """The values as a client has them: unsigned ones are not negative."""
    found: list[int] = row.tolist()
    for field in fields:
        if not field.signed:
            for at in range(field.start, field.start + field.count):
                found[at] %= 1 << field.bits
    return found


@given(SHAPES, st.integers(1, 5), st.integers(0, 2**32))
@example([(300, 32, True)], 3, 1)
@example([(1, 8, False)] * 5 + [(17, 32, False)], 2, 2)
def test_what_is_encoded_is_decoded(shapes: list[tuple[int, int, bool]], rows: int, seed: int) -> None:
    fields = layout(shapes)
    current, baseline = views(fields, rows, seed)
    deltas = encoded(fields, current, baseline)
    for row, delta in enumerate(deltas):
        values, end = decoded(fields, b"--" + delta + b"more", 2, on_the_wire(fields, baseline[row]))
        assert values == on_the_wire(fields, current[row])
        assert end == 2 + len(delta)
        assert encoded(fields, current[row : row + 1], baseline[row : row + 1]) == [delta]


def test_what_does_not_change_costs_two_bits_a_field() -> None:
    fields = layout([(300, 32, True), (16, 8, False), (1, 16, True)])
    same = np.ones((1, 317), np.int32)
    assert encoded(fields, same, same) == [b"\x00"]
    changed = same.copy()
    changed[0, 299] += 1
    (delta,) = encoded(fields, changed, same)
    assert len(delta) == 1 + 5 + 1 + 1  # codes, mask of masks (38 bits), one mask, one value


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("signed", [True, False])
def test_values_wrap_around_in_their_type(bits: int, signed: bool) -> None:
    fields = layout([(1, bits, signed)])
    low = -(1 << (bits - 1)) if signed else 0
    high = low + (1 << bits) - 1
    ends = wrapped(fields, np.array([[low], [high]], np.int64))
    up, down = encoded(fields, ends[::-1], ends)
    assert len(up) == len(down) == 2
    assert decoded(fields, up, 0, [low])[0] == [high]
    assert decoded(fields, down, 0, [high])[0] == [low]


def test_without_a_baseline_everything_is_told() -> None:
    fields = layout([(3, 8, True), (20, 16, False)])
    current = np.arange(1, 24, dtype=np.int32)[None]
    encoder, first, none = DeltaEncoder(fields), np.zeros(1, np.int64), np.full(1, -1)
    (delta,) = encoder.encode(current, first, none).strings()
    assert delta == encoder.encode_portably(current, np.zeros_like(current)).string(0)
    assert decoded(fields, delta, 0, [0] * 23)[0] == current[0].tolist()


def test_no_rows_and_no_fields() -> None:
    nobody = np.zeros(0, np.int64)
    assert DeltaEncoder(layout([(3, 8, True)])).encode(np.zeros((0, 3), np.int32), nobody, nobody).strings() == []
    assert decoded((), b"rest", 0, []) == ([], 0)


@settings(max_examples=examples(40))
@given(SHAPES, st.integers(0, 2**32), st.data())
def test_damaged_deltas_do_no_worse_than_bad_frame(
    shapes: list[tuple[int, int, bool]], seed: int, data: st.DataObject
) -> None:
    fields = layout(shapes)
    current, baseline = views(fields, 1, seed)
    (delta,) = encoded(fields, current, baseline)
    before = on_the_wire(fields, baseline[0])
    for end in {*range(min(len(delta), 20)), len(delta) - 1}:
        with pytest.raises(BadFrame):
            decoded(fields, delta[:end], 0, before)
    damaged = bytearray(delta)
    damaged[data.draw(st.integers(0, len(delta) - 1))] ^= data.draw(st.integers(1, 255))
    sane(fields, bytes(damaged), before)


@given(SHAPES, st.binary(max_size=100))
def test_any_bytes_do_no_worse_than_bad_frame(shapes: list[tuple[int, int, bool]], data: bytes) -> None:
    fields = layout(shapes)
    sane(fields, data, [0] * sum(field.count for field in fields))


def sane(fields: tuple[Field, ...], data: bytes, before: list[int]) -> None:
    """Refused, or values that fit their types and an end within the bytes."""
    try:
        values, end = decoded(fields, data, 0, before)
    except BadFrame:
        return
    assert end <= len(data)
    for field in fields:
        low = -(1 << (field.bits - 1)) if field.signed else 0
        for value in values[field.start : field.start + field.count]:
            assert low <= value < low + (1 << field.bits)
