"""The least that stores bytes: the references of `holdfast bench store`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Bare(Protocol):
    """Stores rows of bytes at once, and promises what it promises when `write` returns."""

    what: str

    def write(self, rows: Sequence[bytes]) -> None:
        """Store them, all together."""

    def close(self) -> None:
        """Let go of the file."""


class BareTable:
    """One table of a SQLite file with a write-ahead log; a process may die, the machine may not."""

    what = "sqlite3, one transaction"

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute("CREATE TABLE records (position INTEGER PRIMARY KEY, data BLOB NOT NULL)")

    def write(self, rows: Sequence[bytes]) -> None:
        """See `Bare.write`."""
        if len(rows) == 1:
            self._database.execute("INSERT INTO records (data) VALUES (?)", rows)
            return
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO records (data) VALUES (?)", [(row,) for row in rows])
        self._database.execute("COMMIT")

    def close(self) -> None:
        """See `Bare.close`."""
        self._database.close()


class BareFile:
    """A file that grows, and is on the disk after each write."""

    what = "write and fdatasync"

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._synced = getattr(os, "fdatasync", os.fsync)

    def write(self, rows: Sequence[bytes]) -> None:
        """See `Bare.write`."""
        os.write(self._descriptor, b"".join(rows))
        self._synced(self._descriptor)

    def close(self) -> None:
        """See `Bare.close`."""
        os.close(self._descriptor)
