"""Many rooms in one step: those that fail stand alone, the others never notice."""

from __future__ import annotations

import numpy as np
import pytest

from game.api import Column, Input, RowGame
from game.batch import Batch
from game.commands import Act, Chat, Close, HandOff, Join, Quarantine, TickCommands
from game.errors import GameError, UnknownRoom
from game.rows import Rows
from tests.game.games import Boom, Tally, tick

ROOMS = 100


def filled(rooms: int = ROOMS) -> Batch:
    batch = Batch(Tally(), capacity=1)
    for room in range(rooms):
        batch.open(f"r{room}", room)
    batch.step(tick(batch, *(Join(f"r{room}", "a", "A", "j") for room in range(rooms))))
    return batch


def row_bytes(batch: Batch, room: str) -> bytes:
    packed: bytes = batch.rows.pack()[batch.row[room]].tobytes()
    return packed


@pytest.mark.parametrize(
    ("broken", "light"),
    [
        ([0], 1),
        ([ROOMS - 1], 1),
        ([42], 1),
        ([0, 1], 1),
        ([3, 50, 51, 99], 1),
        ([3, 50, 51, 99], 2),
        ([3, 50, 51, 99], 3),
        (list(range(ROOMS)), 1),
    ],
    ids=["first", "last", "middle", "neighbours", "several", "division-by-zero", "nonsense-event", "all"],
)
def test_rooms_that_raise_are_found_and_the_others_go_on(broken: list[int], light: int) -> None:
    batch, twin = filled(), filled()
    well = [f"r{room}" for room in range(ROOMS) if room not in broken]
    inputs = {("r" + str(room), 0): {"add": 7} for room in range(ROOMS)}
    twin_result = twin.step(tick(twin, inputs=inputs))
    for room in broken:
        inputs[f"r{room}", 0] = {"add": 7, "light": light}
    result = batch.step(tick(batch, inputs=inputs))
    assert sorted(result.failed) == sorted(f"r{room}" for room in broken)
    for name in well:
        assert result.hashes[batch.row[name]] == twin_result.hashes[twin.row[name]]
        assert result.events[name] == twin_result.events[name]
    for room in broken:
        assert f"r{room}" not in result.events
        assert batch.rows.total[room, 0] == 100
    if light == 1:
        assert all(isinstance(failure.error, Boom) for failure in result.failed.values())


def test_events_of_hooks_survive_another_rooms_failure() -> None:
    batch, twin = filled(8), filled(8)
    commands = [Join("r5", "b", "B", "j"), Chat("r5", 0, 1, "hi")]
    expected = twin.step(tick(twin, *commands))
    result = batch.step(tick(batch, *commands, inputs={("r2", 0): {"light": 1}}))
    assert list(result.failed) == ["r2"]
    assert result.events["r5"] == expected.events["r5"]
    assert [event.kind for event in result.events["r5"]] == ["joined", "chat", "hello"]
    assert result.hashes[5] == expected.hashes[5]


def test_the_failed_room_is_as_it_was_before_the_step() -> None:
    batch = filled(4)
    seen: list[bytes] = []
    step = batch.game.step

    def spy(rooms: object) -> None:
        seen.append(row_bytes(batch, "r1"))
        step(rooms)  # type: ignore[arg-type]

    batch.game.step = spy  # type: ignore[method-assign]
    result = batch.step(tick(batch, inputs={("r1", 0): {"light": 1, "add": 5}}))
    assert list(result.failed) == ["r1"]
    assert row_bytes(batch, "r1") == seen[0]


@pytest.mark.parametrize("bad", ["hook", "told"])
def test_a_hook_that_raises_costs_its_room_alone(bad: str) -> None:
    batch, twin = filled(5), filled(5)
    before = batch.rows.pack()[2].copy()
    ledger = batch.ledger("r2").encode()
    result = batch.step(tick(batch, Join("r2", "b", "B", "j", {"bad": bad}), Chat("r2", 0, 1, "after")))
    expected = twin.step(tick(twin))
    assert list(result.failed) == ["r2"]
    assert result.failed["r2"].command == Join("r2", "b", "B", "j", {"bad": bad})
    assert [result.hashes[row] for row in (0, 1, 3, 4)] == [expected.hashes[row] for row in (0, 1, 3, 4)]
    after = batch.rows.pack()[2]
    assert (after[4:] == before[4:]).all(), "all but the tick"
    assert batch.ledger("r2").encode() == ledger


def test_one_room_alone_fails_too() -> None:
    batch = filled(1)
    result = batch.step(tick(batch, inputs={("r0", 0): {"light": 1}}))
    assert isinstance(result.failed["r0"].error, Boom)


