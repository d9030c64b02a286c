"""The journal as a tick sees it: begin an append, go on encoding, and tell nobody anything until it is stored.

`begin` must not block and must not await: it starts the append of one record (all rooms of a node's phase, one tick)
and returns a promise. The records of one journal are stored in the order of their `begin` calls, or not at all.
"""

from __future__ import annotations

from typing import Protocol

import trio


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

    def begin(self, record: bytes) -> Append:
        """Start to append a record."""


class JournalFenced(Exception):
    """This node's journal was sealed by another node: it may run its rooms no longer."""


class NoAppend:
    """The append of a journal that keeps nothing: stored at once."""

    stored = True

    async def wait(self) -> None:
        """Return at once (a checkpoint)."""
        await trio.lowlevel.checkpoint()


class NoJournal:
    """Stores nothing: rooms end with their process. What a single node runs until it is given a store."""

    wanted = False
    _append = NoAppend()

    def begin(self, record: bytes) -> Append:
        """Forget the record."""
        return self._append
