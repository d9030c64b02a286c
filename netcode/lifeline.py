"""A session kept alive over one connection after the other.

    connected ──lost──► paused ── Resume ─► Welcome ─► `back` ──► connected
        │                 ├────── the session is gone ─► Login ─► Welcome: another session of the same account
        └──refused──► over ◄───── nothing within its time

Requests that were under way when a connection was lost fail as TIMED_OUT, which is retryable: they may or may not have
been carried out. New ones wait until the session is back, ANSWER_S at most.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

import trio

from netcode import messages
from netcode.certificate import CertificateNotTrusted
from netcode.connection import Connection, Player
from netcode.errors import ErrorCode, NetcodeError, ProtocolError, RemoteError
from netcode.messages import Message
from netcode.reach import Place, reach
from netcode.resume import Backoff, ConnectionEnded

ANSWER_S = 10.0
"""How long a request waits for its answer."""
ATTEMPT_S = 5.0
"""How long one attempt to come back may take."""
LOST_UNDER_WAY = "the connection was lost before the answer came; what was asked for may have been done"


class Owner(Player, Protocol):
    """Whose session it is."""

    def welcomed(self, welcome: messages.Welcome, resumed: bool) -> None:
        """There is a connection: of the same session, or (not `resumed`) of a new one."""

    def last_event(self) -> tuple[int, int]:
        """(tick, index) of the newest event that came."""

    def lost(self) -> None:
        """The connection is lost; what follows is `welcomed` or `over`."""

    def over(self, error: ProtocolError) -> None:
        """The session is over."""


class Lifeline:
    """One player's session and the connection that serves it now. `nursery` must outlive it."""

    def __init__(
        self,
        owner: Owner,
        places: Sequence[Place],
        transport: str,
        login: messages.Login | None,
        nursery: trio.Nursery,
    ) -> None:
        self.paused = True
        """Whether there is no connection, or something that belongs to the session is not back yet."""
        self.error: ProtocolError | None = None
        """Why the session is over; None while it is not."""
        self.resumes = 0
        """How often it was taken up again."""
        self.connection: Connection | None = None
        """The present one, or the last."""
        self.session = ""
        self.secret = b""
        self._owner = owner
        self._places = places
        self._transport = transport
        self._login = login
        self._nursery = nursery
        self._resume_s = 0.0
        self._closing = False
        self._news = trio.Event()  # replaced at every change

    async def start(self, entry: messages.Login | messages.Resume) -> None:
        """The first connection. Raises OSError, RemoteError and what `ByteLink.client` raises."""
        try:
            await self._enter(entry)
        except ConnectionEnded as ended:
            raise RemoteError(ended.code, str(ended)) from None

    async def live(self, reconnect: bool, reconnect_s: float | None) -> None:
        """Serve the session until it is over."""
        while True:
            assert self.connection is not None
            ended = await self.connection.run(self._owner)
            patience_s = self._resume_s if reconnect_s is None else reconnect_s
            if self._closing:
                return
            if not (ended.again and reconnect and patience_s > 0):
                break
            self.paused = True
            self._owner.lost()
            self.connection.requests.end(ProtocolError(ErrorCode.TIMED_OUT, LOST_UNDER_WAY))
            failed = await self._come_back(ended, patience_s)
            if failed is not None:
                ended = failed
                break
            self.resumes += 1
        self.error = ended
        self.connection.requests.end(ended)
        self._owner.over(ended)
        self.changed()

    def back(self) -> None:
        """All that belongs to the session is there again."""
        self.paused = False
        self.changed()

    def say(self, message: Message) -> None:
        """Send a message over the present connection."""
        assert self.connection is not None
        self.connection.say(message)

    async def request(self, message: Message) -> Message:
        """Ask, and wait for the answer. Raises RemoteError."""
        answered = trio.Event()
        with trio.move_on_after(ANSWER_S):
            await self.ready()
            assert self.connection is not None
            requests = self.connection.requests
            request = requests.add(message, answered.set)
            try:
                self.say(request.message)
                await answered.wait()
            finally:
                requests.drop(request)
            return request.result
        raise RemoteError(ErrorCode.TIMED_OUT, f"no answer to {message.kind} within {ANSWER_S:g} s")

    async def ready(self) -> None:
        """Wait out a pause. Raises RemoteError when the session is over."""
        await trio.lowlevel.checkpoint()
        self.check()
        while self.paused:
            await self.change()

    async def change(self) -> None:
        """Wait for the next change. Raises RemoteError when the session is over."""
        await self._news.wait()
        self.check()

    def changed(self) -> None:
        """Wake those who wait for a change."""
        self._news.set()
        self._news = trio.Event()

    def check(self) -> None:
        """Raise RemoteError when the session is over."""
        if self.error is not None:
            raise RemoteError(self.error.code, str(self.error))

    async def aclose(self) -> None:
        """End the connection with a goodbye; the session waits on the server for a while."""
        self._closing = True
        if self.connection is not None:
            await self.connection.aclose()

    async def _enter(self, entry: messages.Login | messages.Resume) -> None:
        connection = Connection(await reach(self._places, self._nursery), self._transport)
        try:
            welcome = await connection.enter(entry)
        except BaseException:
            with trio.CancelScope(shield=True):
                await connection.aclose()
            raise
        self.connection = connection
        self.session, self.secret, self._resume_s = welcome.session, welcome.secret, float(welcome.resume_s)
        self._owner.welcomed(welcome, isinstance(entry, messages.Resume))
        self.changed()

    async def _come_back(self, lost: ConnectionEnded, patience_s: float) -> ConnectionEnded | None:
        """Take the session up again, or log in anew; returns why not, otherwise."""
        backoff, last = Backoff(random.random), str(lost)
        tick, index = self._owner.last_event()
        entry: messages.Login | messages.Resume = messages.Resume(
            session=self.session, secret=self.secret, event_tick=tick, event_index=index
        )
        with trio.move_on_after(patience_s):
            while True:
                await trio.sleep(backoff.next_s())
                try:
                    with trio.fail_after(ATTEMPT_S):
                        await self._enter(entry)
                except ConnectionEnded as refused:
                    last = str(refused)
                    if not refused.again:
                        if refused.code is not ErrorCode.SESSION_GONE or self._login in (None, entry):
                            return refused
                        entry = self._login
                except CertificateNotTrusted as error:
                    return ConnectionEnded(ErrorCode.BAD_LOGIN, str(error), again=False)
                except (OSError, NetcodeError, trio.TooSlowError) as error:
                    last = str(error) or type(error).__name__
                else:
                    return None
        text = f"{lost}; the session could not be taken up again within {patience_s:g} s: {last}"
        return ConnectionEnded(lost.code, text, again=False)
