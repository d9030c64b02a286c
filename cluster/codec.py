"""Bytes of the journal and of snapshots.

    record     | "HFJ1" | msgpack [incarnation, position, [stage, …]] | u64 XXH3 |
    stage      [game, options, tick_hz, [room, …], epochs u32 …, ticks u32 …, hashes u64 …, commands]
    snapshot   | "HFS1" | msgpack [room, epoch, tick, incarnation, position, fingerprint, hash, …] | u64 XXH3 |
               … = game, options, tick_hz, saved

A record is one tick of the rooms that ticked together: a *stage* for each game and set of options among them. Rooms are
in the order that the commands' inputs refer to by row; tick and hash are those after the step, the hash of a room that
ended in it is 0. Numbers are little-endian. `saved` is what `game.save` makes of a room. Reading checks the checksum
first and then everything else, and raises nothing but BadRecord and BadSnapshot.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import attrs
import msgpack
import numpy as np
import xxhash

from cluster.errors import BadRecord, BadSnapshot, Damaged

RECORD_MAGIC = b"HFJ1"
SNAPSHOT_MAGIC = b"HFS1"
_CHECKSUM = struct.Struct("<Q")


@attrs.frozen(eq=False)
class StageRecord:
    """One tick of one stage: everything that is needed to make it again, and the hashes to compare."""

    game: str
    options: Mapping[str, int]
    tick_hz: int
    rooms: Sequence[str]
    epochs: np.ndarray
    """uint32, one a room."""
    ticks: np.ndarray
    """uint32, after the step."""
    hashes: np.ndarray
    """uint64, after the step; 0: the room has ended."""
    commands: bytes
    """`game.commands.encode_commands`."""

    @property
    def kind(self) -> tuple[str, int, tuple[tuple[str, int], ...]]:
        """What makes rooms of the same rules: game, tick rate, options."""
        return self.game, self.tick_hz, tuple(sorted(self.options.items()))


@attrs.frozen(eq=False)
class Record:
    """One append: where it belongs, and its stages."""

    incarnation: str
    position: int
    stages: list[StageRecord]


@attrs.frozen(kw_only=True)
class Snapshot:
    """A room after `tick`; its records go on behind `position` of that incarnation's journal."""

    room: str
    epoch: int
    tick: int
    incarnation: str
    position: int
    fingerprint: str
    hash: int
    """State hash of the room after `tick`."""
    game: str
    options: dict[str, int]
    tick_hz: int
    saved: bytes


_SNAPSHOT_NAMES = tuple(field.name for field in attrs.fields(Snapshot))
_SNAPSHOT_VALUES = attrgetter(*_SNAPSHOT_NAMES)
_SNAPSHOT_TYPES = (str, int, int, str, int, str, int, str, dict, int, bytes)
"""Of a snapshot's fields, in order."""


def encode_record(incarnation: str, position: int, stages: Sequence[StageRecord]) -> bytes:
    """The bytes of a record. Raises ValueError where a column is not one value a room: nobody could read it."""
    for stage in stages:
        _check_lengths(stage.rooms, stage.epochs, stage.ticks, stage.hashes)
    body = [
        [
            stage.game,
            dict(stage.options),
            stage.tick_hz,
            list(stage.rooms),
            stage.epochs.astype("<u4").tobytes(),
            stage.ticks.astype("<u4").tobytes(),
            stage.hashes.astype("<u8").tobytes(),
            stage.commands,
        ]
        for stage in stages
    ]
    return _sealed(RECORD_MAGIC + msgpack.packb([incarnation, position, body]))


def decode_record(data: bytes, incarnation: str, position: int) -> Record:
    """Inverse of `encode_record`; raises BadRecord, also for a record that belongs elsewhere."""
    where = f"record {position} of {incarnation}"
    body = _opened(data, RECORD_MAGIC, where, BadRecord)
    try:
        found_incarnation, found_position, listed = body
        stages = [_stage(*fields) for fields in listed]
    except (ValueError, TypeError) as error:
        raise BadRecord(f"{where} makes no sense: {error}") from error
    if (found_incarnation, found_position) != (incarnation, position):
        raise BadRecord(f"{where} is record {found_position} of {found_incarnation}")
    return Record(incarnation, position, stages)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The bytes of a snapshot."""
    return _sealed(SNAPSHOT_MAGIC + msgpack.packb(_SNAPSHOT_VALUES(snapshot)))


def decode_snapshot(data: bytes) -> Snapshot:
    """Inverse of `encode_snapshot`; raises BadSnapshot."""
    body = _opened(data, SNAPSHOT_MAGIC, "the snapshot", BadSnapshot)
    try:
        fields = dict(zip(_SNAPSHOT_NAMES, body, strict=True))
        _check_types(fields.values(), _SNAPSHOT_TYPES)
        _check_options(fields["options"])
        return Snapshot(**fields)
    except (ValueError, TypeError) as error:
        raise BadSnapshot(f"the snapshot makes no sense: {error}") from error


def checksum(data: bytes) -> int:
    """XXH3-64, which record and snapshot end with."""
    return xxhash.xxh3_64_intdigest(data)


def _sealed(data: bytes) -> bytes:
    return data + _CHECKSUM.pack(checksum(data))


def _opened(data: bytes, magic: bytes, what: str, error: type[Damaged]) -> Any:
    if len(data) < len(magic) + _CHECKSUM.size or data[: len(magic)] != magic:
        raise error(f"{what} is something else")
    if _CHECKSUM.unpack(data[-_CHECKSUM.size :])[0] != checksum(data[: -_CHECKSUM.size]):
        raise error(f"{what} is damaged: its checksum does not fit")
    try:
        return msgpack.unpackb(data[len(magic) : -_CHECKSUM.size], max_bin_len=2**31 - 1)
    except (ValueError, msgpack.UnpackException) as failure:
        raise error(f"{what} makes no sense: {failure}") from failure


def _stage(
    game: str,
    options: dict[str, int],
    tick_hz: int,
    rooms: list[str],
    epochs: bytes,
    ticks: bytes,
    hashes: bytes,
    commands: bytes,
) -> StageRecord:
    _check_types((game, options, tick_hz, rooms, epochs, ticks, hashes, commands), (str, dict, int, list, *[bytes] * 4))
    _check_options(options)
    if not set(map(type, rooms)) <= {str}:
        raise ValueError("names of rooms are text")
    columns = np.frombuffer(epochs, "<u4"), np.frombuffer(ticks, "<u4"), np.frombuffer(hashes, "<u8")
    _check_lengths(rooms, *columns)
    return StageRecord(game, options, tick_hz, rooms, *columns, commands)


def _check_types(values: Iterable[Any], types: Iterable[type]) -> None:
    for value, wanted in zip(values, types, strict=True):
        if type(value) is not wanted or (type(value) is int and value < 0):
            raise ValueError(f"{value!r:.40} is no {wanted.__name__} of ours")


def _check_options(options: dict[Any, Any]) -> None:
    if any(type(name) is not str or type(value) is not int for name, value in options.items()):
        raise ValueError("options are names and whole numbers")


def _check_lengths(rooms: Sequence[str], *arrays: np.ndarray) -> None:
    if any(len(array) != len(rooms) for array in arrays):
        raise ValueError("as many epochs, ticks and hashes as rooms are wanted")
