"""Whatever a game does, it costs its room: the node lives, and so do the other rooms."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from game.errors import BadAct
from game.evidence import reproduce, unpack_evidence
from game.objects import ObjectGame, Over
from game.rows import Rows
from netcode import messages
from netcode.inputs import HEADER as INPUT_HEADER
from tests.server.games import Counter
from tests.server.helpers import Rig


class WithoutText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def score(rooms: Rows) -> np.ndarray:
    values: np.ndarray = rooms.sum.astype(np.int64)
    return values


def end_many_matches(rooms: Rows) -> None:
    for _ in range(1000):
        rooms.end_match(np.ones(rooms.n, bool), score(rooms))


def raises(error: BaseException) -> None:
    raise error


ROWS: dict[str, Callable[[Rows], object]] = {
    "a mask of other rooms": lambda rooms: rooms.end_match(np.ones(5, bool), score(rooms)),
    "a mask over seats": lambda rooms: rooms.end_match(np.ones((rooms.n, 4), bool), score(rooms)),
    "a kind that is no text": lambda rooms: rooms.emit(object(), np.array([0])),  # type: ignore[arg-type]
    "a long kind": lambda rooms: rooms.emit("k" * 70_000, np.array([0])),
    "a kind that does not encode": lambda rooms: rooms.emit("\ud800", np.array([0])),
    "a stat that does not encode": lambda rooms: rooms.end_match(
        np.ones(rooms.n, bool), score(rooms), **{"\ud800": score(rooms)}
    ),
    "a flood of events": lambda rooms: rooms.emit("k", np.zeros(200_000, np.int64)),
    "a flood of matches": lambda rooms: end_many_matches(rooms),
    "an exit": lambda rooms: sys.exit(3),
    "an error without text": lambda rooms: raises(WithoutText()),
    "an error that does not encode": lambda rooms: raises(ValueError("\ud800")),
}


@pytest.mark.parametrize("does", ROWS.values(), ids=ROWS)
async def test_a_game_of_rows(tmp_path: Path, does: Callable[[Rows], object]) -> None:
    class Rude(Counter):
        def step(self, rooms: Rows) -> None:
            if (rooms.tick == 3).any():
                does(rooms)

    rig = Rig(tmp_path, Rude())
    session, _ = rig.session(1)
    await rig.lobby.join(session, messages.Join(game="counter"))
    rig.tick(5)
    assert rig.metrics.rooms_quarantined == 1
    assert not rig.host.rooms.by_id


class Talker(ObjectGame):
    """Tells what it is told to tell."""

    name, seats, ticks = "talker", 2, True
    says: Any = None

    def open(self, rng: Any) -> dict[str, Any]:
        return {}

    def step(self, state: Any, inputs: Any, rng: Any) -> Any:
        return type(self).says()

    def accept(self, act: Any) -> Any:
        raise {"surrogate": ValueError("\ud800"), "long": ValueError("x" * 100_000), "textless": WithoutText()}.get(
            act, BadAct("\ud800")
        )

    def view(self, state: Any, seat: int) -> Any:
        return {"seat": seat}


OBJECTS: dict[str, Callable[[], Any]] = {
    "an event that does not encode": lambda: [("\ud800",)],
    "a stat that does not encode": lambda: [Over([1, 1], None, {"\ud800": [1, 1]})],
    "a long stat": lambda: [Over([1, 1], None, {"k" * 100_000: [1, 1]})],
    "a score that is no list": lambda: [Over(5)],  # type: ignore[arg-type]
    "no stats": lambda: [Over([1, 1], None, None)],  # type: ignore[arg-type]
    "a number": lambda: 5,
    "an exit": lambda: sys.exit(3),
}


@pytest.mark.parametrize("says", OBJECTS.values(), ids=OBJECTS)
async def test_an_object_game(tmp_path: Path, says: Callable[[], Any]) -> None:
    game = type("Rude", (Talker,), {"says": staticmethod(says)})()
    rig = Rig(tmp_path, game)
    rig.open()
    rig.tick(2)
    assert rig.metrics.rooms_quarantined == 1


@pytest.mark.parametrize("act", ["surrogate", "long", "textless", "bad"])
async def test_an_act_that_is_refused_in_odd_words(tmp_path: Path, act: str) -> None:
    game = type("Rude", (Talker,), {"says": staticmethod(list)})()
    rig = Rig(tmp_path, game)
    session, link = rig.session(1)
    await rig.lobby.join(session, messages.Join(game="talker"))
    rig.tick()
    session.seat.act(1, msgpack.packb(act))
    rig.tick()
    assert [error.name for error in link.heard(messages.Error)] == ["act_refused"]


class Shy(Talker):
    """Cannot show itself to the second player."""

    name = "shy"
    says = staticmethod(list)

    def view(self, state: Any, seat: int) -> Any:
        if seat:
            raise RuntimeError("not to you")
        return {}


async def test_a_view_that_fails_costs_its_room_and_is_kept_as_evidence(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Shy())
    (first, one), (second, two) = rig.session(1), rig.session(2)
    await rig.lobby.join(first, messages.Join(game="shy"))
    rig.tick()
    room = first.seat.room
    await rig.lobby.join(second, messages.Join(room=room))
    rig.tick()
    for link in (one, two):
        assert [error.name for error in link.heard(messages.Error)] == ["room_closed"]
    rig.tick()
    assert not rig.host.rooms.by_id
    _, kept = rig.evidence._receive.receive_nowait()
    again = reproduce(Shy(), unpack_evidence(kept))
    assert isinstance(again, RuntimeError)
    assert str(again) == "not to you"


async def test_a_hook_that_fails_is_kept_as_the_room_was_before_it(tmp_path: Path) -> None:
    class Picky(Counter):
        def join(self, rooms: Rows, seat: int, profile: Any) -> None:
            if seat == 1 and rooms.add[0, 0] == 0:
                raise RuntimeError("too early")

    rig = Rig(tmp_path, Picky())
    first, second = rig.session(1)[0], rig.session(2)[0]
    await rig.lobby.join(first, messages.Join(game="counter"))
    rig.tick()
    await rig.lobby.join(second, messages.Join(room=first.seat.room))
    packed = np.full(1, 9, np.uint8).tobytes() * rig.host.game.input_dtype.itemsize
    # An input of the very tick in which the hook fails.
    first.seat.receive(INPUT_HEADER.pack(0, first.seat.stream, 0, 0, 0, 0, 1, 1) + packed)
    rig.tick()
    _, kept = rig.evidence._receive.receive_nowait()
    assert isinstance(reproduce(Picky(), unpack_evidence(kept)), RuntimeError)
