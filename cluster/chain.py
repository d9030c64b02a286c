"""A room's past: which snapshot to begin with, which records follow it, and what is needed no more.

    chain     [ epoch 1, A: 1 … 900 ] ─► [ epoch 2, B: 37 … 512 ] ─► [ epoch 3, C: 88 … ]
    snapshot            (1, A, 850)
    slices                     A 851…900 ─► B 37…512                 (C is us: nothing yet)

A snapshot names the position of the record that it comes after. It counts when it decodes, is of these rules, and lies
on the chain. One that comes after a record beyond its journal's end tells that records are missing, which players have
seen: the room is quarantined. Where there is no good snapshot, and nothing can have been cut from the journals yet
(fewer snapshots were made than are kept), the room is made anew from its seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from cluster.codec import Snapshot, decode_snapshot
from cluster.errors import BadSnapshot, Damaged
from cluster.model import RoomEntry, Span


class NoStart(Damaged):
    """Neither a snapshot nor the beginning of this room is to be had."""


class RecordsMissing(Damaged):
    """A snapshot names a record that its journal does not have (any more): what came between is lost."""


@attrs.frozen
class Slice:
    """Records that may speak of (room, epoch): positions `first` to `last` of an incarnation's journal, inclusive."""

    epoch: int
    incarnation: str
    first: int
    last: int


@attrs.frozen(eq=False)
class Start:
    """Where a room's replay begins, and what it reads."""

    entry: RoomEntry
    snapshot: Snapshot | None
    """None: tick 0, from the seed."""
    slices: tuple[Slice, ...]
    passed_over: tuple[str, ...] = ()
    """Why newer snapshots were not taken."""


@attrs.frozen
class Kept:
    """A room's hold on a journal: what lies behind `position` is needed, the rest is not."""

    incarnation: str
    position: int


def choose(entry: RoomEntry, snapshots: Sequence[bytes], tips: Mapping[str, int], *, seed: bool = True) -> Start:
    """Begin with the first good snapshot of these (newest first), without any, and where `seed` says that nothing can
    have been cut yet, from the seed. `tips`: of sealed journals. Raises NoStart, RecordsMissing."""
    passed_over: list[str] = []
    for data in snapshots:
        try:
            snapshot = decode_snapshot(data)
        except BadSnapshot as error:
            passed_over.append(str(error))
            continue
        why = _unfit(entry, snapshot, tips)
        if why:
            passed_over.append(f"the snapshot of tick {snapshot.tick}: {why}")
            continue
        return Start(entry, snapshot, _slices(entry.chain, tips, snapshot), tuple(passed_over))
    if not seed or not entry.chain or entry.chain[0].epoch != 1:
        reasons = "; ".join(passed_over) or "there is none"
        raise NoStart(f"room {entry.room} has no snapshot to begin with ({reasons}), and its beginning is pruned")
    return Start(entry, None, _slices(entry.chain, tips, None), tuple(passed_over))


def merge(slices: Iterable[Slice]) -> dict[str, tuple[int, int]]:
    """What is to be read once for all of them: by incarnation, first and last position."""
    wanted: dict[str, tuple[int, int]] = {}
    for piece in slices:
        first, last = wanted.get(piece.incarnation, (piece.first, piece.last))
        wanted[piece.incarnation] = min(first, piece.first), max(last, piece.last)
    return wanted


def prune_through(me: str, holds: Iterable[Kept]) -> int:
    """Position up to which our own journal is needed by none of these holds any more; 0 without any."""
    return min((hold.position for hold in holds if hold.incarnation == me), default=0)


def trimmed(entry: RoomEntry, epoch: int, position: int) -> RoomEntry:
    """The row without the spans before that of the oldest snapshot kept, which is of `epoch` and after `position`."""
    chain = tuple(span for span in entry.chain if span.epoch >= epoch)
    if not chain or chain[0].epoch != epoch or position < chain[0].first - 1 or chain == entry.chain:
        return entry
    return attrs.evolve(entry, chain=chain)


def referenced(entries: Iterable[RoomEntry]) -> set[str]:
    """Incarnations whose journals some chain still names."""
    return {span.incarnation for entry in entries for span in entry.chain}


def _end(span: Span, tips: Mapping[str, int]) -> int:
    """The last position of a span: as the chain has it, or the sealed tip; nothing yet of an owner who lives."""
    if span.last is not None:
        return span.last
    return tips.get(span.incarnation, span.first - 1)


def _unfit(entry: RoomEntry, snapshot: Snapshot, tips: Mapping[str, int]) -> str:
    """Why this snapshot is none to begin with; "" when it is. Raises RecordsMissing."""
    if snapshot.room != entry.room:
        return f"it is of room {snapshot.room}"
    if snapshot.fingerprint != entry.fingerprint:
        return f"it was made by the rules {snapshot.fingerprint}, the room has {entry.fingerprint}"
    for span in entry.chain:
        if (span.epoch, span.incarnation) == (snapshot.epoch, snapshot.incarnation):
            if snapshot.position > max(_end(span, tips), span.first - 1):  # an owner may end before its span begins
                raise RecordsMissing(
                    f"records are missing: the snapshot of tick {snapshot.tick} comes after record {snapshot.position} "
                    f"of a journal that ends with {_end(span, tips)}"
                )
            return "" if snapshot.position >= span.first - 1 else "it is older than its span"
    return f"epoch {snapshot.epoch} of {snapshot.incarnation} is not on the room's chain"


def _slices(chain: Sequence[Span], tips: Mapping[str, int], snapshot: Snapshot | None) -> tuple[Slice, ...]:
    found = []
    for span in chain:
        first, last = span.first, _end(span, tips)
        if not first:  # given to somebody who never began
            continue
        if snapshot is not None and span.epoch < snapshot.epoch:
            continue
        if snapshot is not None and span.epoch == snapshot.epoch:
            first = snapshot.position + 1
        if first <= last:
            found.append(Slice(span.epoch, span.incarnation, first, last))
    return tuple(found)
