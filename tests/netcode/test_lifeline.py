"""A session over one connection after the other: what goes on, what is repeated, and when it is over."""

from __future__ import annotations

import contextlib
from pathlib import Path

import attrs
import pytest
import trio

from netcode import messages
from netcode.certificate import CertificateNotTrusted
from netcode.client import Client, connect
from netcode.errors import ErrorCode, RemoteError
from netcode.messages import Message
from netcode.resume import SavedSession
from netcode.seated import SeatedRoom
from tests.netcode.scripted import KEPT, Stage, fatal, frame, listening, seated

RESUMED = attrs.evolve(KEPT, room="r", generation=1, connection=3)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait before an attempt is drawn short."""
    monkeypatch.setattr("netcode.resume.FIRST_WAIT_S", 0.002)
    monkeypatch.setattr("netcode.resume.LONGEST_WAIT_S", 0.01)


class Heard:
    """What the application is told of pauses."""

    def __init__(self, client: Client) -> None:
        self.told: list[str] = []
        client.on_pause = lambda: self.told.append("pause")
        client.on_resume = lambda: self.told.append("resume")


async def first(stage: Stage) -> None:
    """A seat, two inputs, an event; then the connection breaks."""
    await stage.enter(answer=KEPT)
    await stage.grant(seated())
    while (await stage.inputs()).newest < 3:
        pass
    stage.say(messages.Events(room="r", events=[[100, 0, "a", []], [100, 1, "b", []]]))
    stage.link.write(frame(101, last_seq=1))
    with contextlib.suppress(AssertionError):
        await stage.hear(messages.Chat)


async def break_off(client: Client) -> None:
    """Have `first` break the connection, once it has said all."""
    assert isinstance(client.room, SeatedRoom)
    await client.room.next_frame()
    await client.chat("break")


@pytest.mark.parametrize(
    "last_word", [None, ErrorCode.TIMED_OUT, ErrorCode.SHUTTING_DOWN, ErrorCode.INTERNAL, ErrorCode.TOO_SLOW]
)
async def test_a_lost_connection_is_taken_up_and_no_input_is_lost(last_word: ErrorCode | None) -> None:
    heard: dict[str, object] = {}

    async def lost(stage: Stage) -> None:
        await first(stage)
        if last_word is not None:
            stage.say(fatal(last_word))

    async def again(stage: Stage) -> None:
        heard["resume"] = await stage.enter(messages.Resume, RESUMED)
        stage.say(seated(resumed=True, last_seq=2, stream=9, tick=140))
        stage.say(messages.Events(room="r", events=[[100, 1, "b", []], [139, 0, "c", []]]))
        packet = await stage.inputs()
        heard["inputs"] = (packet.stream, packet.newest - packet.count, packet.baseline)
        stage.link.write(frame(130, last_seq=9, stream=4) + frame(141, last_seq=packet.newest, stream=9))
        await stage.stay()

    async with listening(lost, again) as server, connect(server, transport="tcp") as client:
        room: SeatedRoom = await client.join("drift")
        pauses = Heard(client)
        room.want(go=1)
        assert (await room.next_frame()).tick == 101
        await client.chat("break")
        assert (await room.next_frame()).tick == 141
        assert heard["resume"] == messages.Resume(
            session="s",
            secret=b"S" * 32,
            event_tick=100,
            event_index=1,
            ref=heard["resume"].ref,  # type: ignore[attr-defined]
        )
        assert heard["inputs"] == (9, 2, -1)
        assert [(await room.next_event()).kind for _ in range(3)] == ["a", "b", "c"]
        assert (pauses.told, client.resumes, client.error) == (["pause", "resume"], 1, None)
        assert (client.room, room.paused, room.play.held["go"]) == (room, False, 1)


async def test_a_connection_that_breaks_again_before_the_seat_is_back_is_one_pause() -> None:
    async def broken(stage: Stage) -> None:
        await stage.enter(messages.Resume, RESUMED)

    async def unanswered(stage: Stage) -> None:
        await stage.hear(messages.Resume)

    async def busy(stage: Stage) -> None:
        await stage.enter(messages.Resume, fatal(ErrorCode.LIMITED))

    async def again(stage: Stage) -> None:
        await stage.enter(messages.Resume, RESUMED)
        stage.say(seated(resumed=True, last_seq=3))
        await stage.stay()

    async with (
        listening(first, broken, unanswered, busy, broken, again) as server,
        connect(server, transport="tcp") as client,
    ):
        room = await client.join("drift")
        pauses = Heard(client)
        await break_off(client)
        with trio.fail_after(5):
            while client.resumes < 3:
                await client._lifeline.change()
        assert await client.resumed_room() is room
        assert pauses.told == ["pause", "resume"]


@pytest.mark.parametrize("code", [ErrorCode.SESSION_REPLACED, ErrorCode.NOT_ALLOWED, ErrorCode.BAD_MESSAGE])
async def test_who_is_sent_away_does_not_come_back(code: ErrorCode) -> None:
    came: list[str] = []

    async def replaced(stage: Stage) -> None:
        await first(stage)
        stage.say(fatal(code))

    async def again(stage: Stage) -> None:
        came.append("again")

    async with listening(replaced, again) as server, connect(server, transport="tcp") as client:
        room = await client.join("drift")
        pauses = Heard(client)
        await break_off(client)
        with pytest.raises(RemoteError) as caught:
            await last(room)
        assert caught.value.code is code
        assert client.error is not None
        assert (client.error.code, pauses.told, came) == (code, [], [])


async def test_without_reconnect_the_end_is_the_end() -> None:
    async with listening(first) as server, connect(server, transport="tcp", reconnect=False) as client:
        room = await client.join("drift")
        await break_off(client)
        with pytest.raises(RemoteError) as caught:
            await last(room)
        assert caught.value.code is ErrorCode.SESSION_GONE


async def last(room: SeatedRoom) -> None:
    """Until the room ends."""
    while True:
        await room.next_event()


async def test_a_server_that_does_not_come_back_is_given_up() -> None:
    async with listening(first) as server, connect(server, transport="tcp", reconnect_s=0.05) as client:
        room = await client.join("drift")
        pauses = Heard(client)
        await break_off(client)
        with pytest.raises(RemoteError, match=r"could not be taken up again within 0\.05 s"):
            await last(room)
        assert pauses.told == ["pause"]
        assert not client.paused


async def test_a_session_that_is_gone_is_logged_in_anew_without_its_seat() -> None:
    logins: list[Message] = []

    async def gone(stage: Stage) -> None:
        await stage.enter(messages.Resume, fatal(ErrorCode.SESSION_GONE))

    async def anew(stage: Stage) -> None:
        answer = attrs.evolve(KEPT, session="t", secret=b"T" * 32, room="r")
        logins.append(await stage.enter(answer=answer))
        await stage.grant(seated(generation=3))
        await stage.stay()

    async with listening(first, gone, anew) as server, connect(server, secret=b"d" * 16, transport="tcp") as client:
        room = await client.join("drift")
        pauses = Heard(client)
        await break_off(client)
        with pytest.raises(RemoteError) as caught:
            await last(room)
        assert caught.value.code is ErrorCode.SESSION_GONE
        assert await client.resumed_room() is None
        assert (client.session, client.held_room, pauses.told) == ("t", "r", ["pause", "resume"])
        again = await client.join(room=client.held_room)
        assert again is not room
        assert client.held_room == ""
    assert isinstance(logins[0], messages.Login)
    assert logins[0].secret == b"d" * 16


@pytest.mark.parametrize("code", [ErrorCode.ROOM_CLOSED, ErrorCode.NOT_SEATED, None])
async def test_a_seat_that_is_gone_ends_and_the_session_goes_on(code: ErrorCode | None) -> None:
    async def again(stage: Stage) -> None:
        await stage.enter(messages.Resume, RESUMED if code is not None else attrs.evolve(RESUMED, room=""))
        if code is not None:
            stage.say(messages.Error(code=code.number, name=code.wire_name, message="gone"))
        await stage.grant(seated(generation=3))
        await stage.stay()

    async with listening(first, again) as server, connect(server, transport="tcp") as client:
        room = await client.join("drift")
        pauses = Heard(client)
        await break_off(client)
        with pytest.raises(RemoteError) as caught:
            await last(room)
        assert caught.value.code is (code or ErrorCode.NOT_SEATED)
        assert (await client.join("drift")).info.generation == 3
        assert pauses.told == ["pause", "resume"]


async def test_requests_under_way_fail_and_later_ones_wait() -> None:
    async def breaks(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.hear(messages.ListRooms)

    async def again(stage: Stage) -> None:
        await stage.enter(messages.Resume, attrs.evolve(RESUMED, room=""))
        asked = await stage.hear(messages.ListRooms)
        stage.say(messages.Rooms(rooms=[{"room": "r"}], ref=asked.ref))
        await stage.stay()

    async with listening(breaks, again) as server, connect(server, transport="tcp") as client:
        with pytest.raises(RemoteError, match="may have been done") as caught:
            await client.rooms()
        assert caught.value.code is ErrorCode.TIMED_OUT
        assert caught.value.retryable
        assert client.paused
        assert await client.rooms() == [{"room": "r"}]


async def test_a_join_whose_answer_was_lost_finds_its_seat() -> None:
    async def breaks(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.hear(messages.Join)

    async def again(stage: Stage) -> None:
        await stage.enter(messages.Resume, RESUMED)
        stage.say(seated(resumed=True))
        await stage.stay()

    async with listening(breaks, again) as server, connect(server, transport="tcp") as client:
        assert (await client.join("drift")) is client.room


async def test_a_server_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netcode.connection.SILENT_S", 0.05)
    monkeypatch.setattr("netcode.connection.KEEPALIVE_EVERY_S", 0.02)

    async def silent(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.stay()

    async def again(stage: Stage) -> None:
        await stage.enter(messages.Resume, attrs.evolve(RESUMED, room=""))
        await stage.stay()

    async with listening(silent, again) as server, connect(server, transport="tcp") as client:
        with trio.fail_after(5):
            while not client.resumes:
                await client._lifeline.change()


async def test_a_room_that_is_heard_again_goes_on_over_the_connection_that_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its node had lost touch with its store: another node was asked, which knows no better, and then frames came."""
    monkeypatch.setattr("netcode.seated.SILENT_S", 0.05)
    asked = trio.Event()

    async def falls_silent(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.grant(seated())
        await stage.hear(messages.Chat)
        stage.link.write(frame(101))
        await asked.wait()
        stage.link.write(frame(102))
        left = await stage.hear(messages.Leave)
        stage.say(messages.Left(ref=left.ref, room="r", seat=1, last_seq=0, applied=0))

    async def knows_no_better(stage: Stage) -> None:
        await stage.hear(messages.Hello)
        assert (await stage.hear(messages.Resume)).session == "s"
        asked.set()
        await stage.stay()

    async with listening(falls_silent, knows_no_better) as server, connect(server, transport="tcp") as client:
        room: SeatedRoom = await client.join("drift")
        pauses, connection = Heard(client), client._lifeline.connection
        await client.chat("play")
        assert (await room.next_frame()).tick == 101
        assert (await room.next_frame()).tick == 102
        assert (pauses.told, client.paused, client.resumes) == (["pause", "resume"], False, 0)
        assert client._lifeline.connection is connection
        await client.leave()


async def test_of_several_addresses_the_others_are_asked_first_for_a_room_that_is_not_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node that has lost touch with its store lets clients in all the same, and then has nothing to say."""
    monkeypatch.setattr("netcode.seated.SILENT_S", 0.05)
    asked: list[str] = []

    async def falls_silent(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.grant(seated())
        await stage.hear(messages.Chat)
        stage.link.write(frame(101))
        await stage.stay()

    async def hangs(stage: Stage) -> None:
        asked.append("the same")
        await stage.stay()

    async def has_it(stage: Stage) -> None:
        asked.append("another")
        await stage.enter(messages.Resume, RESUMED)
        stage.say(seated(resumed=True, epoch=1))
        await stage.stay()

    async with (
        listening(falls_silent, hangs) as one,
        listening(has_it) as other,
        connect(f"{one},{other}", transport="tcp") as client,
    ):
        room: SeatedRoom = await client.join("drift")
        pauses = Heard(client)
        await client.chat("play")
        with trio.fail_after(5):
            while room.epoch < 1:
                await client._lifeline.change()
        assert (pauses.told, asked, client.room) == (["pause", "resume"], ["another"], room)


async def test_a_server_with_another_certificate_is_not_told_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(first) as server, connect(server, transport="tcp") as client:
        await client.join("drift")

        async def impostor(*_: object, **__: object) -> None:
            await trio.lowlevel.checkpoint()
            raise CertificateNotTrusted("another certificate")

        monkeypatch.setattr("netcode.lifeline.reach", impostor)
        room = client.room
        assert isinstance(room, SeatedRoom)
        await break_off(client)
        with pytest.raises(RemoteError, match="another certificate"):
            await last(room)


# -- a session that outlives its process -----------------------------------------------------------------------------


@pytest.fixture
async def saved(tmp_path: Path) -> SavedSession:
    """What a process that was killed has left behind: it had made three inputs and read one event."""
    async with listening(first) as server, connect(server, name="n", transport="tcp", secret=b"d" * 16) as client:
        room = await client.join("drift")
        await room.next_frame()
        await room.next_event()
        (tmp_path / "saved").write_bytes(client.saved().to_bytes())
    return SavedSession.from_bytes((tmp_path / "saved").read_bytes())


async def test_a_killed_process_goes_on_with_its_saved_session(saved: SavedSession) -> None:
    heard: dict[str, object] = {}

    async def again(stage: Stage) -> None:
        heard["resume"] = await stage.enter(messages.Resume, RESUMED)
        await stage.hear(messages.Ping)
        stage.say(seated(resumed=True, last_seq=70_002, missed=True))
        stage.say(messages.Events(room="r", events=[[100, 1, "b", []]]))
        packet = await stage.inputs()
        heard["first"] = packet.newest - packet.count + 1
        stage.link.write(frame(101, last_seq=70_003))
        await stage.stay()

    assert (saved.event_tick, saved.event_index, saved.device_secret) == (100, 0, b"")
    async with listening(again) as server, connect(server, resume=saved, transport="tcp") as client:
        assert client.paused
        room = await client.resumed_room()
        assert isinstance(room, SeatedRoom)
        assert room is client.room
        assert (room.info.seat, room.events_missed) == (1, True)
        await room.next_frame()
        assert (await room.next_event()).kind == "b"
        assert heard["first"] == 70_003 & 0xFFFF
        assert room.play.window.acknowledged == 70_003
    assert isinstance(heard["resume"], messages.Resume)
    assert (heard["resume"].event_tick, heard["resume"].event_index) == (100, 0)


async def test_a_saved_session_without_a_seat() -> None:
    async def again(stage: Stage) -> None:
        await stage.enter(messages.Resume, KEPT)
        await stage.stay()

    saved = SavedSession("127.0.0.1:1", "a", "n", "s", b"S" * 32)
    async with listening(again) as server, connect(server, resume=saved, transport="tcp") as client:
        assert await client.resumed_room() is None
        assert not client.paused


async def test_a_saved_session_that_is_gone_is_refused(saved: SavedSession) -> None:
    async def gone(stage: Stage) -> None:
        await stage.enter(messages.Resume, fatal(ErrorCode.SESSION_GONE))

    async with listening(gone) as server:
        with pytest.raises(RemoteError) as caught:
            async with connect(resume=attrs.evolve(saved, server=server)):
                pass
        assert caught.value.code is ErrorCode.SESSION_GONE


async def test_a_server_that_hangs_up_does_not_mean_that_the_session_is_gone(saved: SavedSession) -> None:
    async def unanswered(stage: Stage) -> None:
        await stage.hear(messages.Resume)

    async with listening(unanswered) as server:
        with pytest.raises(RemoteError, match="before it had answered") as caught:
            async with connect(server, resume=saved):
                pass
        assert caught.value.code is ErrorCode.TIMED_OUT


async def test_what_is_saved_follows_the_events_that_were_read() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter(answer=KEPT)
        await stage.grant(seated())
        stage.say(messages.Events(room="r", events=[[100, 0, "a", []], [104, 7, "b", []]]))
        await stage.stay()

    async with listening(play) as server, connect(server, secret=b"d" * 16, transport="tcp") as client:
        assert (client.saved().event_tick, client.saved().event_index) == (0, 0)
        room = await client.join("drift")
        assert client.saved().event_tick == 99
        await room.next_event()
        await room.next_event()
        saved = client.saved(device_secret=True)
        assert (saved.event_tick, saved.event_index, saved.device_secret) == (104, 7, b"d" * 16)
        assert (saved.server, saved.session, saved.account) == (server, "s", "a")
