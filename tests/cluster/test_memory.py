"""The engine `memory`: all that a store promises, in both ways of appending, and the faults that tests put into it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import pytest
import trio

from cluster.errors import (
    Damaged,
    JournalFenced,
    NodeTaken,
    StoreBusy,
    StoreUnavailable,
    StoreUnusable,
    UnknownJournal,
)
from cluster.memory import MemoryStore, MemoryWorld
from cluster.store import Cipher, Store
from tests.cluster.contract import A, B, OpenStore, StoreContract, every_operation
from tests.cluster.helpers import XorCipher, append_all, entry, member, session, snapshot

READS = {
    *("journals.members", "journals.read", "snapshots.newest", "rooms.get", "rooms.find_code", "rooms.owned_by"),
    "rooms.coming_to",
    *("rooms.entries", "rooms.owners", "sessions.get", "sessions.of_account"),
}


def opener(world: MemoryWorld, direct: bool) -> OpenStore:
    def open_store(cipher: Cipher | None = None) -> AbstractAsyncContextManager[Store]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Store]:
            store = world.store(direct=direct, cipher=cipher)
            yield store
            await store.aclose()

        return opened()

    return open_store


class TestDirect(StoreContract):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return opener(MemoryWorld(), direct=True)


class TestAwaited(StoreContract):
    """As with machines far apart: appends are awaited, and nobody sees another's process."""

    sees_processes = False

    @pytest.fixture
    def open_store(self) -> OpenStore:
        return opener(MemoryWorld(sees_processes=False), direct=False)


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


@pytest.fixture
def store(world: MemoryWorld) -> MemoryStore:
    return world.store()


async def filled(world: MemoryWorld) -> None:
    """Something of everything, so that every operation of `every_operation` can be done."""
    first = world.store()
    for node in "ab":
        await first.journals.open(member(node))
    await first.journals.seal(B)
    await first.snapshots.put([snapshot("r", 1, 9)])
    await first.rooms.create(entry("s", A))
    await first.sessions.open(session("t"))


def contents(world: MemoryWorld) -> str:
    return repr([(i, j.member, j.records) for i, j in world.journals.items()]) + repr(
        (world.snapshots, world.rooms, world.sessions, world.accounts)
    )


def test_the_list_of_operations_is_whole(world: MemoryWorld) -> None:
    store = world.store()
    found = {
        f"{part}.{name}"
        for part in ("journals", "snapshots", "rooms", "sessions")
        for name in dir(getattr(store, part))
        if not name.startswith("_") and callable(getattr(getattr(store, part), name))
    }
    assert found - {"journals.append_now"} == set(every_operation(store))


@pytest.mark.parametrize("operation", sorted(every_operation(MemoryWorld().store())))
async def test_every_operation_meets_the_faults_of_its_name(operation: str, world: MemoryWorld) -> None:
    await filled(world)
    before = contents(world)
    store, healthy = world.store(), world.store()
    call = every_operation(store)[operation]
    store.faults.lost(operation)
    with pytest.raises(StoreUnavailable):
        await call()
    if operation not in READS:
        store.faults.busy(operation, times=2)
        for _ in range(2):
            with pytest.raises(StoreBusy):
                await call()
    hanging = store.faults.hang(operation)
    with trio.CancelScope() as scope:
        scope.cancel()
        await call()
    assert hanging.met == 0, "cancelled before it began"
    assert contents(world) == before
    store.faults.back()
    store.faults.unknown(operation)
    with pytest.raises(StoreUnavailable):
        await call()
    once = contents(world)
    with contextlib.suppress(StoreUnusable):  # of an incarnation that is opened twice
        await every_operation(healthy)[operation]()
    assert contents(world) == once, "done again after an unknown outcome it does no harm"


async def test_busy_is_for_who_writes_only(store: MemoryStore) -> None:
    rule = store.faults.busy("*", times=math.inf)
    await store.journals.members()
    assert rule.met == 0
    with pytest.raises(StoreBusy):
        await store.rooms.create(entry("r"))
    await store.rooms.entries()
    assert rule.met == 1


