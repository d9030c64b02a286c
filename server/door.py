"""The front door: who comes in, under which session, and who has to go.

    accept ─► handshake ─► Visitor: Hello, Login / Resume, requests … ─► connection lost ─► seat held, session waits
                                             └─► its room is elsewhere: Redirect, and the connection ends

Here sessions begin, change their connection and end; `server.visitor` is one connection's talk. When too many
connections have not logged in, the oldest of them makes way for the newest.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl

import structlog
import trio

from cluster.model import SessionRecord
from netcode import messages
from netcode.certificate import is_loopback
from netcode.control import message_bytes
from netcode.errors import CloseReason, ErrorCode, LinkClosed, ProtocolError
from netcode.limits import Buckets, HalfOpen
from netcode.messages import Message
from netcode.origin import UpgradePolicy
from netcode.pool import LinkPool
from netcode.seal import Suite
from netcode.server_end import Channel, ServerEnd
from netcode.session import Session, SessionTable, secret_hash
from netcode.tcp import ByteLink, HandshakeFailed
from netcode.weblink import Link, WebSocketLink
from profiles import ProfileInputError, Profiles, ProfileStoreError
from server.limits import Limits
from server.lobby import Lobby
from server.memory import Relief
from server.metrics import Metrics
from server.pace import Arrival, Pace
from server.registry import Elsewhere, Registry
from server.streams import Crowd
from server.tenure import Tenure
from server.visitor import LOGIN_S, Visitor

PROFILE_SLICE = ("rating", "xp", "matches", "wins")
"""What a game is told of a player who joins; journaled with the join."""
HALF_OPEN_MAX = 1024
"""Connections that have not logged in; one more ends the oldest of them."""
PING_AFTER_S = 3.0
"""A WebSocket that nothing was heard of for so long is pinged: a browser answers also for a page that sleeps."""
RESUMES_A_SECOND, RESUMES_AT_ONCE = 2.0, 16
"""How often one session may be taken up again."""
SUITE = Suite.AES_256_GCM

log = structlog.get_logger("holdfast.door")


class Door:
    """Takes control connections in and answers them."""

    def __init__(
        self,
        *,
        sessions: SessionTable,
        lobby: Lobby,
        registry: Registry,
        tenure: Tenure,
        profiles: Profiles,
        metrics: Metrics,
        limits: Limits,
        tls: ssl.SSLContext,
        upgrades: UpgradePolicy,
        udp_port: int,
        resume_s: float,
        node: str,
        pace: Pace,
        nursery: trio.Nursery,
    ) -> None:
        self._sessions, self._lobby, self._profiles = sessions, lobby, profiles
        self._registry, self._tenure = registry, tenure
        self._metrics, self._limits = metrics, limits
        self._tls = tls
        self.upgrades, self.pool = upgrades, LinkPool(Crowd(sessions.ends))
        self._udp_port = udp_port
        self._resume_s = resume_s
        self._node = node
        self._nursery = nursery
        self._path_key = secrets.token_bytes(32)
        self.half_open = HalfOpen[trio.CancelScope](HALF_OPEN_MAX)
        """Connections that have not logged in yet."""
        self.pace = pace
        self._relief = Relief()
        self._resumes = Buckets(RESUMES_A_SECOND, RESUMES_AT_ONCE)
        self.closing = False

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, from its first byte to the pool, or to its end. Never raises for what a peer does."""
        host, turn = _host_of(stream), self.pace.arrival()
        if not self._limits.may_connect(host, trio.current_time()):
            stream.socket.close()
            return
        self._limits.connected(host)
        with trio.CancelScope() as scope:
            evicted = self.half_open.add(scope)
            if evicted is not None:
                evicted.cancel()
                self._limits.counters.half_open += 1
            try:
                link = await ByteLink.server(
                    stream.socket, self._tls, self._nursery, turn=turn, http=True, handshake_timeout_s=LOGIN_S
                )
            except BaseException as error:
                self.half_open.settle(scope)
                self._limits.disconnected(host)
                if not isinstance(error, HandshakeFailed):
                    raise
            else:
                await self.attend(Visitor(self, scope, link, turn, host))

    def call(self, visitor: Visitor) -> None:
        """A connection needs a task again."""
        with contextlib.suppress(RuntimeError):  # the node has ended, and the connection with it
            self._nursery.start_soon(self.attend, visitor)

    async def attend(self, visitor: Visitor) -> None:
        """Serve a connection until the pool has it, or until it has ended."""
        pooled = False
        try:
            pooled = await visitor.run()
            if not pooled:
                await visitor.turn()  # a thousand who hang up at once do not make a tick wait for all of them
        finally:
            if not pooled:
                given_up = visitor.given_up
                visitor.gone()
                if given_up:
                    visitor.link.close()
                with trio.CancelScope(shield=True):
                    await visitor.link.aclose(visitor.told)
                self._limits.disconnected(visitor.host)

    async def log_in(self, link: Link, login: messages.Login, turn: Arrival) -> Session:
        """Log a guest in and open a session; raises ProtocolError."""
        self._may_enter(link)
        try:
            profile = await self._profiles.guest(login.secret, login.name)
        except ProfileInputError as error:
            raise ProtocolError(ErrorCode.BAD_LOGIN, str(error)) from error
        except ProfileStoreError as error:
            log.error("login_failed", error=str(error))
            raise ProtocolError(ErrorCode.INTERNAL, "the profile store does not answer; try again") from error
        await turn()  # the store answers many together
        if profile.created_s == profile.updated_s:
            self._limits.new_guest(link.peer[0], trio.current_time())
        secret, now = secrets.token_bytes(32), trio.current_time()
        end, keys = self._fresh_end()
        session = Session(
            secrets.token_hex(16),
            profile.account,
            profile.name,
            secret_hash(secret),
            end,
            now,
            now,
            link,
            profile={name: getattr(profile, name) for name in PROFILE_SLICE},
            budget=self._limits.session(),
        )
        room = await self._registry.opened(session)
        self._add(session)
        self._metrics.sessions_opened += 1
        self._welcome(session, keys, login.ref, secret, self._lobby.held.room_of(session.account) or room)
        return session

    async def resume(self, link: Link, request: messages.Resume) -> Session | messages.Redirect:
        """Take a session up again under fresh keys, or tell where its room is; raises ProtocolError."""
        self._may_enter(link)
        try:
            record = await self._registry.find(request.session, request.secret)
        except ProtocolError as error:
            if error.code is ErrorCode.SESSION_GONE:
                self._limits.failed_log_in(link.peer[0], trio.current_time())
            raise
        if not self._resumes.take(record.session, trio.current_time()):
            raise ProtocolError(ErrorCode.LIMITED, "this session is taken up too often; wait a moment")
        known, ticket = self._sessions.by_id.get(record.session), self._registry.ticket(request.ticket)
        room = record.room if known is None or known.seat is None else known.seat.room
        if room:
            where = await self._locate(link, room, request.above)
            if isinstance(where, Elsewhere):
                hops = 0 if ticket is None else ticket.hops
                return self._registry.redirect(
                    where.member, record.session, "resume", ref=request.ref, room=room, epoch=where.epoch, hops=hops
                )
        record = await self._registry.serve(record)
        (end, keys), now = self._fresh_end(), trio.current_time()
        session = self._sessions.by_id.get(record.session)
        if session is None:
            session = self._adopt(record, end, link, now)
            self._lobby.take_over(session, record.room)
        else:
            was_here = session.lost_at is None
            before = self._sessions.resume(session, end, link, now)
            if was_here:
                replaced = ProtocolError(ErrorCode.SESSION_REPLACED, "this session goes on over another connection")
                self._say_goodbye(before, replaced)
            if session.seat is None:
                self._lobby.take_over(session, record.room)
        session.generation, session.record, session.ticket = record.generation, record, ticket
        if session.seat is not None:
            session.end.channel = Channel.CONTROL  # frames need not wait until a new path is proven
        self._metrics.sessions_resumed += 1
        room = "" if session.seat is None else session.seat.room
        self._welcome(session, keys, request.ref, request.secret, room)
        self._lobby.resumed(session, (request.event_tick, request.event_index))
        return session

    async def _locate(self, link: Link, room: str, above: int) -> Elsewhere | str:
        """Where a room is, however long that takes; raises LinkClosed when the player does not wait for it."""
        found: Elsewhere | str | None = None

        async def look() -> None:
            nonlocal found
            found = await self._registry.locate(room, above)
            nursery.cancel_scope.cancel()

        failed: ProtocolError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                await link.until_hung_up()
                nursery.cancel_scope.cancel()
        except* ProtocolError as group:
            failed = next(error for error in group.exceptions if isinstance(error, ProtocolError))
        if failed is not None:
            raise failed
        if found is None:
            raise LinkClosed(CloseReason.RESET)
        return found

    def _adopt(self, record: SessionRecord, end: ServerEnd, link: Link, now: float) -> Session:
        """A session that another node has served so far."""
        session = Session(
            record.session,
            record.account,
            record.name,
            record.secret_hash,
            end,
            now,
            now,
            link,
            profile=record.profile,
            budget=self._limits.session(),
        )
        self._add(session)
        return session

    def _add(self, session: Session) -> None:
        replaced = self._sessions.add(session)
        if replaced is not None:
            same = replaced.account == session.account
            self.end(replaced, LOGGED_IN_ELSEWHERE if same else MADE_WAY)

    def _may_enter(self, link: Link) -> None:
        if self.closing:
            raise ProtocolError(ErrorCode.SHUTTING_DOWN, "this server is shutting down")
        if not self._limits.may_log_in(link.peer[0], trio.current_time()):
            raise ProtocolError(ErrorCode.LIMITED, "too many log-ins from your address; wait a moment")

    def _fresh_end(self) -> tuple[ServerEnd, tuple[bytes, bytes]]:
        """A realtime channel under keys that were never used, and the keys (up, down)."""
        keys = secrets.token_bytes(32), secrets.token_bytes(32)
        return ServerEnd(secrets.randbits(64), *keys, self._path_key, SUITE), keys

    def _welcome(self, session: Session, keys: tuple[bytes, bytes], ref: int, secret: bytes, room: str) -> None:
        session.link.write(
            message_bytes(
                messages.Welcome(
                    ref=ref,
                    session=session.id,
                    secret=secret,
                    account=session.account,
                    name=session.name,
                    games=sorted(self._lobby.hosts),
                    udp_port=self._udp_port,
                    connection=session.end.connection,
                    suite=SUITE.value,
                    key_up=keys[0],
                    key_down=keys[1],
                    generation=session.generation,
                    resume_s=int(self._resume_s),
                    room=room,
                    node=self._node,
                )
            )
        )

    def end(self, session: Session, error: ProtocolError) -> None:
        """End a session on this node: its player is told, its seat is held for its account."""
        self._sessions.remove(session)
        self._lobby.forget(session)
        self._say_goodbye(session.link, error)

    def lose(self, session: Session, error: ProtocolError | None = None) -> None:
        """The session's connection is gone, or is given up with an error; the session can be resumed for a while."""
        self._sessions.lose(session, trio.current_time())
        self._lobby.lost(session)
        self._metrics.sessions_lost += 1
        if error is not None:
            self._say_goodbye(session.link, error)

    def _say_goodbye(self, link: Link, error: ProtocolError) -> None:
        link.write(message_bytes(messages.Error.of(error, fatal=True)))
        self._nursery.start_soon(link.aclose, error.code)

    async def watch(self, idle_s: float) -> None:
        """Give up sessions that fell silent, were not resumed in time, or grew too old, for ever."""
        while True:
            await trio.sleep(1.0)
            await self._relief.look(len(self.half_open) + len(self._sessions))
            now = trio.current_time()
            for session in self._sessions.silent(now, min(PING_AFTER_S, idle_s / 2)):
                _listen_for(session)
            for session in self._sessions.silent(now, idle_s):
                self.lose(session, ProtocolError(ErrorCode.TIMED_OUT, f"not heard for {idle_s:g} s"))
            for session in self._sessions.expired(now, self._resume_s):
                if session.seat is None:  # a seat is held in ticks of its room, which may be slower
                    self._end_for_good(session)
            for session in self._sessions.outlived(now):
                self._end_for_good(session)

    def _end_for_good(self, session: Session) -> None:
        self.end(session, GONE)
        self._registry.over(session)

    def close_all(self) -> None:
        """Tell everybody that this server goes away."""
        self.closing = True
        for session in list(self._sessions.by_id.values()):
            self.end(session, ProtocolError(ErrorCode.SHUTTING_DOWN, "this server is shutting down"))

    async def handle(self, session: Session, message: Message) -> Message | None:
        """Answer one request of a session; None: the answer comes later. Raises ProtocolError."""
        now = trio.current_time()
        match message:
            case messages.Ping():
                return messages.Pong(ref=message.ref, time_us=message.time_us, suspended=not self._tenure.held)
            case messages.ListRooms():
                return self._lobby.listing.tell(message)
            case messages.CreateRoom():
                return await self._lobby.create(session, message)
            case messages.Join():
                return await self._lobby.join(session, message)
            case messages.Watch():
                return await self._lobby.watch(session, message)
            case messages.Unwatch():
                return self._lobby.watchers.unwatch(session, message.ref)
            case messages.Leave():
                host, occupant = self._lobby.seat_of(session)
                host.seating.leave(occupant, message.ref)
            case messages.Chat():
                host, occupant = self._lobby.seat_of(session)
                host.seating.chat(occupant, message.text)
            case messages.StatsRequest():
                if not is_loopback(session.link.peer[0]):
                    raise ProtocolError(ErrorCode.NOT_ALLOWED, "stats are told on loopback only")
                figures = self._metrics.figures(now, message.window_s)
                figures["sessions"] = len(self._sessions)
                figures["half_open"] = len(self.half_open)
                figures["rooms"] = self._lobby.room_count
                return messages.Stats(ref=message.ref, figures=figures)
        return None

    def count_too_slow(self) -> None:
        """A link was closed because its peer did not read."""
        self._metrics.links_too_slow += 1

    def count_refused_upgrade(self) -> None:
        """A request to open a WebSocket was refused."""
        self._limits.counters.upgrades += 1

    def speaks_for(self, session: Session, link: Link) -> bool:
        """Whether the session has not ended, and this is its connection."""
        return not session.ended and session.link is link and session.lost_at is None


def _listen_for(session: Session) -> None:
    """A WebSocket that was not heard for a while: has it answered the last ping? And another one."""
    if isinstance(session.link, WebSocketLink):
        session.heard_at = max(session.heard_at, session.link.ponged_at)
        session.link.ping()


def _host_of(stream: trio.SocketStream) -> str:
    """The peer's address; "" when it has hung up already."""
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return ""


GONE = ProtocolError(ErrorCode.SESSION_GONE, "the session is over; log in again")
LOGGED_IN_ELSEWHERE = ProtocolError(ErrorCode.SESSION_REPLACED, "this player logged in elsewhere")
MADE_WAY = ProtocolError(ErrorCode.SESSION_GONE, "the server is full, and you had been away for longest; log in again")
