"""Histories: rooms that live on several incarnations, with all that journals and snapshots would hold of them.

`World` is what is true. Its incarnations write a record a turn and lane; rooms are opened, snapshot, handed over,
claimed from the dead, and end. `lost` is what a rescuer finds when everybody is dead.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import attrs
import msgpack
import numpy as np

from cluster.chain import choose
from cluster.codec import Record, Snapshot, StageRecord, decode_record, encode_record, encode_snapshot
from cluster.model import RoomEntry, Span
from cluster.replay import Kind, Replay, ReplayResult, ReplayRoom
from game.api import Game
from game.arena import Arena
from game.batch import Batch, StepResult
from game.commands import (
    Act,
    Applied,
    Close,
    Command,
    Disconnect,
    HandOff,
    Join,
    Leave,
    Quarantine,
    Recovered,
    TickCommands,
    encode_commands,
)
from game.object_batch import ObjectBatch, batch_for
from game.rows import CONNECTED
from game.save import pack_room
from game.whiteboard import Whiteboard
from tests.cluster.helpers import entry
from tests.game import driver
from tests.game.games import Pile, Tally, tick

GAMES: dict[str, Callable[[Mapping[str, int], int], Game]] = {
    "arena": lambda options, hz: Arena(options, hz),
    "tally": lambda options, hz: Tally(options, hz),
    "pile": lambda options, hz: Pile(options, hz),
    "whiteboard": lambda options, hz: Whiteboard(options, hz),
}
KINDS: tuple[Kind, ...] = (
    ("arena", 10, (("fillers", 2), ("match_s", 5), ("respawn_ms", 100), ("seats", 4))),
    ("tally", 20, (("start", 5),)),
    ("pile", 20, (("ticks", 1),)),
    ("whiteboard", 20, (("seats", 3),)),
)
TALLY = KINDS[1]
HOLD_TICKS = 20


def make_game(name: str, options: Mapping[str, int], tick_hz: int) -> Game:
    return GAMES[name](options, tick_hz)


@attrs.define(eq=False)
class Lane:
    """A stage of an incarnation."""

    owner: str
    kind: Kind
    batch: Batch | ObjectBatch
    epochs: dict[str, int] = attrs.field(factory=dict)
    pending: list[Command] = attrs.field(factory=list)


@attrs.define(eq=False)
class Found:
    """What is left of a world, and what a replay must make of it."""

    rooms: list[ReplayRoom]
    records: dict[str, list[Record]]
    saved: dict[str, bytes]
    hashes: dict[str, int]
    last: dict[str, int]
    ended: set[str]

    def replay(self, pieces_max: int = 1 << 30) -> ReplayResult:
        replay = Replay(make_game, self.rooms, self.records)
        while not replay.work(pieces_max):
            pass
        return replay.result

    def bytes_of(self, room: str, result: ReplayResult) -> bytes:
        """What a replay has made of a room."""
        ((name, tick_hz, options),) = (found.kind for found in self.rooms if found.room == room)
        return pack_room(make_game(name, dict(options), tick_hz), result.good[room].saved)

    def check(self, but: Sequence[str] = ()) -> ReplayResult:
        """Replay: every room is as it was, or has ended, and those in `but` have diverged."""
        result = self.replay()
        assert set(result.diverged) == set(but), result.diverged
        assert result.ended == self.ended - set(but)
        well = sorted(set(self.saved) - set(but))
        assert sorted(result.good) == well
        for room in well:
            assert self.bytes_of(room, result) == self.saved[room], room
            assert result.good[room].hash == self.hashes[room]
            assert result.good[room].last[1] == self.last[room]
        return result


class World:
    """Incarnations, each with lanes of some kinds."""

    def __init__(self, owners: Sequence[str], kinds: Sequence[Kind]) -> None:
        self.lanes = [Lane(owner, kind, batch_for(make_of(kind))) for owner in owners for kind in kinds]
        self.journals: dict[str, list[bytes]] = {owner: [] for owner in owners}
        self.entries: dict[str, RoomEntry] = {}
        self.lane_of: dict[str, Lane] = {}
        self.snapshots: dict[str, list[bytes]] = {}
        self.last: dict[str, int] = {}
        self.ended: set[str] = set()

    def open(self, room: str, lane: Lane, seed: int = 7) -> None:
        """A new room, from tick 0 on."""
        name, tick_hz, options = lane.kind
        first = len(self.journals[lane.owner]) + 1
        chain = (Span(1, lane.owner, first),)
        fields = {"game": name, "options": dict(options), "tick_hz": tick_hz, "seed": seed}
        self.entries[room] = entry(room, lane.owner, chain=chain, fingerprint=lane.batch.game.fingerprint, **fields)
        lane.batch.open(room, seed)
        lane.epochs[room], self.lane_of[room] = 1, lane

    def turn(self, lane: Lane, *commands: Command, inputs: np.ndarray | None = None) -> StepResult:
        """A tick of a lane, and its record."""
        batch, told = lane.batch, (*lane.pending, *commands)
        lane.pending.clear()
        taken = np.zeros(0, batch.input_record) if inputs is None else inputs
        rooms, ticks, epochs = list(batch.ids), batch.rows.tick + np.uint32(1), dict(lane.epochs)
        result = batch.step(TickCommands(taken, told))
        gone = {*result.failed, *result.closed}
        for room in result.failed:
            batch.close(room)
        for room in gone:
            del lane.epochs[room]
            if self.lane_of.get(room) is lane:
                del self.lane_of[room]
                self.ended.add(room)
        hashes = dict(zip(batch.ids, batch.hashes(), strict=True))
        name, tick_hz, options = lane.kind
        stage = StageRecord(
            name,
            dict(options),
            tick_hz,
            rooms,
            np.array([epochs[room] for room in rooms], np.uint32),
            ticks,
            np.array([hashes.get(room, 0) for room in rooms], np.uint64),
            encode_commands(TickCommands(taken, (*map(Quarantine, result.failed), *told))),
        )
        journal = self.journals[lane.owner]
        journal.append(encode_record(lane.owner, len(journal) + 1, [stage]))
        self.last.update((room, len(journal)) for room in rooms if self.lane_of.get(room) is lane)
        return result

    def snap(self, room: str) -> None:
        """Keep a snapshot of a room, as its owner would."""
        lane, row = self.lane_of[room], self.entries[room]
        snapshot = Snapshot(
            room=room,
            epoch=row.epoch,
            tick=lane.batch.tick_of(room),
            incarnation=lane.owner,
            position=max(row.chain[-1].first - 1, len(self.journals[lane.owner])),
            fingerprint=row.fingerprint,
            hash=lane.batch.hash_of(room),
            game=row.game,
            options=row.options,
            tick_hz=row.tick_hz,
            saved=lane.batch.save(room),
        )
        self.snapshots.setdefault(room, []).insert(0, encode_snapshot(snapshot))

    def hand_off(self, room: str, to: Lane, *, zombie: bool = False) -> None:
        """A tick with HandOff, then the room goes on at the target; a `zombie` goes on at the source, too."""
        source, row = self.lane_of[room], self.entries[room]
        result = self.turn(source, HandOff(room, to.owner))
        assert result.handed == [(room, to.owner)]
        if row.room in self.ended:
            return
        *before, last = row.chain
        ended = attrs.evolve(last, last=len(self.journals[source.owner]))
        new = Span(row.epoch + 1, to.owner, len(self.journals[to.owner]) + 1)
        self.entries[room] = attrs.evolve(row, owner=to.owner, epoch=row.epoch + 1, chain=(*before, ended, new))
        self._move(room, to, zombie)

    def claim(self, dead: str, to: Lane) -> None:
        """The rooms of a dead incarnation's lane of that kind go on at `to`."""
        for room in [room for room, lane in self.lane_of.items() if (lane.owner, lane.kind) == (dead, to.kind)]:
            first, tip = len(self.journals[to.owner]) + 1, len(self.journals[dead])
            self.entries[room] = self.entries[room].claimed(to.owner, first, tip)
            self._move(room, to, zombie=False)
            to.pending.append(Recovered(room, HOLD_TICKS))

    def forget(self, room: str, lane: Lane) -> None:
        """A lane drops a room, zombie or not."""
        if room in lane.batch.row:
            lane.batch.close(room)
            del lane.epochs[room]

    def lost(self, chance: random.Random | None = None) -> Found:
        """Everybody dies. Where there is `chance`, some of the newest snapshots are gone."""
        tips = {owner: len(journal) for owner, journal in self.journals.items()}
        rooms = []
        last = {room: position for room, position in self.last.items() if room in self.lane_of}
        for room, row in self.entries.items():
            kept = self.snapshots.get(room, [])
            kept = kept if chance is None else kept[chance.randrange(len(kept) + 1) :]
            start = choose(row, kept, tips)
            slices = tuple((piece.epoch, piece.incarnation, piece.first, piece.last) for piece in start.slices)
            kind = (row.game, row.tick_hz, tuple(sorted(row.options.items())))
            rooms.append(ReplayRoom(room, row.seed, start.snapshot, kind, slices))
            if room in last:
                tick = 0 if start.snapshot is None else start.snapshot.tick
                last[room] = last[room] if self.lane_of[room].batch.tick_of(room) > tick else -1
        lanes = self.lane_of.items()
        return Found(
            rooms,
            {
                owner: [decode_record(data, owner, at) for at, data in enumerate(j, 1)]
                for owner, j in self.journals.items()
            },
            {room: lane.batch.save(room) for room, lane in lanes},
            {room: lane.batch.hash_of(room) for room, lane in lanes},
            {room: last.get(room, -1) for room, _ in lanes},
            set(self.ended),
        )

    def _move(self, room: str, to: Lane, zombie: bool) -> None:
        source = self.lane_of[room]
        saved = source.batch.save(room)
        if to is source or not zombie:
            self.forget(room, source)
        self.forget(room, to)
        to.batch.load(saved)
        to.epochs[room], self.lane_of[room] = self.entries[room].epoch, to


