"""A server that is played by the test: one function for each connection that comes, in order."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import trio

from game.view import view_layout
from netcode import messages
from netcode.certificate import development_certificate, server_context
from netcode.control import ControlChannel, message_bytes, realtime_bytes
from netcode.errors import ErrorCode
from netcode.frame import HEADER
from netcode.messages import Message
from netcode.tcp import ByteLink
from tests.netcode.ends import Drift
from tests.netcode.queue import InputPacket, parse_input_packet

HOST = "127.0.0.1"
HANG_S = 10.0
"""A test that waits for so long has failed."""
INPUT_BYTES = 3
WELCOME = messages.Welcome(
    session="s", secret=b"S" * 32, account="a", name="n", games=["drift"], udp_port=9, connection=2,
    suite="aes-256-gcm", key_up=bytes(32), key_down=bytes(32),
)  # fmt: skip
KEPT = attrs.evolve(WELCOME, resume_s=5)
"""By a server that keeps sessions."""


def seated(**fields: Any) -> messages.Seated:
    """A seat in a room of rows."""
    told: dict[str, Any] = {
        "room": "r", "game": "drift", "options": {}, "seat": 1, "seats": 3, "generation": 2, "stream": 4, "epoch": 0,
        "tick": 100, "tick_hz": 20, "last_seq": 0, "inputs": [["go", "i1", -1, 1], ["aim", "u2", 0, 1000]],
        "view": view_layout(Drift()).describe(), "roster": [],
    }  # fmt: skip
    return messages.Seated(**{**told, **fields})


def board(**fields: Any) -> messages.Seated:
    """A seat in a room of objects."""
    return seated(**{"room": "b", "game": "board", "inputs": [], "view": {}, "parts": 1, **fields})


def frame(tick: int, last_seq: int = 0, stream: int = 4) -> bytes:
    """A realtime packet with a full frame whose deltas change nothing."""
    fields = view_layout(Drift())
    codes = -(-len(fields.shared) // 4) + -(-len(fields.own) // 4)
    header = HEADER.pack(0, stream, 0, tick & 0xFFFF, 0, last_seq & 0xFFFF, 0)
    return realtime_bytes(b"\x02" + header + bytes(codes))


def fatal(code: ErrorCode) -> messages.Error:
    """The last word of a server."""
    return messages.Error(code=code.number, name=code.wire_name, message="bye", retryable=code.retryable, fatal=True)


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
                if isinstance(item, wanted):
                    return item
            data = await self.link.receive()
            assert data, f"the client hung up before {wanted.__name__}"
            for item in self._channel.receive_data(data):
                self._got.append(item)
                if isinstance(item, (messages.Login, messages.Resume)):
                    self._channel.logged_in()

    async def inputs(self) -> InputPacket:
        """The next packet of inputs that has any."""
        while True:
            packet = parse_input_packet((await self.hear(bytes))[1:], INPUT_BYTES)
            if packet.count:
                return packet

    async def enter(self, entry: type[Any] = messages.Login, answer: Message = WELCOME) -> Any:
        """Let the client in by that message, or refuse it; returns the message."""
        hello = await self.hear(messages.Hello)
        self.say(messages.Hello(protocol=1, ref=hello.ref))
        request = await self.hear(entry)
        self.say(attrs.evolve(answer, ref=request.ref))
        return request

    async def grant(self, *granted: Message) -> Any:
        """Answer the next request to join."""
        join = await self.hear(messages.Join)
        self.say(attrs.evolve(granted[0], ref=join.ref), *granted[1:])
        return join

    async def stay(self) -> None:
        """Until the client hangs up."""
        with contextlib.suppress(Exception):
            await self.hear(messages.StatsRequest)


Play = Callable[[Stage], Awaitable[Any]]


@cache
def context() -> ssl.SSLContext:
    """TLS for all scripted servers."""
    with tempfile.TemporaryDirectory() as folder:
        return server_context(*development_certificate(Path(folder)))


@contextlib.asynccontextmanager
async def listening(*plays: Play) -> AsyncIterator[str]:
    """A server whose connections are served by `plays`, each by its own; any more are closed at once.

    A play that returns has its connection closed without a goodbye, as by a reset.
    """
    with trio.fail_after(HANG_S), trio.socket.socket() as listener:
        await listener.bind((HOST, 0))
        listener.listen()
        async with trio.open_nursery() as nursery:

            async def serve(accepted: trio.socket.SocketType, play: Play) -> None:
                link = await ByteLink.server(accepted, context(), nursery)
                try:
                    await play(Stage(link))
                finally:
                    link.close()

            async def accept() -> None:
                for play in plays:
                    accepted, _ = await listener.accept()
                    nursery.start_soon(serve, accepted, play)
                while True:
                    accepted, _ = await listener.accept()
                    accepted.close()

            nursery.start_soon(accept)
            yield f"{HOST}:{listener.getsockname()[1]}"
            nursery.cancel_scope.cancel()
