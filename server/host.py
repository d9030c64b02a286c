"""The host: the tick loop of one game's rooms on this node.

    deadline ─► collect ─► step ─► journal (begin) ─► encode frames ─► gate (stored?) ─► write and send

Rooms are spread over a few *phases* of the tick, so that not all frames leave in one burst: with two phases at 20 Hz
one half of the rooms ticks at 0, 50, 100 … ms, the other at 25, 75, 125 … ms. Deadlines are absolute, so ticks do not
drift. A late tick is caught up; one that is more than CATCH_UP_MAX ticks behind gives the missed slots up (counted,
they use up no tick number): the game slows down, it does not spiral.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import msgpack
import structlog
import trio

from cluster.journal import Journal
from game.api import Game, Result
from game.base_batch import Failure, StepResult
from game.commands import TickCommands
from game.evidence import pack_evidence
from netcode.control import realtime_bytes
from netcode.errors import ErrorCode, ProtocolError
from netcode.frame import ACKS
from netcode.seal import PLAINTEXT_MAX, DatagramType
from server.datagrams import RECEIVED_MAX, Datagrams
from server.evidence import EvidenceFolder
from server.gate import Gate
from server.metrics import Metrics
from server.outcome import Outcome
from server.rooms import Rooms
from server.row_stage import RowOccupant
from server.seating import Seating
from server.stage import Stage

CATCH_UP_MAX = 3
RECEIVED_BATCHES_MAX = 8
"""Batches of datagrams that a tick takes from the socket before it collects."""
SWEEP_EVERY_S = 1.0

log = structlog.get_logger("holdfast.host")
_CONTROL_FRAME = bytes([DatagramType.FRAME])


class Host:
    """Rooms of one game, ticked at its rate. All of it runs in one task but the gate's."""

    def __init__(
        self,
        game: Game,
        make_stage: Callable[[Any], Stage],
        *,
        spec: str,
        phases: int,
        hold_s: float,
        rooms_max: int,
        journal: Journal,
        datagrams: Datagrams,
        metrics: Metrics,
        evidence: EvidenceFolder,
        deliver: Callable[[str, str, list[Result]], None],
    ) -> None:
        self.game = game
        self.rooms = Rooms(game, make_stage, phases=phases, rooms_max=rooms_max)
        self.seating = Seating(self.rooms, hold_s)
        self._spec = spec
        self._journal, self._datagrams, self._metrics = journal, datagrams, metrics
        self._evidence = evidence
        self._deliver = deliver
        self._gate = Gate()

    async def run(self) -> None:
        """Tick until cancelled. Raises JournalFenced when this node may run its rooms no longer."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._gate.run)
            nursery.start_soon(self._sweep)
            await self._tick_for_ever()

    async def _tick_for_ever(self) -> None:
        phases = self.rooms.phases
        tick_s = 1.0 / self.game.tick_hz
        slot_s = tick_s / len(phases)
        start, slot = trio.current_time(), 0
        while True:
            deadline = start + slot * slot_s
            await trio.sleep_until(deadline)
            await self._gate.until_free()
            now = trio.current_time()
            missed = int((now - deadline) / tick_s)
            if missed > CATCH_UP_MAX:
                self._metrics.ticks_skipped += missed
                self._metrics.lateness.append((now, now - deadline))
                log.warning("ticks_skipped", ticks=missed, late_ms=round((now - deadline) * 1000))
                slot += missed * len(phases)
                continue
            stages = [stage for stage in phases[slot % len(phases)] if len(stage.batch)]
            if stages:
                self._metrics.tick_started(now, now - deadline)
                self._tick(stages)
                took_s = trio.current_time() - now
                self._metrics.ticks_busy_s += took_s
                if took_s > tick_s:
                    self._metrics.ticks_overrun += 1
            slot += 1

    def _tick(self, stages: list[Stage]) -> None:
        """One tick of these stages: one record for the journal, one outcome behind the gate."""
        for _ in range(RECEIVED_BATCHES_MAX):
            if self._datagrams.receive() < RECEIVED_MAX:
                break
        made = [(stage, commands, stage.step(commands)) for stage in stages for commands in [stage.collect()]]
        append = self._journal.begin(self._record(made) if self._journal.wanted else b"")
        outcome = Outcome()
        for stage, commands, result in made:
            self._metrics.inputs_applied += len(commands.inputs)
            outcome.results.extend(result.results)
            self.seating.settle(stage, result, outcome)
            outcome.messages.extend(stage.tell(result))
            for room, failure in result.failed.items():
                self._quarantine(stage, room, failure, outcome)
            readers, frames = stage.frames()
            outcome.readers.extend(readers)
            outcome.frames.extend(frames)
        self._gate.hold(append, lambda: self._release(outcome))

    @staticmethod
    def _record(made: list[tuple[Stage, TickCommands, StepResult]]) -> bytes:
        data: bytes = msgpack.packb([stage.record(commands, result) for stage, commands, result in made])
        return data

    # -- behind the gate ----------------------------------------------------------------------------------------------

    def _release(self, outcome: Outcome) -> None:
        for session, data in outcome.messages:
            session.link.write(data)
        self._send_frames(outcome.readers, outcome.frames)
        for session, data in outcome.farewells:
            session.link.write(data)
        for room, results in outcome.results_by_room().items():
            self._deliver(self.game.name, room, results)

    def _send_frames(self, readers: list[RowOccupant], frames: list[bytes]) -> None:
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

    def _quarantine(self, stage: Stage, room: str, failure: Failure, outcome: Outcome) -> None:
        """A room that failed is closed alone: its state is kept as evidence, its players are told."""
        self._metrics.rooms_quarantined += 1
        error, tick = failure.error, stage.batch.tick_of(room)
        why, at, where = f"{type(error).__name__}: {error}", "", ""
        for last in traceback.extract_tb(error.__traceback__)[-1:]:
            at = f"{last.filename}:{last.lineno}"
        try:
            where = str(self._evidence.keep(room, tick, pack_evidence(self._spec, stage.batch, room, failure)))
        except Exception:  # a state that cannot even be saved
            log.exception("evidence_not_made", room=room)
        log.error("room_quarantined", room=room, tick=tick, error=why, at=at, evidence=where, exc_info=error)
        outcome.results.extend((room, result) for result in stage.batch.ledger(room).outbox.values())
        refusal = ProtocolError(ErrorCode.ROOM_CLOSED, "the room was closed because its game failed")
        self.seating.evict(stage, room, refusal, outcome)
        self.rooms.close(room)

    async def _sweep(self) -> None:
        """Close rooms that have been empty for a while."""
        while True:
            await trio.sleep(SWEEP_EVERY_S)
            now = trio.current_time()
            self.seating.sweep(now)
            self.rooms.sweep(now)
