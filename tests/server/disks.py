"""Small disks, to be filled: a file system of its own, as far as whoever runs the tests may mount one (root may)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

DISK_BYTES = 24 << 20


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own, of DISK_BYTES; None where none can be mounted."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a byte of the folder's disk is free."""
    filler, size = folder / "filler", 1 << 20
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while size:
            try:
                os.write(fd, bytes(size))
            except OSError:
                size //= 2
        yield
    finally:
        os.close(fd)
        filler.unlink()
