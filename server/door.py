"""The front door: one task for each control connection, from the TLS handshake to the goodbye.

    accept ─► handshake ─► Hello ─► Login ─► requests … ─► end of stream / silence / fault ─► seat held, session gone

A fault of the peer costs exactly its session: a typed, fatal error is written and the connection is closed. A peer
that does not read is closed as too slow by its link; one that does not log in within LOGIN_S is closed, too.
"""

from __future__ import annotations

import secrets
import ssl

import structlog
import trio

from netcode import messages
from netcode.certificate import is_loopback
from netcode.control import PROTOCOL, ControlChannel, message_bytes
from netcode.errors import BadFrame, ErrorCode, ProtocolError
from netcode.messages import Message
from netcode.realtime import ServerEnd
from netcode.seal import DatagramType, Suite
from netcode.session import Session, SessionTable, secret_hash
from netcode.tcp import ByteLink, CloseReason, HandshakeFailed, LinkClosed
from profiles import ProfileInputError, Profiles, ProfileStoreError
from server.lobby import Lobby
from server.metrics import Metrics

LOGIN_S = 10.0
PROFILE_SLICE = ("rating", "xp", "matches", "wins")
"""What a game is told of a player who joins; journaled with the join."""
MESSAGES_AT_ONCE = 16
"""Messages of one connection that are handled before other tasks may run."""
REQUESTS_A_SECOND, REQUESTS_BURST = 20, 40
"""Requests of one session; one more is refused: LIMITED."""
HALF_OPEN_MAX = 1024
"""Connections that have not logged in; one more is closed at once."""

log = structlog.get_logger("holdfast.door")


class Door:
    """Takes control connections in and answers them."""

    def __init__(
        self,
        *,
        sessions: SessionTable,
        lobby: Lobby,
        profiles: Profiles,
        metrics: Metrics,
        tls: ssl.SSLContext,
        udp_port: int,
        nursery: trio.Nursery,
    ) -> None:
        self._sessions, self._lobby, self._profiles, self._metrics = sessions, lobby, profiles, metrics
        self._tls = tls
        self._udp_port = udp_port
        self._nursery = nursery
        self._path_key = secrets.token_bytes(32)
        self.half_open = 0
        """Connections that have not logged in yet."""
        self.closing = False

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, to its end. Never raises for what a peer does."""
        if self.half_open >= HALF_OPEN_MAX:
            stream.socket.close()
            return
        self.half_open += 1
        visitor = _Visitor(self)
        try:
            link = await ByteLink.server(stream.socket, self._tls, self._nursery, handshake_timeout_s=LOGIN_S)
            try:
                await visitor.run(link)
            finally:
                visitor.gone()
                with trio.CancelScope(shield=True):
                    await link.aclose()
        except HandshakeFailed:
            return
        finally:
            visitor.settled()

    async def admit(self, link: ByteLink, login: messages.Login) -> Session:
        """Log a guest in and open a session; raises ProtocolError."""
        if self.closing:
            raise ProtocolError(ErrorCode.SHUTTING_DOWN, "this server is shutting down")
        try:
            profile = await self._profiles.guest(login.secret, login.name)
        except ProfileInputError as error:
            raise ProtocolError(ErrorCode.BAD_LOGIN, str(error)) from error
        except ProfileStoreError as error:
            log.error("login_failed", error=str(error))
            raise ProtocolError(ErrorCode.INTERNAL, "the profile store does not answer; try again") from error
        secret, now = secrets.token_bytes(32), trio.current_time()
        keys = secrets.token_bytes(32), secrets.token_bytes(32)
        connection = secrets.randbits(64)
        end = ServerEnd(connection, *keys, self._path_key, self._metrics.drops, Suite.AES_256_GCM)
        session = Session(
            secrets.token_hex(16), profile.account, profile.name, secret_hash(secret), end, now, now, link
        )
        session.profile = {name: getattr(profile, name) for name in PROFILE_SLICE}
        replaced = self._sessions.add(session)
        if replaced is not None:
            self.end(replaced, ProtocolError(ErrorCode.SESSION_REPLACED, "this player logged in elsewhere"))
        self._metrics.sessions_opened += 1
        link.write(
            message_bytes(
                messages.Welcome(
                    ref=login.ref,
                    session=session.id,
                    secret=secret,
                    account=profile.account,
                    name=profile.name,
                    games=sorted(self._lobby.hosts),
                    udp_port=self._udp_port,
                    connection=connection,
                    suite=Suite.AES_256_GCM.value,
                    key_up=keys[0],
                    key_down=keys[1],
                )
            )
        )
        return session

    def end(self, session: Session, error: ProtocolError) -> None:
        """End a session from our side: its player is told, its seat is held."""
        self._sessions.remove(session)
        self._lobby.forget(session)
        session.link.write(message_bytes(messages.Error.of(error, fatal=True)))
        self._nursery.start_soon(session.link.aclose)

    async def watch(self, idle_s: float) -> None:
        """End sessions that fell silent or grew too old, for ever."""
        while True:
            await trio.sleep(1.0)
            now = trio.current_time()
            for session in self._sessions.silent(now, idle_s):
                self._metrics.sessions_lost += 1
                self.end(session, ProtocolError(ErrorCode.TIMED_OUT, f"not heard for {idle_s:g} s"))
            for session in self._sessions.outlived(now):
                self.end(session, ProtocolError(ErrorCode.SESSION_GONE, "the session is too old; log in again"))

    def close_all(self) -> None:
        """Tell everybody that this server goes away."""
        self.closing = True
        for session in list(self._sessions.by_id.values()):
            self.end(session, ProtocolError(ErrorCode.SHUTTING_DOWN, "this server is shutting down"))

    def handle(self, session: Session, message: Message) -> Message | None:
        """Answer one request of a session; None: the answer comes later. Raises ProtocolError."""
        match message:
            case messages.Ping():
                return messages.Pong(ref=message.ref, time_us=message.time_us)
            case messages.ListRooms():
                return self._lobby.list_rooms(message)
            case messages.CreateRoom():
                return self._lobby.create(session, message)
            case messages.Join():
                self._lobby.join(session, message)
            case messages.Leave():
                host, occupant = self._lobby.seat_of(session)
                host.leave(occupant, message.ref)
            case messages.Chat():
                host, occupant = self._lobby.seat_of(session)
                host.chat(occupant, message.text)
            case messages.StatsRequest():
                if not is_loopback(session.link.peer[0]):
                    raise ProtocolError(ErrorCode.NOT_ALLOWED, "stats are told on loopback only")
                figures = self._metrics.figures(trio.current_time(), message.window_s)
                figures["sessions"] = len(self._sessions)
                figures["half_open"] = self.half_open
                figures["rooms"] = sum(len(host.rooms) for host in self._lobby.hosts.values())
                return messages.Stats(ref=message.ref, figures=figures)
        return None

    def count_too_slow(self) -> None:
        """A link was closed because its peer did not read."""
        self._metrics.links_too_slow += 1

    def knows(self, session: Session) -> bool:
        """Whether the session has not ended."""
        return self._sessions.by_id.get(session.id) is session

    def forget(self, session: Session) -> None:
        """The session's connection is gone."""
        if self.knows(session):
            self._sessions.remove(session)
            self._lobby.forget(session)


