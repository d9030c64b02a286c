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


def apply(hooks: Hooks, one: Rows, ledger: Ledger, command: Command) -> Change:
    """Apply one command to the one room in `one`; both it and the ledger are changed only when nothing raises."""
    change = Change()
    match command:
        case Join():
            _join(hooks, one, ledger, command, change)
        case Applied():
            for op_id in command.op_ids:
                if ledger.outbox.pop(op_id, None) is not None:
                    _note(one, "applied", op_id)
        case Recovered():
            for seat in range(one.seated.shape[1]):
                if one.seated[0, seat] != EMPTY:
                    _hold(hooks, one, seat, command.hold_ticks)
        case Leave() | Disconnect() | Connect() | Skip() | Chat():
            if means_current(one, 0, command.seat, command.generation):
                _of_seat(hooks, one, ledger, command, change)
            elif isinstance(command, Connect) and command.join_id:
                gone = SeatGone(f"seat {command.seat} of room {command.room} is kept for you no longer")
                change.join_id, change.seated = command.join_id, (command.seat, command.generation, gone)
        case _:
            raise GameError(f"{type(command).__name__} is no command of the roster's")
    return change


def _join(hooks: Hooks, one: Rows, ledger: Ledger, join: Join, change: Change) -> None:
    change.join_id = join.join_id
    held = ledger.seat_of(join.account)
    free = [seat for seat, player in enumerate(ledger.players) if player is None]
    if held is None and not free:
        change.seated = (-1, 0, RoomFull(f"room {join.room} is full ({len(ledger.players)} seats)"))
        return
    seat = free[0] if held is None else held
    one.seated[0, seat] = CONNECTED
    one.generation[0, seat] += 1
    for column in ("last_seq", "applied", "held_until", "rewind", *hooks.held):
        getattr(one, column)[0, seat] = 0
    said = hooks.join(one, seat, join.profile) if held is None else Said()
    _note(one, "join", seat, join.account, join.name, join.join_id, join.profile)
    if held is None:
        ledger.players[seat] = Player(join.account, join.name, join.join_id, join.profile)
        _event(one, ledger, change, "joined", seat, join.name)
    _tell(join.room, one, ledger, said, change)
    change.seated = (seat, int(one.generation[0, seat]), None)


def _of_seat(
    hooks: Hooks,
    one: Rows,
    ledger: Ledger,
    command: Leave | Disconnect | Connect | Skip | Chat,
    change: Change,
) -> None:
    seat = command.seat
    match command:
        case Leave():
            _tell(command.room, one, ledger, hooks.leave(one, seat), change)
            player = ledger.players[seat]
            one.seated[0, seat] = EMPTY
            _let_go(hooks, one, seat)
            ledger.players[seat] = None
            change.vacated.append((seat, command.generation, int(one.last_seq[0, seat]), int(one.applied[0, seat])))
            _event(one, ledger, change, "left", seat, "" if player is None else player.name)
        case Disconnect():
            _hold(hooks, one, seat, command.hold_ticks)
        case Connect():
            one.seated[0, seat] = CONNECTED
            one.held_until[0, seat] = 0
            _let_go(hooks, one, seat)
            if command.join_id:
                change.join_id, change.seated = command.join_id, (seat, command.generation, None)
        case Skip():
            if command.first == int(one.last_seq[0, seat]) + 1 and command.last >= command.first:
                one.last_seq[0, seat] = command.last
                _event(one, ledger, change, "skipped", seat, command.first, command.last)
        case Chat():
            _event(one, ledger, change, "chat", seat, command.text)


def _hold(hooks: Hooks, one: Rows, seat: int, hold_ticks: int) -> None:
    one.seated[0, seat] = HELD
    one.held_until[0, seat] = int(one.tick[0]) + hold_ticks
    _let_go(hooks, one, seat)


def _let_go(hooks: Hooks, one: Rows, seat: int) -> None:
    for column in hooks.held:
        getattr(one, column)[0, seat] = 0


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


def _tell(room: str, one: Rows, ledger: Ledger, said: Said, change: Change) -> None:
    for seat, kind, data in said.events:
        change.events.append(tell(one, 0, ledger, kind, data, seat))
    for over in said.over:
        change.results.extend(end_match(room, one, 0, ledger, over.score, over.won, over.stats))


def _event(one: Rows, ledger: Ledger, change: Change, kind: str, *data: int | str) -> None:
    change.events.append(tell(one, 0, ledger, kind, data))


def _note(one: Rows, *what: object) -> None:
    one.ledger[0] = fold(int(one.ledger[0]), *what)
