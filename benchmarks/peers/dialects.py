"""What a client says to each peer, and what its frames hold: all that the generator has to know of them.

    PlainDialect      `ws` and `websockets`: inputs and frames as drawn in `servers/ws.mjs`
    ColyseusDialect   Colyseus' protocol: a JOIN_ROOM that is acknowledged, the state, then patches; inputs as messages
                      or, with `inputs`, as deltas that the head of the patches acknowledges

A lean client asks no more than `is_frame`, one byte of a message. A full one has a reader that decodes every frame.
Where players want to go is the same for all: `wanted`.
"""

from __future__ import annotations

import struct
from typing import Protocol

import attrs
import msgpack

from benchmarks.peers.wire import SchemaState

SEATS = 10
WAYS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))
TURN_EVERY = 12
"""Inputs from one change of way to the next."""
AIM_STEP = 300
INPUT = struct.Struct("<HbbHB")
TICK = struct.Struct("<I")
PLAYER = struct.Struct("<HHBH")


def wanted(player: int, seq: int) -> tuple[int, int, int]:
    """(move_x, move_y, aim) of a player's input: a new way now and then, and an aim that turns all the time."""
    move_x, move_y = WAYS[(player * 3 + (seq + player) // TURN_EVERY * 5) % 8]
    return move_x, move_y, (player * 977 + seq * AIM_STEP) & 0xFFFF


@attrs.frozen
class Seen:
    """What a full client read in a frame."""

    acked: int
    """The newest of its inputs that the frame contains."""
    players: int
    moved: int
    """Players who are at another place than in the frame before."""


class Reader(Protocol):
    """A full client's half of a dialect."""

    def receive(self, payload: bytes) -> Seen:
        """Decode a frame. Raises WireError."""


class Dialect(Protocol):
    """How to speak to a peer."""

    matchmaking: bool
    """Whether a seat is asked for over HTTP before the connection."""

    def answer(self, payload: bytes) -> bytes | None:
        """What a client has to say to a message that is no frame."""

    def is_frame(self, payload: bytes) -> bool:
        """Whether a message counts as a frame."""

    def is_seated(self, payload: bytes) -> bool:
        """Whether a message says that the client is in its room."""

    def input(self, player: int, seq: int) -> bytes:
        """An input, as a message."""

    def reader(self, seated: bytes, session: str) -> Reader:
        """For a full client: `seated` is the message that `is_seated` told, `session` its name in the matchmaking."""


# -- ws, websockets ----------------------------------------------------------------------------------------------------


class PlainReader:
    """Frames of `ws` and `websockets`."""

    def __init__(self, seat: int) -> None:
        self._seat = seat
        self._places: list[tuple[int, int]] = []

    def receive(self, payload: bytes) -> Seen:
        """Decode a frame."""
        players = list(PLAYER.iter_unpack(payload[TICK.size :]))
        places = [(x, y) for x, y, _, _ in players]
        moved = sum(here != there for here, there in zip(places, self._places, strict=False))
        self._places = places
        return Seen(players[self._seat][3], len(players), moved)


class PlainDialect:
    """`ws` and `websockets`."""

    matchmaking = False

    def answer(self, payload: bytes) -> bytes | None:
        """They ask nothing."""
        return None

    def is_frame(self, payload: bytes) -> bool:
        """All but the first message."""
        return len(payload) > 1

    def is_seated(self, payload: bytes) -> bool:
        """The first message: the seat."""
        return len(payload) == 1

    def input(self, player: int, seq: int) -> bytes:
        """Seven bytes."""
        return INPUT.pack(seq & 0xFFFF, *wanted(player, seq), 0)

    def reader(self, seated: bytes, session: str) -> PlainReader:
        """Of that seat."""
        return PlainReader(seated[0])


# -- Colyseus ----------------------------------------------------------------------------------------------------------

JOIN_ROOM, ROOM_DATA, ROOM_STATE, ROOM_PATCH, ROOM_INPUT = 10, 13, 14, 15, 19
CODE_MASK, TIMED = 0x1F, 0x80
TIMED_HEAD = struct.Struct("<BII")
DELTA_AIM = struct.Struct("<BH")
MESSAGE_HEAD = bytes([ROOM_DATA, 0xA5]) + b"input"
ROOT_SIZES = ({0: 4, 1: 0}, {0: 0})
PLAYER_SIZES = ({0: 2, 1: 2, 2: 1, 3: 2}, {0: 2, 1: 2, 2: 1})
"""Bytes of the fields of `servers/colyseus.mjs`, for messages and for inputs; 0 is the map."""
SEQ = 3


class ColyseusReader:
    """The state of a Colyseus room, patch by patch."""

    def __init__(self, session: str, inputs: bool) -> None:
        self._session, self._inputs = session, inputs
        self._state = SchemaState(ROOT_SIZES[inputs], PLAYER_SIZES[inputs])
        self._places: dict[str, tuple[int, int]] = {}

    def receive(self, payload: bytes) -> Seen:
        """Decode a patch or the whole state. Raises WireError."""
        timed = payload[0] & TIMED
        self._state.decode(payload, TIMED_HEAD.size if timed else 1)
        players = self._state.players
        places = {name: (fields[0], fields[1]) for name, fields in players.items()}
        moved = sum(self._places.get(name, place) != place for name, place in places.items())
        self._places = places
        acked = TIMED_HEAD.unpack_from(payload)[2] if timed else players.get(self._session, {}).get(SEQ, 0)
        return Seen(acked, len(players), moved)


class ColyseusDialect:
    """Colyseus 0.18 over WebSocket."""

    matchmaking = True

    def __init__(self, inputs: bool) -> None:
        self._inputs = inputs

    def answer(self, payload: bytes) -> bytes | None:
        """A JOIN_ROOM is acknowledged by one."""
        return bytes([JOIN_ROOM]) if payload[0] == JOIN_ROOM else None

    def is_frame(self, payload: bytes) -> bool:
        """A patch."""
        return payload[0] & CODE_MASK == ROOM_PATCH

    def is_seated(self, payload: bytes) -> bool:
        """The whole state, which comes once."""
        return payload[0] & CODE_MASK == ROOM_STATE

    def input(self, player: int, seq: int) -> bytes:
        """As Colyseus' own client sends it: a named message of named values, or what differs from the input before."""
        move_x, move_y, aim = wanted(player, seq)
        if not self._inputs:
            values = {"seq": seq & 0xFFFF, "move_x": move_x, "move_y": move_y, "aim": aim, "buttons": 0}
            packed: bytes = msgpack.packb(values)
            return MESSAGE_HEAD + packed
        before = wanted(player, seq - 1) if seq > 1 else (None, None, None)
        delta = bytes([ROOM_INPUT])
        if move_x != before[0]:
            delta += bytes([0x80, move_x & 0xFF])
        if move_y != before[1]:
            delta += bytes([0x81, move_y & 0xFF])
        delta += DELTA_AIM.pack(0x82, aim)
        return delta if seq > 1 else delta + bytes([0x83, 0])

    def reader(self, seated: bytes, session: str) -> ColyseusReader:
        """It starts from the whole state."""
        reader = ColyseusReader(session, self._inputs)
        reader.receive(seated)
        return reader


DIALECTS: dict[str, Dialect] = {
    "plain": PlainDialect(),
    "colyseus-messages": ColyseusDialect(inputs=False),
    "colyseus-input": ColyseusDialect(inputs=True),
}
