"""A WebSocket over a byte link: the same calls, limits and outcomes as `netcode.tcp.ByteLink`.

    accepted ── TLS, or "GET " at once ──► ByteLink ── "GET " ──► WebSocketLink.accept ──► messages
                                              └── anything else ──► the byte link itself: our packets, no WebSocket

What is written goes out as one binary message; what is received are the payloads of messages, joined. A peer that
breaks the WebSocket protocol is told by a close frame, and the link ends as WEBSOCKET. `aclose` says in its close frame
which error the last message has told: 4000 and the number of the error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import trio

from netcode.certificate import ClientTrust, is_loopback
from netcode.errors import CloseReason, ErrorCode, LinkClosed
from netcode.limits import address_key
from netcode.origin import UpgradePolicy
from netcode.packed import Packed
from netcode.pool import LinkPool
from netcode.sockets import send_all
from netcode.streams import framed
from netcode.tcp import ByteLink, HandshakeFailed
from netcode.tls import Turn
from netcode.websocket import (
    HEAD_END,
    HEAD_MAX,
    ClientUpgrade,
    Close,
    UpgradeFailed,
    WebSocket,
    accept_upgrade,
    refusal,
)

GET = b"GET "
READ_SIZE = 2048
"""Bytes read at once from a client, which may be three hundred frames: 2 ms of work at worst."""


class UpgradeRefused(HandshakeFailed):
    """A request to upgrade was refused, and answered."""


class WebSocketLink:
    """One end of a WebSocket. Made by `client`; on a server around a byte link, then `accept`."""

    __slots__ = ("_asked", "_link", "_over", "_web", "ponged_at")

    def __init__(self, link: ByteLink, web: WebSocket | None = None) -> None:
        self.ponged_at = float("-inf")
        """When the last pong came."""
        self._link = link
        self._web = web
        self._asked = web is None  # a request is not answered yet
        self._over = False  # the peer has said that it ends

    @classmethod
    async def client(
        cls,
        host: str,
        port: int,
        trust: ClientTrust | None,
        nursery: trio.Nursery,
        *,
        handshake_timeout_s: float = 10.0,
    ) -> WebSocketLink:
        """Connect and upgrade (`trust` None: without TLS, to this machine only).

        Raises what `ByteLink.client` raises, and `HandshakeFailed` when the server does not upgrade.
        """
        if trust is None and not is_loopback(host):
            raise HandshakeFailed(f"ws is not encrypted, and {host} is not this machine: use wss")
        with trio.move_on_after(handshake_timeout_s):
            link = await ByteLink.client(host, port, trust, nursery, handshake_timeout_s=handshake_timeout_s)
            try:
                upgrade = ClientUpgrade(host, port, secure=trust is not None)
                link.write(upgrade.request)
                while data := await link.receive():
                    if (found := upgrade.receive(data)) is not None:
                        web, rest = found
                        if rest:
                            link.unread(rest)
                        return cls(link, web)
                raise HandshakeFailed(f"{host}:{port} hung up instead of opening a WebSocket")
            except UpgradeFailed as error:
                link.close()
                raise HandshakeFailed(f"{host}:{port} opens no WebSocket: {error}") from None
            except LinkClosed as error:
                raise HandshakeFailed(f"{host}:{port} opens no WebSocket: {error}") from None
            except BaseException:
                link.close()
                raise
        raise HandshakeFailed(f"{host}:{port} opened no WebSocket within {handshake_timeout_s:g} s")

    async def accept(self, policy: UpgradePolicy) -> None:
        """Answer the request. Raises UpgradeRefused when it was refused, LinkClosed."""
        head = b""
        while HEAD_END not in head:
            data = await self._link.receive(READ_SIZE)
            head += data
            if not data or len(head) > HEAD_MAX:
                self._answer(refusal(431, f"a request has at most {HEAD_MAX} bytes"))
                raise UpgradeRefused("no whole request" if not data else "a request that is too long")
        head, end, rest = head.partition(HEAD_END)
        local = is_loopback(address_key(self.peer[0]))
        try:
            self._web, answer = accept_upgrade(head + end, policy, secure=self._link.secure, local=local)
        except UpgradeFailed as error:
            self._answer(error.answer)
            raise UpgradeRefused(str(error)) from None
        self._answer(answer)
        if rest:
            self._link.unread(rest)

    @property
    def closed(self) -> CloseReason | None:
        """Why the link is closed; None while it is open."""
        return self._link.closed

    @property
    def peer(self) -> tuple[str, int]:
        """The peer's host and port."""
        return self._link.peer

    @property
    def turn(self) -> Turn | None:
        """As that of a byte link."""
        return self._link.turn

    @turn.setter
    def turn(self, turn: Turn | None) -> None:
        self._link.turn = turn

    @property
    def waiting(self) -> int:
        """How many bytes wait in the outbox."""
        return self._link.waiting

    @property
    def plain_fd(self) -> int:
        """As that of a byte link, for what is framed."""
        return self._link.plain_fd if self._web is not None and self._web.open else -1

    @property
    def fault(self) -> str:
        """How the peer has broken the WebSocket protocol; "" where it has not."""
        return "" if self._web is None else self._web.fault

    def take_overhead(self) -> int:
        """Bytes that what was received since the last call has cost beyond what `receive` gave."""
        if self._web is None:
            return 0
        overhead, self._web.overhead = self._web.overhead, 0
        return overhead

    def write(self, data: bytes) -> None:
        """Send `data` as one message. Never blocks, never raises; does nothing before the upgrade and after the end."""
        if self._web is not None and data:
            self._link.write(self._web.message(data))

    def write_framed(self, data: bytes | memoryview) -> None:
        """As `write`, of what is a message already (`netcode.streams`)."""
        if self._web is not None and self._web.open:
            self._link.write(data)

    def ping(self) -> None:
        """Have the peer say that it is there: `ponged_at`. A browser answers by itself, also for a page that sleeps."""
        if self._web is not None:
            self._link.write(self._web.ping())

    async def receive(self, bytes_max: int = READ_SIZE) -> bytes:
        """What the next messages hold; b"" when the peer has ended the stream. Raises `LinkClosed`."""
        if self._over:
            await trio.lowlevel.checkpoint()
        while not self._over:
            if payload := self._take(await self._link.receive(bytes_max)):
                return payload
        self._check()
        return b""

    def be_read(
        self,
        take: Callable[[bytes], bool],
        left: Callable[[], None],
        pool: LinkPool,
        key: Callable[[], int] = lambda: 0,
    ) -> bool:
        """As that of a byte link."""

        def unwrap(data: bytes) -> bool:
            payload = self._take(data)
            return (not payload or take(payload)) and not self._over

        def whole_key() -> int:
            return key() if self._web is not None and self._web.whole else 0

        return not self._over and self._link.be_read(unwrap, left, pool, whole_key, bytes_max=READ_SIZE, web=True)

    async def until_hung_up(self) -> None:
        """As that of a byte link."""
        await self._link.until_hung_up()

    async def flush(self) -> None:
        """Wait until the outbox is empty. Raises `LinkClosed`."""
        await self._link.flush()

    def close(self, reason: CloseReason = CloseReason.LOCAL) -> None:
        """End the link at once, without a close frame."""
        self._link.close(reason)

    async def aclose(self, why: ErrorCode | None = None) -> None:
        """Say goodbye, with the code of the error that was told; give the peer a second to take it, then `close`."""
        if self._web is not None:
            code, reason = (Close.NORMAL, "") if why is None else (Close.ERROR + why.number, why.wire_name)
            self._link.write(self._web.close(code, reason))
        elif self._asked:
            self._answer(refusal(408, "the request took too long"))
        await self._link.aclose()

    def _answer(self, answer: bytes) -> None:
        self._asked = False
        self._link.write(answer)

    def _take(self, data: bytes) -> bytes:
        """The payload in what came; what the protocol answers to it is sent."""
        assert self._web is not None
        if not data:
            self._over = True
            return b""
        web, pongs = self._web, self._web.pongs
        now = trio.current_time()
        payload = web.receive(data, now)
        if web.pongs != pongs:
            self.ponged_at = now
        if answer := web.to_send():
            self._link.write(answer)
        self._over = web.over
        return payload

    def _check(self) -> None:
        if self.fault:
            raise LinkClosed(CloseReason.WEBSOCKET)


