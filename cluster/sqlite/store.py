"""The store in a folder: opens its files, and keeps them small.

    open ─► make what is missing, check what is there ─► use ─► aclose: our incarnations are dead, for all to see
              └─ meanwhile, every second: what has grown by 8 MB is checkpointed, in a thread

What is promised when something ends, by durability:

    a process of ours (killed, at any moment)   both: all that was stored is there
    the machine (power, kernel)                 "process": the files stay sound; the last changes may be gone
                                                "disk": all that was stored is there, as far as the disk keeps its word
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import trio

from cluster.errors import ClusterError, StoreUnavailable, StoreUnusable
from cluster.sqlite.connection import create
from cluster.sqlite.directory import DIRECTORY, SqliteDirectory
from cluster.sqlite.file import File
from cluster.sqlite.journals import SqliteJournals
from cluster.sqlite.sessions import SESSIONS, SqliteSessions
from cluster.sqlite.snapshots import SNAPSHOTS, SqliteSnapshots
from cluster.store import Cipher

CHECKPOINT_EVERY_S = 1.0

DURABILITIES = ("process", "disk")

log = structlog.get_logger("holdfast.store")


class SqliteStore:
    """A process's handle on the store in a folder: `cluster.store.Store`. Made by `open`."""

    def __init__(self, folder: Path, durability: str, cipher: Cipher | None) -> None:
        if durability not in DURABILITIES:
            raise ValueError(f"durability is one of {', '.join(DURABILITIES)}, not {durability!r}")
        folder = folder.absolute()
        synced = durability == "disk"
        self._shared = {
            kind.what: File(folder / name, kind, synced, folder / "locks" / f"keeper-{name}.lock")
            for name, kind in (("directory.db", DIRECTORY), ("snapshots.db", SNAPSHOTS), ("sessions.db", SESSIONS))
        }
        self.folder = folder
        self.durability = durability
        self._unseen: set[str] = set()
        """Incarnations whose locks could not be looked at the last time."""
        self.journals = SqliteJournals(folder / "journals", folder / "locks", synced)
        self.snapshots = SqliteSnapshots(self._shared[SNAPSHOTS.what])
        self.rooms = SqliteDirectory(self._shared[DIRECTORY.what])
        self.sessions = SqliteSessions(self._shared[SESSIONS.what], cipher)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, folder: Path, durability: str = "process", cipher: Cipher | None = None
    ) -> AsyncIterator[SqliteStore]:
        """The store in `folder`, made when it is missing, until the end of the `async with`. Raises StoreUnusable,
        and ValueError for another durability than "process" and "disk"."""
        store = cls(folder, durability, cipher)
        failure: BaseException | None = None
        try:
            await store._prepare()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store._keep_small)
                try:
                    yield store
                except BaseException as error:  # past the nursery, which would wrap it in a group
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            await store.aclose()
        if failure is not None:
            raise failure

    def alive(self, incarnation: str) -> bool | None:
        """Whether the process of an incarnation lives on this machine; None when its lock cannot be looked at now."""
        try:
            lives = self.journals.alive(incarnation)
        except StoreUnavailable as error:
            if incarnation not in self._unseen:
                self._unseen.add(incarnation)
                log.warning("lock_not_seen", incarnation=incarnation, error=str(error))
            return None
        self._unseen.discard(incarnation)
        return lives

    async def aclose(self) -> None:
        """Let go of everything; what comes later raises StoreUnavailable. Done even when it is cancelled."""
        with trio.CancelScope(shield=True):
            await self.journals.aclose()
            for file in self._shared.values():
                await file.aclose()
        await trio.lowlevel.checkpoint()

    async def _prepare(self) -> None:
        try:
            await trio.to_thread.run_sync(self._make)
            for file in self._shared.values():
                await file.rows("SELECT 1")
        except OSError as error:
            raise StoreUnusable(
                f"{self.folder} cannot be used for data ({error.strerror}): choose another folder with --data"
            ) from error
        except StoreUnusable:
            raise
        except ClusterError as error:
            raise StoreUnusable(str(error)) from error

    def _make(self) -> None:
        for folder in (self.folder / "journals", self.folder / "locks"):
            folder.mkdir(parents=True, exist_ok=True)
        for file in self._shared.values():
            if not file.path.exists():
                create(file.path, file.kind)

    async def _keep_small(self) -> None:
        while True:
            await trio.sleep(CHECKPOINT_EVERY_S)
            for checkpoint in (self.journals.checkpoint, *(file.checkpoint for file in self._shared.values())):
                try:
                    await checkpoint()
                except ClusterError as error:
                    log.warning("checkpoint_failed", error=str(error))
