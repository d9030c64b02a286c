"""Replay: rooms made again from snapshots and the records behind them, and compared with them hash by hash.

    records of a dead node      p0 p1 p2 p3 p0 p1 p2 p3 …         (the phases of its tick take turns)
    steps of a room             the stage records that name it, each at the next tick
    a round                     every step that all of its rooms have come to: one merged tick of one batch
    round 1: p0 p1 p2 p3        round 2: p0 p1 p2 p3        …

A dead node's rooms ticked in several stages, whose records lie apart; but a room cares only for its own records, in
order. So the steps that are ready are made together, and 500 rooms take as many NumPy calls as one. A room enters the
batch with its first step, behind its snapshot, and leaves it, saved, behind its last. Rooms with another *path* (the
owners along their chains) are made apart. What does not fit (a hash, a tick, a step that raises) costs its room alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import numpy as np

from cluster.codec import Record, Snapshot, StageRecord
from game.api import Game
from game.base_batch import BaseBatch, StepResult
from game.commands import Command, TickCommands, decode_commands
from game.errors import BadCommands
from game.object_batch import batch_for

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
    saved: bytes
    last_position: int
    """Of its last record; -1 when there was none behind the snapshot."""


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
    """Makes rooms again, a bounded number of rounds at a time.

    `make_game(name, options, tick_hz)` gives a room's rules. `records` holds, by incarnation and in order, the records
    that the slices need; others are passed over.
    """

    def __init__(
        self,
        make_game: Callable[[str, Mapping[str, int], int], Game],
        rooms: Sequence[ReplayRoom],
        records: Mapping[str, Sequence[Record]],
        observe: Observer | None = None,
    ) -> None:
        self.result = ReplayResult()
        groups: dict[tuple[Kind, Path], list[ReplayRoom]] = {}
        for room in rooms:
            groups.setdefault((room.kind, tuple(piece[1] for piece in room.slices)), []).append(room)
        games: dict[Kind, Game] = {}
        self._groups: list[_Group] = []
        for (kind, path), some in groups.items():
            if kind not in games:
                games[kind] = make_game(kind[0], dict(kind[2]), kind[1])
            self._groups.append(_Group(games[kind], path, some, records, self.result, observe))

    def work(self, rounds_max: int) -> bool:
        """Do so many rounds, or fewer; True when all is done."""
        for _ in range(rounds_max):
            while self._groups and not self._groups[-1].round():
                self._groups.pop()
            if not self._groups:
                return True
        return False


@attrs.define(eq=False)
class _Members:
    """Rooms that take a step together, and where they are in its record and in our batch."""

    rooms: tuple[str, ...]
    names: frozenset[str]
    at: np.ndarray
    """Their indices in the record."""
    total: int
    """How many rooms the record has."""
    rows: np.ndarray = attrs.field(factory=lambda: np.zeros(0, np.intp))
    """Their rows in the batch, as of `moved`."""
    mapped: np.ndarray = attrs.field(factory=lambda: np.zeros(0, np.intp))
    """Index in the record → row in the batch, -1 for rooms that are not meant."""
    moved: int = -1


@attrs.define(eq=False)
class _Step:
    """One stage record, for those of its rooms that take it."""

    position: int
    stage: StageRecord
    members: _Members
    missing: int = 0
    """Members that are still at an earlier step."""
    onward: dict[_Step, int] = attrs.field(factory=dict)
    """Where the members go next, and how many of them."""
    entrants: list[str] = attrs.field(factory=list)
    """Members whose first step this is."""
    leavers: list[str] = attrs.field(factory=list)
    """Members whose last step this is."""


class _Group:
    """Rooms of one kind and one path, in one batch."""

    def __init__(
        self,
        game: Game,
        path: Path,
        rooms: Sequence[ReplayRoom],
        records: Mapping[str, Sequence[Record]],
        result: ReplayResult,
        observe: Observer | None,
    ) -> None:
        self._observe = observe
        self._rooms = {room.room: room for room in rooms}
        self._result = result
        self._batch = batch_for(game)
        self._parked: dict[str, bytes] = {}
        self._gone: set[str] = set()
        self._moved = 0  # counts the times that rows of the batch may have moved
        last, self._ready = _link(rooms[0].kind, path, rooms, records)
        for room in self._rooms:
            if room in last:
                last[room].leavers.append(room)
            else:  # its snapshot is the newest that there is
                self._enter([room])
                self._leave([room], None)

    def round(self) -> bool:
        """Make every step that is ready; False when there is none left."""
        steps, self._ready = self._ready, []
        if not steps:
            return False
        for step in steps:
            self._enter([room for room in step.entrants if room not in self._gone])
            self._unpark(step.members.rooms)
        tellings = [(step, self._told(step)) for step in steps]
        self._check_ticks(steps)
        self._park_others(steps)
        inputs: list[np.ndarray] = []
        commands: list[Command] = []
        for step, told in tellings:
            members = self._placed(step.members)
            if told is None or not len(members.rows):
                continue
            here = self._batch.row
            commands.extend(command for command in told.commands if command.room in here)
            if len(told.inputs):
                rows = members.mapped[told.inputs["row"]]
                mine = told.inputs[rows >= 0].copy()
                mine["row"] = rows[rows >= 0]
                inputs.append(mine)
        if len(self._batch):
            self._step(steps, inputs, commands)
        for step in steps:
            self._leave(step.leavers, step)
            for following, count in step.onward.items():
                following.missing -= count
                if not following.missing:
                    self._ready.append(following)
        self._result.rounds += 1
        return True

    # -- the parts of a round -----------------------------------------------------------------------------------------

    def _told(self, step: _Step) -> TickCommands | None:
        try:
            told = decode_commands(step.stage.commands, self._batch.input_dtype)
        except BadCommands as error:
            for room in step.members.rooms:
                self._drop(room, str(error))
            return None
        mine = set(step.members.rooms)
        commands = tuple(command for command in told.commands if command.room in mine)
        return TickCommands(told.inputs, commands)

    def _check_ticks(self, steps: Sequence[_Step]) -> None:
        for step in steps:
            members = self._placed(step.members)
            ticks = step.stage.ticks[members.at][members.rows >= 0]
            behind = self._batch.rows.tick[members.rows[members.rows >= 0]] + np.uint32(1)
            if not np.array_equal(ticks, behind):
                rooms = [room for room in members.rooms if room in self._batch.row]
                for room, tick, wanted in zip(rooms, ticks.tolist(), behind.tolist(), strict=True):
                    if tick != wanted:
                        self._drop(room, f"its records go on with tick {tick} where {wanted} is next")

    def _step(self, steps: Sequence[_Step], inputs: list[np.ndarray], commands: list[Command]) -> None:
        batch = self._batch
        merged = np.concatenate(inputs) if inputs else np.zeros(0, batch.input_record)
        tick = TickCommands(merged, tuple(commands))
        told = batch.step(tick)
        if self._observe is not None:
            self._observe(batch, tick, told)
        self._result.ticks += len(told.hashes)
        if told.closed:
            self._moved += 1
            self._gone.update(told.closed)
            self._result.ended.update(told.closed)
        for room, failure in told.failed.items():
            self._drop(room, f"its game raised {type(failure.error).__name__}")
        hashes = np.array(batch.hashes() if told.failed else told.hashes, np.uint64)
        for step in steps:
            members = self._placed(step.members)
            here = members.rows >= 0
            wrong = hashes[members.rows[here]] != step.stage.hashes[members.at][here]
            if wrong.any():
                rooms = [room for room, is_here in zip(members.rooms, here.tolist(), strict=True) if is_here]
                for room, is_wrong in zip(rooms, wrong.tolist(), strict=True):
                    if is_wrong:
                        self._drop(room, "its state has another hash than its record")
                hashes = np.array(batch.hashes(), np.uint64)

    def _placed(self, members: _Members) -> _Members:
        """The members with the rows that they have now."""
        if members.moved != self._moved:
            row = self._batch.row
            members.rows = np.array([row.get(room, -1) for room in members.rooms], np.intp)
            members.mapped = np.full(members.total, -1, np.intp)
            members.mapped[members.at] = members.rows
            members.moved = self._moved
        return members

    # -- rooms come and go --------------------------------------------------------------------------------------------

    def _enter(self, rooms: Sequence[str]) -> None:
        for name in rooms:
            room, batch = self._rooms[name], self._batch
            self._moved += 1
            try:
                if room.snapshot is None:
                    batch.open(name, room.seed)
                    continue
                batch.load(room.snapshot.saved)
            except Exception as error:  # a game's own code, or bytes that only look like a room
                self._drop(name, f"it cannot be loaded: {error}")
                continue
            if batch.tick_of(name) != room.snapshot.tick:
                self._drop(name, "its snapshot has another tick than it says")

    def _leave(self, rooms: Sequence[str], last: _Step | None) -> None:
        """Those of these rooms that are well are where they were when they were lost: behind their last step."""
        batch = self._batch
        for room in rooms:
            if room not in batch.row:
                continue
            if last is None:
                position, digest = -1, batch.hash_of(room)
            else:
                position, digest = last.position, int(last.stage.hashes[last.stage.rooms.index(room)])
            self._result.good[room] = Replayed(batch.tick_of(room), digest, batch.save(room), position)
            self._gone.add(room)
            batch.close(room)
            self._moved += 1

    def _park_others(self, steps: Sequence[_Step]) -> None:
        """Rooms that take no part in this round wait outside: every room in the batch is stepped."""
        taking_part = sum(int((self._placed(step.members).rows >= 0).sum()) for step in steps)
        if taking_part == len(self._batch):
            return
        mine = {room for step in steps for room in step.members.rooms}
        for room in [room for room in self._batch.ids if room not in mine]:
            self._parked[room] = self._batch.save(room)
            self._batch.close(room)
            self._moved += 1

    def _unpark(self, rooms: Sequence[str]) -> None:
        if self._parked:
            for room in rooms:
                if room in self._parked:
                    self._batch.load(self._parked.pop(room))
                    self._moved += 1

    def _drop(self, room: str, why: str) -> None:
        batch = self._batch
        if room in self._gone:
            return
        tick = batch.tick_of(room) if room in batch.row else 0
        if room in batch.row:
            batch.close(room)
        self._parked.pop(room, None)
        self._moved += 1
        self._gone.add(room)
        self._result.diverged[room] = Diverged(room, tick, why)


def _link(
    kind: Kind, path: Path, rooms: Sequence[ReplayRoom], records: Mapping[str, Sequence[Record]]
) -> tuple[dict[str, _Step], list[_Step]]:
    """Make the steps of these rooms, each knowing the next; returns every room's last, and the steps without an earlier
    one. Rooms that go on together (nearly all of them) are linked together."""
    last: dict[str, _Step] = {}
    firsts: list[_Step] = []
    for number, incarnation in enumerate(path):
        wanted = {room.room: room.slices[number] for room in rooms}
        tails: list[_Step] = []  # the newest step of everybody who has one in this journal; the newest last
        for step in _steps(kind, wanted, records.get(incarnation, ())):
            new, done = step.members.names, []
            for tail in reversed(tails):
                common = tail.members.names & new
                if common:
                    tail.onward[step] = len(common)
                    step.missing += len(common)
                    new = new - common
                    if len(common) == len(tail.members.names):
                        done.append(tail)
            for room in sorted(new):
                earlier = last.get(room)
                if earlier is None:
                    step.entrants.append(room)
                else:
                    earlier.onward[step] = earlier.onward.get(step, 0) + 1
                    step.missing += 1
            tails = [*(tail for tail in tails if tail not in done), step]
            if not step.missing:
                firsts.append(step)
        for tail in tails:
            last.update(dict.fromkeys(tail.members.names, tail))
    return last, firsts


def _steps(kind: Kind, wanted: Mapping[str, tuple[int, str, int, int]], records: Sequence[Record]) -> Iterator[_Step]:
    """The steps that wanted rooms (by their slices) take in one journal. Equal members are the same object."""
    templates: dict[tuple[object, ...], list[tuple[int, str, int, int]]] = {}
    known: dict[tuple[object, ...], _Members] = {}
    for record in records:
        position = record.position
        for stage in record.stages:
            if stage.kind != kind:
                continue
            key = (tuple(stage.rooms), stage.epochs.tobytes())
            template = templates.get(key)
            if template is None:
                template = templates[key] = [
                    (at, room, wanted[room][2], wanted[room][3])
                    for at, room in enumerate(stage.rooms)
                    if room in wanted and wanted[room][0] == int(stage.epochs[at])
                ]
            taken = [(at, room) for at, room, first, to in template if first <= position <= to]
            if not taken:
                continue
            same = (id(template), *(at for at, _ in taken))
            members = known.get(same)
            if members is None:
                members = known[same] = _Members(
                    tuple(room for _, room in taken),
                    frozenset(room for _, room in taken),
                    np.array([at for at, _ in taken], np.intp),
                    len(stage.rooms),
                )
            yield _Step(position, stage, members)
