"""The node: one server process, wired together. Read this file first.

control (TCP + TLS) ─► Door, Visitor ─► Lobby ─► Seating ─► Host (ticks) ─► Gate ─► Datagrams / links
realtime (UDP) ──────► Datagrams ─► the seat's input queue ────┘                └─► ResultWriter ─► Profiles
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import structlog
import trio

from cluster.journal import NoJournal
from game.api import Game, RowGame
from netcode.certificate import CertificateUnusable, development_certificate, server_context
from netcode.session import SessionTable
from profiles import Profiles, ProfileStoreError
from server.datagrams import Datagrams
from server.door import Door
from server.evidence import EvidenceFolder
from server.host import Host
from server.limits import Limits
from server.lobby import Lobby
from server.memory import collect_garbage
from server.metrics import Metrics
from server.object_stage import ObjectStage
from server.results import ResultWriter
from server.row_stage import RowStage
from server.settings import Settings
from server.stage import Stage
from server.watchdog import Watchdog

BACKLOG = 1024
DRAIN_S = 5.0

log = structlog.get_logger("holdfast.node")


class StartFailed(Exception):
    """The node cannot start; the message is one line with the remedy."""


@attrs.frozen
class Address:
    """Where a node listens: the port is the same for TCP and UDP."""

    host: str
    port: int


@attrs.frozen
class PlayedGame:
    """A game that a node plays, and how it is named on the command line (what evidence is replayed with)."""

    game: Game
    spec: str


async def run_node(
    settings: Settings,
    games: Sequence[PlayedGame],
    *,
    stop: trio.Event,
    started: Callable[[Address, Metrics, Lobby], None] = lambda *_: None,
) -> None:
    """Run a node until `stop` is set, then end it cleanly. Raises StartFailed when it cannot start."""
    listener, datagram_socket = _bind(settings.host, settings.port)
    watchdog = Watchdog()
    with listener.socket, datagram_socket, contextlib.closing(watchdog):
        address = Address(settings.host, listener.socket.getsockname()[1])
        tls = _tls(settings)
        metrics, sessions = Metrics(), SessionTable(settings.sessions_max)
        evidence = EvidenceFolder(settings.data / "evidence")
        try:
            async with Profiles.open(settings.data / "profiles.db") as profiles, trio.open_nursery() as nursery:
                datagrams = Datagrams(datagram_socket, sessions, metrics)
                results = ResultWriter(profiles, metrics)
                for played in games:
                    results.hosts[played.game.name] = Host(
                        played.game,
                        stage_maker(played.game, watchdog),
                        spec=played.spec,
                        phases=settings.phases if isinstance(played.game, RowGame) else 1,
                        hold_s=settings.hold_s,
                        rooms_max=settings.rooms_max,
                        journal=NoJournal(),
                        datagrams=datagrams,
                        metrics=metrics,
                        evidence=evidence,
                        deliver=results.deliver,
                    )
                lobby = Lobby(results.hosts)
                door = Door(
                    sessions=sessions,
                    lobby=lobby,
                    profiles=profiles,
                    metrics=metrics,
                    limits=Limits(settings, metrics.limits),
                    tls=tls,
                    udp_port=address.port,
                    resume_s=settings.hold_s,
                    nursery=nursery,
                )
                nursery.start_soon(datagrams.run)
                nursery.start_soon(results.run)
                nursery.start_soon(evidence.run)
                nursery.start_soon(collect_garbage)
                for host in lobby.hosts.values():
                    nursery.start_soon(host.run)
                nursery.start_soon(door.watch, settings.idle_s)
                nursery.start_soon(partial(trio.serve_listeners, door.serve, [listener], handler_nursery=nursery))
                names = ",".join(sorted(lobby.hosts))
                rates = {host.game.tick_hz for host in lobby.hosts.values()}
                tick_hz = rates.pop() if len(rates) == 1 else sorted(rates)
                log.info("node_started", host=address.host, port=address.port, game=names, tick_hz=tick_hz)
                started(address, metrics, lobby)

                await stop.wait()
                log.info("node_stopping", sessions=len(sessions), rooms=lobby.room_count)
                door.close_all()
                with trio.move_on_after(DRAIN_S):
                    await results.drain()
                    await evidence.drain()
                nursery.cancel_scope.cancel()
        except ProfileStoreError as error:
            raise StartFailed(str(error)) from error
    log.info("node_stopped")


def stage_maker(game: Game, watchdog: Watchdog) -> Callable[[Any], Stage]:
    """What makes the stages of a game's tier."""
    if isinstance(game, RowGame):
        return RowStage
    return lambda variant: ObjectStage(variant, watchdog.for_game(variant.name))


def _bind(host: str, port: int) -> tuple[trio.SocketListener, socket.socket]:
    """A TCP listener and a UDP socket on the same port; port 0 takes one that is free for both."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "that is no host name"
        raise StartFailed(f"cannot listen on {host}: {why}; give an address of this machine") from error
    for _ in range(16):
        tcp, udp = socket.socket(family, socket.SOCK_STREAM), socket.socket(family, socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(address)
            tcp.listen(BACKLOG)
            udp.bind((address[0], tcp.getsockname()[1]))
            return trio.SocketListener(trio.socket.from_stdlib_socket(tcp)), udp
        except OSError as error:
            tcp.close()
            udp.close()
            if port or error.errno != errno.EADDRINUSE:
                raise StartFailed(f"cannot listen on {host}:{port}: {_reason(error)}") from error
    raise StartFailed(f"cannot listen on {host}: no port is free for both TCP and UDP")


def _reason(error: OSError) -> str:
    reasons = {
        errno.EADDRINUSE: "the port is in use; stop the other server or choose another with --port",
        errno.EACCES: "this user may not use the port; choose one above 1023 with --port",
        errno.EADDRNOTAVAIL: "this machine has no such address; choose another with --host",
    }
    return reasons.get(error.errno or 0, error.strerror or str(error))


def _tls(settings: Settings) -> ssl.SSLContext:
    data: Path = settings.data
    try:
        data.mkdir(parents=True, exist_ok=True)
        if settings.tls_cert is None or settings.tls_key is None:
            return server_context(*development_certificate(data))
        return server_context(settings.tls_cert, settings.tls_key)
    except CertificateUnusable as error:
        raise StartFailed(str(error)) from error
    except OSError as error:
        why = error.strerror or error
        raise StartFailed(f"cannot use the data folder {data}: {why}; choose another with --data") from error
