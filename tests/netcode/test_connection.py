"""One connection with its datagrams: which way inputs take, and that the way changes with the network."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import attrs
import pytest
import trio

from netcode import messages
from netcode.client import connect
from netcode.ends import ServerEnds
from netcode.seal import DropCounters, Suite
from netcode.server_end import SLOT_BITS, ServerEnd
from tests.netcode.ends import ack_of, seal_frame, with_acks
from tests.netcode.queue import InputPacket, parse_input_packet
from tests.netcode.scripted import HANG_S, HOST, INPUT_BYTES, WELCOME, Stage, frame, listening, seated


class Datagrams:
    """The server's UDP socket: proves paths, answers inputs by frames, and can go deaf."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.port: int = sock.getsockname()[1]
        self.end = ServerEnd(2 << SLOT_BITS, bytes(32), bytes(32), b"p" * 32, Suite.AES_256_GCM)
        ServerEnds(DropCounters()).open(self.end, None)
        self.addresses: set[int] = set()
        self.deaf = False
        self.inputs: list[InputPacket] = []
        self.got = trio.Event()
        self._sock = sock
        self._tick = 100

    @property
    def welcome(self) -> messages.Welcome:
        """What tells a client of it."""
        return attrs.evolve(WELCOME, udp_port=self.port, connection=self.end.connection)

    async def serve(self) -> None:
        while True:
            packet, address = await self._sock.recvfrom(2048)
            if self.deaf:
                continue
            now = trio.current_time()
            plaintext, reply = self.end.receive(packet, repr(address).encode(), now)
            if reply is not None:
                await self._sock.sendto(reply, address)
            if plaintext is not None:
                self.addresses.add(address[1])
                self.inputs.append(parse_input_packet(plaintext, INPUT_BYTES))
                self.got.set()
                self.got = trio.Event()
                self._tick += 1
                told = with_acks(frame(self._tick, self.inputs[-1].newest)[6:], ack_of(self.end))
                await self._sock.sendto(seal_frame(self.end, told, now), address)

    async def until(self, count: int) -> None:
        """So many packets of inputs have come."""
        with trio.fail_after(HANG_S):
            while len(self.inputs) < count:
                await self.got.wait()


@pytest.fixture
async def datagrams(nursery: trio.Nursery) -> AsyncIterator[Datagrams]:
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.bind((HOST, 0))
        server = Datagrams(sock)
        nursery.start_soon(server.serve)
        yield server
        nursery.cancel_scope.cancel()


async def test_inputs_leave_a_path_that_fails_and_return(datagrams: Datagrams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netcode.realtime.PATH_LOST_S", 0.1)
    over_control: list[InputPacket] = []
    came = trio.Event()

    async def play(stage: Stage) -> None:
        await stage.enter(answer=datagrams.welcome)
        await stage.grant(seated(tick_hz=60))
        with contextlib.suppress(AssertionError):
            while True:
                over_control.append(await stage.inputs())
                stage.link.write(frame(101 + over_control[-1].newest, over_control[-1].newest))
                if len(over_control) == 5:
                    came.set()

    async with listening(play) as server, connect(server) as client:
        await client.join("drift")
        await datagrams.until(10)
        assert over_control == []
        datagrams.deaf = True
        await came.wait()
        datagrams.deaf = False
        known = len(datagrams.inputs)
        await datagrams.until(known + 10)
        assert client.error is None
        assert client._lifeline.connection is not None
        assert client._lifeline.connection.end.fallbacks >= 1


async def test_where_datagrams_never_pass_the_control_channel_serves(
    datagrams: Datagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netcode.realtime.FALLBACK_S", 0.05)
    datagrams.deaf = True

    async def play(stage: Stage) -> None:
        await stage.enter(answer=datagrams.welcome)
        await stage.grant(seated())
        packet = await stage.inputs()
        stage.link.write(frame(101, last_seq=packet.newest))
        await stage.stay()

    async with listening(play) as server, connect(server) as client:
        assert (await (await client.join("drift")).next_frame()).last_seq == 1


async def test_a_server_without_datagrams() -> None:
    async def play(stage: Stage) -> None:
        await stage.enter(answer=attrs.evolve(WELCOME, udp_port=0))
        await stage.grant(seated())
        stage.link.write(frame(101, last_seq=(await stage.inputs()).newest))
        await stage.stay()

    async with listening(play) as server, connect(server) as client:
        await (await client.join("drift")).next_frame()
        client.rebind()


async def test_a_changed_network_goes_on_from_another_address(datagrams: Datagrams) -> None:
    async def play(stage: Stage) -> None:
        await stage.enter(answer=datagrams.welcome)
        await stage.grant(seated(tick_hz=60))
        await stage.stay()

    async with listening(play) as server, connect(server) as client:
        room = await client.join("drift")
        await datagrams.until(5)
        client.rebind()
        path = datagrams.end.path
        known = len(datagrams.inputs)
        await datagrams.until(known + 10)
        await room.next_frame()
        assert len(datagrams.addresses) == 2
        assert datagrams.end.path not in (path, None)


async def test_no_new_inputs_when_told_so_but_the_old_are_repeated() -> None:
    packets: list[InputPacket] = []

    async def play(stage: Stage) -> None:
        await stage.enter()
        await stage.grant(seated(tick_hz=60))
        while (await stage.inputs()).newest < 3:
            pass
        stage.link.write(frame(101))
        await stage.hear(messages.Chat)
        packets.extend([await stage.inputs() for _ in range(10)])
        stage.link.write(frame(102, last_seq=packets[-1].newest))
        await stage.stay()

    async with listening(play) as server, connect(server, transport="tcp") as client:
        room = await client.join("drift")
        await room.next_frame()
        client.sending = False
        await client.chat("stop")
        await room.next_frame()
        assert len({packet.newest for packet in packets}) == 1
        assert room.play.window.acknowledged == room.play.window.newest
