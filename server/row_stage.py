"""The tier of rows: inputs come as datagrams, one a seat and tick; what is seen goes as frames, deltas of another."""

from __future__ import annotations

import attrs
import numpy as np

from game.api import RowGame
from game.batch import Batch
from game.commands import Skip, TickCommands
from game.view import view_layout
from netcode.errors import ErrorCode, ProtocolError
from netcode.frame import FrameEncoder, Readers
from netcode.inputs import HEADER as INPUT_HEADER
from netcode.inputs import InputQueue, parse_input_packet
from netcode.sequence import widen
from netcode.session import Session
from server.stage import COMMANDS_A_TICK, Occupant, Stage

REWIND_MAX_S = 0.25


@attrs.define(eq=False)
class RowOccupant(Occupant):
    """A session in a seat of a room of rows: its queue of inputs and what it has acknowledged."""

    queue: InputQueue = attrs.field(kw_only=True)
    row: int = -1
    baseline: int = -1

    def receive(self, plaintext: bytes, now: float) -> int:
        """Take an input packet: acks, baseline, inputs; returns how many inputs are new. Raises BadFrame."""
        if self.away or (len(plaintext) >= INPUT_HEADER.size and plaintext[1] != self.stream):
            return 0  # late, of an earlier seat or connection, perhaps of a game with other inputs
        packet = parse_input_packet(plaintext, self.queue.input_bytes)
        self.session.end.acks.acknowledged(*packet.ack, now)
        if packet.baseline >= 0:
            baseline = widen(packet.baseline, 16, self.tick)
            if self.baseline < baseline <= self.tick:
                self.baseline = baseline
        return self.queue.offer(packet)

    def act(self, seq: int, data: bytes) -> None:
        """Rooms of rows take no acts."""
        raise ProtocolError(ErrorCode.BAD_MESSAGE, "this room takes inputs, not acts")


class RowStage(Stage):
    """Rooms of rows in one phase of their tick."""

    batch: Batch
    occupants: dict[tuple[str, int], RowOccupant]  # type: ignore[assignment]  # only `occupy` makes them

    def __init__(self, game: RowGame) -> None:
        super().__init__(game, Batch(game))
        self.encoder = FrameEncoder(self.batch)
        self._rewind_max = int(REWIND_MAX_S * game.tick_hz)
        self._placed: list[str] = []
        self._inputs_told = [[f.name, f.dtype, f.low, f.high] for f in game.inputs]
        self._view_told = view_layout(game).describe()

    def collect(self) -> TickCommands:
        """One input a seat, and the commands that wait."""
        commands = self._next_commands()
        self._place()
        heads: list[tuple[int, int, int, int]] = []
        raw: list[bytes] = []
        for occupant in self.occupants.values():
            if occupant.away:
                continue
            if occupant.queue.skipped is not None:
                if len(commands) >= COMMANDS_A_TICK:
                    continue  # its turn comes in a later tick, its inputs after it
                skipped = occupant.queue.take_skip()
                assert skipped is not None
                commands.append(Skip(occupant.room, occupant.seat, occupant.generation, *skipped))
            taken = None if occupant.leaving else occupant.queue.take()
            if taken is not None:
                seq, seen, packed = taken
                heads.append((occupant.row, occupant.seat, seq, seen))
                raw.append(packed)
        return TickCommands(self._inputs(heads, raw), tuple(commands))

    def occupy(self, session: Session, room: str, seat: int, generation: int) -> RowOccupant:
        """A session sits in a seat from now on."""
        queue = InputQueue(0, self.game.input_dtype.itemsize)
        tick, epoch = self.batch.tick_of(room), self.epochs[room]
        occupant = RowOccupant(session, room, seat, generation, tick, epoch, queue=queue)
        self.occupants[room, seat] = occupant
        self.admit(occupant)
        return occupant

    def admit(self, occupant: Occupant) -> None:
        """Sequences go on after the last that was applied, under a new stream; the first frame is a full one."""
        assert isinstance(occupant, RowOccupant)
        occupant.session.streams += 1
        occupant.stream = occupant.session.streams & 0xFF
        occupant.queue = InputQueue(self.batch.last_seq(occupant.room, occupant.seat), self.game.input_dtype.itemsize)
        occupant.row, occupant.baseline = self.batch.row[occupant.room], -1
        occupant.tick = self.batch.tick_of(occupant.room)

    def welcome(self, occupant: Occupant, ref: int, resumed: bool, missed: bool) -> bytes:
        """The seat, with all that is needed to send inputs and to read frames."""
        return self._seated_message(occupant, ref, resumed, missed, inputs=self._inputs_told, view=self._view_told)

    def frames(self) -> tuple[list[RowOccupant], list[bytes]]:
        """A frame for every player who can get one, in one pass."""
        self.encoder.push()
        self._place()
        ticks = self.batch.rows.tick.tolist()
        readers = []
        for occupant in self.occupants.values():
            occupant.tick = ticks[occupant.row]
            if occupant.session.by_datagram is not None and not occupant.away:
                readers.append(occupant)
        if not readers:
            return [], []
        columns = np.array(
            [(o.row, o.seat, o.baseline, o.stream, o.epoch & 0xFF, len(o.queue)) for o in readers], np.int64
        ).T
        return readers, self.encoder.encode(Readers(*columns))

    def _place(self) -> None:
        """Refresh the rows of the occupants after rooms came or went (the batch moves rows)."""
        row = self.batch.row
        if self._placed != self.batch.ids:
            self._placed = list(self.batch.ids)
            for occupant in self.occupants.values():
                occupant.row = row[occupant.room]

    def _inputs(self, heads: list[tuple[int, int, int, int]], raw: list[bytes]) -> np.ndarray:
        records = np.zeros(len(heads), self.batch.input_record)
        if heads:
            rows, seats, seqs, seen = np.array(heads, np.int64).T
            behind = (self.batch.rows.tick[rows] - seen) & 0xFFFF
            records["row"], records["seat"], records["seq"] = rows, seats, seqs
            behind[behind >= 0x8000] = 0  # it claims to have seen the future
            records["rewind"] = np.minimum(behind, self._rewind_max)
            fields = np.frombuffer(b"".join(raw), self.game.input_dtype)
            for name in fields.dtype.names or ():
                records[name] = fields[name]
        return records
