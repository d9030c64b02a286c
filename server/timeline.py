"""The timeline: rooms that have changed their node, and how long they stood still for it.

    gave   a node gives a room away: when its last tick was                        (hand-off: the wall clock)
    took   a node goes on with a room: when its first tick was, and whose it had been
             died       pause = from the moment when we found its node dead to the first tick here  (our own clock)
             drained    pause = from the last tick there to the first one here            (two wall clocks, one machine)

A file of lines in the data folder, which all nodes of a machine append to and read: who was killed cannot be asked any
more. It is kept short, and it is for people: nothing depends on it, and lines may be lost while it is cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import structlog
import trio
import trio.lowlevel

from server.rooms import Room

FILE = "takeovers.jsonl"
BYTES_MAX = 256 * 1024
"""Of the file; beyond that its older half is cut away."""
READ_BYTES = 16 * 1024
ROOMS_A_LINE = 32
KEPT = 64
"""Takeovers that are remembered."""
ROOMS_KEPT = 200
"""Rooms of a takeover that are told one by one."""
LOOK_S, WRITE_EVERY_S = 0.005, 0.25
TICK_WITHIN_S = 30.0
"""A room that does not tick by then is not waited for any more."""
SAME_S = 60.0
"""What a node leaves within so long is one takeover."""

log = structlog.get_logger("holdfast.timeline")


@attrs.define
class Moved:
    """A room that has changed its node."""

    room: str
    to: str
    """Incarnation."""
    epoch: int
    pause_ms: float | None
    """How long it stood still; None where that is not known."""


@attrs.define
class Takeover:
    """What a node has left."""

    at_s: float
    """Wall clock: the first tick of the first room elsewhere."""
    incarnation: str
    how: str
    """"died" or "drained"."""
    count: int = 0
    rooms: list[Moved] = attrs.field(factory=list)
    pauses_ms: list[float] = attrs.field(factory=list)


@attrs.frozen
class _Coming:
    room: Room
    before: str
    how: str
    since: float
    """By our clock; of a room whose node has died: when that was found."""


class Timeline:
    """Writes what happens here, and reads what has happened anywhere. `run` must be running."""

    def __init__(self, folder: Path, incarnation: str, find: Callable[[str], Room | None]) -> None:
        self.takeovers: list[Takeover] = []
        """Oldest first."""
        self._path = folder / FILE
        self._incarnation = incarnation
        self._find = find
        self._gave: dict[tuple[str, int], float] = {}
        self._coming: list[_Coming] = []
        self._lines: list[dict[str, Any]] = []
        self._read_to: tuple[int, int] = (0, 0)
        """Inode, offset."""
        self._news = trio.Event()

    def gave(self, room: str, epoch: int) -> None:
        """A room has made its last tick here and goes to another node."""
        self._lines.append({"gave": room, "epoch": epoch, "at": round(time.time(), 4)})
        self._news.set()

    def came(self, room: str, died_at: Callable[[str], float | None]) -> None:
        """A room is here now, and ticks soon; `died_at` tells when a node was found dead."""
        found = self._find(room)
        if found is None:
            return
        before = next((span.incarnation for span in reversed(found.entry.chain[:-1]) if span.first), "")
        died = died_at(before)
        rescued = bool(found.entry.attempts) and died is not None
        now = trio.current_time()
        since = died if rescued and died is not None else now
        self._coming.append(_Coming(found, before, "died" if rescued else "drained", since))
        self._news.set()

    async def run(self) -> None:
        """Watch rooms that come until they tick; write and read, for ever."""
        while True:
            with trio.move_on_after(WRITE_EVERY_S):
                await self._news.wait()
            self._news = trio.Event()
            while self._coming:
                self._look()
                await trio.sleep(LOOK_S)
            try:
                self._write()
                while self._read():
                    await trio.lowlevel.checkpoint()
            except OSError as error:
                log.warning("timeline_not_kept", error=str(error))
                self._lines.clear()
                await trio.sleep(WRITE_EVERY_S * 20)

    def _look(self) -> None:
        now, waiting = trio.current_time(), []
        ticking: dict[tuple[str, str], list[list[Any]]] = {}
        for one in self._coming:
            if self._find(one.room.id) is not one.room or now - one.since > TICK_WITHIN_S:
                continue
            if one.room.ticked < 1:
                waiting.append(one)
                continue
            pause_ms = round((now - one.since) * 1000.0, 1) if one.how == "died" else None
            told = [one.room.id, one.room.entry.epoch, round(time.time(), 4), pause_ms]
            ticking.setdefault((one.before, one.how), []).append(told)
        self._coming = waiting
        for (before, how), rooms in ticking.items():
            for at in range(0, len(rooms), ROOMS_A_LINE):
                some = rooms[at : at + ROOMS_A_LINE]
                self._lines.append({"took": some, "from": before, "by": self._incarnation, "how": how})

    # -- the file -----------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        self._cut()
        data = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
        with open(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb", buffering=0) as file:
            file.write(data)

    def _cut(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size > BYTES_MAX:
                _, _, newer = self._path.read_bytes()[-BYTES_MAX // 2 :].partition(b"\n")
                new = self._path.with_name(f".{FILE}.{os.getpid()}")
                new.write_bytes(newer)
                new.replace(self._path)

    def _read(self) -> bool:
        """Read a piece of what is new; whether there may be more."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False
        inode, offset = self._read_to
        if inode != status.st_ino or offset > status.st_size:
            self.takeovers, offset = [], 0
            self._gave.clear()
        if offset == status.st_size:
            return False
        with open(self._path, "rb") as file:
            file.seek(offset)
            whole, end, _ = file.read(READ_BYTES).rpartition(b"\n")
        self._read_to = status.st_ino, offset + len(whole) + len(end)
        for line in whole.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                log.warning("timeline_line_not_read", line=line[:80].decode(errors="replace"))
        return bool(end)

    def _take(self, line: dict[str, Any]) -> None:
        if "gave" in line:
            self._gave[str(line["gave"]), int(line["epoch"])] = float(line["at"])
            while len(self._gave) > KEPT * ROOMS_KEPT:
                del self._gave[next(iter(self._gave))]
            return
        for room, epoch, at_s, pause_ms in line["took"]:
            gave_s = self._gave.pop((room, epoch - 1), None)
            if line["how"] == "drained":
                pause_ms = None if gave_s is None else round(max(0.0, at_s - gave_s) * 1000.0, 1)
            self._enter(line["from"], line["how"], at_s, Moved(room, line["by"], epoch, pause_ms))

    def _enter(self, incarnation: str, how: str, at_s: float, moved: Moved) -> None:
        for takeover in reversed(self.takeovers):
            same = takeover.incarnation == incarnation and takeover.how == how
            if same and abs(at_s - takeover.at_s) <= SAME_S:
                break
        else:
            takeover = Takeover(at_s, incarnation, how)
            self.takeovers.append(takeover)
            del self.takeovers[:-KEPT]
        takeover.count += 1
        if len(takeover.rooms) < ROOMS_KEPT:
            takeover.rooms.append(moved)
        if moved.pause_ms is not None:
            takeover.pauses_ms.append(moved.pause_ms)
