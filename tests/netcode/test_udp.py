"""The client's datagram socket: what it does when its network goes away."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from netcode.udp import REBIND_EVERY_S, DatagramSocket

HOST = "127.0.0.1"


@pytest.fixture
def server() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    sock.settimeout(5)
    return sock


async def test_what_is_sent_arrives_and_what_comes_is_received(server: socket.socket) -> None:
    udp = DatagramSocket(HOST, server.getsockname()[1])
    udp.send(b"up")
    data, address = server.recvfrom(100)
    server.sendto(b"down", address)
    assert (data, await udp.receive()) == (b"up", b"down")
    udp.close()
    server.close()


async def test_a_new_socket_has_another_address_and_the_reader_follows(server: socket.socket) -> None:
    udp, got = DatagramSocket(HOST, server.getsockname()[1]), list[bytes]()
    udp.send(b"1")
    before = server.recvfrom(100)[1]
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            got.append(await udp.receive())

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        udp.rebind()
        udp.send(b"2")
        after = server.recvfrom(100)[1]
        server.sendto(b"to the new one", after)
    assert before != after
    assert (got, udp.rebinds) == ([b"to the new one"], 1)
    udp.close()
    server.close()


async def test_a_socket_that_fails_is_opened_anew_but_not_all_the_time(
    server: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    udp = DatagramSocket(HOST, server.getsockname()[1])

    class Broken:
        """The network is unreachable."""

        def send(self, _packet: bytes) -> int:
            raise OSError(101, "network is unreachable")

        def fileno(self) -> int:
            return -1

        def close(self) -> None:
            pass

    real = udp._opened
    monkey = pytest.MonkeyPatch()
    monkey.setattr(trio.lowlevel, "notify_closing", lambda sock: None)
    udp._socket.close()  # type: ignore[union-attr]
    udp._socket = Broken()  # type: ignore[assignment]
    udp._opened = lambda: Broken()  # type: ignore[assignment, method-assign, return-value]
    for _ in range(5):
        udp.send(b"lost")
    assert udp.rebinds == 1
    await trio.sleep(REBIND_EVERY_S)
    udp._opened = real  # type: ignore[method-assign]
    udp.send(b"lost, and the last one")
    monkey.undo()
    udp.send(b"through")
    assert (server.recv(100), udp.rebinds) == (b"through", 2)
    udp.close()
    server.close()


async def test_without_any_network_it_is_tried_again(
    server: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    udp = DatagramSocket(HOST, server.getsockname()[1])
    real = udp._opened

    def fails() -> socket.socket:
        raise OSError(101, "network is unreachable")

    udp._opened = fails  # type: ignore[method-assign]
    udp.rebind()
    got: list[bytes] = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            got.append(await udp.receive())

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        udp.send(b"lost")
        udp._opened = real  # type: ignore[method-assign]
        await trio.sleep(REBIND_EVERY_S)
        udp.send(b"through")
        data, address = server.recvfrom(100)
        server.sendto(b"answer", address)
    assert (data, got, udp.rebinds) == (b"through", [b"answer"], 1)
    udp.close()
    server.close()


async def test_closing_wakes_the_reader(server: socket.socket) -> None:
    udp = DatagramSocket(HOST, server.getsockname()[1])
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await udp.receive()

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        udp.close()
    udp.rebind()
    udp.send(b"nothing")
    assert udp.rebinds == 0
    server.close()


async def test_a_port_where_nobody_listens_is_no_failure(server: socket.socket) -> None:
    port = server.getsockname()[1]
    server.close()
    udp = DatagramSocket(HOST, port)
    for _ in range(3):
        udp.send(b"anybody?")
        await trio.lowlevel.checkpoint()
    assert udp.rebinds == 0
    udp.close()
