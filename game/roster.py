"""Who sits where: how commands change one room's roster, and what a finished match gives its players.

    empty ──join──► connected ──disconnect──► held ──hold over / leave──► empty
                        ▲                       │
                        └──── connect / join ───┘

Every command names the generation (join count) of the seat that it means, so one that was overtaken by a newer join
changes nothing.
"""

from __future__ import annotations

import attrs
import numpy as np

from game.api import Event, Result, RowGame
from game.commands import Applied, Chat, Command, Connect, Disconnect, Join, Leave, Skip
from game.errors import BadGame, GameError, RoomFull
from game.ledger import Ledger, Player, fold
from game.rows import CONNECTED, EMPTY, HELD, Rows


@attrs.define
class Change:
    """What a command did to a room, for those who must be told."""

    join_id: str = ""
    seated: tuple[int, int, GameError | None] | None = None
    vacated: list[tuple[int, int, int, int]] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)


def apply(game: RowGame, one: Rows, ledger: Ledger, command: Command) -> Change:
    """Apply one command to the one room in `one`; both it and the ledger are changed only when nothing raises."""
    change = Change()
    match command:
        case Join():
            _join(game, one, ledger, command, change)
        case Applied():
            for op_id in command.op_ids:
                if ledger.outbox.pop(op_id, None) is not None:
                    _note(one, "applied", op_id)
        case Leave() | Disconnect() | Connect() | Skip() | Chat():
            if _means_current(one, command.seat, command.generation):
                _of_seat(game, one, ledger, command, change)
        case _:
            raise GameError(f"{type(command).__name__} is no command that a room takes")
    return change


def _join(game: RowGame, one: Rows, ledger: Ledger, join: Join, change: Change) -> None:
    change.join_id = join.join_id
    held = ledger.seat_of(join.account)
    free = [seat for seat, player in enumerate(ledger.players) if player is None]
    if held is None and not free:
        change.seated = (-1, 0, RoomFull(f"room {join.room} is full ({len(ledger.players)} seats)"))
        return
    seat = free[0] if held is None else held
    one.seated[0, seat] = CONNECTED
    one.generation[0, seat] += np.uint16(1)
    for column in ("last_seq", "applied", "held_until", "rewind", *(field.name for field in game.inputs)):
        getattr(one, column)[0, seat] = 0
    if held is None:
        game.join(one, seat, join.profile)
        check_told(one)
    _note(one, "join", seat, join.account, join.name, join.join_id, join.profile)
    if held is None:
        ledger.players[seat] = Player(join.account, join.name, join.join_id, join.profile)
        _event(one, ledger, change, "joined", seat, join.name)
    generation = int(one.generation[0, seat])
    change.seated = (seat, generation, None)


def _of_seat(
    game: RowGame,
    one: Rows,
    ledger: Ledger,
    command: Leave | Disconnect | Connect | Skip | Chat,
    change: Change,
) -> None:
    seat = command.seat
    match command:
        case Leave():
            game.leave(one, seat)
            check_told(one)
            player = ledger.players[seat]
            one.seated[0, seat] = EMPTY
            for field in game.inputs:
                getattr(one, field.name)[0, seat] = 0
            ledger.players[seat] = None
            change.vacated.append((seat, command.generation, int(one.last_seq[0, seat]), int(one.applied[0, seat])))
            _event(one, ledger, change, "left", seat, "" if player is None else player.name)
        case Disconnect():
            one.seated[0, seat] = HELD
            one.held_until[0, seat] = int(one.tick[0]) + command.hold_ticks
            for field in game.inputs:
                getattr(one, field.name)[0, seat] = 0
        case Connect():
            one.seated[0, seat] = CONNECTED
            one.held_until[0, seat] = 0
        case Skip():
            if command.first == int(one.last_seq[0, seat]) + 1 and command.last >= command.first:
                one.last_seq[0, seat] = command.last
                _event(one, ledger, change, "skipped", seat, command.first, command.last)
        case Chat():
            _event(one, ledger, change, "chat", seat, command.text)


def results(
    room: str,
    rows: Rows,
    row: int,
    ledger: Ledger,
    score: np.ndarray,
    won: np.ndarray,
    stats: dict[str, np.ndarray],
) -> list[Result]:
    """One result for every taken seat, its operation id made of room, match and account: a replay makes the same."""
    taken = [seat for seat, player in enumerate(ledger.players) if player is not None]
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
                won=bool(won[seat]),
                tick=int(rows.tick[row]),
                stats={name: int(values[seat]) for name, values in sorted(stats.items())},
            )
        )
    return found


def check_told(rows: Rows) -> None:
    """Raise BadGame when a step emitted something that cannot be told, before any ledger is touched."""
    for kind, where, data in rows.emitted:
        whole = where.dtype.kind in "iu" and all(part.dtype.kind in "iub" for part in data)
        if not whole or not np.all((where >= 0) & (where < rows.n)):
            raise BadGame(f"event {kind!r}: rows are indices of rooms, data are whole numbers")
    for _, score, won, stats in rows.ended:
        for values in (score, won, *stats.values()):
            if values.shape != rows.seated.shape or values.dtype.kind not in "iub":
                raise BadGame("end_match: score, won and stats are whole numbers of shape (rooms, seats)")


def _means_current(one: Rows, seat: int, generation: int) -> bool:
    return (
        0 <= seat < one.seated.shape[1] and one.seated[0, seat] != EMPTY and int(one.generation[0, seat]) == generation
    )


def _event(one: Rows, ledger: Ledger, change: Change, kind: str, *data: int | str) -> None:
    tick = int(one.tick[0])
    event = Event(tick, ledger.next_index(tick), kind, data)
    ledger.events.append(event)
    change.events.append(event)
    _note(one, *attrs.astuple(event))


def _note(one: Rows, *what: object) -> None:
    one.ledger[0] = fold(int(one.ledger[0]), *what)
