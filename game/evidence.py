"""What is kept of a room that failed, so that its developer sees it fail again at the desk.

    | "HFE1" | body (msgpack: game, its options and rate, saved room, what failed, error, traceback) | u64 XXH3 |

A step is a pure function of the room and the tick's commands. So the room as it was just before, and the one command
or the acts that the game then could not bear, are the whole of the failure: no other room, no player, no clock.
"""

from __future__ import annotations

import struct
import traceback
from typing import Any

import attrs
import msgpack
import numpy as np
import xxhash

from game.api import Game
from game.base_batch import BaseBatch, Failure
from game.commands import Command, TickCommands, decode_commands, encode_commands
from game.errors import BadCommands, BadEvidence, text_of
from game.object_batch import batch_for

MAGIC = b"HFE2"
_NO_INPUTS = np.zeros(0, np.dtype([]))
_CHECKSUM = struct.Struct("<Q")


@attrs.frozen
class Evidence:
    """A failure, as it was kept."""

    spec: str
    """What `--game` was: a built-in game's name, or module:Class."""
    game: str
    version: int
    fingerprint: str
    options: dict[str, int]
    tick_hz: int
    room: str
    tick: int
    saved: bytes
    command: Command | None
    """The command whose hook raised; None when the step did."""
    acts: tuple[tuple[int, bytes], ...]
    view_of: int
    """The seat whose view failed; -1 when none did."""
    kind: str
    """Type of the exception."""
    message: str
    traceback: str


def pack_evidence(spec: str, batch: BaseBatch, room: str, failure: Failure) -> bytes:
    """Bytes that `unpack_evidence` reads; to be called before the failed room is closed."""
    game, error, command = batch.layout.game, failure.error, failure.command
    body = {
        "spec": spec,
        "game": game.name,
        "version": game.version,
        "fingerprint": game.fingerprint,
        "options": dict(game.option),
        "tick_hz": game.tick_hz,
        "room": room,
        "tick": batch.tick_of(room),
        "saved": batch.save(room),
        "command": encode_commands(TickCommands(_NO_INPUTS, () if command is None else (command,))),
        "acts": failure.acts,
        "view_of": failure.view_of,
        "kind": type(error).__name__,
        "message": text_of(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    data: bytes = MAGIC + msgpack.packb(body, unicode_errors="replace")
    return data + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(data))


def unpack_evidence(data: bytes) -> Evidence:
    """Inverse of `pack_evidence`; raises BadEvidence."""
    if data[:4] != MAGIC or len(data) < 12:
        raise BadEvidence("this is no evidence of a failed room")
    if _CHECKSUM.unpack(data[-8:])[0] != xxhash.xxh3_64_intdigest(data[:-8]):
        raise BadEvidence("the evidence is damaged: its checksum does not fit")
    try:
        body: dict[str, Any] = msgpack.unpackb(data[4:-8])
        command = next(iter(decode_commands(body["command"], _NO_INPUTS.dtype).commands), None)
        acts = tuple((seat, act) for seat, act in body["acts"])
        return Evidence(**{**body, "command": command, "acts": acts})
    except (ValueError, TypeError, KeyError, BadCommands, msgpack.UnpackException) as error:
        raise BadEvidence(f"the evidence is of another version: {error}") from error


def reproduce(game: Game, evidence: Evidence, force: bool = False) -> BaseException | None:
    """Do again what failed; what it raises now, None when it goes well. Raises BadRoomData for another game.

    `force`: try with other code or options, too, as long as a room's layout is the same.
    """
    batch = batch_for(game)
    batch.load(evidence.saved, force=force)
    failure = batch.again(evidence.room, Failure(Exception(), evidence.command, evidence.acts, evidence.view_of))
    return None if failure is None else failure.error
