"""The tier of objects: acts come over the control channel, any number a tick; players are told the whole view on
joining and each tick's events after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager

import attrs
import numpy as np

from game.api import Event
from game.batch import StepResult
from game.commands import Act, TickCommands
from game.object_batch import ObjectBatch
from game.objects import ObjectGame
from netcode import messages
from netcode.control import message_bytes
from netcode.errors import ErrorCode, ProtocolError
from netcode.session import Session
from server.stage import Occupant, Stage, events_bytes

ACTS_WAITING_MAX = 256
"""Acts of a seat that wait for their tick: as many as a client keeps unacknowledged; one more ends the session."""
ACTS_A_TICK = 16
"""Acts of one seat that one tick applies; the others take part in the next."""
_NO_INPUTS = np.zeros(0, np.uint8)


@attrs.define(eq=False)
class ObjectOccupant(Occupant):
    """A session in a seat of an object room: the acts that wait, and what it was told."""

    acts: deque[tuple[int, bytes]] = attrs.field(factory=deque, kw_only=True)
    next_seq: int = attrs.field(default=1, kw_only=True)
    told_seq: int = attrs.field(default=0, kw_only=True)

    def changes(self) -> None:
        """Nothing is kept of it."""

    def receive(self, packet: bytes) -> None:
        """Rooms of objects take acts, no input packets."""

    def act(self, seq: int, data: bytes) -> None:
        """Queue an act. One that is known already is taken once; a gap or a full queue raises ProtocolError."""
        if self.away or seq < self.next_seq:
            return
        if seq != self.next_seq or len(self.acts) >= ACTS_WAITING_MAX:
            raise ProtocolError(
                ErrorCode.BAD_MESSAGE, f"act {seq} where {self.next_seq} is next and {len(self.acts)} wait"
            )
        self.acts.append((seq, data))
        self.next_seq += 1


class ObjectStage(Stage):
    """Object rooms that tick together."""

    batch: ObjectBatch
    occupants: dict[tuple[str, int], ObjectOccupant]  # type: ignore[assignment]  # only `occupy` makes them

    def __init__(self, game: ObjectGame, guard: Callable[[str], AbstractContextManager[None]]) -> None:
        super().__init__(game, ObjectBatch(game, guard))

    def collect(self) -> TickCommands:
        """The acts of each seat, in order, and the commands that wait."""
        commands = self._next_commands()
        for occupant in self.occupants.values():
            if not occupant.away and not occupant.leaving:
                for _ in range(min(ACTS_A_TICK, len(occupant.acts))):
                    seq, data = occupant.acts.popleft()
                    commands.append(Act(occupant.room, occupant.seat, occupant.generation, seq, data))
        return TickCommands(_NO_INPUTS, tuple(commands))

    def occupy(self, session: Session, room: str, seat: int, generation: int) -> ObjectOccupant:
        """A session sits in a seat from now on."""
        occupant = ObjectOccupant(session, room, seat, generation, self.epochs[room])
        self.occupants[room, seat] = occupant
        self.admit(occupant)
        return occupant

    def admit(self, occupant: Occupant) -> None:
        """Acts go on after the last that was applied."""
        assert isinstance(occupant, ObjectOccupant)
        occupant.acts.clear()
        occupant.told_seq = self.batch.last_seq(occupant.room, occupant.seat)
        occupant.next_seq = occupant.told_seq + 1

    def welcome(self, occupant: Occupant, ref: int, resumed: bool, missed: bool) -> bytes:
        """The seat, and the whole view in parts. Raises what the game's `view` raises."""
        room, size = occupant.room, messages.PART_MAX
        view = self.batch.view(room, occupant.seat)
        parts = [view[at : at + size] for at in range(0, len(view), size)]
        told = self._seated_message(occupant, ref, resumed, missed, inputs=[], view={}, parts=len(parts))
        return told + b"".join(
            message_bytes(messages.Part(room=room, part=number, data=part)) for number, part in enumerate(parts)
        )

    def tell(self, result: StepResult) -> list[tuple[Session, bytes]]:
        """To each player its events and its last applied act, where there is anything new."""
        told: list[tuple[Session, bytes]] = []
        for occupant in self.occupants.values():
            if occupant.away:
                continue
            last_seq = self.batch.last_seq(occupant.room, occupant.seat)
            events = visible(result.events.get(occupant.room, []), occupant.seat)
            if events or last_seq != occupant.told_seq:
                occupant.told_seq = last_seq
                told.append((occupant.session, self._events_bytes(occupant, events)))
        for refused in result.refused:
            found = self.occupants.get((refused.room, refused.seat))
            if found is not None and not found.away:
                error = ProtocolError(ErrorCode.ACT_REFUSED, f"act {refused.seq}: {refused.why}")
                told.append((found.session, message_bytes(messages.Error.of(error))))
        return told

    def told_before(self, occupant: Occupant, events: list[Event]) -> bytes:
        """Events that a player who was away has missed, without what was private to others."""
        assert isinstance(occupant, ObjectOccupant)
        return self._events_bytes(occupant, visible(events, occupant.seat))

    def _events_bytes(self, occupant: ObjectOccupant, events: list[Event]) -> bytes:
        tick = self.batch.tick_of(occupant.room)
        return events_bytes(occupant.room, events, tick=tick, last_seq=occupant.told_seq)


def visible(events: list[Event], seat: int) -> list[Event]:
    """Those events that a seat may know."""
    return [event for event in events if event.seat in (-1, seat)]
