"""What is kept of a failed room makes it fail again: in the step, in a hook, over an act; rows and objects."""

from __future__ import annotations

import msgpack
import pytest

from game.base_batch import BaseBatch, Failure
from game.batch import Batch
from game.commands import Command, Join
from game.errors import BadEvidence, BadRoomData
from game.evidence import pack_evidence, reproduce, unpack_evidence
from game.object_batch import ObjectBatch, batch_for
from tests.game.games import Boom, Pile, Tally, act, acts, tick


def failed(batch: BaseBatch, *commands: Command, light: int = 0) -> bytes:
    """The evidence of room "r", which fails over these."""
    inputs = {("r", 0): {"light": light, "add": 3}} if light else {}
    result = batch.step(tick(batch, *commands, inputs=inputs))
    return pack_evidence("spec", batch, "r", result.failed["r"])


def rooms(tier: type[Batch] | type[ObjectBatch]) -> Batch | ObjectBatch:
    batch = batch_for(Tally({"start": 50}, 20) if tier is Batch else Pile({"start": 50}, 20))
    for room in ("other", "r", "third"):
        batch.open(room, 8)
    batch.step(tick(batch, *(Join(room, "a", "A", "j") for room in ("other", "r"))))
    for _ in range(5):
        batch.step(tick(batch))
    return batch


@pytest.fixture
def rows() -> Batch:
    batch = rooms(Batch)
    assert isinstance(batch, Batch)
    return batch


@pytest.fixture
def objects() -> ObjectBatch:
    batch = rooms(ObjectBatch)
    assert isinstance(batch, ObjectBatch)
    return batch


def check(data: bytes, batch: Batch | ObjectBatch, kind: type[Exception]) -> None:
    evidence = unpack_evidence(data)
    assert (evidence.spec, evidence.room, evidence.tick) == ("spec", "r", 7)
    assert (evidence.game, evidence.options["start"], evidence.tick_hz) == (batch.game.name, 50, 20)
    assert evidence.kind == kind.__name__
    assert f"{kind.__name__}" in evidence.traceback
    assert "games.py" in evidence.traceback
    game = type(batch.game)(evidence.options, evidence.tick_hz)
    for _ in range(2):
        raised = reproduce(game, evidence)
        assert type(raised) is kind
        assert str(raised) == evidence.message


def test_a_step_over_rows(rows: Batch) -> None:
    check(failed(rows, light=1), rows, Boom)


def test_a_division_by_zero_over_rows(rows: Batch) -> None:
    check(failed(rows, light=2), rows, FloatingPointError)


@pytest.mark.parametrize("tier", [Batch, ObjectBatch])
def test_a_join_hook(tier: type[Batch] | type[ObjectBatch]) -> None:
    batch = rooms(tier)
    data = failed(batch, Join("r", "b", "B", "j", {"bad": "hook"}))
    check(data, batch, Boom)
    assert unpack_evidence(data).command == Join("r", "b", "B", "j", {"bad": "hook"})


def test_acts_of_an_object_games_step(objects: ObjectBatch) -> None:
    data = failed(objects, *acts(objects, "r", 0, 5, "boom", 7))
    check(data, objects, Boom)
    assert [msgpack.unpackb(act) for _, act in unpack_evidence(data).acts] == [5, "boom", 7]


def test_an_act_that_the_game_hung_over(objects: ObjectBatch) -> None:
    hanging = act(objects, "r", 0, "hang")
    data = failed(objects, hanging)
    assert unpack_evidence(data).command == hanging
    assert type(reproduce(objects.game, unpack_evidence(data))).__name__ == "StepOverran"


def test_a_mended_game_goes_on(rows: Batch) -> None:
    class Mended(Tally):
        def step(self, rooms: object) -> None:
            pass

    evidence = unpack_evidence(failed(rows, light=1))
    mended = Mended(evidence.options, evidence.tick_hz)
    mended.fingerprint = "another"
    with pytest.raises(BadRoomData, match="would not continue it exactly"):
        reproduce(mended, evidence)
    assert reproduce(mended, evidence, force=True) is None


def test_another_game_is_refused_even_by_force(rows: Batch) -> None:
    with pytest.raises(BadRoomData):
        reproduce(Pile(), unpack_evidence(failed(rows, light=1)), force=True)


def test_damaged_or_foreign_bytes_are_refused(rows: Batch) -> None:
    data = failed(rows, light=1)
    for at in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[at] ^= 1
        with pytest.raises(BadEvidence):
            unpack_evidence(bytes(flipped))
    for other in (b"", data[:20], data + b"x", rows.save("r")):
        with pytest.raises(BadEvidence):
            unpack_evidence(other)


def test_a_message_that_is_no_text_is_kept_as_far_as_it_goes(rows: Batch) -> None:
    data = pack_evidence("spec", rows, "r", Failure(ValueError("\ud800")))
    assert unpack_evidence(data).message == "?"
