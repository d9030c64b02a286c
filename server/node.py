"""The node: one server process, wired together. Read this file first.

control (TCP + TLS) ─► Door, Visitor ─► Lobby ─► Seating ─► Host (ticks) ─► journal ─► Gate ─► Datagrams / links
realtime (UDP) ──────► Datagrams ─► the seat's input queue ────┘                         └─► ResultWriter ─► Profiles
HTTP ────────────────► server.http: pages, health, metrics, API (sees all of it as a Site)
store ◄── Tenure (may rooms tick here?), Registry (sessions), Snapshots, Housekeeping, Rescuer (rooms of the dead)
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import structlog
import trio

from cluster.codec import Snapshot
from cluster.errors import ClusterError, JournalFenced, StoreUnusable
from cluster.journal import Journal, JournalWriter, NoJournal
from cluster.model import Member, RoomEntry, new_incarnation
from cluster.store import Store
from cluster.tickets import Tickets
from game.api import Game, RowGame
from netcode.origin import UpgradePolicy
from netcode.packed import compiled
from netcode.session import SessionTable
from profiles import Profiles, ProfileStoreError
from server.datagrams import Datagrams
from server.door import Door
from server.evidence import EvidenceFolder
from server.handoff import HandOffs
from server.held import HeldSeats
from server.host import Host, Services, next_due
from server.housekeeping import Housekeeping
from server.http.site import Site
from server.http.token import BadToken, Token, load_token
from server.keys import BadKeys, Keys, load_keys
from server.limits import Limits
from server.listeners import CannotListen, HttpListeners, Listeners, bind
from server.lobby import Lobby
from server.memory import collect_garbage
from server.metrics import Metrics
from server.object_stage import ObjectStage
from server.pace import Pace, Paced
from server.recovery import Recovery
from server.registry import Registry
from server.rescue import Rescuer
from server.results import ResultWriter
from server.row_stage import RowStage
from server.settings import Settings
from server.snapshots import Snapshots
from server.stage import Stage
from server.start import StartFailed, http_listeners, open_store, tls_context
from server.tenure import Tenure
from server.timeline import Timeline
from server.watchdog import Watchdog
from server.watchers import Watchers

DRAIN_S = 5.0

log = structlog.get_logger("holdfast.node")


class NodeFenced(Exception):
    """Another node has taken this one for dead and sealed its journal: it may not go on under this incarnation."""


@attrs.frozen
class Identity:
    """Which node this is, where a supervisor has told."""

    node: str
    incarnation: str
    front_port: int
    """The port that it shares with the other nodes."""
    http_port: int = 0
    """The same for HTTP; 0: it shares none."""


@attrs.frozen
class PlayedGame:
    """A game that a node plays, and how it is named on the command line (what evidence is replayed with)."""

    game: Game
    spec: str


@attrs.frozen
class Address:
    """Where a node listens: the port is the same for TCP and UDP."""

    host: str
    port: int


@attrs.frozen
class Running:
    """A node that has started."""

    address: Address
    metrics: Metrics
    lobby: Lobby
    tenure: Tenure
    rescuer: Rescuer
    store: Store
    http_port: int
    """Its own for HTTP; 0: none."""
    token: Token | None
    end_with_all: Callable[[], None]
    """Tell it, before `stop`, that all nodes end: it gives no rooms away."""


async def run_node(
    settings: Settings,
    games: Sequence[PlayedGame],
    *,
    stop: trio.Event,
    started: Callable[[Running], None] = lambda _: None,
    identity: Identity | None = None,
) -> None:
    """Run a node until `stop` is set, then end it cleanly: its rooms go on at the next start.

    Raises StartFailed when it cannot start, NodeFenced when another has taken its place.
    """
    identity = identity or Identity(settings.node, new_incarnation(settings.node), 0)
    try:
        with (
            bind(settings.host, settings.port, identity.front_port) as listeners,
            http_listeners(settings, identity.http_port) as http,
        ):
            tls, keys = tls_context(settings), load_keys(settings.data)
            async with (
                Profiles.open(settings.data / "profiles.db") as profiles,
                open_store(settings, keys) as store,
            ):
                node = _Node(settings, games, identity, listeners, http, tls, keys, profiles, store)
                await node.run(stop, started)
    except (CannotListen, ProfileStoreError, StoreUnusable, BadKeys, BadToken) as error:
        raise StartFailed(str(error)) from error
    log.info("node_stopped")


class _Node:
    """The parts of a node and how they hang together."""

    def __init__(
        self,
        settings: Settings,
        games: Sequence[PlayedGame],
        identity: Identity,
        listeners: Listeners,
        http: HttpListeners | None,
        tls: ssl.SSLContext,
        keys: Keys,
        profiles: Profiles,
        store: Store,
    ) -> None:
        self.settings, self.identity, self.listeners, self.store = settings, identity, listeners, store
        self.http, self.token = http, None if http is None else load_token(settings.data, settings.http_token_file)
        self.all_end = False
        self.watchdog = Watchdog()
        self.metrics = Metrics()
        self.sessions = SessionTable(settings.sessions_max, self.metrics.drops)
        self.evidence = EvidenceFolder(settings.data / "evidence")
        self.results = ResultWriter(profiles, self.metrics)
        self.hosts: dict[str, Host] = self.results.hosts
        self.due = partial(next_due, self.hosts)
        self.datagrams = Datagrams(listeners.datagrams, self.sessions, self.metrics, self.due)

        self.tenure = Tenure(store, self._member, identity.incarnation)
        self.journal: Journal = (
            NoJournal() if settings.journal == "off" else JournalWriter(store.journals, identity.incarnation)
        )
        self.snapshots = Snapshots(store, identity.incarnation, settings.snapshot_s)
        self.housekeeping = Housekeeping(
            store, self.tenure, self.journal, self.snapshots, keep_journals=settings.keep_journals
        )
        self.registry = Registry(store, self.tenure, Tickets(keys.tickets), settings.hold_s, self._is_here)
        recovery = Recovery(
            store,
            identity.incarnation,
            self.snapshots,
            self.housekeeping,
            self.registry,
            self.hosts,
            self.evidence,
            self.metrics,
        )
        self.rescuer = Rescuer(store, self.tenure, self.housekeeping, recovery)
        held = HeldSeats()
        services = Services(
            right=self.tenure,
            journal=self.journal,
            snapshots=self.snapshots,
            housekeeping=self.housekeeping,
            datagrams=self.datagrams,
            metrics=self.metrics,
            evidence=self.evidence,
            held=held,
            stopped=self._stopped,
            left=self.registry.left,
            deliver=self.results.deliver,
            watchers=Watchers(settings.watchers_max),
        )
        for played in games:
            self.hosts[played.game.name] = Host(
                played.game,
                stage_maker(played.game, self.watchdog),
                services,
                spec=played.spec,
                phases=settings.phases if isinstance(played.game, RowGame) else 1,
                hold_s=settings.hold_s,
            )
        self.lobby = Lobby(
            self.hosts,
            registry=self.registry,
            tenure=self.tenure,
            housekeeping=self.housekeeping,
            held=held,
            rooms_max=settings.rooms_max,
        )
        self.handoffs = HandOffs(
            store, self.tenure, self.lobby, self.registry, self.snapshots, self.housekeeping, recovery.under_way
        )
        self.lobby.listing.http_port = 0 if http is None else http.port
        self.timeline = Timeline(settings.data, identity.incarnation, self.lobby.room)
        self.registry.arrived = lambda room: self.timeline.came(room, self.tenure.died_at.get)
        self.tls, self.profiles = tls, profiles

    async def run(self, stop: trio.Event, started: Callable[[Running], None]) -> None:
        """From the first lease to the last snapshot."""
        fenced = False
        try:
            with contextlib.closing(self.watchdog):
                try:
                    await self.tenure.start()
                except ClusterError as error:  # a full disk, for one
                    raise StartFailed(str(error)) from error
                await self._serve(stop, started)
        except* JournalFenced:
            fenced = True
        if fenced:
            log.error("node_fenced", incarnation=self.identity.incarnation)
            raise NodeFenced(f"{self.identity.incarnation} was sealed by another node")

    async def _serve(self, stop: trio.Event, started: Callable[[Running], None]) -> None:
        settings, identity = self.settings, self.identity
        pace = Pace(self.due)
        async with trio.open_nursery() as nursery:
            door = Door(
                sessions=self.sessions,
                lobby=self.lobby,
                registry=self.registry,
                tenure=self.tenure,
                profiles=self.profiles,
                metrics=self.metrics,
                limits=Limits(settings, self.metrics.limits),
                tls=self.tls,
                upgrades=UpgradePolicy(settings.allow_origin, settings.advertise, settings.plain_ws),
                udp_port=self.listeners.port,
                resume_s=settings.hold_s,
                node=identity.node,
                pace=pace,
                nursery=nursery,
            )
            for task in (
                self.datagrams.run,
                door.pool.run,
                pace.run,
                self.results.run,
                self.evidence.run,
                collect_garbage,
                self.tenure.run,
                self.snapshots.run,
                self.rescuer.run,
                self.handoffs.run,
                self.timeline.run,
                partial(self.housekeeping.run, self._rooms),
                partial(self.registry.run, lambda: list(self.sessions.by_id.values()), door.end),
                partial(door.watch, settings.idle_s),
            ):
                nursery.start_soon(task)
            if isinstance(self.journal, JournalWriter):
                nursery.start_soon(self.journal.run)
            ticking = await nursery.start(self._tick)
            paced = [Paced(one, pace) for one in self.listeners.streams]
            serve = partial(trio.serve_listeners, door.serve, paced, handler_nursery=nursery)
            nursery.start_soon(serve)
            if self.http is not None:
                nursery.start_soon(self._serve_http, self.http, door, stop)
            address = Address(settings.host, self.listeners.port)
            rates = sorted({host.game.tick_hz for host in self.hosts.values()})
            log.info(
                "node_started",
                host=address.host,
                port=identity.front_port or address.port,
                own_port=address.port,
                http_port=identity.http_port or self.lobby.listing.http_port,
                node=identity.node,
                incarnation=identity.incarnation,
                game=",".join(sorted(self.hosts)),
                tick_hz=rates[0] if len(rates) == 1 else rates,
                compiled=compiled is not None,
            )
            parts = self.metrics, self.lobby, self.tenure, self.rescuer, self.store
            started(Running(address, *parts, self.lobby.listing.http_port, self.token, self.end_with_all))

            await stop.wait()
            log.info("node_stopping", sessions=len(self.sessions), rooms=self.lobby.room_count)
            if not self.all_end:
                left = await self.handoffs.drain()
                log.info("node_drained", given=self.handoffs.given, left=left)
            door.close_all()
            with trio.move_on_after(DRAIN_S):
                await self.results.drain()
                await self.evidence.drain()
            ticking.cancel()
            with trio.move_on_after(DRAIN_S):
                await self._leave_well()
            nursery.cancel_scope.cancel()

    async def _serve_http(self, http: HttpListeners, door: Door, stop: trio.Event) -> None:
        from server.http.serve import serve_http

        assert self.token is not None
        site = Site(
            settings=self.settings,
            node=self.identity.node,
            front_port=self.identity.front_port or self.listeners.port,
            port=self.listeners.port,
            http_port=http.port,
            secure=self.settings.tls_cert is not None,
            token=self.token,
            metrics=self.metrics,
            sessions=self.sessions,
            lobby=self.lobby,
            registry=self.registry,
            tenure=self.tenure,
            journal=self.journal,
            profiles=self.profiles,
            store=self.store,
            timeline=self.timeline,
            end=door.end,
            leave=stop.set,
        )
        await serve_http(site, http, self.tls)

    def end_with_all(self) -> None:
        """Every node of the data folder is about to end: there is nobody to give rooms to."""
        self.all_end = True

    def _stopped(self, entry: RoomEntry, target: str, snapshot: Snapshot) -> None:
        self.timeline.gave(entry.room, entry.epoch)
        self.handoffs.stopped(entry, target, snapshot)

    async def _tick(self, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        """All rooms' ticks, until the scope that this starts with is cancelled."""
        async with trio.open_nursery() as nursery:
            for host in self.hosts.values():
                nursery.start_soon(host.run)
            task_status.started(nursery.cancel_scope)

    async def _leave_well(self) -> None:
        """Snapshots of all rooms as they are, and a seal of our own: the next start replays nothing."""
        if not isinstance(self.journal, JournalWriter):
            return
        try:
            await self.journal.settled()
            position = self.journal.position
            await self.snapshots.write([self.snapshots.of(room.stage, room.id, position) for room in self._rooms()])
            await self.housekeeping.forget_ended()
            await self.tenure.leave()
        except ClusterError as error:
            log.warning("left_without_last_snapshots", error=str(error))

    def _member(self, counter: int) -> Member:
        """What our lease tells."""
        return Member(
            incarnation=self.identity.incarnation,
            node=self.identity.node,
            host=self.settings.advertise,
            port=self.listeners.port,
            pid=self.listeners.pid,
            counter=counter,
            draining=self.tenure.draining,
            players=len(self.sessions),
            rooms=self.lobby.room_count,
            load=self.metrics.load(trio.current_time()),
            listing=self.lobby.listing.published(),
        )

    def _is_here(self, room: str) -> bool:
        return self.lobby.room(room) is not None

    def _rooms(self) -> list[Any]:
        return [room for host in self.hosts.values() for room in host.rooms.by_id.values()]


def stage_maker(game: Game, watchdog: Watchdog) -> Callable[[Any], Stage]:
    """What makes the stages of a game's tier."""
    if isinstance(game, RowGame):
        return RowStage
    return lambda variant: ObjectStage(variant, watchdog.for_game(variant.name))
