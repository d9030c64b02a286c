"""The pace of arrivals: everybody who comes in works in the time between two ticks, and none in the way of one.

    accept, handshake, log-in, request, hang up ─► wait for a turn ─► one slice of work ─► the next turn
    turns: one in each pass of the scheduler     tick due in < AHEAD_S: none, until it has begun

A pass of the scheduler runs everything that is ready, and a tick that falls due meanwhile waits for all of it: were
that a thousand handshakes, log-ins and joins (half a millisecond each), it would wait for long. With turns it waits for
the slice that is under way. Where there is no time, LEAST_TURNS are given at once between any two ticks, so that
arrivals go on, slowly, also on a node that is late all the time.

The oldest arrival has the first turn: who is half in gets in, while the youngest have cost nothing yet. After OLD_TURNS
turns, more than coming in takes, it queues as if it had just come, so nobody keeps the others out by being old. When
WAITING_MAX wait, no more connections are accepted: the system's backlog keeps them, and beyond it they knock again.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

import trio

AHEAD_S = 0.002
"""A slice and the pass that it is part of take less, mostly."""
LEAST_TURNS = 4
"""One to two milliseconds of work."""
OLD_TURNS = 8
"""Two for the handshake, two for the log-in, two for a room and a seat; and two more."""
WAITING_MAX = 256


class Pace:
    """Gives the turns of one node. `run` must be running.

    `due`: when the next tick is to begin; in the past while it has not begun; `math.inf` where there is none.
    """

    def __init__(self, due: Callable[[], float] = lambda: math.inf) -> None:
        self._due = due
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, trio.Event]] = []  # a heap: the number of the arrival, of the turn
        self._gone: set[trio.Event] = set()  # of those, who does not wait any more
        self._came, self._room = trio.Event(), trio.lowlevel.ParkingLot()
        self._turn_before = -math.inf

    def __len__(self) -> int:
        """How many wait for a turn."""
        return len(self._waiting) - len(self._gone)

    def arrival(self) -> Arrival:
        """Somebody who has come just now."""
        return Arrival(self, next(self._numbers))

    async def until_room(self) -> None:
        """Wait until fewer than WAITING_MAX wait."""
        while len(self) >= WAITING_MAX:
            await self._room.park()

    async def wait(self, number: int) -> None:
        """Wait for a turn as the arrival of this number."""
        turn = trio.Event()
        heapq.heappush(self._waiting, (number, next(self._numbers), turn))
        self._came.set()
        try:
            await turn.wait()
        except trio.Cancelled:
            if not turn.is_set():
                self._gone.add(turn)
            raise

    def number(self) -> int:
        """That of somebody who comes just now."""
        return next(self._numbers)

    async def run(self) -> None:
        """Give turns until cancelled."""
        while True:
            if not self._waiting:
                self._came = trio.Event()
                await self._came.wait()
            for _ in range(await self._until_time()):
                self._give()
            await trio.lowlevel.checkpoint()

    def _give(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if turn not in self._gone:
                turn.set()
                break
            self._gone.remove(turn)
        if len(self) < WAITING_MAX:
            self._room.unpark_all()

    async def _until_time(self) -> int:
        """Wait until a slice fits in before the next tick, or, where none has since the last one, not at all; how many
        turns to give."""
        due = self._due()
        if due == self._turn_before and 0.0 < due - trio.current_time() < AHEAD_S:
            await trio.sleep_until(due)
            due = self._due()
        hurried = due != self._turn_before and due - trio.current_time() < AHEAD_S
        self._turn_before = due
        return LEAST_TURNS if hurried else 1


class Arrival:
    """One who has come; calling it waits for the next turn."""

    __slots__ = ("_number", "_pace", "_turns")

    def __init__(self, pace: Pace, number: int) -> None:
        self._pace, self._number, self._turns = pace, number, 0

    async def __call__(self) -> None:
        if self._turns >= OLD_TURNS:
            self._number = self._pace.number()
        self._turns += 1
        await self._pace.wait(self._number)


class Paced(trio.abc.Listener[trio.SocketStream]):
    """A listener that accepts nobody while too many wait."""

    def __init__(self, listener: trio.SocketListener, pace: Pace) -> None:
        self._listener, self._pace = listener, pace

    async def accept(self) -> trio.SocketStream:
        await self._pace.until_room()
        return await self._listener.accept()

    async def aclose(self) -> None:
        await self._listener.aclose()
