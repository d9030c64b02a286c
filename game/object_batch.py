"""All rooms of one object game on one node.

    room  =  row of system columns (seats, tick, seed, digests)  +  ledger  +  msgpack of the state

    call of a hook:  bytes ─decode─► state ─hook─► told ─check─► bytes', XXH3 into the row       raises: nothing changed

The state is kept as its bytes and decoded for each call, so a room cannot differ from what a save and a load would
make of it, and undoing a hook that raised is to keep the bytes. What a tick is made of is in `game.base_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import attrs
import numpy as np
import xxhash

from game import roster
from game.api import Game, RowGame
from game.base_batch import BaseBatch, Failure, Refused, StepResult
from game.batch import Batch
from game.commands import Act
from game.errors import GAME_FAULTS, BadAct, BadGame, StepOverran, error_text, text_of
from game.ledger import Ledger
from game.objects import ObjectGame, Rng, Said, Told, check_said, decode_act, decode_state, encode_state, encode_view
from game.rows import Rows

OPEN, JOIN, LEAVE, STEP = range(4)
"""Purposes of `Rng`, each with the seat and its generation."""

Guard = Callable[[str], AbstractContextManager[None]]


class ObjectBatch(BaseBatch):
    """Rooms of one configured game of objects.

    `guard(room)` is entered around every call into the game; what it raises fails that room.
    """

    def __init__(self, game: ObjectGame, guard: Guard = lambda room: nullcontext()) -> None:
        super().__init__(game)
        self.game = game
        self.states: list[bytes] = []
        """What msgpack makes of each room's state, in row order."""
        self._guard = guard
        self._acts: dict[int, list[_Accepted]] = {}

    def open(self, room: str, seed: int) -> None:
        """Add a room at tick 0. A pure function of (game, options, seed); raises what the game raises."""
        one, ledger = self._fresh(seed)
        with self._guard(room):
            state = encode_state(self.game.open(Rng(int(one.seed[0]), 0, OPEN)))
        one.state[0] = xxhash.xxh3_64_intdigest(state)
        self._add(room, one, ledger, state)

    def view(self, room: str, seat: int) -> bytes:
        """msgpack of what a seat may see of the room; raises what the game raises."""
        row = self._row(room)
        with self._guard(room):
            return encode_view(self.game.view(decode_state(self.states[row]), seat))

    def _enter(self, room: str, ledger: Ledger, objects: bytes) -> None:
        super()._enter(room, ledger, objects)
        self.states.append(objects)

    def _beside(self) -> Sequence[list[Any]]:
        return *super()._beside(), self.states

    def _objects_of(self, row: int) -> bytes:
        return self.states[row]

    def _hooks(self, row: int) -> _ObjectHooks:
        return _ObjectHooks(self, row)

    def _take_inputs(self, inputs: np.ndarray) -> None:
        """Object rooms take acts."""

    def _act(self, row: int, act: Act, result: StepResult) -> None:
        """Let the game look at an act; accepted or refused, it counts as applied."""
        rows, seat = self.rows, act.seat
        if not roster.means_current(rows, row, seat, act.generation) or act.seq != int(rows.last_seq[row, seat]) + 1:
            return
        try:
            self._acts.setdefault(row, []).append(self._accept(act.room, seat, act.generation, act.data))
        except StepOverran as error:
            result.failed[act.room] = Failure(error, act)
            return
        except GAME_FAULTS as error:
            why = text_of(error) if isinstance(error, BadAct) else error_text(error)
            result.refused.append(Refused(act.room, seat, act.seq, why))
        rows.last_seq[row, seat] = act.seq
        rows.applied[row, seat] += 1

    def _accept(self, room: str, seat: int, generation: int, data: bytes) -> _Accepted:
        value = decode_act(data)
        with self._guard(room):
            value = self.game.accept(value)
        if value is None:
            raise BadAct("refused")
        return _Accepted(seat, generation, data, value)

    def again(self, room: str, failure: Failure) -> Failure | None:
        """Do once more, within the tick that the room is in, what failed there; None when it goes well now."""
        row = self._row(room)
        for seat, data in failure.acts:
            with suppress(*GAME_FAULTS):  # with other code than then the act may be refused
                act = self._accept(room, seat, int(self.rows.generation[row, seat]), data)
                self._acts.setdefault(row, []).append(act)
        if failure.view_of >= 0:
            try:
                self.view(room, failure.view_of)
            except GAME_FAULTS as error:
                return Failure(error, view_of=failure.view_of)
            return None
        return super().again(room, failure)

    def _step_all(self, result: StepResult) -> None:
        all_acts, self._acts = self._acts, {}
        for row in range(len(self)) if self.game.ticks else all_acts:
            room = self.ids[row]
            if room not in result.failed and room not in result.closed:
                self._step_one(row, all_acts.get(row, []), result)

    def _step_one(self, row: int, accepted: list[_Accepted], result: StepResult) -> None:
        rows, room = self.rows, self.ids[row]
        acts = [act for act in accepted if roster.means_current(rows, row, act.seat, act.generation)]
        acts.sort(key=lambda act: act.seat)
        if not acts and not self.game.ticks:
            return
        inputs = [(act.seat, act.value) for act in acts]
        rng = Rng(int(rows.seed[row]), int(rows.tick[row]), STEP)
        try:
            state, said = self.call(room, self.states[row], lambda s: self.game.step(s, inputs, rng), len(acts))
        except GAME_FAULTS as error:
            result.failed[room] = Failure(error, None, tuple((act.seat, act.data) for act in acts))
            return
        self.states[row] = state
        rows.state[row] = xxhash.xxh3_64_intdigest(state)
        ledger = self.ledgers[row]
        for seat, kind, data in said.events:
            result.events.setdefault(room, []).append(roster.tell(rows, row, ledger, kind, data, seat))
        for over in said.over:
            ended = roster.end_match(room, rows, row, ledger, over.score, over.won, over.stats)
            result.results.extend((room, one) for one in ended)

    def call(
        self, room: str, state: bytes, hook: Callable[[Any], Iterable[Told] | None], acts: int = 0
    ) -> tuple[bytes, Said]:
        """What a hook makes of a state, and what it tells; raises what it raises, and BadGame."""
        with self._guard(room):
            value = decode_state(state)
            said = check_said(hook(value), self.game.seats, acts)
            return encode_state(value), said


