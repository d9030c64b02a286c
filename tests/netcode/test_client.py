"""The client against a server that is played by the test: what it makes of answers, errors and silence."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from netcode import messages
from netcode.certificate import development_certificate, server_context
from netcode.client import EVENTS_KEPT, connect, parse_address
from netcode.control import ControlChannel, message_bytes, realtime_bytes
from netcode.errors import ErrorCode, RemoteError
from netcode.messages import Message
from netcode.tcp import ByteLink
from tests.netcode.test_play import frame, seated

HOST = "127.0.0.1"
WELCOME = messages.Welcome(
    session="s", secret=bytes(32), account="a", name="n", games=["drift"], udp_port=9, connection=2,
    suite="aes-256-gcm", key_up=bytes(32), key_down=bytes(32),
)  # fmt: skip


class Stage:
    """The server's end of one connection."""

    def __init__(self, link: ByteLink) -> None:
        self.link = link
        self._channel = ControlChannel(server=True)
        self._got: list[Message | bytes] = []

    def say(self, *said: Message) -> None:
        for message in said:
            self.link.write(message_bytes(message))

    async def hear(self, wanted: type[Any]) -> Any:
        """The next item of that class; others are passed over."""
        while True:
            while self._got:
                item = self._got.pop(0)
                if isinstance(item, messages.Login):
                    self._channel.logged_in()
                if isinstance(item, wanted):
                    return item
            data = await self.link.receive()
            assert data
            self._got.extend(self._channel.receive_data(data))

    async def welcome(self) -> None:
        hello = await self.hear(messages.Hello)
        self.say(messages.Hello(protocol=1, ref=hello.ref))
        login = await self.hear(messages.Login)
        self.say(attrs.evolve(WELCOME, ref=login.ref))

    async def seat(self) -> None:
        join = await self.hear(messages.Join)
        self.say(seated(ref=join.ref))


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder: Path = tmp_path_factory.mktemp("data")
    return server_context(*development_certificate(folder))


@contextlib.asynccontextmanager
async def listening(context: ssl.SSLContext, play: Any) -> AsyncIterator[str]:
    """A server of one connection, which `play(stage)` serves."""
    with trio.fail_after(10), trio.socket.socket() as listener:
        await listener.bind((HOST, 0))
        listener.listen()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                accepted, _ = await listener.accept()
                link = await ByteLink.server(accepted, context, nursery)
                try:
                    await play(Stage(link))
                    await link.aclose()
                finally:
                    link.close()

            nursery.start_soon(serve)
            yield f"{HOST}:{listener.getsockname()[1]}"
            nursery.cancel_scope.cancel()


async def test_a_room_its_frames_and_its_events(context: ssl.SSLContext) -> None:
    async def play(stage: Stage) -> None:
        await stage.welcome()
        await stage.seat()
        await stage.hear(bytes)
        stage.say(messages.Events(room="r", events=[[101, 0, "kill", [1, 2]], [101, 1, "chat", [0, "hi"]]]))
        stage.link.write(realtime_bytes(b"\x02" + frame(101, last_seq=1)) + realtime_bytes(b"\x02bad"))
        leave = await stage.hear(messages.Leave)
        stage.say(messages.Left(room="r", seat=1, last_seq=1, applied=1, ref=leave.ref))
        await trio.sleep_forever()

    async with listening(context, play) as server, connect(server, transport="tcp") as client:
        assert (client.account, client.name, client.games) == ("a", "n", ["drift"])
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


@pytest.mark.parametrize("waits_for", ["frame", "event"])
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (messages.Error(code=40, name="shutting_down", message="bye", fatal=True), ErrorCode.SHUTTING_DOWN),
        (messages.Error(code=26, name="room_closed", message="failed"), ErrorCode.ROOM_CLOSED),
        (messages.Error(code=9999, name="of_tomorrow", message="?", fatal=True), ErrorCode.INTERNAL),
        (messages.Hello(protocol=1), ErrorCode.OUT_OF_TURN),
        (None, ErrorCode.SESSION_GONE),
    ],
)
async def test_whoever_waits_is_told_why_it_ended(
    context: ssl.SSLContext, ending: Message | None, code: ErrorCode, waits_for: str
) -> None:
    async def play(stage: Stage) -> None:
        await stage.welcome()
        await stage.seat()
        await stage.hear(bytes)  # the client plays
        if ending is not None:
            stage.say(ending)
            with contextlib.suppress(Exception):
                await stage.hear(messages.Chat)

    async with listening(context, play) as server, connect(server, transport="tcp") as client:
        room = await client.join("drift")
        with pytest.raises(RemoteError) as caught:
            await (room.next_frame() if waits_for == "frame" else room.next_event())
        assert caught.value.code is code
        assert (client.error is None) == (code is ErrorCode.ROOM_CLOSED)


async def test_a_request_without_an_answer_times_out(context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(stage: Stage) -> None:
        await stage.welcome()
        await trio.sleep_forever()

    async with listening(context, play) as server, connect(server, transport="tcp") as client:
        monkeypatch.setattr("netcode.client.ANSWER_S", 0.05)
        with pytest.raises(RemoteError, match="no answer to list_rooms") as caught:
            await client.rooms()
        assert caught.value.code is ErrorCode.TIMED_OUT
        assert client._answers == {}


async def test_a_request_under_way_when_the_connection_ends(context: ssl.SSLContext) -> None:
    async def play(stage: Stage) -> None:
        await stage.welcome()
        await stage.hear(messages.ListRooms)

    async with listening(context, play) as server, connect(server, transport="tcp") as client:
        with pytest.raises(RemoteError) as caught:
            await client.rooms()
        assert caught.value.code is ErrorCode.SESSION_GONE
        with pytest.raises(RemoteError):
            await client.join("drift")


async def test_events_that_nobody_reads_do_not_pile_up(context: ssl.SSLContext) -> None:
    async def play(stage: Stage) -> None:
        await stage.welcome()
        await stage.seat()
        for part in range(4):
            stage.say(messages.Events(room="r", events=[[1, part * 500 + n, "e", []] for n in range(500)]))
        await stage.hear(messages.Chat)
        stage.link.write(realtime_bytes(b"\x02" + frame(101)))
        await trio.sleep_forever()

    async with listening(context, play) as server, connect(server, transport="tcp") as client:
        room = await client.join("drift")
        await client.chat("go on")
        await room.next_frame()
        assert (await room.next_event()).index == 2000 - EVENTS_KEPT


async def test_a_server_of_another_version_is_named(context: ssl.SSLContext) -> None:
    async def play(stage: Stage) -> None:
        await stage.hear(messages.Hello)
        stage.say(messages.Hello(protocol=2))
        await trio.sleep_forever()

    async with listening(context, play) as server:
        with pytest.raises(RemoteError, match="speaks protocol 1, the other 2"):
            async with connect(server):
                pass


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", ":0", "host:65536", "host:-1", "host:\u0663"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 127\.0\.0\.1:7777"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:7777", ("127.0.0.1", 7777)), ("[::1]:1", ("::1", 1)), ("example.org:65535", ("example.org", 65535))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


async def test_a_transport_that_is_none() -> None:
    with pytest.raises(ValueError, match="udp or tcp"):
        async with connect(transport="smoke"):
            pass
