"""Replay: journals and snapshots make every room again, bit for bit; what does not fit costs its room alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
import pytest

from cluster.codec import Record, StageRecord, decode_snapshot
from cluster.replay import Diverged, Replay
from game.api import Game
from game.commands import COMMANDS, Act, Close, Command, Join, Leave, TickCommands, decode_commands, encode_commands
from tests.cluster.histories import KINDS, TALLY, Found, Lane, World, make_game, make_of, random_world
from tests.game.games import act, tick

SEEDS = 6
ROOMS = ("r0", "r1", "r2", "r3")


def played(world: World, lane: Lane, turns: int = 1, add: int = 1) -> None:
    """Turns in which the player of every tally room adds something."""
    for _ in range(turns):
        batch = lane.batch
        inputs = {(room, 0): {"add": add + int(room[1:])} for room in batch.ids if batch.taken()[batch.row[room]]}
        world.turn(lane, inputs=tick(batch, inputs=inputs).inputs)


def tally_world(turns: int = 6, owners: tuple[str, ...] = ("a",), lanes: int = 2) -> World:
    """Four rooms of Tally with a player each, on two lanes of the first owner that take turns."""
    world = World(owners, [TALLY] * lanes)
    for number, room in enumerate(ROOMS):
        world.open(room, world.lanes[number % 2], number)
    for lane in world.lanes[:2]:
        world.turn(lane, *(Join(room, "ann", "Ann", "j") for room in lane.batch.ids))
    for _ in range(turns):
        for lane in world.lanes[:2]:
            played(world, lane)
    return world


def changed(found: Found, position: int, change: Callable[[StageRecord], StageRecord], owner: str = "a") -> None:
    """Replace the stage of a record."""
    record = found.records[owner][position - 1]
    found.records[owner][position - 1] = Record(owner, position, [change(record.stages[0])])


def retold(change: Callable[[np.ndarray, list[Command]], Any]) -> Callable[[StageRecord], StageRecord]:
    """A change of a stage's inputs (in place) or commands (in place)."""

    def of(stage: StageRecord) -> StageRecord:
        told = decode_commands(stage.commands, make_of(TALLY).input_dtype)
        inputs, commands = told.inputs.copy(), list(told.commands)
        change(inputs, commands)
        return attrs.evolve(stage, commands=encode_commands(TickCommands(inputs, tuple(commands))))

    return of


# -- whole histories ---------------------------------------------------------------------------------------------------


@functools.cache
def history(seed: int) -> Found:
    world, chance = random_world(seed)
    return world.lost(chance)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happened_is_made_again(seed: int) -> None:
    found = history(seed)
    result = found.check()
    assert len(result.good) > 3
    begun = {room.room: 0 if room.snapshot is None else room.snapshot.tick for room in found.rooms}
    assert result.ticks >= sum(good.tick - begun[room] for room, good in result.good.items())


def test_the_histories_have_everything_in_them() -> None:
    """Else the test above would be worth less than it looks."""
    seen: set[str] = set()
    for found in map(history, range(SEEDS)):
        mine = {room.room: room for room in found.rooms}
        for room in found.rooms:
            seen |= {"no snapshot" if room.snapshot is None else "snapshot", f"{min(len(room.slices), 3)} slices"}
        for record in (record for records in found.records.values() for record in records):
            stage = record.stages[0]
            told = decode_commands(stage.commands, make_of(stage.kind).input_dtype)
            seen |= {command.kind for command in told.commands}
            for name, epoch in zip(stage.rooms, stage.epochs.tolist(), strict=True):
                for other, incarnation, first, last in mine[name].slices:
                    if other != epoch and incarnation == record.incarnation and first <= record.position <= last:
                        seen.add("another epoch in a slice")
    shapes = {"no snapshot", "snapshot", "0 slices", "1 slices", "2 slices", "3 slices", "another epoch in a slice"}
    assert seen == shapes | set(COMMANDS)


def test_a_piece_at_a_time_makes_the_same() -> None:
    found = history(3)
    whole, pieces = found.replay(), found.replay(pieces_max=1)
    assert whole.good.keys() == pieces.good.keys()
    assert all(whole.good[room].saved == good.saved for room, good in pieces.good.items())
    assert (whole.rounds, whole.ticks, whole.ended) == (pieces.rounds, pieces.ticks, pieces.ended)


# -- rounds ------------------------------------------------------------------------------------------------------------


def test_lanes_that_took_turns_are_stepped_together() -> None:
    result = tally_world(turns=6).lost().check()
    assert result.rounds == 7
    assert result.ticks == 7 * 4


def test_a_bounded_number_of_pieces_is_done() -> None:
    found = tally_world(turns=6).lost()
    replay = Replay(make_game, found.rooms, found.records)
    rounds = [0]
    while not replay.work(1):
        rounds.append(replay.result.rounds)
        assert rounds[-1] - rounds[-2] <= 1
    assert rounds[-1] == 7
    assert replay.work(1)
    assert not Replay(make_game, found.rooms, found.records).work(0)


