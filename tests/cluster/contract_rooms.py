"""What `cluster.store.Snapshots` and `cluster.store.Directory` promise: a room's past, and whose it is."""

from __future__ import annotations

import attrs
import pytest
import trio

from cluster.model import Span
from cluster.store import Store
from tests.cluster.harness import A, B, C, Harness
from tests.cluster.helpers import entry, snapshot


class SnapshotsContract(Harness):
    async def test_the_three_newest_of_every_room_stay(self, store: Store, other: Store) -> None:
        order = [(1, 300), (2, 10), (1, 100), (2, 5), (1, 200)]
        for epoch, tick in order:
            await store.snapshots.put([snapshot("r", epoch, tick), snapshot("s", 1, tick)])
        assert await other.snapshots.newest(["r", "s", "t"]) == {
            "r": [b"r 2 10", b"r 2 5", b"r 1 300"],
            "s": [b"s 1 300", b"s 1 200", b"s 1 100"],
        }
        assert await other.snapshots.newest(["s", "r"], 1) == {"r": [b"r 2 10"], "s": [b"s 1 300"]}
        assert await other.snapshots.newest([]) == {}

    async def test_several_of_one_room_may_come_at_once(self, store: Store, other: Store) -> None:
        await store.snapshots.put([snapshot("r", 1, tick) for tick in (3, 1, 4, 9, 5)])
        assert await other.snapshots.newest(["r"]) == {"r": [b"r 1 9", b"r 1 5", b"r 1 4"]}
        await store.snapshots.put([])
        assert await other.snapshots.newest(["r"], 2) == {"r": [b"r 1 9", b"r 1 5"]}

    async def test_one_that_is_too_old_is_not_kept(self, store: Store) -> None:
        await store.snapshots.put([snapshot("r", 2, tick) for tick in (1, 2, 3)])
        await store.snapshots.put([snapshot("r", 1, 99)])
        assert await store.snapshots.newest(["r"]) == {"r": [b"r 2 3", b"r 2 2", b"r 2 1"]}

    async def test_another_of_the_same_tick_takes_its_place(self, store: Store) -> None:
        await store.snapshots.put([snapshot("r", 1, tick) for tick in (1, 2, 3)])
        await store.snapshots.put([attrs.evolve(snapshot("r", 1, 2), data=b"again")])
        assert await store.snapshots.newest(["r"]) == {"r": [b"r 1 3", b"again", b"r 1 1"]}

    async def test_big_ones_come_back_whole(self, store: Store, other: Store) -> None:
        data = bytes(range(256)) * 4096
        await store.snapshots.put([attrs.evolve(snapshot("r", 1, 1), data=data)])
        assert await other.snapshots.newest(["r"]) == {"r": [data]}

    async def test_all_of_some_rooms_are_deleted(self, store: Store, other: Store) -> None:
        await store.snapshots.put([snapshot(room, 1, tick) for room in "rst" for tick in (1, 2)])
        await other.snapshots.delete(["r", "t", "never there"])
        assert await store.snapshots.newest(["r", "s", "t"]) == {"s": [b"s 1 2", b"s 1 1"]}
        await other.snapshots.delete([])


