"""A seat as the application has it: what to want, what is seen, what happened. It outlives its connections.

    Room ── events, roster, why it ended
     ├─ SeatedRoom   rows: `want` ─► an input a tick;      frames ─► `next_frame`, `view_at`
     └─ ObjectRoom   objects: `act` ─► each applied once;  whole view on joining and on every resume

While the connection is lost nothing here ends: `paused` is true, whoever waits goes on waiting, and a seat that was
kept goes on where it was. Events wait in a queue of EVENTS_KEPT; when it is full the oldest is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import trio

from game.api import Event, RowGame
from game.view import ViewLayout
from netcode import messages
from netcode.acts import ActWindow, ViewParts, pack_act
from netcode.errors import ErrorCode, ProtocolError, RemoteError
from netcode.frame import Frame
from netcode.messages import Message
from netcode.play import Play, SeatInfo

EVENTS_KEPT = 1024
"""Events that wait to be read; when that many wait, the oldest is dropped."""
SILENT_S = 0.5
"""Frames come at every tick; who sees none for so long asks another node."""
_LAST_INDEX = 2**32 - 1


class Carrier(Protocol):
    """What a room needs of its client."""

    @property
    def paused(self) -> bool:
        """Whether the connection is lost and the seat not back yet."""

    def say(self, message: Message) -> None:
        """Send a message if there is a connection."""


class Room:
    """What both kinds of rooms have. Made by `Client.join`."""

    def __init__(
        self, carrier: Carrier, info: SeatInfo, message: messages.Seated, after: tuple[int, int] | None
    ) -> None:
        self.info = info
        self.roster: list[Any] = message.roster
        """Names by seat as of joining, or of the last resume; "" is free."""
        self.left: messages.Left | None = None
        """The server's books of this seat, once it is given up."""
        self.ended: ProtocolError | None = None
        """Why no more comes; None while the seat is ours."""
        self.events_dropped = 0
        """Events that nobody read in time."""
        self.events_missed = message.missed
        """Whether some events of a pause were kept by the server no longer."""
        self.heard = after if after is not None else (max(message.tick - 1, 0), _LAST_INDEX if message.tick else 0)
        """(tick, index) of the newest event that came."""
        self.epoch = message.epoch
        """Counts the nodes that the room has been on."""
        self.read = self.heard
        """(tick, index) of the newest event that `next_event` has returned, or that was dropped."""
        self._carrier = carrier
        self._send_events, self._events = trio.open_memory_channel[Event](EVENTS_KEPT)

    @property
    def paused(self) -> bool:
        """Whether the connection is lost and the seat not back yet."""
        return self._carrier.paused and self.ended is None

    @property
    def ready(self) -> bool:
        """Whether all is there that a seat begins with."""
        return True

    def silent(self, now: float) -> bool:
        """Whether nothing has been heard of the room for longer than it should take."""
        return False

    async def next_event(self) -> Event:
        """The next event of the room, each once and in order. Raises RemoteError once the seat is gone and all read."""
        try:
            event = await self._events.receive()
        except trio.EndOfChannel:
            self._check_ours()
            raise
        self.read = (event.tick, event.index)
        return event

    def _check_ours(self) -> None:
        if self.ended is not None:
            raise RemoteError(self.ended.code, str(self.ended))

    def _continues(self, message: messages.Seated) -> bool:
        mine, its = self.info, message
        return (mine.room, mine.seat, mine.generation) == (its.room, its.seat, its.generation)

    def _resume(self, message: messages.Seated) -> None:
        """The same seat over a new connection. Raises ProtocolError."""
        self.roster, self.epoch = message.roster, message.epoch
        self.events_missed = self.events_missed or message.missed

    def _lost(self) -> None:
        """The connection is lost; the seat may come back."""

    def _end(self, error: ProtocolError) -> None:
        self.ended = self.ended or error
        self._send_events.close()

    def _take_events(self, message: messages.Events) -> None:
        """Raises ProtocolError when they are not as the protocol has them; those known already are passed over."""
        for entry in message.events:
            event = _event(entry)
            if (event.tick, event.index) <= self.heard:
                continue
            self.heard = (event.tick, event.index)
            try:
                self._send_events.send_nowait(event)
            except trio.WouldBlock:
                dropped = self._events.receive_nowait()
                self.read = (dropped.tick, dropped.index)
                self.events_dropped += 1
                self._send_events.send_nowait(event)


class SeatedRoom(Room):
    """A seat in a room of rows: inputs at the room's pace, frames back."""

    def __init__(
        self, carrier: Carrier, message: messages.Seated, after: tuple[int, int] | None, rules: type[RowGame] | None
    ) -> None:
        self.play = Play(message, game=None if rules is None else _game(rules, message))
        super().__init__(carrier, self.play.info, message, after)
        self.on_frame: Callable[[Frame], None] | None = None
        """Called for every new frame, before `next_frame` wakes; must not block."""
        self._next = trio.Event()
        self._heard_at = float("inf")  # no frame yet: nothing to miss

    def silent(self, now: float) -> bool:
        """Whether no frame has come for SILENT_S, though some had."""
        return self.ended is None and now - self._heard_at > SILENT_S

    def want(self, **fields: int) -> None:
        """What the player wants from now on; see `Play.want`."""
        self.play.want(**fields)

    async def next_frame(self) -> Frame:
        """Wait for a frame newer than what was there; always the newest. Raises RemoteError once the seat is gone."""
        newest = None
        while newest is None:
            if self.ended is None:
                await self._next.wait()
            self._check_ours()
            newest = self.play.newest
        return newest

    def view_at(self, now: float | None = None) -> dict[str, list[float]]:
        """What to draw now (`trio.current_time()`): the others a little in the past, oneself where the inputs made so
        far lead, if the room was joined with its rules. See `Play.view_at`."""
        return self.play.view_at(trio.current_time() if now is None else now)

    def _resume(self, message: messages.Seated) -> None:
        self.play.resume(message)
        self._heard_at = float("inf")
        self.info = self.play.info
        super()._resume(message)

    def _end(self, error: ProtocolError) -> None:
        super()._end(error)
        self._wake()

    def _receive(self, data: bytes, now: float) -> Frame | None:
        """Take a frame; returns it when it is of this seat. Raises BadFrame."""
        before = self.play.newest
        frame = self.play.receive(data, now)
        if frame is not None:
            self._heard_at = now
        if frame is not None and self.on_frame is not None:
            self.on_frame(frame)
        if self.play.newest is not before:
            self._wake()
        return frame

    def _wake(self) -> None:
        self._next.set()
        self._next = trio.Event()


