"""Input packets over control connections, many at once: what the pool's crowd takes, and what it leaves."""

from __future__ import annotations

import contextlib
import itertools
import random
import struct
from collections.abc import AsyncIterator

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from netcode import messages
from netcode.control import ControlChannel, message_bytes, realtime_bytes
from netcode.ends import ServerEnds
from netcode.errors import ProtocolError
from netcode.inputs import InputQueues, InputWindow
from netcode.packed import Packed, packed
from netcode.pool import LinkPool
from netcode.seal import DatagramType, DropCounters, Suite
from netcode.server_end import PACKETS_BURST, SLOT_BITS, Channel, ServerEnd
from netcode.streams import MANY, Pieces
from netcode.tcp import ByteLink
from netcode.websocket import WebSocket
from server.streams import OWED_MAX, ROUNDS_MAX, Crowd
from tests.pieces import pieces_of

INPUT = b"ab"


class House:
    """Ends with a seat each, and the crowd."""

    def __init__(self, count: int) -> None:
        self.ends = ServerEnds(DropCounters())
        self.queues = InputQueues(len(INPUT))
        self.players: list[ServerEnd] = []
        self.places: list[int] = []
        self.crowd = Crowd(self.ends)
        for number in range(count):
            end = ServerEnd((number + 1) << SLOT_BITS, bytes(32), bytes(32), bytes(32), Suite.AES_256_GCM)
            self.ends.open(end, None)
            place = self.queues.open()
            self.queues.begin(place, 0, 1)
            end.deliver_to(self.queues, place)
            self.players.append(end)
            self.places.append(place)

    def take(self, *said: tuple[int, bytes]) -> list[int]:
        """What is left of what these players have said, one piece each."""
        numbers, pieces = zip(*said, strict=True)
        keys = [self.players[number].connection for number in numbers]
        taken = self.crowd(pieces_of(list(pieces), keys, [False] * len(pieces))).tolist()
        return [len(piece) - count for piece, count in zip(pieces, taken, strict=True)]

    def waiting(self, number: int) -> int:
        """Inputs of a player that wait for their tick."""
        self.queues.take_in(np.full(len(self.queues.waiting), 5, np.int64))
        return int(self.queues.waiting[self.places[number]])


def input_packet(count: int = 1, stream: int = 1) -> bytes:
    window = InputWindow(0)
    for _ in range(count):
        window.add(INPUT)
    return realtime_bytes(bytes([DatagramType.INPUT]) + window.packet(stream, (0, 0), -1, 0))


async def test_inputs_are_taken_as_those_of_datagrams_are(autojump_clock: MockClock) -> None:
    house = House(3)
    assert house.take((0, input_packet()), (2, input_packet(3))) == [0, 0]
    assert [house.waiting(number) for number in range(3)] == [1, 0, 3]
    assert [end.channel for end in house.players] == [Channel.CONTROL, Channel.UNKNOWN, Channel.CONTROL]
    assert house.players[0].heard_at == trio.current_time()
    house.players[1].channel = Channel.DATAGRAM
    house.take((1, input_packet()))
    assert house.players[1].channel is Channel.CONTROL, "its datagrams do not pass any more"


async def test_several_packets_of_one_piece() -> None:
    """Of many connections a few each are taken; of a few only the first, and the visitor takes the rest."""
    several = input_packet(1) + input_packet(2) + input_packet(3)
    house = House(MANY)
    assert house.take(*((number, several) for number in range(MANY))) == [0] * MANY
    assert [house.waiting(number) for number in range(MANY)] == [3] * MANY
    flood = input_packet() * (ROUNDS_MAX + 30)
    assert house.take(*((number, flood) for number in range(MANY))) == [30 * len(input_packet())] * MANY
    house = House(1)
    assert house.take((0, several)) == [len(input_packet(2) + input_packet(3))]
    assert house.waiting(0) == 1


async def test_what_is_not_usual_is_left_with_all_behind_it() -> None:
    good, house = input_packet(), House(MANY)
    malformed = realtime_bytes(bytes([DatagramType.INPUT]) + bytes(15) + b"x")
    short = realtime_bytes(bytes([DatagramType.INPUT]) + b"x")
    of_another_type = realtime_bytes(bytes([DatagramType.FRAME]) + good[6:])
    for odd in (malformed, short, of_another_type, b"\0\0\0\0\0"):
        house = House(MANY + 1)
        said = [(number, good + odd + good) for number in range(MANY + 1)]
        assert house.take(*said) == [len(odd + good)] * (MANY + 1)
        assert house.take((0, odd + good)) == [len(odd + good)]
        assert house.waiting(0) == 1


