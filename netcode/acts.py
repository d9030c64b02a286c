"""An object room as its client plays it, without I/O: acts that wait to be applied, and the whole view in parts.

    act ─► packed, numbered 1, 2, … ─► window ─► Act messages ─► (server, once each and in order)
                                         ▲
    Events.last_seq, Seated.last_seq ────┘ settled          after a resume the others are sent again, in order

    Seated(parts=3) ─► Part 0 ─► Part 1 ─► Part 2 ─► msgpack of the view

The server queues as many acts of a seat as this window holds, so a client never overruns it. Both are bounded: beyond
ACTS_MAX acts or ACTS_BYTES_MAX bytes nothing more is taken, a view beyond VIEW_MAX ends the session.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgpack

from netcode import messages
from netcode.errors import ErrorCode, ProtocolError

ACTS_MAX = 256
ACTS_BYTES_MAX = 128 * 1024
"""Half of what a link lets wait in its outbox: all of them can be sent again at once."""
VIEW_MAX = 1024 * 1024
"""Bytes of a view in msgpack that a client takes; a server of ours makes much smaller ones."""


def pack_act(value: Any) -> bytes:
    """The bytes of one act; raises ProtocolError for a value that msgpack cannot carry or that is too large."""
    try:
        data: bytes = msgpack.packb(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ProtocolError(ErrorCode.BAD_MESSAGE, f"an act is any value of msgpack: {error}") from None
    if len(data) > messages.ACT_MAX:
        raise ProtocolError(ErrorCode.TOO_LARGE, f"an act of {len(data)} bytes; the limit is {messages.ACT_MAX}")
    return data


class ActWindow:
    """The acts of one seat that are not known to be applied."""

    def __init__(self, last_seq: int) -> None:
        self.acknowledged = last_seq
        """The last act that was applied."""
        self._waiting: deque[bytes] = deque()
        self._bytes = 0

    @property
    def newest(self) -> int:
        """The sequence of the newest act."""
        return self.acknowledged + len(self._waiting)

    def takes(self, data: bytes) -> bool:
        """Whether there is room for one more act. An empty window takes any."""
        return len(self._waiting) < ACTS_MAX and self._bytes + len(data) <= ACTS_BYTES_MAX

    def add(self, data: bytes) -> messages.Act:
        """Take one act in; the caller looks at `takes` first."""
        assert self.takes(data)
        self._waiting.append(data)
        self._bytes += len(data)
        return messages.Act(seq=self.newest, data=data)

    def acknowledge(self, last_seq: int) -> int:
        """The room has applied everything up to `last_seq`; returns how many acts that settles now.

        A room that has applied more than this window knows of has them from an earlier process of the same player.
        """
        settled = min(max(0, last_seq - self.acknowledged), len(self._waiting))
        for _ in range(settled):
            self._bytes -= len(self._waiting.popleft())
        self.acknowledged = max(self.acknowledged + settled, last_seq)
        return settled

    def unsettled(self) -> list[messages.Act]:
        """What is to be sent again on a new connection."""
        return [messages.Act(seq=seq, data=data) for seq, data in enumerate(self._waiting, self.acknowledged + 1)]


class ViewParts:
    """A view that comes in parts."""

    def __init__(self, parts: int) -> None:
        self._left = parts
        self._next = 0
        self._data = bytearray()

    def add(self, part: messages.Part) -> tuple[Any] | None:
        """Take the next part; the view (in a tuple, for it may be None) when it is complete.

        Raises ProtocolError for a part that is out of order, one too many, a view that is too large or no msgpack.
        """
        if part.part != self._next or not self._left:
            raise ProtocolError(ErrorCode.BAD_MESSAGE, f"part {part.part} of a view where {self._next} is next")
        if len(self._data) + len(part.data) > VIEW_MAX:
            raise ProtocolError(ErrorCode.TOO_LARGE, f"a view of more than {VIEW_MAX} bytes")
        self._data += part.data
        self._next += 1
        self._left -= 1
        if self._left:
            return None
        try:
            return (msgpack.unpackb(bytes(self._data), strict_map_key=False),)
        except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
            raise ProtocolError(ErrorCode.BAD_MESSAGE, f"the view is no msgpack: {type(error).__name__}") from None
