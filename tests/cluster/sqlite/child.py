"""A process of its own that opens an incarnation and appends, for tests that stop and kill it.

    python -m tests.cluster.sqlite.child FOLDER NODE RECORDS

It writes the position of each record to its standard output once that is stored, and lives until it is killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import trio

from cluster.codec import StageRecord, encode_record
from cluster.errors import StoreBusy, StoreUnusable
from cluster.sqlite import SqliteStore
from tests.cluster.helpers import member

ENDLESS = 10**9


def record(incarnation: str, position: int, size: int = 1000) -> bytes:
    """A record that tells where it belongs, with commands of `size` bytes."""
    ones = np.ones(1, "<u4")
    commands = bytes([position % 251]) * size
    return encode_record(
        incarnation,
        position,
        [StageRecord("arena", {}, 30, ["r"], ones, ones * position, np.full(1, position, "<u8"), commands)],
    )


class Child:
    """A running one."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._lines: list[bytes] = []
        self._rest = b""

    async def line(self) -> str:
        """Its next line; "" at its end."""
        assert self.process.stdout is not None
        while not self._lines:
            data = await self.process.stdout.receive_some()
            if not data:
                return ""
            *self._lines, self._rest = (self._rest + data).split(b"\n")
        return self._lines.pop(0).decode()

    async def lines_to(self, wanted: str) -> str:
        """Read to this line or the end; the last whole line that came."""
        last = ""
        while (line := await self.line()) and line != wanted:
            last = line
        return line or last


@asynccontextmanager
async def child(folder: Path, node: str, records: int = ENDLESS) -> AsyncIterator[Child]:
    """One that runs, until the end of the `async with`, where it is killed."""
    command = [sys.executable, "-m", "tests.cluster.sqlite.child", str(folder), node, str(records)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        yield Child(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


async def main(*words: str) -> None:
    """Live."""
    folder, node, records = words
    me = member(node)
    async with SqliteStore.open(Path(folder)) as store:
        try:
            await store.journals.open(me)
        except StoreUnusable as error:
            os.write(1, f"{type(error).__name__}: {error}\n".encode())
            return
        os.write(1, b"opened\n")
        position = 1
        while position <= int(records):
            try:
                store.journals.append_now(me.incarnation, position, record(me.incarnation, position))
            except StoreBusy:
                await trio.sleep(0.001)
                continue
            os.write(1, b"%d\n" % position)
            position += 1
            await trio.lowlevel.checkpoint()
        os.write(1, b"done\n")
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
