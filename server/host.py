"""The host: the tick loop of a game's rooms on this node.

    deadline ─► collect ─► step ─► journal (begin) ─► encode frames ─► gate (stored?) ─► write and send

Rooms are spread over a few *phases* of the tick, so that not all frames leave in one burst: with two phases at 20 Hz
one half of the rooms ticks at 0, 50, 100 … ms, the other at 25, 75, 125 … ms. Deadlines are absolute, so ticks do not
drift. A late tick is caught up; one that is more than CATCH_UP_MAX ticks behind gives the missed slots up (counted,
they use up no tick number): the game slows down, it does not spiral.
"""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import msgpack
import structlog
import trio

from cluster.journal import Journal
from game.api import Event, Result, RowGame
from game.batch import Seated, StepResult, Vacated
from game.commands import Applied, Chat, Disconnect, Join, Leave
from game.view import view_layout
from netcode import messages
from netcode.control import message_bytes, realtime_bytes
from netcode.errors import ErrorCode, ProtocolError
from netcode.frame import ACKS
from netcode.inputs import InputQueue
from netcode.seal import PLAINTEXT_MAX, DatagramType
from netcode.session import Session
from server.datagrams import RECEIVED_MAX, Datagrams
from server.gate import Gate
from server.metrics import Metrics
from server.stage import Occupant, Stage

CATCH_UP_MAX = 3
EMPTY_ROOM_S = 5.0
"""How long a room without players is kept."""
RECEIVED_BATCHES_MAX = 8
"""Batches of datagrams that a tick takes from the socket before it collects."""
SWEEP_EVERY_S = 1.0
EVENTS_A_MESSAGE = 64
"""So that a message of the longest chats stays below MESSAGE_MAX."""

log = structlog.get_logger("holdfast.host")
_CONTROL_FRAME = bytes([DatagramType.FRAME])


@attrs.define
class Outcome:
    """What a tick tells whom, ready to be written; it waits behind the gate."""

    results: list[tuple[str, Result]]
    messages: list[tuple[Session, bytes]] = attrs.field(factory=list)
    """Seats and events: written before the frames."""
    readers: list[Occupant] = attrs.field(factory=list)
    frames: list[bytes] = attrs.field(factory=list)
    farewells: list[tuple[Session, bytes]] = attrs.field(factory=list)
    """For those who have no seat any more: written after the frames."""

    def results_by_room(self) -> dict[str, list[Result]]:
        """The results, grouped."""
        grouped: dict[str, list[Result]] = {}
        for room, result in self.results:
            grouped.setdefault(room, []).append(result)
        return grouped


@attrs.define
class Room:
    """What the host knows of a room beyond its state."""

    id: str
    stage: Stage
    reserved: int = 0
    """Joins that wait for their tick: seats that a quick-join must not count as free."""
    empty_since: float | None = None


