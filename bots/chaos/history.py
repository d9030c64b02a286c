"""What a chaos run leaves behind: what the journals say, what the players saw, what was done to the nodes.

Plain values, so that a test can write a history by hand and `bots.chaos.checker` can judge it.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import xxhash

SeatId = tuple[str, int, int]
"""Room, seat, generation: one player's stay."""


@attrs.frozen
class Entry:
    """One room's tick, as one journal has it."""

    room: str
    epoch: int
    tick: int
    incarnation: str
    position: int
    hash: int


@attrs.define
class Told:
    """What the journals, made again from the first tick on, say of one room's tick."""

    hash: int
    digests: dict[int, int] = attrs.field(factory=dict)
    """Of what each taken seat may see."""
    applied: list[tuple[SeatId, int]] = attrs.field(factory=list)
    """Inputs, in order."""
    skipped: list[tuple[SeatId, int, int]] = attrs.field(factory=list)


@attrs.frozen
class Seen:
    """A frame, as its player saw it."""

    at: float
    seat: SeatId
    epoch: int
    tick: int
    last_seq: int
    digest: int
    """0: it did not look."""


@attrs.define
class PlayerHistory:
    """One player."""

    name: str
    account: str = ""
    seen: list[Seen] = attrs.field(factory=list)
    """In the order in which the frames came."""
    made: int = 0
    """Inputs that it made, of its last seat."""


@attrs.frozen
class Fault:
    """What was done to a node."""

    at: float
    kind: str
    """kill, stop or drain."""
    node: str
    incarnation: str
    rooms: tuple[str, ...]
    """Rooms that it had."""
    lasted_s: float = 0.0


@attrs.define
class History:
    """All of it."""

    entries: list[Entry] = attrs.field(factory=list)
    """In any order."""
    told: dict[tuple[str, int], Told] = attrs.field(factory=dict)
    """By room and tick; empty where a replay was not possible."""
    broken: list[str] = attrs.field(factory=list)
    """What the replay itself found wrong."""
    players: list[PlayerHistory] = attrs.field(factory=list)
    faults: list[Fault] = attrs.field(factory=list)
    rooms: set[str] = attrs.field(factory=set)
    """Rooms that the directory has at the end."""
    closed: set[str] = attrs.field(factory=set)
    """Rooms that have ended by their journal."""
    results_expected: set[str] = attrs.field(factory=set)
    """Operation ids of all results that matches gave, but for those that still wait in an outbox."""
    results_applied: list[str] = attrs.field(factory=list)
    """Operation ids that the profiles hold, one for each time that a profile counted one."""


def digest_of(values: Sequence[int] | np.ndarray) -> int:
    """Of the values of a view, whoever has decoded them; never 0."""
    return xxhash.xxh3_64_intdigest(np.asarray(values, np.int64).astype("<u4").tobytes()) or 1
