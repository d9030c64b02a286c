"""Sessions and rooms as all nodes know them: two nodes on one store."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from cluster.memory import MemoryWorld
from cluster.model import Member, RoomEntry, Span, new_incarnation
from cluster.tickets import Tickets
from netcode.errors import ErrorCode, ProtocolError
from netcode.seal import Suite
from netcode.server_end import ServerEnd
from netcode.session import Session, secret_hash
from server.registry import LOCATE_S, Elsewhere, Registry
from server.tenure import Tenure

SECRET = b"s" * 32


class Node:
    """A node's registry."""

    def __init__(self, world: MemoryWorld, name: str) -> None:
        self.store = world.store()
        self.here: set[str] = set()
        incarnation = new_incarnation(name)
        self.member = Member(incarnation=incarnation, node=name, host="", port=1)
        self.tenure = Tenure(self.store, lambda counter: attrs.evolve(self.member, counter=counter), incarnation)
        self.registry = Registry(self.store, self.tenure, Tickets(bytes(32)), 30.0, self.here.__contains__)

    def session(self, name: str, account: str = "ann") -> Session:
        end = ServerEnd(1, bytes(32), bytes(32), bytes(32), Suite.AES_256_GCM)
        return Session(name, account, account, secret_hash(SECRET), end, 0.0, 0.0)

    def entry(self, room: str, epoch: int = 1) -> RoomEntry:
        me = self.member.incarnation
        return RoomEntry(
            room=room,
            game="g",
            options={},
            tick_hz=30,
            seed=1,
            fingerprint="f",
            owner=me,
            epoch=epoch,
            chain=(Span(epoch, me, 1),),
        )


@pytest.fixture
async def nodes() -> tuple[Node, Node]:
    world = MemoryWorld()
    one, two = Node(world, "one"), Node(world, "two")
    for node in (one, two):
        await node.tenure.start()
    await one.tenure.look()
    return one, two


async def code_of(call: object) -> ErrorCode:
    with pytest.raises(ProtocolError) as caught:
        await call  # type: ignore[misc]
    return caught.value.code


async def test_a_session_is_found_by_its_secret_on_any_node(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    await one.registry.opened(one.session("s1"))
    assert (await two.registry.find("s1", SECRET)).account == "ann"
    for name, secret in (("s1", b"x" * 32), ("s1", b""), ("s2", SECRET)):
        assert await code_of(two.registry.find(name, secret)) is ErrorCode.SESSION_GONE


async def test_who_was_replaced_on_another_node_is_told_so_and_nobody_else(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    await one.registry.opened(one.session("s1"))
    await two.registry.opened(two.session("s2"))
    assert await code_of(one.registry.find("s1", SECRET)) is ErrorCode.SESSION_REPLACED
    assert await code_of(one.registry.find("s1", b"x" * 32)) is ErrorCode.SESSION_GONE
    assert (await one.registry.find("s2", SECRET)).session == "s2"


async def test_one_of_two_connections_gets_the_session(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    await one.registry.opened(one.session("s1"))
    seen = await one.registry.find("s1", SECRET)
    served = await two.registry.serve(seen)
    assert (served.generation, served.node) == (1, two.member.incarnation)
    assert await code_of(one.registry.serve(seen)) is ErrorCode.LIMITED
    assert (await one.registry.serve(served)).generation == 2


async def test_a_join_is_reserved_by_who_serves_the_session_now(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    session = one.session("s1")
    await one.registry.opened(session)
    join_id = await one.registry.reserve(session, "room")
    record = await two.registry.find("s1", SECRET)
    assert (record.room, record.join_id) == ("room", join_id)
    await two.registry.serve(record)
    assert await code_of(one.registry.reserve(session, "other")) is ErrorCode.SESSION_REPLACED
    assert (await two.registry.find("s1", SECRET)).room == "room"


async def test_a_new_log_in_is_told_where_the_seat_may_wait(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    session = one.session("s1")
    assert await one.registry.opened(session) == ""
    await one.registry.reserve(session, "room")
    assert await two.registry.opened(two.session("s2")) == "room"


async def test_where_a_room_is(nodes: tuple[Node, Node], autojump_clock: MockClock) -> None:
    one, two = nodes
    await one.store.rooms.create(one.entry("mine"))
    await one.store.rooms.create(two.entry("theirs"))
    one.here.add("mine")
    assert await one.registry.locate("mine") == "mine"
    assert await one.registry.locate("nowhere") == ""
    found = await one.registry.locate("theirs")
    assert isinstance(found, Elsewhere)
    assert (found.member.incarnation, found.epoch) == (two.member.incarnation, 1)


async def test_a_room_whose_owner_has_died_is_waited_for(nodes: tuple[Node, Node], autojump_clock: MockClock) -> None:
    one, two = nodes
    entry = two.entry("room")
    await one.store.rooms.create(entry)
    one.tenure.died(two.member.incarnation)
    began = trio.current_time()
    assert await code_of(one.registry.locate("room")) is ErrorCode.ROOM_MOVING
    assert trio.current_time() - began == pytest.approx(LOCATE_S, abs=0.1)

    async def take_over() -> None:
        await trio.sleep(1.0)
        await one.store.rooms.replace(entry, entry.claimed(one.member.incarnation, 1, 0))
        one.here.add("room")
        one.registry.came("room")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_over)
        began = trio.current_time()
        assert await one.registry.locate("room") == "room"
        assert trio.current_time() - began == pytest.approx(1.0, abs=0.05)


async def test_who_knows_an_epoch_waits_for_a_higher_one(nodes: tuple[Node, Node], autojump_clock: MockClock) -> None:
    one, _ = nodes
    await one.store.rooms.create(one.entry("room", epoch=3))
    one.here.add("room")
    assert await one.registry.locate("room", above=2) == "room"
    assert await code_of(one.registry.locate("room", above=3)) is ErrorCode.ROOM_MOVING
