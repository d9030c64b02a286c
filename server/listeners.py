"""Where a node listens.

    own port     TCP and UDP under the same number: this very node
    front port   TCP, shared by all nodes of this machine (SO_REUSEPORT): any of them
    HTTP         the same once more: a port of its own, and with several nodes one that all of them share

The kernel spreads connections over everybody who listens on the front port, also over a process that is stopped: who
gets no answer tries again from another port.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

import attrs
import trio

BACKLOG = 1024


class CannotListen(Exception):
    """One line with the remedy."""


@attrs.frozen
class Listeners:
    """Open sockets."""

    port: int
    """The own one."""
    streams: list[trio.SocketListener]
    datagrams: socket.socket
    pid: int = attrs.field(factory=os.getpid)


@attrs.frozen
class HttpListeners:
    """Open sockets for HTTP."""

    port: int
    """The own one."""
    streams: list[trio.SocketListener]


@contextlib.contextmanager
def bind(host: str, port: int, front_port: int = 0) -> Iterator[Listeners]:
    """Listen on `port` (0: one that is free for TCP and UDP), and on the front port where there is one (then `port` is
    not looked at). Raises CannotListen."""
    with contextlib.ExitStack() as stack:
        family, address = resolve(host, port)
        tcp, udp = _own(family, (address[0], 0, *address[2:]) if front_port else address)
        streams = [stack.enter_context(tcp)]
        stack.enter_context(udp)
        if front_port:
            front = stack.enter_context(shared_socket(family, (address[0], front_port, *address[2:])))
            front.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # `front_socket` passes what is closed already
            front.listen(BACKLOG)
            streams.append(front)
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in streams]
        yield Listeners(tcp.getsockname()[1], listeners, udp)


@contextlib.contextmanager
def bind_http(host: str, port: int, front_port: int = 0) -> Iterator[HttpListeners]:
    """Listen for HTTP: on `port` (0: a free one); or on a free one and on the front port, where there is one. Raises
    CannotListen."""
    with contextlib.ExitStack() as stack:
        family, address = resolve(host, port)
        own = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind((address[0], 0 if front_port else port, *address[2:]))
        except OSError as error:
            raise CannotListen(f"cannot listen on {host}:{port}: {_reason(error, '--http-port')}") from error
        sockets = [own]
        if front_port:
            front = shared_socket(family, (address[0], front_port, *address[2:]), "--http-port")
            sockets.append(stack.enter_context(front))
        for one in sockets:
            one.listen(BACKLOG)
        streams = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in sockets]
        yield HttpListeners(own.getsockname()[1], streams)


def resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    """Family and address to bind to; raises CannotListen."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "that is no host name"
        raise CannotListen(f"cannot listen on {host}: {why}; give an address of this machine") from error
    return family, address  # type: ignore[return-value]


def front_socket(family: int, address: tuple[str, int], option: str = "--port") -> socket.socket:
    """A `shared_socket` that keeps the number for nodes which are still to come; raises CannotListen also where nodes
    of another server listen: both would get some of the clients of either."""
    with socket.socket(family, socket.SOCK_STREAM) as alone:
        try:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
        except OSError as error:
            left = "; nodes of a supervisor that was killed may be left" if error.errno == errno.EADDRINUSE else ""
            raise CannotListen(f"cannot listen on {address[0]}:{address[1]}: {_reason(error, option)}{left}") from error
    return shared_socket(family, address, option)


def shared_socket(family: int, address: tuple[str, int], option: str = "--port") -> socket.socket:
    """A TCP socket bound to a port that other processes of this user bind, too; raises CannotListen."""
    tcp = socket.socket(family, socket.SOCK_STREAM)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        tcp.bind(address)
    except OSError as error:
        tcp.close()
        raise CannotListen(f"cannot listen on {address[0]}:{address[1]}: {_reason(error, option)}") from error
    return tcp


def _own(family: int, address: tuple[str, int]) -> tuple[socket.socket, socket.socket]:
    host, port = address[:2]
    for _ in range(16):
        tcp, udp = socket.socket(family, socket.SOCK_STREAM), socket.socket(family, socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(address)
            tcp.listen(BACKLOG)
            udp.bind((host, tcp.getsockname()[1], *address[2:]))
            return tcp, udp
        except OSError as error:
            tcp.close()
            udp.close()
            if port or error.errno != errno.EADDRINUSE:
                raise CannotListen(f"cannot listen on {host}:{port}: {_reason(error)}") from error
    raise CannotListen(f"cannot listen on {host}: no port is free for both TCP and UDP")


def _reason(error: OSError, option: str = "--port") -> str:
    reasons = {
        errno.EADDRINUSE: f"the port is in use; stop the other server or choose another with {option}",
        errno.EACCES: f"this user may not use the port; choose one above 1023 with {option}",
        errno.EADDRNOTAVAIL: "this machine has no such address; choose another with --host",
    }
    return reasons.get(error.errno or 0, error.strerror or str(error))
