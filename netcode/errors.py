"""One list of errors for every channel: control messages, datagrams, HTTP and the browser speak these numbers. And why
links end, which no number tells.

A number is never reused and never changes its meaning. `retryable` tells a client whether the same request may work a
little later.
"""

from __future__ import annotations

import enum


class ErrorCode(enum.Enum):
    """(number, name on the wire, retryable)."""

    number: int
    wire_name: str
    retryable: bool

    BAD_MESSAGE = (1, "bad_message", False)
    WRONG_VERSION = (2, "wrong_version", False)
    OUT_OF_TURN = (3, "out_of_turn", False)
    TOO_LARGE = (4, "too_large", False)
    TOO_SLOW = (5, "too_slow", True)
    TIMED_OUT = (6, "timed_out", True)
    BAD_LOGIN = (10, "bad_login", False)
    SESSION_GONE = (11, "session_gone", False)
    SESSION_REPLACED = (12, "session_replaced", False)
    TOO_MANY_SESSIONS = (13, "too_many_sessions", True)
    UNKNOWN_GAME = (20, "unknown_game", False)
    UNKNOWN_ROOM = (21, "unknown_room", False)
    ROOM_FULL = (22, "room_full", True)
    TOO_MANY_ROOMS = (23, "too_many_rooms", True)
    ALREADY_SEATED = (24, "already_seated", False)
    NOT_SEATED = (25, "not_seated", False)
    ROOM_CLOSED = (26, "room_closed", False)
    BAD_OPTION = (27, "bad_option", False)
    ACT_REFUSED = (28, "act_refused", False)
    NOT_ALLOWED = (30, "not_allowed", False)
    LIMITED = (31, "limited", True)
    NOT_FOUND = (32, "not_found", False)
    SHUTTING_DOWN = (40, "shutting_down", True)
    ROOM_MOVING = (41, "room_moving", True)
    INTERNAL = (50, "internal", True)

    def __init__(self, number: int, wire_name: str, retryable: bool) -> None:
        self.number = number
        self.wire_name = wire_name
        self.retryable = retryable


_BY_NUMBER = {code.number: code for code in ErrorCode}


class NetcodeError(Exception):
    """Base of everything that this floor raises on purpose."""


class ProtocolError(NetcodeError):
    """An end of a channel broke the protocol, or refuses a request; carries the code that its peer is
    told."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class RemoteError(ProtocolError):
    """The server's refusal, as the client's caller sees it. `retryable` says whether trying again may
    help."""

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.code.retryable


class BadFrame(NetcodeError):
    """Bytes that are no frame of this view."""


class CloseReason(enum.StrEnum):
    """Why a link ended."""

    LOCAL = "closed by this side"
    TOO_SLOW = "the peer reads too slowly"
    RESET = "the connection broke"
    TLS = "the peer broke the TLS protocol"
    WEBSOCKET = "the peer broke the WebSocket protocol"


class LinkClosed(NetcodeError):
    """The link is closed; `reason` says why."""

    def __init__(self, reason: CloseReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def error_code(number: int) -> ErrorCode:
    """The code for a number; INTERNAL for one that a newer server knows and we do not."""
    return _BY_NUMBER.get(number, ErrorCode.INTERNAL)
