"""What the batches of both tiers have in common: rooms with their seats, and the order of things within a tick.

    commands ─► roster ─► inputs ─► holds that are over ─► the game's step ─► closed rooms leave ─► hash(t) of each

`step` is the only thing that changes rooms, and all that it reads is the rooms and the tick's commands: that is why a
snapshot and the commands since it are enough to have a room again. Every room has a row of columns (`game.rows`), its
seats and counters among them, and a ledger (`game.ledger`). Room ids are never reused; rows are an inner matter and
move when a room closes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import xxhash

from game import roster
from game.api import Event, Game, Result
from game.commands import Act, Close, Command, HandOff, Leave, Quarantine, TickCommands, input_record_dtype
from game.errors import GAME_FAULTS, GameError, UnknownRoom
from game.inputs import fitting
from game.ledger import Ledger
from game.rows import EMPTY, HELD, RowLayout, Rows
from game.save import SavedRoom, pack_room, unpack_room


@attrs.frozen
class Seated:
    """What became of a Join, or of a Connect that names itself: a seat and its generation, or the error that the
    player is told."""

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


@attrs.frozen
class Failure:
    """What a room's game raised, and what is needed besides the room to have it raise again."""

    error: BaseException
    command: Command | None = None
    """The command whose hook raised; None when the step did."""
    acts: tuple[tuple[int, bytes], ...] = ()
    """Of an object game's step that raised: seat and act, in order."""
    view_of: int = -1
    """The seat whose view of an object room could not be made."""


@attrs.frozen
class Refused:
    """An act that the game did not take; it counts as applied all the same."""

    room: str
    seat: int
    seq: int
    why: str


@attrs.define
class StepResult:
    """Everything that a tick brought about and that the gate holds back until the tick is stored."""

    events: dict[str, list[Event]] = attrs.field(factory=dict)
    results: list[tuple[str, Result]] = attrs.field(factory=list)
    seated: list[Seated] = attrs.field(factory=list)
    vacated: list[Vacated] = attrs.field(factory=list)
    refused: list[Refused] = attrs.field(factory=list)
    failed: dict[str, Failure] = attrs.field(factory=dict)
    """Rooms whose game raised: as they were before the hook or the step that did. They are still here; close them."""
    closed: list[str] = attrs.field(factory=list)
    """Rooms that were told Close or Quarantine: they are gone."""
    handed: list[tuple[str, str]] = attrs.field(factory=list)
    """Room and target of HandOffs: stepped like any other, this was their last tick here. They are still here."""
    hashes: list[int] = attrs.field(factory=list)
    """XXH3-64 of every room's state after the tick, in row order."""
    packed: np.ndarray = attrs.field(factory=lambda: np.zeros((0, 0), np.uint8))
    """What was hashed (`Rows.pack`), for `save` until rooms come or go; the next tick writes over it."""


