"""Placement: which node a room goes to, so that all nodes think the same without asking each other.

Every (room, node) has a weight, a hash; the node with the highest weight is first choice (rendezvous hashing: Thaler
and Ravishankar, 1998), unless it carries more than BOUND times the mean: then the next (bounded loads: Mirrokni,
Thorup, Zadimoghaddam, 2018). When a node goes, only its rooms move.

Among survivors of a dead node, first choice claims a room at once, the k-th k · STEP_S later: one of them does it, and
if that one dies, too, the next follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import xxhash

from cluster.model import Member, RoomEntry

BOUND = 1.25
STEP_S = 0.25


def rank(room: str, incarnations: Sequence[str]) -> list[str]:
    """The nodes in the order of a room's choice."""
    return sorted(incarnations, key=lambda name: (-xxhash.xxh3_64_intdigest(f"{room} {name}".encode()), name))


def place(room: str, members: Sequence[Member]) -> str | None:
    """The node for a new room; None when there is none. Draining and sealed ones are not taken."""
    return _bounded(room, {m.incarnation: _weight(m) for m in members if not (m.draining or m.sealed)}, 1.0)


def wait_s(place_in_rank: int) -> float:
    """How long the k-th choice waits before it claims."""
    return place_in_rank * STEP_S


def shares(entries: Sequence[RoomEntry], members: Sequence[Member], me: str) -> list[tuple[RoomEntry, float]]:
    """The rooms of a dead node, fullest first, each with how long we wait before we claim it.

    Every survivor computes the same: each room that is given to a node counts as its load for the next.
    """
    load = {m.incarnation: _weight(m) for m in members if not (m.draining or m.sealed)}
    if me not in load:  # draining ourselves: only if nobody else does it
        return [(entry, wait_s(len(load))) for entry in _fullest_first(entries)]
    found = []
    for entry in _fullest_first(entries):
        weight = 1.0 + entry.players
        first = _bounded(entry.room, load, weight)
        assert first is not None
        load[first] += weight
        order = [first, *(name for name in rank(entry.room, list(load)) if name != first)]
        found.append((entry, wait_s(order.index(me))))
    return found


def _fullest_first(entries: Sequence[RoomEntry]) -> list[RoomEntry]:
    return sorted(entries, key=lambda entry: (-entry.players, entry.room))


def _bounded(room: str, load: dict[str, float], weight: float) -> str | None:
    """First choice of those that stay within the bound with this much more."""
    if not load:
        return None
    bound = BOUND * (sum(load.values()) + weight) / len(load)
    for name in rank(room, list(load)):
        if load[name] + weight <= max(bound, weight):
            return name
    return min(load, key=lambda name: (load[name], name))


def _weight(member: Member) -> float:
    """What a node carries: its rooms and its players."""
    return float(member.rooms + member.players)