async def test_a_fault_is_met_as_often_as_told_and_by_what_it_names(store: MemoryStore) -> None:
    await store.journals.open(member("a"))
    rule = store.faults.busy("journals.append", times=2)
    await store.rooms.create(entry("r"))
    with pytest.raises(StoreBusy):
        store.journals.append_now(A, 1, b"one")
    with pytest.raises(StoreBusy):
        await store.journals.append(A, 1, b"one")
    assert rule.met == 2
    store.journals.append_now(A, 1, b"one")
    assert await store.journals.read(A, 1, 9) == [b"one"]


async def test_an_append_of_unknown_outcome_is_settled_by_reading(store: MemoryStore) -> None:
    await store.journals.open(member("a"))
    store.faults.lost("journals.append")
    store.faults.unknown("journals.append", times=2)
    with pytest.raises(StoreUnavailable):
        store.journals.append_now(A, 1, b"one")
    assert await store.journals.read(A, 1, 1) == []
    with pytest.raises(StoreUnavailable):
        store.journals.append_now(A, 1, b"one")
    assert await store.journals.read(A, 1, 1) == [b"one"]
    with pytest.raises(StoreUnavailable):
        await store.journals.append(A, 2, b"two")
    store.journals.append_now(A, 2, b"two")
    assert await store.journals.seal(A) == 2


async def test_a_claim_of_unknown_outcome_is_done_again(world: MemoryWorld, store: MemoryStore) -> None:
    await store.rooms.create(entry("r", A))
    store.faults.unknown("rooms.claim")
    with pytest.raises(StoreUnavailable):
        await store.rooms.claim(["r"], A, 4, B, 1)
    assert await world.store().rooms.claim(["r"], A, 4, "c.1", 1) == []
    (row,) = await store.rooms.claim(["r"], A, 4, B, 1)
    assert (row.owner, row.epoch) == (B, 2)


async def test_a_store_that_is_away_comes_back(world: MemoryWorld, store: MemoryStore) -> None:
    other = world.store()
    await store.journals.open(member("a"))
    store.faults.busy("*", times=100)
    store.faults.away()
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            store.journals.append_now(A, 1, b"one")
        with pytest.raises(StoreUnavailable):
            await store.journals.members()
    assert len(await other.journals.members()) == 1, "it is away for one node only"
    store.faults.back()
    world.faults.away()
    for handle in (store, other):
        with pytest.raises(StoreUnavailable):
            await handle.journals.members()
    world.faults.back()
    store.journals.append_now(A, 1, b"one")
    assert await other.journals.read(A, 1, 1) == [b"one"]


async def test_delays_add_up_and_the_rest_follows(store: MemoryStore, autojump_clock: trio.abc.Clock) -> None:
    store.faults.delay("rooms.*", 3.0, times=2)
    store.faults.delay("rooms.create", 4.0)
    store.faults.lost("rooms.create")
    start = trio.current_time()
    with pytest.raises(StoreUnavailable):
        await store.rooms.create(entry("r"))
    assert trio.current_time() - start == pytest.approx(7.0)
    assert await store.rooms.get("r") is None
    assert trio.current_time() - start == pytest.approx(10.0)
    await store.rooms.create(entry("r"))
    assert trio.current_time() - start == pytest.approx(10.0)


