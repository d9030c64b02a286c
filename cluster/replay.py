"""Replay: rooms made again from snapshots and the records behind them, and compared with them hash by hash.

    records of a dead node      p0 p1 p2 p3 p0 p1 p2 p3 …         (the phases of its tick take turns)
    steps of a room             the stage records that name it, each at the next tick
    a round                     every step that all of its rooms have come to: one merged tick of one batch
    round 1: p0 p1 p2 p3        round 2: p0 p1 p2 p3        …

A dead node's rooms ticked in several stages, whose records lie apart; but a room cares only for its own records, in
order. So the steps that are ready are made together, and 500 rooms take as many NumPy calls as one. A room enters the
batch with its first step, behind its snapshot, and leaves it, saved, behind its last. Rooms with another *path* (the
owners along their chains) are made apart. What does not fit (a hash, a tick, an input, a step that raises) costs its
room alone. All of it is cut into pieces of a few milliseconds, so that who replays can do other things in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import numpy as np
import xxhash

from cluster.codec import Record, Snapshot, StageRecord
from cluster.errors import BadSnapshot
from game.api import Game
from game.base_batch import BaseBatch, StepResult
from game.commands import TickCommands, decode_commands
from game.errors import GAME_FAULTS, BadCommands, error_text
from game.object_batch import batch_for
from game.save import SavedRoom, read_header

ROOMS_A_PIECE = 16
"""Rooms that are loaded, or saved, in one piece of work."""
STEPS_A_PIECE = 64
"""Steps that are put in order in one piece of work."""

Kind = tuple[str, int, tuple[tuple[str, int], ...]]
"""Game, ticks a second, options in order: `StageRecord.kind`."""
Observer = Callable[[BaseBatch, TickCommands, StepResult], None]
"""Is shown every step: the batch behind it, what it applied, what came of it."""
Path = tuple[str, ...]
"""The incarnations that a room's slices lie in, in order."""


@attrs.frozen(eq=False)
class ReplayRoom:
    """A room to be made again."""

    room: str
    seed: int
    snapshot: Snapshot | None
    """Where it begins; None: at tick 0, from its seed."""
    kind: Kind
    slices: tuple[tuple[int, str, int, int], ...]
    """Epoch, incarnation, first and last position of what follows, in order."""


@attrs.frozen(eq=False)
class Replayed:
    """A room as it was after its last record."""

    tick: int
    hash: int
    saved: SavedRoom
    last: tuple[str, int]
    """Incarnation and position of its last record; ("", -1) when there was none behind the snapshot."""


@attrs.frozen
class Diverged:
    """A room that could not be made again."""

    room: str
    tick: int
    why: str


@attrs.define(eq=False)
class ReplayResult:
    """What came of it: every room is in one of the three."""

    good: dict[str, Replayed] = attrs.field(factory=dict)
    ended: set[str] = attrs.field(factory=set)
    """Rooms that were closed or quarantined within their records."""
    diverged: dict[str, Diverged] = attrs.field(factory=dict)
    ticks: int = 0
    """Ticks of rooms that were made."""
    rounds: int = 0


class Replay:
    """Makes rooms again, a piece at a time.

    `make_game(name, options, tick_hz)` gives a room's rules; when it raises, its rooms have diverged. `records` holds,
    by incarnation and in order, the records that the slices need; others are passed over. `observe` is shown every
    step.
    """

    def __init__(
        self,
        make_game: Callable[[str, Mapping[str, int], int], Game],
        rooms: Sequence[ReplayRoom],
        records: Mapping[str, Sequence[Record]],
        observe: Observer | None = None,
    ) -> None:
        self.result = ReplayResult()
        self._observe = observe
        self._make_game = make_game
        self._pieces = self._all(rooms, records)

    def work(self, pieces_max: int) -> bool:
        """Do so many pieces of work, or fewer; True when all is done. A piece is at most one round."""
        return any(next(self._pieces, self) is self for _ in range(pieces_max))

    def _all(self, rooms: Sequence[ReplayRoom], records: Mapping[str, Sequence[Record]]) -> Iterator[None]:
        kinds: dict[Kind, dict[Path, list[ReplayRoom]]] = {}
        for room in rooms:
            path = tuple(piece[1] for piece in room.slices)
            kinds.setdefault(room.kind, {}).setdefault(path, []).append(room)
        for (name, tick_hz, options), paths in kinds.items():
            try:
                game = self._make_game(name, dict(options), tick_hz)
            except GAME_FAULTS as error:
                for room in (room for some in paths.values() for room in some):
                    tick = room.snapshot.tick if room.snapshot else 0
                    why = f"there are no rules for it: {error_text(error)}"
                    self.result.diverged[room.room] = Diverged(room.room, tick, why)
                continue
            for some in paths.values():
                yield from _Group(game, some, self.result, self._observe).pieces(records)


