"""Watchers: who sees a room of rows without a seat, and what a tick tells them.

    watch    ─► (a tick that is told) ─► Watching, and a full frame; from then on events, and a frame every few ticks
    unwatch  ─► (tick) ─► Unwatched
    the room ends, or moves          ─► Error (ROOM_CLOSED, ROOM_MOVING)
    a seat, the end of a connection  ─► nothing more

What is told goes into the tick's `Outcome`, so that nobody sees what is not stored. A watcher belongs to one connection
of its session: who comes back asks again, wherever the room is then. No step, journal or seat knows of watchers; where
there are none, a tick looks into an empty map.
"""

from __future__ import annotations

import attrs
import numpy as np

from game.batch import StepResult
from netcode import messages
from netcode.control import message_bytes, realtime_bytes
from netcode.errors import ErrorCode, ProtocolError
from netcode.seal import DatagramType
from netcode.session import Session
from netcode.watch import WatchEncoder, head
from server.outcome import Outcome
from server.rooms import Room
from server.row_stage import RowStage
from server.stage import Stage, events_bytes

WATCHERS_A_ROOM_MAX = 32
MOVED = ProtocolError(ErrorCode.ROOM_MOVING, "the room goes on on another node; watch it there")
_FRAME = bytes([DatagramType.FRAME])


@attrs.define(eq=False)
class _Watcher:
    """A connection that looks on."""

    session: Session
    generation: int
    """The session's when it asked; a later connection knows nothing of it."""
    ref: int
    stream: int | None = None
    """None until it is told that it watches."""
    unwatch_ref: int | None = None
    """Of the wish to look away, until a tick has answered it."""
    over: bool = False

    @property
    def here(self) -> bool:
        """Whether it is still to be told anything."""
        session = self.session
        connected = session.generation == self.generation and session.lost_at is None and not session.ended
        return connected and session.seat is None and not self.over


@attrs.define(eq=False)
class _Watched:
    """A room that somebody looks at."""

    watchers: list[_Watcher] = attrs.field(factory=list)
    sent: np.ndarray | None = None
    """The view that was sent last; None before the first."""

    @property
    def has_new(self) -> bool:
        """Whether somebody has just come."""
        return any(watcher.stream is None for watcher in self.watchers)


@attrs.define(eq=False)
class _Looked:
    """A stage with rooms that somebody looks at."""

    encoder: WatchEncoder
    rooms: dict[str, _Watched] = attrs.field(factory=dict)


