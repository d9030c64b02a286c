"""Which room a player gets, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from netcode import messages
from netcode.errors import ErrorCode, ProtocolError
from server import lobby as module
from server.stage import Occupant
from tests.server.games import Counter
from tests.server.helpers import Rig

JOIN = messages.Join(game="counter")


async def test_quick_join_fills_a_room_before_it_opens_another_also_within_one_tick(tmp_path: Path) -> None:
    rig = Rig(tmp_path, phases=2)
    sessions = [rig.session(number)[0] for number in range(10)]
    for session in sessions:
        rig.lobby.join(session, JOIN)
    rig.tick()
    rooms = [session.seat.room for session in sessions]
    assert [rooms.count(room) for room in rig.host.rooms] == [4, 4, 2]
    assert len({(session.seat.room, session.seat.seat) for session in sessions}) == 10
    assert all(room.reserved == 0 for room in rig.host.rooms.values())


async def test_quick_join_takes_the_fullest_open_room_and_ones_own_first(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    small, large = rig.host.open_room(), rig.host.open_room()
    ann, _ = rig.session(1, "ann")
    rig.lobby.join(ann, messages.Join(room=small))
    for number in (2, 3):
        rig.lobby.join(rig.session(number)[0], messages.Join(room=large))
    rig.tick()
    bob, _ = rig.session(4)
    rig.lobby.join(bob, JOIN)
    rig.lobby.forget(ann)
    again, _ = rig.session(5, "ann")
    rig.lobby.join(again, JOIN)
    rig.tick()
    assert isinstance(again.seat, Occupant)
    assert (bob.seat.room, again.seat.room, again.seat.seat) == (large, small, 0)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (messages.Join(game="nogame"), ErrorCode.UNKNOWN_GAME),
        (messages.Join(), ErrorCode.UNKNOWN_GAME),
        (messages.Join(room="nowhere"), ErrorCode.UNKNOWN_ROOM),
    ],
)
async def test_what_is_not_there(tmp_path: Path, request_: messages.Join, code: ErrorCode) -> None:
    rig = Rig(tmp_path)
    session, _ = rig.session(1)
    with pytest.raises(ProtocolError) as caught:
        rig.lobby.join(session, request_)
    assert caught.value.code is code
    assert session.seat is None
    assert rig.host.rooms == {}


async def test_one_seat_at_a_time_asked_for_ones_included(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    session, _ = rig.session(1)
    with pytest.raises(ProtocolError) as caught:
        rig.lobby.seat_of(session)
    assert caught.value.code is ErrorCode.NOT_SEATED
    rig.lobby.join(session, JOIN)
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            rig.lobby.join(session, JOIN)
        assert caught.value.code is ErrorCode.ALREADY_SEATED
        rig.tick()
    assert rig.lobby.seat_of(session) == (rig.host, session.seat)


async def test_the_list_is_fullest_first_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, Counter({"seats": 2}))
    for _ in range(3):
        rig.host.open_room()
    third = list(rig.host.rooms)[2]
    rig.lobby.join(rig.session(1)[0], messages.Join(room=third))
    rig.tick(4)
    listed = rig.lobby.list_rooms(messages.ListRooms(ref=6))
    assert listed.ref == 6
    assert listed.rooms[0] == {"room": third, "game": "counter", "players": 1, "seats": 2, "tick": 4}
    assert len(listed.rooms) == 3
    assert rig.lobby.list_rooms(messages.ListRooms(game="other")).rooms == []
    monkeypatch.setattr(module, "LISTED_MAX", 2)
    assert len(rig.lobby.list_rooms(messages.ListRooms()).rooms) == 2


async def test_the_longest_list_fits_into_a_message() -> None:
    entry = {"room": "f" * 16, "game": "g" * 32, "players": 255, "seats": 256, "tick": 2**32 - 1}
    listed = messages.Rooms(rooms=[entry] * module.LISTED_MAX)
    assert len(messages.encode(listed)) <= messages.MESSAGE_MAX


async def test_a_session_opens_a_few_rooms_and_more_when_those_have_closed(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    session, _ = rig.session(1)
    request = messages.CreateRoom(game="counter")
    rooms = [rig.lobby.create(session, request).room for _ in range(module.ROOMS_OPENED_MAX)]
    with pytest.raises(ProtocolError) as caught:
        rig.lobby.create(session, request)
    assert caught.value.code is ErrorCode.LIMITED
    rig.host._close(rooms[1])
    assert rig.lobby.create(session, request).room in rig.host.rooms
    assert rig.lobby.create(rig.session(2)[0], request).room in rig.host.rooms
