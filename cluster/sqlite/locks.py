"""Who lives: locks of the kernel (flock), which end with the process that took them, whatever becomes of it.

    taken, never released by hand until the store is closed ─► held ─► the process ends ─► free
    a turn: for as long as something is done that one process at a time may do

A lock's file says who holds it: the pid, and where pids mean that (boot and pid namespace), because a pid of another
container is somebody else's here. To end a holder its process is pinned first (pidfd) and the lock looked at again,
so that a pid that was used anew is never hit. Children inherit none: exec closes them, and so does a fork.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path

import attrs
import structlog
import trio

from cluster.errors import StoreUnavailable

END_S = 2.0
POLL_S = 0.005

log = structlog.get_logger("holdfast.store")

_held: set[int] = set()


@attrs.frozen
class Holder:
    """Who holds a lock. `pid` 0: it has not said yet."""

    pid: int
    here: bool
    """Whether the pid is one that we can speak of."""

    @property
    def ours(self) -> bool:
        """Whether it is this very process."""
        return self.here and self.pid == os.getpid()


class Held(Exception):
    """Somebody has this lock."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"held by process {holder.pid}")
        self.holder = holder


class Lock:
    """A lock that we hold, until `release` or the end of this process."""

    def __init__(self, path: Path) -> None:
        """Take it. Raises Held, StoreUnavailable."""
        self.path = path
        with _typed(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(self._fd, 0)
                os.pwrite(self._fd, f"{os.getpid()} {place()}\n".encode(), 0)
            except BlockingIOError:
                found = _read(self._fd)
                os.close(self._fd)
                raise Held(found) from None
            except BaseException:
                os.close(self._fd)
                raise
        _held.add(self._fd)

    def release(self) -> None:
        """Let go; harmless when done before."""
        if self._fd in _held:
            _held.remove(self._fd)
            os.close(self._fd)


def holder(path: Path) -> Holder | None:
    """Who holds a lock; None: nobody. Raises StoreUnavailable."""
    with _typed(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look do not see each other
        except BlockingIOError:
            return _read(fd)
        finally:
            os.close(fd)
    return None


@contextlib.contextmanager
def turn(path: Path) -> Iterator[bool]:
    """Do what one process at a time may do; False: another one does it just now. Needs no room on the disk but for the
    file, once. Raises StoreUnavailable."""
    with _typed(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _held.add(fd)
    try:
        with _typed(path):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                ours = True
            except BlockingIOError:
                ours = False
        yield ours
    finally:
        _held.discard(fd)
        os.close(fd)


async def end_holder(path: Path) -> None:
    """End the process that holds a lock with SIGKILL, and wait until the lock is free, for END_S. Neither ourselves
    nor one whose pid means nothing here; and one that does not end may go on: its journal will be fenced anyway."""
    killed = None
    with trio.move_on_after(END_S):
        while (found := holder(path)) is not None and not found.ours:
            if found.pid and found != killed:
                killed = found
                if not found.here or not _kill(path, found):
                    log.warning("process_not_ended", lock=path.name, pid=found.pid, reason="out of reach")
                    return
                log.warning("process_killed", lock=path.name, pid=found.pid)
            await trio.sleep(POLL_S)
        return
    log.warning("process_not_ended", lock=path.name, reason=f"it lives {END_S:g} s after SIGKILL")


@functools.cache
def place() -> str:
    """Where pids mean what they mean to us: this boot of this machine, and the pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node() or "here"


def _kill(path: Path, found: Holder) -> bool:
    """Whether it was there to be killed, or has ended by itself."""
    try:
        pinned = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):  # a system without pidfd: the look at the lock has to be enough
        pinned = None
    try:
        if holder(path) != found:
            return True
        if pinned is None:
            os.kill(found.pid, signal.SIGKILL)
        else:
            signal.pidfd_send_signal(pinned, signal.SIGKILL)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    finally:
        if pinned is not None:
            os.close(pinned)
    return True


def _read(fd: int) -> Holder:
    pid, _, where = os.pread(fd, 200, 0).decode(errors="replace").strip().partition(" ")
    return Holder(int(pid) if pid.isascii() and pid.isdigit() else 0, where == place())


@contextlib.contextmanager
def _typed(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be used ({error.strerror}): check the folder and the disk") from error


def _leave_to_parent() -> None:
    for fd in _held:
        os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
