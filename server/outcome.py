"""What a tick tells whom, ready to be written; it waits behind the gate."""

from __future__ import annotations

import attrs

from cluster.codec import Snapshot, StageRecord
from cluster.model import RoomEntry
from game.api import Result
from netcode.session import Session
from server.stage import Frames


@attrs.define
class Outcome:
    """Everything that follows from one tick and must not be known before it is stored."""

    records: list[StageRecord] = attrs.field(factory=list)
    """What is stored of it."""
    results: list[tuple[str, Result]] = attrs.field(factory=list)
    messages: list[tuple[Session, int, bytes]] = attrs.field(factory=list)
    """Seats and events, with the generation of the session that they are for: written before the frames."""
    frames: list[Frames] = attrs.field(factory=list)
    farewells: list[tuple[Session, int, bytes]] = attrs.field(factory=list)
    """For those who have no seat any more: written after the frames."""

    snapshots: list[Snapshot] = attrs.field(factory=list)
    given: list[tuple[RoomEntry, str, Snapshot]] = attrs.field(factory=list)
    """Rooms that have made their last tick here, whom they go to, and how they are."""
    ended: list[RoomEntry] = attrs.field(factory=list)
    """Rooms that are no more."""

    def message(self, session: Session, data: bytes) -> None:
        """Tell a player, over the connection that it has now."""
        self.messages.append((session, session.generation, data))

    def farewell(self, session: Session, data: bytes) -> None:
        """The same, behind the frames."""
        self.farewells.append((session, session.generation, data))

    def results_by_room(self) -> dict[str, list[Result]]:
        """The results, grouped."""
        grouped: dict[str, list[Result]] = {}
        for room, result in self.results:
            grouped.setdefault(room, []).append(result)
        return grouped
