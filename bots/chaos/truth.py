"""The truth: all journals of a cluster, made again from every room's first tick.

records of all incarnations ─► entries (who wrote which tick)
                            └► rooms' slices by epoch ─► replay from the seed ─► what every seat could see,
                                                         which inputs were applied, which results came
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bots.chaos.history import Entry, History, Told, digest_of
from cluster.codec import Record
from cluster.model import RoomEntry
from cluster.replay import Kind, Replay, ReplayRoom
from game.api import Game, RowGame
from game.base_batch import BaseBatch, StepResult
from game.commands import TickCommands
from game.rows import EMPTY
from game.view import Viewer

MakeGame = Callable[[str, Mapping[str, int], int], Game]


def enter_truth(
    history: History, rooms: Sequence[RoomEntry], records: Mapping[str, Sequence[Record]], make_game: MakeGame
) -> None:
    """Put what the journals say into a history. `rooms` are those that the directory has at the end."""
    spans: dict[str, dict[int, tuple[str, int, int]]] = {}
    for incarnation, some in records.items():
        for record in some:
            for stage in record.stages:
                for at, room in enumerate(stage.rooms):
                    epoch, tick, digest = int(stage.epochs[at]), int(stage.ticks[at]), int(stage.hashes[at])
                    history.entries.append(Entry(room, epoch, tick, incarnation, record.position, digest))
                    if digest == 0:
                        history.closed.add(room)
                    _, first, _ = spans.setdefault(room, {}).setdefault(
                        epoch, (incarnation, record.position, record.position)
                    )
                    spans[room][epoch] = (incarnation, first, record.position)
    history.rooms = {entry.room for entry in rooms}
    observer = _Observer(history)
    replay = Replay(make_game, [_room(entry, spans.get(entry.room, {})) for entry in rooms], records, observer)
    while not replay.work(64):
        pass
    for room, why in sorted(replay.result.diverged.items()):
        history.broken.append(f"room {room} cannot be made again: {why.why} (tick {why.tick})")
    history.results_expected = observer.results - observer.waiting()


def _room(entry: RoomEntry, spans: Mapping[int, tuple[str, int, int]]) -> ReplayRoom:
    kind: Kind = (entry.game, entry.tick_hz, tuple(sorted(entry.options.items())))
    slices = tuple((epoch, *spans[epoch]) for epoch in sorted(spans))
    return ReplayRoom(entry.room, entry.seed, None, kind, slices)


class _Observer:
    """Writes down what every step of the replay brings."""

    def __init__(self, history: History) -> None:
        self.results: set[str] = set()
        self._history = history
        self._viewers: dict[int, Viewer] = {}
        self._outboxes: dict[str, set[str]] = {}

    def waiting(self) -> set[str]:
        """Results that were still in an outbox at a room's last tick."""
        return {op_id for outbox in self._outboxes.values() for op_id in outbox}

    def __call__(self, batch: BaseBatch, tick: TickCommands, result: StepResult) -> None:
        history, rows = self._history, batch.rows
        self.results.update(one.op_id for _, one in result.results)
        ticks, hashes = batch.ticks(), result.hashes
        told = {room: Told(hashes[row]) for room, row in batch.row.items()}
        self._look(batch, told)
        for at in range(len(tick.inputs)) if not result.closed else ():
            row, seat, seq = (int(tick.inputs[name][at]) for name in ("row", "seat", "seq"))
            if int(rows.last_seq[row, seat]) == seq:
                generation = int(rows.generation[row, seat])
                told[batch.ids[row]].applied.append(((batch.ids[row], seat, generation), seq))
        for room, events in result.events.items():
            for event in events:
                if event.kind == "skipped" and room in told:
                    seat, first, last = event.data
                    generation = int(rows.generation[batch.row[room], seat])
                    told[room].skipped.append(((room, seat, generation), first, last))
        for room, row in batch.row.items():
            history.told[room, ticks[row]] = told[room]
            self._outboxes[room] = set(batch.ledgers[row].outbox)

    def _look(self, batch: BaseBatch, told: Mapping[str, Told]) -> None:
        game = batch.layout.game
        if not isinstance(game, RowGame):
            return
        viewer = self._viewers.setdefault(id(game), Viewer(game))
        shared, own = viewer.shared(batch.rows), viewer.own(batch.rows)
        for room, row in batch.row.items():
            for seat in np.flatnonzero(batch.rows.seated[row] != EMPTY).tolist():
                told[room].digests[seat] = digest_of(np.concatenate([shared[row], own[row, seat]]))
