"""Replay in a process apart: what it dies of, or hangs in, does not take the rescuer with it.

    rescuer ── games, rooms, records ──► python -m server.apart: Replay ─► one more step of each room
            ◄──── what came of it ──────   (msgpack, stdin and stdout)     or it dies, or its alarm rings

The child makes one step more than the records have, whose outcome nobody uses: a room that kills whoever steps it next
is found here, too. Its alarm is put off with every piece of work; it also rings when the rescuer is gone. What a game
prints goes to stderr.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import msgpack
import numpy as np
import structlog
import trio

from cluster.codec import Record, decode_record, decode_snapshot, encode_record, encode_snapshot
from cluster.replay import Diverged, Kind, Replay, Replayed, ReplayResult, ReplayRoom
from game.api import Game
from game.commands import TickCommands
from game.errors import GameError
from game.object_batch import batch_for
from game.rows import RowLayout
from game.save import pack_room, unpack_room

PIECE_MOST_S = 4.0
"""A piece of work is at most one tick of a batch: who takes longer hangs."""
START_MOST_S = 30.0
DEADLINE_S = 300.0
"""For a child whose game has turned the alarm off."""
MEMORY_MAX_BYTES = 8 << 30

READY = b"ready"
"""What a child says before it makes the first step: if it ends before, that is no room's fault."""

log = structlog.get_logger("holdfast.recovery")
MakeGame = Callable[[str, Mapping[str, int], int], Game]


class CannotReplayApart(Exception):
    """No child can do it: because of the machine, or of where the game lies."""


async def replay_apart(
    make_game: MakeGame, rooms: Sequence[ReplayRoom], records: Mapping[str, Iterable[Record]]
) -> ReplayResult | None:
    """What `Replay` makes of these rooms; None when the process that did it has died, or did not come back. Raises
    CannotReplayApart."""
    kinds = {room.kind: game_of(room, make_game) for room in rooms}
    told = await trio.to_thread.run_sync(_dump_task, kinds, rooms, records)
    path = os.pathsep.join(filter(None, sys.path))
    with trio.move_on_after(DEADLINE_S) as deadline:
        try:
            done = await trio.run_process(
                [sys.executable, "-P", "-m", "server.apart"],
                stdin=told,
                capture_stdout=True,
                check=False,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
                deliver_cancel=_kill,
            )
        except OSError as error:
            raise CannotReplayApart(f"no process can be started: {error}") from error
    late = deadline.cancelled_caught  # `run_process` has made an end of it then
    if not late and not done.stdout.startswith(READY):
        raise CannotReplayApart(f"the child cannot play these games as we do ({_ended(done.returncode)}): see above")
    try:
        if late or done.returncode:
            raise ValueError(f"no answer within {DEADLINE_S:g} s" if late else _ended(done.returncode))
        return _load_result(_unpacked(done.stdout[len(READY) :]), make_game, rooms)
    except (ValueError, TypeError, KeyError, GameError, msgpack.UnpackException) as error:
        log.error("replay_died", rooms=len(rooms), first=rooms[0].room, reason=str(error))
        return None


def _dump_task(
    kinds: Mapping[Kind, Game], rooms: Sequence[ReplayRoom], records: Mapping[str, Iterable[Record]]
) -> bytes:
    needed = {piece[1] for room in rooms for piece in room.slices}
    data: bytes = msgpack.packb(
        {
            "games": [
                [kind, type(game).__module__, type(game).__qualname__, game.fingerprint] for kind, game in kinds.items()
            ],
            "piece_most_s": PIECE_MOST_S,
            "rooms": [_dump_room(room) for room in rooms],
            "records": {
                incarnation: [[one.position, encode_record(incarnation, one.position, one.stages)] for one in some]
                for incarnation, some in records.items()
                if incarnation in needed
            },
        }
    )
    return data


def _unpacked(data: bytes) -> Any:
    return msgpack.unpackb(data, max_bin_len=2**31 - 1)


async def _kill(child: trio.Process) -> None:
    """What hangs in a game hears no signal that it could take."""
    child.kill()


