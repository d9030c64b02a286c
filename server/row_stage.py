"""The tier of rows: inputs come as datagrams, one a seat and tick; what is seen goes as frames, deltas of another.

Whatever is done for every player at every tick is done in columns here: a seat that is occupied has a *place* in them.
"""

from __future__ import annotations

import attrs
import numpy as np

from game.api import RowGame
from game.batch import Batch
from game.commands import Skip, TickCommands
from game.view import view_layout
from netcode.ends import ServerEnds
from netcode.errors import ErrorCode, ProtocolError
from netcode.frame import FrameEncoder, Readers
from netcode.inputs import HEADER as INPUT_HEADER
from netcode.inputs import InputQueues, check_input_packet
from netcode.packed import packed
from netcode.server_end import Channel
from netcode.session import Session
from server.stage import COMMANDS_A_TICK, Frames, Occupant, Stage

REWIND_MAX_S = 0.25
_NO_FRAMES = Frames(np.zeros(0, np.intp), np.zeros(0, np.uint64), packed([]))


@attrs.define(eq=False)
class RowOccupant(Occupant):
    """A session in a seat of a room of rows, with a place in the columns of its stage."""

    stage: RowStage = attrs.field(kw_only=True)
    place: int = attrs.field(kw_only=True)

    def receive(self, packet: bytes) -> None:
        """Keep an input packet for the next tick. Raises BadFrame."""
        if self.away or (len(packet) >= INPUT_HEADER.size and packet[1] != self.stream):
            return  # late, of an earlier seat or connection, perhaps of a game with other inputs
        check_input_packet(packet, self.stage.queues.input_bytes)
        self.stage.queues.put_one(self.place, packet)

    def changes(self) -> None:
        """See `Occupant.changes`."""
        self.stage.forget_present()

    def act(self, seq: int, data: bytes) -> None:
        """Rooms of rows take no acts."""
        raise ProtocolError(ErrorCode.BAD_MESSAGE, "this room takes inputs, not acts")


@attrs.frozen(eq=False)
class _Present:
    """Those who are not away: known until somebody comes, goes or leaves."""

    occupants: dict[int, RowOccupant]
    """By place."""
    places: np.ndarray
    playing: np.ndarray
    """Places of those who are not leaving either."""


