"""What `cluster.store.Sessions` promises: one session for each account, taken up by whoever raises its version."""

from __future__ import annotations

import attrs
import pytest
import trio

from cluster.errors import Damaged
from cluster.store import Store
from tests.cluster.harness import A, B, Harness, OpenStore
from tests.cluster.helpers import XorCipher, session


class SessionsContract(Harness):
    async def test_a_session_is_found_by_id_and_by_account(self, store: Store, other: Store) -> None:
        profile = {"rating": 1, "stats": {"kills": [1, 2]}, "raw": b"\x00\xff", "none": None}
        record = session(
            "s", "ann", profile=profile, generation=3, node=A, room="r", join_id="j", opened_s=5.5, version=4
        )
        assert await store.sessions.open(record) is None
        assert await other.sessions.get("s", 10.0) == record
        assert await other.sessions.of_account("ann", 10.0) == record
        assert await other.sessions.get("t", 10.0) is None
        assert await other.sessions.of_account("bob", 10.0) is None

    async def test_an_account_has_one_session(self, store: Store, other: Store) -> None:
        first, second = session("s", "ann", room="r", generation=2), session("t", "ann")
        await store.sessions.open(first)
        await store.sessions.open(session("u", "bob"))
        assert await other.sessions.open(second) == first
        assert await store.sessions.get("s", 10.0) is None
        assert await store.sessions.of_account("ann", 10.0) == second
        assert await other.sessions.open(second) is None, "it replaces no other one"
        await store.sessions.delete("s")
        assert await store.sessions.of_account("ann", 10.0) == second
        assert not await store.sessions.replace(first, first)
        assert await store.sessions.of_account("bob", 10.0) == session("u", "bob")

    async def test_an_expired_session_is_replaced_as_well(self, store: Store) -> None:
        await store.sessions.open(session("s", "ann", expires_s=5.0))
        assert await store.sessions.open(session("t", "ann")) == session("s", "ann", expires_s=5.0)

    async def test_sessions_expire(self, store: Store, other: Store) -> None:
        record = session("s", "ann", expires_s=100.0)
        await store.sessions.open(record)
        assert await other.sessions.get("s", 99.5) == record
        assert await other.sessions.get("s", 100.0) == record
        assert await other.sessions.get("s", 100.5) is None
        assert await other.sessions.of_account("ann", 100.5) is None
        assert await other.sessions.of_account("ann", 99.5) == record

    async def test_only_who_knows_the_newest_version_replaces(self, store: Store, other: Store) -> None:
        old = session("s", "ann")
        await store.sessions.open(old)
        new = attrs.evolve(old, generation=1, node=B, room="r", expires_s=2000.0, version=50)
        assert await other.sessions.replace(old, new)
        stored = attrs.evolve(new, version=1)
        assert await store.sessions.get("s", 1500.0) == stored
        assert not await store.sessions.replace(old, attrs.evolve(old, generation=1, node=A))
        assert await other.sessions.get("s", 10.0) == stored
        assert await store.sessions.replace(stored, attrs.evolve(stored, generation=2))
        assert await other.sessions.of_account("ann", 10.0) == attrs.evolve(stored, generation=2, version=2)
        assert not await store.sessions.replace(session("t"), session("t"))
        assert await store.sessions.get("t", 10.0) is None

    async def test_of_two_who_raise_the_generation_one_wins(self, store: Store, other: Store) -> None:
        old = session("s")
        await store.sessions.open(old)
        won: list[str] = []

        async def raise_it(handle: Store, me: str) -> None:
            if await handle.sessions.replace(old, attrs.evolve(old, generation=1, node=me)):
                won.append(me)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_it, store, A)
            nursery.start_soon(raise_it, other, B)
        found = await store.sessions.get("s", 10.0)
        assert found is not None
        assert won == [found.node]

    async def test_a_touch_puts_the_expiry_off_and_names_those_gone(self, store: Store, other: Store) -> None:
        records = [session(name, expires_s=100.0) for name in "stu"]
        for record in records:
            await store.sessions.open(record)
        assert sorted(await other.sessions.touch(["x", "s", "u", "w"], 500.0)) == ["w", "x"]
        assert await store.sessions.get("s", 400.0) == attrs.evolve(records[0], expires_s=500.0)
        assert await store.sessions.get("t", 400.0) is None
        assert await store.sessions.replace(records[2], attrs.evolve(records[2], generation=1, expires_s=600.0))
        assert await store.sessions.touch([], 900.0) == []
        assert await store.sessions.get("x", 0.0) is None

    async def test_what_has_expired_is_purged(self, store: Store, other: Store) -> None:
        for name, expires_s in [("s", 100.0), ("t", 300.0), ("u", 50.0)]:
            await store.sessions.open(session(name, expires_s=expires_s))
        assert await other.sessions.purge(200.0) == 2
        assert await other.sessions.purge(200.0) == 0
        assert await store.sessions.get("s", 0.0) is None
        assert await store.sessions.of_account("account of u", 0.0) is None
        assert await store.sessions.get("t", 0.0) == session("t", expires_s=300.0)
        assert sorted(await store.sessions.touch(["s", "t", "u"], 400.0)) == ["s", "u"]

    async def test_a_session_is_forgotten(self, store: Store, other: Store) -> None:
        await store.sessions.open(session("s", "ann"))
        await other.sessions.delete("s")
        await other.sessions.delete("s")
        assert await store.sessions.get("s", 0.0) is None
        assert await store.sessions.of_account("ann", 0.0) is None
        assert await store.sessions.open(session("t", "ann")) is None

    async def test_handles_with_the_same_cipher_understand_each_other(self, open_store: OpenStore) -> None:
        async with open_store(cipher=XorCipher()) as store, open_store(cipher=XorCipher()) as other:
            record = session("s", "ann")
            await store.sessions.open(record)
            assert await other.sessions.get("s", 10.0) == record
            assert await other.sessions.replace(record, attrs.evolve(record, room="r"))
            assert await store.sessions.of_account("ann", 10.0) == attrs.evolve(record, room="r", version=1)

    async def test_what_another_cipher_sealed_is_not_read_but_replaced(self, open_store: OpenStore) -> None:
        async with open_store(cipher=XorCipher()) as store, open_store(cipher=XorCipher(7)) as stranger:
            await store.sessions.open(session("s", "ann"))
            with pytest.raises(Damaged):
                await stranger.sessions.get("s", 10.0)
            with pytest.raises(Damaged):
                await stranger.sessions.of_account("ann", 10.0)
            assert await stranger.sessions.get("s", 9999.0) is None
            assert await stranger.sessions.open(session("t", "ann")) is None
            assert await stranger.sessions.of_account("ann", 10.0) == session("t", "ann")
            await store.sessions.delete("t")
            assert await stranger.sessions.get("t", 10.0) is None