def batch_for(game: Game) -> Batch | ObjectBatch:
    """An empty batch for a game of either tier."""
    if isinstance(game, RowGame):
        return Batch(game)
    if isinstance(game, ObjectGame):
        return ObjectBatch(game)
    raise BadGame(f"{type(game).__name__} is neither a RowGame nor an ObjectGame")


@attrs.frozen
class _Accepted:
    """An act that the game has let in: as it came, and as the step gets it."""

    seat: int
    generation: int
    data: bytes
    value: Any


@attrs.frozen
class _ObjectHooks:
    """An object game's hooks for the room in `row`."""

    batch: ObjectBatch
    row: int
    held: Sequence[str] = ()

    def join(self, one: Rows, seat: int, profile: Mapping[str, Any]) -> Said:
        return self._call(one, lambda state: self.batch.game.join(state, seat, profile, _rng(one, JOIN, seat)))

    def leave(self, one: Rows, seat: int) -> Said:
        return self._call(one, lambda state: self.batch.game.leave(state, seat, _rng(one, LEAVE, seat)))

    def _call(self, one: Rows, hook: Callable[[Any], Iterable[Told] | None]) -> Said:
        batch, row = self.batch, self.row
        batch.states[row], said = batch.call(batch.ids[row], batch.states[row], hook)
        one.state[0] = xxhash.xxh3_64_intdigest(batch.states[row])
        return said


def _rng(one: Rows, purpose: int, seat: int) -> Rng:
    return Rng(int(one.seed[0]), int(one.tick[0]), (int(one.generation[0, seat]) << 16) + (seat << 8) + purpose)
