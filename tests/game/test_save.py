"""A saved room comes back exactly, or not at all."""

from __future__ import annotations

import pytest

from game.arena import Arena
from game.batch import Batch
from game.errors import BadRoomData, GameError
from game.save import read_header
from tests.game.driver import run
from tests.game.games import Tally

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
