"""Messages of the control channel: each an attrs class, its limits written at its fields, on the wire a msgpack map.

    {"t": "join", "ref": 7, "room": "9f2c…"}          "t" names the class; "ref" of a request comes back in its answer

Unknown keys are ignored and missing ones take their default, so fields may be added; anything else that does not fit
raises `ProtocolError(BAD_MESSAGE)` naming message and field. `docs/protocol.md` lists all of them.
"""

# ruff: noqa: RUF009  (the field kinds only declare; attrs makes the defaults)
from __future__ import annotations

from typing import Any, ClassVar

import attrs
import msgpack

from netcode.errors import ErrorCode, ProtocolError
from netcode.fields import blob, flag, mapping, several, text, whole

MESSAGE_MAX = 64 * 1024
"""Bytes of one message, either way."""
NAME_MAX = 32
CHAT_MAX = 200
ACT_MAX = 4096
"""Bytes of one act, the input of an object game."""
PART_MAX = 32 * 1024
"""Bytes of one part of an object room's whole view."""
CODE_MAX = 16
TICKET_MAX = 256


@attrs.frozen(kw_only=True)
class Message:
    """Base of all messages; `ref` (0: none) ties an answer to its request."""

    kind: ClassVar[str] = ""
    ref: int = whole(0, 2**32 - 1, default=0)


# -- client to server ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Hello(Message):
    """First message of both ends: the protocol version it speaks and what it is."""

    kind = "hello"
    protocol: int = whole(0, 2**16)
    agent: str = text(80, default="")


@attrs.frozen(kw_only=True)
class Login(Message):
    """A guest logs in by a device secret that only this device knows; the first log-in makes the account."""

    kind = "login"
    secret: bytes = blob(16, 64)
    name: str = text(NAME_MAX, default="")


@attrs.frozen(kw_only=True)
class Resume(Message):
    """Take a session up again after its connection was lost, instead of `Login`; answered by `Welcome` with fresh keys.

    A seat that still waits follows by `Seated`, and the events of its room after (event_tick, event_index). `above`:
    answer only when the session's room has an epoch higher than this, for a client that still has its old connection
    (0: at once). `ticket`: that of the `Redirect` that has led here.
    """

    kind = "resume"
    session: str = text(32)
    secret: bytes = blob(32, 32)
    event_tick: int = whole(0, 2**32 - 1, default=0)
    event_index: int = whole(0, 2**32 - 1, default=0)
    above: int = whole(0, 2**32 - 1, default=0)
    ticket: bytes = blob(0, TICKET_MAX, default=b"")


@attrs.frozen(kw_only=True)
class ListRooms(Message):
    """Which rooms are there? `game` and `options` narrow the list, `open` leaves full rooms out; private rooms are
    never listed."""

    kind = "list_rooms"
    game: str = text(64, default="")
    options: dict[str, Any] = mapping(64, factory=dict)
    open: bool = flag(default=False)


@attrs.frozen(kw_only=True)
class CreateRoom(Message):
    """Open a room; answered by `RoomCreated`. A private one is found by its code only."""

    kind = "create_room"
    game: str = text(64)
    options: dict[str, Any] = mapping(64, factory=dict)
    private: bool = flag(default=False)


@attrs.frozen(kw_only=True)
class Join(Message):
    """Take a seat: in `room`, in the room that has the `code`, or else in the fullest open room of `game` with these
    `options` (made when there is none)."""

    kind = "join"
    room: str = text(64, default="")
    code: str = text(CODE_MAX, default="")
    game: str = text(64, default="")
    options: dict[str, Any] = mapping(64, factory=dict)


@attrs.frozen(kw_only=True)
class Leave(Message):
    """Give the seat up; answered by `Left`."""

    kind = "leave"


@attrs.frozen(kw_only=True)
class Watch(Message):
    """See a room of rows without a seat: `room`, or the one that has the `code`; answered by `Watching`. Who may join a
    room may watch it, one room at a time. It ends with the connection, and with a seat."""

    kind = "watch"
    room: str = text(64, default="")
    code: str = text(CODE_MAX, default="")


@attrs.frozen(kw_only=True)
class Unwatch(Message):
    """Look away; answered by `Unwatched`."""

    kind = "unwatch"


@attrs.frozen(kw_only=True)
class Chat(Message):
    """Say something to the room."""

    kind = "chat"
    text: str = text(CHAT_MAX)


@attrs.frozen(kw_only=True)
class Act(Message):
    """One input of an object game: any msgpack value, packed. Applied once each, in order of `seq` (1, 2, …)."""

    kind = "act"
    seq: int = whole(1, 2**32 - 1)
    data: bytes = blob(1, ACT_MAX)


