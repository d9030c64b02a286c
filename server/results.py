"""Match results on their way from the rooms' outboxes to the profiles, each applied exactly once.

    gate ─► deliver ─► queue ─► profiles.apply_results (idempotent by op id) ─► host.applied ─► outbox shrinks

The outbox in the room's state is the truth: what the queue has no room for, or the store refuses, stays there and is
offered again. The queue only saves the profiles from being asked twice for the same.
"""

from __future__ import annotations

from collections import deque

import structlog
import trio

from game.api import Result
from profiles import MatchResult, ProfileInputError, Profiles, ProfileStoreError
from server.host import Host
from server.metrics import Metrics

BATCH_MAX = 1024
QUEUED_MAX = 16384
RETRY_S = 1.0

log = structlog.get_logger("holdfast.results")


class ResultWriter:
    """Applies results to the profiles. `run` must be running; `drain` waits until nothing is left."""

    def __init__(self, profiles: Profiles, metrics: Metrics) -> None:
        self._profiles = profiles
        self._metrics = metrics
        self.hosts: dict[str, Host] = {}
        self._queue: deque[tuple[str, str, Result]] = deque()
        self._came = trio.Event()
        self._draining = trio.Lock()

    def deliver(self, game: str, room: str, results: list[Result]) -> None:
        """Take results that a stored tick brought about. A full queue leaves them in the room's outbox for later."""
        for result in results:
            if len(self._queue) < QUEUED_MAX:
                self._queue.append((game, room, result))
        self._came.set()

    async def run(self) -> None:
        """Apply what comes, for ever; a store that fails is tried again every RETRY_S."""
        while True:
            await self.drain()
            self._came = trio.Event()
            with trio.move_on_after(RETRY_S * 5):
                await self._came.wait()
            if not self._queue:
                self._offer_again()

    async def drain(self) -> None:
        """Apply everything that waits now. `run` and the node's end may both be in here: one after the other."""
        async with self._draining:
            await self._drain()

    async def _drain(self) -> None:
        while self._queue:
            batch = [self._queue[at] for at in range(min(BATCH_MAX, len(self._queue)))]
            try:
                await self._profiles.apply_results([found for entry in batch for found in _match_results(*entry)])
            except ProfileStoreError as error:
                self._metrics.results_retried += len(batch)
                log.error("results_not_applied", results=len(batch), error=str(error))
                await trio.sleep(RETRY_S)
                continue
            for _ in batch:
                self._queue.popleft()
            applied: dict[tuple[str, str], list[str]] = {}
            for game, room, result in batch:
                applied.setdefault((game, room), []).append(result.op_id)
            for (game, room), op_ids in applied.items():
                self.hosts[game].seating.applied(room, op_ids)

    def _offer_again(self) -> None:
        """Nothing waits here: whatever is still in an outbox was refused earlier."""
        for game, host in self.hosts.items():
            for room in host.rooms.by_id.values():
                outbox = room.stage.batch.ledger(room.id).outbox
                if outbox:
                    self.deliver(game, room.id, list(outbox.values()))


def _match_results(game: str, room: str, result: Result) -> list[MatchResult]:
    """The result as the profiles take it; none when it breaks their limits, for it would break them for ever."""
    try:
        found = MatchResult(
            op_id=result.op_id,
            room=room,
            match=result.match,
            account=result.account,
            game=game,
            score=result.score,
            rank=result.rank,
            players=result.players,
            won=result.won,
            stats=result.stats,
            ended_tick=result.tick,
        )
    except ProfileInputError as error:
        log.error("result_refused", room=room, op_id=result.op_id, error=str(error))
        return []
    return [found]