def _ended(code: int) -> str:
    if code == -signal.SIGALRM:
        return f"a tick took longer than {PIECE_MOST_S:g} s"
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _dump_room(room: ReplayRoom) -> list[Any]:
    snapshot = b"" if room.snapshot is None else encode_snapshot(room.snapshot)
    return [room.room, room.seed, snapshot, room.kind, room.slices]


def _load_room(name: str, seed: int, snapshot: bytes, kind: Any, slices: Any) -> ReplayRoom:
    game, tick_hz, options = kind
    return ReplayRoom(
        name,
        seed,
        decode_snapshot(snapshot) if snapshot else None,
        (game, tick_hz, tuple((option, value) for option, value in options)),
        tuple((epoch, incarnation, first, last) for epoch, incarnation, first, last in slices),
    )


def _dump_result(result: ReplayResult, games: Mapping[str, Game]) -> dict[str, Any]:
    return {
        "good": {
            room: [made.tick, made.hash, pack_room(games[room], made.saved), made.last]
            for room, made in result.good.items()
        },
        "ended": sorted(result.ended),
        "diverged": [attrs.astuple(diverged) for diverged in result.diverged.values()],
        "counts": [result.ticks, result.rounds],
    }


def _load_result(told: dict[str, Any], make_game: MakeGame, rooms: Sequence[ReplayRoom]) -> ReplayResult:
    good = {}
    for room in rooms:
        if room.room in told["good"]:
            tick, digest, saved, last = told["good"][room.room]
            game = game_of(room, make_game)
            good[room.room] = Replayed(tick, digest, unpack_room(game, saved, RowLayout(game).row_bytes), tuple(last))
    diverged = {fields[0]: Diverged(*fields) for fields in told["diverged"]}
    return ReplayResult(good, set(told["ended"]), diverged, *told["counts"])


def game_of(room: ReplayRoom, make_game: MakeGame) -> Game:
    """A room's rules."""
    name, tick_hz, options = room.kind
    return make_game(name, dict(options), tick_hz)


# -- the child ---------------------------------------------------------------------------------------------------------


def load_games(told: dict[str, Any]) -> dict[Kind, Game]:
    """The games of the rooms; raises whatever keeps them from being the parent's."""
    games: dict[Kind, Game] = {}
    for (name, tick_hz, options), module, qualname, fingerprint in told["games"]:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
        kind = name, tick_hz, tuple((option, value) for option, value in options)
        games[kind] = found(dict(options), tick_hz)
        if games[kind].fingerprint != fingerprint:
            raise CannotReplayApart(f"{module}:{qualname} is not what the parent plays: its code has changed")
    return games


def replay(told: dict[str, Any], games: Mapping[Kind, Game], alarm: Callable[[], object]) -> dict[str, Any]:
    """Make rooms again, and one step more; `alarm` is called before each piece of work. What came of it, as told."""

    def make_game(name: str, options: Mapping[str, int], tick_hz: int) -> Game:
        return games[name, tick_hz, tuple(sorted(options.items()))]

    rooms = [_load_room(*room) for room in told["rooms"]]
    records = {
        incarnation: [decode_record(data, incarnation, position) for position, data in some]
        for incarnation, some in told["records"].items()
    }
    made = Replay(make_game, rooms, records)
    alarm()
    while not made.work(1):
        alarm()
    told = _dump_result(made.result, {room.room: game_of(room, make_game) for room in rooms})
    for room in rooms:
        if room.room in made.result.good:
            alarm()
            batch = batch_for(game_of(room, make_game))
            batch.enter_all([made.result.good[room.room].saved])
            batch.step(TickCommands(np.zeros(0, batch.input_record)))
    return told


def _alarm(seconds: float) -> None:
    """End this process in a while, whatever it does then, unless this is called again."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def main() -> None:
    """Read what is to be done, do it, write what came of it."""
    _alarm(START_MOST_S)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_MAX_BYTES if hard == resource.RLIM_INFINITY else min(hard, MEMORY_MAX_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        told = _unpacked(sys.stdin.buffer.read())
        games = load_games(told)
        out.write(READY)
        out.flush()
        result = replay(told, games, lambda: _alarm(told["piece_most_s"]))
        _alarm(START_MOST_S)
        out.write(msgpack.packb(result))


if __name__ == "__main__":
    main()