@attrs.frozen(kw_only=True)
class Ping(Message):
    """Answered at once by `Pong` with the same `time_us`."""

    kind = "ping"
    time_us: int = whole()


@attrs.frozen(kw_only=True)
class StatsRequest(Message):
    """How is the server doing over the last `window_s`? Answered on loopback only."""

    kind = "stats_request"
    window_s: int = whole(1, 3600, default=60)


# -- server to client ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Welcome(Message):
    """Logged in, or resumed. The session, and how to reach its realtime channel: UDP port, connection id, cipher and a
    key each way. With session and secret it can be resumed until `resume_s` after its connection was lost;
    `generation` counts its connections; `room` is where its seat waits ("": it has none); `node` is what the node calls
    itself."""

    kind = "welcome"
    session: str = text(32)
    secret: bytes = blob(32, 32)
    account: str = text(64)
    name: str = text(NAME_MAX)
    games: list[str] = several(64)
    udp_port: int = whole(0, 65535)
    connection: int = whole(0, 2**64 - 1)
    suite: str = text(32)
    key_up: bytes = blob(32, 32)
    key_down: bytes = blob(32, 32)
    generation: int = whole(0, 2**32 - 1, default=0)
    resume_s: int = whole(0, 2**32 - 1, default=0)
    room: str = text(64, default="")
    node: str = text(64, default="")


@attrs.frozen(kw_only=True)
class Redirect(Message):
    """Another node is the right one: resume the session at this address, with the ticket.

    As an answer to `Resume`, `Join` or `CreateRoom` (by `ref`): ask the same there. Unasked: the room of one's seat is
    about to move there; a client that resumes there with `above` set to its epoch, and keeps this connection until it
    is answered, sees no pause. `room` and `epoch` tell what is found there.
    """

    kind = "redirect"
    host: str = text(255)
    port: int = whole(1, 65535)
    ticket: bytes = blob(0, TICKET_MAX)
    room: str = text(64, default="")
    epoch: int = whole(0, 2**32 - 1, default=0)


@attrs.frozen(kw_only=True)
class Rooms(Message):
    """The rooms: maps of room (its id), game, options, players, seats, tick; fullest first."""

    kind = "rooms"
    rooms: list[dict[str, Any]] = several(1000)


@attrs.frozen(kw_only=True)
class RoomCreated(Message):
    """The new room's id, how many seats it has, and the code of a private one ("" otherwise)."""

    kind = "room_created"
    room: str = text(64)
    seats: int = whole(1, 256)
    code: str = text(CODE_MAX, default="")


@attrs.frozen(kw_only=True)
class Seated(Message):
    """A seat: all that is needed to send inputs and to read frames (see `game.view.ViewLayout.describe`).

    `resumed`: the seat that the session had before, its inputs applied up to `last_seq`; `missed`: some events since
    then are kept no longer. `parts` is 0 in a room of rows; an object room's whole view follows in so many `Part`s.
    """

    kind = "seated"
    room: str = text(64)
    game: str = text(64)
    options: dict[str, int] = mapping(64)
    seat: int = whole(0, 255)
    seats: int = whole(1, 256)
    generation: int = whole(0, 2**16 - 1)
    stream: int = whole(0, 255)
    epoch: int = whole(0, 2**32 - 1)
    tick: int = whole(0, 2**32 - 1)
    tick_hz: int = whole(1, 128)
    last_seq: int = whole(0, 2**32 - 1)
    inputs: list[list[Any]] = several(64)
    view: dict[str, Any] = mapping(2)
    roster: list[Any] = several(256)
    resumed: bool = flag(default=False)
    missed: bool = flag(default=False)
    parts: int = whole(0, 256, default=0)


@attrs.frozen(kw_only=True)
class Part(Message):
    """A piece of an object room's whole view as of `Seated.tick`: together, in order, the msgpack of the view."""

    kind = "part"
    room: str = text(64)
    part: int = whole(0, 255)
    data: bytes = blob(0, PART_MAX)


@attrs.frozen(kw_only=True)
class Left(Message):
    """The seat is given up: how many inputs it applied, and the last sequence, for the client to check its
    books."""

    kind = "left"
    room: str = text(64)
    seat: int = whole(0, 255)
    last_seq: int = whole(0, 2**32 - 1)
    applied: int = whole(0, 2**32 - 1)
    reason: str = text(32, default="left")


