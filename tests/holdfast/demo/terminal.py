"""A command on a terminal of its own (a pty), for tests that press keys; and what is left when it has ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PATIENCE_S = 40.0
_START = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """One command on a terminal."""

    def __init__(self, command: Sequence[str], environ: dict[str, str]) -> None:
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        self.modes_before = termios.tcgetattr(self._theirs)
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, *command],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=environ,
            start_new_session=True,
        )

    @property
    def modes(self) -> list[object]:
        """Of the terminal, now."""
        return termios.tcgetattr(self._theirs)

    def press(self, keys: str) -> None:
        """Type them."""
        os.write(self._ours, keys.encode())

    def until(self, text: str) -> str:
        """Wait until it has shown this, from now on; what it has shown."""
        self.shown = ""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} was not shown: {self.shown[-3000:]}"
            self._read(0.1)
        return self.shown

    def ended(self) -> int:
        """Wait until it has ended; its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end: {self.shown[-3000:]}"
            self._read(0.02)
        self._read(0.0)
        return self.process.returncode

    def close(self) -> None:
        """Let go of everything."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self, wait_s: float) -> None:
        if select.select([self._ours], [], [], wait_s)[0]:
            self.shown += os.read(self._ours, 1 << 16).decode(errors="replace")


@contextlib.contextmanager
def terminal(command: Sequence[str], environ: dict[str, str]) -> Iterator[Terminal]:
    """A command on a terminal, ended at the end of the block."""
    opened = Terminal(command, environ)
    try:
        yield opened
    finally:
        opened.close()


def left_behind(folder: Path) -> list[str]:
    """Files in a folder, and processes that were told of it."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [*map(str, folder.iterdir()), *(line[:200] for line in listed.splitlines() if str(folder) in line)]
