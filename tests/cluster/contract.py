"""What `cluster.store` promises, sentence by sentence: every engine's tests inherit `StoreContract` and pass all of it.

An engine supplies one fixture, `open_store`: a function that opens one more handle on the same data, as another process
would, for as long as its `async with` lasts. `store` and `other` are two of them. No clock is mocked, and no test waits
for a time to pass, so engines may use threads and sockets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from cluster.store import Store
from tests.cluster.contract_journals import JournalsContract
from tests.cluster.contract_rooms import DirectoryContract, SnapshotsContract
from tests.cluster.contract_sessions import SessionsContract
from tests.cluster.harness import A, B, OpenStore
from tests.cluster.helpers import append_all, entry, member, session, snapshot
from tests.cluster.plain_model import compare_at_random

__all__ = ["A", "B", "OpenStore", "StoreContract", "every_operation"]


class StoreContract(JournalsContract, SnapshotsContract, DirectoryContract, SessionsContract):
    """All of it, and the four together."""

    async def test_what_was_written_is_there_for_who_comes_later(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.journals.open(member("a"))
            await append_all(store, A, [b"one", b"two"])
            await store.snapshots.put([snapshot("r", 1, 1)])
            await store.rooms.create(entry("r", A))
            await store.sessions.open(session("s"))
            async with open_store() as second:
                await second.aclose()
        async with open_store() as later:
            assert await later.journals.seal(A) == 2
            assert await later.journals.read(A, 1, 2) == [b"one", b"two"]
            assert await later.snapshots.newest(["r"]) == {"r": [b"r 1 1"]}
            assert await later.rooms.owned_by(A) == [entry("r", A)]
            assert await later.sessions.get("s", 0.0) == session("s")

    @pytest.mark.parametrize("seed", range(4))
    async def test_two_handles_do_what_a_plain_model_does(self, seed: int, store: Store, other: Store) -> None:
        await compare_at_random(seed, [store, other])


def every_operation(store: Store) -> dict[str, Callable[[], Awaitable[object]]]:
    """Name → a call of each operation with plausible arguments, for tests of an engine's failures."""
    return {
        "journals.open": lambda: store.journals.open(member("c")),
        "journals.renew": lambda: store.journals.renew(member("a", counter=2)),
        "journals.members": lambda: store.journals.members(),
        "journals.seal": lambda: store.journals.seal(A),
        "journals.append": lambda: store.journals.append(A, 1, b"one"),
        "journals.read": lambda: store.journals.read(A, 1, 1),
        "journals.prune": lambda: store.journals.prune(A, 1),
        "journals.remove": lambda: store.journals.remove(B),
        "snapshots.put": lambda: store.snapshots.put([snapshot("r", 1, 1)]),
        "snapshots.newest": lambda: store.snapshots.newest(["r"]),
        "snapshots.delete": lambda: store.snapshots.delete(["r"]),
        "rooms.create": lambda: store.rooms.create(entry("r", A)),
        "rooms.get": lambda: store.rooms.get("r"),
        "rooms.find_code": lambda: store.rooms.find_code("KWXZ"),
        "rooms.coming_to": lambda: store.rooms.coming_to(A),
        "rooms.owned_by": lambda: store.rooms.owned_by(A),
        "rooms.claim": lambda: store.rooms.claim(["r"], A, 0, B, 1),
        "rooms.replace": lambda: store.rooms.replace(entry("r"), entry("r")),
        "rooms.delete": lambda: store.rooms.delete(entry("r")),
        "rooms.entries": lambda: store.rooms.entries(),
        "rooms.owners": lambda: store.rooms.owners(),
        "sessions.open": lambda: store.sessions.open(session("s")),
        "sessions.get": lambda: store.sessions.get("s", 0.0),
        "sessions.of_account": lambda: store.sessions.of_account("ann", 0.0),
        "sessions.replace": lambda: store.sessions.replace(session("s"), session("s")),
        "sessions.touch": lambda: store.sessions.touch(["s"], 1.0),
        "sessions.delete": lambda: store.sessions.delete("s"),
        "sessions.purge": lambda: store.sessions.purge(0.0),
    }