def test_rooms_enter_where_their_snapshots_are() -> None:
    world = tally_world(turns=4)
    world.snap("r0")
    for lane in world.lanes:
        played(world, lane, 5)
    world.snap("r1")
    found = world.lost()
    result = found.check()
    assert result.ticks == 10 + 10 + 5 + 0
    assert result.good["r1"].last[1] == -1


def test_rooms_that_wait_for_others_stand_still() -> None:
    """Two rooms come to b at different times and are in one lane there: the first to come waits for the second."""
    world = tally_world(owners=("a", "b"))
    to = world.lanes[2]
    world.hand_off("r0", to)
    played(world, to, 3)
    played(world, world.lanes[0], 4)
    world.hand_off("r2", to)
    played(world, to, 3)
    world.lost().check()


def test_nothing_to_do_is_done() -> None:
    replay = Replay(make_game, [], {})
    assert replay.work(1)
    assert replay.result.good == {}


# -- whose records -----------------------------------------------------------------------------------------------------


def test_a_zombie_s_records_are_passed_over() -> None:
    """The old owner steps a room on that has moved, and got it back: epoch 1 lies within the slice of epoch 3."""
    world = tally_world(owners=("a", "b"))
    world.hand_off("r0", world.lanes[2], zombie=True)
    played(world, world.lanes[2], 2, add=3)
    world.hand_off("r0", world.lanes[1])
    for _ in range(3):
        played(world, world.lanes[0], add=5)
        played(world, world.lanes[1])
    assert world.lanes[0].epochs["r0"] == 1
    assert world.lanes[1].epochs["r0"] == 3
    world.lost().check()


def test_records_outside_the_slices_are_passed_over() -> None:
    world = tally_world(turns=6)
    whole, cut = world.lost(), world.lost()
    cut.rooms = [attrs.evolve(room, slices=((1, "a", 1, 8),)) for room in cut.rooms]
    result = cut.replay()
    assert {room: good.tick for room, good in result.good.items()} == dict.fromkeys(ROOMS, 4)
    assert {room: good.last[1] for room, good in result.good.items()} == {"r0": 7, "r1": 8, "r2": 7, "r3": 8}
    whole.check()


def test_rooms_that_are_not_ours_are_left_out() -> None:
    """Their inputs, which lie between ours, and their commands."""
    world = tally_world()
    world.turn(world.lanes[0], Join("r2", "ben", "Ben", "k"), Leave("r0", 0, 1))
    found = world.lost()
    alone = Found(
        [room for room in found.rooms if room.room == "r2"],
        found.records,
        {"r2": found.saved["r2"]},
        found.hashes,
        found.last,
        set(),
    )
    assert alone.check().ticks == world.lanes[0].batch.tick_of("r2")


def test_several_stages_of_one_record() -> None:
    world = tally_world()
    found = world.lost()
    odd, even = found.records["a"][0::2], found.records["a"][1::2]
    found.records["a"] = [
        Record("a", at, [*one.stages, *two.stages]) for at, (one, two) in enumerate(zip(odd, even, strict=True), 1)
    ]
    found.last = dict.fromkeys(ROOMS, len(odd))
    found.check()


# -- ends --------------------------------------------------------------------------------------------------------------


def test_rooms_end_where_they_ended() -> None:
    world = tally_world()
    one = world.lanes[0]
    world.turn(one, Close("r0"))
    failed = world.turn(one, inputs=tick(one.batch, inputs={("r2", 0): {"light": 1}}).inputs)
    assert list(failed.failed) == ["r2"]
    played(world, world.lanes[1])
    result = world.lost().check()
    assert result.ended == {"r0", "r2"}


def test_a_room_handed_off_to_nobody_is_where_its_last_tick_left_it() -> None:
    world = tally_world(owners=("a", "b"))
    world.hand_off("r0", world.lanes[2])
    found = world.lost()
    assert found.rooms[0].slices == ((1, "a", 1, len(world.journals["a"])),)
    found.check()


# -- what does not fit -------------------------------------------------------------------------------------------------


def flip(field: str, by: int) -> Callable[[np.ndarray, list[Command]], None]:
    def change(inputs: np.ndarray, commands: list[Command]) -> None:
        inputs[field][0] = int(inputs[field][0]) + by

    return change


def twice(inputs: np.ndarray, commands: list[Command]) -> None:
    inputs[1] = inputs[0]


@pytest.mark.parametrize(
    ("change", "why", "rooms"),
    [
        (flip("add", 1), "another hash", {"r0"}),
        (flip("rewind", 1), "another hash", {"r0"}),
        (flip("seq", 1), "seat 0 is given input 4 where 3 is the next", {"r0"}),
        (flip("seq", -1), "seat 0 is given input 2 where 3 is the next", {"r0"}),
        (twice, "where 3 is the next; one a tick", {"r0", "r2"}),
        (flip("seat", 3), "a seat behind the last", {"r0", "r2"}),
        (flip("row", 2), "a row behind the last", {"r0", "r2"}),
        (lambda inputs, commands: commands.append(Join("r0", "zoe", "Zoe", "j")), "another hash", {"r0"}),
        (lambda inputs, commands: commands.append(Join("r0", "zoe", "", "j", {"bad": "hook"})), "Boom: join", {"r0"}),
    ],
    ids=["field", "rewind", "ahead", "behind", "twice", "seat", "row", "command", "hook"],
)
def test_what_was_not_so_costs_its_room_alone(change: Any, why: str, rooms: set[str]) -> None:
    found = tally_world(turns=6).lost()
    changed(found, 7, retold(change))  # the fourth tick of r0 and r2, and their third input
    result = found.check(but=sorted(rooms))
    assert why in result.diverged["r0"].why
    assert result.diverged["r0"].tick in (3, 4)


