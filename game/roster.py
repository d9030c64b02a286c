"""Who sits where: how commands change one room's roster, and what a finished match gives its players.

    empty ──join──► connected ──disconnect──► held ──hold over / leave──► empty
                        ▲                       │
                        └──── connect / join ───┘

Every command names the generation (join count) of the seat that it means, so one that was overtaken by a newer join
changes nothing. It is the same for both tiers: a room has its seats in one row of system columns, and `Hooks` is what
its game says to a player's coming and going.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs
import numpy as np

from game.api import Event, Result
from game.commands import Applied, Chat, Command, Connect, Disconnect, Join, Leave, Recovered, Skip
from game.errors import GameError, RoomFull, SeatGone
from game.ledger import Ledger, Player, fold
from game.objects import Said
from game.rows import CONNECTED, EMPTY, HELD, Rows


class Hooks(Protocol):
    """A room's game, as the roster calls it. What a hook returns was checked; when it raises, nothing has changed."""

    @property
    def held(self) -> Sequence[str]:
        """Columns that hold a seat's input from one tick to the next."""

    def join(self, one: Rows, seat: int, profile: Mapping[str, Any]) -> Said:
        """A player took the seat."""

    def leave(self, one: Rows, seat: int) -> Said:
        """A player is about to leave the seat for good."""


@attrs.define
class Change:
    """What a command did to a room, for those who must be told."""

    join_id: str = ""
    seated: tuple[int, int, GameError | None] | None = None
    vacated: list[tuple[int, int, int, int]] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    results: list[Result] = attrs.field(factory=list)


HOOKED = Join | Leave
"""Commands that call the game's hooks."""


def apply(hooks: Hooks, rows: Rows, row: int, ledger: Ledger, command: Command) -> Change:
    """Apply one command to the room in `row`. Both it and the ledger are changed only when nothing raises; but for
    HOOKED, which let the game's code change the row: those want rows that hold a copy of that room alone."""
    change = Change()
    match command:
        case Join():
            _join(hooks, rows, row, ledger, command, change)
        case Applied():
            for op_id in command.op_ids:
                if ledger.outbox.pop(op_id, None) is not None:
                    _note(rows, row, "applied", op_id)
        case Recovered():
            for seat in np.flatnonzero(rows.seated[row] != EMPTY).tolist():
                _hold(hooks, rows, row, seat, command.hold_ticks)
        case Leave() | Disconnect() | Connect() | Skip() | Chat():
            if means_current(rows, row, command.seat, command.generation):
                _of_seat(hooks, rows, row, ledger, command, change)
            elif isinstance(command, Connect) and command.join_id:
                gone = SeatGone(f"seat {command.seat} of room {command.room} is kept for you no longer")
                change.join_id, change.seated = command.join_id, (command.seat, command.generation, gone)
        case _:
            raise GameError(f"{type(command).__name__} is no command of the roster's")
    return change


def _join(hooks: Hooks, rows: Rows, row: int, ledger: Ledger, join: Join, change: Change) -> None:
    change.join_id = join.join_id
    held = ledger.seat_of(join.account)
    free = [seat for seat, player in enumerate(ledger.players) if player is None]
    if held is None and not free:
        change.seated = (-1, 0, RoomFull(f"room {join.room} is full ({len(ledger.players)} seats)"))
        return
    seat = free[0] if held is None else held
    rows.seated[row, seat] = CONNECTED
    rows.generation[row, seat] += 1
    for column in ("last_seq", "applied", "held_until", "rewind", *hooks.held):
        getattr(rows, column)[row, seat] = 0
    said = hooks.join(rows, seat, join.profile) if held is None else Said()
    _note(rows, row, "join", seat, join.account, join.name, join.join_id, join.profile)
    if held is None:
        ledger.players[seat] = Player(join.account, join.name, join.join_id, join.profile)
        _event(rows, row, ledger, change, "joined", seat, join.name)
    _tell(join.room, rows, row, ledger, said, change)
    change.seated = (seat, int(rows.generation[row, seat]), None)


