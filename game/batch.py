"""All rooms of one game on one node, stepped together.

    commands of tick t ─► rosters, held inputs ─► (copy) ─► game.step ─► events, results ─► hash(t) of every room

`step` is the only thing that changes rooms, and all that it reads is the rooms and the tick's commands: that is why a
snapshot and the commands since it are enough to have a room again. When the game's step raises, the copy is put back
and the rooms are stepped in halves until the ones at fault stand alone; they are left as they were before the step
and named in `StepResult.failed`, and the others never notice.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import xxhash

from game import roster
from game.api import Event, Result, RowGame
from game.commands import Command, Leave, TickCommands, input_record_dtype
from game.errors import GameError, UnknownRoom
from game.ledger import Ledger, fold
from game.rows import EMPTY, HELD, RowLayout, Rows
from game.save import pack_room, unpack_room


@attrs.frozen
class Seated:
    """What became of a Join: a seat and its generation, or the error that the player is told."""

    room: str
    join_id: str
    seat: int = -1
    generation: int = 0
    error: GameError | None = None


@attrs.frozen
class Vacated:
    """A seat that became free, and how many inputs its player got applied."""

    room: str
    seat: int
    generation: int
    last_seq: int
    applied: int


@attrs.define
class StepResult:
    """Everything that a tick brought about and that the gate holds back until the tick is stored."""

    events: dict[str, list[Event]] = attrs.field(factory=dict)
    results: list[tuple[str, Result]] = attrs.field(factory=list)
    seated: list[Seated] = attrs.field(factory=list)
    vacated: list[Vacated] = attrs.field(factory=list)
    failed: dict[str, Exception] = attrs.field(factory=dict)
    hashes: list[int] = attrs.field(factory=list)
    """XXH3-64 of every room's state after the tick, in row order."""


