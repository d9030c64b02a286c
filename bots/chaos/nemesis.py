"""The nemesis: which node is hit when, and how. A pure schedule from a seed."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from bots.brain import Dice

KINDS = ("kill", "stop", "drain")
NEMESES = (*KINDS, "mixed")
STOP_LEAST_S, STOP_MOST_S = 0.5, 10.0
_CHAOS = 0x6368616F


@attrs.frozen
class Blow:
    """One fault to be."""

    kind: str
    victim: int
    """Which of the nodes that have rooms, counted round."""
    wait_s: float
    """Before it, once the cluster is whole."""
    lasts_s: float
    """Of a stop."""


def blows(nemesis: str, faults: int, seed: int) -> Iterator[Blow]:
    """So many faults; the same for the same seed."""
    dice = Dice(seed, faults, _CHAOS)
    for _ in range(faults):
        kind = KINDS[dice.below(len(KINDS))] if nemesis == "mixed" else nemesis
        lasts_s = STOP_LEAST_S + dice.below(1000) / 1000 * (STOP_MOST_S - STOP_LEAST_S)
        yield Blow(kind, dice.below(1 << 16), 0.5 + dice.below(1000) / 1000, lasts_s)