async def test_a_store_that_goes_away_during_a_delay_is_away(
    world: MemoryWorld, store: MemoryStore, autojump_clock: trio.abc.Clock
) -> None:
    store.faults.delay("rooms.create", 5.0)

    async def create() -> None:
        with pytest.raises(StoreUnavailable):
            await store.rooms.create(entry("r"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        await trio.sleep(1)
        world.faults.away()
    assert world.rooms == {}


@pytest.mark.parametrize("after", [False, True])
async def test_what_hangs_hangs_until_it_is_cancelled(
    after: bool, world: MemoryWorld, store: MemoryStore, autojump_clock: trio.abc.Clock
) -> None:
    store.faults.hang("rooms.create", after=after)
    with trio.move_on_after(30) as scope:
        await store.rooms.create(entry("r"))
    assert scope.cancelled_caught
    assert ("r" in world.rooms) == after
    await store.rooms.create(entry("r"))


async def test_a_direct_append_does_not_wait(store: MemoryStore) -> None:
    await store.journals.open(member("a"))
    store.faults.delay("journals.append", 60.0)
    store.faults.hang("journals.*")
    store.journals.append_now(A, 1, b"one")
    store.faults.lost("journals.append")
    with pytest.raises(StoreUnavailable):
        store.journals.append_now(A, 2, b"two")


async def test_a_zombie_finds_out_by_its_append(world: MemoryWorld, store: MemoryStore) -> None:
    await store.journals.open(member("a"))
    await append_all(store, A, [b"one"])
    assert await world.store().journals.seal(A) == 1
    with pytest.raises(JournalFenced):
        store.journals.append_now(A, 2, b"two")
    await world.store().journals.open(member("a", life=2))
    with pytest.raises(NodeTaken):
        await world.store().journals.open(member("a", life=3))


async def test_an_id_is_not_used_again_even_after_its_journal_is_gone(store: MemoryStore) -> None:
    await store.journals.open(member("a"))
    await store.journals.seal(A)
    await store.journals.remove(A)
    with pytest.raises(StoreUnusable):
        await store.journals.open(member("a"))
    with pytest.raises(UnknownJournal):
        await store.journals.seal(A)


async def test_a_closed_handle_does_nothing_more(world: MemoryWorld, store: MemoryStore) -> None:
    await filled(world)
    before = contents(world)
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    await store.aclose()
    for call in every_operation(store).values():
        with pytest.raises(StoreUnavailable, match="closed"):
            await call()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.journals.append_now(A, 1, b"one")
    assert contents(world) == before


async def test_a_lost_record_is_told(world: MemoryWorld, store: MemoryStore) -> None:
    await store.journals.open(member("a"))
    await append_all(store, A, [b"one", b"two", b"three"])
    del world.journals[A].records[2]
    assert await store.journals.read(A, 1, 3) == [b"one"]
    with pytest.raises(Damaged, match="record 2"):
        await store.journals.read(A, 2, 3)
    assert await store.journals.read(A, 3, 3) == [b"three"]


async def test_what_is_private_is_sealed_in_the_store(world: MemoryWorld) -> None:
    record = session("sess", "acct", name="A Secret Name", profile={"email": "nobody@example"}, room="room 9")
    for cipher, readable in [(None, True), (XorCipher(), False)]:
        store = world.store(cipher=cipher)
        await store.sessions.open(record)
        await store.sessions.replace(record, attrs.evolve(record, generation=1))
        body = world.sessions["sess"].body
        for private in (b"A Secret Name", b"nobody@example", b"room 9", record.secret_hash):
            assert (private in body) == readable


async def test_a_session_whose_bytes_were_changed_is_damaged(world: MemoryWorld, store: MemoryStore) -> None:
    await store.sessions.open(session("s", "ann"))
    await store.sessions.open(session("t", "bob"))
    world.sessions["s"].body = world.sessions["t"].body
    with pytest.raises(Damaged, match="another"):
        await store.sessions.get("s", 0.0)
    world.sessions["t"].body = b"\xc1"
    with pytest.raises(Damaged):
        await store.sessions.of_account("bob", 0.0)


async def test_a_session_keeps_its_account(store: MemoryStore) -> None:
    await store.sessions.open(session("s", "ann"))
    with pytest.raises(ValueError, match="another account"):
        await store.sessions.open(session("s", "bob"))
    with pytest.raises(ValueError, match="its account"):
        await store.sessions.replace(session("s", "ann"), session("s", "bob"))
    with pytest.raises(ValueError, match="cannot become"):
        await store.rooms.replace(entry("r"), entry("s"))
