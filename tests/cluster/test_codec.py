"""Records and snapshots: what is written is read again; all else, down to one bit, is refused with its own error."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import attrs
import msgpack
import numpy as np
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.codec import (
    Record,
    Snapshot,
    StageRecord,
    checksum,
    decode_record,
    decode_snapshot,
    encode_record,
    encode_snapshot,
)
from cluster.errors import BadRecord, BadSnapshot, Damaged

INCARNATION = "a.0123456789abcdef"
POSITION = 77
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
NAMES = st.text(st.characters(codec="utf-8"), max_size=12)
OPTIONS = st.dictionaries(NAMES, st.integers(-(2**63), 2**63 - 1), max_size=4)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | NAMES | st.binary(max_size=16),
    lambda inner: st.lists(inner, max_size=11) | st.dictionaries(NAMES | st.binary(max_size=2), inner, max_size=4),
    max_leaves=24,
)


@st.composite
def stages(draw: st.DrawFn) -> StageRecord:
    rooms = draw(st.lists(NAMES, max_size=5))

    def column(values: st.SearchStrategy[int], dtype: str) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=len(rooms), max_size=len(rooms))), dtype)

    return StageRecord(
        draw(NAMES),
        draw(OPTIONS),
        draw(st.integers(1, 128)),
        rooms,
        column(U32, "u4"),
        column(U32, "u4"),
        column(U64, "u8"),
        draw(st.binary(max_size=64)),
    )


SNAPSHOTS = st.builds(
    Snapshot,
    room=NAMES,
    epoch=U32,
    tick=U32,
    incarnation=NAMES,
    position=st.integers(0, 2**63),
    fingerprint=NAMES,
    hash=U64,
    game=NAMES,
    options=OPTIONS,
    tick_hz=st.integers(1, 128),
    saved=st.binary(max_size=200),
)


def a_stage(**fields: Any) -> StageRecord:
    two = {
        "game": "arena",
        "options": {"seats": 10, "walls": 1},
        "tick_hz": 30,
        "rooms": ["r1", "r2"],
        "epochs": np.array([1, 4], np.uint32),
        "ticks": np.array([900, 17], np.uint32),
        "hashes": np.array([2**64 - 1, 0], np.uint64),
        "commands": b"what the players did",
    }
    return StageRecord(**{**two, **fields})


RECORD = encode_record(INCARNATION, POSITION, [a_stage(), a_stage(game="pong", options={}, rooms=["r3", "r4"])])
A_SNAPSHOT = Snapshot(
    room="r1",
    epoch=4,
    tick=900,
    incarnation=INCARNATION,
    position=POSITION,
    fingerprint="f" * 32,
    hash=2**63,
    game="arena",
    options={"seats": 10},
    tick_hz=30,
    saved=bytes(range(100)),
)
SNAPSHOT = encode_snapshot(A_SNAPSHOT)

Decode = Callable[[bytes], object]
KINDS: list[tuple[bytes, Decode, type[Damaged]]] = [
    (RECORD, lambda data: decode_record(data, INCARNATION, POSITION), BadRecord),
    (SNAPSHOT, decode_snapshot, BadSnapshot),
]
both = pytest.mark.parametrize(("good", "decode", "error"), KINDS, ids=["record", "snapshot"])


def sealed(magic: bytes, body: Any) -> bytes:
    """Bytes as the codec's docstring draws them."""
    data = magic + (body if isinstance(body, bytes) else msgpack.packb(body))
    return data + struct.pack("<Q", xxhash.xxh3_64_intdigest(data))


def plain(stage: StageRecord) -> list[Any]:
    arrays = [array.tolist() for array in (stage.epochs, stage.ticks, stage.hashes)]
    return [stage.game, dict(stage.options), stage.tick_hz, list(stage.rooms), *arrays, stage.commands]


@given(st.lists(stages(), max_size=3), NAMES, st.integers(1, 2**63))
@example([], INCARNATION, 1)
def test_a_record_is_read_as_it_was_written(written: list[StageRecord], incarnation: str, position: int) -> None:
    record = decode_record(encode_record(incarnation, position, written), incarnation, position)
    assert (record.incarnation, record.position) == (incarnation, position)
    assert [plain(stage) for stage in record.stages] == [plain(stage) for stage in written]
    assert [stage.kind for stage in record.stages] == [stage.kind for stage in written]
    for stage in record.stages:
        assert [array.dtype.str for array in (stage.epochs, stage.ticks, stage.hashes)] == ["<u4", "<u4", "<u8"]


@given(SNAPSHOTS)
def test_a_snapshot_is_read_as_it_was_written(written: Snapshot) -> None:
    assert decode_snapshot(encode_snapshot(written)) == written


def test_the_bytes_are_laid_out_as_described() -> None:
    columns = [struct.pack("<2I", 1, 4), struct.pack("<2I", 900, 17), struct.pack("<2Q", 2**64 - 1, 0)]
    fields = ["arena", {"seats": 10, "walls": 1}, 30, ["r1", "r2"], *columns, b"what the players did"]
    assert encode_record(INCARNATION, POSITION, [a_stage()]) == sealed(b"HFJ1", [INCARNATION, POSITION, [fields]])
    values = [getattr(A_SNAPSHOT, field.name) for field in attrs.fields(Snapshot)]
    assert sealed(b"HFS1", values) == SNAPSHOT
    assert checksum(SNAPSHOT[:-8]) == int.from_bytes(SNAPSHOT[-8:], "little")