async def test_of_an_earlier_seat_or_nobody() -> None:
    house = House(3)
    assert house.take((0, input_packet(stream=9))) == [0], "late, of an earlier seat: nothing is said"
    assert house.waiting(0) == 0
    house.players[1].deliver_to(None)
    house.players[2].close()
    assert house.take((1, input_packet()), (2, input_packet())) == [len(input_packet())] * 2, "no seat; ended"


async def test_a_slot_that_is_another_players_by_now() -> None:
    house = House(1)
    key = house.players[0].connection
    house.players[0].close()
    after = ServerEnd(99 << SLOT_BITS, bytes(32), bytes(32), bytes(32), Suite.AES_256_GCM)
    house.ends.open(after, None)
    assert after.slot == key & ((1 << SLOT_BITS) - 1)
    after.deliver_to(house.queues, house.places[0])
    piece = input_packet()
    assert house.crowd(pieces_of([piece], [key], [False])).tolist() == [0]
    assert after.channel is Channel.UNKNOWN


async def test_bytes_are_owed_until_the_visitor_charges_them() -> None:
    house, packet = House(2), input_packet(32)
    count = 0
    while house.take((0, packet)) == [0]:
        count += 1
        house.players[0].take_packet(0, -1e9)
    assert OWED_MAX <= count * len(packet) < OWED_MAX + len(packet)
    assert house.take((1, packet)) == [0], "each owes for itself"
    assert house.players[0].take_owed() == count * len(packet)
    assert house.players[0].take_owed() == 0
    assert house.take((0, packet)) == [0]
    house.crowd(Pieces(packed([packet]), np.array([house.players[0].connection], np.uint64), np.array([False])))
    house.players[0].close()
    assert house.players[0].take_owed() == 0


async def test_packets_beyond_the_budget_are_dropped_and_counted(autojump_clock: MockClock) -> None:
    house, packet = House(1), input_packet()
    for _ in range(int(PACKETS_BURST) + 5):
        house.players[0].take_owed()
        assert house.take((0, packet)) == [0]
    assert house.ends.drops.excess == 5


@contextlib.asynccontextmanager
async def pooled(house: House, left: list[bytes]) -> AsyncIterator[trio.SocketStream]:
    """A real connection that the pool reads for player 0."""
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with trio.open_nursery() as nursery:
            pool = LinkPool(house.crowd)
            nursery.start_soon(pool.run)
            client = await trio.open_tcp_stream(*listener.getsockname())
            accepted, _ = await listener.accept()
            link = await ByteLink.server(accepted, None, nursery)
            while not pool.available:
                await trio.lowlevel.checkpoint()

            def take(data: bytes) -> bool:
                left.append(data)
                return True

            def whole() -> int:
                return 0 if left and left[-1].endswith(b"part") else house.players[0].connection

            assert link.be_read(take, lambda: None, pool, whole)
            yield client
            await client.aclose()
            link.close()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("together", [True, False])
async def test_the_pool_gives_the_crowd_what_is_whole_and_the_rest_in_order(together: bool) -> None:
    """While a part of something waits, the crowd gets nothing: what comes next belongs to it."""
    house, left = House(1), list[bytes]()
    with trio.fail_after(10):
        async with pooled(house, left) as client:
            said = [input_packet(), b"\0a part", input_packet(2)]
            if together:
                said = [b"".join(said)]
            for number, piece in enumerate(said):
                await client.send_all(piece)
                while not (house.ends.owed.any() if not number else sum(map(len, left)) >= 7):
                    await trio.lowlevel.checkpoint()
            want = b"\0a part" + input_packet(2)
            while len(b"".join(left)) < len(want):
                await trio.lowlevel.checkpoint()
            assert b"".join(left) == want
            assert house.waiting(0) == 1


class Peer:
    """One connection as its own reader understands it, behind the crowd or without."""

    def __init__(self, *, web: bool) -> None:
        self._web = WebSocket(ServerProtocol(state=OPEN)) if web else None
        self._channel = ControlChannel(server=True)
        self._channel.logged_in()
        self.heard: list[str] = []
        self.fault = ""

    @property
    def whole(self) -> bool:
        """Whether the crowd may look at what comes."""
        return not self.fault and self._channel.whole and (self._web is None or self._web.whole)

    def read(self, data: bytes) -> None:
        if self.fault or not data:
            return
        try:
            for item in self._channel.receive_data(self._web.receive(data, 0.0) if self._web else data):
                self.heard.append(item[1:].hex() if isinstance(item, bytes) else item.kind)
        except ProtocolError as error:
            self.fault = str(error)
        if self._web is not None and self._web.over:
            self.fault = self._web.fault or "closed"


