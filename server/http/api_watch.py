"""The API, as far as it looks: the cluster, its nodes, rooms and players, and what has happened to them.

Any node answers for all. What leases tell is as old as the last renewal (half a second); reports of the others, players
and a room's map are asked for now. A node that does not answer is there with what its lease tells.
"""

from __future__ import annotations

import time
from typing import Any

import attrs
import trio

from cluster.model import Member
from game.api import RowGame
from game.arena import Arena
from game.arena.maps import TILE_UNITS
from game.fixed import UNIT
from netcode.control import PROTOCOL
from netcode.errors import ErrorCode, ProtocolError
from server.http import schemas
from server.http.peers import Silent, address_of, ask
from server.http.report import PIECE, is_here, phase_of, player_line, report, room_costs, room_line
from server.http.routes import Access, Asked, Parameter, endpoint
from server.http.site import Site
from server.http.turns import away
from server.listing import http_port_of
from server.metrics import percentile
from server.registry import Elsewhere
from server.rooms import Room
from server.timeline import Takeover

CLUSTER_EVERY_S = 0.5
OWNER_S = 1.0
"""For a room that is on its way to have an owner."""
PLAYERS_MAX = 500
"""Of one node, in an answer."""
ROOM_ID = Parameter("room", {"type": "string", "pattern": "^[0-9a-f]{16}$"}, "a room's id", place="path")
NODE = Parameter("node", {"type": "string", "pattern": "^[0-9A-Za-z-]{1,32}$"}, "a node's name", place="path")
LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 500}, "how many at most", default=100)
GAME = Parameter("game", {"type": "string", "minLength": 1, "maxLength": 64}, "of this game alone")


@endpoint(
    "GET",
    "/api/v1/server",
    "What a page needs to begin: where players come in",
    access=Access.EVERYBODY,
    answers=schemas.SERVER,
)
async def server(site: Site, asked: Asked) -> Any:
    return {
        "node": site.node,
        "protocol": PROTOCOL,
        "host": site.settings.advertise,
        "port": site.front_port,
        "secure": site.secure,
        "games": sorted(site.lobby.hosts),
        "may_kill": site.settings.http_kill and asked.local,
    }


@endpoint(
    "GET", "/api/v1/node", "This very node alone; see docs/operations.md for its own port", answers=schemas.REPORT
)
async def this_node(site: Site, asked: Asked) -> Any:
    return await report(site)


@endpoint("GET", "/api/v1/cluster", "All living nodes with their reports", answers=schemas.CLUSTER)
async def cluster(site: Site, asked: Asked) -> Any:
    nodes = await members(site)
    return {
        "node": site.node,
        "at_s": round(time.time(), 3),
        "may_kill": site.settings.http_kill and asked.local,
        "players": sum(node["players"] for node in nodes),
        "rooms": sum(node["rooms"] for node in nodes),
        "nodes": nodes,
    }


@endpoint("GET", "/api/v1/nodes", "All living nodes, as their leases tell", answers=schemas.items(schemas.MEMBER))
async def nodes(site: Site, asked: Asked) -> Any:
    return [_member(member, None) for member in in_order(site)]


@endpoint(
    "GET",
    "/api/v1/nodes/{node}",
    "One living node with its report",
    answers=schemas.MEMBER,
    parameters=(NODE,),
    errors=(ErrorCode.NOT_FOUND,),
)
async def node(site: Site, asked: Asked) -> Any:
    member = living(site, asked.values["node"])
    return _member(member, await _report_of(site, member))


@endpoint(
    "GET",
    "/api/v1/targets",
    "Where each living node tells its figures, for Prometheus (http_sd_configs)",
    answers=schemas.TARGETS,
)
async def targets(site: Site, asked: Asked) -> Any:
    found = []
    for member in in_order(site):
        host, port = address_of(site, member)
        if port:
            host = f"[{host}]" if ":" in host else host
            found.append({"targets": [f"{host}:{port}"], "labels": {"node": member.node}})
    return found


@endpoint(
    "GET",
    "/api/v1/rooms",
    "Rooms of all nodes, fullest first",
    answers=schemas.items(schemas.ROOM_OF_NODE),
    parameters=(GAME, Parameter("node", NODE.schema, "of this node alone"), LIMIT),
)
async def rooms(site: Site, asked: Asked) -> Any:
    game, of = asked.values["game"], asked.values["node"]
    found = [
        {"node": one["node"], **line}
        for one in await members(site)
        if one["report"] is not None and of in (None, one["node"])
        for line in one["report"]["rooms_told"]
        if game in (None, line["game"])
    ]
    return sorted(found, key=lambda line: (-line["players"], line["room"]))[: asked.values["limit"]]


