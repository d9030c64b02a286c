"""Nodes that were stopped and wake: nothing that one does then is applied or told that the journal does not hold.

On the memory engine one wakes after others have sealed it, whatever had reached the store before; a real process is
killed before its journal is sealed, unless it is out of reach.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from math import inf
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from cluster.codec import decode_record
from cluster.memory import MemoryWorld
from cluster.sqlite import SqliteStore
from tests.server.books import player
from tests.server.processes import serving, supervising
from tests.server.worlds import Life, Nodes, let_jump, ordinary_clock

STOPPED_S, LONG_S = 6.0, 25.0


@pytest.fixture
def clock() -> MockClock:
    return ordinary_clock()


def stop_before_the_store(node: Life) -> None:
    """What it says to the store arrives when it wakes."""
    node.store.faults.delay("*", STOPPED_S, inf)


def stop_behind_the_store(node: Life) -> None:
    """What it says to the store has been carried out, and it hears of that when it wakes."""
    node.store.faults.delay("*", STOPPED_S, inf, after=True)


def lose_the_lease_alone(node: Life) -> None:
    """It cannot renew, and could append."""
    node.store.faults.delay("journals.renew", STOPPED_S, inf)


def stop_its_clock(node: Life) -> None:
    """The same, and it never notices that its lease is over."""
    lose_the_lease_alone(node)
    node.running.tenure.lease.until = inf


def ticks_of(life: Life, room: str) -> list[int]:
    """The ticks of a room that a node's journal holds, in their order."""
    records = life.store.world.journals[life.incarnation].records
    return [
        int(tick)
        for position in sorted(records)
        for stage in decode_record(records[position], life.incarnation, position).stages
        for name, tick in zip(stage.rooms, stage.ticks, strict=True)
        if name == room
    ]


@pytest.fixture
async def nodes(tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    found = Nodes(MemoryWorld(sees_processes=False), tmp_path, nursery, monkeypatch)
    yield found
    await found.end()


@pytest.mark.parametrize(
    ("stop", "direct"),
    [
        (stop_before_the_store, False),
        (stop_behind_the_store, False),
        (lose_the_lease_alone, True),
        (stop_its_clock, True),
    ],
)
async def test_one_that_wakes_after_it_was_sealed(
    clock: MockClock, nodes: Nodes, stop: Callable[[Life], None], direct: bool
) -> None:
    world, lives = nodes.world, [await nodes.start(name, direct=direct) for name in ("a", "b")]
    async with player(",".join(life.address for life in lives)) as ann:
        let_jump(clock)
        zombie, heir = sorted(lives, key=lambda life: life.incarnation != world.rooms[ann.room_id].owner)
        await ann.plays(10)
        stop(zombie)
        await ann.plays_at(epoch=2)
        assert zombie.ended.is_set() == (stop is stop_its_clock), "it has not woken yet; one that ran was told at once"
        journal = world.journals[zombie.incarnation]
        stored, sent = dict(journal.records), zombie.running.metrics.frames_sent
        await zombie.ended.wait()
        assert zombie.fenced
        assert journal.records == stored, "it has stored nothing since it was sealed"
        assert zombie.running.metrics.frames_sent == sent, "nor told anything"
        await ann.plays(20)
        await ann.settle()
    told = [[tick for at, tick in ann.seen if at == epoch] for epoch in (1, 2)]
    ticks = [ticks_of(life, ann.room_id) for life in (zombie, heir)]
    assert set(told[0]) <= set(ticks[0])
    assert set(told[1]) <= set(ticks[1])
    assert ticks[0] + ticks[1] == list(range(1, ticks[1][-1] + 1)), "every tick once, whoever has made it"


async def test_one_whose_journal_is_gone_when_it_wakes(
    clock: MockClock, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.housekeeping.REMOVE_AFTER_S", 1.0)
    world, lives = nodes.world, [await nodes.start(name, direct=False, keep_journals=False) for name in ("a", "b")]
    async with player(lives[0].address) as ann:
        zombie, heir = sorted(lives, key=lambda life: life.incarnation != world.rooms[ann.room_id].owner)
        await ann.plays(10)
    let_jump(clock)
    zombie.store.faults.delay("*", LONG_S, inf)
    while zombie.incarnation in world.journals:  # noqa: ASYNC110 - on a clock that jumps
        await trio.sleep(1.0)
    assert world.rooms[ann.room_id].owner == heir.incarnation
    assert not zombie.ended.is_set()
    await zombie.ended.wait()
    assert zombie.fenced


# -- real processes ----------------------------------------------------------------------------------------------------


async def test_a_process_that_is_woken_before_its_lapse_plays_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(tmp_path, data, "a", "b") as servers:
        async with SqliteStore.open(data / "cluster") as store, player(servers[0].address) as ann:
            entry = await store.rooms.get(ann.room_id)
            assert entry is not None
            (stopped,) = [server for server in servers if server.incarnation == entry.owner]
            await ann.plays(20)
            stopped.stop()
            await ann.misses()  # for half a second
            stopped.go_on()
            await ann.plays(20)
            assert ann.pauses == ["paused", "resumed"] * (len(ann.pauses) // 2)
            assert ann.has_kept_its_socket()
            assert {epoch for epoch, _ in ann.seen} == {1}
            assert not any(member.sealed for member in await store.journals.members())
            await ann.settle()


async def test_a_process_out_of_reach_that_was_sealed_ends_and_comes_back_as_another_incarnation(
    tmp_path: Path,
) -> None:
    """As on another machine: nobody could end it, it finds out by itself."""
    data = tmp_path / "data"
    with supervising(tmp_path, data, 2) as supervisor:
        async with SqliteStore.open(data / "cluster") as store, player(supervisor.address) as ann:
            await ann.plays(20)
            entry = await store.rooms.get(ann.room_id)
            assert entry is not None
            (member,) = [member for member in await store.journals.members() if member.incarnation == entry.owner]
            lock = data / "cluster" / "locks" / f"{member.incarnation}.lock"
            lock.write_text(f"{member.pid} another-boot.4026531836\n")
            tip = await store.journals.seal(member.incarnation)
            restarted = await supervisor.hear("node_restarts")
            assert (restarted["node"], restarted["code"]) == (member.node, 75)
            assert supervisor.said("node_fenced")[0]["incarnation"] == member.incarnation
            await ann.plays_at(epoch=2)
            again = await supervisor.hear("node_started", 3)
            assert again["node"] == member.node
            assert again["incarnation"] != member.incarnation
            sealed = {one.incarnation: one.tip for one in await store.journals.members() if one.sealed}
            assert sealed.get(member.incarnation, tip) == tip, "it has written nothing since"
            await ann.settle()
        assert not supervisor.said("process_killed")
