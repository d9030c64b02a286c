"""A room's past: what is begun with, what is read, what is kept."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.chain import Kept, NoStart, RecordsMissing, Slice, choose, merge, prune_through, referenced, trimmed
from cluster.codec import Snapshot, encode_snapshot
from cluster.model import RoomEntry, Span
from tests.cluster.helpers import entry

CHAIN = (Span(1, "a.1", 1, 900), Span(2, "b.1", 37, 512), Span(3, "c.1", 88))
ROW = entry("r", "c.1", epoch=3, chain=CHAIN)


def shot(epoch: int, incarnation: str, position: int, **fields: Any) -> bytes:
    values: dict[str, Any] = {
        "room": "r",
        "epoch": epoch,
        "tick": position,
        "incarnation": incarnation,
        "position": position,
        "fingerprint": ROW.fingerprint,
        "hash": 1,
        "game": ROW.game,
        "options": dict(ROW.options),
        "tick_hz": ROW.tick_hz,
        "saved": b"x",
    }
    return encode_snapshot(Snapshot(**{**values, **fields}))


def test_the_newest_snapshot_and_what_lies_behind_it() -> None:
    start = choose(ROW, [shot(1, "a.1", 850), shot(1, "a.1", 700)], {})
    assert start.snapshot is not None
    assert start.snapshot.position == 850
    assert start.slices == (Slice(1, "a.1", 851, 900), Slice(2, "b.1", 37, 512))


def test_the_sealed_tip_ends_the_last_span() -> None:
    start = choose(ROW, [shot(2, "b.1", 512)], {"c.1": 120})
    assert start.slices == (Slice(3, "c.1", 88, 120),)


def test_without_any_it_is_made_from_its_seed() -> None:
    start = choose(ROW, [], {})
    assert start.snapshot is None
    assert start.slices == (Slice(1, "a.1", 1, 900), Slice(2, "b.1", 37, 512))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"nothing of ours", "something else"),
        (shot(2, "b.1", 500)[:-1], "checksum"),
        (shot(2, "b.1", 500, fingerprint="other"), "rules"),
        (shot(2, "b.1", 500, room="other"), "of room other"),
        (shot(2, "b.1", 10), "older than its span"),
        (shot(2, "zombie.1", 500), "not on the room's chain"),
    ],
)
def test_what_is_no_good_is_passed_over_and_told(data: bytes, why: str) -> None:
    start = choose(ROW, [data, shot(1, "a.1", 850)], {})
    assert start.snapshot is not None
    assert start.snapshot.position == 850
    assert len(start.passed_over) == 1
    assert why in start.passed_over[0]


@pytest.mark.parametrize(("data", "end"), [(shot(2, "b.1", 513), 512), (shot(3, "c.1", 88), 87)])
def test_a_snapshot_beyond_its_journal_tells_that_records_are_missing(data: bytes, end: int) -> None:
    with pytest.raises(RecordsMissing, match=f"ends with {end}"):
        choose(ROW, [data, shot(1, "a.1", 850)], {})


def test_an_owner_that_took_the_room_over_and_stored_nothing_more_has_the_room_as_it_came() -> None:
    """Its journal was two records behind when it did so, and it died."""
    row = attrs.evolve(ROW, chain=(*CHAIN[:2], Span(3, "c.1", 88, 85), Span(4, "d.1", 10)))
    start = choose(row, [shot(3, "c.1", 87), shot(1, "a.1", 850)], {})
    assert start.snapshot is not None
    assert (start.snapshot.incarnation, start.slices) == ("c.1", ())
    with pytest.raises(RecordsMissing):
        choose(row, [shot(3, "c.1", 88)], {})


def test_nothing_to_begin_with_is_said() -> None:
    pruned = attrs.evolve(ROW, chain=CHAIN[1:])
    with pytest.raises(NoStart, match="its beginning is pruned"):
        choose(pruned, [b"?"], {})
    assert choose(ROW, [b"?"], {}).snapshot is None
    with pytest.raises(NoStart, match="its beginning is pruned"):
        choose(ROW, [b"?"], {}, seed=False)


def test_who_was_given_a_room_and_never_began_has_no_records() -> None:
    row = entry("r", "a.1").given("b.1", 50).claimed("c.1", 7, 90)
    start = choose(row, [shot(1, "a.1", 50, fingerprint=row.fingerprint)], {})
    assert start.slices == ()
    assert [span.epoch for span in row.chain] == [1, 2, 3]


def test_each_journal_is_read_once() -> None:
    pieces = [Slice(1, "a.1", 5, 9), Slice(1, "a.1", 2, 6), Slice(2, "b.1", 1, 1), Slice(3, "a.1", 20, 30)]
    assert merge(pieces) == {"a.1": (2, 30), "b.1": (1, 1)}


def test_a_journal_is_cut_behind_the_oldest_hold() -> None:
    assert prune_through("a.1", [Kept("a.1", 50), Kept("a.1", 20), Kept("b.1", 3)]) == 20
    assert prune_through("a.1", []) == 0


def test_a_chain_is_cut_before_its_oldest_snapshot() -> None:
    assert trimmed(ROW, 2, 40).chain == CHAIN[1:]
    assert trimmed(ROW, 3, 90).chain == CHAIN[2:]
    for epoch, position in ((1, 850), (2, 10), (9, 1)):
        assert trimmed(ROW, epoch, position) == ROW
    assert referenced([ROW, trimmed(attrs.evolve(ROW, room="s"), 3, 90)]) == {"a.1", "b.1", "c.1"}


Past = tuple[RoomEntry, list[bytes], list[tuple[str, int]]]


@st.composite
def histories(draw: st.DrawFn) -> Past:
    """A room that changed hands: its row, its snapshots (newest first, some of them bad), and every record of it."""
    spans, records, snapshots = [], list[tuple[str, int]](), []
    owners = draw(st.integers(1, 4))
    for number in range(1, owners + 1):
        first = draw(st.integers(1, 50))
        length = draw(st.integers(0, 20))
        last = first + length - 1
        incarnation = f"n{number}.1"
        spans.append(Span(number, incarnation, first, last))
        records.extend((incarnation, position) for position in range(first, last + 1))
        for position in sorted(draw(st.sets(st.integers(first, max(first, last)), max_size=3))):
            if position <= last:
                good = draw(st.booleans())
                snapshots.append(shot(number, incarnation, position) if good else b"damaged")
    row = entry("r", spans[-1].incarnation, epoch=owners, chain=tuple(spans))
    return attrs.evolve(row, fingerprint=ROW.fingerprint), snapshots[::-1], records


@given(histories())
def test_a_start_and_its_slices_are_the_whole_room(
    history: tuple[RoomEntry, list[bytes], list[tuple[str, int]]],
) -> None:
    row, snapshots, records = history
    start = choose(row, snapshots, {})
    known = 0
    if start.snapshot is not None:
        known = records.index((start.snapshot.incarnation, start.snapshot.position)) + 1
    read = [(piece.incarnation, at) for piece in start.slices for at in range(piece.first, piece.last + 1)]
    assert records[:known] + read == records
