"""Reaching a server that has one address or several: they are tried one after the other, a little overlapped.

a:1  ── connect, TLS ───────────────── too slow ─────── ✕
b:2        └─ HEDGE_S later, or at once when a:1 fails ── there first ──► the link
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from netcode.certificate import ClientTrust, client_trust
from netcode.errors import NetcodeError
from netcode.tcp import ByteLink
from netcode.weblink import Link, WebSocketLink

HEDGE_S, CALM_HEDGE_S = 0.2, 2.0
"""An address that has not answered for so long gets company by the next one: soon when a player waits for a game that
goes on, late for whoever only begins, so that a rush of log-ins does not become three."""
ATTEMPTS = 3
TRANSPORTS = ("udp", "tcp", "ws", "wss")
"""How inputs and frames travel: by datagram beside a TCP connection with TLS, over that connection, over a WebSocket
without TLS (to this machine only) or with it."""
PLACES_MAX = 16


@attrs.frozen
class Place:
    """One address of a server, and whom to trust there."""

    host: str
    port: int
    trust: ClientTrust


def parse_address(server: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port"; raises ValueError."""
    host, colon, port = server.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError(f"{server!r} is not host:port, such as 127.0.0.1:7777")
    return host.strip("[]"), int(port)


def places_of(server: str, trust: str | None = None) -> list[Place]:
    """The addresses in "a:1,b:2", at most PLACES_MAX; `trust` as in `client_trust`. Raises ValueError and what
    `client_trust` raises."""
    addresses = [parse_address(text.strip()) for text in server.split(",")]
    if len(addresses) > PLACES_MAX:
        raise ValueError(f"{len(addresses)} addresses; at most {PLACES_MAX} are tried")
    return [Place(host, port, client_trust(host, trust)) for host, port in addresses]


def place_of(redirect_host: str, port: int, places: Sequence[Place]) -> Place:
    """The address that a server sends us to; without a host it is the one that we came by."""
    here = places[0]
    if redirect_host in ("", here.host):
        return Place(here.host, port, here.trust)
    return Place(redirect_host, port, client_trust(redirect_host))


async def reach(places: Sequence[Place], nursery: trio.Nursery, transport: str = "tcp", *, calm: bool = False) -> Link:
    """A link to whichever address answers first; `nursery` must outlive it; `calm`: nobody waits for it. A single
    address is tried up to ATTEMPTS times, overlapped: behind a port that processes share, one that is stopped takes
    connections and never answers.

    Raises what `ByteLink.client` or `WebSocketLink.client` raises for the first address when none answers.
    """
    if len(places) == 1:
        places = [*places] * ATTEMPTS
    links: list[Link] = []
    errors: dict[int, Exception] = {}
    failed = trio.Event()

    async def attempt(number: int, place: Place) -> None:
        nonlocal failed
        try:
            link = await _dial(place, nursery, transport)
        except (OSError, NetcodeError) as error:
            errors[number] = error
            failed.set()
            failed = trio.Event()
        else:
            links.append(link)
            race.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as race:
            for number, place in enumerate(places):
                race.start_soon(attempt, number, place)
                if number + 1 < len(places):
                    with trio.move_on_after(CALM_HEDGE_S if calm else HEDGE_S):
                        await failed.wait()
    except BaseException:
        for link in links:
            link.close()
        raise
    for link in links[1:]:
        link.close()
    if not links:
        raise errors[0]
    return links[0]


async def _dial(place: Place, nursery: trio.Nursery, transport: str) -> Link:
    if transport in ("ws", "wss"):
        trust = place.trust if transport == "wss" else None
        return await WebSocketLink.client(place.host, place.port, trust, nursery)
    return await ByteLink.client(place.host, place.port, place.trust, nursery)
