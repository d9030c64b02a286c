"""A stage: the rooms of one game that tick together, and the players who sit in them.

    collect   pending commands + one input a seat ─► TickCommands: everything that may change a room
    step      the batch makes the tick
    frames    one plaintext a player, encoded in one pass

Nothing here awaits. The host calls these in order and does the waiting and the sending.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from game.api import RowGame
from game.batch import Batch, StepResult
from game.commands import Command, Skip, TickCommands, encode_commands
from netcode.frame import FrameEncoder, Readers
from netcode.inputs import HEADER as INPUT_HEADER
from netcode.inputs import InputQueue, parse_input_packet
from netcode.sequence import widen
from netcode.session import Session

COMMANDS_MAX = 4096
"""Commands that may wait for one tick; a join beyond that is refused (its player is told LIMITED)."""
CHATS_A_SECOND, CHATS_AT_ONCE = 2, 4
COMMANDS_A_TICK = 64
"""Commands that one tick applies, some 10 ms of work at most; the others take part in the next, in order."""
REWIND_MAX_S = 0.25


@attrs.define(eq=False)
class Occupant:
    """A session in a seat: its queue of inputs and what it has acknowledged."""

    session: Session
    room: str
    seat: int
    generation: int
    stream: int
    queue: InputQueue
    tick: int
    row: int = -1
    baseline: int = -1
    leaving: bool = False
    leave_ref: int = 0
    chat_due: int = 0
    """Tick up to which the seat has used what it may say."""

    def may_chat(self, tick_hz: int) -> bool:
        """Take one from the seat's allowance: CHATS_A_SECOND, up to CHATS_AT_ONCE together (GCRA, in ticks)."""
        each = -(-tick_hz // CHATS_A_SECOND)
        due = max(self.chat_due, self.tick) + each
        if due > self.tick + CHATS_AT_ONCE * each:
            return False
        self.chat_due = due
        return True

    def receive(self, plaintext: bytes, now: float) -> int:
        """Take an input packet: acks, baseline, inputs; returns how many inputs are new. Raises BadFrame."""
        if len(plaintext) >= INPUT_HEADER.size and plaintext[1] != self.stream:
            return 0  # late, of an earlier seat, perhaps of a game with other inputs
        packet = parse_input_packet(plaintext, self.queue.input_bytes)
        self.session.end.acks.acknowledged(*packet.ack, now)
        if packet.baseline >= 0:
            baseline = widen(packet.baseline, 16, self.tick)
            if self.baseline < baseline <= self.tick:
                self.baseline = baseline
        return self.queue.offer(packet)


class Stage:
    """Rooms of one game in one phase of its tick."""

    def __init__(self, game: RowGame) -> None:
        self.game = game
        self.batch = Batch(game)
        self.encoder = FrameEncoder(self.batch)
        self.occupants: dict[tuple[str, int], Occupant] = {}
        self.pending: list[Command] = []
        self._rewind_max = int(REWIND_MAX_S * game.tick_hz)
        self._placed: list[str] = []

    def submit(self, command: Command) -> bool:
        """Let a command take part in the next tick; False when too many wait already."""
        if len(self.pending) >= COMMANDS_MAX:
            return False
        self.pending.append(command)
        return True

    def collect(self) -> TickCommands:
        """Everything that the next tick applies."""
        commands, self.pending = self.pending[:COMMANDS_A_TICK], self.pending[COMMANDS_A_TICK:]
        self._place()
        heads: list[tuple[int, int, int, int]] = []
        raw: list[bytes] = []
        for occupant in self.occupants.values():
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

    def step(self, tick: TickCommands) -> StepResult:
        """Make the tick."""
        return self.batch.step(tick)

    def record(self, tick: TickCommands, result: StepResult) -> list[Any]:
        """What the journal keeps of the tick: rooms in row order, their ticks and hashes, the commands, who failed."""
        ticks = self.batch.rows.tick.astype("<u4").tobytes()
        hashes = np.array(result.hashes, "<u8").tobytes()
        return [self.game.name, self.batch.ids, ticks, hashes, encode_commands(tick), sorted(result.failed)]

    def frames(self) -> tuple[list[Occupant], list[bytes]]:
        """A frame for every player who can get one, in one pass."""
        self.encoder.push()
        self._place()
        ticks = self.batch.rows.tick.tolist()
        readers = []
        for occupant in self.occupants.values():
            occupant.tick = ticks[occupant.row]
            if occupant.session.by_datagram is not None:
                readers.append(occupant)
        if not readers:
            return [], []
        columns = np.array([(o.row, o.seat, o.baseline, o.stream, len(o.queue)) for o in readers], np.int64).T
        rows, seats, baselines, streams, depths = columns
        return readers, self.encoder.encode(Readers(rows, seats, baselines, streams, np.zeros_like(rows), depths))

    def empty_rooms(self) -> list[str]:
        """Rooms in which nobody sits and whose results the profiles hold."""
        seated = self.batch.rows.seated.any(axis=1).tolist()
        return [
            room
            for room, taken, ledger in zip(self.batch.ids, seated, self.batch.ledgers, strict=True)
            if not taken and not ledger.outbox
        ]

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
