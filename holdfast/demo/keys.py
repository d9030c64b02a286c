"""Single keys of a terminal under Trio, without a thread: the terminal's own modes, and waiting until it is readable.

    as it was ─► no echo, no waiting for Enter ─► … ─► as it was, however the block ends

Ctrl-C and Ctrl-Z stay signals. A job in the background is left alone: a change of modes would stop it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def single_keys(fd: int) -> Iterator[bool]:
    """Let the terminal `fd` give each key at once, until the block ends; False where that cannot be."""
    import termios
    import tty

    try:
        if os.tcgetpgrp(fd) != os.getpgrp():
            raise OSError("in the background")
        before = termios.tcgetattr(fd)
    except (OSError, termios.error):
        yield False
        return
    try:
        tty.setcbreak(fd, termios.TCSANOW)
        yield True
    finally:
        with contextlib.suppress(OSError, termios.error):  # the terminal may have gone
            termios.tcflush(fd, termios.TCIFLUSH)  # what was typed at us is not for the shell
            termios.tcsetattr(fd, termios.TCSANOW, before)


async def read_keys(fd: int, press: Callable[[str], None]) -> None:
    """Tell of every key as it is pressed, until the terminal has gone. Arrows and the like are left out."""
    import trio

    while True:
        try:
            await trio.lowlevel.wait_readable(fd)
            typed = os.read(fd, 64)
        except OSError:
            return
        if not typed:
            return
        if not typed.startswith(b"\x1b"):
            for key in filter(str.isprintable, typed.decode(errors="ignore")):
                press(key)
