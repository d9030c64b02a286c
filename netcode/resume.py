"""Coming back after a lost connection, without I/O: whether, when, and with what.

    connection ended ─► refused for good (replaced, gone, bad message …)      ─► the session is over
                     └► lost (end of stream, reset, silence, retryable error) ─► Resume after a while, again and again

Waits are drawn evenly from 0 to a bound that doubles (exponential backoff with full jitter:
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), so the players of a server that comes back
do not all come at once. What a process needs to take its session up after its own death is a `SavedSession`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import msgpack

from netcode import messages
from netcode.errors import ErrorCode, NetcodeError, RemoteError, error_code

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 2.0
SAVED_VERSION = 1
_SAVED_MAX = 4096


class ConnectionEnded(RemoteError):
    """Why a connection is over; `again`: whether a new one may take the session up."""

    def __init__(self, code: ErrorCode, message: str, again: bool) -> None:
        super().__init__(code, message)
        self.again = again

    @classmethod
    def refused(cls, error: messages.Error) -> ConnectionEnded:
        """By the server, which says whether trying again may help."""
        return cls(error_code(error.code), error.message, error.retryable)

    @classmethod
    def lost(cls, message: str, code: ErrorCode = ErrorCode.SESSION_GONE) -> ConnectionEnded:
        """By the network, or by silence."""
        return cls(code, message, True)


class Redirected(NetcodeError):
    """Another node is the right one for this session."""

    def __init__(self, redirect: messages.Redirect) -> None:
        super().__init__(f"go on at {redirect.host}:{redirect.port}")
        self.redirect = redirect


class Backoff:
    """How long to wait before each attempt. `draw` gives chances in 0 ≤ x < 1."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._bound_s = FIRST_WAIT_S

    def next_s(self) -> float:
        """Seconds to wait before the next attempt."""
        wait_s = self._draw() * self._bound_s
        self._bound_s = min(self._bound_s * 2.0, LONGEST_WAIT_S)
        return wait_s


def _bytes_in(shortest: int, longest: int) -> Any:
    def validate(_instance: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, bytes) or not shortest <= len(value) <= longest:
            raise ValueError(f"{attribute.name} has {shortest} to {longest} bytes")

    return validate


@attrs.frozen
class SavedSession:
    """What a player's process needs to go on after its own death: `connect(resume=saved)`.

    It is as good as being logged in: keep it where only the player can read it. Its text shows no secret.
    """

    server: str = attrs.field(validator=attrs.validators.instance_of(str))
    """Address, or addresses with commas between, as `connect` takes them."""
    account: str = attrs.field(validator=attrs.validators.instance_of(str))
    name: str = attrs.field(validator=attrs.validators.instance_of(str))
    session: str = attrs.field(
        validator=attrs.validators.and_(attrs.validators.instance_of(str), attrs.validators.max_len(32))
    )
    secret: bytes = attrs.field(repr=False, validator=_bytes_in(32, 32))
    event_tick: int = attrs.field(
        default=0,
        validator=attrs.validators.and_(
            attrs.validators.instance_of(int), attrs.validators.ge(0), attrs.validators.lt(2**32)
        ),
    )
    event_index: int = attrs.field(
        default=0,
        validator=attrs.validators.and_(
            attrs.validators.instance_of(int), attrs.validators.ge(0), attrs.validators.lt(2**32)
        ),
    )
    """Id of the last event that the application has read."""
    device_secret: bytes = attrs.field(default=b"", repr=False, validator=_bytes_in(0, 64))
    """To log in anew when the session is gone; b"" unless it was asked for."""

    def to_bytes(self) -> bytes:
        """For a file."""
        data: bytes = msgpack.packb([SAVED_VERSION, attrs.asdict(self)])
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> SavedSession:
        """Inverse of `to_bytes`; raises ValueError for anything else."""
        try:
            if len(data) > _SAVED_MAX:
                raise ValueError
            version, fields = msgpack.unpackb(data)
            if version != SAVED_VERSION:
                raise ValueError
            return cls(**fields)
        except (ValueError, TypeError, msgpack.UnpackException, RecursionError):
            raise ValueError("these bytes are no saved session (of this version)") from None
