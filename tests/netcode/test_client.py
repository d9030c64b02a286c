"""The client against a server that is played by the test: what it makes of answers, errors and silence."""

from __future__ import annotations

import contextlib

import pytest
import trio

from game.api import Input
from netcode import messages
from netcode.client import connect
from netcode.control import realtime_bytes
from netcode.errors import ErrorCode, RemoteError
from netcode.messages import Message, RoomCreated
from netcode.seated import EVENTS_KEPT
from tests.netcode.ends import Drift
from tests.netcode.scripted import Stage, fatal, frame, listening, seated


async def test_a_room_its_frames_and_its_events() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(seated())
        await stage.hear(bytes)
        stage.say(messages.Events(room="r", events=[[101, 0, "kill", [1, 2]], [101, 1, "chat", [0, "hi"]]]))
        stage.say(messages.Events(room="another", events=[[101, 2, "kill", [1, 2]]]))
        stage.link.write(frame(101, last_seq=1) + realtime_bytes(b"\x02bad"))
        leave = await stage.hear(messages.Leave)
        stage.say(messages.Left(room="r", seat=1, last_seq=1, applied=1, ref=leave.ref))
        await stage.stay()

    async with listening(play) as server, connect(server, transport="tcp") as client:
        assert (client.account, client.name, client.games, client.session) == ("a", "n", ["drift"], "s")
        room = await client.join("drift")
        frames: list[int] = []
        room.on_frame = lambda frame: frames.append(frame.tick)
        assert (await room.next_frame()).tick == 101
        event = await room.next_event()
        assert (event.tick, event.kind, event.data) == (101, "kill", (1, 2))
        left = await client.leave()
        assert (left.applied, room.left, client.room, frames) == (1, left, None, [101])
        assert (await room.next_event()).data == (0, "hi")
        for wait in (room.next_event, room.next_frame):
            with pytest.raises(RemoteError) as caught:
                await wait()
            assert caught.value.code is ErrorCode.NOT_SEATED
        assert client.bad_frames == 1
        assert (client.datagrams, room.events_dropped) == (2, 0)


async def test_rooms_are_asked_for_by_game_options_and_code() -> None:
    asked: list[Message] = []

    async def play(stage: Stage) -> None:
        await stage.enter()
        create = await stage.hear(messages.CreateRoom)
        stage.say(RoomCreated(room="new", seats=4, code="ABC234", ref=create.ref))
        asked.extend([create, await stage.hear(messages.ListRooms)])
        stage.say(messages.Rooms(rooms=[{"room": "new"}], ref=asked[-1].ref))
        for _ in range(3):
            asked.append(await stage.hear(messages.Join))
            stage.say(messages.Error(code=22, name="room_full", message="full", ref=asked[-1].ref))
        await stage.stay()

    async with listening(play) as server, connect(server, transport="tcp") as client:
        created = await client.create_room("drift", options={"teams": 2}, private=True)
        assert (created.room, created.seats, created.code) == ("new", 4, "ABC234")
        assert await client.rooms("drift", options={"teams": 2}, open=True) == [{"room": "new"}]
        for joining in (
            client.join("drift", options={"teams": 2}),
            client.join(code="ABC234"),
            client.join(room=created),
        ):
            with pytest.raises(RemoteError, match="full"):
                await joining
    wanted = [
        messages.CreateRoom(game="drift", options={"teams": 2}, private=True, ref=1),
        messages.ListRooms(game="drift", options={"teams": 2}, open=True, ref=2),
        messages.Join(game="drift", options={"teams": 2}, ref=3),
        messages.Join(code="ABC234", ref=4),
        messages.Join(room="new", ref=5),
    ]
    assert asked == wanted


@pytest.mark.parametrize("waits_for", ["frame", "event"])
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (fatal(ErrorCode.SESSION_REPLACED), ErrorCode.SESSION_REPLACED),
        (fatal(ErrorCode.SHUTTING_DOWN), ErrorCode.SHUTTING_DOWN),
        (messages.Error(code=26, name="room_closed", message="failed"), ErrorCode.ROOM_CLOSED),
        (messages.Error(code=9999, name="of_tomorrow", message="?", fatal=True), ErrorCode.INTERNAL),
        (messages.Hello(protocol=1), ErrorCode.OUT_OF_TURN),
        (messages.Events(room="r", events=[[1, 2, "short"]]), ErrorCode.BAD_MESSAGE),
        (messages.Events(room="r", events=[[1, 2, b"kind", []]]), ErrorCode.BAD_MESSAGE),
        (messages.Events(room="r", events=[[-1, 2, "kind", []]]), ErrorCode.BAD_MESSAGE),
        (messages.Events(room="r", events=[[2**40, 2, "kind", []]]), ErrorCode.BAD_MESSAGE),
        (messages.Part(room="r", part=0, data=b""), None),
        (None, ErrorCode.SESSION_GONE),
    ],
)
async def test_whoever_waits_is_told_why_it_ended(
    ending: Message | None, code: ErrorCode | None, waits_for: str
) -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(seated())
        await stage.hear(bytes)  # the client plays
        if ending is not None:
            stage.say(ending)
            if code is None:
                stage.say(fatal(ErrorCode.BAD_LOGIN))
            await stage.stay()

    async with listening(play) as server, connect(server, transport="tcp") as client:
        room = await client.join("drift")
        with pytest.raises(RemoteError) as caught:
            await (room.next_frame() if waits_for == "frame" else room.next_event())
        assert caught.value.code is code or code is None
        assert (client.error is None) == (code is ErrorCode.ROOM_CLOSED)
        assert not client.paused


