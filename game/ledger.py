"""The part of a room's state that is not numbers: who sits where, the last events, results waiting for the profiles.

A ledger changes rarely (a join, a kill, a match's end), a row of columns at every tick. So that the state hash of
every tick covers both without encoding the ledger each time, every change is folded into a rolling XXH3 hash that
lives in the row (`rooms.ledger`). Two rooms with equal rows have seen the same changes in the same order; the saved
bytes carry a checksum of their own.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
import msgpack
import xxhash

from game.api import Event, Result
from game.errors import BadRoomData

EVENTS_KEPT = 64
EVENTS_KEPT_BYTES = 32 * 1024


@attrs.frozen
class Player:
    """Who holds a seat. `profile` is the slice of the profile that the game was given on joining."""

    account: str
    name: str
    join_id: str
    profile: dict[str, Any]
    packed: bytes = attrs.field(init=False, repr=False, eq=False)
    """The player as encoded: a room is saved far more often than its roster changes."""

    @packed.default
    def _pack(self) -> bytes:
        return packb((self.account, self.name, self.join_id, self.profile))


@attrs.define
class Ledger:
    """Roster, recent events and outbox of one room."""

    players: list[Player | None]
    events: deque[Event] = attrs.field(factory=lambda: deque(maxlen=EVENTS_KEPT))
    """The last 64, or as many as 32 KiB hold, for players who come back; older ones are dropped (the stated outcome
    of this queue being full)."""
    outbox: dict[str, Result] = attrs.field(factory=dict)
    """Match results that the profiles have not yet confirmed, by operation id, oldest first."""
    packed: deque[bytes] = attrs.field(factory=lambda: deque(maxlen=EVENTS_KEPT), init=False)
    """Each kept event as it is encoded: a room is saved far more often than its events change."""
    kept_bytes: int = attrs.field(default=0, init=False)
    dropped: tuple[int, int] = (0, -1)
    """Id of the newest event that is kept no longer; (0, -1) while all are."""

    def seat_of(self, account: str) -> int | None:
        """The seat that an account holds, if any."""
        for seat, player in enumerate(self.players):
            if player is not None and player.account == account:
                return seat
        return None

    def next_index(self, tick: int) -> int:
        """The index that the next event of `tick` gets."""
        last = self.events[-1] if self.events else None
        return last.index + 1 if last is not None and last.tick == tick else 0

    def keep(self, event: Event, digest: int) -> int:
        """Keep an event for those who come back; returns the rolling hash after it."""
        data: bytes = msgpack.packb(_fields(event))
        self._enter(event, data)
        return xxhash.xxh3_64_intdigest(data, digest)

    def _enter(self, event: Event, data: bytes) -> None:
        if len(self.packed) == EVENTS_KEPT:
            self.kept_bytes -= len(self.packed[0])
            self._drop(self.events[0])
        self.events.append(event)
        self.packed.append(data)
        self.kept_bytes += len(data)
        while self.kept_bytes > EVENTS_KEPT_BYTES and len(self.packed) > 1:
            self._drop(self.events.popleft())
            self.kept_bytes -= len(self.packed.popleft())

    def _drop(self, event: Event) -> None:
        self.dropped = event.tick, event.index

    def encode(self) -> bytes:
        """Canonical bytes."""
        packer = msgpack.Packer()
        parts = [
            packer.pack_array_header(4),
            packer.pack_array_header(len(self.players)),
            *(_NOBODY if player is None else player.packed for player in self.players),
            packer.pack_array_header(len(self.packed)),
            *self.packed,
            packer.pack([_ordered(attrs.astuple(result, recurse=False)) for result in self.outbox.values()]),
            packer.pack(self.dropped),
        ]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Ledger:
        """Inverse of `encode`; raises BadRoomData."""
        try:
            reader = msgpack.Unpacker(use_list=True, strict_map_key=False, max_buffer_size=len(data))
            reader.feed(data)
            if reader.read_array_header() != 4:
                raise ValueError("it has not four parts")
            ledger = cls([None if p is None else Player(*p) for p in reader.unpack()])
            for _ in range(reader.read_array_header()):
                begin = reader.tell()
                tick, index, kind, told, *seat = reader.unpack()
                ledger._enter(Event(tick, index, kind, tuple(told), *seat), data[begin : reader.tell()])
            ledger.outbox = {fields[0]: Result(*fields) for fields in reader.unpack()}
            tick, index = reader.unpack()
            ledger.dropped = int(tick), int(index)
            if reader.tell() != len(data):
                raise ValueError("something follows it")
        except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
            raise BadRoomData(f"the room's ledger is damaged: {error}") from error
        return ledger


_NOBODY = msgpack.packb(None)
_FLAT = {int, str, bytes, bool, type(None)}
"""What has no order inside it."""


def fold(digest: int, *change: Any) -> int:
    """The rolling hash after one more change (any msgpack-able values)."""
    return xxhash.xxh3_64_intdigest(packb(change), digest)


def packb(value: Any) -> bytes:
    """msgpack, with dictionaries in the order of their keys, so that equal values have equal bytes."""
    data: bytes = msgpack.packb(_ordered(value))
    return data


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=_key_order)}
    if isinstance(value, list | tuple):
        return value if _FLAT.issuperset(map(type, value)) else [_ordered(part) for part in value]
    return value


def _key_order(key: Any) -> tuple[bool, Any]:
    return isinstance(key, str), key


def _fields(event: Event) -> tuple[Any, ...]:
    """What an event is made of, in order; the seat only where there is one."""
    everybody = (event.tick, event.index, event.kind, _ordered(event.data))
    return everybody if event.seat < 0 else (*everybody, event.seat)
