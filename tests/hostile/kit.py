"""What attackers are made of: sockets bound to other addresses, and a member who plays by hand.

An attack is a generator. What it does before its first `yield` makes it ready; then each `yield n` says that n more
units (packets, connections, requests) went out, and its process waits as long as the attack's rate wants. All of it is
plain blocking code: attackers share a processor with the good players and must be cheap.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from netcode import messages
from netcode.control import PROTOCOL, ControlChannel, message_bytes
from netcode.messages import Message
from netcode.mmsg import Batch, address_token, make_batch
from netcode.realtime import ClientEnd

ALONE = "127.0.0.3"
"""The address of an attacker who has one."""
PATIENCE_S = 5.0


@attrs.frozen
class Target:
    """What an attacker is told."""

    port: int
    victims: list[int]
    """Connection ids of good players."""
    host: str = "127.0.0.1"
    http_port: int = 0
    token: str = ""
    """Of operators, for an attacker who has got it."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port


@attrs.frozen
class Attack:
    """A way to be hostile: `rate` units a second at most."""

    run: Callable[[Target], Iterator[int]]
    rate: float
    what: str


def addresses() -> Iterator[str]:
    """Addresses of an attacker who has very many, each once."""
    for high, low in itertools.product(range(1, 256), range(1, 255)):
        yield f"127.66.{high}.{low}"


# -- datagrams --------------------------------------------------------------------------------------------------------


def udp(host: str = ALONE) -> socket.socket:
    """A UDP socket of this address."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


class Gun:
    """Sends datagrams to the target, many in a call."""

    def __init__(self, target: Target) -> None:
        self._batch: Batch = make_batch(256)
        self._to = address_token(target.address)

    def fire(self, sock: socket.socket, packets: list[bytes]) -> int:
        """How many went out."""
        return self._batch.send(sock, packets, [self._to] * len(packets))


# -- connections ------------------------------------------------------------------------------------------------------


def tcp(target: Target, host: str = ALONE, *, wait: bool = True) -> socket.socket:
    """A TCP connection from this address; without `wait` it is only begun."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    sock.bind((host, 0))
    sock.settimeout(PATIENCE_S if wait else 0.0)
    with contextlib.suppress(BlockingIOError):
        sock.connect(target.address)
    return sock


def tls_context() -> ssl.SSLContext:
    """A client that trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


TLS = tls_context()


def secure(target: Target, host: str = ALONE) -> ssl.SSLSocket:
    """A TCP connection with TLS. Raises OSError."""
    sock = tcp(target, host)
    try:
        return TLS.wrap_socket(sock)
    except OSError:
        sock.close()
        raise


def client_hello() -> bytes:
    """The first bytes of a TLS handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        TLS.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def drain(sock: socket.socket) -> bool:
    """Read away what waits; False when the stream has ended."""
    sock.setblocking(False)
    try:
        while data := sock.recv(65536):
            pass
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return True
    except OSError:
        return False
    return bool(data)


HELLO = message_bytes(messages.Hello(protocol=PROTOCOL))


class Member:
    """A session that was logged in like any other. Raises OSError when the server will not have it."""

    def __init__(self, target: Target, host: str = ALONE, *, seat: bool = False, receive_bytes: int = 0) -> None:
        sock = tcp(target, host)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock = TLS.wrap_socket(sock)
        self._channel = ControlChannel(server=False)
        self._got: list[Any] = []
        self.say(messages.Hello(protocol=PROTOCOL), messages.Login(secret=secrets.token_bytes(32)))
        self.welcome: messages.Welcome = self.hear(messages.Welcome)
        self.end = ClientEnd(self.welcome.connection, self.welcome.key_up, self.welcome.key_down)
        self.seated: messages.Seated | None = None
        if seat:
            game = self.welcome.games[0]
            self.say(messages.CreateRoom(game=game, ref=1))  # good players are not to meet it in their rooms
            created: messages.RoomCreated = self.hear(messages.RoomCreated)
            self.say(messages.Join(room=created.room, ref=2))
            self.seated = self.hear(messages.Seated)

    def say(self, *said: Message) -> None:
        """Send messages."""
        self.sock.sendall(b"".join(message_bytes(message) for message in said))

    def hear(self, wanted: type[Message]) -> Any:
        """The next message of that class."""
        while True:
            while self._got:
                item = self._got.pop(0)
                if isinstance(item, wanted):
                    return item
                if isinstance(item, messages.Error):
                    raise OSError(f"refused: {item.name}")
            data = self.sock.recv(65536)
            if not data:
                raise OSError("the server has closed the connection")
            self._got += self._channel.receive_data(data)

    def input_packet(self, count: int = 1, newest: int = 1, size: int | None = None) -> bytes:
        """An input packet of this seat: `count` inputs of zeros, or what says that it is."""
        assert self.seated is not None
        size = sum(int(kind[1:]) for _, kind, _, _ in self.seated.inputs) if size is None else size
        head = struct.pack("<BBHIHHHB", 0, self.seated.stream, 0, 0, 0, 0, newest & 0xFFFF, count)
        return head + bytes(count * size)
