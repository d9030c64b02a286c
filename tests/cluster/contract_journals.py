"""What `cluster.store.Journals` promises: leases, records, and the fence that holds for ever."""

from __future__ import annotations

import contextlib

import attrs
import pytest
import trio

from cluster.errors import Damaged, JournalFenced, NodeTaken, StoreUnusable, UnknownJournal
from cluster.store import Store
from tests.cluster.harness import A, B, C, Harness, OpenStore
from tests.cluster.helpers import append, append_all, member


class JournalsContract(Harness):
    async def test_a_new_journal_is_empty_and_its_member_known_to_all(self, store: Store, other: Store) -> None:
        told = member("a", pid=77, draining=True, players=5, rooms=2, load=0.25, listing=b"\x01\x02", port=4001)
        await store.journals.open(attrs.evolve(told, sealed=True, tip=9))
        assert await other.journals.members() == [told]
        assert await other.journals.read(A, 1, 10) == []

    async def test_members_are_in_order_of_their_ids_whoever_opened_them(self, store: Store, other: Store) -> None:
        await store.journals.open(member("c"))
        await other.journals.open(member("a", life=2))
        await store.journals.open(member("b"))
        await other.journals.seal(C)
        members = await store.journals.members()
        assert [m.incarnation for m in members] == [member("a", life=2).incarnation, B, C]
        assert [m.sealed for m in members] == [False, False, True]

    async def test_an_incarnation_is_opened_once(self, open_store: OpenStore, store: Store) -> None:
        async with open_store() as first:
            await first.journals.open(member("a"))
            await append(first, A, 1, b"one")
            with pytest.raises(StoreUnusable):
                await first.journals.open(member("a"))
        with pytest.raises(StoreUnusable) as unsealed:
            await store.journals.open(member("a"))
        await store.journals.seal(A)
        with pytest.raises(StoreUnusable) as sealed:
            await store.journals.open(member("a"))
        assert NodeTaken not in (unsealed.type, sealed.type), "nobody lives under this name"
        assert await store.journals.read(A, 1, 2) == [b"one"]

    async def test_a_living_process_keeps_its_nodes_name(self, open_store: OpenStore, store: Store) -> None:
        async with open_store() as first:
            await first.journals.open(member("a"))
            with pytest.raises(NodeTaken) if self.sees_processes else contextlib.nullcontext():
                await store.journals.open(member("a", life=2))
            await store.journals.open(member("b"))
        await store.journals.open(member("a", life=3))
        assert {m.incarnation for m in await store.journals.members()} >= {A, B, member("a", life=3).incarnation}

    async def test_a_process_is_seen_to_live_and_to_die(self, open_store: OpenStore, store: Store) -> None:
        async with open_store() as first:
            await first.journals.open(member("a"))
            assert store.alive(A) is first.alive(A) is (True if self.sees_processes else None)
            await store.journals.open(member("b"))
        assert store.alive(A) is (False if self.sees_processes else None)
        assert store.alive(B) is (True if self.sees_processes else None)
        await store.journals.seal(A)
        assert store.alive(A) is (False if self.sees_processes else None)

    async def test_a_renewal_tells_all_but_seal_and_tip(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        await append(store, A, 1, b"one")
        told = member("a", counter=7, port=4002, draining=True, players=3, rooms=1, load=0.5, listing=b"rooms")
        await store.journals.renew(told)
        assert await other.journals.members() == [attrs.evolve(told, tip=1)]
        await store.journals.renew(attrs.evolve(told, counter=8, sealed=True, tip=5))
        assert await other.journals.members() == [attrs.evolve(told, counter=8, tip=1)]

    async def test_a_sealed_lease_is_not_renewed(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a", counter=1))
        await other.journals.seal(A)
        with pytest.raises(JournalFenced):
            await store.journals.renew(member("a", counter=2))
        assert await other.journals.members() == [member("a", counter=1, sealed=True)]

    async def test_a_seal_tells_the_tip_and_is_for_ever(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        await append_all(store, A, [b"one", b"two"])
        assert await other.journals.seal(A) == 2
        for position, data in [(3, b"three"), (2, b"two"), (9, b"nine")]:
            with pytest.raises(JournalFenced):
                await append(store, A, position, data)
        assert await other.journals.seal(A) == 2
        assert await store.journals.seal(A) == 2
        assert await other.journals.read(A, 1, 9) == [b"one", b"two"]
        assert [(m.sealed, m.tip) for m in await store.journals.members()] == [(True, 2)]

    async def test_an_empty_journal_is_sealed_at_0(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        assert await other.journals.seal(A) == 0
        with pytest.raises(JournalFenced):
            await append(store, A, 1, b"one")

    async def test_a_seal_leaves_other_journals_open(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        await other.journals.open(member("b"))
        await store.journals.seal(B)
        await append(store, A, 1, b"one")
        await store.journals.renew(member("a", counter=1))
        assert [m.sealed for m in await other.journals.members()] == [False, True]

    async def test_records_are_appended_behind_the_tip_and_nowhere_else(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        for position in (0, 2, -1):
            with pytest.raises(ValueError, match=A):
                await append(store, A, position, b"gap")
        await append_all(store, A, [b"one", b"", b"three"])
        for position in (5, 0):
            with pytest.raises(ValueError, match=A):
                await append(store, A, position, b"gap")
        assert await other.journals.read(A, 1, 9) == [b"one", b"", b"three"]
        assert [m.tip for m in await other.journals.members()] == [3]

    async def test_a_repetition_changes_nothing_and_other_bytes_are_refused(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        await append_all(store, A, [b"one", b"two"])
        for position, data in [(2, b"two"), (1, b"one")]:
            await append(store, A, position, data)
        for position, data in [(2, b"TWO"), (1, b"one and more"), (2, b"")]:
            with pytest.raises(ValueError, match=A):
                await append(store, A, position, data)
        assert await other.journals.read(A, 1, 9) == [b"one", b"two"]
        await append(store, A, 3, b"three")
        assert await other.journals.seal(A) == 3

    async def test_both_ways_of_appending_are_one_journal(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        await store.journals.append(A, 1, b"one")
        if store.journals.direct:
            store.journals.append_now(A, 2, b"two")
        else:
            with pytest.raises(RuntimeError):
                store.journals.append_now(A, 2, b"two")
            await store.journals.append(A, 2, b"two")
        await store.journals.append(A, 2, b"two")
        assert await other.journals.read(A, 1, 2) == [b"one", b"two"]

    async def test_what_was_acknowledged_lies_before_the_seal(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        acknowledged = trio.Event()
        stored: list[bytes] = []
        tips: list[int] = []

        async def write_on() -> None:
            with pytest.raises(JournalFenced):  # noqa: PT012 (the loop ends so)
                while True:
                    data = b"record %d" % (len(stored) + 1)
                    await append(store, A, len(stored) + 1, data)
                    stored.append(data)
                    if len(stored) == 20:
                        acknowledged.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_on)
            await acknowledged.wait()
            tips.append(await other.journals.seal(A))
        assert tips == [len(stored)]
        assert await other.journals.read(A, 1, tips[0] + 5) == stored

    async def test_reading_is_sliced(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        records = [bytes([65 + i]) * 10 for i in range(8)]
        await append_all(store, A, records)
        read = other.journals.read
        assert await read(A, 1, 8) == records
        assert await read(A, 3, 5) == records[2:5]
        assert await read(A, 1, 8, bytes_max=30) == records[:3]
        assert await read(A, 4, 8, bytes_max=29) == records[3:5]
        assert await read(A, 2, 8, bytes_max=1) == records[1:2]
        assert await read(A, 7, 99) == records[6:]
        assert await read(A, 9, 99) == []
        assert await read(A, 5, 4) == []

    async def test_the_same_journal_is_read_by_who_writes_it(self, store: Store) -> None:
        await store.journals.open(member("a"))
        await append_all(store, A, [b"one", b"two"])
        assert await store.journals.read(A, 1, 2) == [b"one", b"two"]

    async def test_what_is_pruned_is_missed_and_the_rest_goes_on(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        records = [bytes([65 + i]) * 100 for i in range(10)]
        await append_all(store, A, records)
        assert await store.journals.prune(A, 4)
        for first in (1, 4):
            with pytest.raises(Damaged):
                await other.journals.read(A, first, 10)
        assert await other.journals.read(A, 5, 10) == records[4:]
        assert [m.tip for m in await other.journals.members()] == [10]
        await append(store, A, 11, b"eleven")
        assert await store.journals.prune(A, 99)
        assert await other.journals.read(A, 12, 99) == []
        with pytest.raises(Damaged):
            await other.journals.read(A, 11, 11)
        assert await store.journals.prune(A, 99)
        await append(store, A, 12, b"twelve")
        assert await other.journals.read(A, 12, 12) == [b"twelve"]
        assert await other.journals.seal(A) == 12

    async def test_pruning_is_sliced_from_the_oldest(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        records = [bytes([65 + i]) * 100 for i in range(10)]
        await append_all(store, A, records)
        calls, done = 0, False
        while not done:
            done = await store.journals.prune(A, 8, bytes_max=250)
            calls += 1
            assert await other.journals.read(A, 9, 10) == records[8:]
            assert calls < 9, "each call deletes at least one"
            if calls == 1:
                assert await other.journals.read(A, 5, 8) == records[4:8], "250 bytes are not 400"
                with pytest.raises(Damaged):
                    await other.journals.read(A, 1, 1)
        assert calls > 1
        with pytest.raises(Damaged):
            await other.journals.read(A, 8, 10)

    async def test_others_prune_a_sealed_journal(self, store: Store, other: Store) -> None:
        await store.journals.open(member("a"))
        await append_all(store, A, [b"one", b"two"])
        await other.journals.seal(A)
        assert await other.journals.prune(A, 1)
        assert await other.journals.read(A, 2, 2) == [b"two"]
        assert await other.journals.seal(A) == 2

    async def test_a_removed_journal_is_gone(self, store: Store, open_store: OpenStore) -> None:
        async with open_store() as zombie:
            await zombie.journals.open(member("a"))
            await append(zombie, A, 1, b"one")
            with pytest.raises(ValueError, match=A):
                await store.journals.remove(A)
            await store.journals.seal(A)
            await store.journals.remove(A)
            await store.journals.remove(A)
            assert await store.journals.members() == []
            with pytest.raises((JournalFenced, UnknownJournal)):
                await append(zombie, A, 2, b"two")
            with pytest.raises((JournalFenced, UnknownJournal)):
                await zombie.journals.renew(member("a", counter=5))
        await self._unknown(store, A)
        assert await store.journals.members() == []

    async def test_a_journal_that_never_was_is_unknown(self, store: Store) -> None:
        await store.journals.open(member("a"))
        await self._unknown(store, B)
        await store.journals.remove(B)
        assert [m.incarnation for m in await store.journals.members()] == [A]

    async def _unknown(self, store: Store, incarnation: str) -> None:
        with pytest.raises(UnknownJournal):
            await store.journals.seal(incarnation)
        with pytest.raises(UnknownJournal):
            await store.journals.read(incarnation, 1, 1)
        with pytest.raises(UnknownJournal):
            await store.journals.prune(incarnation, 1)
        with pytest.raises(UnknownJournal):
            await append(store, incarnation, 1, b"one")
        with pytest.raises(UnknownJournal):
            await store.journals.renew(attrs.evolve(member("x"), incarnation=incarnation))
