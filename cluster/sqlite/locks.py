"""Which processes live: kernel locks (flock) on files of their own, which end with the process, whatever ends it.

    <incarnation>.lock   held as long as the incarnation's process lives, stopped or not; it holds the process' id
    node-<name>.lock     held by the one process that runs under a node's name

A lock is not inherited by children (close-on-exec, and we do not fork), so a lock that is held means that the process
lives, and its id, read while the lock is held, is its own. That makes killing it safe: a process file descriptor is
opened, the lock is looked at once more, and only then the signal is sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from pathlib import Path

import trio

from cluster.errors import StoreUnavailable

GONE_S = 5.0
LOOK_EVERY_S = 0.002


class Locks:
    """The locks of one process in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    def take(self, name: str) -> int:
        """Take a lock for as long as we live; 0, or the id of the process that has it."""
        descriptor = os.open(self._path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _pid_in(descriptor)
            os.close(descriptor)
            return holder or -1
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._held[name] = descriptor
        return 0

    def release_all(self) -> None:
        """Let go of everything."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def release(self, name: str) -> None:
        """Let go of one lock."""
        descriptor = self._held.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)

    def holder(self, name: str) -> int:
        """Id of the process that holds a lock; 0 when nobody does."""
        try:
            descriptor = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _pid_in(descriptor) or -1
        else:
            return 0
        finally:
            os.close(descriptor)

    def forget(self, name: str) -> None:
        """Delete the file of a lock that nobody holds."""
        with contextlib.suppress(OSError):
            self._path(name).unlink()

    async def end(self, name: str) -> None:
        """See to it that nobody holds a lock: kill who does, unless it is ourselves. Raises StoreUnavailable when it
        does not go."""
        pid = self.holder(name)
        if pid in (0, os.getpid()):
            return
        if pid > 0:
            try:
                process = os.pidfd_open(pid)
            except ProcessLookupError:
                process = -1
            if process >= 0:
                try:
                    if self.holder(name) == pid:
                        signal.pidfd_send_signal(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                finally:
                    os.close(process)
        with trio.move_on_after(GONE_S):
            while self.holder(name):  # noqa: ASYNC110 - the kernel lets the lock go when the process has gone
                await trio.sleep(LOOK_EVERY_S)
            return
        raise StoreUnavailable(f"process {pid}, which holds {name}, does not end")

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"


def _pid_in(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0)
    return int(text) if text.isdigit() else 0
