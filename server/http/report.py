"""The report: what a node alone knows of itself and its rooms, as plain data. Other nodes ask for it.

It is made at most once in EVERY_S, whoever asks how often.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from typing import Any

import trio

from cluster.journal import JournalWriter
from cluster.lease import LEASE_TTL_S, MARGIN
from netcode.session import Session
from server.host import Host
from server.http.site import Site
from server.metrics import percentile, rss_mb
from server.rooms import Room
from server.stage import Occupant

EVERY_S = 0.25
WINDOW_S = 5.0
"""Of what is told of ticks."""
ROOMS_MAX = 250
"""Rooms that a report tells of, fullest first."""
PIECE = 50
"""Rooms or players after which other tasks may run."""


async def report(site: Site) -> dict[str, Any]:
    """This node, now."""
    now = trio.current_time()
    kept = site.kept.get("report")
    if kept is not None and now - kept[0] < EVERY_S:
        return dict(kept[1])
    rooms = [told async for told in _rooms(site)]
    lease_s = site.tenure.lease.until - now
    late = site.metrics.late(now, WINDOW_S)
    told = {
        "node": site.node,
        "incarnation": site.incarnation,
        "state": state(site),
        "pid": os.getpid(),
        "port": site.port,
        "http_port": site.http_port,
        "at_s": round(time.time(), 3),
        "uptime_s": round(time.time() - site.started_s, 1),
        "players": sum(map(is_here, site.sessions.by_id.values())),
        "rooms": site.lobby.room_count,
        "lease": {
            "held": site.tenure.held,
            "left_ms": round(max(0.0, lease_s) * 1000),
            "age_ms": round((LEASE_TTL_S * (1.0 - MARGIN) - lease_s) * 1000),
            "suspensions": site.tenure.suspensions,
        },
        "journal": journal(site),
        "tick_late_ms": _spread(late),
        "phases": phases(site, now),
        "counts": {
            name: getattr(site.metrics, name)
            for name in ("ticks", "ticks_overrun", "ticks_skipped", "frames_sent", "inputs_applied", "rooms_rescued")
        },
        "ticks_busy_s": round(site.metrics.ticks_busy_s, 4),
        "rss_mb": round(rss_mb(), 1),
        "cpu_s": round(time.process_time(), 2),
        "rooms_told": rooms,
    }
    site.kept["report"] = now, told
    return dict(told)


def state(site: Site) -> str:
    """Whether players are served here."""
    if site.tenure.draining:
        return "draining"
    return "serving" if site.tenure.held else "suspended"


def journal(site: Site) -> dict[str, int]:
    """How far the journal is behind the ticks: `lag` records are begun and not stored."""
    writer = site.journal
    if not isinstance(writer, JournalWriter):
        return {"position": 0, "lag": 0, "waits": 0}
    return {"position": writer.position, "lag": writer.position - writer.tip, "waits": writer.waits}


def phases(site: Site, now: float) -> list[dict[str, Any]]:
    """The ticks of every phase of every game over the last WINDOW_S."""
    found = []
    for name, host in site.lobby.hosts.items():
        for number, stages in enumerate(host.rooms.phases):
            figures = site.metrics.phases.get((name, number))
            took = [] if figures is None else figures.since(now - WINDOW_S)
            found.append(
                {
                    "game": name,
                    "phase": number,
                    "tick_hz": host.game.tick_hz,
                    "rooms": sum(len(stage.batch) for stage in stages),
                    "budget_ms": round(1000.0 / host.game.tick_hz / len(host.rooms.phases), 3),
                    "tick_ms": _spread(took),
                }
            )
    return found


def _spread(ordered: list[float]) -> dict[str, float]:
    """Of seconds in order, in milliseconds."""
    return {
        "p50": round(percentile(ordered, 0.5) * 1000, 3),
        "p99": round(percentile(ordered, 0.99) * 1000, 3),
        "max": round((ordered[-1] if ordered else 0.0) * 1000, 3),
    }


async def _rooms(site: Site) -> AsyncIterator[dict[str, Any]]:
    """The rooms of this node, those with most players first, the first ROOMS_MAX."""
    costs, ranked = room_costs(site), list[tuple[int, str, str, int]]()
    for name, host in site.lobby.hosts.items():
        for phase, stages in enumerate(host.rooms.phases):
            for stage in stages:
                taken = zip(stage.batch.taken(), stage.batch.ids, strict=True)
                ranked.extend((-players, room, name, phase) for players, room in taken)
    for number, (_, room, name, phase) in enumerate(sorted(ranked)[:ROOMS_MAX]):
        if number % PIECE == PIECE - 1:
            await trio.lowlevel.checkpoint()
        found = site.lobby.hosts[name].rooms.by_id.get(room)
        if found is not None:
            yield room_line(found, phase, costs.get((name, phase), 0.0))


def phase_of(host: Host, room: Room) -> int:
    """The phase of the tick that a room takes part in."""
    return next(number for number, stages in enumerate(host.rooms.phases) if room.stage in stages)


def room_costs(site: Site) -> dict[tuple[str, int], float]:
    """A room's share of its phase's tick, in microseconds: rooms of rows are stepped all at once, so they share it."""
    now, found = trio.current_time(), {}
    for name, host in site.lobby.hosts.items():
        for number, stages in enumerate(host.rooms.phases):
            figures, count = site.metrics.phases.get((name, number)), sum(len(stage.batch) for stage in stages)
            took = [] if figures is None else figures.since(now - WINDOW_S)
            if took and count:
                found[name, number] = sum(took) / len(took) / count * 1e6
    return found


def room_line(room: Room, phase: int, cost_us: float) -> dict[str, Any]:
    """A room in a list."""
    game = room.stage.game
    return {
        "room": room.id,
        "game": game.name,
        "epoch": room.entry.epoch,
        "players": room.taken_seats,
        "seats": game.seats,
        "tick": int(room.stage.batch.tick_of(room.id)),
        "tick_hz": game.tick_hz,
        "phase": phase,
        "cost_us": round(cost_us, 1),
        "private": bool(room.code),
        "closing": room.closing,
    }


def is_here(session: Session) -> bool:
    """Whether a player is connected, or has a seat that waits; else the session goes on on another node, or nowhere."""
    return session.lost_at is None or session.seat is not None


def player_line(site: Site, session: Session) -> dict[str, Any]:
    """A player in a list. Nothing of it lets anybody in."""
    seat = session.seat
    now = trio.current_time()
    heard_at = session.heard_at if session.lost_at is not None else max(session.heard_at, session.end.heard_at)
    return {
        "session": session.id,
        "account": session.account,
        "name": session.name,
        "node": site.node,
        "room": seat.room if isinstance(seat, Occupant) else "",
        "seat": seat.seat if isinstance(seat, Occupant) else -1,
        "connected": session.lost_at is None,
        "age_s": round(now - session.opened_at, 1),
        "silent_s": round(max(0.0, now - heard_at), 1),
    }
