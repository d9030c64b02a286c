"""Where nodes listen: an own port for TCP and UDP, and one that all share, which nobody holds who does not accept."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
import trio

from server.listeners import CannotListen, Listeners, bind, front_socket, resolve

HOST = "127.0.0.1"


@pytest.fixture
def front() -> Iterator[int]:
    """A port kept as a supervisor keeps it: bound, and not listened on."""
    family, address = resolve(HOST, 0)
    with front_socket(family, address) as kept:
        yield kept.getsockname()[1]


async def answered_by(port: int, *nodes: Listeners) -> int:
    """Connect once; the node whose listener has the connection."""
    connected = await trio.open_tcp_stream(HOST, port)
    async with connected:
        mine = connected.socket.getsockname()
        for number, node in enumerate(nodes):
            for listener in node.streams:
                with contextlib.suppress(BlockingIOError):
                    accepted, address = listener.socket._sock.accept()  # type: ignore[attr-defined]
                    accepted.close()
                    assert address == mine
                    return number
    raise AssertionError("nobody has it")


async def test_the_own_port_is_the_same_for_tcp_and_udp() -> None:
    with bind(HOST, 0) as one, bind(HOST, 0) as two:
        assert one.datagrams.getsockname() == (HOST, one.port)
        assert [listener.socket.getsockname() for listener in one.streams] == [(HOST, one.port)]
        assert one.port != two.port
        assert await answered_by(one.port, two, one) == 1


async def test_the_front_port_is_shared_by_all_who_listen_and_by_nobody_else(front: int) -> None:
    with bind(HOST, 0, front) as one, bind(HOST, 0, front) as two:
        assert len({one.port, two.port, front}) == 3
        met = [await answered_by(front, one, two) for _ in range(64)]
        assert set(met) == {0, 1}, "who only keeps the port takes no connection, and each of the others some"
        for node in (one, two):
            assert await answered_by(node.port, one, two) == (one, two).index(node)
    with pytest.raises(OSError, match=r".*"):  # nobody listens any more, although the port is still kept
        await trio.open_tcp_stream(HOST, front)
    with bind(HOST, 0, front) as again:
        assert await answered_by(front, again) == 0


async def test_with_a_front_port_the_own_one_is_free(front: int) -> None:
    with bind(HOST, front, front) as one:
        assert one.port != front


def test_a_port_in_use_is_told_with_the_remedy() -> None:
    with bind(HOST, 0) as one:
        with (
            pytest.raises(CannotListen, match=f"{HOST}:{one.port}: the port is in use; .* --port"),
            bind(HOST, one.port),
        ):
            pass
        family, address = resolve(HOST, one.port)
        with pytest.raises(CannotListen, match="the port is in use"):
            front_socket(family, address)


async def test_another_server_keeps_off_a_front_port_until_the_last_node_has_ended() -> None:
    family, anywhere = resolve(HOST, 0)
    with contextlib.ExitStack() as supervisor:
        address = supervisor.enter_context(front_socket(family, anywhere)).getsockname()
        with pytest.raises(CannotListen, match=f"{HOST}:{address[1]}: the port is in use; .* --port"):
            front_socket(family, address)  # no node listens yet
        with bind(HOST, 0, address[1]) as node:
            supervisor.close()  # killed, and its node plays on
            with pytest.raises(CannotListen, match="the port is in use"):
                front_socket(family, address)
            async with await trio.open_tcp_stream(HOST, address[1]) as client:
                served = await node.streams[1].accept()
                await served.aclose()  # the first to close: its connection lingers for a minute
                assert await client.receive_some() == b""
    with bind(HOST, address[1]) as alone:
        assert alone.port == address[1]
    with front_socket(family, address) as again:
        assert again.getsockname() == address


def test_a_udp_port_in_use_counts_as_well() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match="the port is in use"), bind(HOST, port):
            pass


@pytest.mark.parametrize("host", ["x" * 300, "\ud800"])
def test_a_host_that_is_none_is_told(host: str) -> None:
    with pytest.raises(CannotListen, match="give an address of this machine"), bind(host, 0):
        pass


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(CannotListen, match="choose another with --host"), bind("192.0.2.1", 0):
        pass


async def test_all_is_let_go_at_the_end(front: int) -> None:
    with bind(HOST, 0, front) as one:
        port = one.port
    with bind(HOST, port) as again:
        assert again.port == port