@endpoint(
    "GET",
    "/api/v1/rooms/{room}",
    "One room: who sits in it, whom it has belonged to, and where everybody is",
    answers=schemas.ROOM,
    parameters=(
        ROOM_ID,
        Parameter("walls", {"type": "string", "enum": ["yes", "no"]}, "of the map, too", default="no"),
    ),
    errors=(ErrorCode.UNKNOWN_ROOM, ErrorCode.ROOM_MOVING),
)
async def room(site: Site, asked: Asked) -> Any:
    name, walls = asked.values["room"], asked.values["walls"]
    where = await owner(site, name)
    if isinstance(where, Room):
        return room_detail(site, where, walls == "yes")
    return await ask(site, where, f"/api/v1/rooms/{name}?walls={walls}")


@endpoint(
    "GET",
    "/api/v1/players",
    "Players of all nodes that answer, by name",
    answers=schemas.items(schemas.PLAYER),
    parameters=(LIMIT, Parameter("node", NODE.schema, "of this node alone")),
)
async def players(site: Site, asked: Asked) -> Any:
    found, of, limit = [], asked.values["node"], asked.values["limit"]
    for member in in_order(site):
        if member.incarnation == site.incarnation and of in (None, site.node):
            found += await _players_here(site)
        elif of in (None, member.node):
            try:
                found += await ask(site, member, f"/api/v1/players?node={member.node}&limit={PLAYERS_MAX}")
            except Silent:
                continue
    return sorted(found, key=lambda line: (line["name"], line["session"]))[:limit]


@endpoint(
    "GET",
    "/api/v1/leaderboard",
    "The best players",
    answers=schemas.items(schemas.LEADER),
    parameters=(
        Parameter("board", {"type": "string", "enum": ["rating", "xp", "wins", "best"]}, "by what", default="rating"),
        GAME,
        LIMIT,
    ),
)
async def leaderboard(site: Site, asked: Asked) -> Any:
    async with away():
        values = asked.values
        found = await site.profiles.leaderboard(values["board"], values["limit"], values["game"])
    return [attrs.asdict(row) for row in found]


@endpoint(
    "GET",
    "/api/v1/takeovers",
    "Nodes that have died or were drained, newest first, and how long their rooms stood still",
    answers=schemas.items(schemas.TAKEOVER),
    parameters=(Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 64}, "how many", default=20),),
)
async def takeovers(site: Site, asked: Asked) -> Any:
    return [takeover_line(one) for one in reversed(site.timeline.takeovers[-asked.values["limit"] :])]


# -- what they are made of ---------------------------------------------------------------------------------------------


def in_order(site: Site) -> list[Member]:
    """Living nodes by name, the tenth behind the ninth."""
    alive = [member for member in site.tenure.present() if not member.sealed]
    return sorted(alive, key=lambda member: (len(member.node), member.node))


def living(site: Site, node: str) -> Member:
    """A living node; raises ProtocolError(NOT_FOUND)."""
    member = site.member(node)
    if member is None:
        raise ProtocolError(ErrorCode.NOT_FOUND, f"no node {node!r} is alive")
    return member


async def members(site: Site) -> list[dict[str, Any]]:
    """All living nodes with their reports, asked for at most once in CLUSTER_EVERY_S."""
    now = trio.current_time()
    kept = site.kept.get("cluster")
    if kept is not None and now - kept[0] < CLUSTER_EVERY_S:
        return list(kept[1])
    alive = in_order(site)
    reports: dict[str, Any] = {}

    async def fetch(member: Member) -> None:
        reports[member.incarnation] = await _report_of(site, member)

    async with trio.open_nursery() as nursery:
        for member in alive:
            nursery.start_soon(fetch, member)
    found = [_member(member, reports[member.incarnation]) for member in alive]
    site.kept["cluster"] = trio.current_time(), found
    return list(found)


async def _report_of(site: Site, member: Member) -> Any:
    if member.incarnation == site.incarnation:
        return await report(site)
    try:
        return await ask(site, member, "/api/v1/node")
    except ProtocolError:
        return None


