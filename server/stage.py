"""A stage: rooms of one game with the same options that tick together, and the players who sit in them.

    collect   pending commands + what the seats sent ─► TickCommands: everything that may change a room
    step      the batch makes the tick
    tell      events, each to those who may know them
    frames    rows only: one plaintext a player, encoded in one pass

`server.row_stage` and `server.object_stage` are the two tiers. Nothing here awaits: the host calls these in order and
does the waiting and the sending.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import attrs
import msgpack
import numpy as np

from cluster.codec import StageRecord
from game.api import Event
from game.batch import StepResult
from game.commands import Command, Quarantine, TickCommands, encode_commands
from netcode import messages
from netcode.control import message_bytes
from netcode.ends import ServerEnds
from netcode.packed import Packed
from netcode.session import Session

COMMANDS_MAX = 4096
"""Commands that may wait for one tick; a join beyond that is refused (its player is told LIMITED)."""
COMMANDS_A_TICK = 64
"""Commands that one tick applies, some 10 ms of work at most; the others take part in the next, in order."""
EVENTS_A_MESSAGE = 1024
EVENTS_BYTES_MAX = messages.MESSAGE_MAX - 2048
"""Bytes of the events of one message; a single one is never longer than half of it."""


def _noticed(occupant: Occupant, _: Any, value: bool) -> bool:
    occupant.changes()
    return value


@attrs.define(eq=False)
class Occupant(ABC):
    """A session in a seat."""

    session: Session
    room: str
    seat: int
    generation: int
    epoch: int = 1
    stream: int = 0
    away: bool = attrs.field(default=False, on_setattr=_noticed)
    """The player has lost the connection, or is coming back and not seated yet: nothing is taken or told."""
    leaving: bool = attrs.field(default=False, on_setattr=_noticed)
    leave_ref: int = 0
    leave_from: int = 0
    """The session's generation when it asked to leave: a later connection knows nothing of the reference."""

    @abstractmethod
    def changes(self) -> None:
        """It goes away, comes back, or leaves."""

    @abstractmethod
    def receive(self, packet: bytes) -> None:
        """Take an input packet of the realtime channel. Raises BadFrame."""

    @abstractmethod
    def act(self, seq: int, data: bytes) -> None:
        """Take an act of the control channel; raises ProtocolError."""


@attrs.frozen(eq=False)
class Frames:
    """Frames of a tick, and whom they are for."""

    slots: np.ndarray
    """Of their ends (`netcode.ends`), all different, and the connection ids that these had."""
    connections: np.ndarray
    plaintexts: Packed


class Stage(ABC):
    """Rooms of one configured game in one phase of its tick."""

    def __init__(self, game: Any, batch: Any) -> None:
        self.game = game
        self.batch = batch
        self.occupants: dict[tuple[str, int], Occupant] = {}
        self.pending: list[Command] = []
        self.malformed = 0
        """Input packets that were none, for the host to count."""
        self.epochs: dict[str, int] = {}
        """Of every room in the batch: counts its owners."""

    def submit(self, command: Command) -> bool:
        """Let a command take part in the next tick; False when too many wait already."""
        if len(self.pending) >= COMMANDS_MAX:
            return False
        self.pending.append(command)
        return True

    def _next_commands(self) -> list[Command]:
        commands, self.pending = self.pending[:COMMANDS_A_TICK], self.pending[COMMANDS_A_TICK:]
        return commands

    @abstractmethod
    def collect(self) -> TickCommands:
        """Everything that the next tick applies."""

    def step(self, tick: TickCommands) -> StepResult:
        """Make the tick."""
        result: StepResult = self.batch.step(tick)
        return result

    def record(self, rooms: list[str], ticks: np.ndarray, tick: TickCommands, result: StepResult) -> StageRecord:
        """What the journal keeps of the tick, given rooms and ticks as they were before it.

        A room that has failed is told Quarantine before anything else, so that a replay does not try what failed.
        """
        game, epochs = self.game, self.epochs
        gone = {*result.failed, *result.closed}
        hashes = result.hashes
        if gone:
            after = dict(zip(self.batch.ids, result.hashes, strict=True))
            hashes = [0 if room in gone else after[room] for room in rooms]
        if result.failed:
            tick = TickCommands(tick.inputs, (*map(Quarantine, result.failed), *tick.commands))
        return StageRecord(
            game.name,
            game.option,
            game.tick_hz,
            rooms,
            np.array([epochs[room] for room in rooms], np.uint32),
            ticks + np.uint32(1),
            np.array(hashes, np.uint64),
            encode_commands(tick),
        )

    @abstractmethod
    def occupy(self, session: Session, room: str, seat: int, generation: int) -> Occupant:
        """A session sits in a seat from now on."""

    def vacate(self, occupant: Occupant) -> None:
        """The seat is free."""
        del self.occupants[occupant.room, occupant.seat]

    @abstractmethod
    def admit(self, occupant: Occupant) -> None:
        """The occupant's connection is new: sequences go on after the last that was applied, under a new stream."""

    @abstractmethod
    def welcome(self, occupant: Occupant, ref: int, resumed: bool, missed: bool) -> bytes:
        """Everything that tells a player of the seat."""

    def tell(self, result: StepResult) -> list[tuple[Session, bytes]]:
        """The tick's events, for everybody who is there."""
        found: list[tuple[Session, bytes]] = []
        for room, events in result.events.items():
            told = events_bytes(room, events) if events else b""
            for seat in range(self.game.seats if told else 0):
                occupant = self.occupants.get((room, seat))
                if occupant is not None and not occupant.away:
                    found.append((occupant.session, told))
        return found

    def told_before(self, occupant: Occupant, events: list[Event]) -> bytes:
        """Events that a player who was away has missed."""
        return events_bytes(occupant.room, events)

    def frames(self, ends: ServerEnds, now: float) -> Frames | None:
        """A frame for every player who can get one, in one pass; None where there are no frames."""
        return None

    def empty_rooms(self) -> list[str]:
        """Rooms in which nobody sits and whose results the profiles hold."""
        batch = self.batch
        return [
            room
            for room, taken, ledger in zip(batch.ids, batch.taken(), batch.ledgers, strict=True)
            if not taken and not ledger.outbox
        ]

    def _seated_message(self, occupant: Occupant, ref: int, resumed: bool, missed: bool, **more: Any) -> bytes:
        room, game = occupant.room, self.game
        players = self.batch.ledger(room).players
        return message_bytes(
            messages.Seated(
                ref=ref,
                room=room,
                game=game.name,
                options=game.option,
                seat=occupant.seat,
                seats=game.seats,
                generation=occupant.generation,
                stream=occupant.stream,
                epoch=self.epochs[room],
                tick=self.batch.tick_of(room),
                tick_hz=game.tick_hz,
                last_seq=self.batch.last_seq(room, occupant.seat),
                roster=["" if player is None else player.name for player in players],
                resumed=resumed,
                missed=missed,
                **more,
            )
        )


def events_bytes(room: str, events: list[Event], **more: int) -> bytes:
    """Events as messages, as many as it takes; at least one where there is `more` to tell (tick, last_seq)."""
    parts: list[list[Any]] = []
    part: list[Any] = []
    size = 0
    for event in events:
        told = [event.tick, event.index, event.kind, list(event.data)]
        length = len(msgpack.packb(told))
        if part and (size + length > EVENTS_BYTES_MAX or len(part) == EVENTS_A_MESSAGE):
            parts.append(part)
            part, size = [], 0
        part.append(told)
        size += length
    if part or more:
        parts.append(part)
    return b"".join(message_bytes(messages.Events(room=room, events=part, **more)) for part in parts)
