"""A bot's control connection: log in, ask, come back when the connection is lost, and go where its room goes.

    Hello, Login ─► Welcome ─► … ─► lost ─► wait ─► Hello, Resume ─► Welcome ─► …        the session lives on
                                     ▲        │               └─► Redirect: the same there
                                     └────────┘  not reached: again, for RECONNECT_S
                                     └─► refused for good, replaced, or broken protocol: ended, with the error
    no frames, or told to move ─► standby: a second connection, Resume(above=epoch) ─► Welcome ─► the first is closed

Waits are those of `netcode.resume`, so that a thousand bots do not come back at the same instant. Requests under way
when the connection is lost fail with what ended it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Protocol

import attrs
import trio

from bots.brain import Dice
from netcode import messages
from netcode.certificate import client_trust
from netcode.control import PROTOCOL, ControlChannel, State, message_bytes
from netcode.errors import ErrorCode, NetcodeError, ProtocolError, RemoteError
from netcode.messages import Message
from netcode.pool import LinkPool
from netcode.reach import Place, places_of, reach
from netcode.requests import Requests
from netcode.resume import Backoff, ConnectionEnded
from netcode.weblink import Link

ANSWER_S = 20.0
ATTEMPT_S = 5.0
RECONNECT_S = 20.0
HOPS_MAX = 4
_WAITS = 0x77616974


@attrs.frozen
class Identity:
    """Who a bot is, and where it plays."""

    server: str
    transport: str
    trust: str | None
    seed: int
    player: int
    name: str
    secret: bytes


class Listener(Protocol):
    """Who makes something of what a connection brings."""

    def welcomed(self, welcome: messages.Welcome) -> None:
        """Logged in or resumed: fresh keys."""

    def lost(self) -> None:
        """The connection is gone; `welcomed` follows if it comes back."""

    def take(self, item: Message | bytes) -> None:
        """A message or a realtime packet. May raise ProtocolError, which ends the session."""

    @property
    def last_event(self) -> tuple[int, int]:
        """Tick and index of the newest event that came."""

    @property
    def epoch(self) -> int:
        """Of the room that it sits in; 0 without one."""


class _Line:
    """One connection."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.channel = ControlChannel(server=False)
        self.requests = Requests()
        self.connection = 0
        """Connection id of the realtime channel of the session that we have here; 0 before there is one."""
        self._fault: Exception | None = None  # that it met

    async def receive(self) -> list[Message | bytes]:
        """What comes next. Raises LinkClosed and ProtocolError when nothing comes any more."""
        data = await self.link.receive()
        if not data:
            raise ConnectionEnded.lost("the server has closed the connection")
        return self.channel.receive_data(data)

    async def receive_by(self, pool: LinkPool, take: Callable[[Message | bytes], None]) -> list[Message | bytes]:
        """Have everything given to `take` by the pool until the link ends, or `take` raises, which is raised then.
        Without a pool: what comes next."""

        def handle(data: bytes) -> bool:
            try:
                for item in self.channel.receive_data(data):
                    take(item)
            except Exception as error:
                self._fault = error
            return self._fault is None

        left = trio.Event()
        if self.link.be_read(handle, left.set, pool, self._key):
            await left.wait()
        if self._fault is not None:
            raise self._fault
        return await self.receive()

    def _key(self) -> int:
        """Under which the pool's crowd finds our row; 0 while a part of a packet waits for the rest."""
        return self.connection if self.channel.whole else 0


@attrs.define
class _Entered:
    """A line on which we are welcome, and what came behind the welcome."""

    line: _Line
    welcome: messages.Welcome
    rest: list[Message | bytes]


