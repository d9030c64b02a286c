"""The host: the tick loop of one game's rooms on this node.

    deadline ─► collect ─► step ─► journal (begin) ─► encode frames ─► gate (stored?) ─► write and send

Rooms may be spread over a few *phases* of the tick, so that not all frames leave in one burst: with two phases at 20 Hz
one half of the rooms ticks at 0, 50, 100 … ms, the other at 25, 75, 125 … ms. One is the default: what is done for many
rooms at once has a fixed price, which each phase pays. Deadlines are absolute, so ticks do not drift. A late tick is
caught up; one that is more than CATCH_UP_MAX ticks behind gives the missed slots up (counted, they use up no tick
number): the game slows down, it does not spiral.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import structlog
import trio

from cluster.codec import Snapshot
from cluster.journal import Journal
from cluster.model import RoomEntry
from game.api import Game, Result
from game.base_batch import Failure
from game.commands import Quarantine
from game.errors import error_text
from game.evidence import pack_evidence
from netcode.errors import ErrorCode, ProtocolError
from netcode.session import Session
from server.datagrams import RECEIVED_MAX, Datagrams
from server.evidence import EvidenceFolder
from server.gate import Gate, Right
from server.held import HeldSeats
from server.housekeeping import Housekeeping
from server.lateness import LateTicks
from server.metrics import Metrics
from server.outcome import Outcome
from server.rooms import Rooms
from server.seating import Seating
from server.snapshots import Snapshots
from server.stage import Stage
from server.watchers import MOVED, Watchers

CATCH_UP_MAX = 3
RECEIVED_BATCHES_MAX = 4
"""Batches of datagrams that a tick takes from the socket before it collects."""
SWEEP_EVERY_S = 1.0

log = structlog.get_logger("holdfast.host")


@attrs.frozen
class Services:
    """What all hosts of a node share."""

    right: Right
    journal: Journal
    snapshots: Snapshots
    housekeeping: Housekeeping
    datagrams: Datagrams
    metrics: Metrics
    evidence: EvidenceFolder
    held: HeldSeats
    stopped: Callable[[RoomEntry, str, Snapshot], None]
    """Takes rooms that have made their last tick here: row, whom they go to, state."""
    left: Callable[[Session], None]
    """Is told of sessions that have no seat any more."""
    deliver: Callable[[str, str, list[Result]], None]
    """Takes match results of a room (game, room, results) to the profiles."""
    watchers: Watchers = attrs.field(factory=Watchers)


class Host:
    """Rooms of one game, ticked at its rate. All of it runs in one task but the gate's."""

    def __init__(
        self,
        game: Game,
        make_stage: Callable[[Any], Stage],
        services: Services,
        *,
        spec: str,
        phases: int,
        hold_s: float,
    ) -> None:
        self.game = game
        self.rooms = Rooms(game, make_stage, phases=phases)
        self.seating = Seating(self.rooms, hold_s, services.held, services.left)
        self.opening = trio.Lock()
        """Held by whoever looks for a room and opens one if there is none: those who wait find it then."""
        self.watchers = services.watchers
        """Those who watch rooms of any game of the node."""
        self._services = services
        self._spec = spec
        self._metrics, self._datagrams = services.metrics, services.datagrams
        self._gate = Gate(services.right)
        self._started_at = 0.0
        self.due_at = math.inf
        """When the next tick is to begin; in the past while it has not."""

    def phase_after(self, wait_s: float) -> int:
        """The phase that ticks first of those that do not tick for so long."""
        phases = len(self.rooms.phases)
        slot_s = 1.0 / self.game.tick_hz / phases
        return int((trio.current_time() + wait_s - self._started_at) / slot_s + 1) % phases

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
        self._started_at = start = trio.current_time()
        late = LateTicks(self.game.name, tick_s, start)
        slot = 0
        while True:
            self.due_at = deadline = start + slot * slot_s
            await trio.sleep_until(deadline)
            woke = trio.current_time()
            await self._gate.until_free()
            if not self._services.right.held:
                await self._services.right.until_held()
            now = trio.current_time()
            missed = int((now - deadline) / tick_s)
            if missed > CATCH_UP_MAX:
                self._metrics.ticks_skipped += missed
                self._metrics.lateness.add(now, now - deadline)
                late.skipped(now, now - deadline, now - woke, missed)
                slot += missed * len(phases)
                continue
            stages = [stage for stage in phases[slot % len(phases)] if len(stage.batch)]
            if stages:
                self._metrics.tick_started(now, now - deadline)
                late.started(now, now - deadline, now - woke)
                self._tick(stages)
                took_s = trio.current_time() - now
                self._metrics.ticks_busy_s += took_s
                self._metrics.tick_took(self.game.name, slot % len(phases), now, took_s)
                if took_s > tick_s:
                    self._metrics.ticks_overrun += 1
            slot += 1

    def _tick(self, stages: list[Stage]) -> None:
        """One tick of these stages: one record for the journal, one outcome behind the gate."""
        for _ in range(RECEIVED_BATCHES_MAX):
            if self._datagrams.receive() < RECEIVED_MAX:
                break
        services, outcome, made = self._services, Outcome(), []
        for stage in stages:
            rooms, ticks = list(stage.batch.ids), stage.batch.rows.tick.copy()
            commands = stage.collect()
            self._metrics.inputs_malformed += stage.malformed
            stage.malformed = 0
            result = stage.step(commands)
            made.append((stage, commands, result))
            if services.journal.wanted:
                outcome.records.append(stage.record(rooms, ticks, commands, result))
        append = services.journal.begin(outcome.records)
        now = trio.current_time()
        for stage, commands, result in made:
            self._metrics.inputs_applied += len(commands.inputs)
            outcome.results.extend(result.results)
            self.seating.settle(stage, result, outcome)
            for session, data in stage.tell(result):
                outcome.message(session, data)
            self.watchers.tell(stage, result, outcome)
            for room, failure in result.failed.items():
                self._quarantine(stage, room, failure, outcome)
            for room in result.closed:
                self._closed(stage, room, outcome)
            self._close_unseen(outcome)
            if (frames := stage.frames(self._datagrams.ends, now)) is not None:
                outcome.frames.append(frames)
            for room, target in result.handed:
                self._stop(stage, room, target, outcome)
            if services.journal.wanted:
                outcome.snapshots.extend(services.snapshots.take(stage, services.journal.position, result))
            for room, error in services.snapshots.hopeless(stage):
                self.seating.unseen.append((stage, room, Failure(error)))
        self._gate.hold(append, lambda: self._release(outcome))

    # -- behind the gate ----------------------------------------------------------------------------------------------

    def _release(self, outcome: Outcome) -> None:
        write(outcome.messages)
        for frames in outcome.frames:
            self._datagrams.send_frames(frames)
        write(outcome.farewells)
        for room, results in outcome.results_by_room().items():
            self._services.deliver(self.game.name, room, results)
        self._services.snapshots.put(outcome.snapshots)
        for given in outcome.given:
            self._services.stopped(*given)
        for entry in outcome.ended:
            self._services.housekeeping.ended(entry)

    # -- rooms that end -----------------------------------------------------------------------------------------------

    def _quarantine(self, stage: Stage, room: str, failure: Failure, outcome: Outcome) -> None:
        """A room that failed is closed alone: its state is kept as evidence, its players are told."""
        self._keep_evidence(stage, room, failure)
        self._evict_failed(stage, room, outcome)
        self._services.housekeeping.ends(self.rooms.by_id[room].entry)
        outcome.ended.append(self.rooms.close(room).entry)

    def _close_unseen(self, outcome: Outcome) -> None:
        """Rooms that could not be shown to a player who came: this tick is made, so the next quarantines them."""
        while self.seating.unseen:
            stage, room, failure = self.seating.unseen.pop()
            found = self.rooms.by_id.get(room)
            if found is not None and not found.closing:
                found.closing = True
                self._keep_evidence(stage, room, failure)
                self._evict_failed(stage, room, outcome)
                stage.pending.insert(0, Quarantine(room))

    def _evict_failed(self, stage: Stage, room: str, outcome: Outcome) -> None:
        outcome.results.extend((room, result) for result in stage.batch.ledger(room).outbox.values())
        refusal = ProtocolError(ErrorCode.ROOM_CLOSED, "the room was closed because its game failed")
        self._evict(stage, room, refusal, outcome)

    def _evict(self, stage: Stage, room: str, refusal: ProtocolError, outcome: Outcome) -> None:
        self.seating.evict(stage, room, refusal, outcome)
        self.watchers.end(stage, room, refusal, outcome)

    def _keep_evidence(self, stage: Stage, room: str, failure: Failure) -> None:
        self._metrics.rooms_quarantined += 1
        error, tick = failure.error, stage.batch.tick_of(room)
        why, at, where = error_text(error), "", ""
        for last in traceback.extract_tb(error.__traceback__)[-1:]:
            at = f"{last.filename}:{last.lineno}"
        try:
            found = pack_evidence(self._spec, stage.batch, room, failure)
            where = str(self._services.evidence.keep(room, tick, found) or "")
        except Exception:  # a state that cannot even be saved
            log.exception("evidence_not_made", room=room)
        log.error("room_quarantined", room=room, tick=tick, error=why, at=at, evidence=where, exc_info=error)

    def _closed(self, stage: Stage, room: str, outcome: Outcome) -> None:
        """A room that was told to close has ended with this tick."""
        log.info("room_closed", room=room)
        self._evict(stage, room, ProtocolError(ErrorCode.ROOM_CLOSED, "the room was closed"), outcome)
        self._services.housekeeping.ends(self.rooms.by_id[room].entry)
        outcome.ended.append(self.rooms.forget(room).entry)

    def _stop(self, stage: Stage, room: str, target: str, outcome: Outcome) -> None:
        """A room has made its last tick here. Its players know where it goes on; nobody is told that it has ended."""
        if room not in self.rooms.by_id:
            return
        snapshot = self._services.snapshots.of(stage, room, self._services.journal.position)
        outcome.given.append((self.rooms.by_id[room].entry, target, snapshot))
        self.seating.let_go(stage, room)
        self.watchers.end(stage, room, MOVED, outcome)
        self.rooms.close(room)

    async def _sweep(self) -> None:
        """Have rooms closed that have been empty for a while."""
        while True:
            await trio.sleep(SWEEP_EVERY_S)
            now = trio.current_time()
            self.rooms.sweep(now)


def next_due(hosts: Mapping[str, Host]) -> float:
    """When the next tick of any room is to begin; in the past while it has not, `math.inf` where there is no room."""
    return min((host.due_at for host in hosts.values() if host.rooms.by_id), default=math.inf)


def write(messages: list[tuple[Session, int, bytes]]) -> None:
    """Write messages; those for an earlier connection of a session are for nobody any more: a resume tells it all."""
    for session, generation, data in messages:
        if session.generation == generation:
            session.link.write(data)