class Watchers:
    """All watchers of a node; at most `most`, and 32 a room."""

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._stages: dict[Stage, _Looked] = {}

    def __len__(self) -> int:
        return sum(len(watched.watchers) for looked in self._stages.values() for watched in looked.rooms.values())

    # -- what players ask for -----------------------------------------------------------------------------------------

    def watch(self, session: Session, room: Room, ref: int) -> None:
        """Look at a room; `Watching` follows. Raises ProtocolError: NOT_ALLOWED for a room of objects, ROOM_FULL or
        LIMITED when as many watch the room or the node as may."""
        stage = room.stage
        if not isinstance(stage, RowStage):
            raise ProtocolError(ErrorCode.NOT_ALLOWED, "rooms of this game cannot be watched; join instead")
        before = self._watcher_of(session)
        for each in list(self._stages):
            self._forget(each)
        looked = self._stages.get(stage)
        others = [] if looked is None else looked.rooms.get(room.id, _Watched()).watchers
        if len(self) - (before is not None) >= self._most:
            raise ProtocolError(ErrorCode.LIMITED, f"on this server {self._most} watch already; try again later")
        if sum(one is not before for one in others) >= WATCHERS_A_ROOM_MAX:
            raise ProtocolError(ErrorCode.ROOM_FULL, f"{WATCHERS_A_ROOM_MAX} watch this room already")
        if before is not None:
            before.over = True
            for each in list(self._stages):
                self._forget(each)
        looked = self._stages.setdefault(stage, looked or _Looked(WatchEncoder(stage.game)))
        looked.rooms.setdefault(room.id, _Watched()).watchers.append(_Watcher(session, session.generation, ref))

    def unwatch(self, session: Session, ref: int) -> messages.Unwatched | None:
        """Look away; None: `Unwatched` follows, behind all that was told before. Raises ProtocolError."""
        watcher = self._watcher_of(session)
        if watcher is None:
            return messages.Unwatched(ref=ref)
        watcher.unwatch_ref = ref
        return None

    def _watcher_of(self, session: Session) -> _Watcher | None:
        """The session as a watcher. Raises LIMITED while it waits for the answer to its last request."""
        for looked in self._stages.values():
            for watched in looked.rooms.values():
                for watcher in watched.watchers:
                    if watcher.session is session and watcher.here:
                        if watcher.stream is None or watcher.unwatch_ref is not None:
                            raise ProtocolError(ErrorCode.LIMITED, "your last watch or unwatch is not answered yet")
                        return watcher
        return None

    # -- what a tick makes of it --------------------------------------------------------------------------------------

    def tell(self, stage: Stage, result: StepResult, outcome: Outcome) -> None:
        """Tell those who watch rooms of this stage of a tick, whose seats are given already."""
        if stage not in self._stages:
            return
        assert isinstance(stage, RowStage)
        self._forget(stage)
        looked = self._stages.get(stage)
        if looked is None:
            return
        rooms, encoder, batch = looked.rooms, looked.encoder, stage.batch
        there = [room for room in rooms if room in batch.row and room not in result.failed]
        due = [room for room in there if batch.tick_of(room) % encoder.every == 0]
        deltas, full = _bodies(looked, stage, due)
        for room in there:
            epoch, tick, events = stage.epochs[room], batch.tick_of(room), result.events.get(room)
            happened = events_bytes(room, events) if events else b""
            for watcher in rooms[room].watchers:
                told, body, age = happened, deltas.get(room), encoder.every
                if watcher.stream is None:
                    if room not in full:
                        continue
                    told, body, age = _welcome(stage, room, watcher, encoder) + happened, full[room], 0
                if body is not None and watcher.stream is not None:
                    told += realtime_bytes(_FRAME + head(watcher.stream, epoch, tick, age) + body)
                if watcher.unwatch_ref is not None:
                    told += message_bytes(messages.Unwatched(ref=watcher.unwatch_ref))
                    watcher.over = True
                if told:
                    outcome.message(watcher.session, told)

    def end(self, stage: Stage, room: str, why: ProtocolError, outcome: Outcome) -> None:
        """A room is no more, or no more here: everybody who watches it is told."""
        looked = self._stages.get(stage)
        watched = None if looked is None else looked.rooms.pop(room, None)
        for watcher in [] if watched is None else watched.watchers:
            if watcher.here:
                told = message_bytes(messages.Error.of(why, watcher.ref if watcher.stream is None else 0))
                if watcher.unwatch_ref is not None:
                    told += message_bytes(messages.Unwatched(ref=watcher.unwatch_ref))
                outcome.farewell(watcher.session, told)
        self._forget(stage)

    def _forget(self, stage: Stage) -> None:
        """Forget those who are gone; then rooms, and a stage, that nobody looks at any more."""
        looked = self._stages.get(stage)
        if looked is None:
            return
        for room, watched in list(looked.rooms.items()):
            watched.watchers = [one for one in watched.watchers if one.here]
            if not watched.watchers:
                del looked.rooms[room]
        if not looked.rooms:
            del self._stages[stage]


def _bodies(looked: _Looked, stage: RowStage, due: list[str]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Bodies of the frames of rooms whose turn it is: against the ones before, and full ones where somebody is new."""
    if not due:
        return {}, {}
    encoder, rooms = looked.encoder, looked.rooms
    views = encoder.views(stage.batch.rows, [stage.batch.row[room] for room in due])
    before = [rooms[room].sent for room in due]
    old = [at for at, sent in enumerate(before) if sent is not None]
    new = [at for at, room in enumerate(due) if rooms[room].has_new]
    deltas = encoder.deltas(views[old], [sent for sent in before if sent is not None])
    full = encoder.full(views[new])
    for room, view in zip(due, views, strict=True):
        rooms[room].sent = view
    return (
        {due[at]: body for at, body in zip(old, deltas, strict=True)},
        {due[at]: body for at, body in zip(new, full, strict=True)},
    )


def _welcome(stage: RowStage, room: str, watcher: _Watcher, encoder: WatchEncoder) -> bytes:
    """Tell a watcher that it is one."""
    game, session = stage.game, watcher.session
    session.streams += 1
    watcher.stream = session.streams & 0xFF
    return message_bytes(
        messages.Watching(
            ref=watcher.ref,
            room=room,
            game=game.name,
            options=game.option,
            seats=game.seats,
            stream=watcher.stream,
            epoch=stage.epochs[room],
            tick=stage.batch.tick_of(room),
            tick_hz=game.tick_hz,
            every=encoder.every,
            view=encoder.described,
            roster=["" if player is None else player.name for player in stage.batch.ledger(room).players],
        )
    )