class Control:
    """The control connection of one bot, over as many links as it takes."""

    def __init__(self, who: Identity, listener: Listener, pool: LinkPool) -> None:
        """`pool` reads the connection."""
        self.who = who
        self._pool = pool
        self.error: Exception | None = None
        """Why the session ended; None while it lives."""
        self.trouble: Exception | None = None
        """The same, or why the connection is lost just now."""
        self.reconnects = 0
        self.moves = 0
        """Times that it went to another node before the connection was lost."""
        self._line: _Line
        self._listener = listener
        self._welcome: messages.Welcome
        self._dice = Dice(who.seed, who.player, _WAITS)
        self._nursery: trio.Nursery
        self._standby: trio.CancelScope | None = None
        self._moving = False
        self._switched = trio.Event()

    @property
    def alive(self) -> bool:
        """Whether the session lives; its connection may be lost just now."""
        return self.error is None

    @property
    def link(self) -> Link:
        """The present connection."""
        return self._line.link

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Logged in, until the block ends. Raises OSError, RemoteError, and what `ByteLink.client` raises.

        The nursery's exception groups go to the caller: `bots.crew` takes them apart.
        """
        who = self.who
        async with trio.open_nursery() as self._nursery:
            entered = await self._enter(messages.Login(secret=who.secret, name=who.name))
            self._take_over(entered)
            try:
                self._nursery.start_soon(self._stay, entered)
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await self.link.aclose()
                self._nursery.cancel_scope.cancel()

    async def ask(self, message: Message) -> Message:
        """The answer to a request. Raises RemoteError, or what ended the session."""
        for _ in range(HOPS_MAX):
            answer = await self._ask(message)
            if not isinstance(answer, messages.Redirect):
                return answer
            entered = await self._enter(self._resume(ticket=answer.ticket), answer)
            self._switch(entered)
        raise RemoteError(ErrorCode.INTERNAL, "sent from node to node without end")

    async def _ask(self, message: Message) -> Message:
        if self.trouble is not None:
            raise self.trouble
        line, answered = self._line, trio.Event()
        request = line.requests.add(message, answered.set)
        line.link.write(message_bytes(request.message))
        with trio.move_on_after(ANSWER_S):
            await answered.wait()
        line.requests.drop(request)
        if not request.done:
            raise RemoteError(ErrorCode.TIMED_OUT, f"no answer to {message.kind} within {ANSWER_S:g} s")
        return request.result

    def end(self, error: Exception) -> None:
        """The session is over, for this reason; the first one counts."""
        if self.error is None:
            self.error = self.trouble = error
            self._fail(error)
            self.link.close()

    # -- another node, before the connection is lost ------------------------------------------------------------------

    def seek(self, redirect: messages.Redirect | None = None) -> None:
        """Ask another node for the room, at a higher epoch than ours; the present connection stays meanwhile.

        `redirect`: the room moves there; else nothing is heard of it, and any node may know.
        """
        if redirect is not None or (self._standby is None and self.trouble is None):
            self.never_mind()
            self._moving = redirect is not None
            self._standby = trio.CancelScope()
            self._nursery.start_soon(self._seek, self._standby, redirect)

    def never_mind(self) -> None:
        """The room is heard again."""
        if self._standby is not None:
            self._standby.cancel()
            self._standby = None

    @property
    def seeking(self) -> bool:
        """Whether another node is asked because nothing is heard of the room."""
        return self._standby is not None and not self._moving

    async def _seek(self, scope: trio.CancelScope, redirect: messages.Redirect | None) -> None:
        backoff = Backoff(lambda: self._dice.below(1 << 16) / (1 << 16))
        with scope:
            while self.alive:
                ticket = b"" if redirect is None else redirect.ticket
                try:
                    with trio.fail_after(RECONNECT_S):
                        entered = await self._enter(self._resume(above=self._listener.epoch, ticket=ticket), redirect)
                except (NetcodeError, OSError, trio.TooSlowError):
                    redirect = None
                    await trio.sleep(backoff.next_s())
                    continue
                self._standby = None
                self.moves += 1
                self._switch(entered)
                return
        if self._standby is scope:
            self._standby = None

    # -- the task of the bot ------------------------------------------------------------------------------------------

    async def _stay(self, entered: _Entered) -> None:
        """Read the present connection; when another has taken its place, go on with that."""
        line, items = entered.line, entered.rest
        while self.alive:
            lost: Exception | None = None
            try:
                while True:
                    for item in items:
                        self._take(line, item)
                    items = await line.receive_by(self._pool, partial(self._take, line))
            except NetcodeError as error:
                lost = error
            line.link.close()
            if line is not self._line:  # a switch has read on
                return
            assert lost is not None
            if self._standby is not None and self._moving:  # the new connection was made before this one broke
                with trio.move_on_after(ATTEMPT_S):
                    await self._switched.wait()
                if line is not self._line:
                    return
            if is_final(lost):
                self.end(lost)
            elif self.alive:
                self.never_mind()
                self.trouble = lost
                self._fail(lost)
                self._listener.lost()
                found = await self._come_back(lost)
                if found is None:
                    return
                self._take_over(found)
                self.reconnects += 1
                self.trouble = self.error
                line, items = found.line, found.rest

    def _take(self, line: _Line, item: Message | bytes) -> None:
        if line is not self._line:
            raise ConnectionEnded.lost("another connection has taken over")
        if isinstance(item, messages.Error) and item.fatal:
            raise ConnectionEnded.refused(item)
        if isinstance(item, messages.Redirect) and not item.ref:
            self.seek(item)
            return
        self._listener.take(item)
        if not isinstance(item, bytes):
            line.requests.answer(item)

    async def _come_back(self, lost: Exception) -> _Entered | None:
        deadline = trio.current_time() + RECONNECT_S
        backoff = Backoff(lambda: self._dice.below(1 << 16) / (1 << 16))
        while self.alive:
            await trio.sleep(backoff.next_s())
            try:
                with trio.fail_after(RECONNECT_S / 2):
                    return await self._enter(self._resume())
            except (NetcodeError, OSError, trio.TooSlowError) as error:
                if is_final(error):
                    self.end(error)
                elif trio.current_time() > deadline:
                    self.end(lost)
        return None

    def _resume(self, above: int = 0, ticket: bytes = b"") -> messages.Resume:
        tick, index = self._listener.last_event
        welcome = self._welcome
        return messages.Resume(
            session=welcome.session,
            secret=welcome.secret,
            event_tick=tick,
            event_index=index,
            above=above,
            ticket=ticket,
        )

    async def _enter(self, first: messages.Login | messages.Resume, to: messages.Redirect | None = None) -> _Entered:
        """A connection on which we are welcome, wherever we are sent for it."""
        calm = isinstance(first, messages.Login)
        for _ in range(HOPS_MAX + 1):
            line = _Line(await reach(self._places(to), self._nursery, self.who.transport, calm=calm))
            try:
                hello = messages.Hello(protocol=PROTOCOL, agent="holdfast bot")
                line.link.write(message_bytes(hello) + message_bytes(first))
                found = await self._welcomed(line)
            except BaseException:
                line.link.close()
                raise
            if isinstance(found, _Entered):
                return found
            line.link.close()
            to = found
            if isinstance(first, messages.Resume):
                first = attrs.evolve(first, ticket=found.ticket)
        raise ConnectionEnded.lost("sent from node to node without end", ErrorCode.ROOM_MOVING)

    async def _welcomed(self, line: _Line) -> _Entered | messages.Redirect:
        while True:
            items = await line.receive()
            for number, item in enumerate(items, 1):
                if isinstance(item, messages.Error):
                    raise ConnectionEnded.refused(item)
                if isinstance(item, messages.Redirect):
                    return item
                if isinstance(item, messages.Welcome):
                    assert line.channel.state is State.MEMBER
                    line.connection = item.connection
                    return _Entered(line, item, items[number:])

    def _places(self, to: messages.Redirect | None) -> list[Place]:
        who = self.who
        if to is None:
            return places_of(who.server, who.trust)
        host = to.host or places_of(who.server, who.trust)[0].host
        return [Place(host, to.port, client_trust(host, who.trust))]

    def _take_over(self, entered: _Entered) -> None:
        self._line, self._welcome = entered.line, entered.welcome
        self._listener.welcomed(entered.welcome)

    def _switch(self, entered: _Entered) -> None:
        """Go on with another connection, and close the present one."""
        before = self._line
        self._listener.lost()
        self._take_over(entered)
        before.requests.end(ProtocolError(ErrorCode.TIMED_OUT, "the session goes on over another connection"))
        before.link.close()
        self._switched.set()
        self._switched = trio.Event()
        self._nursery.start_soon(self._stay, entered)

    def _fail(self, error: Exception) -> None:
        known = error if isinstance(error, ProtocolError) else ProtocolError(ErrorCode.SESSION_GONE, str(error))
        self._line.requests.end(known)


def is_final(error: BaseException) -> bool:
    """Whether coming back is of no use: we were refused for good, or one of us does not speak the protocol."""
    return isinstance(error, ProtocolError) and not (isinstance(error, ConnectionEnded) and error.again)
