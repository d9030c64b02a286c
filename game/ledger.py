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


@attrs.define
class Player:
    """Who holds a seat. `profile` is the slice of the profile that the game was given on joining."""

    account: str
    name: str
    join_id: str
    profile: dict[str, Any]


@attrs.define
class Ledger:
    """Roster, recent events and outbox of one room."""

    players: list[Player | None]
    events: deque[Event] = attrs.field(factory=lambda: deque(maxlen=EVENTS_KEPT))
    """The last 64, or as many as 32 KiB hold, for players who come back; older ones are dropped (the stated outcome
    of this queue being full)."""
    outbox: dict[str, Result] = attrs.field(factory=dict)
    """Match results that the profiles have not yet confirmed, by operation id, oldest first."""
    sizes: deque[int] = attrs.field(factory=lambda: deque(maxlen=EVENTS_KEPT), init=False)
    """Bytes of each kept event."""
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
        data = packb(_fields(event))
        if len(self.sizes) == EVENTS_KEPT:
            self.kept_bytes -= self.sizes[0]
            self._drop(self.events[0])
        self.events.append(event)
        self.sizes.append(len(data))
        self.kept_bytes += len(data)
        while self.kept_bytes > EVENTS_KEPT_BYTES and len(self.sizes) > 1:
            self._drop(self.events.popleft())
            self.kept_bytes -= self.sizes.popleft()
        return xxhash.xxh3_64_intdigest(data, digest)

    def _drop(self, event: Event) -> None:
        self.dropped = event.tick, event.index

    def encode(self) -> bytes:
        """Canonical bytes."""
        return packb(
            [
                [None if p is None else attrs.astuple(p) for p in self.players],
                [_fields(event) for event in self.events],
                [attrs.astuple(result) for result in self.outbox.values()],
                self.dropped,
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Ledger:
        """Inverse of `encode`; raises BadRoomData."""
        try:
            players, events, outbox, dropped = msgpack.unpackb(data, use_list=True, strict_map_key=False)
            ledger = cls([None if p is None else Player(*p) for p in players])
            for tick, index, kind, data, *seat in events:
                ledger.keep(Event(tick, index, kind, tuple(data), *seat), 0)
            ledger.dropped = (int(dropped[0]), int(dropped[1]))
            ledger.outbox = {fields[0]: Result(*fields) for fields in outbox}
        except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
            raise BadRoomData(f"the room's ledger is damaged: {error}") from error
        return ledger


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
        return [_ordered(part) for part in value]
    return value


def _key_order(key: Any) -> tuple[bool, Any]:
    return isinstance(key, str), key


def _fields(event: Event) -> tuple[Any, ...]:
    """What an event is made of; the seat only where there is one."""
    everybody = (event.tick, event.index, event.kind, event.data)
    return everybody if event.seat < 0 else (*everybody, event.seat)
