"""The journal as a tick sees it: begin an append, go on encoding, and tell nobody anything until it is stored.

    begin(stages) ─► position, bytes ─┬─ stored at once (an engine that takes 0.1 ms) ─► Append.stored
                                      └─ waits in line ─► run: append ─► Append.stored
                                                            ├─ busy: the same once more, a moment later
                                                            ├─ unknown: read the position, then the same once more
                                                            └─ fenced, or removed behind that: JournalFenced to
                                                               everybody who waits, for ever

`begin` neither blocks nor awaits. Records are stored in the order of their `begin` calls, each at the next position,
or not at all, so there is no hole. How many may wait is the gate's business (`server.gate`): two ticks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import attrs
import structlog
import trio

from cluster.codec import StageRecord, encode_record
from cluster.errors import Damaged, JournalFenced, StoreBusy, StoreUnavailable, UnknownJournal
from cluster.store import Journals

__all__ = ["Append", "Journal", "JournalFenced", "JournalWriter", "NoJournal"]

BUSY_WAIT_S, BUSY_WAIT_MAX_S = 0.001, 0.008
"""Whoever is in the way is gone within a few milliseconds, or tens of them where it waits for the disk; and frames wait
for us."""
UNKNOWN_WAIT_S = 0.005
WAIT_MAX_S = 0.1
TELL_AFTER_S = 1.0
"""A store that is busy for so long is worth a line in the log."""
TELL_EVERY_S = 5.0
"""How often the log repeats that a record waits."""

log = structlog.get_logger("holdfast.journal")


class Append(Protocol):
    """An append under way."""

    @property
    def stored(self) -> bool:
        """Whether the record is stored; the gate lets what depends on it go when it is."""

    async def wait(self) -> None:
        """Return when the record is stored. Raises JournalFenced when it never will be."""


class Journal(Protocol):
    """Where records of ticks go."""

    @property
    def wanted(self) -> bool:
        """Whether records are worth building: False for a journal that keeps nothing."""

    @property
    def position(self) -> int:
        """Position of the record that was begun last."""

    def begin(self, stages: Sequence[StageRecord]) -> Append:
        """Start to append a record."""


class NoAppend:
    """The append of a journal that keeps nothing: stored at once."""

    stored = True

    async def wait(self) -> None:
        """Return at once (a checkpoint)."""
        await trio.lowlevel.checkpoint()


class NoJournal:
    """Stores nothing: rooms end with their process."""

    wanted = False
    position = 0
    _append = NoAppend()

    def begin(self, stages: Sequence[StageRecord]) -> Append:
        """Forget the record."""
        return self._append


@attrs.define(eq=False)
class _Pending:
    """A record that is not stored yet, or was."""

    writer: JournalWriter
    position: int
    data: bytes
    stored: bool = False
    _done: trio.Event | None = None

    async def wait(self) -> None:
        """Return when it is stored. Raises JournalFenced."""
        await trio.lowlevel.checkpoint()
        while not self.stored:
            if self.writer.fenced:
                raise JournalFenced(f"{self.writer.incarnation} is sealed; record {self.position} was not stored")
            if self._done is None:
                self._done = trio.Event()
            await self._done.wait()

    def wake(self) -> None:
        """Something has become of it."""
        if self._done is not None:
            self._done.set()


class JournalWriter:
    """Writes one incarnation's journal. `run` must be running."""

    wanted = True

    def __init__(self, journals: Journals, incarnation: str) -> None:
        self.incarnation = incarnation
        self.position = 0
        self.fenced = False
        """Sealed by another: nothing is stored any more."""
        self.waits = 0
        """Appends that the store did not take at once."""
        self._journals = journals
        self._waiting: deque[_Pending] = deque()
        self._came = trio.Event()

    @property
    def tip(self) -> int:
        """Position of the newest record that is known to be stored."""
        return self._waiting[0].position - 1 if self._waiting else self.position

    def begin(self, stages: Sequence[StageRecord]) -> Append:
        """Start to append a record; where the engine is direct and nothing waits it is stored on return."""
        self.position += 1
        pending = _Pending(self, self.position, encode_record(self.incarnation, self.position, stages))
        if self._journals.direct and not self._waiting and not self.fenced:
            try:
                self._journals.append_now(self.incarnation, pending.position, pending.data)
                pending.stored = True
                return pending
            except (JournalFenced, UnknownJournal):  # only what is sealed is ever removed
                self._fence()
            except (StoreBusy, StoreUnavailable, Damaged):
                pass  # `run` does it again, and finds out what is there
        self.waits += 1
        self._waiting.append(pending)
        self._came.set()
        return pending

    async def settled(self) -> None:
        """Wait until everything that was begun is stored. Raises JournalFenced."""
        while self._waiting:
            await self._waiting[-1].wait()

    async def run(self) -> None:
        """Store what waits, for ever. Raises JournalFenced."""
        while not self.fenced:
            while self._waiting:
                pending = self._waiting[0]
                try:
                    await self._store(pending)
                except (JournalFenced, UnknownJournal):
                    self._fence()
                    break
                pending.stored = True
                self._waiting.popleft()
                pending.wake()
            else:
                self._came = trio.Event()
                await self._came.wait()
        raise JournalFenced(f"{self.incarnation} is sealed")

    async def _store(self, pending: _Pending) -> None:
        wait_s, began, told_at = BUSY_WAIT_S, trio.current_time(), float("-inf")
        while True:
            try:
                if self._journals.direct:
                    await trio.lowlevel.checkpoint()
                    self._journals.append_now(self.incarnation, pending.position, pending.data)
                else:
                    await self._journals.append(self.incarnation, pending.position, pending.data)
                break
            except (StoreBusy, StoreUnavailable, Damaged) as error:
                now, busy = trio.current_time(), isinstance(error, StoreBusy)
                if now - told_at >= TELL_EVERY_S and (not busy or now - began >= TELL_AFTER_S):
                    told_at = now
                    self._tell("journal_not_written", pending, began, error=str(error))
                if not busy:
                    wait_s = max(wait_s, UNKNOWN_WAIT_S)
                    if await self._is_there(pending):
                        break
            await trio.sleep(wait_s)
            wait_s = min(wait_s * 2, BUSY_WAIT_MAX_S if busy else WAIT_MAX_S)
        if told_at >= began:
            self._tell("journal_goes_on", pending, began)

    def _tell(self, event: str, pending: _Pending, began: float, **words: str) -> None:
        for_s = round(trio.current_time() - began, 1)
        tell = log.error if words else log.info
        tell(event, incarnation=self.incarnation, position=pending.position, for_s=for_s, **words)

    async def _is_there(self, pending: _Pending) -> bool:
        """Whether an append of unknown outcome has taken place."""
        try:
            found = await self._journals.read(self.incarnation, pending.position, pending.position)
        except (StoreBusy, StoreUnavailable, Damaged):
            return False  # not known; an append is idempotent by position and bytes
        return found == [pending.data]

    def _fence(self) -> None:
        self.fenced = True
        for pending in self._waiting:
            pending.wake()
        self._came.set()
