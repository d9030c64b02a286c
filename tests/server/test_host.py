"""The tick loop on a clock of its own: deadlines, phases, a slow journal, and rooms that fail or empty."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from cluster.journal import JournalFenced
from game.api import Event
from game.evidence import reproduce, unpack_evidence
from game.rows import Rows
from netcode import messages
from netcode.errors import ErrorCode, ProtocolError
from netcode.frame import HEADER
from netcode.framing import FrameReader
from netcode.inputs import InputWindow
from server.host import CATCH_UP_MAX
from server.rooms import EMPTY_ROOM_S
from server.row_stage import RowOccupant as Occupant
from server.seating import CHATS_AT_ONCE
from server.stage import COMMANDS_A_TICK, COMMANDS_MAX, events_bytes
from tests.server.games import Counter, Fragile
from tests.server.helpers import FakeLink, Rig


class Slow(Counter):
    """A counter that runs `during` in each step: to let time pass in it."""

    name = "slow"

    def __init__(self, during: Callable[[int], None]) -> None:
        self.during = during
        super().__init__()

    def step(self, rooms: Rows) -> None:
        super().step(rooms)
        self.during(int(rooms.tick[0]))


def seat(rig: Rig, number: int, room: str) -> tuple[Occupant, FakeLink]:
    session, link = rig.session(number)
    rig.join(session, room, number)
    rig.tick()
    assert isinstance(session.seat, Occupant)
    return session.seat, link


# -- time -------------------------------------------------------------------------------------------------------------


async def test_deadlines_are_absolute_and_phases_alternate(tmp_path: Path, autojump_clock: MockClock) -> None:
    started: list[tuple[float, int]] = []

    def during(tick: int) -> None:
        started.append((trio.current_time(), tick))
        autojump_clock.jump(0.007)

    rig = Rig(tmp_path, Slow(during), phases=2)
    for _ in range(4):
        rig.open()
    assert [len(stage.batch) for stage in rig.host.rooms.stages] == [2, 2]
    start = trio.current_time()
    with trio.move_on_after(0.9999):
        await rig.host.run()
    times = [round(at - start, 6) for at, _ in started]
    assert times == [round(n * 0.01, 6) for n in range(100)]
    assert [tick for _, tick in started] == [1 + n // 2 for n in range(100)]
    figures = rig.metrics.figures(trio.current_time(), 60)
    assert (figures["ticks"], figures["ticks_overrun"], figures["ticks_skipped"]) == (100, 0, 0)
    assert figures["tick_lateness_ms"]["max"] < 1e-6


async def test_a_late_tick_is_caught_up_and_counted(tmp_path: Path, autojump_clock: MockClock) -> None:
    started: list[float] = []

    def during(tick: int) -> None:
        started.append(trio.current_time())
        autojump_clock.jump(0.05 if tick == 10 else 0.0)

    rig = Rig(tmp_path, Slow(during))
    rig.open()
    start = trio.current_time()
    with trio.move_on_after(0.3999):
        await rig.host.run()
    assert len(started) == 20
    assert (rig.metrics.ticks_overrun, rig.metrics.ticks_skipped) == (1, 0)
    assert [round(at - start, 6) for at in started[9:14]] == [0.18, 0.23, 0.23, 0.24, 0.26]


async def test_skipped_slots_use_no_tick_number(tmp_path: Path, autojump_clock: MockClock) -> None:
    ticks: list[int] = []

    def during(tick: int) -> None:
        ticks.append(tick)
        autojump_clock.jump(1.0 if tick == 10 else 0.0)

    rig = Rig(tmp_path, Slow(during))
    rig.open()
    with trio.move_on_after(1.4999):
        await rig.host.run()
    assert ticks == list(range(1, len(ticks) + 1))
    assert rig.metrics.ticks_skipped == 49 > CATCH_UP_MAX
    assert len(ticks) + rig.metrics.ticks_skipped == 75


async def test_a_slow_journal_slows_the_ticks_and_nothing_leaves_before_it_is_stored(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    session, link = rig.session(1)
    rig.journal.stores = False
    rig.join(session, room, 5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.host.run)
        await trio.sleep(1.0)
        assert len(rig.journal.appends) == 2
        assert (link.told, link.frames, rig.delivered) == ([], [], [])
        rig.journal.appends[0].finish()
        await trio.sleep(0.001)
        assert [message.kind for message in link.told] == ["seated", "events"]
        assert link.told[0].ref == 5
        assert len(link.frames) == 1
        await trio.sleep(1.0)
        assert len(rig.journal.appends) == 3
        assert rig.host.rooms.by_id[room].stage.batch.tick_of(room) == 3
        for append in rig.journal.appends[1:]:
            append.finish()
        await trio.sleep(0.001)
        assert [HEADER.unpack(frame[: HEADER.size])[3] for frame in link.frames] == [1, 2, 3]
        assert rig.metrics.ticks_skipped > 0
        nursery.cancel_scope.cancel()


async def test_a_fenced_journal_ends_the_host_and_tells_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    rig = Rig(tmp_path, Counter({"match_ticks": 1}))
    room = rig.open()
    session, link = rig.session(1)
    rig.journal.stores = False
    rig.join(session, room, 5)
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.host.run)
            await trio.sleep(1.0)
            rig.journal.appends[1].finish()
            rig.journal.appends[0].fence()
    assert caught.value.subgroup(JournalFenced) is not None
    assert (link.told, link.frames, rig.delivered) == ([], [], [])


async def test_the_record_holds_what_a_replay_needs(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    seat(rig, 1, room)
    (stage,) = rig.journal.records[0]
    assert (stage.game, stage.options, stage.tick_hz) == ("counter", rig.host.game.option, rig.host.game.tick_hz)
    assert (list(stage.rooms), stage.epochs.tolist(), stage.ticks.tolist()) == ([room], [1], [1])
    assert stage.hashes.tolist() == rig.host.rooms.stages[0].batch.hashes()


# -- players ----------------------------------------------------------------------------------------------------------


async def test_a_session_that_goes_before_its_seat_comes_holds_it_only(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    session, link = rig.session(1)
    rig.join(session, room, 1)
    assert rig.host.rooms.by_id[room].free_seats == 3
    rig.lobby.forget(session)
    rig.tick(2)
    assert link.told == []
    stage = rig.host.rooms.by_id[room].stage
    assert (stage.occupants, stage.batch.rows.seated[0, 0], rig.host.seating._waiting) == ({}, 2, {})
    assert rig.host.rooms.by_id[room].free_seats == 3


async def test_a_full_room_is_a_typed_refusal_of_that_join(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Counter({"seats": 1}))
    room = rig.open()
    seat(rig, 1, room)
    session, link = rig.session(2)
    rig.join(session, room, 8)
    rig.tick()
    (error,) = link.heard(messages.Error)
    assert (error.code, error.ref, error.fatal, session.seat) == (ErrorCode.ROOM_FULL.number, 8, False, None)
    assert rig.host.rooms.by_id[room].reserved == 0


async def test_inputs_are_applied_once_each_and_the_books_tell(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    occupant, link = seat(rig, 1, room)
    window = InputWindow(0)
    for _ in range(5):
        window.add(b"\x02")
        occupant.receive(window.packet(occupant.stream, (0, 0), -1, 1))
        occupant.receive(window.packet(occupant.stream ^ 1, (0, 0), -1, 1))
    occupant.stage.take_in()
    assert occupant.stage.queues.waiting[occupant.place] == 5
    rig.tick(5)
    rows = rig.host.rooms.stages[0].batch.rows
    assert (rows.last_seq[0, 0], rows.applied[0, 0], int(rows.sum[0, 0])) == (5, 5, 10)
    rig.host.seating.leave(occupant, ref=3)
    with pytest.raises(ProtocolError):
        rig.host.seating.leave(occupant, ref=4)
    rig.tick()
    (left,) = link.heard(messages.Left)
    assert (left.ref, left.last_seq, left.applied, occupant.session.seat) == (3, 5, 5, None)
    assert rig.metrics.inputs_applied == 5


async def test_a_full_stage_refuses_joins_but_never_loses_a_goodbye(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    occupant, _ = seat(rig, 1, room)
    stage = rig.host.rooms.stages[0]
    rig.host.seating.applied(room, ["none"])
    stage.pending *= COMMANDS_MAX
    with pytest.raises(ProtocolError) as caught:
        rig.join(rig.session(2)[0], room, 1)
    assert caught.value.code is ErrorCode.LIMITED
    rig.lobby.forget(occupant.session)
    rig.tick(COMMANDS_MAX // COMMANDS_A_TICK + 1)
    assert stage.batch.rows.seated[0, 0] == 2


async def test_chat_is_rationed_and_events_come_in_messages_of_a_readable_size(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    rig = Rig(tmp_path, Counter({"seats": 16}))
    room = rig.open()
    seats = [seat(rig, number, room) for number in range(16)]
    rig.tick(100)
    for occupant, _ in seats:
        for _ in range(CHATS_AT_ONCE):
            rig.host.seating.chat(occupant, "\U0001f600" * 200)
        with pytest.raises(ProtocolError) as caught:
            rig.host.seating.chat(occupant, "more")
        assert caught.value.code is ErrorCode.LIMITED
    rig.host.rooms.stages[0].pending.extend(rig.host.rooms.stages[0].pending[:6])
    rig.tick(2)
    for _, link in seats:
        ids = [
            (tick, index)
            for told in link.heard(messages.Events)
            for tick, index, kind, _ in told.events
            if kind == "chat"
        ]
        assert len(ids) == 70
        assert ids == sorted(set(ids))
    await trio.sleep(0.5)
    rig.host.seating.chat(seats[0][0], "again")


class Loud(Counter):
    """A counter that tells of more in a tick than a message takes."""

    name = "loud"

    def step(self, rooms: Rows) -> None:
        super().step(rooms)
        rooms.emit("noise", np.zeros(1500, np.int64), np.arange(1500))


async def test_a_loud_game_is_heard_in_full_and_in_order(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Loud())
    _, link = seat(rig, 1, rig.open())
    data = [data for told in link.heard(messages.Events) for _, _, kind, data in told.events if kind == "noise"]
    assert data == [[number] for number in range(1500)]


@pytest.mark.parametrize(("count", "size"), [(0, 0), (64, 1024), (3, 30_000), (1500, 3), (1, 10)])
def test_events_come_in_messages_that_can_be_read(count: int, size: int) -> None:
    events = [Event(5, index, "k", (b"x" * size,)) for index in range(count)]
    more: dict[str, int]
    for more in ({}, {"tick": 1, "last_seq": 2}):
        told = [
            messages.decode(data)
            for _, data in FrameReader(messages.MESSAGE_MAX + 1).feed(events_bytes("r", events, **more))
        ]
        assert [entry[1] for message in told for entry in message.events] == list(range(count))  # type: ignore[attr-defined]
        assert told or not (count or more)


# -- rooms that end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow_journal", [False, True])
async def test_a_failing_room_is_closed_alone(tmp_path: Path, slow_journal: bool, nursery: trio.Nursery) -> None:
    rig = Rig(tmp_path, Fragile())
    nursery.start_soon(rig.host._gate.run)
    bad, good = rig.open(), rig.open()
    occupant, link = seat(rig, 1, bad)
    _, other = seat(rig, 2, good)
    joining, waiting = rig.session(3)
    rig.join(joining, bad, 7)
    window = InputWindow(0)
    window.add(b"\x0a")
    occupant.receive(window.packet(occupant.stream, (0, 0), -1, 1))
    rig.journal.stores = not slow_journal
    rig.tick(2)
    rig_tick = 3
    if slow_journal:
        assert link.heard(messages.Error) == []
        rig.journal.store()
    await wait_all_tasks_blocked()
    for told in (link, waiting):
        (error,) = told.heard(messages.Error)
        assert (error.code, error.fatal) == (ErrorCode.ROOM_CLOSED.number, False)
    assert (occupant.session.seat, joining.seat, list(rig.host.rooms.by_id)) == (None, None, [good])
    ticks = [HEADER.unpack(frame[: HEADER.size])[3] for frame in other.frames]
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
    assert rig.metrics.rooms_quarantined == 1
    nursery.start_soon(rig.evidence.run)
    await rig.evidence.drain()
    (file,) = (tmp_path / "evidence").iterdir()
    evidence = unpack_evidence(file.read_bytes())
    assert (evidence.spec, evidence.room, evidence.tick) == ("fragile", bad, rig_tick)
    error = reproduce(Fragile(), evidence)
    assert (type(error), str(error)) == (RuntimeError, "ten is too much")


async def test_evidence_that_cannot_be_written_is_no_second_failure(tmp_path: Path, nursery: trio.Nursery) -> None:
    (tmp_path / "evidence").write_bytes(b"in the way")
    game = Fragile()
    rig = Rig(tmp_path, game)
    nursery.start_soon(rig.evidence.run)
    room = rig.open()
    game.refuses_joins = True
    session, link = rig.session(1)
    rig.join(session, room, 2)
    rig.tick()
    (error,) = link.heard(messages.Error)
    assert (error.code, error.ref, session.seat) == (ErrorCode.ROOM_CLOSED.number, 2, None)
    assert rig.host.rooms.by_id == {}
    await rig.evidence.drain()


async def test_a_room_is_closed_when_it_was_empty_for_a_while(tmp_path: Path, autojump_clock: MockClock) -> None:
    rig = Rig(tmp_path)
    empty, used = rig.open(), rig.open()
    occupant, _ = seat(rig, 1, used)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.host.run)
        await trio.sleep(EMPTY_ROOM_S - 0.5)
        assert set(rig.host.rooms.by_id) == {empty, used}
        await trio.sleep(3.0)
        assert set(rig.host.rooms.by_id) == {used}
        rig.lobby.forget(occupant.session)  # held for 1 s, then empty for a while
        await trio.sleep(EMPTY_ROOM_S - 0.5)
        assert set(rig.host.rooms.by_id) == {used}
        await trio.sleep(4.0)
        assert rig.host.rooms.by_id == {}
        nursery.cancel_scope.cancel()


async def test_a_room_with_results_that_wait_stays(tmp_path: Path, autojump_clock: MockClock) -> None:
    rig = Rig(tmp_path, Counter({"match_ticks": 5}))
    room = rig.open()
    occupant, _ = seat(rig, 1, room)
    rig.tick(6)
    assert len(rig.delivered) == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.host.run)
        rig.lobby.forget(occupant.session)
        await trio.sleep(20.0)
        assert set(rig.host.rooms.by_id) == {room}
        rig.host.seating.applied(room, [result.op_id for _, result in rig.delivered])
        await trio.sleep(EMPTY_ROOM_S + 3.0)
        assert rig.host.rooms.by_id == {}
        nursery.cancel_scope.cancel()


async def test_too_many_rooms(tmp_path: Path) -> None:
    rig = Rig(tmp_path, rooms_max=1)
    request = messages.CreateRoom(game="counter")
    await rig.lobby.create(rig.session(1)[0], request)
    with pytest.raises(ProtocolError) as caught:
        await rig.lobby.create(rig.session(2)[0], request)
    assert caught.value.code is ErrorCode.TOO_MANY_ROOMS


async def test_a_seat_that_is_left_and_given_away_in_one_tick_frees_its_leaver(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    occupant, link = seat(rig, 1, room)
    rig.host.seating.leave(occupant, ref=7)
    other, _ = rig.session(2)
    rig.join(other, room, 8)
    rig.tick()
    assert [left.ref for left in link.heard(messages.Left)] == [7]
    assert occupant.session.seat is None
    assert (other.seat.seat, other.seat.generation) == (occupant.seat, occupant.generation + 1)


async def test_an_account_keeps_one_held_seat(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rooms = [rig.open() for _ in range(3)]
    for room in rooms:
        session, _ = rig.session(1, "ann")
        rig.join(session, room, 1)
        rig.lobby.forget(session)
        rig.tick(2)
    rig.tick(2)
    taken = [rig.host.rooms.by_id[room].stage.batch.ledger(room).seat_of("ann") for room in rooms]
    assert taken == [None, None, 0]


async def test_who_leaves_and_joins_again_may_say_no_more(tmp_path: Path, autojump_clock: MockClock) -> None:
    rig = Rig(tmp_path)
    room = rig.open()
    session, _ = rig.session(1)
    said = 0
    for _ in range(5):
        rig.join(session, room, 1)
        rig.tick()
        for _ in range(CHATS_AT_ONCE):
            with contextlib.suppress(ProtocolError):
                rig.host.seating.chat(session.seat, "hello")
                said += 1
        rig.host.seating.leave(session.seat, 2)
        rig.tick()
    assert said == CHATS_AT_ONCE
