"""Which room a player gets, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio
from trio.testing import MockClock

from game.api import Option
from netcode import messages
from netcode.errors import ErrorCode, ProtocolError
from server import listing
from server import lobby as module
from server.stage import Occupant
from tests.server.games import Counter
from tests.server.helpers import Rig

JOIN = messages.Join(game="counter")


async def test_quick_join_fills_a_room_before_it_opens_another_also_within_one_tick(tmp_path: Path) -> None:
    rig = Rig(tmp_path, phases=2)
    sessions = [rig.session(number)[0] for number in range(10)]
    for session in sessions:
        await rig.lobby.join(session, JOIN)
    rig.tick()
    rooms = [session.seat.room for session in sessions]
    assert [rooms.count(room) for room in rig.host.rooms.by_id] == [4, 4, 2]
    assert len({(session.seat.room, session.seat.seat) for session in sessions}) == 10
    assert all(room.reserved == 0 for room in rig.host.rooms.by_id.values())


async def test_quick_join_takes_the_fullest_open_room_and_ones_own_first(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    small, large = rig.open(), rig.open()
    ann, _ = rig.session(1, "ann")
    await rig.lobby.join(ann, messages.Join(room=small))
    for number in (2, 3):
        await rig.lobby.join(rig.session(number)[0], messages.Join(room=large))
    rig.tick()
    bob, _ = rig.session(4)
    await rig.lobby.join(bob, JOIN)
    rig.lobby.forget(ann)
    again, _ = rig.session(5, "ann")
    await rig.lobby.join(again, JOIN)
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
        await rig.lobby.join(session, request_)
    assert caught.value.code is code
    assert session.seat is None
    assert rig.host.rooms.by_id == {}


async def test_one_seat_at_a_time_asked_for_ones_included(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    session, _ = rig.session(1)
    with pytest.raises(ProtocolError) as caught:
        rig.lobby.seat_of(session)
    assert caught.value.code is ErrorCode.NOT_SEATED
    await rig.lobby.join(session, JOIN)
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            await rig.lobby.join(session, JOIN)
        assert caught.value.code is ErrorCode.ALREADY_SEATED
        rig.tick()
    assert rig.lobby.seat_of(session) == (rig.host, session.seat)


async def test_the_list_is_fullest_first_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, Counter({"seats": 2}))
    for _ in range(3):
        rig.open()
    third = list(rig.host.rooms.by_id)[2]
    await rig.lobby.join(rig.session(1)[0], messages.Join(room=third))
    rig.tick(4)
    listed = rig.lobby.listing.tell(messages.ListRooms(ref=6))
    assert listed.ref == 6
    assert listed.rooms[0] == {
        "room": third,
        "game": "counter",
        "options": {"match_ticks": 0, "seats": 2},
        "players": 1,
        "seats": 2,
        "tick": 4,
    }
    assert len(listed.rooms) == 3
    assert rig.lobby.listing.tell(messages.ListRooms(game="other")).rooms == []
    monkeypatch.setattr(listing, "LISTED_MAX", 2)
    assert len(rig.lobby.listing.tell(messages.ListRooms()).rooms) == 2


class Talkative(Counter):
    """A counter with options of long names."""

    name = "t" * 64
    options: ClassVar[tuple[Option, ...]] = (
        *Counter.options,
        *(Option("o" * 50 + f"{number}", 0, 0, 9) for number in range(20)),
    )


async def test_the_longest_list_fits_into_a_message(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Talkative(), rooms_max=1000)
    for _ in range(100):
        rig.open()
    listed = rig.lobby.listing.tell(messages.ListRooms())
    assert 20 < len(listed.rooms) < 100
    assert 50_000 < len(messages.encode(listed)) <= messages.MESSAGE_MAX


async def test_an_account_opens_a_few_rooms_and_more_when_those_have_closed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    rig = Rig(tmp_path)
    session, _ = rig.session(1)
    request = messages.CreateRoom(game="counter")
    rooms = [(await rig.lobby.create(session, request)).room for _ in range(module.ROOMS_OPENED_MAX)]
    with pytest.raises(ProtocolError) as caught:
        await rig.lobby.create(session, request)
    assert caught.value.code is ErrorCode.LIMITED
    rig.host.rooms.close(rooms[1])
    with pytest.raises(ProtocolError, match="too fast"):
        await rig.lobby.create(session, request)
    await trio.sleep(1 / module.OPENINGS_A_SECOND)
    assert (await rig.lobby.create(session, request)).room in rig.host.rooms.by_id
    assert (await rig.lobby.create(rig.session(2)[0], request)).room in rig.host.rooms.by_id
    again, _ = rig.session(3, session.account)
    with pytest.raises(ProtocolError) as caught:
        await rig.lobby.join(again, messages.Join(game="counter", options={"seats": 3}))
    assert caught.value.code is ErrorCode.LIMITED


async def create(rig: Rig, number: int, **request: Any) -> messages.RoomCreated:
    made = await rig.lobby.create(rig.session(number)[0], messages.CreateRoom(game="counter", **request))
    assert isinstance(made, messages.RoomCreated)
    return made


async def test_a_private_room_is_found_by_its_code_alone(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    made = await create(rig, 1, private=True)
    assert len(made.code) == 8
    assert rig.lobby.listing.tell(messages.ListRooms()).rooms == []
    stranger, _ = rig.session(2)
    for request in (messages.Join(room=made.room), messages.Join(code="ABCDEFGH")):
        with pytest.raises(ProtocolError) as caught:
            await rig.lobby.join(stranger, request)
        assert caught.value.code is ErrorCode.UNKNOWN_ROOM
    await rig.lobby.join(stranger, JOIN)
    guest, _ = rig.session(3)
    await rig.lobby.join(guest, messages.Join(code=f"{made.code[:4]}-{made.code[4:]}".lower()))
    owner, _ = rig.session(4, "a1")
    await rig.lobby.join(owner, messages.Join(room=made.room))
    rig.tick()
    assert stranger.seat.room != made.room
    assert (guest.seat.room, owner.seat.room) == (made.room, made.room)
    rig.lobby.forget(guest)
    rig.tick()
    await rig.lobby.join(rig.session(5, guest.account)[0], messages.Join(room=made.room))  # a seat is held there
    rig.host.rooms.close(made.room)
    assert rig.host.rooms.by_code == {}


async def test_rooms_with_other_options_are_other_rooms(tmp_path: Path) -> None:
    rig = Rig(tmp_path, phases=2)
    pair = await create(rig, 1, options={"seats": 2})
    assert pair.seats == 2
    sessions = [rig.session(number)[0] for number in range(10, 16)]
    for session in sessions[:3]:
        await rig.lobby.join(session, messages.Join(game="counter", options={"seats": "2"}))
    for session in sessions[3:]:
        await rig.lobby.join(session, messages.Join(game="counter", options={"seats": 4}))
    rig.tick()
    rooms = [session.seat.room for session in sessions]
    assert rooms[0] == rooms[1] == pair.room
    assert len(set(rooms)) == 3
    assert rooms[3] == rooms[4] == rooms[5]
    wanted = messages.ListRooms(options={"seats": 2}, open=True)
    assert [entry["room"] for entry in rig.lobby.listing.tell(wanted).rooms] == [rooms[2]]
    ticks = {entry["tick"] for entry in rig.lobby.listing.tell(messages.ListRooms()).rooms}
    assert ticks == {1}


@pytest.mark.parametrize("options", [{"seats": 99}, {"nonsense": 1}, {"seats": 1.5}, {"seats": [2]}, {"seats": "many"}])
async def test_bad_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    rig = Rig(tmp_path)
    for ask in (
        lambda: create(rig, 1, options=options),
        lambda: rig.lobby.join(rig.session(2)[0], messages.Join(game="counter", options=options)),
    ):
        with pytest.raises(ProtocolError) as caught:
            await ask()
        assert caught.value.code is ErrorCode.BAD_OPTION


async def test_sets_of_options_are_limited_and_forgotten_with_their_rooms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rooms.VARIANTS_MAX", 3)
    rig = Rig(tmp_path)
    made = [await create(rig, seats, options={"seats": seats}) for seats in (1, 2)]
    with pytest.raises(ProtocolError) as caught:
        await create(rig, 3, options={"seats": 3})
    assert caught.value.code is ErrorCode.TOO_MANY_ROOMS
    rig.host.rooms.close(made[0].room)
    assert (await create(rig, 3, options={"seats": 3})).seats == 3
    assert len(rig.host.rooms.stages) == 3


@pytest.mark.parametrize("value", [[1.5], {"a": 1}, None, 1.5, True, "x", "9" * 21, "9" * 5000])
async def test_a_list_is_asked_for_with_whole_numbers_only(tmp_path: Path, value: Any) -> None:
    rig = Rig(tmp_path)
    with pytest.raises(ProtocolError) as caught:
        rig.lobby.listing.tell(messages.ListRooms(options={"seats": value}))
    assert caught.value.code is ErrorCode.BAD_OPTION


async def test_an_account_plays_by_one_set_of_options_of_its_own(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    session, _ = rig.session(1)
    for options in ({"seats": 2}, {"seats": "2"}, {}):
        await rig.lobby.create(session, messages.CreateRoom(game="counter", options=options))
    with pytest.raises(ProtocolError) as caught:
        await rig.lobby.create(session, messages.CreateRoom(game="counter", options={"seats": 3}))
    assert caught.value.code is ErrorCode.LIMITED