Link = ByteLink | WebSocketLink
"""A control connection, whichever way it came."""


async def asks_for_http(link: ByteLink) -> bool:
    """Whether the peer begins with an HTTP request; what it said is given by the next `receive`. Raises LinkClosed,
    and HandshakeFailed for who speaks neither HTTP nor TLS."""
    said = b""
    while len(said) < len(GET) and GET.startswith(said):
        try:
            data = await link.receive()
        except BaseException:
            link.unread(said)
            raise
        if not data:
            break
        said += data
    link.unread(said)
    asks = said.startswith(GET)
    if link.unasked and not asks:
        raise HandshakeFailed("the peer speaks neither TLS nor HTTP")
    return asks


def write_all(links: Sequence[Link], plaintexts: Packed, kind: int, *, masked: bool) -> None:
    """Write a realtime packet of this type, none longer than FRAMED_MAX, to each of these links, all different; those
    without TLS in one call. `masked`: as a client."""
    web = np.fromiter([isinstance(link, WebSocketLink) for link in links], bool, len(links))
    keys = np.frombuffer(os.urandom(4 * len(links)), np.uint8).reshape(-1, 4) if masked and web.any() else None
    out = framed(plaintexts, kind, web, keys)
    sent = send_all([link.plain_fd for link in links], out)
    rest = np.flatnonzero(sent < out.sizes)
    data, begins, ends = out.data.data, out.begins + sent, out.begins + out.sizes
    for number, begin, end in zip(rest.tolist(), begins[rest].tolist(), ends[rest].tolist(), strict=True):
        links[number].write_framed(data[begin:end])
