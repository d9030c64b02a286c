"""A session kept alive over one connection after the other, on whichever node its room is.

    connected ──lost──► paused ── Resume ─► Welcome ─► `back` ──► connected
        │                 ├────── the session is gone ─► Login ─► Welcome: another session of the same account
        └──refused──► over ◄───── nothing within its time
    a request is redirected ─► resumed there, asked again               the old connection is closed behind the welcome
    the room moves (told), or nothing is heard of it ─► standby: Resume(above=epoch) elsewhere ─► Welcome ─► the same

Requests that were under way when a connection was lost fail as TIMED_OUT, which is retryable: they may or may not have
been carried out. New ones wait until the session is back, ANSWER_S at most.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

import attrs
import trio

from netcode import messages
from netcode.certificate import CertificateNotTrusted
from netcode.connection import Connection, Player
from netcode.errors import ErrorCode, NetcodeError, ProtocolError, RemoteError
from netcode.messages import Message
from netcode.reach import Place, place_of, reach
from netcode.resume import Backoff, ConnectionEnded, Redirected

ANSWER_S = 10.0
"""How long a request waits for its answer."""
ATTEMPT_S = 10.0
"""How long one attempt to come back may take: a node holds a `Resume` for some seconds while the room has no owner."""
HOPS_MAX = 4
LOOK_EVERY_S = 0.1
LOST_UNDER_WAY = "the connection was lost before the answer came; what was asked for may have been done"


class Owner(Player, Protocol):
    """Whose session it is."""

    def welcomed(self, welcome: messages.Welcome, resumed: bool) -> None:
        """There is a connection: of the same session, or (not `resumed`) of a new one."""

    def last_event(self) -> tuple[int, int]:
        """(tick, index) of the newest event that came."""

    def epoch(self) -> int:
        """Of the room that the session sits in; 0 without one."""

    def silent(self) -> bool:
        """Whether nothing has been heard of the room for longer than it should take."""

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
        self.missing = False
        """Whether it is paused because nothing is heard of the room, over a connection that is still there."""
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
        self._standby: trio.CancelScope | None = None
        self._told = False  # the standby goes where we were sent

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
            served = self.connection
            ended = await served.run(self._owner)
            if self._told and self._standby is not None and not self._closing:
                with trio.move_on_after(ATTEMPT_S):  # the new connection was made before this one broke
                    while self.connection is served and self._standby is not None:
                        await self._news.wait()
            if self.connection is not served:
                continue
            self.never_mind()
            patience_s = self._resume_s if reconnect_s is None else reconnect_s
            if self._closing:
                return
            anew = ended.code is ErrorCode.SESSION_GONE and self._login is not None  # it grew too old
            if not ((ended.again or anew) and reconnect and patience_s > 0):
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
        """Ask, and wait for the answer, wherever we are sent for it. Raises RemoteError."""
        for _ in range(HOPS_MAX):
            answer = await self._ask(message)
            if not isinstance(answer, messages.Redirect):
                return answer
            try:
                with trio.fail_after(ANSWER_S):
                    await self._enter(self._resume(ticket=answer.ticket), answer)
            except (OSError, NetcodeError, trio.TooSlowError) as error:
                text = f"sent to another node, which cannot be reached: {str(error) or type(error).__name__}"
                raise RemoteError(ErrorCode.TIMED_OUT, text) from error
        raise RemoteError(ErrorCode.ROOM_MOVING, "sent from node to node without end")

    async def _ask(self, message: Message) -> Message:
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

    # -- another node -------------------------------------------------------------------------------------------------

    def seek(self, redirect: messages.Redirect | None = None) -> None:
        """Ask another node for the room, at a higher epoch than ours; the present connection stays meanwhile.

        `redirect`: the room moves there; else nothing is heard of it, and any node may know.
        """
        if redirect is not None or self._standby is None:
            self.never_mind()
            self._told = redirect is not None
            self._standby = trio.CancelScope()
            self._nursery.start_soon(self._seek, self._standby, redirect)

    def never_mind(self) -> None:
        """The room is heard again, or there is no connection that could stay."""
        self.missing = False
        if self._standby is not None:
            self._standby.cancel()
            self._standby = None

    async def watch(self) -> None:
        """Ask another node whenever nothing is heard of the room, for ever."""
        while True:
            await trio.sleep(LOOK_EVERY_S)
            if not (self.paused or self._closing or self._told) and self._owner.silent():
                self.paused = True
                self._owner.lost()
                self.seek()
                self.missing = True

    async def _seek(self, scope: trio.CancelScope, redirect: messages.Redirect | None) -> None:
        backoff, places = Backoff(random.random), self._others_first()
        with scope:
            while True:
                ticket = b"" if redirect is None else redirect.ticket
                try:
                    await self._enter(self._resume(above=self._owner.epoch(), ticket=ticket), redirect, places)
                    break
                except (OSError, NetcodeError):
                    redirect, places = None, [*places[1:], places[0]]
                    await trio.sleep(backoff.next_s())
        if self._standby is scope:
            self._standby, self._told = None, False
            self.changed()

    def _others_first(self) -> Sequence[Place]:
        """The addresses, with that of the present connection at the end: its node may have lost touch with the store,
        and answer all the same."""
        here = None if self.connection is None else self.connection.peer
        return sorted(self._places, key=lambda place: (place.host, place.port) == here)

    def _resume(self, above: int = 0, ticket: bytes = b"") -> messages.Resume:
        tick, index = self._owner.last_event()
        return messages.Resume(
            session=self.session,
            secret=self.secret,
            event_tick=tick,
            event_index=index,
            above=above,
            ticket=ticket,
        )

    async def _enter(
        self,
        entry: messages.Login | messages.Resume,
        to: messages.Redirect | None = None,
        places: Sequence[Place] = (),
    ) -> None:
        """Enter where we are told to, or at one of `places` (anywhere); a connection that there is makes way behind the
        welcome."""
        connection, welcome = await self._reach(entry, to, places or self._places)
        before, self.connection = self.connection, connection
        if before is not None:
            before.requests.end(ProtocolError(ErrorCode.TIMED_OUT, LOST_UNDER_WAY))
            before.close()
        self.session, self.secret, self._resume_s = welcome.session, welcome.secret, float(welcome.resume_s)
        self._owner.welcomed(welcome, isinstance(entry, messages.Resume))
        self.changed()

    async def _reach(
        self, entry: messages.Login | messages.Resume, to: messages.Redirect | None, places: Sequence[Place]
    ) -> tuple[Connection, messages.Welcome]:
        calm = isinstance(entry, messages.Login)
        for _ in range(HOPS_MAX + 1):
            there = places if to is None else [place_of(to.host, to.port, self._places)]
            link = await reach(there, self._nursery, self._transport, calm=calm)
            connection = Connection(link, self._transport)
            try:
                return connection, await connection.enter(entry)
            except Redirected as sent:
                to = sent.redirect
                if isinstance(entry, messages.Resume):
                    entry = attrs.evolve(entry, ticket=to.ticket)
                connection.close()
            except BaseException:
                with trio.CancelScope(shield=True):
                    await connection.aclose()
                raise
        raise ConnectionEnded.lost("sent from node to node without end", ErrorCode.ROOM_MOVING)

    async def _come_back(self, lost: ConnectionEnded, patience_s: float) -> ConnectionEnded | None:
        """Take the session up again, or log in anew; returns why not, otherwise."""
        backoff, last, places = Backoff(random.random), str(lost), self._others_first()
        entry: messages.Login | messages.Resume = self._resume()
        if lost.code is ErrorCode.SESSION_GONE and not lost.again and self._login is not None:
            entry = self._login
        with trio.move_on_after(patience_s):
            while True:
                await trio.sleep(backoff.next_s())
                try:
                    with trio.fail_after(ATTEMPT_S):
                        await self._enter(entry, None, places)
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
                places = [*places[1:], places[0]]
        text = f"{lost}; the session could not be taken up again within {patience_s:g} s: {last}"
        return ConnectionEnded(lost.code, text, again=False)