def test_columns_of_other_machines_and_types_are_the_same_bytes() -> None:
    wide = {name: getattr(a_stage(), name).astype(">i8") for name in ("epochs", "ticks")}
    big = a_stage(**wide, hashes=a_stage().hashes.astype(">u8"))
    assert encode_record(INCARNATION, 1, [big]) == encode_record(INCARNATION, 1, [a_stage()])


def test_the_kind_of_a_stage_ignores_the_order_of_its_options() -> None:
    one, other = a_stage(options={"a": 1, "b": 2}), a_stage(options={"b": 2, "a": 1})
    assert one.kind == other.kind
    assert len({one.kind, a_stage(tick_hz=20).kind, a_stage(game="pong").kind, a_stage().kind}) == 4


@both
def test_every_flipped_bit_is_noticed(good: bytes, decode: Decode, error: type[Damaged]) -> None:
    decode(good)
    for offset in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[offset] ^= 1 << bit
            with pytest.raises(error):
                decode(bytes(bad))


@both
def test_every_cut_is_noticed(good: bytes, decode: Decode, error: type[Damaged]) -> None:
    for length in range(len(good)):
        with pytest.raises(error):
            decode(good[:length])
        with pytest.raises(error):
            decode(good[len(good) - length :])
        with pytest.raises(error):
            decode(good[:length].ljust(len(good), b"\0"))
    for more in (good + b"\0", b"\0" + good, good + good):
        with pytest.raises(error):
            decode(more)


@both
@given(data=st.binary(max_size=200))
def test_noise_is_refused(good: bytes, decode: Decode, error: type[Damaged], data: bytes) -> None:
    for noise in (data, good[:4] + data, sealed(good[:4], data)):
        with pytest.raises(error):
            decode(noise)


def test_one_is_not_taken_for_the_other() -> None:
    with pytest.raises(BadRecord):
        decode_record(SNAPSHOT, INCARNATION, POSITION)
    with pytest.raises(BadSnapshot):
        decode_snapshot(RECORD)


@pytest.mark.parametrize(
    ("incarnation", "position"),
    [(INCARNATION, POSITION + 1), (INCARNATION, POSITION - 1), ("b.0123456789abcdef", POSITION), ("", 0)],
)
def test_a_record_that_belongs_elsewhere_is_refused(incarnation: str, position: int) -> None:
    with pytest.raises(BadRecord, match=f"record {POSITION} of {INCARNATION}"):
        decode_record(RECORD, incarnation, position)


@given(ANYTHING)
def test_a_record_of_nonsense_with_a_good_checksum_is_refused_or_well_formed(nonsense: Any) -> None:
    for body in (nonsense, [INCARNATION, POSITION, nonsense], [INCARNATION, POSITION, [nonsense]]):
        try:
            record = decode_record(sealed(b"HFJ1", body), INCARNATION, POSITION)
        except BadRecord:
            continue
        check_record(record)


@given(ANYTHING)
def test_a_snapshot_of_nonsense_with_a_good_checksum_is_refused(nonsense: Any) -> None:
    with pytest.raises(BadSnapshot):
        decode_snapshot(sealed(b"HFS1", nonsense))


@given(st.integers(0, 7), ANYTHING)
@example(3, "r1")
@example(1, {"seats": 1.5})
@example(1, {"seats": True})
@example(2, -1)
@example(2, True)
@example(4, b"12345")
@example(4, b"1234")
@example(3, ["r1", None])
def test_a_stage_with_one_odd_field_is_refused_or_well_formed(index: int, odd: Any) -> None:
    columns = [struct.pack("<2I", 1, 4), struct.pack("<2I", 900, 17), struct.pack("<2Q", 5, 0)]
    fields = ["arena", {"seats": 10}, 30, ["r1", "r2"], *columns, b""]
    good_type = type(fields[index])
    fields[index] = odd
    try:
        record = decode_record(sealed(b"HFJ1", [INCARNATION, POSITION, [fields]]), INCARNATION, POSITION)
    except BadRecord:
        return
    assert type(odd) is good_type
    check_record(record)


@given(st.integers(0, 10), ANYTHING)
@example(8, {"seats": "10"})
@example(8, {b"seats": 1})
@example(2, True)
@example(4, -1)
@example(10, "saved")
def test_a_snapshot_with_one_odd_field_is_refused_or_well_formed(index: int, odd: Any) -> None:
    fields = list(attrs.astuple(A_SNAPSHOT))
    good_type = type(fields[index])
    fields[index] = odd
    try:
        snapshot = decode_snapshot(sealed(b"HFS1", fields))
    except BadSnapshot:
        return
    assert type(odd) is good_type
    assert list(attrs.astuple(snapshot)) == fields
    assert all(type(value) is int for value in snapshot.options.values())
    assert min(snapshot.epoch, snapshot.tick, snapshot.position, snapshot.hash, snapshot.tick_hz) >= 0


def check_record(record: Record) -> None:
    """All that a reader may rely on without looking."""
    for stage in record.stages:
        assert type(stage.game) is str
        assert type(stage.tick_hz) is int
        assert stage.tick_hz >= 0
        assert type(stage.commands) is bytes
        assert all(type(room) is str for room in stage.rooms)
        assert len(stage.rooms) == len(stage.epochs) == len(stage.ticks) == len(stage.hashes)
        assert all(type(name) is str and type(value) is int for name, value in stage.options.items())
        hash(stage.kind)


@pytest.mark.parametrize("column", ["epochs", "ticks", "hashes"])
def test_a_record_that_nobody_could_read_is_not_written(column: str) -> None:
    with pytest.raises(ValueError, match="as many"):
        encode_record(INCARNATION, 1, [a_stage(), a_stage(**{column: np.zeros(3, np.uint32)})])
