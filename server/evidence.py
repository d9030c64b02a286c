"""Evidence of rooms that failed, written off the tick: `holdfast replay FILE` makes the failure happen again.

At most QUEUED_MAX wait to be written (one more is lost, and the log says so), and the newest KEPT_MAX files stay.
"""

from __future__ import annotations

from pathlib import Path

import structlog
import trio

QUEUED_MAX = 16
KEPT_MAX = 100

log = structlog.get_logger("holdfast.evidence")


class EvidenceFolder:
    """Takes evidence without waiting. `run` must be running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._send, self._receive = trio.open_memory_channel[tuple[Path, bytes]](QUEUED_MAX)
        self._waiting = 0
        self._written = trio.Event()

    def keep(self, room: str, tick: int, evidence: bytes) -> Path | None:
        """Have evidence written; returns where it will be, None when there is no place for more."""
        path = self.folder / f"{room}-{tick}.room"
        try:
            self._send.send_nowait((path, evidence))
            self._waiting += 1
        except trio.WouldBlock:
            log.error("evidence_lost", room=room, tick=tick, waiting=QUEUED_MAX)
            return None
        return path

    async def write(self, room: str, tick: int, evidence: bytes) -> Path | None:
        """Write evidence now; returns where it is, None when the disk does not take it (the log says so)."""
        path = self.folder / f"{room}-{tick}.room"
        try:
            await trio.to_thread.run_sync(_write, path, evidence)
        except OSError as error:
            log.error("evidence_not_written", path=str(path), error=str(error))
            return None
        return path

    async def run(self) -> None:
        """Write what comes, for ever. A disk that fails is logged and costs the evidence alone."""
        async for path, evidence in self._receive:
            try:
                await trio.to_thread.run_sync(_write, path, evidence)
            except OSError as error:
                log.error("evidence_not_written", path=str(path), error=str(error))
            self._waiting -= 1
            self._written.set()

    async def drain(self) -> None:
        """Wait until everything is written."""
        while self._waiting:
            self._written = trio.Event()
            await self._written.wait()


def _write(path: Path, evidence: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(evidence)
    unfinished.replace(path)
    kept = sorted(path.parent.glob("*.room"), key=lambda found: found.stat().st_mtime_ns)
    for old in kept[:-KEPT_MAX]:
        old.unlink(missing_ok=True)