@attrs.define(eq=False)
class _Members:
    """Rooms that take a step together: their numbers in the group, and their indices in the record."""

    numbers: np.ndarray
    at: np.ndarray


@attrs.define(eq=False)
class _Step:
    """One stage record, for those of its rooms that take it."""

    place: tuple[str, int]
    """Incarnation and position of the record."""
    stage: StageRecord
    members: _Members
    missing: int = 0
    """Members that are still at an earlier step."""
    onward: list[tuple[_Step, int]] = attrs.field(factory=list)
    """Where members go next, and how many of them."""
    entrants: Sequence[int] = ()
    """Members whose first step this is."""
    leavers: frozenset[int] = frozenset()
    """Members whose last step this is."""


class _Group:
    """Rooms of one kind and one path, in one batch. Inside they go by their number."""

    def __init__(self, game: Game, rooms: Sequence[ReplayRoom], result: ReplayResult, observe: Observer | None) -> None:
        self._observe = observe
        self._rooms = rooms
        self._number = {room.room: number for number, room in enumerate(rooms)}
        self._result = result
        self._batch = batch_for(game)
        self._parked: dict[str, SavedRoom] = {}
        self._row_of = np.full(len(rooms), -1, np.intp)
        self._moved = False  # rows of the batch may be others than `_row_of` has
        self._steps: list[_Step] = []

    def pieces(self, records: Mapping[str, Sequence[Record]]) -> Iterator[None]:
        """Do all the work; every `yield` ends a piece."""
        last = np.full(len(self._rooms), -1, np.intp)
        for step in self._found(records):
            self._link(step, last)
            if len(self._steps) % STEPS_A_PIECE == 0:
                yield
        for index in np.unique(last[last >= 0]).tolist():
            self._steps[index].leavers = frozenset(np.flatnonzero(last == index).tolist())
        still = np.flatnonzero(last < 0).tolist()  # their snapshots are the newest that there is
        yield from self._enter(still)
        yield from self._leave(
            {number: (("", -1), self._batch.hash_of(self._rooms[number].room)) for number in self._here(still)}
        )
        ready = [step for step in self._steps if not step.missing]
        self._steps = []
        while ready:
            steps, ready = ready, []
            for step in steps:
                yield from self._enter(step.entrants)
            self._round(steps)
            yield
            for step in steps:
                if step.leavers:
                    numbers, hashes = step.members.numbers.tolist(), step.stage.hashes[step.members.at].tolist()
                    told = {n: (step.place, h) for n, h in zip(numbers, hashes, strict=True) if n in step.leavers}
                    yield from self._leave(told)
                for following, count in step.onward:
                    following.missing -= count
                    if not following.missing:
                        ready.append(following)

    # -- which steps there are, and in which order --------------------------------------------------------------------

    def _found(self, records: Mapping[str, Sequence[Record]]) -> Iterator[_Step]:
        """The steps of these rooms, in the order of their path. Equal members are the same object."""
        kind, number_of = self._rooms[0].kind, self._number
        for number, (_, incarnation, _, _) in enumerate(self._rooms[0].slices):
            epochs, firsts, lasts = (
                np.array([room.slices[number][part] for room in self._rooms], np.int64) for part in (0, 2, 3)
            )
            known: dict[tuple[tuple[str, ...], bytes, bytes], _Members] = {}
            for record in records.get(incarnation, ()):
                within = (firsts <= record.position) & (record.position <= lasts)
                for stage in record.stages:
                    if stage.kind != kind:
                        continue
                    key = (tuple(stage.rooms), stage.epochs.tobytes(), within.tobytes())
                    members = known.get(key)
                    if members is None:
                        numbers = np.array([number_of.get(room, -1) for room in stage.rooms], np.intp)
                        mine = (numbers >= 0) & within[numbers] & (epochs[numbers] == stage.epochs)
                        members = known[key] = _Members(numbers[mine], np.flatnonzero(mine))
                    if len(members.at):
                        yield _Step((incarnation, record.position), stage, members)

    def _link(self, step: _Step, last: np.ndarray) -> None:
        """Note a step as the next of its members, whose latest steps are in `last`."""
        numbers, steps = step.members.numbers, self._steps
        before = last[numbers]
        last[numbers] = len(steps)
        steps.append(step)
        if (before == before[0]).all():
            counts = {int(before[0]): len(before)}
        else:
            counts = dict(zip(*(part.tolist() for part in np.unique(before, return_counts=True)), strict=True))
        for index, count in counts.items():
            if index < 0:
                step.entrants = numbers[before < 0].tolist()
            else:
                steps[index].onward.append((step, count))
                step.missing += count

    # -- a round ------------------------------------------------------------------------------------------------------

    def _round(self, steps: Sequence[_Step]) -> None:
        """Make steps together."""
        batch = self._batch
        numbers = np.concatenate([step.members.numbers for step in steps])
        self._unpark(numbers)
        tick = self._tick(steps)
        ticks = np.concatenate([step.stage.ticks[step.members.at] for step in steps])
        rows = self._rows()[numbers]
        due = batch.rows.tick[rows] + np.uint32(1) if len(batch) else ticks
        for at in np.flatnonzero((rows >= 0) & (ticks != due)).tolist():
            self._drop(numbers[at], f"its records go on with tick {ticks[at]} where {due[at]} is next")
        self._park_others(numbers)
        self._result.rounds += 1
        if not len(batch):
            return
        placed = self._placed(tick, steps)
        told = batch.step(placed, stored=True)
        if self._observe is not None:
            self._observe(batch, placed, told)
        self._result.ticks += len(told.hashes)
        if told.closed:
            self._moved = True
            self._result.ended.update(told.closed)
        found, rows = np.array(told.hashes, np.uint64), self._rows()[numbers]
        wanted = np.concatenate([step.stage.hashes[step.members.at] for step in steps])
        wrong = np.flatnonzero((rows >= 0) & (found[rows] != wanted)).tolist() if len(batch) else ()
        for room, failure in told.failed.items():
            self._drop(self._number[room], error_text(failure.error))
        for at in wrong:
            self._drop(numbers[at], "its state has another hash than its record")

    def _tick(self, steps: Sequence[_Step]) -> list[TickCommands]:
        """What the steps apply; rooms whose step cannot be read are dropped."""
        batch, told = self._batch, []
        nothing = np.zeros(0, batch.input_record)
        for step in steps:
            try:
                one = decode_commands(step.stage.commands, batch.input_dtype)
                if len(one.inputs) and one.inputs["row"].max() >= len(step.stage.rooms):
                    raise BadCommands("an input is for a row behind the last")
                if len(one.inputs) and one.inputs["seat"].max() >= batch.layout.game.seats:
                    raise BadCommands("an input is for a seat behind the last")
            except BadCommands as error:
                one = TickCommands(nothing)
                for number in step.members.numbers.tolist():
                    self._drop(number, str(error))
            told.append(one)
        return told

    def _placed(self, told: Sequence[TickCommands], steps: Sequence[_Step]) -> TickCommands:
        """The steps' commands as one tick of the batch: what is for others is left out, rows are those of the batch."""
        row_of, here = self._rows(), self._batch.row
        inputs, rows, commands = [], [], []
        for one, step in zip(told, steps, strict=True):
            mapped = np.full(len(step.stage.rooms), -1, np.intp)
            mapped[step.members.at] = row_of[step.members.numbers]
            inputs.append(one.inputs.tobytes())
            rows.append(mapped[one.inputs["row"]])
            if one.commands:
                mine = {step.stage.rooms[at] for at in step.members.at.tolist()}
                commands += [command for command in one.commands if command.room in mine and command.room in here]
        row = np.concatenate(rows)
        merged = np.frombuffer(bytearray().join(inputs), self._batch.input_record)  # joining arrays of fields is slow
        merged["row"] = row
        if len(row) and row.min() < 0:
            merged = merged[row >= 0]
        return TickCommands(merged, tuple(commands))

    # -- rooms come and go --------------------------------------------------------------------------------------------

    def _rows(self) -> np.ndarray:
        """Each room's row in the batch, -1 for those that are not there."""
        if self._moved:
            self._row_of[:] = -1
            self._row_of[[self._number[room] for room in self._batch.ids]] = np.arange(len(self._batch))
            self._moved = False
        return self._row_of

    def _here(self, numbers: Sequence[int]) -> list[int]:
        return [number for number in numbers if self._rooms[number].room in self._batch.row]

    def _enter(self, numbers: Sequence[int]) -> Iterator[None]:
        batch = self._batch
        for begin in range(0, len(numbers), ROOMS_A_PIECE):
            loaded: dict[int, bytes] = {}
            for number in numbers[begin : begin + ROOMS_A_PIECE]:
                room = self._rooms[number]
                try:
                    if room.snapshot is None:
                        batch.open(room.room, room.seed)
                    else:
                        loaded[number] = _saved(room.snapshot, room.room)
                except GAME_FAULTS as error:  # a game's own code, or bytes that only look like a room
                    self._drop(number, f"it cannot be begun: {error_text(error)}")
            try:
                batch.load_all(list(loaded.values()))
            except GAME_FAULTS:
                for number, saved in loaded.items():
                    try:
                        batch.load(saved)
                    except GAME_FAULTS as error:
                        self._drop(number, f"it cannot be loaded: {error_text(error)}")
            self._moved = True
            yield

    def _leave(self, ended: Mapping[int, tuple[tuple[str, int], int]]) -> Iterator[None]:
        """Those of these rooms that are well are where they were when they were lost: behind their last steps, of which
        place and hash are given."""
        batch, numbers = self._batch, self._here(list(ended))
        for begin in range(0, len(numbers), ROOMS_A_PIECE):
            piece = numbers[begin : begin + ROOMS_A_PIECE]
            rooms = [self._rooms[number].room for number in piece]
            for number, room, saved in zip(piece, rooms, batch.copy_all(rooms), strict=True):
                place, digest = ended[number]
                self._result.good[room] = Replayed(batch.tick_of(room), digest, saved, place)
            batch.close_all(rooms)
            self._moved = True
            yield

    def _park_others(self, numbers: np.ndarray) -> None:
        """Rooms that take no part in this round wait outside: every room in the batch is stepped."""
        batch = self._batch
        if np.count_nonzero(self._rows()[numbers] >= 0) == len(batch):
            return
        takes_part = np.zeros(len(self._rooms), bool)
        takes_part[numbers] = True
        others = [room for room in batch.ids if not takes_part[self._number[room]]]
        self._parked.update(zip(others, batch.copy_all(others), strict=True))
        batch.close_all(others)
        self._moved = True

    def _unpark(self, numbers: np.ndarray) -> None:
        if self._parked:
            rooms = [self._rooms[number].room for number in numbers.tolist()]
            self._batch.enter_all([self._parked.pop(room) for room in rooms if room in self._parked])
            self._moved = True

    def _drop(self, number: int, why: str) -> None:
        """A room is given up; the first reason counts."""
        room, batch = self._rooms[number], self._batch
        tick = room.snapshot.tick if room.snapshot else 0
        if room.room in batch.row:
            tick = batch.tick_of(room.room)
            batch.close(room.room)
            self._moved = True
        if room.room not in self._result.ended:
            self._result.diverged.setdefault(room.room, Diverged(room.room, tick, why))


def _saved(snapshot: Snapshot, room: str) -> bytes:
    """The room's bytes in a snapshot; raises BadSnapshot when they are of another room, tick or state than it says."""
    header, at = read_header(snapshot.saved)
    found = header["room"], header["tick"], xxhash.xxh3_64_intdigest(snapshot.saved[at : at + header["row"]])
    if found != (room, snapshot.tick, snapshot.hash):
        raise BadSnapshot(
            f"the snapshot of tick {snapshot.tick} holds room {found[0]} at tick {found[1]}, or otherwise"
        )
    return snapshot.saved