class Host:
    """Rooms of one game, ticked at its rate. All of it runs in one task but the gate's."""

    def __init__(
        self,
        game: RowGame,
        *,
        phases: int,
        hold_s: float,
        rooms_max: int,
        journal: Journal,
        datagrams: Datagrams,
        metrics: Metrics,
        evidence: Path,
        deliver: Callable[[str, str, list[Result]], None],
    ) -> None:
        self.game = game
        self.rooms: dict[str, Room] = {}
        self.stages = [Stage(game) for _ in range(phases)]
        self._hold_ticks = int(hold_s * game.tick_hz)
        self._rooms_max = rooms_max
        self._journal, self._datagrams, self._metrics = journal, datagrams, metrics
        self._evidence = evidence
        self._deliver = deliver
        self._gate = Gate()
        self._held: dict[str, tuple[Leave, float]] = {}  # account: how to give its held seat up, since when
        self._joining: dict[str, tuple[Session, str, int]] = {}  # join id: who, room, ref
        self._inputs = [[f.name, f.dtype, f.low, f.high] for f in game.inputs]
        self._view = view_layout(game).describe()

    # -- what players ask for -----------------------------------------------------------------------------------------

    def open_room(self) -> str:
        """Open a room and return its id; raises ProtocolError (TOO_MANY_ROOMS; INTERNAL when the game fails)."""
        if len(self.rooms) >= self._rooms_max:
            raise ProtocolError(ErrorCode.TOO_MANY_ROOMS, f"this server runs {self._rooms_max} rooms at once")
        stage = min(self.stages, key=lambda stage: len(stage.batch))
        room = secrets.token_hex(8)
        try:
            stage.batch.open(room, secrets.randbits(64))
        except Exception as error:
            log.exception("room_not_opened", game=self.game.name)
            raise ProtocolError(ErrorCode.INTERNAL, "the game failed to open a room") from error
        self.rooms[room] = Room(room, stage)
        return room

    def free_seats(self, room: Room) -> int:
        """Seats that nobody sits in, is held or has asked for."""
        return room.stage.batch.ledger(room.id).players.count(None) - room.reserved

    def join(self, session: Session, room: Room, ref: int) -> None:
        """Ask for a seat; the answer goes to the session's link when the tick that gives it is stored."""
        self._give_up_held(session.account, but=room.id)
        join_id = secrets.token_hex(8)
        if not room.stage.submit(Join(room.id, session.account, session.name, join_id, session.profile)):
            raise ProtocolError(ErrorCode.LIMITED, "too many requests wait for this room's next tick")
        self._joining[join_id] = (session, room.id, ref)
        session.joining = join_id
        room.reserved += 1

    def leave(self, occupant: Occupant, ref: int) -> None:
        """Give a seat up; `Left` follows when the tick is stored."""
        if occupant.leaving:
            raise ProtocolError(ErrorCode.NOT_SEATED, "you are leaving your seat already")
        occupant.leaving, occupant.leave_ref = True, ref
        self._submit(occupant, Leave(occupant.room, occupant.seat, occupant.generation))

    def disconnect(self, occupant: Occupant) -> None:
        """The session of a seat is gone: hold the seat for a while."""
        occupant.leaving = True
        stage = self.rooms[occupant.room].stage
        if stage.occupants.get((occupant.room, occupant.seat)) is occupant:
            del stage.occupants[occupant.room, occupant.seat]
        self._hold(stage, occupant.session.account, occupant.room, occupant.seat, occupant.generation)

    def chat(self, occupant: Occupant, text: str) -> None:
        """Say something to the occupant's room; raises ProtocolError(LIMITED)."""
        if not occupant.may_chat(self.game.tick_hz):
            raise ProtocolError(ErrorCode.LIMITED, "you say too much at once; wait a moment")
        room = self.rooms.get(occupant.room)
        if room is not None and not room.stage.submit(Chat(occupant.room, occupant.seat, occupant.generation, text)):
            raise ProtocolError(ErrorCode.LIMITED, "too many requests wait for this room's next tick")

    def applied(self, room: str, op_ids: Sequence[str]) -> None:
        """The profiles hold these results: they may leave the room's outbox."""
        found = self.rooms.get(room)
        if found is not None:
            found.stage.submit(Applied(room, tuple(op_ids)))

    def _submit(self, occupant: Occupant, command: Leave | Disconnect) -> None:
        """No limit of the stage applies: each seat has few of these, and a lost one would be a lost seat."""
        room = self.rooms.get(occupant.room)
        if room is not None:
            room.stage.pending.append(command)

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tick until cancelled. Raises JournalFenced when this node may run its rooms no longer."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._gate.run)
            nursery.start_soon(self._sweep)
            await self._tick_for_ever()

    async def _tick_for_ever(self) -> None:
        phases = len(self.stages)
        slot_s = 1.0 / (self.game.tick_hz * phases)
        start, slot = trio.current_time(), 0
        while True:
            deadline = start + slot * slot_s
            await trio.sleep_until(deadline)
            await self._gate.room()
            now = trio.current_time()
            missed = int((now - deadline) / (slot_s * phases))
            if missed > CATCH_UP_MAX:
                self._metrics.ticks_skipped += missed
                self._metrics.lateness.append((now, now - deadline))
                log.warning("ticks_skipped", ticks=missed, late_ms=round((now - deadline) * 1000))
                slot += missed * phases
                continue
            stage = self.stages[slot % phases]
            if len(stage.batch):
                self._metrics.tick_started(now, now - deadline)
                self._tick(stage)
                took_s = trio.current_time() - now
                self._metrics.ticks_busy_s += took_s
                if took_s > slot_s * phases:
                    self._metrics.ticks_overrun += 1
            slot += 1

    def _tick(self, stage: Stage) -> None:
        for _ in range(RECEIVED_BATCHES_MAX):
            if self._datagrams.receive() < RECEIVED_MAX:
                break
        commands = stage.collect()
        result = stage.step(commands)
        record = msgpack.packb(stage.record(commands, result)) if self._journal.wanted else b""
        append = self._journal.begin(record)
        self._metrics.inputs_applied += len(commands.inputs)
        outcome = Outcome(result.results)
        for vacated in result.vacated:  # first: a seat may be given away again in the tick that frees it
            self._vacate(stage, vacated, outcome)
        for seated in result.seated:
            self._take_seat(stage, seated, outcome)
        self._tell_events(stage, result, outcome)
        for room, error in result.failed.items():
            self._quarantine(stage, room, error, outcome)
        outcome.readers, outcome.frames = stage.frames()
        self._gate.hold(append, lambda: self._release(outcome))

    def _take_seat(self, stage: Stage, seated: Seated, outcome: Outcome) -> None:
        session, _, ref = self._joining.pop(seated.join_id)
        self.rooms[seated.room].reserved -= 1
        still_wanted = session.joining == seated.join_id  # else: gone since, or replaced by a newer connection
        if still_wanted:
            session.joining = ""
        if seated.error is not None:
            if still_wanted:
                error = ProtocolError(ErrorCode.ROOM_FULL, str(seated.error))
                outcome.messages.append((session, message_bytes(messages.Error.of(error, ref))))
            return
        if not still_wanted:
            self._hold(stage, session.account, seated.room, seated.seat, seated.generation)
            return
        row = stage.batch.row[seated.room]
        session.streams += 1
        occupant = Occupant(
            session,
            seated.room,
            seated.seat,
            seated.generation,
            stream=session.streams & 0xFF,
            queue=InputQueue(0, self.game.input_dtype.itemsize),
            tick=int(stage.batch.rows.tick[row]),
            row=row,
        )
        stage.occupants[seated.room, seated.seat] = occupant
        session.seat = occupant
        players = stage.batch.ledger(seated.room).players
        told = messages.Seated(
            ref=ref,
            room=seated.room,
            game=self.game.name,
            options=self.game.option,
            seat=seated.seat,
            seats=self.game.seats,
            generation=seated.generation,
            stream=occupant.stream,
            epoch=0,
            tick=occupant.tick,
            tick_hz=self.game.tick_hz,
            last_seq=0,
            inputs=self._inputs,
            view=self._view,
            roster=["" if player is None else player.name for player in players],
        )
        outcome.messages.append((session, message_bytes(told)))

    def _tell_events(self, stage: Stage, result: StepResult, outcome: Outcome) -> None:
        told = {room: _events_bytes(room, events) for room, events in result.events.items() if events}
        if told:
            for occupant in stage.occupants.values():
                if occupant.room in told:
                    outcome.messages.append((occupant.session, told[occupant.room]))

    def _vacate(self, stage: Stage, vacated: Vacated, outcome: Outcome) -> None:
        occupant = stage.occupants.get((vacated.room, vacated.seat))
        if occupant is None or occupant.generation != vacated.generation:
            return
        del stage.occupants[vacated.room, vacated.seat]
        occupant.session.seat = None
        left = messages.Left(
            ref=occupant.leave_ref,
            room=vacated.room,
            seat=vacated.seat,
            last_seq=vacated.last_seq,
            applied=vacated.applied,
        )
        outcome.farewells.append((occupant.session, message_bytes(left)))

    # -- behind the gate ----------------------------------------------------------------------------------------------

    def _release(self, outcome: Outcome) -> None:
        for session, data in outcome.messages:
            session.link.write(data)
        self._send_frames(outcome.readers, outcome.frames)
        for session, data in outcome.farewells:
            session.link.write(data)
        for room, results in outcome.results_by_room().items():
            self._deliver(self.game.name, room, results)

    def _send_frames(self, readers: list[Occupant], frames: list[bytes]) -> None:
        now = trio.current_time()
        packets: list[bytes] = []
        addresses: list[bytes] = []
        for occupant, frame in zip(readers, frames, strict=True):
            session = occupant.session
            end = session.end
            path = end.live_path(now) if session.by_datagram else None
            if path is not None and len(frame) + ACKS.size <= PLAINTEXT_MAX:
                packets.append(end.seal_frame(frame, now))
                addresses.append(path)
            else:
                self._metrics.frames_too_large += bool(session.by_datagram)
                session.link.write(realtime_bytes(_CONTROL_FRAME + frame))
        self._metrics.frames_sent += len(frames)
        if packets:
            self._datagrams.send(packets, addresses)

    # -- rooms that end -----------------------------------------------------------------------------------------------

    def _quarantine(self, stage: Stage, room: str, error: Exception, outcome: Outcome) -> None:
        """A room whose step raises is closed alone: its state is kept as evidence, its players are told."""
        self._metrics.rooms_quarantined += 1
        where = self._evidence / f"{room}-{stage.batch.tick_of(room)}.room"
        try:
            self._evidence.mkdir(parents=True, exist_ok=True)
            where.write_bytes(stage.batch.save(room))
        except OSError as problem:
            log.error("evidence_not_written", room=room, error=str(problem))
        *_, last = traceback.extract_tb(error.__traceback__)
        why = f"{type(error).__name__}: {error}"
        at = f"{last.filename}:{last.lineno}"
        log.error("room_quarantined", room=room, error=why, at=at, evidence=str(where), exc_info=error)
        outcome.results.extend((room, result) for result in stage.batch.ledger(room).outbox.values())
        refusal = ProtocolError(ErrorCode.ROOM_CLOSED, "the room was closed because its game failed")
        told = message_bytes(messages.Error.of(refusal))
        for occupant in [o for o in stage.occupants.values() if o.room == room]:
            del stage.occupants[room, occupant.seat]
            occupant.session.seat = None
            outcome.farewells.append((occupant.session, told))
        for join_id, (session, wanted, ref) in list(self._joining.items()):
            if wanted == room:
                del self._joining[join_id]
                if session.joining == join_id:
                    session.joining = ""
                    outcome.farewells.append((session, message_bytes(messages.Error.of(refusal, ref))))
        self._close(room)

    async def _sweep(self) -> None:
        """Close rooms that have been empty for a while."""
        while True:
            await trio.sleep(SWEEP_EVERY_S)
            now = trio.current_time()
            over = now - self._hold_ticks / self.game.tick_hz
            self._held = {account: held for account, held in self._held.items() if held[1] >= over}
            empty = {room for stage in self.stages if len(stage.batch) for room in stage.empty_rooms()}
            for room in list(self.rooms.values()):
                if room.id not in empty or room.reserved:
                    room.empty_since = None
                elif room.empty_since is None:
                    room.empty_since = now
                elif now - room.empty_since >= EMPTY_ROOM_S:
                    self._close(room.id)
                    log.info("room_closed", room=room.id)

    def _close(self, room: str) -> None:
        self.rooms.pop(room).stage.batch.close(room)

    def _hold(self, stage: Stage, account: str, room: str, seat: int, generation: int) -> None:
        """Keep a seat for a player who is gone; one seat an account, so an older one is given up."""
        self._give_up_held(account, but=room)
        self._held[account] = (Leave(room, seat, generation), trio.current_time())
        stage.pending.append(Disconnect(room, seat, generation, max(1, self._hold_ticks)))

    def _give_up_held(self, account: str, but: str) -> None:
        leave, _ = self._held.pop(account, (None, 0.0))
        if leave is not None and leave.room != but and leave.room in self.rooms:
            self.rooms[leave.room].stage.pending.append(leave)


def _events_bytes(room: str, events: list[Event]) -> bytes:
    """The events of one tick, in as many messages as it takes."""
    told = [[event.tick, event.index, event.kind, list(event.data)] for event in events]
    parts = (told[at : at + EVENTS_A_MESSAGE] for at in range(0, len(told), EVENTS_A_MESSAGE))
    return b"".join(message_bytes(messages.Events(room=room, events=part)) for part in parts)
