"""A server that was killed, whose files were hurt before it starts again: what is whole goes on exactly, what cannot be
known to be whole is quarantined alone, with its evidence, and nothing of it is passed off as something else.

A real process with players is killed once; every test hurts a copy of its data in its own way.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from cluster.codec import decode_record, decode_snapshot, encode_snapshot
from cluster.sqlite import SqliteStore
from cluster.store import SNAPSHOTS_KEPT
from netcode.client import SavedSession, SeatedRoom, connect
from server.node import PlayedGame, run_node
from server.settings import Settings
from server.start import StartFailed
from tests.server.books import Player, player
from tests.server.disks import filled, small_disk
from tests.server.games import Counter
from tests.server.helpers import Node, running, until
from tests.server.processes import Server, serving

PLAYERS = 3
RECORDS_BEHIND = 24
"""At the kill so many records, two of each room at least, lie behind every snapshot."""


@attrs.frozen
class Left:
    """What a player had at the kill."""

    saved: SavedSession
    room: str
    tick: int
    acknowledged: int


@attrs.frozen
class Wreck:
    """What a killed server has left."""

    data: Path
    incarnation: str
    players: list[Left]
    records: dict[int, set[str]]
    """Position → rooms, from the newest snapshots on."""

    @property
    def log(self) -> Path:
        """The write-ahead log of the journal."""
        return self.data / "cluster" / "journals" / f"{self.incarnation}.db-wal"

    @property
    def victim(self) -> str:
        """The room that is hurt, of the first player."""
        return self.players[0].room

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[sqlite3.Connection]:
        """A file of the store, to be changed behind its back."""
        path = self.data / "cluster" / name
        assert path.exists()
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
            yield raw

    def flip(self, name: str, table: str, where: str, *values: Any) -> None:
        """Change one bit in the middle of a stored value."""
        with self.file(name) as raw:
            ((data,),) = raw.execute(f"SELECT data FROM {table} WHERE {where}", values).fetchall()
            hurt = bytearray(data)
            hurt[len(hurt) // 2] ^= 4
            raw.execute(f"UPDATE {table} SET data = ? WHERE {where}", (bytes(hurt), *values))

    def flip_record(self, position: int) -> None:
        """Change a bit of a record."""
        self.flip(f"journals/{self.incarnation}.db", "records", "position = ?", position)

    def prune(self, through: int) -> None:
        """Cut the journal, as its owner would have a little later."""
        with self.file(f"journals/{self.incarnation}.db") as raw:
            assert raw.execute("DELETE FROM records WHERE position <= ?", (through,)).rowcount

    def snapshot_ticks(self) -> list[int]:
        """Of the victim, oldest first."""
        with self.file("snapshots.db") as raw:
            found = raw.execute("SELECT tick FROM snapshots WHERE room = ? ORDER BY tick", (self.victim,)).fetchall()
        return [tick for (tick,) in found]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    """Three rooms with a player each; all have three snapshots."""
    folder = tmp_path_factory.mktemp("killed")
    with serving(folder, folder / "data", "node", options=("--snapshot-s", "0.5", "--phases", "4")) as (server,):
        return trio.run(_play, server, folder / "data")


async def _play(server: Server, data: Path) -> Wreck:
    async with contextlib.AsyncExitStack() as stack:
        players = [await stack.enter_async_context(player(server.address, own_room=True)) for _ in range(PLAYERS)]
        rooms = [each.room_id for each in players]
        async with SqliteStore.open(data / "cluster") as store:
            while not await _is_ripe(store, rooms):
                await players[0].plays(1)
        server.kill()
        left = [Left(each.client.saved(), each.room_id, each.seen[-1][1], each.acknowledged) for each in players]
    looked_at = data.with_name("looked at")
    shutil.copytree(data, looked_at)
    async with SqliteStore.open(looked_at / "cluster") as store:
        (member,) = await store.journals.members()
        first, records = member.tip - RECORDS_BEHIND + 1, {}
        for position, found in enumerate(await store.journals.read(member.incarnation, first, member.tip), first):
            stages = decode_record(found, member.incarnation, position).stages
            records[position] = {room for stage in stages for room in stage.rooms}
    return Wreck(data, server.incarnation, left, records)


async def _is_ripe(store: SqliteStore, rooms: list[str]) -> bool:
    found = await store.snapshots.newest(rooms)
    if [len(some) for some in found.values()] != [SNAPSHOTS_KEPT] * PLAYERS:
        return False
    newest = max(decode_snapshot(some[0]).position for some in found.values())
    (member,) = await store.journals.members()
    return member.tip - newest >= RECORDS_BEHIND


@pytest.fixture
def wreck(killed: Wreck, tmp_path: Path) -> Wreck:
    """A copy to be hurt."""
    shutil.copytree(killed.data, tmp_path / "data")
    return attrs.evolve(killed, data=tmp_path / "data")


Told = list[Any]


@contextlib.asynccontextmanager
async def started(wreck: Wreck, told: Told, game: type[Counter] = Counter) -> AsyncIterator[Node]:
    """A node on the hurt data; its log goes into `told`."""
    with capture_logs() as log:
        try:
            async with running(wreck.data, [PlayedGame(game(), "counter")], phases=4) as node:
                yield node
        finally:
            told += log


async def goes_on(node: Node, left: Left, *, exactly: bool = True) -> None:
    """The player is back in the room, which is where it was, or (not `exactly`) lacks its end."""
    async with connect(resume=attrs.evolve(left.saved, server=node.server)) as client:
        room = await client.resumed_room()
        assert isinstance(room, SeatedRoom)
        assert room.info.room == left.room
        again = Player(client, room)
        await again.plays(2)
        assert {epoch for epoch, _ in again.seen} == {2}
        if exactly:
            assert again.seen[0][1] > left.tick
            assert again.acknowledged >= left.acknowledged
        await again.settle()


async def is_gone(node: Node, left: Left) -> None:
    """The player is told that its room is no more, and may play another."""
    async with connect(resume=attrs.evolve(left.saved, server=node.server)) as client:
        assert await client.resumed_room() is None
        room = await client.join("counter")
        assert room.info.room != left.room
        await room.next_frame()


def lines(told: Told, event: str) -> list[Any]:
    return [line for line in told if line["event"] == event]


async def is_quarantined(wreck: Wreck, told: Told, rooms: set[str]) -> None:
    """These rooms and no others, each with the bytes of its newest snapshot."""
    assert {line["room"] for line in lines(told, "room_not_recovered")} == rooms
    for line in lines(told, "room_not_recovered"):
        assert line["evidence"]
        assert len(await trio.Path(line["evidence"]).read_bytes()) > 100
    async with SqliteStore.open(wreck.data / "cluster") as store:
        left = {entry.room for entry in await store.rooms.entries()}
    assert not left & rooms


async def test_what_was_not_hurt_goes_on(wreck: Wreck) -> None:
    told: Told = []
    async with started(wreck, told) as node:
        for left in wreck.players:
            await goes_on(node, left)
    complaints = {line["event"] for line in told if line["log_level"] in ("warning", "error")}
    assert complaints <= {"tick_late", "ticks_skipped"}, "on a busy machine"


@pytest.mark.parametrize("how", ["cut", "flipped"])
async def test_the_end_of_the_journals_log_is_hurt(wreck: Wreck, how: str) -> None:
    """SQLite ends the log where its checksums end: the last tick is gone, as if it had never been."""
    data = bytearray(wreck.log.read_bytes())
    if how == "cut":
        del data[-1000:]
    else:
        data[-1000] ^= 4
    wreck.log.write_bytes(data)
    told: Told = []
    async with started(wreck, told) as node:
        for left in wreck.players:
            await goes_on(node, left, exactly=False)
    await is_quarantined(wreck, told, set())


async def test_a_record_is_hurt(wreck: Wreck) -> None:
    """One tick of one room is gone for good; the records behind it show that the others had no part in it."""
    position = next(position for position, rooms in wreck.records.items() if rooms == {wreck.victim})
    wreck.flip_record(position)
    told: Told = []
    async with started(wreck, told) as node:
        await is_gone(node, wreck.players[0])
        for left in wreck.players[1:]:
            await goes_on(node, left)
    assert lines(told, "record_damaged")[0]["position"] == position
    await is_quarantined(wreck, told, {wreck.victim})


async def test_the_last_record_is_hurt(wreck: Wreck) -> None:
    """Whose tick it was nobody knows any more: no room can be known to be whole, and none is cut in silence."""
    wreck.flip_record(max(wreck.records))
    told: Told = []
    async with started(wreck, told) as node:
        for left in wreck.players:
            await is_gone(node, left)
    await is_quarantined(wreck, told, {left.room for left in wreck.players})


async def test_the_newest_snapshot_is_hurt(wreck: Wreck) -> None:
    wreck.flip("snapshots.db", "snapshots", "room = ? AND tick = ?", wreck.victim, wreck.snapshot_ticks()[-1])
    told: Told = []
    async with started(wreck, told) as node:
        for left in wreck.players:
            await goes_on(node, left)
    assert {line["room"] for line in lines(told, "snapshot_passed_over")} == {wreck.victim}
    await is_quarantined(wreck, told, set())


async def test_the_newest_snapshot_is_of_a_newer_version(wreck: Wreck) -> None:
    with wreck.file("snapshots.db") as raw:
        where = "WHERE room = ? AND tick = ?"
        which = wreck.victim, wreck.snapshot_ticks()[-1]
        ((data,),) = raw.execute(f"SELECT data FROM snapshots {where}", which).fetchall()
        newer = encode_snapshot(attrs.evolve(decode_snapshot(data), fingerprint="0" * 32))
        raw.execute(f"UPDATE snapshots SET data = ? {where}", (newer, *which))
    told: Told = []
    async with started(wreck, told) as node:
        for left in wreck.players:
            await goes_on(node, left)
    assert "rules" in lines(told, "snapshot_passed_over")[0]["reason"]
    await is_quarantined(wreck, told, set())


async def test_all_snapshots_of_a_room_are_hurt(wreck: Wreck) -> None:
    wreck.prune(100)
    for tick in wreck.snapshot_ticks():
        wreck.flip("snapshots.db", "snapshots", "room = ? AND tick = ?", wreck.victim, tick)
    told: Told = []
    async with started(wreck, told) as node:
        await is_gone(node, wreck.players[0])
        for left in wreck.players[1:]:
            await goes_on(node, left)
    await is_quarantined(wreck, told, {wreck.victim})


BROKEN: dict[str, Callable[[str], tuple[str, Any]]] = {
    "no JSON": lambda owner: ("chain", f'[[1, "{owner}"'),
    "another chain": lambda owner: ("chain", "[]"),
    "no text": lambda owner: ("fingerprint", b"\xff\xfe"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_row_of_the_directory_is_hurt(wreck: Wreck, how: str) -> None:
    column, value = BROKEN[how](wreck.incarnation)
    with wreck.file("directory.db") as raw:
        raw.execute(f"UPDATE rooms SET {column} = CAST(? AS TEXT) WHERE room = ?", (value, wreck.victim))
    told: Told = []
    async with started(wreck, told) as node:
        await is_gone(node, wreck.players[0])
        for left in wreck.players[1:]:
            await goes_on(node, left)
    (line,) = lines(told, "row_unreadable")
    assert "directory.db" in line["error"]
    with wreck.file("directory.db") as raw:
        assert raw.execute("SELECT owner FROM rooms WHERE room = ?", (wreck.victim,)).fetchall() == [
            (wreck.incarnation,)
        ], "it is kept as it was"
    assert len(wreck.snapshot_ticks()) == SNAPSHOTS_KEPT


class Newer(Counter):
    """The next version of the game."""

    version = 2


async def test_a_newer_version_of_the_game_leaves_rooms_of_the_older_one_alone(wreck: Wreck) -> None:
    told: Told = []
    async with started(wreck, told, Newer) as node, player(node.server) as newcomer:
        await newcomer.plays()
        entries = {entry.room: entry for entry in await node.parts.store.rooms.entries()}
        for left in wreck.players:
            entry = entries.pop(left.room)
            assert (entry.owner, entry.epoch, entry.attempts) == (wreck.incarnation, 1, 0)
        assert set(entries) == {newcomer.room_id}
    await is_quarantined(wreck, told, set())
    async with started(wreck, told) as node:  # the older one again
        for left in wreck.players:
            await goes_on(node, left)


async def test_a_newer_version_tells_of_rooms_that_it_cannot_play(wreck: Wreck) -> None:
    told: Told = []
    async with started(wreck, told, Newer) as node:
        await until(lambda: any(member.sealed for member in node.parts.tenure.members))
        async with player(node.server) as newcomer:
            await newcomer.plays()
    (line,) = lines(told, "rooms_left_alone")
    assert (line["of"], line["count"]) == (wreck.incarnation, len({left.room for left in wreck.players}))


async def test_a_journal_without_its_log_makes_no_room_anew(wreck: Wreck) -> None:
    """Its tip is 0 then, and snapshots name later positions."""
    wreck.log.write_bytes(b"")
    told: Told = []
    async with started(wreck, told) as node:
        for left in wreck.players:
            await is_gone(node, left)
    await is_quarantined(wreck, told, {left.room for left in wreck.players})


@pytest.mark.parametrize("newest", [1, SNAPSHOTS_KEPT])
async def test_records_that_were_cut_are_not_asked_for(wreck: Wreck, newest: int) -> None:
    """Whether the newest snapshot is hurt, or all of them."""
    wreck.prune(100)
    for tick in wreck.snapshot_ticks()[-newest:]:
        wreck.flip("snapshots.db", "snapshots", "room = ? AND tick = ?", wreck.victim, tick)
    told: Told = []
    async with started(wreck, told) as node:
        await (goes_on if newest == 1 else is_gone)(node, wreck.players[0])
    assert not lines(told, "journal_damaged")


async def test_a_fence_that_cannot_be_true(wreck: Wreck) -> None:
    with wreck.file(f"journals/{wreck.incarnation}.db") as raw:
        raw.execute("UPDATE fence SET tip = tip - 1")
    told: Told = []
    async with started(wreck, told) as node:
        for left in wreck.players:
            await is_gone(node, left)
    await is_quarantined(wreck, told, {left.room for left in wreck.players})


async def test_a_journal_that_is_gone(wreck: Wreck) -> None:
    path = wreck.log.with_name(f"{wreck.incarnation}.db")
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    told: Told = []
    async with started(wreck, told) as node:
        for left in wreck.players:
            await is_gone(node, left)
    await is_quarantined(wreck, told, {left.room for left in wreck.players})


async def test_there_is_no_room_for_a_journal(tmp_path: Path) -> None:
    with small_disk(tmp_path / "cluster" / "journals") as disk:
        if disk is None:
            pytest.skip("to fill a disk it takes one of our own, and root to mount it")
        with filled(disk), pytest.raises(StartFailed, match="disk is full"):
            await run_node(Settings(data=tmp_path, port=0), [PlayedGame(Counter(), "counter")], stop=trio.Event())
        async with running(tmp_path) as node, player(node.server) as ann:
            await ann.settle()
