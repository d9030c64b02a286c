"""All rooms of one row game on one node, stepped together.

    commands of tick t ─► rosters, held inputs ─► (copy) ─► game.step ─► events, results ─► hash(t) of every room

What a tick is made of is in `game.base_batch`; here is the step over rows. When it raises, the copy is put back and the
rooms are stepped in halves until the ones at fault stand alone; they are left as they were before the step and named
in `StepResult.failed`, and the others never notice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from game import roster
from game.api import Input, RowGame
from game.base_batch import BaseBatch, Failure, Refused, Seated, StepResult, Vacated
from game.commands import Act
from game.errors import GAME_FAULTS, BadGame
from game.inputs import flat
from game.objects import Said, check_name
from game.rows import Rows

__all__ = ["Batch", "Failure", "Refused", "Seated", "StepResult", "Vacated"]


TOLD_MAX = 64
EVENTS_A_ROOM_MAX = 8192


class Batch(BaseBatch):
    """Rooms of one configured game of rows."""

    def __init__(self, game: RowGame, capacity: int = 16) -> None:
        super().__init__(game, capacity)
        self.game = game
        self._row_hooks = _RowHooks(game, [field.name for field in game.inputs])
        self._limits = {field.name: _limits(field) for field in game.inputs}

    def open(self, room: str, seed: int) -> None:
        """Add a room at tick 0. A pure function of (game, options, seed); raises what the game raises."""
        one, ledger = self._fresh(seed)
        self.game.open(one)
        one.emitted.clear()  # nobody is there to be told
        one.ended.clear()
        self._add(room, one, ledger, b"")

    def _hooks(self, row: int) -> roster.Hooks:
        return self._row_hooks

    def _take_inputs(self, inputs: np.ndarray) -> None:
        """Put the tick's inputs where the step reads them; a seat without one keeps (repeats) its last."""
        rows, at = self.rows, flat(self.rows, inputs)
        for name, limits in self._limits.items():
            values = inputs[name]
            getattr(rows, name).reshape(-1)[at] = values if limits is None else np.clip(values, *limits)
        rows.last_seq.reshape(-1)[at] = inputs["seq"]
        rows.rewind.reshape(-1)[at] = inputs["rewind"]
        rows.applied.reshape(-1)[at] += np.uint32(1)

    def _act(self, row: int, act: Act, result: StepResult) -> None:
        """Rooms of rows take no acts."""

    def _step_all(self, result: StepResult) -> None:
        rows = self.rows
        if result.failed or result.closed:
            well = [row for row, room in enumerate(self.ids) if room not in result.failed and room not in result.closed]
            self._step_apart(well, result)
        else:
            rows.backup()
            try:
                self._run(rows)
            except GAME_FAULTS as error:
                rows.restore()
                if rows.n == 1:
                    result.failed[self.ids[0]] = Failure(error)
                else:
                    self._step_apart(range(rows.n // 2), result)
                    self._step_apart(range(rows.n // 2, rows.n), result)
        self._tell(result)

    def _run(self, rows: Rows) -> None:
        with np.errstate(divide="raise"):
            self.game.step(rows)
        check_told(rows)

    def _step_apart(self, indices: Sequence[int], result: StepResult) -> None:
        """Step some rooms as rows of their own; halve them until those that raise are alone."""
        if not indices:
            return
        some = self.rows.take(indices)
        try:
            self._run(some)
        except GAME_FAULTS as error:
            if len(indices) == 1:
                result.failed[self.ids[indices[0]]] = Failure(error)
                return
            middle = len(indices) // 2
            self._step_apart(indices[:middle], result)
            self._step_apart(indices[middle:], result)
        else:
            self.rows.put(indices, some)

    def _tell(self, result: StepResult) -> None:
        """Turn what hooks and step emitted into events and results of the rooms' ledgers."""
        rows = self.rows
        for kind, where, data in rows.emitted:
            columns = [part.tolist() for part in data]
            for at, row in enumerate(where.tolist()):
                event_data = tuple(column[at] for column in columns)
                event = roster.tell(rows, row, self.ledgers[row], kind, event_data)
                result.events.setdefault(self.ids[row], []).append(event)
        for over, score, won, stats in rows.ended:
            for row in over.tolist():
                room, ledger = self.ids[row], self.ledgers[row]
                mine = {name: values[row] for name, values in stats.items()}
                ended = roster.end_match(room, rows, row, ledger, score[row], won[row], mine)
                result.results.extend((room, one) for one in ended)
        rows.emitted.clear()
        rows.ended.clear()


def _limits(field: Input) -> tuple[np.ndarray, np.ndarray] | None:
    """Least and greatest value of an input field, in its type; None where that has no others."""
    kind = np.dtype(field.dtype)
    if (field.low, field.high) == (np.iinfo(kind).min, np.iinfo(kind).max):
        return None
    return np.array(field.low, kind), np.array(field.high, kind)


@attrs.frozen
class _RowHooks:
    """A row game's hooks; what they emit stays with the rows until the tick is told."""

    game: RowGame
    held: Sequence[str]

    def join(self, one: Rows, seat: int, profile: Mapping[str, Any]) -> Said:
        self.game.join(one, seat, profile)
        check_told(one)
        return Said()

    def leave(self, one: Rows, seat: int) -> Said:
        self.game.leave(one, seat)
        check_told(one)
        return Said()


def check_told(rows: Rows) -> None:
    """Raise BadGame when a step emitted something that cannot be told, before any ledger is touched."""
    if len(rows.emitted) > TOLD_MAX or len(rows.ended) > TOLD_MAX:
        raise BadGame(f"a step emits at most {TOLD_MAX} times, and ends matches as often")
    if sum(len(where) for _, where, _ in rows.emitted) > EVENTS_A_ROOM_MAX:
        told = np.bincount(np.concatenate([where for _, where, _ in rows.emitted]), minlength=rows.n)
        if told.max() > EVENTS_A_ROOM_MAX:
            raise BadGame(f"a room has at most {EVENTS_A_ROOM_MAX} events a tick")
    for kind, where, data in rows.emitted:
        check_name("event", kind)
        whole = where.dtype.kind in "iu" and all(part.dtype.kind in "iub" for part in data)
        if not whole or not np.all((where >= 0) & (where < rows.n)):
            raise BadGame(f"event {kind!r}: rows are indices of rooms, data are whole numbers")
    for _, score, won, stats in rows.ended:
        for name in stats:
            check_name("stat", name)
        for values in (score, won, *stats.values()):
            if values.shape != rows.seated.shape or values.dtype.kind not in "iub":
                raise BadGame("end_match: score, won and stats are whole numbers of shape (rooms, seats)")