class DirectoryContract(Harness):
    async def test_a_room_comes_back_as_it_was_written(self, store: Store, other: Store) -> None:
        chain = (Span(1, A, 1, 40), Span(2, B, 7))
        row = entry("r", B, epoch=2, chain=chain, code="KWXZ", opened_by="acct", players=4, attempts=1, strikes=1)
        row = attrs.evolve(row, target=C, version=6, seed=2**64 - 1, options={"seats": 4, "walls": 0})
        await store.rooms.create(row)
        await store.rooms.create(entry("plain", options={}))
        assert await other.rooms.get("r") == row
        assert await other.rooms.get("plain") == entry("plain", options={})
        assert await other.rooms.get("s") is None

    async def test_a_room_is_created_once(self, store: Store, other: Store) -> None:
        await store.rooms.create(entry("r"))
        await store.rooms.create(entry("r"))
        await other.rooms.create(entry("r"))
        with pytest.raises(ValueError, match="r"):
            await other.rooms.create(entry("r", seed=5))
        with pytest.raises(ValueError, match="r"):
            await other.rooms.create(entry("r", owner=B))
        assert await store.rooms.entries() == [entry("r")]

    async def test_what_is_given_out_is_the_callers(self, store: Store) -> None:
        written = entry("r")
        await store.rooms.create(written)
        written.options["seats"] = 2
        for row in (await store.rooms.get("r"), *await store.rooms.entries()):
            assert row is not None
            assert row.options == {"seats": 10}
            row.options["seats"] = 3
        assert await store.rooms.get("r") == entry("r")

    async def test_a_private_room_is_found_by_its_code(self, store: Store, other: Store) -> None:
        await store.rooms.create(entry("open"))
        await store.rooms.create(entry("r", code="KWXZ"))
        assert await other.rooms.find_code("KWXZ") == entry("r", code="KWXZ")
        assert await other.rooms.find_code("KWX") is None
        assert await other.rooms.find_code("") is None
        assert await store.rooms.delete(entry("r"))
        assert await other.rooms.find_code("KWXZ") is None

    async def test_rooms_are_listed_fullest_first_or_by_id(self, store: Store, other: Store) -> None:
        for room, players, owner in [("z", 3, A), ("b", 9, A), ("c", 3, A), ("a", 50, B), ("d", 10, A)]:
            await store.rooms.create(entry(room, owner, players=players))
        assert [row.room for row in await other.rooms.owned_by(A)] == ["d", "b", "c", "z"]
        assert [row.room for row in await other.rooms.owned_by(C)] == []
        assert [row.room for row in await other.rooms.entries()] == ["a", "b", "c", "d", "z"]
        assert await other.rooms.owners() == [A, B]

    async def test_what_was_given_is_found_by_who_got_it_until_it_begins(self, store: Store, other: Store) -> None:
        row = entry("r", A)
        await store.rooms.create(row)
        assert await other.rooms.coming_to(B) == await other.rooms.coming_to("") == []
        given = row.given(B, 17)
        assert await store.rooms.replace(row, given)
        assert await other.rooms.coming_to(B) == [given]
        assert (given.owner, given.epoch, given.chain[-2].last, given.chain[-1].first) == (B, row.epoch + 1, 17, 0)
        begun = given.begun(4)
        assert await other.rooms.replace(given, begun)
        assert await store.rooms.coming_to(B) == []
        assert await store.rooms.get("r") == begun
        assert (begun.owner, begun.chain[-1].first, begun.target) == (B, 4, "")

    async def test_a_claim_takes_what_the_dead_one_owns(self, store: Store, other: Store) -> None:
        await store.rooms.create(entry("r", A, players=1, target=C, version=3, attempts=1, strikes=1))
        await store.rooms.create(entry("s", A, players=8))
        await store.rooms.create(entry("not asked for", A))
        await store.rooms.create(entry("of another", C))
        claimed = await other.rooms.claim(iter(["r", "of another", "none", "s"]), A, 40, B, 7)
        assert [row.room for row in claimed] == ["s", "r"]
        row = claimed[1]
        assert row == await store.rooms.get("r")
        assert row.chain == (Span(1, A, 1, 40), Span(2, B, 7))
        assert (row.owner, row.epoch, row.attempts, row.version) == (B, 2, 2, 4)
        assert (row.target, row.strikes, row.players) == ("", 1, 1)
        assert [row.room for row in await store.rooms.owned_by(A)] == ["not asked for"]
        assert await store.rooms.get("of another") == entry("of another", C)

    async def test_a_claim_done_again_finds_itself_there(self, store: Store, other: Store) -> None:
        await store.rooms.create(entry("r", A, players=1))
        await store.rooms.create(entry("s", A, players=2))
        first = await store.rooms.claim(["s"], A, 40, B, 7)
        assert await store.rooms.claim(["s"], A, 40, B, 7) == first
        both = await store.rooms.claim(["r", "s"], A, 40, B, 9)
        assert both[:1] == first
        assert [row.chain[-1].first for row in both] == [7, 9]
        assert await other.rooms.claim(["r", "s"], A, 40, C, 1) == []
        assert await other.rooms.entries() == sorted(both, key=lambda row: row.room)

    async def test_a_claim_of_nothing_and_of_ones_own_is_nothing(self, store: Store) -> None:
        await store.rooms.create(entry("mine", B))
        handed = attrs.evolve(entry("handed"), owner=B, epoch=2, chain=(Span(1, A, 1, 30), Span(2, B, 1)))
        await store.rooms.create(handed)
        assert await store.rooms.claim([], A, 40, B, 7) == []
        assert await store.rooms.claim(["mine", "handed"], A, 40, B, 7) == []
        assert await store.rooms.entries() == [handed, entry("mine", B)]

    async def test_chains_grow_from_owner_to_owner(self, store: Store, other: Store) -> None:
        await store.rooms.create(entry("r", A))
        await store.rooms.claim(["r"], A, 40, B, 7)
        (row,) = await other.rooms.claim(["r"], B, 9, C, 1)
        assert row.chain == (Span(1, A, 1, 40), Span(2, B, 7, 9), Span(3, C, 1))
        assert (row.owner, row.epoch, row.attempts) == (C, 3, 2)
        assert await store.rooms.claim(["r"], A, 40, B, 7) == [], "it was, and is no longer"

    async def test_of_two_who_claim_each_room_goes_to_one(self, store: Store, other: Store) -> None:
        rooms = [f"room {i:02}" for i in range(40)]
        for room in rooms:
            await store.rooms.create(entry(room, A))
        taken: dict[str, list[str]] = {B: [], C: []}

        async def claim(handle: Store, me: str, order: list[str]) -> None:
            for start in range(0, len(order), 5):
                claimed = await handle.rooms.claim(order[start : start + 5], A, 40, me, 1)
                taken[me] += [row.room for row in claimed]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim, store, B, rooms)
            nursery.start_soon(claim, other, C, rooms[::-1])
        assert sorted(taken[B] + taken[C]) == rooms
        for me in (B, C):
            assert [row.room for row in await store.rooms.owned_by(me)] == sorted(taken[me])
        assert {row.epoch for row in await store.rooms.entries()} == {2}

    async def test_only_who_knows_the_newest_version_replaces(self, store: Store, other: Store) -> None:
        await store.rooms.create(entry("r"))
        old = entry("r")
        new = attrs.evolve(old, players=5, owner=C, epoch=2, chain=(*old.chain, Span(2, C, 3)), code="KWXZ", version=77)
        assert await other.rooms.replace(old, new)
        stored = attrs.evolve(new, version=1)
        assert await store.rooms.get("r") == stored
        assert not await store.rooms.replace(old, attrs.evolve(old, players=9))
        assert not await store.rooms.replace(attrs.evolve(old, version=2), old)
        assert await other.rooms.get("r") == stored
        assert await other.rooms.find_code("KWXZ") == stored
        assert [row.room for row in await other.rooms.owned_by(C)] == ["r"]
        assert await store.rooms.replace(stored, attrs.evolve(stored, players=6))
        assert await store.rooms.get("r") == attrs.evolve(stored, players=6, version=2)

    async def test_a_room_that_is_gone_is_not_replaced(self, store: Store) -> None:
        assert not await store.rooms.replace(entry("r"), entry("r", players=3))
        assert await store.rooms.entries() == []

    async def test_only_its_owner_deletes_a_room(self, store: Store, other: Store) -> None:
        await store.rooms.create(entry("r", A))
        await store.rooms.create(entry("s", A))
        (row,) = await store.rooms.claim(["r"], A, 40, B, 1)
        assert not await other.rooms.delete(entry("r", A))
        assert not await other.rooms.delete(attrs.evolve(row, owner=A))
        assert not await other.rooms.delete(attrs.evolve(row, epoch=1))
        assert await store.rooms.get("r") == row
        assert await other.rooms.delete(attrs.evolve(row, version=99, players=7))
        assert await store.rooms.get("r") is None
        assert await other.rooms.delete(row)
        assert await store.rooms.entries() == [entry("s", A)]
