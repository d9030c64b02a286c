"""Commands: everything that may change a room at a tick, and their bytes in the journal.

A step reads the room's state and its commands and nothing else, so a snapshot and the commands since are the room.
What was measured or looked up outside (a profile, how far back a player saw) enters here as a value and is never
asked for again on replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import msgpack
import numpy as np

from game.errors import BadCommands


@attrs.frozen
class Command:
    """Base of the commands; `room` is the room's id."""

    kind: ClassVar[str] = ""
    room: str


@attrs.frozen
class Join(Command):
    """A player wants a seat; the room gives the one the account holds already, else the lowest free one."""

    kind = "join"
    account: str
    name: str
    join_id: str
    profile: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Leave(Command):
    """The player gives the seat up. `generation` names the join that is meant; an older one changes nothing."""

    kind = "leave"
    seat: int
    generation: int


@attrs.frozen
class Disconnect(Command):
    """The player of the seat lost the connection: the seat is held for `hold_ticks`, then given up."""

    kind = "disconnect"
    seat: int
    generation: int
    hold_ticks: int


@attrs.frozen
class Connect(Command):
    """The player of a seat is back, or has a new connection; the input sequence goes on.

    `join_id` names the attempt when somebody waits for the answer, a `Seated` of the tick's result.
    """

    kind = "connect"
    seat: int
    generation: int
    join_id: str = ""


@attrs.frozen
class Skip(Command):
    """Input sequences `first..last` of a seat will never come: the client has dropped them."""

    kind = "skip"
    seat: int
    generation: int
    first: int
    last: int


@attrs.frozen
class Act(Command):
    """An input of an object game: `data` is any msgpack value, packed. Applied when `seq` is the seat's next."""

    kind = "act"
    seat: int
    generation: int
    seq: int
    data: bytes


@attrs.frozen
class Chat(Command):
    """The player of the seat says something to the room."""

    kind = "chat"
    seat: int
    generation: int
    text: str


@attrs.frozen
class Applied(Command):
    """The profiles hold these match results now; they leave the outbox."""

    kind = "applied"
    op_ids: tuple[str, ...]


@attrs.frozen
class Close(Command):
    """The room ends: it takes no further part in the tick and is dropped at its end."""

    kind = "close"


@attrs.frozen
class Recovered(Command):
    """The room has a new owner after its old one was lost: every occupied seat is held for `hold_ticks` from now on, so
    that nobody is thrown out because a node was away."""

    kind = "recovered"
    hold_ticks: int


@attrs.frozen
class HandOff(Command):
    """The room's last tick here: its owner steps it no more, and gives it to `target`. Nothing in the room changes."""

    kind = "handoff"
    target: str


@attrs.frozen
class Quarantine(Command):
    """The room failed at this tick: it is dropped, and a replay does not try its step again."""

    kind = "quarantine"


COMMANDS: dict[str, type[Any]] = {
    cls.kind: cls
    for cls in (
        Join, Leave, Disconnect, Connect, Skip, Act, Chat, Applied, Recovered, HandOff, Close, Quarantine,
    )
}  # fmt: skip


def input_record_dtype(input_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """One applied input as a packed record: row and seat, sequence, how far back its player saw, fields."""
    head = [("row", "<u4"), ("seat", "<u1"), ("seq", "<u4"), ("rewind", "<u1")]
    return np.dtype(head + [(name, input_dtype[name]) for name in input_dtype.names or ()])


@attrs.frozen(eq=False)
class TickCommands:
    """What one tick of a batch applies: at most one input a seat (`input_record_dtype`), and commands in order."""

    inputs: np.ndarray
    commands: tuple[Command, ...] = ()


def encode_commands(tick: TickCommands) -> bytes:
    """Bytes for the journal; rows refer to the order of rooms that the record carries."""
    listed = [[command.kind, *attrs.astuple(command, recurse=False)] for command in tick.commands]
    data: bytes = msgpack.packb([tick.inputs.tobytes(), listed])
    return data


def decode_commands(data: bytes, input_dtype: np.dtype[Any]) -> TickCommands:
    """Inverse of `encode_commands`; raises BadCommands."""
    try:
        raw, listed = msgpack.unpackb(data, use_list=True, strict_map_key=False)
        inputs = np.frombuffer(raw, input_record_dtype(input_dtype))
        commands = tuple(_command(fields) for fields in listed)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise BadCommands(f"these bytes are no record of a tick's commands: {error}") from error
    return TickCommands(inputs, commands)


def _command(fields: Sequence[Any]) -> Command:
    kind, *values = fields
    command: Command = COMMANDS[kind](*(tuple(value) if isinstance(value, list) else value for value in values))
    return command