class BaseBatch(ABC):
    """Rooms of one configured game, in rows."""

    def __init__(self, game: Game, capacity: int = 16) -> None:
        self.layout = RowLayout(game)
        self.rows = Rows(self.layout, capacity)
        self.ids: list[str] = []
        self.row: dict[str, int] = {}
        self.ledgers: list[Ledger] = []
        self.input_dtype = np.dtype([(field.name, "<" + field.dtype) for field in game.inputs])
        self.input_record = input_record_dtype(self.input_dtype)
        self._one: Rows | None = None  # a single row to try commands on

    def __len__(self) -> int:
        return len(self.ids)

    # -- rooms come and go --------------------------------------------------------------------------------------------

    @abstractmethod
    def open(self, room: str, seed: int) -> None:
        """Add a room at tick 0. A pure function of (game, options, seed); raises what the game raises."""

    def close(self, room: str) -> None:
        """Forget a room."""
        self.close_all([room])

    def close_all(self, rooms: Sequence[str]) -> None:
        """Forget some rooms, in less time than one by one."""
        moves = self.rows.remove([self._row(room) for room in rooms])
        for room in rooms:
            del self.row[room]
        for beside in self._beside():
            for begin, end in moves:
                beside[end] = beside[begin]
            del beside[self.rows.n :]
        for _, row in moves:
            self.row[self.ids[row]] = row

    def save(self, room: str, packed: np.ndarray | None = None) -> bytes:
        """A room's whole state as bytes (see `game.save`); `packed`: all rows as they are, where they are packed."""
        row = self._row(room)
        if packed is None:
            one = self._one = self.rows.take([row], into=self._one)
            own = one.pack()[0]
        else:
            own = packed[row]
        saved = SavedRoom(room, self.tick_of(room), own.tobytes(), self.ledgers[row], self._objects_of(row))
        return pack_room(self.layout.game, saved)

    def save_all(self, rooms: Sequence[str]) -> list[bytes]:
        """What `save` makes of each of these rooms, in less time."""
        return [pack_room(self.layout.game, saved) for saved in self.copy_all(rooms)]

    def copy_all(self, rooms: Sequence[str]) -> list[SavedRoom]:
        """The parts of rooms: rows as bytes, ledgers as they are and go on being changed while their rooms are here."""
        at = [self._row(room) for room in rooms]
        packed = self.rows.take(at).pack() if rooms else ()
        return [
            SavedRoom(room, self.tick_of(room), own.tobytes(), self.ledgers[row], self._objects_of(row))
            for room, row, own in zip(rooms, at, packed, strict=True)
        ]

    def load(self, data: bytes, *, force: bool = False) -> str:
        """Add a saved room and return its id; raises BadRoomData when the bytes are damaged or of other rules.

        `force`: take a room of other code or options, which this game may continue otherwise, or not at all.
        """
        return self.load_all([data], force=force)[0]

    def load_all(self, data: Sequence[bytes], *, force: bool = False) -> list[str]:
        """Add saved rooms, in less time than one by one; none of them when one of them raises."""
        every = [unpack_room(self.layout.game, one, self.layout.row_bytes, force=force) for one in data]
        self.enter_all(every)
        return [saved.room for saved in every]

    def enter_all(self, rooms: Sequence[SavedRoom]) -> None:
        """Add rooms of this game from their parts, which are ours from now on."""
        names = [saved.room for saved in rooms]
        for at, room in enumerate(names):
            if room in self.row or room in names[:at]:
                raise GameError(f"room {room} is here already")
        first = self.rows.n
        self.rows.resize(first + len(rooms))
        self.rows.unpack(first, b"".join(saved.row for saved in rooms))
        for saved in rooms:
            self._enter(saved.room, saved.ledger, saved.objects)

    def _fresh(self, seed: int) -> tuple[Rows, Ledger]:
        one = Rows(self.layout, capacity=1, n=1)
        one.seed[:] = seed & 0xFFFF_FFFF_FFFF_FFFF
        return one, Ledger([None] * self.layout.game.seats)

    def _add(self, room: str, one: Rows, ledger: Ledger, objects: bytes) -> None:
        if room in self.row:
            raise GameError(f"room {room} is here already")
        row = self.rows.n
        self.rows.resize(row + 1)
        self.rows.put([row], one)
        self._enter(room, ledger, objects)

    def _enter(self, room: str, ledger: Ledger, objects: bytes) -> None:
        """Note the room of the next row, which is filled already."""
        self.row[room] = len(self.ids)
        self.ids.append(room)
        self.ledgers.append(ledger)

    def _beside(self) -> Sequence[list[Any]]:
        """What there is of every room beside its row, in row order."""
        return self.ids, self.ledgers

    def _objects_of(self, row: int) -> bytes:
        """What a room has besides its row and its ledger."""
        return b""

    # -- looking at rooms ---------------------------------------------------------------------------------------------

    def ledger(self, room: str) -> Ledger:
        """The room's roster, events and outbox."""
        return self.ledgers[self._row(room)]

    def tick_of(self, room: str) -> int:
        """The tick that the room has made last."""
        return int(self.rows.tick[self._row(room)])

    def ticks(self) -> list[int]:
        """The tick that each room has made last, in row order."""
        ticks: list[int] = self.rows.tick.tolist()
        return ticks

    def taken(self) -> list[int]:
        """How many seats of each room are taken, held ones too, in row order."""
        taken: list[int] = (self.rows.seated != EMPTY).sum(axis=1).tolist()
        return taken

    def last_seq(self, room: str, seat: int) -> int:
        """The last input sequence of the seat's player that was applied."""
        return int(self.rows.last_seq[self._row(room), seat])

    def generation(self, room: str, seat: int) -> int:
        """How often the seat was joined."""
        return int(self.rows.generation[self._row(room), seat])

    def hashes(self) -> list[int]:
        """XXH3-64 over the packed bytes of every room, in row order."""
        return self._hashed(self.rows.pack())

    def _hashed(self, packed: np.ndarray) -> list[int]:
        data, digest = memoryview(packed.reshape(-1).data), xxhash.xxh3_64_intdigest
        size = self.layout.row_bytes
        return [digest(data[at : at + size]) for at in range(0, size * len(packed), size)]

    def hash_of(self, room: str) -> int:
        """XXH3-64 over the packed bytes of one room."""
        one = self._one = self.rows.take([self._row(room)], into=self._one)
        return xxhash.xxh3_64_intdigest(one.pack()[0].tobytes())

    def _row(self, room: str) -> int:
        try:
            return self.row[room]
        except KeyError:
            raise UnknownRoom(f"no room {room} here") from None

    # -- a tick -------------------------------------------------------------------------------------------------------

    def step(self, tick: TickCommands, *, stored: bool = False) -> StepResult:
        """Make the next tick of every room.

        Inputs are as `game.inputs` has it, or GameError is raised: the fault is ours, and nothing of the tick may be
        used. `stored`: they come from a journal; a room that its inputs do not fit has failed, and the others go on.
        """
        rows, result = self.rows, StepResult()
        joins = rows.generation.copy()
        rows.tick += np.uint32(1)
        for command in tick.commands:
            self._apply(command, result)
        inputs, wrong = fitting(rows, self._inputs_of_the_living(tick.inputs, result), joins)
        for row, why in wrong.items():
            error = GameError(f"room {self.ids[row]}: {why}")
            if not stored:
                raise error
            result.failed[self.ids[row]] = Failure(error)
        self._take_inputs(self._inputs_of_the_living(inputs, result) if wrong else inputs)
        self._give_up_held(result)
        self._step_all(result)
        gone = [*result.failed, *result.closed]
        for room in gone:
            result.events.pop(room, None)
        if result.handed:
            result.handed = [(room, target) for room, target in result.handed if room not in gone]
        for room in result.closed:
            self.close(room)
        result.packed = self.rows.pack()
        result.hashes = self._hashed(result.packed)
        return result

    def _inputs_of_the_living(self, inputs: np.ndarray, result: StepResult) -> np.ndarray:
        """Without those of rooms that have failed (they stay as they were) or end with this tick."""
        gone = [self.row[room] for room in (*result.failed, *result.closed)]
        return inputs[~np.isin(inputs["row"], gone)] if gone and len(inputs) else inputs

    def again(self, room: str, failure: Failure) -> Failure | None:
        """Do once more, within the tick that the room is in, what failed there; None when it goes well now.

        For a batch that holds no other room: see `game.evidence`.
        """
        result = StepResult()
        if failure.command is not None:
            self._apply(failure.command, result)
        else:
            self._step_all(result)
        return result.failed.get(room)

    @abstractmethod
    def _hooks(self, row: int) -> roster.Hooks:
        """What the roster calls for the room in `row`."""

    @abstractmethod
    def _step_all(self, result: StepResult) -> None:
        """Let the game step every room that has not failed and is not closed."""

    @abstractmethod
    def _take_inputs(self, inputs: np.ndarray) -> None:
        """Put the tick's inputs where the step reads them."""

    @abstractmethod
    def _act(self, row: int, act: Act, result: StepResult) -> None:
        """Take an act for the room in `row`."""

    def _apply(self, command: Command, result: StepResult) -> None:
        """Apply one command; a game's hook that raises costs its room, not the process."""
        room = command.room
        row = self.row.get(room)
        if row is None or room in result.failed or room in result.closed:
            return
        if isinstance(command, Act):
            self._act(row, command, result)
            return
        if isinstance(command, Close | Quarantine):
            result.closed.append(room)
            return
        if isinstance(command, HandOff):
            result.handed.append((room, command.target))
            return
        rows, ledger = self.rows, self.ledgers[row]
        try:
            if isinstance(command, roster.HOOKED):
                one = self._one = rows.take([row], into=self._one)
                change = roster.apply(self._hooks(row), one, 0, ledger, command)
                rows.put([row], one)
            else:
                change = roster.apply(self._hooks(row), rows, row, ledger, command)
        except GAME_FAULTS as error:
            result.failed[room] = Failure(error, command)
            return
        if change.seated is not None:
            seat, generation, refusal = change.seated
            result.seated.append(Seated(room, change.join_id, seat, generation, refusal))
        result.vacated.extend(Vacated(room, *vacated) for vacated in change.vacated)
        result.events.setdefault(room, []).extend(change.events)
        result.results.extend((room, one) for one in change.results)

    def _give_up_held(self, result: StepResult) -> None:
        rows = self.rows
        over = (rows.seated == HELD) & (rows.held_until <= rows.tick[:, None])
        for row, seat in np.argwhere(over).tolist() if over.any() else ():
            self._apply(Leave(self.ids[row], seat, int(rows.generation[row, seat])), result)
