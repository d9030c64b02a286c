"""HTTP/1.1 connections: how many, how long, how much; hypercorn speaks the protocol, its Trio tasks run the app.

    accept ─► limits ─► (TLS) ─► head within HEAD_S ─► body, app, answer within REQUEST_S ─► head within HEAD_S ─► …
                 └─ too many: the longest idle goes            └─ else the connection ends

hypercorn's own connection (`hypercorn.trio.tcp_server`) writes under a shield, which a peer who does not read holds for
ever, takes HTTP/2 and WebSockets, and lets an error end the server; this one does none of that. What a peer does ends
its own connection at most.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
from functools import partial
from typing import Any

import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.logging import Logger
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import EventWrapper, WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState
from hypercorn.utils import wrap_app

from server.http.errors import told_of
from server.http.turns import Turns, away
from server.limits import Limits

CONNECTIONS_MAX = 256
"""At once; one more ends the one that has been idle for longest, or itself where none is."""
HEAD_S = 5.0
"""For a request's head, from the connection's start or the last answer on."""
REQUEST_S = 20.0
"""For the rest of it, with the whole answer."""
HEAD_BYTES_MAX = 8 * 1024
HEAD_LINES_MAX = 300
"""What a head costs to parse is counted in lines: 3 µs each."""
READ_BYTES = 1024
"""Handed to the parser at once: a body in crumbs of a byte is 170 of them."""
APP_QUEUE_MAX = READ_BYTES
"""Pieces of a body that may wait for the app: more than READ_BYTES can be cut into, so that the parser never waits for
the app, which may wait for its turn."""
LINGER_S, LINGER_BYTES_MAX = 1.0, 256 * 1024
"""After an answer that comes before the request's end: what is still on its way is read, or the answer is lost."""

log = structlog.get_logger("holdfast.http")


