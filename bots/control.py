"""A bot's control connection: log in, ask, and come back when the connection is lost.

    Hello, Login ─► Welcome ─► … ─► lost ─► wait ─► Hello, Resume ─► Welcome ─► …        the session lives on
                                     ▲        │
                                     └────────┘  not reached: again, for RECONNECT_S
                                     └─► refused for good, replaced, or broken protocol: ended, with the error

Waits are those of `netcode.resume`, so that a thousand bots do not come back at the same instant. Requests under way
when the connection is lost fail with what ended it. One task a bot: it reads, and comes back itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import attrs
import trio

from bots.brain import Dice
from netcode import messages
from netcode.certificate import client_trust
from netcode.client import parse_address
from netcode.control import PROTOCOL, ControlChannel, State, message_bytes
from netcode.errors import ErrorCode, NetcodeError, ProtocolError, RemoteError
from netcode.messages import Message
from netcode.requests import Requests
from netcode.resume import Backoff, ConnectionEnded
from netcode.tcp import ByteLink

ANSWER_S = 20.0
ATTEMPT_S = 5.0
RECONNECT_S = 20.0
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


class Control:
    """The control connection of one bot, over as many links as it takes."""

    def __init__(self, who: Identity, listener: Listener) -> None:
        self.who = who
        self.error: Exception | None = None
        """Why the session ended; None while it lives."""
        self.trouble: Exception | None = None
        """The same, or why the connection is lost just now."""
        self.reconnects = 0
        self.link: ByteLink
        self._listener = listener
        self._channel = ControlChannel(server=False)
        self._requests = Requests()
        self._welcome: messages.Welcome
        self._dice = Dice(who.seed, who.player, _WAITS)

    @property
    def alive(self) -> bool:
        """Whether the session lives; its connection may be lost just now."""
        return self.error is None

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Logged in, until the block ends. Raises OSError, RemoteError, and what `ByteLink.client` raises.

        The nursery's exception groups go to the caller: `bots.crew` takes them apart.
        """
        who = self.who
        async with trio.open_nursery() as nursery:
            await self._connect(nursery, messages.Login(secret=who.secret, name=who.name))
            try:
                nursery.start_soon(self._stay, nursery)
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await self.link.aclose()
                nursery.cancel_scope.cancel()

    async def ask(self, message: Message) -> Message:
        """The answer to a request. Raises RemoteError, or what ended the session."""
        if self.trouble is not None:
            raise self.trouble
        answered = trio.Event()
        request = self._requests.add(message, answered.set)
        self.link.write(message_bytes(request.message))
        with trio.move_on_after(ANSWER_S):
            await answered.wait()
        self._requests.drop(request)
        if not request.done:
            raise RemoteError(ErrorCode.TIMED_OUT, f"no answer to {message.kind} within {ANSWER_S:g} s")
        return request.result

    def end(self, error: Exception) -> None:
        """The session is over, for this reason; the first one counts."""
        if self.error is None:
            self.error = self.trouble = error
            self._fail(error)
            self.link.close()

    # -- the task of the bot ------------------------------------------------------------------------------------------

    async def _stay(self, nursery: trio.Nursery) -> None:
        while self.alive:
            try:
                while True:
                    await self._receive()
            except NetcodeError as error:
                lost = error
            self.link.close()
            if is_final(lost):
                self.end(lost)
            elif self.alive:
                self.trouble = lost
                self._fail(lost)
                self._listener.lost()
                await self._come_back(nursery, lost)

    async def _come_back(self, nursery: trio.Nursery, lost: Exception) -> None:
        deadline = trio.current_time() + RECONNECT_S
        welcome, backoff = self._welcome, Backoff(lambda: self._dice.below(1 << 16) / (1 << 16))
        while self.alive:
            await trio.sleep(backoff.next_s())
            tick, index = self._listener.last_event
            resume = messages.Resume(session=welcome.session, secret=welcome.secret, event_tick=tick, event_index=index)
            try:
                with trio.fail_after(ATTEMPT_S):
                    await self._connect(nursery, resume)
            except (NetcodeError, OSError, trio.TooSlowError) as error:
                if is_final(error):
                    self.end(error)
                elif trio.current_time() > deadline:
                    self.end(lost)
            else:
                self.reconnects += 1
                self.trouble = self.error
                return

    async def _connect(self, nursery: trio.Nursery, first: Message) -> None:
        """A link on which we are welcome; `first` is Login or Resume."""
        host, port = parse_address(self.who.server)
        self.link = await ByteLink.client(host, port, client_trust(host, self.who.trust), nursery)
        self._channel, self._requests = ControlChannel(server=False), Requests()
        try:
            hello = messages.Hello(protocol=PROTOCOL, agent="holdfast bot")
            self.link.write(message_bytes(hello) + message_bytes(first))
            while self._channel.state is not State.MEMBER:
                await self._receive()
        except BaseException:
            self.link.close()
            raise

    async def _receive(self) -> None:
        """Take what comes next. Raises LinkClosed and ProtocolError when nothing comes any more."""
        channel = self._channel
        data = await self.link.receive()
        if not data:
            raise ConnectionEnded.lost("the server has closed the connection")
        for item in channel.receive_data(data):
            if isinstance(item, messages.Error) and (item.fatal or channel.state is not State.MEMBER):
                raise ConnectionEnded.refused(item)
            if isinstance(item, messages.Welcome):
                self._welcome = item
                self._listener.welcomed(item)
            else:
                self._listener.take(item)
                if not isinstance(item, bytes):
                    self._requests.answer(item)

    def _fail(self, error: Exception) -> None:
        known = error if isinstance(error, ProtocolError) else ProtocolError(ErrorCode.SESSION_GONE, str(error))
        self._requests.end(known)


def is_final(error: BaseException) -> bool:
    """Whether coming back is of no use: we were refused for good, or one of us does not speak the protocol."""
    return isinstance(error, ProtocolError) and not (isinstance(error, ConnectionEnded) and error.again)