def make_of(kind: Kind) -> Game:
    return make_game(kind[0], dict(kind[2]), kind[1])


def random_world(seed: int, turns: int = 40) -> tuple[World, random.Random]:
    """Three incarnations and everything that can happen to rooms, by chance. The first incarnation dies on the way."""
    chance = random.Random(seed)
    world = World(["a", "b", "c"], [KINDS[0], KINDS[0], *KINDS[1:]])
    living = ["a", "b", "c"]
    for turn in range(turns):
        if turn == turns // 2:
            living.remove("a")
            for kind in KINDS:
                world.claim("a", chance.choice(_lanes(world, living, kind)))
        if chance.random() < 0.4 or not turn:
            lane = chance.choice(_lanes(world, living, chance.choice(KINDS)))
            world.open(f"{lane.kind[0]}{turn}", lane, chance.getrandbits(64))
        for room in [room for room in world.lane_of if chance.random() < 0.05]:
            if room in world.lane_of:  # it may have ended in the tick of another's hand-off
                to = chance.choice(_lanes(world, living, world.lane_of[room].kind))
                world.hand_off(room, to, zombie=chance.random() < 0.5)
        for lane in world.lanes:
            if lane.owner in living and chance.random() < 0.9:
                commands, inputs = _played(lane, chance)
                commands += [Close(room) for room in lane.batch.ids if chance.random() < 0.008]
                world.turn(lane, *commands, inputs=inputs)
                for room in list(lane.batch.ids):
                    if world.lane_of.get(room) is not lane and chance.random() < 0.3:
                        world.forget(room, lane)
        for room in [room for room in world.lane_of if chance.random() < 0.1]:
            world.snap(room)
    return world, chance


