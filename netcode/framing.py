"""Packets on a byte stream: what is sent over TCP, cut into the pieces it was written in.

::

     +----------------+---------+--------------------------+
     | length, u32 LE | kind u8 | payload                  |
     +----------------+---------+--------------------------+
                      '------- `length` bytes (>= 1) ------'

Kind 0 carries a msgpack message of the control channel, kind 1 a packet of the realtime channel for clients
whose UDP does not pass (not sealed: the stream is TLS already). Kinds that a reader does not know are its
owner's affair.

Sans-I/O and bounded: a length is judged as soon as its four bytes are there, so what waits in the reader is
always shorter than one packet of `bytes_max`.
"""

from __future__ import annotations

import enum
import struct

from netcode.errors import NetcodeError

BYTES_MAX = 65536
"""The default limit of a packet's kind and payload together."""


class FrameKind(enum.IntEnum):
    """What a packet on the stream carries."""

    MESSAGE = 0
    """A msgpack message of the control channel."""
    REALTIME = 1
    """A packet of the realtime channel, not sealed."""


class FramingError(NetcodeError):
    """The stream is not cut as agreed (a zero or giant length); nothing after it can be understood."""


_LENGTH = struct.Struct("<I")
_HEAD = struct.Struct("<IB")


def frame(kind: int, payload: bytes) -> bytes:
    """The bytes that carry one packet."""
    return _HEAD.pack(len(payload) + 1, kind) + payload


class FrameReader:
    """Takes the stream in any pieces and gives the packets in it."""

    __slots__ = ("_bytes_max", "_error", "_rest")

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._rest: bytes | bytearray = b""
        self._error: FramingError | None = None

    @property
    def waiting(self) -> int:
        """How many bytes of an unfinished packet are held; not zero at the stream's end = it was cut
        short."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The packets that `data` completes, each as (kind, payload), in order.

        Raises `FramingError` on a length of zero or above `bytes_max`, then and on every later call; packets
        of the same piece that came before it are given up, since the session ends anyway.
        """
        if self._error is not None:
            raise self._error
        buffer: bytes | bytearray = self._rest
        if buffer:
            assert isinstance(buffer, bytearray)
            buffer += data
        else:
            buffer = data
        packets: list[tuple[int, bytes]] = []
        start, size = 0, len(buffer)
        while size - start >= 4:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if not 0 < length <= self._bytes_max:
                self._rest = b""
                self._error = FramingError(f"a packet of {length} bytes (allowed: 1 to {self._bytes_max})")
                raise self._error
            end = start + 4 + length
            if end > size:
                break
            packets.append((buffer[start + 4], bytes(buffer[start + 5 : end])))
            start = end
        if start == size:
            self._rest = b""
        elif start or buffer is data:
            self._rest = bytearray(memoryview(buffer)[start:])
        return packets