def _of_seat(
    hooks: Hooks,
    rows: Rows,
    row: int,
    ledger: Ledger,
    command: Leave | Disconnect | Connect | Skip | Chat,
    change: Change,
) -> None:
    seat = command.seat
    match command:
        case Leave():
            _tell(command.room, rows, row, ledger, hooks.leave(rows, seat), change)
            player = ledger.players[seat]
            rows.seated[row, seat] = EMPTY
            _let_go(hooks, rows, row, seat)
            ledger.players[seat] = None
            counts = int(rows.last_seq[row, seat]), int(rows.applied[row, seat])
            change.vacated.append((seat, command.generation, *counts))
            _event(rows, row, ledger, change, "left", seat, "" if player is None else player.name)
        case Disconnect():
            _hold(hooks, rows, row, seat, command.hold_ticks)
        case Connect():
            rows.seated[row, seat] = CONNECTED
            rows.held_until[row, seat] = 0
            _let_go(hooks, rows, row, seat)
            if command.join_id:
                change.join_id, change.seated = command.join_id, (seat, command.generation, None)
        case Skip():
            if command.first == int(rows.last_seq[row, seat]) + 1 and command.last >= command.first:
                rows.last_seq[row, seat] = command.last
                _event(rows, row, ledger, change, "skipped", seat, command.first, command.last)
        case Chat():
            _event(rows, row, ledger, change, "chat", seat, command.text)


def _hold(hooks: Hooks, rows: Rows, row: int, seat: int, hold_ticks: int) -> None:
    rows.held_until[row, seat] = int(rows.tick[row]) + hold_ticks
    rows.seated[row, seat] = HELD
    _let_go(hooks, rows, row, seat)


def _let_go(hooks: Hooks, rows: Rows, row: int, seat: int) -> None:
    for column in hooks.held:
        getattr(rows, column)[row, seat] = 0


def means_current(rows: Rows, row: int, seat: int, generation: int) -> bool:
    """Whether somebody has the seat by this join."""
    return (
        0 <= seat < rows.seated.shape[1]
        and bool(rows.seated[row, seat] != EMPTY)
        and int(rows.generation[row, seat]) == generation
    )


def tell(rows: Rows, row: int, ledger: Ledger, kind: str, data: tuple[Any, ...], seat: int = -1) -> Event:
    """Enter an event into a room's ledger."""
    tick = int(rows.tick[row])
    event = Event(tick, ledger.next_index(tick), kind, data, seat)
    rows.ledger[row] = ledger.keep(event, int(rows.ledger[row]))
    return event


def end_match(
    room: str,
    rows: Rows,
    row: int,
    ledger: Ledger,
    score: Sequence[int],
    won: Sequence[bool] | None,
    stats: Mapping[str, Sequence[int]],
) -> list[Result]:
    """End a room's match: its results (see `results`) wait in the outbox, and the next match begins."""
    ended = results(room, rows, row, ledger, score, won, stats)
    for one in ended:
        ledger.outbox[one.op_id] = one
        rows.ledger[row] = fold(int(rows.ledger[row]), "result", *attrs.astuple(one))
    rows.match[row] += 1
    return ended


def results(
    room: str,
    rows: Rows,
    row: int,
    ledger: Ledger,
    score: Sequence[int],
    won: Sequence[bool] | None,
    stats: Mapping[str, Sequence[int]],
) -> list[Result]:
    """One result for every taken seat, its operation id made of room, match and account: a replay makes the same.

    The values are one whole number a seat; `won` defaults to having the highest score of the taken seats.
    """
    taken = [seat for seat, player in enumerate(ledger.players) if player is not None]
    best = max((score[seat] for seat in taken), default=0)
    found = []
    for seat in taken:
        player = ledger.players[seat]
        assert player is not None
        match = int(rows.match[row])
        found.append(
            Result(
                op_id=f"{room}/{match}/{player.account}",
                account=player.account,
                match=match,
                seat=seat,
                score=int(score[seat]),
                rank=1 + sum(int(score[other]) > int(score[seat]) for other in taken),
                players=len(taken),
                won=bool(score[seat] == best if won is None else won[seat]),
                tick=int(rows.tick[row]),
                stats={name: int(values[seat]) for name, values in sorted(stats.items())},
            )
        )
    return found


def _tell(room: str, rows: Rows, row: int, ledger: Ledger, said: Said, change: Change) -> None:
    for seat, kind, data in said.events:
        change.events.append(tell(rows, row, ledger, kind, data, seat))
    for over in said.over:
        change.results.extend(end_match(room, rows, row, ledger, over.score, over.won, over.stats))


def _event(rows: Rows, row: int, ledger: Ledger, change: Change, kind: str, *data: int | str) -> None:
    change.events.append(tell(rows, row, ledger, kind, data))


def _note(rows: Rows, row: int, *what: object) -> None:
    rows.ledger[row] = fold(int(rows.ledger[row]), *what)