def _lanes(world: World, living: Sequence[str], kind: Kind) -> list[Lane]:
    return [lane for lane in world.lanes if lane.owner in living and lane.kind == kind]


def _played(lane: Lane, chance: random.Random) -> tuple[list[Command], np.ndarray]:
    """What the players of a lane do at its next tick."""
    batch = lane.batch
    if lane.kind[0] == "arena":
        assert isinstance(batch, Batch)
        told = driver.tick_commands(batch, {room: int(batch.rows.seed[row]) for room, row in batch.row.items()})
        return list(told.commands), told.inputs
    commands: list[Command] = []
    inputs: dict[tuple[str, int], dict[str, int]] = {}
    for room, row in batch.row.items():
        if chance.random() < 0.3 and (outbox := batch.ledger(room).outbox):
            commands.append(Applied(room, tuple(outbox)))
        if chance.random() < 0.2:
            who = chance.choice("klmno")
            commands.append(Join(room, who, who.upper(), f"{chance.random()}", {"rating": chance.randrange(9)}))
        for seat in np.flatnonzero(batch.rows.seated[row] == CONNECTED).tolist():
            generation, dice = batch.generation(room, seat), chance.random()
            if dice < 0.03:
                commands.append(Leave(room, seat, generation))
            elif dice < 0.08:
                commands.append(Disconnect(room, seat, generation, chance.randrange(1, 9)))
            elif dice > 0.3 and lane.kind[0] == "tally":
                light = int(chance.random() < 0.01)  # a fuse: the room fails
                inputs[room, seat] = {"add": chance.randrange(-9, 10), "light": light, "rewind": chance.randrange(8)}
            elif dice > 0.3:
                act = _drawing(chance) if lane.kind[0] == "whiteboard" else _piling(chance)
                commands.append(Act(room, seat, generation, batch.last_seq(room, seat) + 1, msgpack.packb(act)))
    return commands, tick(batch, inputs=inputs).inputs


def _piling(chance: random.Random) -> object:
    if chance.random() < 0.01:
        return "boom"
    return chance.choice([1, 7, 9, 666, "deal", {"add": 3}, {}])


def _drawing(chance: random.Random) -> object:
    xy = chance.randbytes(4 * chance.randrange(1, 5))
    return chance.choice(
        [["begin", "#10ff00", 3, xy], ["extend", xy], ["end"], ["undo"], ["clear"], ["cursor", 5, 6], ["nonsense"]]
    )