class HttpServer:
    """Serves an ASGI app. `serve` takes one connection."""

    def __init__(self, app: Any, turns: Turns, limits: Limits, tls: ssl.SSLContext | None) -> None:
        self.connections = 0
        self.refused = 0
        """Connections beyond a limit."""
        self._app = wrap_app(app, 0, "asgi")
        self._limits = limits
        self._tls = tls
        self._config = _config()
        self._context = _Context(None)
        self._turns = turns
        self._idle: dict[_Connection, None] = {}

    async def run(self, listeners: list[trio.SocketListener]) -> None:
        """Take connections for ever."""
        async with trio.open_nursery() as nursery:
            await trio.serve_listeners(self.serve, listeners, handler_nursery=nursery)

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, to its end. Never raises for what a peer does."""
        try:
            peer, own = stream.socket.getpeername()[:2], stream.socket.getsockname()[:2]
        except OSError:  # it has hung up already
            stream.socket.close()
            return
        if not self._may_come(peer[0]):
            self.refused += 1
            stream.socket.close()
            return
        self._limits.connected(peer[0])
        self.connections += 1
        try:
            await self._serve(stream, peer, own)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            pass
        except* Exception as group:
            log.error("http_connection_failed", peer=peer[0], **told_of(group))
        finally:
            self.connections -= 1
            self._limits.disconnected(peer[0])
            stream.socket.close()

    def _may_come(self, host: str) -> bool:
        if not self._limits.may_connect(host, trio.current_time()):
            return False
        if self.connections < CONNECTIONS_MAX:
            return True
        if not self._idle:
            return False
        next(iter(self._idle)).end()
        return True

    async def _serve(self, stream: trio.SocketStream, peer: tuple[str, int], own: tuple[str, int]) -> None:
        carried: trio.abc.Stream = stream
        if self._tls is not None:
            carried = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)
        connection = _Connection(carried, self._idle)
        protocol = partial(
            _Http1, self._app, self._config, self._context, ssl=self._tls is not None, client=peer, server=own
        )
        await connection.run(protocol, self._turns)


class _Connection:
    """One connection, and when it has to be over."""

    def __init__(self, stream: trio.abc.Stream, idle: dict[_Connection, None]) -> None:
        self._stream = stream
        self._idle = idle
        self._scope = trio.CancelScope()
        self._writing = trio.Lock()
        self._closing = False
        self._lines = 0
        """Of the head that is coming in."""
        self._protocol: H11Protocol

    def end(self) -> None:
        """End it at once. Who comes at the same time is to find another one."""
        self._idle.pop(self, None)
        self._scope.cancel()

    async def run(self, protocol: Any, turns: Turns) -> None:
        """Take requests and answer them until the connection is over."""
        try:
            with self._scope:
                self._rest()
                if isinstance(self._stream, trio.SSLStream):
                    async with turns.turn():
                        await self._stream.do_handshake()
                await self._talk(protocol, turns)
        finally:
            self._idle.pop(self, None)
            with contextlib.suppress(AttributeError):  # it has a method of ours: a cycle
                del self._protocol

    async def _talk(self, protocol: Any, turns: Turns) -> None:
        async with TaskGroup() as group:
            self._protocol = protocol(task_group=group, connection_state=ConnectionState({}), send=self._send)
            discarded = 0
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := await self._stream.receive_some(READ_BYTES):
                    if self._closing:
                        discarded += len(data)
                        if discarded > LINGER_BYTES_MAX:
                            break
                        continue
                    if self in self._idle:
                        self._lines += data.count(b"\n")
                    async with turns.turn():
                        if self._lines > HEAD_LINES_MAX:
                            break
                        await self._protocol.handle(RawData(bytes(data)))
            async with turns.turn():  # many who hang up at once do not make a tick wait for all of them
                await self._protocol.handle(Closed())

    async def _send(self, event: Event) -> None:
        """What the protocol wants done."""
        if isinstance(event, RawData):
            try:
                async with self._writing:
                    await self._write(event.data)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                await self._protocol.handle(Closed())
        elif isinstance(event, Closed):
            await self._close()
        elif isinstance(event, Updated):
            if event.idle:
                self._rest()
            else:
                self._idle.pop(self, None)
                self._scope.deadline = trio.current_time() + REQUEST_S

    async def _write(self, data: bytes) -> None:
        """Write all of it. Nobody else waits for a peer who does not read, nor for all who are found gone at once."""
        if not isinstance(self._stream, trio.SocketStream):
            async with away():
                await self._stream.send_all(data)
            return
        while data:
            try:
                data = data[os.write(self._stream.socket.fileno(), data) :]
            except BlockingIOError:
                async with away():
                    await trio.lowlevel.wait_writable(self._stream.socket)

    def _rest(self) -> None:
        self._idle[self], self._lines = None, 0
        self._scope.deadline = trio.current_time() + HEAD_S

    async def _close(self) -> None:
        """Say that nothing more comes; the peer has a moment to say the same."""
        if not self._closing:
            self._closing = True
            self._scope.deadline = min(self._scope.deadline, trio.current_time() + LINGER_S)
            if isinstance(self._stream, trio.SocketStream):
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._stream.send_eof()
            else:
                await trio.aclose_forcefully(self._stream)


class _Event(EventWrapper):
    """Who waits for it lets others have the turn: a request that came behind another one, for one."""

    async def wait(self) -> None:
        async with away():
            await super().wait()


class _Context(WorkerContext):
    event_class = _Event


class _NotSpoken(Exception):
    """The peer wants another protocol."""


class _Http1(H11Protocol):
    """HTTP/1.1 alone: no HTTP/2, no WebSocket."""

    def __init__(self, app: Any, config: Config, context: WorkerContext, **more: Any) -> None:
        super().__init__(app, config, context, **more)

    async def handle(self, event: Event) -> None:
        try:
            await super().handle(event)
        except _NotSpoken:
            await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.method == b"PRI" or any(name == b"upgrade" for name, _ in event.headers):
            await self._send_error_response(400)
            raise _NotSpoken


class _Log(Logger):
    """hypercorn's words in our log."""

    def __init__(self, config: Config) -> None:
        self.access_logger = self.error_logger = None

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        failed = sys.exc_info()[1]
        log.error("http_failed", what=message, **({} if failed is None else told_of(failed)))


def _config() -> Config:
    config = Config()
    config.logger_class = _Log
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.include_server_header = False
    config.max_app_queue_size = APP_QUEUE_MAX
    config.keep_alive_max_requests = 1000
    return config


__all__ = ["ASGIFramework", "HttpServer"]
