"""One seat as its client plays it, without I/O: inputs out at the room's pace, frames in, and what they tell.

    every input period:  packed input ─► window of unacknowledged inputs ─► input packet (datagram or control channel)
    every frame:         last_seq ─► window;  depth ─► input period;  tick ─► baseline to acknowledge

The server keeps a short queue of inputs for each seat and tells its depth in every frame. A queue that stays above
one only adds delay, so the client then runs its input clock up to 10 % slower until the depth is back at 0 or 1. When
32 inputs are unacknowledged the clock stops: a pause of the server never turns into a lag that does not drain.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping

import attrs

from game.api import Input
from game.view import ViewLayout
from netcode.errors import ErrorCode, ProtocolError
from netcode.frame import Frame, FrameDecoder
from netcode.inputs import UNACKED_MAX, InputWindow
from netcode.messages import Seated

SLOWEST = 1.10
RTTS_KEPT = 256
"""Round trips that wait for a reader; older ones are dropped."""
DEPTH_WANTED = 1
_STRUCT_CODES = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i"}


@attrs.frozen
class SeatInfo:
    """What the server said when it gave the seat."""

    room: str
    game: str
    seat: int
    seats: int
    generation: int
    tick_hz: int
    options: dict[str, int]
    inputs: tuple[Input, ...]
    layout: ViewLayout

    @classmethod
    def of(cls, message: Seated) -> SeatInfo:
        """Raises ProtocolError when the description makes no sense."""
        try:
            return cls(
                message.room,
                message.game,
                message.seat,
                message.seats,
                message.generation,
                message.tick_hz,
                message.options,
                tuple(Input(*field) for field in message.inputs),
                ViewLayout.from_description(message.view),
            )
        except Exception as error:
            raise ProtocolError(ErrorCode.BAD_MESSAGE, f"the seat's description makes no sense: {error}") from error


class Play:
    """Inputs and frames of one seat."""

    def __init__(self, message: Seated, decode: bool = True) -> None:
        self.info = SeatInfo.of(message)
        self.stream = message.stream
        self.window = InputWindow(message.last_seq)
        self.frames = FrameDecoder(
            self.info.layout, message.stream, message.epoch, message.tick, message.last_seq, decode
        )
        self.newest: Frame | None = None
        self.rtt_ms: deque[float] = deque(maxlen=RTTS_KEPT)
        """From input to acknowledging frame, of all inputs acknowledged since the reader last emptied the list."""
        self._struct = struct.Struct("<" + "".join(_STRUCT_CODES[field.dtype] for field in self.info.inputs))
        self._held = {field.name: max(field.low, min(0, field.high)) for field in self.info.inputs}
        self._limits = {field.name: (field.low, field.high) for field in self.info.inputs}
        self._packed = self._pack()
        self._sent_at = [0.0] * UNACKED_MAX
        self._period_s = 1.0 / self.info.tick_hz

    @property
    def input_period_s(self) -> float:
        """Seconds until the next input is due after this one."""
        depth = self.newest.depth if self.newest is not None else 0
        return self._period_s * (SLOWEST if depth > DEPTH_WANTED else 1.0)

    def want(self, **fields: int) -> None:
        """What the player wants from now on; fields that are not named stay as they are.

        Raises ProtocolError(BAD_OPTION) for a field that the game does not have or a value outside its limits.
        """
        for name, value in fields.items():
            if name not in self._limits:
                known = ", ".join(self._limits)
                raise ProtocolError(ErrorCode.BAD_OPTION, f"{self.info.game} has no input {name!r}; it has: {known}")
            low, high = self._limits[name]
            if not hasattr(value, "__index__"):
                raise ProtocolError(ErrorCode.BAD_OPTION, f"input {name}={value!r} is not a whole number")
            if not low <= value <= high:
                raise ProtocolError(ErrorCode.BAD_OPTION, f"input {name}={value} lies outside {low}..{high}")
        self._held.update(fields)
        self._packed = self._pack()

    @property
    def held(self) -> Mapping[str, int]:
        """The input that is being repeated."""
        return self._held

    def next_packet(self, ack: tuple[int, int], now: float) -> bytes:
        """Add the held input to the window unless it is full; the packet carries all that is unacknowledged."""
        if not self.window.full:
            self._sent_at[self.window.add(self._packed) % UNACKED_MAX] = now
        return self.repeat_packet(ack)

    def repeat_packet(self, ack: tuple[int, int]) -> bytes:
        """The packet that carries all that is unacknowledged, without a new input."""
        frames = self.frames
        return self.window.packet(self.stream, ack, frames.baseline, max(frames.newest_tick, 0))

    def receive(self, data: bytes, now: float) -> Frame | None:
        """Take a frame; returns it when it is of this seat. Raises BadFrame."""
        frame = self.frames.receive(data)
        if frame is None:
            return None
        settled = self.window.acknowledge(frame.last_seq)
        for back in range(settled):
            self.rtt_ms.append((now - self._sent_at[(frame.last_seq - back) % UNACKED_MAX]) * 1000.0)
        if self.newest is None or frame.tick > self.newest.tick:
            self.newest = frame
        return frame

    def _pack(self) -> bytes:
        return self._struct.pack(*self._held.values())