class Batch:
    """Rooms of one configured game. Room ids are never reused; rows are an inner matter and move when a room closes."""

    def __init__(self, game: RowGame, capacity: int = 16) -> None:
        self.game = game
        self.layout = RowLayout(game)
        self.rows = Rows(self.layout, capacity)
        self.ids: list[str] = []
        self.row: dict[str, int] = {}
        self.ledgers: list[Ledger] = []
        self.input_record = input_record_dtype(game.input_dtype)
        self._one: Rows | None = None  # a single row to try commands on
        self._clips = [(field.name, field.low, field.high) for field in game.inputs]

    def __len__(self) -> int:
        return len(self.ids)

    # -- rooms come and go --------------------------------------------------------------------------------------------

    def open(self, room: str, seed: int) -> None:
        """Add a room at tick 0. A pure function of (game, options, seed)."""
        fresh = Rows(self.layout, capacity=1, n=1)
        fresh.seed[:] = seed & 0xFFFF_FFFF_FFFF_FFFF
        self.game.open(fresh)
        fresh.emitted.clear()  # nobody is there to be told
        fresh.ended.clear()
        self._add(room, fresh, Ledger([None] * self.game.seats))

    def close(self, room: str) -> None:
        """Forget a room."""
        row = self._row(room)
        self.rows.remove(row)
        last_id, last_ledger = self.ids.pop(), self.ledgers.pop()
        if last_id != room:
            self.ids[row], self.ledgers[row], self.row[last_id] = last_id, last_ledger, row
        del self.row[room]

    def save(self, room: str) -> bytes:
        """A room's whole state as bytes (see `game.save`)."""
        row = self._row(room)
        one = self.rows.take([row])
        return pack_room(self.game, room, int(one.tick[0]), one.pack()[0].tobytes(), self.ledgers[row])

    def load(self, data: bytes) -> str:
        """Add a saved room and return its id; raises BadRoomData when the bytes are damaged or of other rules."""
        saved = unpack_room(self.game, data, self.layout.row_bytes)
        one = Rows(self.layout, capacity=1, n=1)
        one.unpack(0, saved.row)
        self._add(saved.room, one, saved.ledger)
        return saved.room

    def ledger(self, room: str) -> Ledger:
        """The room's roster, events and outbox."""
        return self.ledgers[self._row(room)]

    def tick_of(self, room: str) -> int:
        """The tick that the room has made last."""
        return int(self.rows.tick[self._row(room)])

    def _add(self, room: str, one: Rows, ledger: Ledger) -> None:
        if room in self.row:
            raise GameError(f"room {room} is here already")
        row = self.rows.n
        self.rows.resize(row + 1)
        self.rows.put([row], one)
        self.ids.append(room)
        self.ledgers.append(ledger)
        self.row[room] = row

    def _row(self, room: str) -> int:
        try:
            return self.row[room]
        except KeyError:
            raise UnknownRoom(f"no room {room} here") from None

    # -- a tick -------------------------------------------------------------------------------------------------------

    def step(self, tick: TickCommands) -> StepResult:
        """Make the next tick of every room."""
        rows, result = self.rows, StepResult()
        rows.tick += np.uint32(1)
        for command in tick.commands:
            self._apply(command, result)
        self._hold_inputs(tick.inputs)
        self._give_up_held(result)
        self._step_all(result)
        for room in result.failed:
            result.events.pop(room, None)
        result.hashes = self.hashes()
        return result

    def hashes(self) -> list[int]:
        """XXH3-64 over the packed bytes of every room, in row order."""
        packed = memoryview(self.rows.pack().reshape(-1).data)
        size, digest = self.layout.row_bytes, xxhash.xxh3_64_intdigest
        return [digest(packed[at : at + size]) for at in range(0, size * self.rows.n, size)]

    def _apply(self, command: Command, result: StepResult) -> None:
        """Apply one command; a game's hook that raises costs its room, not the process."""
        row = self.row.get(command.room)
        if row is None or command.room in result.failed:
            return
        one = self._one = self.rows.take([row], into=self._one)
        try:
            change = roster.apply(self.game, one, self.ledgers[row], command)
        except Exception as error:
            result.failed[command.room] = error
            return
        self.rows.put([row], one)
        if change.seated is not None:
            seat, generation, refusal = change.seated
            result.seated.append(Seated(command.room, change.join_id, seat, generation, refusal))
        result.vacated.extend(Vacated(command.room, *vacated) for vacated in change.vacated)
        result.events.setdefault(command.room, []).extend(change.events)

    def _hold_inputs(self, inputs: np.ndarray) -> None:
        """Put the tick's inputs where the step reads them; a seat without one keeps (repeats) its last."""
        rows = self.rows
        inputs = inputs[rows.seated[inputs["row"], inputs["seat"]] != EMPTY]
        at = (inputs["row"], inputs["seat"])
        for name, low, high in self._clips:
            getattr(rows, name)[at] = np.clip(inputs[name], low, high)
        rows.last_seq[at] = inputs["seq"]
        rows.rewind[at] = inputs["rewind"]
        rows.applied[at] += np.uint32(1)

    def _give_up_held(self, result: StepResult) -> None:
        rows = self.rows
        over = (rows.seated == HELD) & (rows.held_until <= rows.tick[:, None])
        for row, seat in np.argwhere(over).tolist() if over.any() else ():
            self._apply(Leave(self.ids[row], seat, int(rows.generation[row, seat])), result)

    def _step_all(self, result: StepResult) -> None:
        rows = self.rows
        well = [row for row, room in enumerate(self.ids) if room not in result.failed]
        if len(well) < rows.n:
            self._step_apart(well, result)
        else:
            rows.backup()
            try:
                self._run(rows)
            except Exception as error:
                rows.restore()
                if len(well) == 1:
                    result.failed[self.ids[0]] = error
                else:
                    self._step_apart(well[: len(well) // 2], result)
                    self._step_apart(well[len(well) // 2 :], result)
        self._tell(result)

    def _run(self, rows: Rows) -> None:
        with np.errstate(divide="raise"):
            self.game.step(rows)
        roster.check_told(rows)

    def _step_apart(self, indices: Sequence[int], result: StepResult) -> None:
        """Step some rooms as rows of their own; halve them until those that raise are alone."""
        if not indices:
            return
        some = self.rows.take(indices)
        try:
            self._run(some)
        except Exception as error:
            if len(indices) == 1:
                result.failed[self.ids[indices[0]]] = error
                return
            middle = len(indices) // 2
            self._step_apart(indices[:middle], result)
            self._step_apart(indices[middle:], result)
        else:
            self.rows.put(indices, some)

    def _tell(self, result: StepResult) -> None:
        """Turn what the step emitted into events and results of the rooms' ledgers."""
        rows = self.rows
        for kind, where, data in rows.emitted:
            columns = [part.tolist() for part in data]
            for at, row in enumerate(where.tolist()):
                event_data = tuple(column[at] for column in columns)
                self._event(row, kind, event_data, result)
        for over, score, won, stats in rows.ended:
            for row in over.tolist():
                room, ledger = self.ids[row], self.ledgers[row]
                ended = roster.results(
                    room, rows, row, ledger, score[row], won[row], {k: v[row] for k, v in stats.items()}
                )
                for one in ended:
                    ledger.outbox[one.op_id] = one
                    rows.ledger[row] = fold(int(rows.ledger[row]), "result", *attrs.astuple(one))
                    result.results.append((room, one))
                rows.match[row] += np.uint32(1)
        rows.emitted.clear()
        rows.ended.clear()

    def _event(self, row: int, kind: str, data: tuple[int, ...], result: StepResult) -> None:
        tick, ledger = int(self.rows.tick[row]), self.ledgers[row]
        event = Event(tick, ledger.next_index(tick), kind, data)
        ledger.events.append(event)
        result.events.setdefault(self.ids[row], []).append(event)
        self.rows.ledger[row] = fold(int(self.rows.ledger[row]), *attrs.astuple(event))
