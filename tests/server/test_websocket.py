"""WebSockets at the door of a real node: who is let in, what a fault costs, and that play is the same as over TCP."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from netcode import messages
from netcode.certificate import client_trust
from netcode.client import connect
from netcode.control import message_bytes, realtime_bytes
from netcode.errors import ErrorCode, LinkClosed
from netcode.server_end import Channel
from netcode.tcp import ByteLink, HandshakeFailed
from netcode.weblink import WebSocketLink
from netcode.websocket import HEAD_MAX, ClientUpgrade
from tests.netcode.test_websocket import request
from tests.server.games import Large
from tests.server.helpers import HANG_S, HOST, Node, Rude, playing, running, until

HELLO = messages.Hello(protocol=1)


@contextlib.asynccontextmanager
async def plain(node: Node) -> AsyncIterator[ByteLink]:
    """A TCP connection without TLS, on which nothing was said."""
    async with trio.open_nursery() as nursery:
        link = await ByteLink.client(HOST, node.port, None, nursery)
        try:
            yield link
        finally:
            link.close()
            nursery.cancel_scope.cancel()


class Raw(Rude):
    """An open WebSocket whose frames are made by hand."""

    def __init__(self, link: WebSocketLink) -> None:
        super().__init__(link)  # type: ignore[arg-type]  # it is used alike
        self.below = link._link

    def frame(self, opcode: Opcode, data: bytes, *, mask: bool = True) -> None:
        self.below.write(Frame(opcode, data).serialize(mask=mask))


@contextlib.asynccontextmanager
async def web(node: Node, *, tls: bool = False) -> AsyncIterator[Raw]:
    """An open WebSocket, not greeted yet."""
    async with trio.open_nursery() as nursery:
        trust = client_trust(HOST) if tls else None
        link = await WebSocketLink.client(HOST, node.port, trust, nursery)
        try:
            yield Raw(link)
        finally:
            link.close()
            nursery.cancel_scope.cancel()


async def all_of(link: ByteLink) -> bytes:
    """What comes until the server has closed the connection."""
    said = b""
    with trio.fail_after(HANG_S), contextlib.suppress(LinkClosed):
        while data := await link.receive():
            said += data
    return said


async def end_of(node: Node, said: bytes) -> tuple[int | None, str | None]:
    """Close code and reason that a client of another make gets for saying this."""
    async with plain(node) as link:
        link.write(ClientUpgrade(HOST, node.port, secure=False).request)
        link.write(said)
        answer, _, rest = (await all_of(link)).partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101")
        peer = ClientProtocol(parse_uri("ws://x/"), state=OPEN)
        peer.receive_data(rest)
        peer.receive_eof()
        return peer.close_code, peer.close_reason


def said(*told: messages.Message, opcode: Opcode = Opcode.BINARY) -> bytes:
    return Frame(opcode, b"".join(message_bytes(message) for message in told)).serialize(mask=True)


@pytest.mark.parametrize("transport", ["ws", "wss"])
async def test_play_is_the_same_as_over_tcp(tmp_path: Path, transport: str) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room):
        async with connect(node.server, transport=transport, name="Web") as client:
            there = await client.join(room=room.info.room)
            there.want(add=1)
            before = there.play.window.acknowledged
            with trio.fail_after(HANG_S):
                while there.play.window.acknowledged < before + 20:
                    await there.next_frame()
            assert isinstance(node.occupants[-1].session.link, WebSocketLink)
            assert node.occupants[-1].session.end.channel is Channel.CONTROL
        await room.next_frame()


async def test_one_message_may_hold_several_packets_and_one_read_several_messages(tmp_path: Path) -> None:
    async with running(tmp_path) as node, web(node) as peer:
        peer.say(HELLO, messages.Login(secret=b"x" * 16), messages.Ping(time_us=1))
        assert (await peer.hear(messages.Pong)).time_us == 1
        seated = await peer.seat()
        packet = realtime_bytes(b"\x01" + struct.pack("<BBHIHHHB", 0, seated.stream, 0, 0, 0, 0, 0, 0))
        told = [packet + message_bytes(messages.Ping(time_us=time)) + packet for time in range(2, 9)]
        peer.below.write(b"".join(Frame(Opcode.BINARY, one).serialize(mask=True) for one in told))
        assert [(await peer.hear(messages.Pong)).time_us for _ in range(2, 9)] == list(range(2, 9))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request("GET /elsewhere HTTP/1.1"), 404),
        (request(Origin="https://evil.example"), 403),
        (request(Host="evil.example", Origin="https://evil.example"), 421),
        (request(Sec_WebSocket_Protocol="holdfast.2"), 400),
        (request(Upgrade=None), 426),
        (b"GET " + b"x" * (HEAD_MAX + 10), 431),
    ],
)
async def test_a_request_that_is_refused(tmp_path: Path, head: bytes, status: int) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room):
        async with plain(node) as link:
            link.write(head)
            assert (await all_of(link)).startswith(b"HTTP/1.1 %d " % status)
        await until(lambda: node.metrics.limits.upgrades == 1, room)


async def test_pages_that_were_named_may_play(tmp_path: Path) -> None:
    async with running(tmp_path, allow_origin="https://a.example,https://b.example") as node, plain(node) as link:
        link.write(request(Origin="https://b.example"))
        with trio.fail_after(HANG_S):
            assert (await link.receive()).startswith(b"HTTP/1.1 101")


async def test_without_tls_only_this_machine_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netcode.weblink.is_loopback", lambda host: host != HOST)
    async with running(tmp_path) as node, plain(node) as link:
        link.write(request())
        assert (await all_of(link)).startswith(b"HTTP/1.1 403")
    async with running(tmp_path, plain_ws=True) as node, plain(node) as link:
        link.write(request())
        with trio.fail_after(HANG_S):
            assert (await link.receive()).startswith(b"HTTP/1.1 101")


async def test_a_client_says_nothing_in_the_clear_to_another_machine() -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(HandshakeFailed, match="use wss"):
            await WebSocketLink.client("192.0.2.1", 7777, None, nursery)


@pytest.mark.parametrize("start", [b"GARBAGE", b"GE", b"HEAD / HTTP/1.1\r\n\r\n", message_bytes(HELLO)])
async def test_what_is_neither_tls_nor_a_get_is_closed(
    tmp_path: Path, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.visitor.LOGIN_S", 0.2)
    monkeypatch.setattr("server.door.LOGIN_S", 0.2)
    async with running(tmp_path) as node, playing(node) as (_, room):
        async with plain(node) as link:
            link.write(start)
            assert b"hello" not in await all_of(link)
        await room.next_frame()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_request_that_takes_too_long(tmp_path: Path, tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.visitor.LOGIN_S", 0.3)
    async with running(tmp_path) as node, trio.open_nursery() as nursery:
        link = await ByteLink.client(HOST, node.port, client_trust(HOST) if tls else None, nursery)
        link.write(b"GET / HTTP/1.1\r\n")
        assert (await all_of(link)).startswith(b"HTTP/1.1 408")
        link.close()


async def test_a_request_byte_by_byte(tmp_path: Path) -> None:
    async with running(tmp_path) as node, plain(node) as link:
        for byte in ClientUpgrade(HOST, node.port, secure=False).request:
            link.write(bytes([byte]))
            await trio.lowlevel.checkpoint()
        with trio.fail_after(HANG_S):
            assert (await link.receive()).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (said(HELLO, opcode=Opcode.TEXT), 1003),
        (Frame(Opcode.BINARY, message_bytes(HELLO)).serialize(mask=False), 1002),
        (Frame(Opcode.BINARY, message_bytes(HELLO)[:-1]).serialize(mask=True), 1007),
        (struct.pack("!BBQ", 0x82, 0xFF, 1 << 20), 1009),
        (Frame(Opcode.PING, b"").serialize(mask=True) * 1000, 1008),
        (Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=True), 1000),
        (said(HELLO, HELLO), 4000 + ErrorCode.OUT_OF_TURN.number),
        (said(messages.Hello(protocol=99)), 4000 + ErrorCode.WRONG_VERSION.number),
        (Frame(Opcode.BINARY, struct.pack("<I", 70_000)).serialize(mask=True), 4000 + ErrorCode.TOO_LARGE.number),
    ],
    ids=["text", "unmasked", "cut", "huge", "pings", "goodbye", "twice hello", "version", "too large"],
)
async def test_the_codes_that_a_connection_ends_with(tmp_path: Path, wire: bytes, code: int) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room):
        assert (await end_of(node, wire))[0] == code
        await room.next_frame()


@pytest.mark.parametrize(
    ("opcode", "data", "mask"),
    [
        (Opcode.TEXT, b"hi", True),
        (Opcode.BINARY, message_bytes(HELLO), False),
        (Opcode.BINARY, b"\x09\x00\x00\x00\x00", True),
        (Opcode.CLOSE, b"", True),
    ],
)
async def test_a_member_who_breaks_the_protocol_keeps_its_seat_for_a_while(
    tmp_path: Path, opcode: Opcode, data: bytes, mask: bool
) -> None:
    async with running(tmp_path) as node, playing(node) as (_, room), web(node) as peer:
        await peer.log_in()
        await peer.seat()
        peer.frame(opcode, data, mask=mask)
        await peer.ended()
        await until(lambda: node.metrics.sessions_lost == 1, room)
        await until(lambda: any(occupant.away for occupant in node.occupants), room)


async def test_who_stops_reading_is_too_slow(tmp_path: Path) -> None:
    async with running(tmp_path, Large()) as node, playing(node) as (_, room), web(node) as peer:
        await peer.log_in()
        seated = await peer.seat("large")
        packet = realtime_bytes(b"\x01" + struct.pack("<BBHIHHHB", 0, seated.stream, 0, 0, 0, 0, 0, 0))
        session = next(o.session for o in node.occupants if o.seat == seated.seat and o.room == seated.room)
        peer.link.write(packet)
        with trio.fail_after(HANG_S):
            while not node.metrics.links_too_slow:
                session.link.write(bytes(60_000))
                await room.next_frame()


async def test_a_page_that_sleeps_is_kept_and_a_dead_one_is_not(tmp_path: Path) -> None:
    """A browser answers pings while the page's own clock stands still."""
    async with running(tmp_path, idle_s=1.2) as node, playing(node) as (_, room), web(node) as alive, web(node) as dead:
        await alive.log_in(b"a" * 16)
        await dead.log_in(b"d" * 16)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alive.hear, messages.Seated)  # reads, and so answers
            await until(lambda: node.metrics.sessions_lost == 1, room)
            await until(lambda: alive.link.closed is None and node.metrics.ticks > 200, room)
            nursery.cancel_scope.cancel()
        assert node.metrics.sessions_lost == 1
        error = await dead.hear(messages.Error)
        assert error.code == ErrorCode.TIMED_OUT.number
