"""WebSocket frames as a client makes and reads them (RFC 6455), and the state of Colyseus' schema.

    server → client   FIN·opcode  length (7 bits, or 126 and 16 more)  payload
    client → server   FIN·opcode  1·length  mask (32 bits)  payload XOR mask

Only what the peers need: whole messages, below 64 kB. What a server sends beyond that is an error of the run, not of a
client: WireError. The schema decoder reads the one shape that `servers/colyseus.mjs` has: a root with a map of players
whose fields are all numbers.

    full state, patch   ( 255 reference | operation·field value )*
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
SHORT = struct.Struct("<H")
LONG = struct.Struct("<I")


class WireError(Exception):
    """A server said what cannot be read; one line."""


def upgrade(host: str, path: str) -> bytes:
    """The request that makes a connection a WebSocket."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def upgraded(answer: bytes) -> bytes | None:
    """What follows the server's answer; None while it is not whole. Raises WireError when it refuses."""
    head, end, rest = answer.partition(b"\r\n\r\n")
    if not end:
        return None
    if not head.startswith(b"HTTP/1.1 101 "):
        raise WireError(f"no WebSocket: {head.splitlines()[0][:100]!r}")
    return rest


def masked(payload: bytes, key: int, opcode: int = BINARY) -> bytes:
    """A client's frame; `key`: 32 bits. Payloads of up to 125 bytes."""
    size = len(payload)
    assert size < 126, "inputs are small"
    keys = (key.to_bytes(4, "little") * (size // 4 + 1))[:size]
    body = int.from_bytes(payload, "little") ^ int.from_bytes(keys, "little")
    return struct.pack("<BBI", 0x80 | opcode, 0x80 | size, key) + body.to_bytes(size, "little")


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames in `data` as (opcode, payload), and what is left. Raises WireError."""
    found, at, size = [], 0, len(data)
    while at + 2 <= size:
        first, length = data[at], data[at + 1]
        begin = at + 2
        if length == 126:
            if begin + 2 > size:
                break
            length = data[begin] << 8 | data[begin + 1]
            begin += 2
        elif length > 126:
            raise WireError("a frame that is too long, or masked")
        if first & 0xF0 != 0x80:
            raise WireError(f"a frame that begins with {first:#x}")
        if begin + length > size:
            break
        at = begin + length
        found.append((first & 0x0F, data[begin:at]))
    return found, data[at:]


# -- Colyseus' schema --------------------------------------------------------------------------------------------------

SWITCH = 255
ADD, DELETE = 0x80, 0x40
FIELD_MASK = 0x3F


def number(data: bytes, at: int) -> tuple[int, int]:
    """A whole number in msgpack's way, and where it ends. Raises WireError."""
    first = data[at]
    if first < 0x80:
        return first, at + 1
    if first == 0xCC:
        return data[at + 1], at + 2
    if first == 0xCD:
        return SHORT.unpack_from(data, at + 1)[0], at + 3
    if first == 0xCE:
        return LONG.unpack_from(data, at + 1)[0], at + 5
    raise WireError(f"a number that begins with {first:#x}")


def text(data: bytes, at: int) -> tuple[str, int]:
    """A short string, and where it ends. Raises WireError."""
    if data[at] & 0xE0 != 0xA0:
        raise WireError(f"a string that begins with {data[at]:#x}")
    end = at + 1 + (data[at] & 0x1F)
    return data[at + 1 : end].decode(), end


class SchemaState:
    """A room's state as a client knows it: the root's numbers, and the players of its map by name.

    `root` and `player`: the bytes of each field by its number; 0 is the map. A map's own operations name an index first
    and, when they add, a key, and then the reference of a player.
    """

    def __init__(self, root: Mapping[int, int], player: Mapping[int, int]) -> None:
        self.root: dict[int, int] = {}
        self.players: dict[str, dict[int, int]] = {}
        self._root_sizes, self._player_sizes = root, player
        self._map: int | None = None
        self._by_reference: dict[int, dict[int, int]] = {}
        self._keys: dict[int, str] = {}

    def decode(self, data: bytes, at: int) -> None:
        """Apply a full state or a patch that begins at `at`. Raises WireError."""
        end, where = len(data), 0
        try:
            while at < end:
                if data[at] == SWITCH:
                    where, at = number(data, at + 1)
                elif where == self._map:
                    at = self._member(data, at)
                elif where == 0:
                    at = self._fields(data, at, self.root, self._root_sizes)
                elif where in self._by_reference:
                    at = self._fields(data, at, self._by_reference[where], self._player_sizes)
                else:
                    raise WireError(f"a reference to {where}, which nobody has told")
        except (IndexError, struct.error):
            raise WireError("a state that ends early") from None

    def _fields(self, data: bytes, at: int, values: dict[int, int], sizes: Mapping[int, int]) -> int:
        """Fields up to the next switch; returns where it is."""
        end = len(data)
        while at < end and (first := data[at]) != SWITCH:
            field, at = first & FIELD_MASK, at + 1
            size = sizes.get(field)
            if size is None:
                raise WireError(f"a field {field}, which there is not")
            if size == 0:
                self._map, at = number(data, at)
            elif size == 1:
                values[field], at = data[at], at + 1
            else:
                values[field] = (SHORT if size == 2 else LONG).unpack_from(data, at)[0]
                at += size
        return at

    def _member(self, data: bytes, at: int) -> int:
        operation, at = data[at] & ~FIELD_MASK, at + 1
        index, at = number(data, at)
        if operation == DELETE:
            self.players.pop(self._keys.pop(index, ""), None)
            return at
        if operation == ADD:
            self._keys[index], at = text(data, at)
        reference, at = number(data, at)
        self.players[self._keys[index]] = self._by_reference.setdefault(reference, {})
        return at
