"""The control channel without I/O: bytes in, messages out, and who may say what when.

                Hello        Login / Resume           logged_in()          Join / Leave / …
    server:  FRESH ──► GREETED ─────────► ENTERING ──────────► MEMBER ◄──────────┘    any fault of the peer's ──► CLOSED
    client:  FRESH ──► GREETED ──────────── Welcome ─────────► MEMBER

    bytes:   u32 length | u8 kind | payload      kind 0: a msgpack message    kind 1: a realtime packet

Both ends use `ControlChannel`; a client's channel is FRESH until the server's Hello came. What is sent is not checked
(it is ours), what comes in is.
"""

from __future__ import annotations

import enum

from netcode import messages
from netcode.errors import ErrorCode, ProtocolError
from netcode.framing import FrameKind, FrameReader, FramingError, frame
from netcode.messages import Message

PROTOCOL = 1
"""The version that both ends must speak. Raised when old and new can not understand each other."""


class State(enum.Enum):
    """Where a control channel stands."""

    FRESH = "fresh"
    GREETED = "greeted"
    ENTERING = "logging in"
    MEMBER = "member"
    CLOSED = "closed"


SERVER_ACCEPTS: dict[State, frozenset[type[Message]]] = {
    State.FRESH: frozenset({messages.Hello}),
    State.GREETED: frozenset({messages.Login, messages.Resume, messages.Ping}),
    State.ENTERING: frozenset({messages.Ping}),
    State.MEMBER: frozenset(
        {
            messages.ListRooms,
            messages.CreateRoom,
            messages.Join,
            messages.Leave,
            messages.Watch,
            messages.Unwatch,
            messages.Chat,
            messages.Act,
            messages.Ping,
            messages.StatsRequest,
        }
    ),
    State.CLOSED: frozenset(),
}
CLIENT_ACCEPTS: dict[State, frozenset[type[Message]]] = {
    State.FRESH: frozenset({messages.Hello, messages.Error}),
    State.GREETED: frozenset({messages.Welcome, messages.Redirect, messages.Pong, messages.Error}),
    State.ENTERING: frozenset(),
    State.MEMBER: frozenset(
        {
            messages.Redirect,
            messages.Rooms,
            messages.RoomCreated,
            messages.Seated,
            messages.Part,
            messages.Left,
            messages.Watching,
            messages.Unwatched,
            messages.Events,
            messages.Pong,
            messages.Stats,
            messages.Notice,
            messages.Error,
        }
    ),
    State.CLOSED: frozenset(),
}
REALTIME_IN = frozenset({State.MEMBER})
ADVANCES: dict[type[Message], State] = {
    messages.Hello: State.GREETED,
    messages.Login: State.ENTERING,
    messages.Resume: State.ENTERING,
    messages.Welcome: State.MEMBER,
}


class ControlChannel:
    """One end of a control channel."""

    __slots__ = ("_accepts", "_reader", "state")

    def __init__(self, server: bool) -> None:
        self.state = State.FRESH
        self._accepts = SERVER_ACCEPTS if server else CLIENT_ACCEPTS
        self._reader = FrameReader(messages.MESSAGE_MAX + 1)

    @property
    def whole(self) -> bool:
        """Whether realtime packets may come, and no part of a packet waits for the rest of it."""
        return self.state is State.MEMBER and self._reader.waiting == 0

    def receive_data(self, data: bytes) -> list[Message | bytes]:
        """Messages (objects) and realtime packets (bytes) that are complete now, in order.

        Raises ProtocolError when the peer broke the protocol; the channel is then CLOSED. What came before
        the fault in the same bytes is lost with it: the session ends either way.
        """
        if self.whole:
            packet = only_packet(data)  # nearly everything that comes
            if packet is not None:
                return [packet]
        try:
            return [self._receive(kind, payload) for kind, payload in self._reader.feed(data)]
        except FramingError as error:
            self.state = State.CLOSED
            raise ProtocolError(ErrorCode.TOO_LARGE, str(error)) from None
        except ProtocolError:
            self.state = State.CLOSED
            raise

    def logged_in(self) -> None:
        """The server has accepted the Login."""
        self.state = State.MEMBER

    def _receive(self, kind: int, payload: bytes) -> Message | bytes:
        if kind == FrameKind.REALTIME and self.state in REALTIME_IN:
            return payload
        if kind != FrameKind.MESSAGE:
            raise ProtocolError(ErrorCode.OUT_OF_TURN, f"a packet of kind {kind} while {self.state.value}")
        message = messages.decode(payload)
        if type(message) not in self._accepts[self.state]:
            raise ProtocolError(ErrorCode.OUT_OF_TURN, f"{message.kind} is out of turn while {self.state.value}")
        if isinstance(message, messages.Hello) and message.protocol != PROTOCOL:
            raise ProtocolError(
                ErrorCode.WRONG_VERSION, f"this end speaks protocol {PROTOCOL}, the other {message.protocol}"
            )
        self.state = ADVANCES.get(type(message), self.state)
        return message


def only_packet(data: bytes) -> bytes | None:
    """The realtime packet that `data` holds, where that is all; the short way through `FrameReader`."""
    size = len(data)
    if 5 < size < 256 and data[4] == FrameKind.REALTIME and data[0] == size - 4 and data[1:4] == b"\0\0\0":
        return data[5:]
    return None


def message_bytes(message: Message) -> bytes:
    """A message, framed."""
    return frame(FrameKind.MESSAGE, messages.encode(message))


def realtime_bytes(packet: bytes) -> bytes:
    """A realtime packet (u8 type, then its plaintext), framed."""
    return frame(FrameKind.REALTIME, packet)
