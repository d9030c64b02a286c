"""A player whose process is killed comes back into room and seat, inputs exact; too late, and the seat is free.

Real processes, real sockets, SIGKILL. TEST_HOLD_S=30 runs it with the default hold instead of a short one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import trio

from game.rows import CONNECTED, EMPTY, HELD
from tests.server.helpers import HANG_S, Node, running, until

HOLD_S = float(os.environ.get("TEST_HOLD_S", "0"))
HOME = Path(__file__).parents[2]


class Player:
    """A resumer that is watched."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.told: dict[str, Any] = {}
        self._rest = b""

    async def hear(self, key: str, test: Callable[[Any], bool] = lambda _: True) -> Any:
        """Read on until it tells `key` with a value that passes."""
        assert self.process.stdout is not None
        with trio.fail_after(HANG_S):
            while True:
                while b"\n" in self._rest:
                    line, self._rest = self._rest.split(b"\n", 1)
                    self.told = json.loads(line)
                    if key in self.told and test(self.told[key]):
                        return self.told[key]
                data = await self.process.stdout.receive_some()
                assert data, f"the player ended with {self.process.returncode} and never told {key}"
                self._rest += data

    async def leave(self) -> tuple[int, int, int]:
        """Have it leave; last sequence and inputs applied by the server's books, and inputs that it has made."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")
        last_seq, applied = await self.hear("left")
        return last_seq, applied, self.told["sent"]

    async def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@contextlib.asynccontextmanager
async def player(node: Node, file: Path) -> AsyncIterator[Player]:
    """A process that plays on the node."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.server.resumer", node.server, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=HOME,
    )
    try:
        yield Player(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def seated(node: Node, room: str, seat: int) -> int:
    """What the room says of the seat; EMPTY when there is no room any more."""
    found = node.host.rooms.by_id.get(room)
    return EMPTY if found is None else int(found.stage.batch.rows.seated[found.stage.batch.row[room], seat])


async def test_a_killed_player_is_back_in_room_and_seat_with_inputs_exact(tmp_path: Path) -> None:
    async with running(tmp_path / "node", hold_s=HOLD_S or 5.0) as node:
        file = tmp_path / "session"
        async with player(node, file) as first:
            seat = await first.hear("seat")
            session = first.told["session"]
            acknowledged = await first.hear("last_seq", lambda seq: seq >= 20)
            await first.kill()
        room, number, generation = seat
        await until(lambda: seated(node, room, number) == HELD)
        async with player(node, file) as second:
            assert await second.hear("seat") == [room, number, generation]
            assert second.told["session"] == session
            begun = second.told["first"]
            assert begun >= acknowledged
            assert seated(node, room, number) == CONNECTED
            await second.hear("last_seq", lambda seq: seq >= begun + 20)
            last_seq, applied, sent = await second.leave()
        assert last_seq == applied == sent >= begun + 20
        assert node.metrics.sessions_resumed == 1


async def test_a_player_who_comes_too_late_finds_the_seat_free(tmp_path: Path) -> None:
    async with running(tmp_path / "node", hold_s=HOLD_S or 0.3) as node:
        file = tmp_path / "session"
        async with player(node, file) as first, player(node, tmp_path / "other") as other:
            room, number, _ = await first.hear("seat")
            assert (await other.hear("seat"))[0] == room  # somebody keeps the room open
            await first.hear("last_seq", lambda seq: seq >= 5)
            await first.kill()
            await until(lambda: seated(node, room, number) == HELD)
            await until(lambda: seated(node, room, number) == EMPTY, within_s=HOLD_S + HANG_S)
            async with player(node, file) as second:
                assert await second.hear("seat") is None
            async with player(node, tmp_path / "third") as third:
                assert (await third.hear("seat"))[:2] == [room, number]
