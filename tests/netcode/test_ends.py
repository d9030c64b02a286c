"""The server's ends in columns: a batch does what its datagrams do one by one, and nobody's costs another's."""

from __future__ import annotations

import random
import socket

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netcode.ends import ACKS_EVERY, ACKS_EVERY_S, PATH_IDLE_S, Opened, ServerEnds
from netcode.frame import ACKS
from netcode.mmsg import address_token
from netcode.packed import packed
from netcode.realtime import ClientEnd
from netcode.received import Received
from netcode.seal import (
    CLIENT_TO_SERVER,
    PLAINTEXT_MAX,
    SEQUENCE_MAX,
    DatagramType,
    DropCounters,
    Sealer,
    Suite,
)
from netcode.server_end import PACKETS_BURST, SLOT_BITS, Channel, ServerEnd
from tests.effort import examples
from tests.netcode.ends import KEY_DOWN, KEY_UP, PATH_KEY, ack_of, prove

HOME, AWAY = address_token(("10.0.0.1", 4000)), address_token(("10.0.0.2", 4000))
KINDS = ["input", "input", "input", "again", "skip", "forged", "keepalive", "cut"]
V6 = address_token(("2001:db8::1", 4000, 0, 0))


@attrs.define
class Many:
    """Sessions of one node and their clients; each lives at an address of its own."""

    ends: ServerEnds
    servers: list[ServerEnd]
    clients: list[ClientEnd]
    addresses: list[bytes]

    @classmethod
    def of(cls, count: int, *, proven: bool = True, suite: Suite = Suite.AES_256_GCM) -> Many:
        many = cls(ServerEnds(DropCounters()), [], [], [])
        for number in range(count):
            many.add(address_token(("10.0.0.1", 4000 + number)), proven, suite)
        return many

    def add(self, address: bytes, proven: bool = True, suite: Suite = Suite.AES_256_GCM) -> None:
        """One more."""
        number = len(self.servers)
        server = ServerEnd(number << SLOT_BITS, KEY_UP, KEY_DOWN, PATH_KEY, suite)
        self.ends.open(server, number)
        self.servers.append(server)
        self.clients.append(ClientEnd(server.connection, KEY_UP, KEY_DOWN, suite))
        self.addresses.append(address)
        if proven:
            prove(self.clients[-1], server, address)

    def state(self) -> list[tuple[int, bytes, float, float, bytes | None]]:
        ends = self.ends
        return [
            (int(ends.highest[s.slot]), ends.window[s.slot].tobytes(), float(ends.heard_at[s.slot]),
             float(ends.path_heard_at[s.slot]), s.path)
            for s in self.servers
        ]  # fmt: skip


def heard(opened: Opened) -> list[tuple[int, bytes]]:
    """Slots and input packets."""
    return [pair for slots, packets in opened.inputs for pair in zip(slots.tolist(), packets.strings(), strict=True)]


def packets_of(opened: Opened) -> list[bytes]:
    return [packet for _, packet in heard(opened)]


def came(*packets: tuple[bytes, bytes]) -> Received:
    """Datagrams with their addresses, as a batch."""
    data = np.zeros((len(packets), 1280), np.uint8)
    for row, (packet, _) in zip(data, packets, strict=True):
        row[: len(packet)] = np.frombuffer(packet, np.uint8)
    sizes = np.array([len(packet) for packet, _ in packets], np.intp)
    width = len(packets[0][1]) // 4
    return Received(data, sizes, np.frombuffer(b"".join(a for _, a in packets), np.uint32).reshape(-1, width))


@pytest.mark.parametrize("suite", Suite)
def test_inputs_of_many_are_opened_in_one_pass(suite: Suite) -> None:
    many = Many.of(300, suite=suite)
    sent = [(c.seal_input(b"input %d" % n, 1.0), many.addresses[n]) for n, c in enumerate(many.clients)]
    random.Random(1).shuffle(sent)
    opened = many.ends.receive(came(*sent), 1.0)
    assert {many.ends.owners[slot]: packet for slot, packet in heard(opened)} == {
        n: b"input %d" % n for n in range(300)
    }
    assert opened.replies == []
    assert {server.channel for server in many.servers} == {Channel.DATAGRAM}
    assert many.ends.drops == DropCounters()