def test_a_failed_room_can_be_closed_and_the_rest_goes_on() -> None:
    batch = filled(3)
    batch.step(tick(batch, inputs={("r0", 0): {"light": 1}}))
    batch.close("r0")
    result = batch.step(tick(batch))
    assert (result.failed, len(batch), sorted(batch.row)) == ({}, 2, ["r1", "r2"])


@pytest.mark.parametrize("end", [Close, Quarantine])
def test_a_room_that_is_told_to_end_is_gone_after_the_tick(end: type[Close] | type[Quarantine]) -> None:
    batch, twin = filled(4), filled(4)
    told = (Chat("r1", 0, 1, "before"), end("r1"), Join("r1", "b", "B", "j"), end("elsewhere"))
    result = batch.step(tick(batch, *told, inputs={("r1", 0): {"light": 1}}))
    expected = twin.step(tick(twin))
    assert (result.closed, result.failed, result.events, result.seated) == (["r1"], {}, {}, [])
    assert batch.ids == ["r0", "r3", "r2"]
    assert result.hashes == [expected.hashes[row] for row in (0, 3, 2)]


def test_a_room_that_is_handed_off_makes_its_last_tick_like_any_other() -> None:
    batch, twin = filled(3), filled(3)
    told = (HandOff("r1", "b"), Chat("r1", 0, 1, "bye"), HandOff("elsewhere", "b"))
    result = batch.step(tick(batch, *told, inputs={("r1", 0): {"add": 7}}))
    expected = twin.step(tick(twin, Chat("r1", 0, 1, "bye"), inputs={("r1", 0): {"add": 7}}))
    assert (result.handed, expected.handed) == ([("r1", "b")], [])
    assert (result.hashes, result.events) == (expected.hashes, expected.events)
    assert batch.save("r1") == twin.save("r1"), "it is still here to be saved"


def test_a_handed_room_that_ends_or_fails_does_that() -> None:
    batch = filled(3)
    told = (HandOff("r0", "b"), HandOff("r1", "b"), Close("r1"))
    result = batch.step(tick(batch, *told, inputs={("r0", 0): {"light": 1}}))
    assert (list(result.failed), result.closed, result.handed) == (["r0"], ["r1"], [])


def test_acts_are_not_for_rooms_of_rows() -> None:
    batch, twin = filled(2), filled(2)
    result = batch.step(tick(batch, Act("r1", 0, 1, 1, b"\x01")))
    assert (result.failed, result.hashes) == ({}, twin.step(tick(twin)).hashes)


def test_rooms_come_and_go_without_touching_each_other() -> None:
    batch = filled(6)
    kept = {room: batch.save(room) for room in ("r1", "r5")}
    for room in ("r0", "r4", "r2"):
        batch.close(room)
    batch.open("new", 9)
    assert {room: batch.save(room) for room in kept} == kept
    assert batch.tick_of("new") == 0
    assert batch.rows.hidden[batch.row["new"]] == 9
    assert [batch.ids[row] for row in range(len(batch))] == sorted(batch.row, key=batch.row.__getitem__)
    for call in (batch.close, batch.save, batch.ledger, batch.tick_of):
        with pytest.raises(UnknownRoom, match="r0"):
            call("r0")
    with pytest.raises(GameError, match="here already"):
        batch.open("new", 1)


def test_an_empty_batch_steps() -> None:
    batch = Batch(Tally())
    result = batch.step(tick(batch))
    assert (result.hashes, result.failed) == ([], {})
    batch.open("r", 1)
    batch.close("r")
    assert batch.step(tick(batch)).hashes == []


def test_nobody_is_told_what_opening_emitted() -> None:
    batch = Batch(Tally())
    batch.open("r", 1)
    assert batch.step(tick(batch)).events.get("r", []) == []


def test_seeds_are_taken_as_64_bits() -> None:
    batch = Batch(Tally())
    batch.open("r", -1)
    assert batch.rows.seed.tolist() == [2**64 - 1]
    assert batch.rows.seed.dtype == np.uint64


def test_what_is_emitted_is_what_it_was_then() -> None:
    class Teller(RowGame):
        name = "teller"
        columns = (Column("x", "i4"),)
        inputs = (Input("go", "i1", 0, 1),)

        def step(self, rooms: Rows) -> None:
            rooms.x += 1
            rooms.emit("x", np.arange(rooms.n), rooms.x)
            rooms.x += 10

    batch = Batch(Teller())
    batch.open("r", 1)
    told = batch.step(TickCommands(np.zeros(0, batch.input_record))).events["r"]
    assert [event.data for event in told] == [(1,)]