class _Visitor:
    """One control connection."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._link: ByteLink
        self._channel = ControlChannel(server=True)
        self._session: Session | None = None
        self._half_open = True
        self._requests_due = 0.0

    async def run(self, link: ByteLink) -> None:
        """Serve the connection until it ends."""
        self._link = link
        try:
            with trio.move_on_after(LOGIN_S) as patience:
                while data := await link.receive():
                    for number, item in enumerate(self._channel.receive_data(data)):
                        if link.closed is not None:
                            break
                        if number % MESSAGES_AT_ONCE == MESSAGES_AT_ONCE - 1:
                            await trio.lowlevel.checkpoint()
                        await self._receive(item)
                    if self._session is not None and self._half_open:
                        self.settled()
                        patience.deadline = float("inf")
            if patience.cancelled_caught:
                raise ProtocolError(ErrorCode.TIMED_OUT, f"no log-in within {LOGIN_S:g} s")
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
        self._door.half_open -= self._half_open
        self._half_open = False

    async def _receive(self, item: Message | bytes) -> None:
        if isinstance(item, messages.Hello):
            hello = messages.Hello(ref=item.ref, protocol=PROTOCOL, agent="holdfast server")
            self._link.write(message_bytes(hello))
        elif isinstance(item, messages.Login):
            self._session = await self._door.admit(self._link, item)
            self._channel.logged_in()
        elif self._session is None:
            assert isinstance(item, messages.Ping)
            self._link.write(message_bytes(messages.Pong(ref=item.ref, time_us=item.time_us)))
        elif self._door.knows(self._session):  # else: ended by us, and the peer has not noticed yet
            self._session.heard_at = trio.current_time()
            if isinstance(item, bytes):
                self._receive_realtime(self._session, item)
            else:
                self._answer(self._session, item)

    def _receive_realtime(self, session: Session, packet: bytes) -> None:
        if packet[:1] != _INPUT:
            raise ProtocolError(ErrorCode.BAD_MESSAGE, "no realtime packet that a client sends")
        session.by_datagram = False
        if session.seat is not None:
            try:
                session.seat.receive(packet[1:], trio.current_time())
            except BadFrame as error:
                raise ProtocolError(ErrorCode.BAD_MESSAGE, str(error)) from None

    def _spend_request(self) -> None:
        """One request of the session's budget (a leaky bucket as GCRA: ITU-T I.371); raises ProtocolError(LIMITED)."""
        now = trio.current_time()
        due = max(self._requests_due, now) + 1.0 / REQUESTS_A_SECOND
        if due - now > REQUESTS_BURST / REQUESTS_A_SECOND:
            raise ProtocolError(ErrorCode.LIMITED, f"more than {REQUESTS_A_SECOND} requests a second; wait a moment")
        self._requests_due = due

    def _answer(self, session: Session, message: Message) -> None:
        try:
            self._spend_request()
            answer = self._door.handle(session, message)
        except ProtocolError as error:  # a refusal, not a fault: the session goes on
            answer = messages.Error.of(error, message.ref)
        if answer is not None:
            self._link.write(message_bytes(answer))

    def gone(self) -> None:
        """The connection has ended, whoever ended it."""
        self.settled()
        if self._session is not None:
            self._door.forget(self._session)


_INPUT = bytes([DatagramType.INPUT])
