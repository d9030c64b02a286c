"""What a tick tells whom, ready to be written; it waits behind the gate."""

from __future__ import annotations

import attrs

from game.api import Result
from netcode.session import Session
from server.row_stage import RowOccupant


@attrs.define
class Outcome:
    """Everything that follows from one tick and must not be known before it is stored."""

    results: list[tuple[str, Result]] = attrs.field(factory=list)
    messages: list[tuple[Session, bytes]] = attrs.field(factory=list)
    """Seats and events: written before the frames."""
    readers: list[RowOccupant] = attrs.field(factory=list)
    frames: list[bytes] = attrs.field(factory=list)
    farewells: list[tuple[Session, bytes]] = attrs.field(factory=list)
    """For those who have no seat any more: written after the frames."""

    def results_by_room(self) -> dict[str, list[Result]]:
        """The results, grouped."""
        grouped: dict[str, list[Result]] = {}
        for room, result in self.results:
            grouped.setdefault(room, []).append(result)
        return grouped