def _member(member: Member, found: Any) -> dict[str, Any]:
    now = found or {}
    return {
        "node": member.node,
        "incarnation": member.incarnation,
        "host": member.host,
        "port": member.port,
        "http_port": http_port_of(member),
        "draining": member.draining,
        "players": now.get("players", member.players),
        "rooms": now.get("rooms", member.rooms),
        "load": round(member.load, 4),
        "report": found,
    }


async def owner(site: Site, room: str) -> Room | Member:
    """A room of ours, or the node that has it; raises ProtocolError (UNKNOWN_ROOM, ROOM_MOVING)."""
    found = site.lobby.room(room)
    if found is not None:
        return found
    where: Elsewhere | str | None = None
    async with away():
        with trio.move_on_after(OWNER_S):
            where = await site.registry.locate(room)
    if where is None:
        raise ProtocolError(ErrorCode.ROOM_MOVING, "the room has no owner just now; try again")
    if isinstance(where, Elsewhere):
        return where.member
    found = site.lobby.room(where)
    if found is None:
        raise ProtocolError(ErrorCode.UNKNOWN_ROOM, f"no room {room}")
    return found


def room_detail(site: Site, room: Room, with_walls: bool) -> dict[str, Any]:
    """Everything of a room of ours."""
    stage, host = room.stage, site.lobby.hosts[room.stage.game.name]
    phase = phase_of(host, room)
    seats = list(enumerate(stage.batch.ledger(room.id).players))
    scores = _column(room, "score")
    return {
        "node": site.node,
        **room_line(room, phase, room_costs(site).get((stage.game.name, phase), 0.0)),
        "options": dict(stage.game.option),
        "chain": [{"epoch": span.epoch, "incarnation": span.incarnation} for span in room.entry.chain if span.first],
        "roster": [
            {
                "seat": seat,
                "name": player.name,
                "account": player.account,
                "connected": (room.id, seat) in stage.occupants and not stage.occupants[room.id, seat].away,
                "score": scores[seat] if scores else None,
            }
            for seat, player in seats
            if player is not None
        ],
        "map": _map(room, {seat: player.name for seat, player in seats if player is not None}, with_walls),
    }


def _column(room: Room, name: str) -> list[int]:
    """A column of the room's state that has one value a seat; [] where there is none."""
    game, batch = room.stage.game, room.stage.batch
    if not isinstance(game, RowGame):
        return []
    if not any(one.name == name and one.per == "seat" and not one.length for one in game.columns):
        return []
    values: list[int] = getattr(batch.rows, name)[batch.ids.index(room.id)].tolist()
    return values


def _map(room: Room, names: dict[int, str], with_walls: bool) -> dict[str, Any] | None:
    """Where the players of a room of rows are, where its game has columns x and y a seat."""
    x, y = _column(room, "x"), _column(room, "y")
    if not x or not y:
        return None
    low, high, walls = [min(x), min(y)], [max(x), max(y)], None
    game = room.stage.game
    if isinstance(game, Arena):  # other games do not tell how large their world is
        size, tile, tiles = game.terms.walls.size_units * UNIT, TILE_UNITS * UNIT, game.terms.walls.width
        low, high = [0, 0], [size, size]
        if with_walls:
            solid = game.terms.walls.solid.reshape(tiles, tiles)
            walls = {"tile": tile, "rows": ["".join(".#"[one] for one in row) for row in solid.tolist()]}
    places = [{"seat": seat, "name": name, "x": x[seat], "y": y[seat]} for seat, name in names.items()]
    return {"low": low, "high": high, "places": places, "walls": walls}


async def _players_here(site: Site) -> list[dict[str, Any]]:
    found = []
    for number, session in enumerate(list(site.sessions.by_id.values())):
        if number % PIECE == PIECE - 1:
            await trio.lowlevel.checkpoint()
        if is_here(session):
            found.append(player_line(site, session))
        if len(found) == PLAYERS_MAX:
            break
    return found


def takeover_line(takeover: Takeover) -> dict[str, Any]:
    """A line of the timeline."""
    pauses = sorted(takeover.pauses_ms)
    spread = {
        "p50": percentile(pauses, 0.5),
        "p99": percentile(pauses, 0.99),
        "max": pauses[-1] if pauses else 0.0,
        "known": len(pauses),
    }
    return {
        "at_s": takeover.at_s,
        "node": takeover.incarnation.rpartition(".")[0],
        "incarnation": takeover.incarnation,
        "how": takeover.how,
        "count": takeover.count,
        "pause_ms": spread if pauses else None,
        "rooms": [attrs.asdict(moved) for moved in takeover.rooms],
    }
