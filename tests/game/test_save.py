"""A saved room comes back exactly, or not at all."""

from __future__ import annotations

import pytest

from game.api import Game
from game.arena import Arena
from game.batch import Batch
from game.commands import Close, Join
from game.errors import BadRoomData, GameError
from game.object_batch import batch_for
from game.save import read_header
from tests.game.driver import run
from tests.game.games import Pile, Tally, tick

OPTIONS = {"seats": 4, "map": 1, "match_s": 5, "respawn_ms": 500}


@pytest.fixture(scope="module")
def saved() -> bytes:
    batch = Batch(Arena(OPTIONS, 10))
    batch.open("room", 7)
    for _ in run(batch, {"room": 7}, 120):
        pass
    return batch.save("room")


def test_it_comes_back(saved: bytes) -> None:
    batch = Batch(Arena(OPTIONS, 10))
    assert batch.load(saved) == "room"
    assert batch.save("room") == saved
    header, _ = read_header(saved)
    assert (header["game"], header["room"], header["tick"]) == ("arena", "room", 120)
    assert batch.tick_of("room") == 120
    with pytest.raises(GameError, match="here already"):
        batch.load(saved)


@pytest.mark.parametrize("game", [Tally(), Pile()], ids=["rows", "objects"])
def test_many_at_once_are_as_one_by_one(game: Game) -> None:
    batch, twin = batch_for(game), batch_for(game)
    rooms = [f"r{number}" for number in range(5)]
    for number, room in enumerate(rooms):
        batch.open(room, number)
    batch.step(tick(batch, *(Join(room, "ann", "Ann", "j") for room in rooms[1:])))
    some = [rooms[3], rooms[0], rooms[4]]
    saved = batch.save_all(some)
    assert saved == [batch.save(room) for room in some]
    assert batch.save_all([]) == []
    twin.open("first", 1)
    assert twin.load_all(saved) == some
    assert twin.load_all([]) == []
    assert twin.save_all(some) == saved
    assert [twin.hash_of(room) for room in some] == [batch.hash_of(room) for room in some]


@pytest.mark.parametrize("game", [Tally(), Pile()], ids=["rows", "objects"])
def test_rows_that_the_tick_has_packed_are_saved_as_they_are(game: Game) -> None:
    batch = batch_for(game)
    rooms = [f"r{number}" for number in range(3)]
    for number, room in enumerate(rooms):
        batch.open(room, number)
    result = batch.step(tick(batch, Join("r1", "ann", "Ann", "j"), Close("r0")))  # r2 has moved
    assert [batch.save(room, result.packed) for room in batch.ids] == [batch.save(room) for room in batch.ids]
    assert result.hashes == [batch.hash_of(room) for room in batch.ids]


def test_many_at_once_are_all_taken_or_none(saved: bytes) -> None:
    batch = Batch(Arena(OPTIONS, 10))
    batch.open("here", 1)
    good = [batch.save("here").replace(b"here", b"there")]
    with pytest.raises(BadRoomData):
        batch.load_all([saved, *good])
    with pytest.raises(GameError, match="room room is here already"):
        batch.load_all([saved, saved])
    with pytest.raises(GameError, match="room here is here already"):
        batch.load_all([saved, batch.save("here")])
    assert (batch.ids, batch.rows.n) == (["here"], 1)


def test_any_flipped_byte_is_refused(saved: bytes) -> None:
    batch = Batch(Arena(OPTIONS, 10))
    for at in range(len(saved)):
        damaged = bytearray(saved)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(BadRoomData):
            batch.load(bytes(damaged))
    assert len(batch) == 0


def test_a_cut_room_is_refused(saved: bytes) -> None:
    batch = Batch(Arena(OPTIONS, 10))
    for length in (0, 3, 4, 12, 15, 16, 100, len(saved) - 8, len(saved) - 1):
        with pytest.raises(BadRoomData):
            batch.load(saved[:length])
    with pytest.raises(BadRoomData):
        batch.load(saved + b"\0")


@pytest.mark.parametrize(
    "game",
    [Arena(OPTIONS, 20), Arena(OPTIONS | {"match_s": 6}, 10), Arena(OPTIONS | {"seats": 5}, 10), Tally()],
    ids=["tick_hz", "match_s", "seats", "game"],
)
def test_other_rules_are_refused(saved: bytes, game: Arena | Tally) -> None:
    with pytest.raises(BadRoomData, match="would not continue it exactly"):
        Batch(game).load(saved)
