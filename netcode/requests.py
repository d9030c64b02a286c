"""Requests under way on one control connection, without I/O: which answer belongs to which, and which is still due.

    add(message, wake) ─► the message with a fresh `ref`, to be sent       answer(message) ─► its request has a result
                                                                           end(error) ─► all that wait have failed

Whoever asks passes a `wake` (such as the `set` of an event), waits for it, and takes the `result`: the answer, of the
kind that the request is answered by, or the refusal raised as a `RemoteError`. At most REQUESTS_MAX wait at once, one
more is refused at once (LIMITED): a server that does not answer costs a bounded table.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from netcode import messages
from netcode.errors import ErrorCode, ProtocolError, RemoteError, error_code
from netcode.messages import Message

REQUESTS_MAX = 64
REF_MAX = 2**31 - 1
"""References count up to this, then from 1 again; those above are for messages that are no requests."""
ANSWERS: dict[type[Message], type[Message]] = {
    messages.Hello: messages.Hello,
    messages.Login: messages.Welcome,
    messages.Resume: messages.Welcome,
    messages.ListRooms: messages.Rooms,
    messages.CreateRoom: messages.RoomCreated,
    messages.Join: messages.Seated,
    messages.Leave: messages.Left,
    messages.Ping: messages.Pong,
    messages.StatsRequest: messages.Stats,
}
"""Request → what grants it; an `Error` refuses any."""
REDIRECTED: dict[type[Message], tuple[type[Message], ...]] = dict.fromkeys(
    (messages.Resume, messages.Join, messages.CreateRoom), (messages.Redirect,)
)
"""Requests that another node may be the right one for."""


@attrs.define(eq=False)
class Request:
    """One request and, once it is there, its answer."""

    message: Message
    """As it is to be sent, with its reference."""
    wake: Callable[[], object]
    """Called once, when there is a result."""
    answer: Message | None = None
    failure: ProtocolError | None = None

    @property
    def done(self) -> bool:
        """Whether `result` has something to tell."""
        return self.answer is not None or self.failure is not None

    @property
    def result(self) -> Message:
        """The answer; raises RemoteError with the server's refusal, or with why none will come."""
        if self.failure is not None:
            raise RemoteError(self.failure.code, str(self.failure))
        assert self.answer is not None
        if isinstance(self.answer, messages.Error):
            raise RemoteError(error_code(self.answer.code), self.answer.message)
        return self.answer


class Requests:
    """The requests of one connection that wait for their answers."""

    def __init__(self) -> None:
        self._waiting: dict[int, Request] = {}
        self._ref = 0
        self._ended: ProtocolError | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, message: Message, wake: Callable[[], object]) -> Request:
        """A request to be sent; raises RemoteError when the connection has ended, or LIMITED when too many wait."""
        if self._ended is not None:
            raise RemoteError(self._ended.code, str(self._ended))
        if len(self._waiting) >= REQUESTS_MAX:
            raise RemoteError(ErrorCode.LIMITED, f"{REQUESTS_MAX} requests wait for an answer already")
        self._ref = self._ref % REF_MAX + 1
        while self._ref in self._waiting:  # only after a whole round of references
            self._ref = self._ref % REF_MAX + 1
        request = self._waiting[self._ref] = Request(attrs.evolve(message, ref=self._ref), wake)
        return request

    def drop(self, request: Request) -> None:
        """Nobody waits for it any more; a late answer is passed over. Harmless when it is answered."""
        if self._waiting.get(request.message.ref) is request:
            del self._waiting[request.message.ref]

    def answer(self, message: Message) -> Request | None:
        """Give a message to the request that it answers; None when it answers none (any more).

        Raises ProtocolError(BAD_MESSAGE) when it is no answer to that request: the server's fault.
        """
        request = self._waiting.get(message.ref)
        if request is None:
            return None
        wanted = (ANSWERS[type(request.message)], messages.Error, *REDIRECTED.get(type(request.message), ()))
        if not isinstance(message, wanted):
            raise ProtocolError(ErrorCode.BAD_MESSAGE, f"{message.kind} is no answer to {request.message.kind}")
        del self._waiting[message.ref]
        request.answer = message
        request.wake()
        return request

    def end(self, error: ProtocolError) -> None:
        """The connection has ended: no answer comes any more, to these and to later ones."""
        if self._ended is None:
            self._ended = error
        waiting, self._waiting = self._waiting, {}
        for request in waiting.values():
            request.failure = error
            request.wake()
