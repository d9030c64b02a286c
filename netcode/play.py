"""One seat as its client plays it, without I/O: inputs out at the room's pace, frames in, and what they tell.

    every input   packed ─► window of unacknowledged inputs ─► input packet (datagram or control channel)
                     └────► predictor: the player sees its own move at once
    every frame   last_seq ─► window;  depth, arrival ─► clock, steering ─► when the next input is due
                     ├────► tick ─► baseline to acknowledge
                     └────► predictor: replay on the server's word;  interpolator: the others, a little in the past

A caller makes an input whenever the time is `due_at` (`netcode.steering` says how that is found). One whose clock beats
once a tick at a phase that it cannot move asks `beat` at every beat instead. When 32 inputs are unacknowledged the
input clock stops: a pause of the server never turns into a lag that does not drain.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping

import attrs

from game.api import Input, RowGame
from game.view import ViewLayout, view_layout
from netcode.errors import ErrorCode, ProtocolError
from netcode.frame import Frame, FrameDecoder
from netcode.inputs import QUEUED_MAX, InputWindow
from netcode.interpolate import Interpolator, Playhead
from netcode.messages import Seated
from netcode.predict import Predictor
from netcode.steering import Steering
from netcode.timesync import TickClock

RTTS_KEPT = 256
"""Round trips that wait for a reader; older ones are dropped."""
BEATS = 10
"""A fixed clock leaves out one input when so many frames in a row told of a queue that was never empty."""
CROWDED = QUEUED_MAX // 2
"""A fixed clock leaves out every second input while so many wait on the server."""
DRAWN_S = 0.25
"""For so long after `view_at` an input says that its player saw what was drawn, not what came last."""
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
    """Inputs and frames of one seat.

    `decode`: read the views of frames; without it only the header counts (for clients that play blindly). `game`: the
    room's rules, of the same options and tick rate; own moves are predicted with them. Raises ProtocolError
    (BAD_MESSAGE: the description makes no sense; BAD_OPTION: it is not this `game`'s).
    """

    def __init__(self, message: Seated, decode: bool = True, game: RowGame | None = None) -> None:
        self.info = SeatInfo.of(message)
        self.stream = message.stream
        self.window = InputWindow(message.last_seq)
        self.frames = FrameDecoder(
            self.info.layout, message.stream, message.epoch, message.tick, message.last_seq, decode
        )
        self.newest: Frame | None = None
        self.rtt_ms: deque[float] = deque(maxlen=RTTS_KEPT)
        """From input to acknowledging frame, of all inputs acknowledged since the reader last emptied the list."""
        self.clock = TickClock(self.info.tick_hz)
        self.steering = Steering(self.clock, message.last_seq)
        self.predictor: Predictor | None = None
        """None without a game, or with one that predicts nothing."""
        self.interpolator = Interpolator(self.info.layout, self.info.tick_hz) if decode else None
        self._playhead = Playhead(self.clock)
        self._drawn: tuple[int, float] | None = None
        self.deep = 0
        """For `beat`: how many frames in a row told of a queue that was never empty, less those that do not count."""
        self.skipped_beat = False
        self._decode = decode
        self.steered = decode
        """Whether frames move the clock: who neither draws nor asks when inputs are due need not pay for it."""
        self._struct = struct.Struct("<" + "".join(_STRUCT_CODES[field.dtype] for field in self.info.inputs))
        self._held = {field.name: max(field.low, min(0, field.high)) for field in self.info.inputs}
        self._limits = {field.name: (field.low, field.high) for field in self.info.inputs}
        self.packed = self._pack()
        """The input that is being repeated, as the wire has it."""
        if game is not None:
            self._check_game(game)
            if decode and type(game).predict is not RowGame.predict:
                self.predictor = Predictor(game, self.info.seat)

    # -- inputs -------------------------------------------------------------------------------------------------------

    @property
    def due_at(self) -> float:
        """When the next input is to be made, by the clock that `next_packet` and `receive` are given; -inf: at once."""
        self.steered = True
        return self.steering.due_at

    def beat(self) -> bool:
        """Whether a caller whose clock beats once a tick, at a phase of its own, makes an input at this beat.

        False once in a while when the server's queue was never empty for ten frames and all that are under way: one
        left out takes a tick from the wait and starves nothing. False at every second beat while half the queue is
        full (after an outage). A queue that runs dry needs no remedy: the input that came too late waits for the next
        tick, and so do all after it.
        """
        if self.newest is not None and self.newest.depth >= CROWDED:
            self.skipped_beat = not self.skipped_beat
            return not self.skipped_beat
        if self.deep < BEATS:
            return True
        self.deep = -(self.window.newest - self.window.acknowledged)
        return False

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
        self.packed = self._pack()

    @property
    def held(self) -> Mapping[str, int]:
        """The input that is being repeated."""
        return self._held

    def next_packet(self, ack: tuple[int, int], now: float) -> bytes:
        """Add the held input to the window unless it is full; the packet carries all that is unacknowledged."""
        if not self.window.full:
            seq = self.window.add(self.packed)
            self.steering.made(seq, now)
            if self.predictor is not None:
                self.predictor.sent(seq, self._held, now)
        return self._packet(ack, now)

    def repeat_packet(self, ack: tuple[int, int], now: float | None = None) -> bytes:
        """The packet that carries all that is unacknowledged, without a new input."""
        return self._packet(ack, now)

    # -- frames -------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> Frame | None:
        """Take a frame; returns it when it is of this seat. Raises BadFrame."""
        frame = self.frames.receive(data)
        if frame is None:
            return None
        settled = self.window.acknowledge(frame.last_seq)
        for back in range(settled):
            self.rtt_ms.append((now - self.steering.made_at(frame.last_seq - back)) * 1000.0)
        newest = self.newest
        if newest is None or frame.tick > newest.tick or frame.epoch > newest.epoch:
            if newest is not None and frame.epoch > newest.epoch:
                self._start_anew(frame.last_seq)
            self.newest = frame
            self.deep = self.deep + 1 if frame.depth else min(self.deep, 0)
            if self.steered:
                self.clock.frame(frame.tick, now)
                self.steering.frame(frame.tick, frame.last_seq, frame.depth, now)
            if self.predictor is not None:
                self.predictor.frame(frame, now)
        if frame.acks is not None:
            self.steering.acknowledged(frame.acks)
        if self.interpolator is not None:
            self.interpolator.add(frame)
        return frame

    def view_at(self, now: float) -> dict[str, list[float]]:
        """What to draw now, by name of the room's shared columns, in their units: the others as they were a little
        ago (see `netcode.interpolate`), oneself where the inputs made so far lead. Empty before the first frame.

        From then on inputs say that their player saw this. Raises ValueError when frames are not decoded.
        """
        if self.interpolator is None:
            raise ValueError("this seat does not decode its frames: there is nothing to draw")
        if self.newest is None:
            return {}
        drawn = self._playhead.at(now)
        view = self.interpolator.at(drawn)
        self._drawn = (max(0, round(drawn)), now)
        if self.predictor is not None:
            for name, value in self.predictor.smoothed(now).items():
                view[name][self.info.seat] = value
        return view

    def resume(self, message: Seated) -> None:
        """The same seat over another connection: settle what was applied in the meantime, repeat the rest.

        Sequences go on; frames start afresh. Raises ProtocolError(BAD_MESSAGE) when it is another seat.
        """
        info = SeatInfo.of(message)
        if (info.room, info.seat, info.generation) != (self.info.room, self.info.seat, self.info.generation):
            raise ProtocolError(ErrorCode.BAD_MESSAGE, "the seat that was resumed is another one")
        self.stream = message.stream
        if message.last_seq > self.window.newest:
            self.window = InputWindow(message.last_seq)
        self.window.acknowledge(message.last_seq)
        self.frames = FrameDecoder(
            self.info.layout, message.stream, message.epoch, message.tick, message.last_seq, self._decode
        )
        self.newest = None
        self._start_anew(message.last_seq)

    def _start_anew(self, last_seq: int) -> None:
        self.clock.restart()
        self.steering.restart(last_seq)
        self._playhead.restart()
        self._drawn = None
        self.deep = 0
        if self.interpolator is not None:
            self.interpolator.clear()
        if self.predictor is not None:
            self.predictor.restart(last_seq)

    def _packet(self, ack: tuple[int, int], now: float | None) -> bytes:
        seen = max(self.frames.newest_tick, 0)
        if self._drawn is not None and now is not None and now - self._drawn[1] < DRAWN_S:
            seen = min(seen, self._drawn[0])
        return self.window.packet(self.stream, ack, self.frames.baseline, seen)

    def _check_game(self, game: RowGame) -> None:
        info, layout = self.info, view_layout(game)
        theirs = (info.game, info.tick_hz, info.options, info.inputs, info.layout.shared, info.layout.own)
        ours = (game.name, game.tick_hz, game.option, tuple(game.inputs), layout.shared, layout.own)
        what = ("name", "tick rate", "options", "inputs", "shared columns", "own columns")
        for part, its, mine in zip(what, theirs, ours, strict=True):
            if its != mine:
                raise ProtocolError(ErrorCode.BAD_OPTION, f"the room's game has another {part} than {game.name} here")

    def _pack(self) -> bytes:
        return self._struct.pack(*self._held.values())
