"""Seats that wait: lost connections, resumes in every order, and what must not come of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from game.commands import Close
from game.ledger import EVENTS_KEPT
from game.rows import CONNECTED, EMPTY, HELD
from netcode import messages
from netcode.errors import ErrorCode
from netcode.inputs import InputWindow
from netcode.session import Session
from server.row_stage import RowOccupant
from tests.server.helpers import FakeLink, Rig


class Table:
    """A rig with one room and one player in it, who can lose the connection and come back."""

    def __init__(self, folder: Path) -> None:
        self.rig = Rig(folder)
        self.room = self.rig.open()
        self.session, self.link = self.rig.session(1, "ann")
        self.window = InputWindow(0)
        self.rig.join(self.session, self.room, 5)
        self.rig.tick()

    @property
    def occupant(self) -> RowOccupant:
        assert isinstance(self.session.seat, RowOccupant)
        return self.session.seat

    @property
    def seated(self) -> int:
        return int(self.rig.host.rooms.stages[0].batch.rows.seated[0, 0])

    def send(self, count: int) -> None:
        for _ in range(count):
            self.window.add(b"\x02")
        self.repeat()

    def repeat(self) -> None:
        self.occupant.receive(self.window.packet(self.occupant.stream, (0, 0), -1, 1))

    def lose(self) -> None:
        self.session.lost_at = 1.0
        self.rig.lobby.lost(self.session)

    def come_back(self, after: tuple[int, int] = (0, 0)) -> None:
        self.session.lost_at, self.session.link = None, FakeLink()
        self.link = self.session.link
        self.session.generation += 1
        self.rig.lobby.resumed(self.session, after)

    def summed(self) -> tuple[int, int, int]:
        rows = self.rig.host.rooms.stages[0].batch.rows
        return int(rows.last_seq[0, 0]), int(rows.applied[0, 0]), int(rows.sum[0, 0])


@pytest.fixture
async def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


async def test_inputs_go_on_exactly_where_they_were_applied(table: Table) -> None:
    table.send(5)
    table.rig.tick(3)
    table.lose()
    table.repeat()  # what still arrives over the old connection is not taken
    table.rig.tick(4)
    assert (table.seated, table.summed()) == (HELD, (3, 3, 6))
    table.come_back()
    table.repeat()  # nor what comes before the seat goes on
    table.rig.tick()
    (seated,) = table.link.heard(messages.Seated)
    assert (seated.ref, seated.resumed, seated.last_seq, seated.seat, seated.generation) == (0, True, 3, 0, 1)
    assert table.seated == CONNECTED
    table.window.acknowledge(seated.last_seq)
    table.send(4)
    table.rig.tick(6)
    assert table.summed() == (9, 9, 18)


async def test_a_second_connection_takes_the_seat_without_a_gap(table: Table) -> None:
    table.send(2)
    table.rig.tick()
    stream = table.occupant.stream
    table.come_back()
    table.rig.tick()
    (seated,) = table.link.heard(messages.Seated)
    assert (seated.last_seq, seated.stream, table.seated) == (1, stream + 1, CONNECTED)
    table.window.acknowledge(1)
    table.repeat()
    table.rig.tick()
    assert table.summed() == (2, 2, 4)


async def test_lost_again_before_the_seat_went_on(table: Table) -> None:
    table.lose()
    table.rig.tick()
    table.come_back()
    table.lose()
    table.rig.tick(2)
    assert table.link.heard(messages.Seated) == []
    assert table.seated == HELD
    table.come_back()
    table.come_back()  # and again, at once
    table.rig.tick(2)
    assert [told.resumed for told in table.link.heard(messages.Seated)] == [True]
    assert table.seated == CONNECTED
    table.send(1)
    table.rig.tick()
    assert table.summed()[0] == 1


async def test_after_the_hold_the_seat_is_free_and_the_player_is_told(table: Table) -> None:
    table.lose()
    table.rig.tick(49)
    assert table.seated == HELD
    table.rig.tick(2)
    assert (table.seated, table.session.seat) == (EMPTY, None)
    table.come_back()
    table.rig.tick()
    assert table.link.told == []


async def test_coming_back_in_the_very_tick_that_ends_the_hold(table: Table) -> None:
    """Commands come before the holds that are over: who asks in time gets the seat."""
    table.lose()
    table.rig.tick(50)
    table.come_back()
    table.rig.tick()
    assert table.seated == CONNECTED
    assert table.link.heard(messages.Seated)


async def test_a_connection_lost_while_joining_leaves_the_seat_to_be_resumed(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    session, link = rig.session(1)
    rig.join(session, room, 5)
    session.lost_at = 1.0
    rig.lobby.lost(session)
    rig.tick(2)
    assert link.told == []
    assert rig.host.rooms.stages[0].batch.rows.seated[0, 0] == HELD
    session.lost_at, session.generation = None, 1
    rig.lobby.resumed(session, (0, 0))
    rig.tick()
    assert [told.ref for told in link.heard(messages.Seated)] == [0]


async def test_events_since_the_last_that_was_known(table: Table) -> None:
    other, _ = table.rig.session(2, "bob")
    table.rig.join(other, table.room, 1)
    table.rig.tick()
    known = [tuple(event[:2]) for told in table.link.heard(messages.Events) for event in told.events][-1]
    table.lose()
    table.rig.tick(3)
    for text in ("one", "two"):
        table.rig.host.seating.chat(other.seat, text)
    table.rig.tick()
    table.come_back(known)
    table.rig.host.seating.chat(other.seat, "three")
    table.rig.tick()
    (seated,) = table.link.heard(messages.Seated)
    told = [event for message in table.link.heard(messages.Events) for event in message.events]
    assert [event[3][1] for event in told if event[2] == "chat"] == ["one", "two", "three"]
    assert [tuple(event[:2]) for event in told] == sorted({tuple(event[:2]) for event in told})
    assert not seated.missed
    assert [message.kind for message in table.link.told[:2]] == ["seated", "events"]


async def test_events_that_are_kept_no_longer_are_told_to_be_missing(table: Table) -> None:
    known = [tuple(event[:2]) for told in table.link.heard(messages.Events) for event in told.events][-1]
    table.lose()
    other, _ = table.rig.session(2, "bob")
    table.rig.join(other, table.room, 1)
    table.rig.tick()
    stage = table.rig.host.rooms.stages[0]
    from game.commands import Chat

    stage.pending.extend(Chat(table.room, 1, 1, str(number)) for number in range(EVENTS_KEPT))
    table.rig.tick()
    table.come_back(known)
    table.rig.tick()
    (seated,) = table.link.heard(messages.Seated)
    assert seated.missed


async def test_who_logs_in_anew_finds_the_room_and_takes_the_seat_back(table: Table) -> None:
    table.send(1)
    table.rig.tick()
    table.rig.lobby.forget(table.session)
    table.rig.tick()
    assert table.rig.held.room_of("ann") == table.room
    assert table.rig.held.room_of("bob") == ""
    again, link = table.rig.session(3, "ann")
    await table.rig.lobby.join(again, messages.Join(room=table.room, ref=1))
    table.rig.tick()
    (seated,) = link.heard(messages.Seated)
    assert (seated.seat, seated.generation, seated.last_seq, seated.resumed) == (0, 2, 0, False)
    assert table.rig.held.room_of("ann") == ""


async def test_a_room_that_fails_leaves_who_is_away_without_a_seat(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.lose()
    table.rig.tick()
    stage = table.rig.host.rooms.stages[0]
    outcome_room = table.room
    from netcode.errors import ProtocolError
    from server.outcome import Outcome

    outcome = Outcome()
    table.come_back()
    table.rig.host.seating.evict(stage, outcome_room, ProtocolError(ErrorCode.ROOM_CLOSED, "gone"), outcome)
    table.rig.host.rooms.close(outcome_room)
    assert (table.session.seat, table.session.joining) == (None, "")
    assert len(outcome.farewells) == 1
    assert table.rig.host.seating._waiting == {}


async def test_who_joins_a_room_that_ends_with_the_same_tick_is_told(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    session, link = rig.session(1)
    rig.join(session, room, ref=5)
    rig.host.rooms.by_id[room].stage.pending.append(Close(room))
    rig.tick()
    (error,) = link.heard(messages.Error)
    assert (error.code, error.ref) == (ErrorCode.ROOM_CLOSED.number, 5)
    assert (session.seat, session.joining, rig.host.seating._waiting) == (None, "", {})


async def test_a_leaver_who_loses_the_connection_has_left(table: Table) -> None:
    table.rig.host.seating.leave(table.occupant, ref=3)
    table.lose()
    table.rig.tick()
    assert (table.seated, table.session.seat) == (EMPTY, None)
    assert table.rig.held.room_of("ann") in ("", table.room)
    table.come_back()
    table.rig.tick()
    assert table.link.heard(messages.Seated) == []


async def test_seats_of_other_sessions_are_none_of_its_business(table: Table) -> None:
    table.lose()
    table.rig.tick()
    stranger, link = table.rig.session(9, "eve")
    table.rig.lobby.resumed(stranger, (0, 0))
    table.rig.tick()
    assert link.told == []
    assert isinstance(stranger, Session)
