"""How long a player waits because of a fault: from the last new tick that it saw to the next one.

    ──t──t──t──────✕·············t──t──t──►        ✕: the node of its room is hit
             └──────── the wait ─┘                 frames that were under way still come behind it

So it is the longest wait for a new tick that ends behind the fault, in one of the rooms that the node had.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bots.chaos.history import Fault, History, PlayerHistory, Seen

AFTER_S = 15.0
"""A pause belongs to a fault for so long, or until the next one."""


def pauses(history: History) -> list[tuple[Fault, PlayerHistory, float]]:
    """For every fault and player seated on the node that was hit: the longest wait for a new tick, in ms, that the
    fault may have caused."""
    found = []
    faults = sorted(history.faults, key=lambda fault: fault.at)
    for number, fault in enumerate(faults):
        until = min(fault.at + AFTER_S, faults[number + 1].at if number + 1 < len(faults) else math.inf)
        for player in history.players:
            waited = wait_ms(player.seen, fault, until)
            if waited is not None:
                found.append((fault, player, waited))
    return found


def wait_ms(frames: Iterable[Seen], fault: Fault, until: float) -> float | None:
    """What one player has waited because of a fault, in ms; None for one who was not in one of its rooms. Waits that
    begin behind `until` are others'; who has not seen another tick has waited until then."""
    longest, before, seated = 0.0, None, False
    newest = -1
    for seen in frames:
        if seen.seat[0] not in fault.rooms or seen.tick <= newest:
            continue
        newest = seen.tick
        if before is not None and seen.at >= fault.at and before <= until:
            seated = seated or before <= fault.at
            longest = max(longest, seen.at - before)
        before = seen.at
    if before is not None and before < fault.at:  # it never saw another frame
        return (until - before) * 1000.0 if until - before < math.inf else math.inf
    return longest * 1000.0 if seated else None


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value that `share` of an ordered list lies at or below; None for an empty one."""
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 1) if ordered else None