@attrs.frozen(kw_only=True)
class Watching(Message):
    """A room is watched: all that is needed to read its frames, which follow over the control channel, one every
    `every` ticks, each against the one before. Their own part says that nothing has changed, so it stays zeros."""

    kind = "watching"
    room: str = text(64)
    game: str = text(64)
    options: dict[str, int] = mapping(64)
    seats: int = whole(1, 256)
    stream: int = whole(0, 255)
    epoch: int = whole(0, 2**32 - 1)
    tick: int = whole(0, 2**32 - 1)
    tick_hz: int = whole(1, 128)
    every: int = whole(1, 31)
    view: dict[str, Any] = mapping(2)
    roster: list[Any] = several(256)


@attrs.frozen(kw_only=True)
class Unwatched(Message):
    """Nothing is watched any more."""

    kind = "unwatched"


@attrs.frozen(kw_only=True)
class Events(Message):
    """What happened in the room: lists of tick, index, kind, data; each (tick, index) comes once and in order.

    In an object room `last_seq` is the last act of this seat that was applied, and `tick` the room's: they come at
    every tick that applied one or has events.
    """

    kind = "events"
    room: str = text(64)
    events: list[list[Any]] = several(1024)
    tick: int = whole(0, 2**32 - 1, default=0)
    last_seq: int = whole(0, 2**32 - 1, default=0)


@attrs.frozen(kw_only=True)
class Pong(Message):
    """Answer to `Ping`. `suspended`: the node has lost touch with its store, and its rooms wait."""

    kind = "pong"
    time_us: int = whole()
    suspended: bool = flag(default=False)


@attrs.frozen(kw_only=True)
class Stats(Message):
    """The server's own figures; `figures` maps names to numbers."""

    kind = "stats"
    figures: dict[str, Any] = mapping(256)


@attrs.frozen(kw_only=True)
class Notice(Message):
    """A word of the operator's to players."""

    kind = "notice"
    text: str = text(400)


@attrs.frozen(kw_only=True)
class Error(Message):
    """A refusal. `fatal` means that the server closes this connection now."""

    kind = "error"
    code: int = whole(0, 2**16)
    name: str = text(64)
    message: str = text(400)
    retryable: bool = flag(default=False)
    fatal: bool = flag(default=False)

    @classmethod
    def of(cls, error: ProtocolError, ref: int = 0, fatal: bool = False) -> Error:
        """The message that tells of an error."""
        code = error.code
        return cls(
            ref=ref,
            code=code.number,
            name=code.wire_name,
            message=str(error)[:400],
            retryable=code.retryable,
            fatal=fatal,
        )


MESSAGES: dict[str, type[Message]] = {
    cls.kind: cls
    for cls in (
        Hello, Login, Resume, ListRooms, CreateRoom, Join, Leave, Watch, Unwatch, Chat, Act, Ping,
        StatsRequest, Welcome, Redirect, Rooms, RoomCreated, Seated, Part, Left, Watching, Unwatched, Events, Pong,
        Stats, Notice, Error,
    )
}  # fmt: skip
_FIELDS = {kind: frozenset(attrs.fields_dict(cls)) for kind, cls in MESSAGES.items()}
_NAMES = {kind: tuple(attrs.fields_dict(cls)) for kind, cls in MESSAGES.items()}


def encode(message: Message) -> bytes:
    """The msgpack map of a message."""
    fields = {name: getattr(message, name) for name in _NAMES[message.kind]}
    if not message.ref:
        del fields["ref"]
    data: bytes = msgpack.packb({"t": message.kind, **fields})
    return data


def decode(data: bytes) -> Message:
    """Inverse of `encode`; raises ProtocolError(BAD_MESSAGE or TOO_LARGE), whatever the bytes are."""
    if len(data) > MESSAGE_MAX:
        raise ProtocolError(ErrorCode.TOO_LARGE, f"a message of {len(data)} bytes; the limit is {MESSAGE_MAX}")
    try:
        fields = msgpack.unpackb(
            data, max_str_len=4096, max_bin_len=PART_MAX, max_array_len=4096, max_map_len=1024, max_ext_len=0
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ProtocolError(ErrorCode.BAD_MESSAGE, f"not msgpack: {type(error).__name__}") from None
    kind = fields.get("t") if isinstance(fields, dict) else None
    cls = MESSAGES.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ProtocolError(ErrorCode.BAD_MESSAGE, "not a message: a map with a known 't' is wanted")
    known = _FIELDS[cls.kind]
    try:
        return cls(**{name: value for name, value in fields.items() if name in known})
    except (ValueError, TypeError) as error:
        raise ProtocolError(ErrorCode.BAD_MESSAGE, f"{cls.kind}: {error}") from None
