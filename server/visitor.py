"""One control connection, from the end of its handshake to the goodbye.

    Hello ─► Login / Resume ─► requests, acts, realtime packets … ─► end of stream / silence / fault

A fault of the peer costs exactly its connection: a typed, fatal error is written and it is closed. A peer that does not
read is closed as too slow by its link; one that does not log in within LOGIN_S is closed, too. One that asks for too
much is refused first, and then read from more slowly: TCP holds it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from netcode import messages
from netcode.control import PROTOCOL, ControlChannel, message_bytes
from netcode.errors import BadFrame, ErrorCode, ProtocolError
from netcode.messages import Message
from netcode.seal import DatagramType
from netcode.server_end import Channel
from netcode.session import Session
from netcode.tcp import ByteLink, CloseReason, LinkClosed

if TYPE_CHECKING:
    from server.door import Door

LOGIN_S = 10.0
PACKETS_AT_ONCE = 16
"""Realtime packets of one connection that are handled before other tasks may run; of messages it is one."""
UNKNOWN_BYTES_MAX = 16 * 1024
"""Bytes that a connection may send before it has logged in."""

log = structlog.get_logger("holdfast.door")
_INPUT = bytes([DatagramType.INPUT])


class Redirected(Exception):
    """The session belongs to another node; its player was told which."""


class Visitor:
    """One control connection."""

    def __init__(self, door: Door, scope: trio.CancelScope) -> None:
        self._door = door
        self._scope = scope
        self._link: ByteLink
        self._channel = ControlChannel(server=True)
        self._session: Session | None = None
        self._pause_s = 0.0

    async def run(self, link: ByteLink) -> None:
        """Serve the connection until it ends."""
        self._link = link
        try:
            with trio.move_on_after(LOGIN_S) as patience:
                unknown = 0
                while data := await link.receive():
                    if self._session is None and (unknown := unknown + len(data)) > UNKNOWN_BYTES_MAX:
                        raise ProtocolError(ErrorCode.TOO_LARGE, f"{UNKNOWN_BYTES_MAX} bytes and no log-in")
                    await self._take(data)
                    if self._session is not None and patience.deadline != float("inf"):
                        self.settled()
                        link.turn = None
                        patience.deadline = float("inf")
            if patience.cancelled_caught:
                raise ProtocolError(ErrorCode.TIMED_OUT, f"no log-in within {LOGIN_S:g} s")
        except Redirected:
            log.debug("session_redirected", peer=link.peer[0])
        except ProtocolError as error:
            log.info("session_refused", code=error.code.wire_name, reason=str(error), peer=link.peer[0])
            link.write(message_bytes(messages.Error.of(error, fatal=True)))
        except LinkClosed:
            if link.closed is CloseReason.TOO_SLOW:
                self._door.count_too_slow()
                log.info("link_too_slow", peer=link.peer[0])
        except Exception:  # ours, and still no reason to end everybody's game
            log.exception("session_failed", peer=link.peer[0])
            internal = ProtocolError(ErrorCode.INTERNAL, "the server failed on this session; log in again")
            link.write(message_bytes(messages.Error.of(internal, fatal=True)))

    def settled(self) -> None:
        """The connection is half open no more."""
        self._door.half_open.settle(self._scope)

    async def _take(self, data: bytes) -> None:
        """Handle what came; then wait, where the session has used its budget up: TCP slows the peer down."""
        for number, item in enumerate(self._channel.receive_data(data)):
            if self._link.closed is not None:
                return
            if number and (number % PACKETS_AT_ONCE == 0 or not isinstance(item, bytes)):
                await trio.lowlevel.checkpoint()
            await self._receive(item)
        if self._session is not None:
            self._pause_s = max(self._pause_s, self._session.budget.take_bytes(len(data), trio.current_time()))
        if self._pause_s:
            await trio.sleep(self._pause_s)
            self._pause_s = 0.0

    async def _receive(self, item: Message | bytes) -> None:
        session = self._session
        if isinstance(item, messages.Hello):
            hello = messages.Hello(ref=item.ref, protocol=PROTOCOL, agent="holdfast server")
            self._link.write(message_bytes(hello))
        elif isinstance(item, messages.Login):
            self._session = await self._door.log_in(self._link, item)
            self._channel.logged_in()
        elif isinstance(item, messages.Resume):
            found = await self._door.resume(self._link, item)
            if isinstance(found, messages.Redirect):
                self._link.write(message_bytes(found))
                raise Redirected
            self._session = found
            self._channel.logged_in()
        elif session is None:
            assert isinstance(item, messages.Ping)
            self._link.write(message_bytes(messages.Pong(ref=item.ref, time_us=item.time_us)))
        elif self._door.speaks_for(session, self._link):  # else: ended by us, and the peer has not noticed yet
            session.heard_at = trio.current_time()
            if isinstance(item, bytes):
                self._receive_realtime(session, item)
            elif isinstance(item, messages.Act):
                if session.seat is not None:  # else: on its way when the seat was lost
                    session.seat.act(item.seq, item.data)
            else:
                await self._answer(session, item)

    def _receive_realtime(self, session: Session, packet: bytes) -> None:
        if packet[:1] != _INPUT:
            raise ProtocolError(ErrorCode.BAD_MESSAGE, "no realtime packet that a client sends")
        if not session.end.take_packet(len(packet), trio.current_time()):
            return
        session.end.channel = Channel.CONTROL
        if session.seat is not None:
            try:
                session.seat.receive(packet[1:])
            except BadFrame as error:
                raise ProtocolError(ErrorCode.BAD_MESSAGE, str(error)) from None

    async def _answer(self, session: Session, message: Message) -> None:
        now = trio.current_time()
        try:
            if not session.budget.take_message(now):
                self._pause_s = max(self._pause_s, session.budget.take_refusal(now))
                raise ProtocolError(ErrorCode.LIMITED, "too many requests; wait a moment")
            answer = await self._door.handle(session, message)
        except ProtocolError as error:  # a refusal, not a fault: the session goes on
            answer = messages.Error.of(error, message.ref)
        if answer is not None:
            self._link.write(message_bytes(answer))

    def gone(self) -> None:
        """The connection has ended, whoever ended it."""
        self.settled()
        if self._session is not None and self._door.speaks_for(self._session, self._link):
            self._door.lose(self._session)