class ObjectRoom(Room):
    """A seat in a room of objects: acts that are each applied once and in order, a whole view, and events.

    `view` is as of the tick `view_tick`: an event with a later tick changes it, one with that tick or an earlier one
    is in it already. The application applies events to it, or keeps a model of its own; a resume brings a new one.
    """

    def __init__(self, carrier: Carrier, message: messages.Seated, after: tuple[int, int] | None) -> None:
        super().__init__(carrier, _object_info(message), message, after)
        self.view: Any = None
        self.view_tick = message.tick
        self.tick = message.tick
        """The newest tick that was told of."""
        self._window = ActWindow(message.last_seq)
        self._parts: ViewParts | None = ViewParts(message.parts)
        self._changed = trio.Event()

    @property
    def ready(self) -> bool:
        """Whether the view is there."""
        return self._parts is None

    @property
    def acknowledged(self) -> int:
        """Sequence of the last act that the room has applied."""
        return self._window.acknowledged

    @property
    def newest(self) -> int:
        """Sequence of the newest act made."""
        return self._window.newest

    async def act(self, value: Any) -> int:
        """Do something: any value of msgpack, as the game wants it. Returns its sequence; see `settled`.

        While too much is not yet applied (`netcode.acts`) this waits; during a pause acts wait to be sent. Raises
        ProtocolError for what is too large or no value of msgpack, RemoteError once the seat is gone.
        """
        data = pack_act(value)
        await trio.lowlevel.checkpoint()
        while self.ended is None and not self._window.takes(data):
            await self._changed.wait()
        self._check_ours()
        act = self._window.add(data)
        if self.ready:
            self._carrier.say(act)
        return act.seq

    async def settled(self, seq: int | None = None) -> None:
        """Wait until that act (None: every act made so far) is applied. Raises RemoteError once the seat is gone."""
        wanted = self.newest if seq is None else seq
        await trio.lowlevel.checkpoint()
        while self.acknowledged < wanted:
            self._check_ours()
            await self._changed.wait()

    def _resume(self, message: messages.Seated) -> None:
        if not message.parts:
            raise ProtocolError(ErrorCode.BAD_MESSAGE, "a room of objects without a view")
        super()._resume(message)
        self.info = _object_info(message)
        self.view_tick = message.tick
        self._parts = ViewParts(message.parts)
        self._settle(message.tick, message.last_seq)

    def _lost(self) -> None:
        self._parts = self._parts or ViewParts(0)  # nothing is sent until the next view is whole

    def _end(self, error: ProtocolError) -> None:
        super()._end(error)
        self._wake()

    def _take_part(self, part: messages.Part) -> None:
        """Raises ProtocolError. With the last part the view is there, and acts go (on)."""
        if self._parts is None:
            raise ProtocolError(ErrorCode.BAD_MESSAGE, "a part of a view that is whole already")
        whole = self._parts.add(part)
        if whole is not None:
            (self.view,) = whole
            self._parts = None
            for act in self._window.unsettled():
                self._carrier.say(act)
            self._wake()

    def _take_events(self, message: messages.Events) -> None:
        super()._take_events(message)
        self._settle(message.tick, message.last_seq)

    def _settle(self, tick: int, last_seq: int) -> None:
        self.tick = max(self.tick, tick)
        if self._window.acknowledge(last_seq):
            self._wake()

    async def _loaded(self) -> None:
        """Wait for the first view. Raises RemoteError when the seat is gone before."""
        while not self.ready:
            self._check_ours()
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def seat(
    carrier: Carrier, message: messages.Seated, after: tuple[int, int] | None, rules: type[RowGame] | None
) -> SeatedRoom | ObjectRoom:
    """The room that a `Seated` tells of; `after` is the last event known of it. Raises ProtocolError."""
    if message.parts:
        return ObjectRoom(carrier, message, after)
    return SeatedRoom(carrier, message, after, rules)


def _game(rules: type[RowGame], message: messages.Seated) -> RowGame:
    try:
        return rules(message.options, message.tick_hz)
    except Exception as error:  # a game's `configure` is the application's own code
        raise ProtocolError(
            ErrorCode.BAD_OPTION, f"{rules.__name__} does not take the room's options: {error}"
        ) from error


def _object_info(message: messages.Seated) -> SeatInfo:
    return SeatInfo(
        message.room,
        message.game,
        message.seat,
        message.seats,
        message.generation,
        message.tick_hz,
        message.options,
        (),
        ViewLayout((), ()),
    )


def _event(entry: Any) -> Event:
    match entry:
        case [int(tick), int(index), str(kind), list(data)] if 0 <= tick <= _LAST_INDEX and 0 <= index <= _LAST_INDEX:
            return Event(tick, index, kind, tuple(data))
    raise ProtocolError(ErrorCode.BAD_MESSAGE, "an event is [tick, index, kind, data]")