class RowStage(Stage):
    """Rooms of rows in one phase of their tick."""

    batch: Batch
    occupants: dict[tuple[str, int], RowOccupant]  # type: ignore[assignment]  # only `occupy` makes them

    def __init__(self, game: RowGame) -> None:
        super().__init__(game, Batch(game))
        self.encoder = FrameEncoder(self.batch)
        self.queues = InputQueues(game.input_dtype.itemsize)
        self._rewind_max = int(REWIND_MAX_S * game.tick_hz)
        self._inputs_told = [[f.name, f.dtype, f.low, f.high] for f in game.inputs]
        self._view_told = view_layout(game).describe()
        self._known: _Present | None = None
        self._placed: list[str] = []
        self._rows = np.zeros(0, np.intp)
        """Of each place: row of its room, seat, and what frames say of its connection."""
        self._seats = np.zeros(0, np.intp)
        self._streams = np.zeros(0, np.int64)
        self._epochs = np.zeros(0, np.int64)
        self._slots = np.zeros(0, np.intp)

    def take_in(self) -> None:
        """Read what players have sent."""
        self._place()
        if len(self.batch):
            self.malformed += self.queues.take_in(self.batch.rows.tick[self._rows].astype(np.int64))

    def collect(self) -> TickCommands:
        """One input a seat, and the commands that wait."""
        commands = self._next_commands()
        self.take_in()
        present = self._present
        for place in self.queues.skipping(present.places):
            if len(commands) >= COMMANDS_A_TICK:
                break  # the turn of the others comes in a later tick, their inputs after it
            occupant = present.occupants[place]
            skipped = self.queues.take_skip(place)
            commands.append(Skip(occupant.room, occupant.seat, occupant.generation, *skipped))
        return TickCommands(self._inputs(present.playing), tuple(commands))

    def occupy(self, session: Session, room: str, seat: int, generation: int) -> RowOccupant:
        """A session sits in a seat from now on."""
        place = self.queues.open()
        if place >= len(self._rows):
            self._grow()
        occupant = RowOccupant(session, room, seat, generation, self.epochs[room], stage=self, place=place)
        self.occupants[room, seat] = occupant
        self.admit(occupant)
        return occupant

    def vacate(self, occupant: Occupant) -> None:
        """The seat is free."""
        assert isinstance(occupant, RowOccupant)
        super().vacate(occupant)
        self.queues.close(occupant.place)
        occupant.session.end.deliver_to(None)
        self._rows[occupant.place] = 0  # as good as any, while there is one
        self.forget_present()

    def admit(self, occupant: Occupant) -> None:
        """Sequences go on after the last that was applied, under a new stream; the first frame is a full one."""
        assert isinstance(occupant, RowOccupant)
        place, session = occupant.place, occupant.session
        session.streams += 1
        occupant.stream = session.streams & 0xFF
        self.queues.begin(place, self.batch.last_seq(occupant.room, occupant.seat), occupant.stream)
        session.end.deliver_to(self.queues, place)
        self._rows[place], self._seats[place] = self.batch.row[occupant.room], occupant.seat
        self._streams[place], self._epochs[place] = occupant.stream, occupant.epoch & 0xFF
        self._slots[place] = session.end.slot
        self.forget_present()

    def welcome(self, occupant: Occupant, ref: int, resumed: bool, missed: bool) -> bytes:
        """The seat, with all that is needed to send inputs and to read frames."""
        return self._seated_message(occupant, ref, resumed, missed, inputs=self._inputs_told, view=self._view_told)

    def frames(self, ends: ServerEnds, now: float) -> Frames:
        """A frame for every player who can get one, in one pass."""
        self.encoder.push()
        self._place()
        places = self._present.places
        places = places[ends.channel[self._slots[places]] != Channel.UNKNOWN]
        if not len(places):
            return _NO_FRAMES
        slots = self._slots[places]
        readers = Readers(
            self._rows[places],
            self._seats[places],
            self.queues.baseline[places],
            self._streams[places],
            self._epochs[places],
            self.queues.waiting[places],
            ends.take_acks(slots, now),
        )
        return Frames(slots, ends.connection[slots], self.encoder.encode(readers))

    def forget_present(self) -> None:
        """Somebody came, went away, came back, or leaves."""
        self._known = None

    @property
    def _present(self) -> _Present:
        if self._known is None:
            here = {occupant.place: occupant for occupant in self.occupants.values() if not occupant.away}
            playing = [place for place, occupant in here.items() if not occupant.leaving]
            self._known = _Present(here, np.array(list(here), np.intp), np.array(playing, np.intp))
        return self._known

    def _place(self) -> None:
        """Refresh the rows of the places after rooms came or went (the batch moves rows)."""
        row = self.batch.row
        if self._placed != self.batch.ids:
            self._placed = list(self.batch.ids)
            for occupant in self.occupants.values():
                self._rows[occupant.place] = row[occupant.room]

    def _inputs(self, places: np.ndarray) -> np.ndarray:
        which, seqs, seen, data = self.queues.take(places)
        places = places[which]
        records = np.zeros(len(places), self.batch.input_record)
        if len(places):
            rows = self._rows[places]
            behind = (self.batch.rows.tick[rows] - seen) & 0xFFFF
            behind[behind >= 0x8000] = 0  # it claims to have seen the future
            records["row"], records["seat"], records["seq"] = rows, self._seats[places], seqs
            records["rewind"] = np.minimum(behind, self._rewind_max)
            fields = data.view(self.game.input_dtype)[:, 0]
            for name in fields.dtype.names or ():
                records[name] = fields[name]
        return records

    def _grow(self) -> None:
        for name in ("_rows", "_seats", "_streams", "_epochs", "_slots"):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros(max(16, len(column)), column.dtype)]))
