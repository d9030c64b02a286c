"""One room as bytes, and back.

    | "HFR2" | u32 header length | header (msgpack) | row bytes | ledger (msgpack) | objects | u64 XXH3 of all before |

The header names the game, its fingerprint (code and options), its version, the room and its tick, and how long the
parts are. `objects` is the state of an object room (msgpack), empty for a room of rows. Every number is little-endian.
A damaged byte anywhere, other rules, or another layout is refused before anything is read.
"""

from __future__ import annotations

import struct
from typing import Any

import attrs
import msgpack
import xxhash

from game.api import Game
from game.errors import BadRoomData
from game.ledger import Ledger, packb

MAGIC = b"HFR2"
_LENGTH = struct.Struct("<I")
_CHECKSUM = struct.Struct("<Q")


@attrs.frozen
class SavedRoom:
    """The parts of a room."""

    room: str
    tick: int
    row: bytes
    ledger: Ledger
    objects: bytes = b""


def pack_room(game: Game, saved: SavedRoom) -> bytes:
    """Bytes that `unpack_room` reads; the same room gives the same bytes on every machine."""
    ledger = saved.ledger.encode()
    header = packb(
        {
            "game": game.name,
            "version": game.version,
            "fingerprint": game.fingerprint,
            "room": saved.room,
            "tick": saved.tick,
            "row": len(saved.row),
            "ledger": len(ledger),
            "objects": len(saved.objects),
        }
    )
    body = MAGIC + _LENGTH.pack(len(header)) + header + saved.row + ledger + saved.objects
    return body + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(body))


def read_header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header of a saved room and where it ends; raises BadRoomData when the bytes are damaged or something else."""
    if len(data) < 16 or data[:4] != MAGIC:
        raise BadRoomData("these bytes are no saved room")
    if _CHECKSUM.unpack(data[-8:])[0] != xxhash.xxh3_64_intdigest(data[:-8]):
        raise BadRoomData("the saved room is damaged: its checksum does not fit")
    end = 8 + _LENGTH.unpack_from(data, 4)[0]
    header: dict[str, Any] = msgpack.unpackb(data[8:end])
    return header, end


def unpack_room(game: Game, data: bytes, row_bytes: int, *, force: bool = False) -> SavedRoom:
    """Inverse of `pack_room` for the same game, code and options; `force`: whatever its code and options are."""
    header, at = read_header(data)
    if header["game"] != game.name or not (force or header["fingerprint"] == game.fingerprint):
        raise BadRoomData(
            f"the room was saved by {header['game']} {header['fingerprint']}, this is {game.name} {game.fingerprint}: "
            "other code or other options would not continue it exactly"
        )
    middle = at + row_bytes
    end = middle + header["ledger"]
    if header["row"] != row_bytes or end + header["objects"] + 8 != len(data):
        raise BadRoomData("the saved room's parts have other lengths than its header says")
    ledger = Ledger.decode(data[middle:end])
    return SavedRoom(header["room"], header["tick"], data[at:middle], ledger, data[end:-8])
