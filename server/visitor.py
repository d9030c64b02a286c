"""One control connection, from the end of its handshake to the goodbye.

    (upgrade ─►) Hello ─► Login / Resume ─► requests, acts, realtime packets … ─► end of stream / silence / fault

Whoever is logged in is read by the pool, and has no task: what it says a few thousand times a second between all,
realtime packets, is handled there at once, the usual ones in columns (`server.streams`); for anything else the pool
calls for a task, which ends with the answer.

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
from netcode.errors import BadFrame, CloseReason, ErrorCode, LinkClosed, ProtocolError
from netcode.messages import Message
from netcode.seal import DatagramType
from netcode.server_end import Channel
from netcode.session import Session
from netcode.tcp import ByteLink
from netcode.weblink import Link, UpgradeRefused, WebSocketLink, asks_for_http

if TYPE_CHECKING:
    from server.door import Door
    from server.pace import Arrival

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

    __slots__ = (
        "_channel",
        "_door",
        "_fault",
        "_left",
        "_pause_s",
        "_scope",
        "_session",
        "host",
        "link",
        "told",
        "turn",
    )

    def __init__(self, door: Door, scope: trio.CancelScope, link: ByteLink, turn: Arrival, host: str) -> None:
        self.link: Link = link
        """The connection; a WebSocket once the peer has asked for it."""
        self.told: ErrorCode | None = None
        """The fatal error that the peer was told."""
        self.turn, self.host = turn, host
        self._door = door
        self._scope: trio.CancelScope | None = scope
        self._channel = ControlChannel(server=True)
        self._session: Session | None = None
        self._pause_s = 0.0
        self._left: list[Message | bytes] | None = None  # what the pool could not handle
        self._fault: Exception | None = None  # that the pool met

    @property
    def given_up(self) -> bool:
        """Whether the connection was cancelled before it had logged in."""
        return self._scope is not None and self._scope.cancel_called

    async def run(self) -> bool:
        """Serve the connection until the pool has it (True), which then calls for it to be run again, or until it has
        ended (False)."""
        link = self.link
        try:
            return await (self._enter() if self._session is None else self._stay())
        except Redirected:
            log.debug("session_redirected", peer=link.peer[0])
        except ProtocolError as error:
            log.info("session_refused", code=error.code.wire_name, reason=str(error), peer=link.peer[0])
            self._tell(error)
        except UpgradeRefused as error:
            self._door.count_refused_upgrade()
            log.info("upgrade_refused", reason=str(error), peer=link.peer[0])
        except LinkClosed as ended:
            if ended.reason is CloseReason.TOO_SLOW:
                self._door.count_too_slow()
                log.info("link_too_slow", peer=link.peer[0])
            elif isinstance(link, WebSocketLink) and link.fault:
                log.info("websocket_broken", reason=link.fault, peer=link.peer[0])
        except Exception:  # ours, and still no reason to end everybody's game
            log.exception("session_failed", peer=link.peer[0])
            self._tell(ProtocolError(ErrorCode.INTERNAL, "the server failed on this session; log in again"))
        return False

    async def _enter(self) -> bool:
        """From the first bytes to the log-in, and on."""
        link, unknown = self.link, 0
        with trio.move_on_after(LOGIN_S):
            if isinstance(link, ByteLink) and await asks_for_http(link):
                self.link = link = WebSocketLink(link)
                await link.accept(self._door.upgrades)
            while self._session is None:
                if not (data := await link.receive()):
                    return False
                unknown += len(data) + link.take_overhead()
                if unknown > UNKNOWN_BYTES_MAX:
                    raise ProtocolError(ErrorCode.TOO_LARGE, f"{UNKNOWN_BYTES_MAX} bytes and no log-in")
                await self._handle(self._channel.receive_data(data))
        if self._session is None:
            raise ProtocolError(ErrorCode.TIMED_OUT, f"no log-in within {LOGIN_S:g} s")
        self.settled()
        link.turn = None
        self._left = []
        return await self._stay()

    async def _stay(self) -> bool:
        """Handle what the pool has left, or what is received where it has left nothing, until it can go on."""
        link = self.link
        while True:
            if self._fault is not None:
                raise self._fault
            items, self._left = self._left, None
            if items is None:
                if not (data := await link.receive()):
                    return False
                self._charge(len(data))
                items = self._channel.receive_data(data)
            await self._handle(items)
            if link.be_read(self._take, self._call, self._door.pool, self._key):
                return True

    def _call(self) -> None:
        """The pool has done what it can."""
        self._door.call(self)

    def _key(self) -> int:
        """Connection id of the session whose realtime packets the pool may take without us; 0: they are ours."""
        session = self._session
        if session is None or not self._channel.whole or not self._door.speaks_for(session, self.link):
            return 0
        return session.end.connection

    def settled(self) -> None:
        """The connection is half open no more."""
        if self._scope is not None:
            self._door.half_open.settle(self._scope)
            self._scope = None

    def _tell(self, error: ProtocolError) -> None:
        self.told = error.code
        self.link.write(message_bytes(messages.Error.of(error, fatal=True)))

    def _charge(self, count: int) -> None:
        """Have the session pay for bytes that came; `_handle` waits, where it has used its budget up."""
        if self._session is not None:
            count += self.link.take_overhead() + self._session.end.take_owed()
            self._pause_s = max(self._pause_s, self._session.budget.take_bytes(count, trio.current_time()))

    async def _handle(self, items: list[Message | bytes]) -> None:
        """Handle what came; then wait, where the session has used its budget up: TCP slows the peer down."""
        for number, item in enumerate(items):
            if self.link.closed is not None:
                return
            if number and (number % PACKETS_AT_ONCE == 0 or not isinstance(item, bytes)):
                await trio.lowlevel.checkpoint()
            await self._receive(item)
        if self._pause_s:
            await trio.sleep(self._pause_s)
            self._pause_s = 0.0

    def _take(self, data: bytes) -> bool:
        """The pool has read: handle realtime packets, and leave all else to the task; whether there is nothing else."""
        session, done = self._session, 0
        assert session is not None
        try:
            items = self._channel.receive_data(data)
            self._charge(len(data))
            if len(items) <= PACKETS_AT_ONCE:
                for item in items:
                    if not isinstance(item, bytes):
                        break
                    self._receive_packet(session, item)
                    done += 1
            if done < len(items) or self._pause_s:
                self._left = items[done:]
        except Exception as error:
            self._fault = error
        return self._left is None and self._fault is None

    async def _receive(self, item: Message | bytes) -> None:
        session = self._session
        if isinstance(item, messages.Hello):
            hello = messages.Hello(ref=item.ref, protocol=PROTOCOL, agent="holdfast server")
            self.link.write(message_bytes(hello))
        elif isinstance(item, messages.Login):
            self._session = await self._door.log_in(self.link, item, self.turn)
            self._channel.logged_in()
        elif isinstance(item, messages.Resume):
            found = await self._door.resume(self.link, item)
            if isinstance(found, messages.Redirect):
                self.link.write(message_bytes(found))
                raise Redirected
            self._session = found
            self._channel.logged_in()
        elif session is None:
            assert isinstance(item, messages.Ping)
            self.link.write(message_bytes(messages.Pong(ref=item.ref, time_us=item.time_us)))
        elif isinstance(item, bytes):
            self._receive_packet(session, item)
        elif self._door.speaks_for(session, self.link):  # else: ended by us, and the peer has not noticed yet
            session.heard_at = trio.current_time()
            if isinstance(item, messages.Act):
                if session.seat is not None:  # else: on its way when the seat was lost
                    session.seat.act(item.seq, item.data)
            else:
                await self._answer(session, item)

    def _receive_packet(self, session: Session, packet: bytes) -> None:
        if not self._door.speaks_for(session, self.link):
            return
        session.heard_at = now = trio.current_time()
        if packet[:1] != _INPUT:
            raise ProtocolError(ErrorCode.BAD_MESSAGE, "no realtime packet that a client sends")
        if not session.end.take_packet(len(packet), now):
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
            await self.turn()  # the pool wakes many together
            if not self._door.speaks_for(session, self.link):
                return  # ended, or taken up by another connection meanwhile
            answer = await self._door.handle(session, message)
        except ProtocolError as error:  # a refusal, not a fault: the session goes on
            answer = messages.Error.of(error, message.ref)
        if answer is not None:
            self.link.write(message_bytes(answer))

    def gone(self) -> None:
        """The connection has ended, whoever ended it."""
        self.settled()
        if self._session is not None and self._door.speaks_for(self._session, self.link):
            self._door.lose(self._session)
