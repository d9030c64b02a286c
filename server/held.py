"""Seats that are held for players who are away: one an account, whatever game it is of.

Taking a seat gives up the one that was held elsewhere. What is in here is a convenience for the player (which room to
come back to); the hold itself is the room's, in its own ticks.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from game.commands import Leave


@attrs.frozen
class _Held:
    leave: Leave
    """How to give it up."""
    submit: Callable[[Leave], None]


class HeldSeats:
    """By account."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._accounts: dict[Leave, str] = {}

    def __len__(self) -> int:
        return len(self._held)

    def room_of(self, account: str) -> str:
        """The room in which a seat is held for an account; "" when none is."""
        held = self._held.get(account)
        return "" if held is None else held.leave.room

    def hold(self, account: str, room: str, seat: int, generation: int, submit: Callable[[Leave], None]) -> None:
        """A seat is held from now on; one that was held elsewhere is given up."""
        leave = Leave(room, seat, generation)
        self.give_up(account, but=leave)
        self._held[account] = _Held(leave, submit)
        self._accounts[leave] = account

    def taken(self, account: str, room: str, seat: int, generation: int) -> None:
        """The account sits in this seat now; whatever else was held for it is given up."""
        self.give_up(account, but=Leave(room, seat, generation))

    def freed(self, room: str, seat: int, generation: int) -> None:
        """The room has given the seat up."""
        account = self._accounts.pop(Leave(room, seat, generation), None)
        if account is not None:
            del self._held[account]

    def closed(self, room: str) -> None:
        """The room is not here any more."""
        for leave in [leave for leave in self._accounts if leave.room == room]:
            self.freed(leave.room, leave.seat, leave.generation)

    def give_up(self, account: str, but: Leave) -> None:
        """Forget what is held for the account, and unless it is the very seat (by another join of it, too), free it."""
        held = self._held.pop(account, None)
        if held is not None:
            del self._accounts[held.leave]
            if (held.leave.room, held.leave.seat) != (but.room, but.seat):
                held.submit(held.leave)
