"""The watchdog: a game that does not come back from a call is named, and stopped.

    call into an object game ──► guard(room) notes what runs ──► it returns: nothing happens
                                    ├─ LIMIT_S later: StepOverran is raised inside the call (its room is quarantined)
                                    └─ FATAL_S later, in code that takes no exception: the process ends, naming it

A thread of its own looks on, for the loop's thread is the one that hangs. Games of rows step all rooms at once and are
not guarded.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import structlog

from game.errors import StepOverran

LIMIT_S = 1.0
FATAL_S = 10.0
EXIT_CODE = 70

log = structlog.get_logger("holdfast.watchdog")


class Watchdog:
    """Looks on while object games run. `guard` is for one thread (the loop's); `close` ends the looking."""

    def __init__(
        self,
        limit_s: float = LIMIT_S,
        fatal_s: float = FATAL_S,
        end: Callable[[], None] = lambda: os._exit(EXIT_CODE),
    ) -> None:
        self._limit_s, self._fatal_s, self._end = limit_s, fatal_s, end
        self._lock = threading.Lock()
        self._running: tuple[str, str, float] | None = None  # game, room, since
        self._caught = False
        self._thread_id = 0
        self._closed = threading.Event()
        self._looking: threading.Thread | None = None

    def for_game(self, game: str) -> Callable[[str], contextlib.AbstractContextManager[None]]:
        """What an object batch wraps around each call into the game, given the room."""
        return lambda room: self.guard(game, room)

    @contextlib.contextmanager
    def guard(self, game: str, room: str) -> Iterator[None]:
        """Raises StepOverran in the block when it runs for longer than the limit, and at its end in any case."""
        if self._looking is None:
            self._thread_id = threading.get_ident()
            self._looking = threading.Thread(target=self._look, name="watchdog", daemon=True)
            self._looking.start()
        self._running = (game, room, time.monotonic())
        try:
            yield
        finally:
            try:
                overran = self._stop()
            except StepOverran:  # it came just now; no second one does
                self._stop()
                overran = True
            if overran:  # also when the game has swallowed it: what came of the call depends on the clock
                raise StepOverran(f"a call into {game} took longer than {self._limit_s:g} s")

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _stop(self) -> bool:
        """The call is over; whether it was too long. An exception that has not arrived is taken back."""
        with self._lock:
            self._running = None
            caught, self._caught = self._caught, False
            if caught:
                _throw(self._thread_id, None)
        return caught

    def _look(self) -> None:
        while not self._closed.wait(self._limit_s / 4):
            running = self._running
            if running is None:
                continue
            game, room, since = running
            took_s = time.monotonic() - since
            if took_s > self._fatal_s:
                log.critical("game_hangs", game=game, room=room, seconds=round(took_s, 1), stack=self._stack())
                self._end()
                return
            if took_s > self._limit_s and not self._caught:
                stack = self._stack()
                with self._lock:
                    if self._running is running:
                        self._caught = True
                        _throw(self._thread_id, StepOverran)
                        log.error("game_overran", game=game, room=room, seconds=round(took_s, 1), stack=stack)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread_id)
        return "".join(traceback.format_stack(frame)[-8:]) if frame is not None else ""


def _throw(thread_id: int, error: type[BaseException] | None) -> None:
    """Raise in another thread at its next bytecode; None takes back what has not arrived."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), None if error is None else ctypes.py_object(error)
    )