def test_a_step_that_raises_costs_its_room_alone() -> None:
    """It raised nothing then, or there would be a quarantine: other code, or a fault of the machine."""
    world = tally_world()
    found = world.lost()
    changed(found, 7, retold(flip("light", 1)))
    assert found.check(but=["r0"]).diverged["r0"].why == "Boom: fuse"


def test_other_hashes_epochs_or_bytes() -> None:
    found = tally_world().lost()
    changed(found, 7, lambda stage: attrs.evolve(stage, hashes=stage.hashes ^ np.array([0, 1], np.uint64)))
    found.check(but=["r2"])
    changed(found, 8, lambda stage: attrs.evolve(stage, commands=stage.commands[:-3]))
    result = found.check(but=["r1", "r2", "r3"])
    assert "no record of a tick's commands" in result.diverged["r1"].why


def test_a_hole_is_seen_where_the_next_record_is() -> None:
    found = tally_world().lost()
    del found.records["a"][4]
    result = found.check(but=["r0", "r2"])
    assert result.diverged["r2"] == Diverged("r2", 2, "its records go on with tick 4 where 3 is next")


def test_a_room_that_did_not_end_where_its_record_says() -> None:
    found = tally_world().lost()
    changed(found, 7, lambda stage: attrs.evolve(stage, hashes=stage.hashes * np.array([1, 0], np.uint64)))
    found.check(but=["r2"])


def test_snapshots_that_are_of_something_else() -> None:
    world = tally_world()
    for room in ROOMS:
        world.snap(room)
    found = world.lost()
    held = [room.snapshot for room in found.rooms]
    assert held[0] is not None
    assert held[1] is not None
    wrong: list[dict[str, Any]] = [
        {"saved": held[1].saved},
        {"hash": held[1].hash ^ 1},
        {"tick": held[2].tick + 1 if held[2] else 0},
        {"saved": held[0].saved[:-9] + b"junk"},
    ]
    found.rooms = [
        attrs.evolve(room, snapshot=attrs.evolve(snapshot, **fields))
        for room, snapshot, fields in zip(found.rooms, held, wrong, strict=True)
        if snapshot is not None
    ]
    result = found.check(but=ROOMS)
    assert all("it cannot be begun: Bad" in diverged.why for diverged in result.diverged.values())


def test_a_snapshot_of_other_rules_costs_its_room_alone() -> None:
    world = tally_world()
    for room in ROOMS:
        world.snap(room)
    found = world.lost()
    other = World(["a"], [("tally", 20, (("start", 6),))])
    other.open("r3", other.lanes[0])
    other.snap("r3")
    found.rooms[3] = attrs.evolve(found.rooms[3], snapshot=decode_snapshot(other.snapshots["r3"][0]))
    assert "it cannot be loaded: BadRoomData" in found.check(but=["r3"]).diverged["r3"].why


def test_rules_that_cannot_be_made_cost_their_rooms_alone() -> None:
    world = World(["a"], KINDS)
    for lane in world.lanes:
        world.open(lane.kind[0], lane)
        world.turn(lane)
    found = world.lost()

    def picky(name: str, options: Mapping[str, int], tick_hz: int) -> Game:
        if name == "pile":
            raise ValueError("no such game here")
        return make_game(name, options, tick_hz)

    replay = Replay(picky, found.rooms, found.records)
    assert replay.work(1 << 30)
    assert sorted(replay.result.good) == ["arena", "tally", "whiteboard"]
    assert replay.result.diverged["pile"].why == "there are no rules for it: ValueError: no such game here"


def test_an_object_room_whose_act_was_another() -> None:
    world = World(["a"], [KINDS[2]])
    lane = world.lanes[0]
    for room in ROOMS:
        world.open(room, lane)
    world.turn(lane, *(Join(room, "ann", "Ann", "j") for room in ROOMS))
    for _ in range(4):
        world.turn(lane, *(act(lane.batch, room, 0, 5) for room in ROOMS))  # type: ignore[arg-type]
    found = world.lost()

    def other(stage: StageRecord) -> StageRecord:
        told = decode_commands(stage.commands, make_of(KINDS[2]).input_dtype)
        commands = [
            attrs.evolve(c, data=b"\x06") if isinstance(c, Act) and c.room == "r1" else c for c in told.commands
        ]
        return attrs.evolve(stage, commands=encode_commands(TickCommands(told.inputs, tuple(commands))))

    changed(found, 3, other)
    found.check(but=["r1"])
