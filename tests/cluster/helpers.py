"""Small builders of what nodes share, for tests; and a cipher that needs no keys of a real one."""

from __future__ import annotations

from typing import Any

import trio

from cluster.errors import StoreBusy
from cluster.model import Member, RoomEntry, SessionRecord, Span, StoredSnapshot
from cluster.store import Store


def member(node: str, life: int = 1, **fields: Any) -> Member:
    """`node`'s incarnation number `life`."""
    values: dict[str, Any] = {"incarnation": f"{node}.{life:016x}", "node": node, "host": "127.0.0.1", "port": 4000}
    return Member(**{**values, **fields})


def entry(room: str, owner: str = "a.1", **fields: Any) -> RoomEntry:
    """A new room of `owner`, whose records may begin at position 1."""
    values: dict[str, Any] = {
        "room": room,
        "game": "arena",
        "options": {"seats": 10},
        "tick_hz": 30,
        "seed": 2**63 + 11,
        "fingerprint": "f" * 32,
        "owner": owner,
        "chain": (Span(fields.get("epoch", 1), owner, 1),),
    }
    return RoomEntry(**{**values, **fields})


def session(id_: str, account: str | None = None, **fields: Any) -> SessionRecord:
    """A session, of the account named after it unless told, which expires after 1000 s."""
    values: dict[str, Any] = {
        "session": id_,
        "account": f"account of {id_}" if account is None else account,
        "name": "Ann",
        "secret_hash": bytes(range(32)),
        "profile": {"rating": 1200, "cosmetics": ["hat"]},
        "expires_s": 1000.0,
    }
    return SessionRecord(**{**values, **fields})


def snapshot(room: str, epoch: int, tick: int) -> StoredSnapshot:
    """A snapshot whose bytes tell what it is."""
    return StoredSnapshot(room, epoch, tick, f"{room} {epoch} {tick}".encode())


async def append(store: Store, incarnation: str, position: int, data: bytes) -> None:
    """Store a record in the way that the engine wants, again while it is busy."""
    while True:
        try:
            if store.journals.direct:
                store.journals.append_now(incarnation, position, data)
                await trio.lowlevel.checkpoint()
            else:
                await store.journals.append(incarnation, position, data)
            return
        except StoreBusy:
            await trio.sleep(0.002)


async def append_all(store: Store, incarnation: str, records: list[bytes]) -> None:
    """Store the first records of a journal."""
    for position, data in enumerate(records, 1):
        await append(store, incarnation, position, data)


class XorCipher:
    """Seals bytes so that they cannot be read, and refuses those sealed with another key."""

    def __init__(self, key: int = 0x5A) -> None:
        self._key = key

    def encrypt(self, data: bytes) -> bytes:
        """Sealed bytes."""
        return bytes([self._key, *(byte ^ self._key for byte in data)])

    def decrypt(self, token: bytes) -> bytes:
        """Inverse."""
        if token[:1] != bytes([self._key]):
            raise ValueError("another key")
        return bytes(byte ^ self._key for byte in token[1:])