def message(payload: bytes, opcode: Opcode = Opcode.BINARY, *, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(opcode, payload, fin=fin).serialize(mask=mask)


def anything(chance: random.Random) -> bytes:
    """Something that a client, or an attacker, may say."""
    usual = input_packet(chance.randrange(7), chance.choice((1, 1, 2)))
    odd = (
        message_bytes(messages.Ping(ref=1, time_us=chance.randrange(9999))),
        input_packet(32) * chance.randrange(1, 4),
        realtime_bytes(bytes([DatagramType.INPUT]) + chance.randbytes(16)),
        realtime_bytes(bytes([DatagramType.FRAME]) + usual[6:]),
        struct.pack("<IB", chance.randrange(70_000), 1),
        struct.pack("<IB", len(usual) + 1, 1),  # what comes next is inside
    )
    return chance.choice((usual,) * 12 + odd)


def wrapped(said: bytes, chance: random.Random) -> bytes:
    """In one message of a WebSocket, mostly."""
    cut = chance.randrange(len(said) + 1)
    usual = message(said)
    odd = (
        message(said + anything(chance)),
        message(said[:cut], fin=False) + message(b"x", Opcode.PING) + message(said[cut:], Opcode.CONT),
        message(b"", chance.choice((Opcode.PING, Opcode.PONG))),
        b"\x82\xfe" + struct.pack("!H", len(said)) + bytes(4) + said,
        message(said, fin=False),
        message(said, mask=False),
        message(said, Opcode.TEXT),
        message(b"\x03\xe8", Opcode.CLOSE),
        chance.randbytes(9),
    )
    return chance.choice((usual,) * 30 + odd[:4] * 2 + odd)


def several(chance: random.Random) -> list[bytes]:
    return [anything(chance) for _ in range(chance.randrange(1, 16))]


def cut(said: list[bytes], chance: random.Random) -> list[bytes]:
    """Pieces as they are read: cut between things that were said, or anywhere."""
    if count := chance.randrange(4):
        return [b"".join(said[at : at + count]) for at in range(0, len(said), count)]
    wire, size = b"".join(said), chance.choice((1, 3, 17, 60, 2048))
    return [wire[at : at + size] for at in range(0, len(wire), size)]


@given(st.integers(min_value=0))
async def test_with_the_crowd_a_connection_is_heard_as_without(seed: int) -> None:
    """Whatever many connections say, cut anywhere: the same packets in the same order, and the same faults."""
    chance = random.Random(seed)
    house = House(chance.choice((1, MANY + 2)))
    numbers = {end.slot: number for number, end in enumerate(house.players)}
    web = [chance.random() < 0.7 for _ in house.players]
    with_crowd, without = ([Peer(web=is_web) for is_web in web] for _ in range(2))

    def deliver(slots: np.ndarray, packets: Packed, now: float) -> None:
        for slot, packet in zip(slots.tolist(), packets.strings(), strict=True):
            with_crowd[numbers[slot]].heard.append(packet.hex())

    house.ends.receive_over_control = deliver  # type: ignore[method-assign]
    wires = [cut([wrapped(one, chance) if is_web else one for one in several(chance)], chance) for is_web in web]
    for came in itertools.zip_longest(*wires, fillvalue=b""):
        looked_at = [number for number, piece in enumerate(came) if piece and with_crowd[number].whole]
        taken = [0] * len(came)
        if looked_at:
            keys = [house.players[number].connection for number in looked_at]
            found = house.crowd(pieces_of([came[n] for n in looked_at], keys, [web[n] for n in looked_at])).tolist()
            for number, count in zip(looked_at, found, strict=True):
                taken[number] = count
                house.players[number].take_owed()
        for number, piece in enumerate(came):
            with_crowd[number].read(piece[taken[number] :])
            without[number].read(piece)
    for one, other in zip(with_crowd, without, strict=True):
        assert one.fault == other.fault
        if one.fault:  # what came before a fault in the same bytes is lost without the crowd
            assert one.heard[: len(other.heard)] == other.heard
        else:
            assert one.heard == other.heard