async def test_a_request_without_an_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        late = await stage.hear(messages.ListRooms)
        stats = await stage.hear(messages.ListRooms)
        stage.say(messages.Rooms(rooms=[{"room": "late"}], ref=late.ref))
        stage.say(messages.Rooms(rooms=[{"room": "new"}], ref=stats.ref))
        await stage.stay()

    async with listening(play) as server, connect(server, transport="tcp") as client:
        with monkeypatch.context() as patched:
            patched.setattr("netcode.lifeline.ANSWER_S", 0.05)
            with pytest.raises(RemoteError, match="no answer to list_rooms") as caught:
                await client.rooms()
        assert caught.value.code is ErrorCode.TIMED_OUT
        assert await client.rooms() == [{"room": "new"}]


async def test_a_request_under_way_when_the_session_ends() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.hear(messages.ListRooms)

    async with listening(play) as server, connect(server, transport="tcp") as client:
        with pytest.raises(RemoteError) as caught:
            await client.rooms()
        assert caught.value.code is ErrorCode.SESSION_GONE
        with pytest.raises(RemoteError):
            await client.join("drift")
        with pytest.raises(RemoteError):
            await client.chat("hello?")


async def test_an_answer_of_the_wrong_kind_ends_the_session() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        asked = await stage.hear(messages.ListRooms)
        stage.say(messages.Pong(time_us=1, ref=asked.ref))
        await stage.stay()

    async with listening(play) as server, connect(server, transport="tcp") as client:
        with pytest.raises(RemoteError, match="pong is no answer to list_rooms") as caught:
            await client.rooms()
        assert caught.value.code is ErrorCode.BAD_MESSAGE


async def test_events_that_nobody_reads_do_not_pile_up() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(seated())
        for part in range(4):
            stage.say(messages.Events(room="r", events=[[100, part * 500 + n, "e", []] for n in range(500)]))
        await stage.hear(messages.Chat)
        stage.link.write(frame(101))
        await stage.stay()

    async with listening(play) as server, connect(server, transport="tcp") as client:
        room = await client.join("drift")
        await client.chat("go on")
        await room.next_frame()
        assert room.events_dropped == 2000 - EVENTS_KEPT
        assert (await room.next_event()).index == 2000 - EVENTS_KEPT


async def test_rules_of_the_room_predict_and_others_are_refused() -> None:
    class Guided(Drift):
        """Drift with a move of one's own."""

        inputs = (Input("go", "i1", -1, 1), Input("aim", "u2", 0, 1000))  # type: ignore[assignment]

        def predict(self, own, view, wanted):  # type: ignore[no-untyped-def]
            return {**own, "x": own["x"] + wanted["go"] * 16}

    class Other(Guided):
        """The same name, with other inputs."""

        inputs = (Input("go", "i1", -1, 1), Input("aim", "u2", 0, 7))

    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(seated())
        await stage.inputs()
        stage.link.write(frame(101))
        with contextlib.suppress(AssertionError):
            await stage.grant(seated())
            await stage.stay()

    async with listening(play) as server, connect(server, transport="tcp", rules=(Guided,)) as client:
        room = await client.join("drift")
        room.want(go=1)
        assert room.view_at() == {}
        await room.next_frame()
        assert room.play.predictor is not None
        view = room.view_at()
        assert set(view) >= {"x", "angle"}
        with pytest.raises(RemoteError, match="another inputs than drift") as caught:
            await client.join("drift", rules=Other)
        assert caught.value.code is ErrorCode.BAD_OPTION


async def test_pings_tell_the_round_trip() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(seated())
        asked = await stage.hear(messages.ListRooms)
        stage.say(messages.Pong(time_us=int(trio.current_time() * 1e6) - 80_000))
        stage.say(messages.Rooms(rooms=[], ref=asked.ref))
        await stage.stay()

    async with listening(play) as server, connect(server, transport="tcp") as client:
        room = await client.join("drift")
        await client.rooms()
        assert 80 <= room.play.clock.rtt_ms < 5000


async def test_a_server_of_another_version_is_named() -> None:
    async def play(stage: Stage) -> None:
        await stage.hear(messages.Hello)
        stage.say(messages.Hello(protocol=2))
        await stage.stay()

    async with listening(play) as server:
        with pytest.raises(RemoteError, match="speaks protocol 1, the other 2"):
            async with connect(server):
                pass


async def test_a_cipher_that_is_not_known_is_named() -> None:
    async def play(stage: Stage) -> None:
        hello = await stage.hear(messages.Hello)
        stage.say(messages.Hello(protocol=1, ref=hello.ref), _welcome_of_tomorrow())
        await stage.stay()

    async with listening(play) as server:
        with pytest.raises(RemoteError, match="'rot13'") as caught:
            async with connect(server):
                pass
        assert caught.value.code is ErrorCode.WRONG_VERSION


def _welcome_of_tomorrow() -> Message:
    return messages.Welcome(
        session="s", secret=bytes(32), account="a", name="n", games=[], udp_port=9, connection=2, suite="rot13",
        key_up=bytes(32), key_down=bytes(32),
    )  # fmt: skip


async def test_what_the_caller_raises_comes_out_as_it_is() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(seated())
        await stage.inputs()
        stage.link.write(frame(101))
        await stage.stay()

    def burst(_frame: object) -> None:
        raise KeyError("mine")

    async def plays(server: str) -> None:
        async with connect(server, transport="tcp") as client:
            (await client.join("drift")).on_frame = burst
            await trio.sleep_forever()

    async with listening(play) as server:
        with pytest.raises(KeyError, match="mine"):
            await plays(server)


async def test_a_transport_that_is_none() -> None:
    with pytest.raises(ValueError, match="udp, tcp, ws, wss"):
        async with connect(transport="smoke"):
            pass