def test_what_has_piled_up_of_many_is_opened_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was late finds several inputs of everybody: were each opened by itself, it would be later still."""
    many = Many.of(50)
    sent = [
        (client.seal_input(b"input %d" % number, 1.0), many.addresses[n])
        for number in range(4)
        for n, client in enumerate(many.clients)
    ]
    monkeypatch.setattr(ServerEnd, "receive", None)
    opened = many.ends.receive(came(*sent), 1.0)
    of_each: dict[int, list[bytes]] = {}
    for slot, packet in heard(opened):
        of_each.setdefault(slot, []).append(packet)
    assert list(of_each.values()) == [[b"input %d" % number for number in range(4)]] * 50
    assert many.ends.drops == DropCounters()


@settings(max_examples=examples(25), deadline=None)
@given(st.data())
def test_a_batch_does_what_its_datagrams_do_one_by_one(data: st.DataObject) -> None:
    """Lost, doubled, overtaken, forged, cut, from elsewhere, of all types: in batches here, alone there."""
    batched, alone = Many.of(4), Many.of(4)
    wire: list[tuple[int, bytes]] = []
    now = 1.0
    for _ in range(data.draw(st.integers(1, 6))):
        for _ in range(data.draw(st.integers(1, 12))):
            who = data.draw(st.integers(0, 3))
            kind = data.draw(st.sampled_from(KINDS))
            client = batched.clients[who]
            if kind == "skip":
                for _ in range(data.draw(st.sampled_from([1, 40, 63, 64, 300]))):
                    client.seal_input(b"lost", now)
            packet = client.seal_input(bytes([who]) * data.draw(st.integers(0, 9)), now)
            if kind == "keepalive":
                packet = client._seal(DatagramType.KEEPALIVE, b"", now)
            elif kind == "forged":
                packet = packet[:-1] + bytes([packet[-1] ^ 1])
            elif kind == "cut":
                packet = packet[: data.draw(st.integers(0, 26))]
            elif kind == "again" and wire:
                who, packet = data.draw(st.sampled_from(wire))
            wire.append((who, packet))
        order = data.draw(st.permutations(wire[-12:]))
        away = data.draw(st.booleans())
        sent = [(packet, AWAY if away and n == 0 else batched.addresses[who]) for n, (who, packet) in enumerate(order)]
        now += 0.05
        opened = batched.ends.receive(came(*sent), now)
        singly: list[tuple[int, bytes]] = []
        replies = []
        for one in sent:
            single = alone.ends.receive(came(one), now)
            singly += heard(single)
            replies += single.replies
        assert sorted(heard(opened)) == sorted(singly)
        assert sorted(len(reply) for reply, _ in opened.replies) == sorted(len(reply) for reply, _ in replies)
        assert batched.state() == alone.state()
    assert batched.ends.drops == alone.ends.drops


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=60), st.integers(0, 2**32))
def test_each_datagram_is_taken_once_however_it_comes(leaps: list[int], seed: int) -> None:
    many, chance = Many.of(1), random.Random(seed)
    packets: list[bytes] = []
    for leap in leaps:
        for _ in range(leap):
            many.clients[0].sealer.seal(DatagramType.INPUT, b"lost")
        packets.append(many.clients[0].sealer.seal(DatagramType.INPUT, len(packets).to_bytes(2, "little")))
    taken: list[bytes] = []
    for packet in packets:
        for one in [packet, chance.choice(packets), packet]:
            taken += packets_of(many.ends.receive(came((one, many.addresses[0])), 5.0 + len(taken)))
    assert len(taken) == len(set(taken))


def test_acknowledgements_tell_what_came() -> None:
    many = Many.of(1)
    client, server = many.clients[0], many.servers[0]
    packets = [client.seal_input(b"x", 1.0) for _ in range(12)]
    for number in (0, 1, 3, 7, 5, 11):
        many.ends.receive(came((packets[number], many.addresses[0])), 1.0)
    first = 1 + 2  # probe and proof
    highest, bits = ack_of(server)
    told = {highest} | {highest - 1 - bit for bit in range(32) if bits >> bit & 1}
    assert {number - first for number in told if number >= first} == {0, 1, 3, 5, 7, 11}


def test_strangers_and_closed_ends_are_nobodys() -> None:
    many = Many.of(3)
    gone = many.clients[1].seal_input(b"late", 1.0)
    many.servers[1].close()
    many.servers[1].close()
    assert len(many.ends) == 2
    assert many.ends.find(many.servers[1].connection) is None
    far = ClientEnd(2**64 - 1, KEY_UP, KEY_DOWN).seal_input(b"x", 1.0)
    nobody = ClientEnd(0, KEY_UP, KEY_DOWN).seal_input(b"x", 1.0)
    other = ClientEnd(many.servers[0].connection ^ 1 << 40, KEY_UP, KEY_DOWN).seal_input(b"x", 1.0)
    opened = many.ends.receive(came(*((p, HOME) for p in (gone, far, nobody, other, b"", b"short"))), 1.0)
    assert (heard(opened), opened.replies, many.ends.drops.unknown) == ([], [], 6)

    again = ServerEnd(9 << SLOT_BITS, KEY_UP, KEY_DOWN, PATH_KEY, Suite.AES_256_GCM)
    many.ends.open(again, "new")
    assert again.connection & (1 << SLOT_BITS) - 1 == many.clients[1].connection & (1 << SLOT_BITS) - 1
    assert heard(many.ends.receive(came((gone, many.addresses[1])), 1.0)) == []
    assert (again.path, again.heard_at, again.channel) == (None, float("-inf"), Channel.UNKNOWN)


def test_no_connection_id_leads_to_a_closed_end() -> None:
    """The columns of a closed end keep what they were; nothing may find them, whatever its address."""
    many = Many.of(3)
    slots = [server.slot for server in many.servers]
    for server in many.servers:
        server.close()
    for number, slot in enumerate(slots):
        for connection in (0, 1, slot):
            forged = Sealer(KEY_UP, connection, CLIENT_TO_SERVER)
            forged.sequence = 2  # as far as its player's was
            datagram = forged.seal(DatagramType.INPUT, b"x")
            assert heard(many.ends.receive(came((datagram, many.addresses[number])), 1.0)) == []
    assert many.ends.drops == DropCounters(unknown=9)


def test_an_end_is_opened_once() -> None:
    """Its sequence would begin anew under the same keys."""
    many = Many.of(1)
    many.servers[0].close()
    with pytest.raises(RuntimeError, match="once"):
        many.ends.open(many.servers[0], None)


def test_who_floods_with_what_is_not_usual_costs_nobody_else() -> None:
    """Old and forged packets of one player, and genuine ones beyond its share; others are answered all the same."""
    many = Many.of(2)
    old = [(many.clients[0].seal_input(b"old", 1.0), many.addresses[0]) for _ in range(80)]
    for one in old[:40]:
        many.ends.receive(came(one), 1.0)
    forged = [(packet[:-1] + bytes([packet[-1] ^ 1]), address) for packet, address in old[40:60]]
    asked = (many.clients[1]._seal(DatagramType.KEEPALIVE, b"", 1.0), many.addresses[1])
    drops = many.ends.drops
    opened = many.ends.receive(came(*old[:40], *forged, asked, *old[40:]), 1.05)
    assert packets_of(opened) == [b"old"] * 32
    assert (drops.replayed, drops.forged, drops.excess) == (40, 20, 8)
    assert [address for _, address in opened.replies] == [many.addresses[1]]
    again = many.ends.receive(came(*old), 1.1)
    assert (packets_of(again), drops.replayed) == ([b"old"] * 8, 40 + 72)


def test_inputs_from_elsewhere_are_used_and_challenged() -> None:
    many = Many.of(1)
    opened = many.ends.receive(came((many.clients[0].seal_input(b"roaming", 9.0), AWAY)), 9.0)
    assert (packets_of(opened), [address for _, address in opened.replies]) == ([b"roaming"], [AWAY])
    assert many.servers[0].path == many.addresses[0]


def test_ipv6_paths_are_proven_and_compared_whole() -> None:
    many = Many.of(1, proven=False)
    prove(many.clients[0], many.servers[0], V6)
    assert many.servers[0].path == V6
    opened = many.ends.receive(came((many.clients[0].seal_input(b"six", 1.0), V6)), 1.0)
    assert (packets_of(opened), opened.replies) == ([b"six"], [])
    near = V6[:-5] + bytes([V6[-5] ^ 1]) + V6[-4:]
    opened = many.ends.receive(came((many.clients[0].seal_input(b"near", 2.0), near)), 2.0)
    assert (packets_of(opened), len(opened.replies)) == ([b"near"], 1)
    assert int.from_bytes(V6[:2], "little") == socket.AF_INET6


def test_one_who_floods_is_cut_and_the_others_are_not() -> None:
    many = Many.of(2)
    good = 0
    for number in range(400):
        packets = [(many.clients[0].seal_input(b"flood", 1.0), many.addresses[0])]
        if number % 40 == 0:
            packets.append((many.clients[1].seal_input(b"good", 1.0), many.addresses[1]))
        opened = many.ends.receive(came(*packets), 1.0)
        good += [slot for slot, _ in heard(opened)].count(many.servers[1].slot)
    assert good == 10
    assert abs(many.ends.drops.excess - (400 - PACKETS_BURST)) <= 1  # rounding


def test_a_ticks_frames_are_sealed_for_their_readers_alone() -> None:
    many = Many.of(20)
    slots = np.array([server.slot for server in many.servers])
    frames = packed([bytes([number]) * number for number in range(20)])
    datagrams = many.ends.seal_frames(slots, frames).strings()
    for client, frame, datagram in zip(many.clients, frames.strings(), datagrams, strict=True):
        assert client.receive(datagram, 1.0) == (frame, None)
        assert client.receive(datagram, 1.0) == (None, None)


def test_every_so_many_frames_say_what_came() -> None:
    many = Many.of(3)
    slots = np.array([server.slot for server in many.servers])
    many.servers[0].channel = many.servers[1].channel = Channel.DATAGRAM
    told = [many.ends.take_acks(slots, 1.0 + number / 1000).strings() for number in range(2 * ACKS_EVERY)]
    assert [number for number, acks in enumerate(told) if acks[0]] == [ACKS_EVERY - 1, 2 * ACKS_EVERY - 1]
    for acks in told:
        assert acks[0] == acks[1]
        assert acks[0] in (b"", ACKS.pack(*ack_of(many.servers[0])))
        assert acks[2] == b""  # its frames go over the control channel
    many.ends.take_acks(slots, 2.0)
    assert many.ends.take_acks(slots, 2.0 + ACKS_EVERY_S + 0.01).strings()[0]


def test_who_gets_frames_by_datagram() -> None:
    many = Many.of(5)
    one, control, silent, unproven, spent = many.servers
    for server in (one, silent, unproven, spent):
        server.channel = Channel.DATAGRAM
    control.channel = Channel.CONTROL
    unproven.lose_path()
    many.ends.path_heard_at[silent.slot] = 1.0
    many.ends.path_heard_at[[one.slot, spent.slot]] = 9.0
    many.ends.sequence[spent.slot] = SEQUENCE_MAX
    slots = np.array([server.slot for server in many.servers])
    now = 1.0 + PATH_IDLE_S + 0.1
    assert many.ends.by_datagram(slots, np.full(5, 80), now).tolist() == [True, False, False, False, False]
    assert silent.path is None
    assert not many.ends.by_datagram(slots[:1], np.array([PLAINTEXT_MAX + 1]), now)[0]


def test_more_sessions_than_there_is_room_for_at_first() -> None:
    many = Many.of(200)
    many.ends.receive(came((many.clients[199].seal_input(b"x", 3.0), many.addresses[199])), 3.0)
    assert many.servers[199].heard_at == 3.0
    assert len({server.connection for server in many.servers}) == 200
