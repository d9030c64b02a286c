"""A disk whose fsync fails, really: the kernel asks the test what becomes of each fsync of a process (seccomp, Linux).

test: FailingSyncs ◄── unix socket: the filter's descriptor ── python -m tests.server.failing_syncs SOCKET COMMAND …
          ▲                                                       installs the filter, becomes COMMAND
          └── "fsync?" ── kernel ◄── fsync, fdatasync ── any thread of COMMAND
answer: go on as if nobody had asked, or EIO
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_CALLS = {"x86_64": (317, 0xC000003E, (74, 75)), "aarch64": (277, 0xC00000B7, (82, 83))}
"""By machine: number of seccomp, its name for the machine, numbers of fsync and fdatasync."""
_NO_NEW_PRIVILEGES, _SET_FILTER, _NEW_LISTENER = 38, 1, 8
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND, _NOTICE_BYTES = 0xC0502100, 0xC0182101, 80
_GO_ON = 1
_POLL_MS = 200


class FailingSyncs:
    """Answers for every process that was started behind `command`."""

    def __init__(self, path: Path) -> None:
        self.failing = False
        self.refused = 0
        """How many have failed."""
        self.command = [sys.executable, "-m", "tests.server.failing_syncs", str(path)]
        """To be put before a command."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._ended = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @contextlib.contextmanager
    def fail(self) -> Iterator[None]:
        """Meanwhile they fail."""
        self.failing = True
        try:
            yield
        finally:
            self.failing = False

    def close(self) -> None:
        """Behind the end of all that were started."""
        self._ended = True
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                said, _ = self._listener.accept()
                with said:
                    _, fds, _, _ = socket.recv_fds(said, 1, 1)
                self._threads.append(threading.Thread(target=self._answer, args=fds))
                self._threads[-1].start()

    def _answer(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while not self._ended:
            for _, events in poll.poll(_POLL_MS):
                if not events & select.POLLIN:
                    os.close(fd)
                    return
                notice = bytearray(_NOTICE_BYTES)
                with contextlib.suppress(FileNotFoundError):  # it was killed meanwhile
                    fcntl.ioctl(fd, _RECEIVE, notice)
                    (number,) = struct.unpack_from("=Q", notice)
                    failing = self.failing
                    self.refused += failing
                    answer = (0, -errno.EIO, 0) if failing else (0, 0, _GO_ON)
                    fcntl.ioctl(fd, _SEND, bytearray(struct.pack("=QqiI", number, *answer)))
        os.close(fd)


def possible() -> bool:
    """Whether this machine can."""
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    return platform.machine() in _CALLS and actions.exists() and "user_notif" in actions.read_text()


def _filter() -> int:
    """Have our syncs asked about, and our children's; the descriptor to answer by."""
    libc = ctypes.CDLL(None, use_errno=True)
    seccomp, machine, (fsync, fdatasync) = _CALLS[platform.machine()]
    program = [
        (0x20, 0, 0, 4),  # load the machine
        (0x15, 0, 3, machine),  # another one: allow
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 2, 0, fsync),
        (0x15, 1, 0, fdatasync),
        (0x06, 0, 0, _ALLOW),
        (0x06, 0, 0, _ASK),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    described = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    fd = libc.syscall(seccomp, _SET_FILTER, _NEW_LISTENER, described)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "no filter of system calls")
    return int(fd)


def main(path: str, *command: str) -> None:
    """Become `command`."""
    with socket.socket(socket.AF_UNIX) as to:
        to.connect(path)
        fd = _filter()
        socket.send_fds(to, [b"!"], [fd])
        os.close(fd)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
