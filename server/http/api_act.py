"""The API, as far as it changes something. What another node has to do it is asked to do.

drain       a node gives its rooms away and ends; a supervisor starts it anew
kill        SIGKILL, for demonstrations: only where `http_kill` is set, and asked from the same machine
close       a room ends, its players are told
kick        a player's session ends, the seat is given up; nothing keeps the player from coming back
broadcast   a word to everybody who is connected, or to those in a room
"""

from __future__ import annotations

import os
import signal
from typing import Any

import structlog
import trio

from game.commands import Close
from netcode import messages
from netcode.control import message_bytes
from netcode.errors import ErrorCode, ProtocolError
from server.http import schemas
from server.http.api_watch import NODE, ROOM_ID, in_order, living, owner
from server.http.peers import PEER, Silent, ask
from server.http.report import PIECE
from server.http.routes import Asked, Parameter, endpoint
from server.http.site import Site
from server.rooms import Room
from server.stage import Occupant

KICKED = ProtocolError(ErrorCode.NOT_ALLOWED, "an operator has ended this session")
KILL_AFTER_S = 0.05
"""So that a node which is asked to kill itself can answer."""
SESSION = Parameter("session", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, "a session's id", place="path")
WORDS = {
    **schemas.shape(text={"type": "string", "minLength": 1, "maxLength": 300}),
    "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": 300},
        "room": {"type": "string", "pattern": "^([0-9a-f]{16})?$", "default": "", "description": "empty: everybody"},
        "reach": {
            "type": "string",
            "enum": ["cluster", "node"],
            "default": "cluster",
            "description": "node: those of the node that is asked, alone",
        },
    },
}

log = structlog.get_logger("holdfast.http")


@endpoint(
    "POST",
    "/api/v1/nodes/{node}/drain",
    "Have a node give its rooms to the others and end",
    answers=schemas.DONE,
    parameters=(NODE,),
    errors=(ErrorCode.NOT_FOUND, ErrorCode.ROOM_MOVING),
)
async def drain(site: Site, asked: Asked) -> Any:
    member = living(site, asked.values["node"])
    if member.incarnation != site.incarnation:
        return await ask(site, member, f"/api/v1/nodes/{member.node}/drain", "POST")
    log.info("drain_asked", node=site.node)
    site.leave()
    return {"done": True}


@endpoint(
    "POST",
    "/api/v1/nodes/{node}/kill",
    "Kill a node with SIGKILL (demonstrations only)",
    answers=schemas.DONE,
    parameters=(NODE,),
    errors=(ErrorCode.NOT_FOUND,),
)
async def kill(site: Site, asked: Asked) -> Any:
    if not (site.settings.http_kill and asked.local):
        raise ProtocolError(ErrorCode.NOT_ALLOWED, "nodes are killed in demonstrations only, from the same machine")
    member = living(site, asked.values["node"])
    if site.store.alive(member.incarnation) is not True:
        raise ProtocolError(ErrorCode.NOT_FOUND, f"the process of {member.node} is not on this machine, or has ended")
    log.warning("kill_asked", node=member.node, incarnation=member.incarnation, pid=member.pid)
    if member.pid == os.getpid():
        trio.lowlevel.spawn_system_task(_kill_soon, member.pid)
    else:
        os.kill(member.pid, signal.SIGKILL)
    return {"done": True}


async def _kill_soon(pid: int) -> None:
    await trio.sleep(KILL_AFTER_S)
    os.kill(pid, signal.SIGKILL)


@endpoint(
    "POST",
    "/api/v1/rooms/{room}/close",
    "End a room; its players are told",
    answers=schemas.DONE,
    parameters=(ROOM_ID,),
    errors=(ErrorCode.UNKNOWN_ROOM, ErrorCode.ROOM_MOVING, ErrorCode.ROOM_CLOSED),
)
async def close(site: Site, asked: Asked) -> Any:
    name = asked.values["room"]
    where = await owner(site, name)
    if not isinstance(where, Room):
        return await ask(site, where, f"/api/v1/rooms/{name}/close", "POST")
    if where.closing:
        raise ProtocolError(ErrorCode.ROOM_CLOSED, "the room is being closed, or given to another node")
    where.closing = True
    where.stage.pending.append(Close(name))  # an operator's word: no limit of players' applies
    log.info("close_asked", room=name)
    return {"done": True}


@endpoint(
    "POST",
    "/api/v1/players/{session}/kick",
    "End a player's session",
    answers=schemas.DONE,
    parameters=(SESSION,),
    errors=(ErrorCode.NOT_FOUND,),
)
async def kick(site: Site, asked: Asked) -> Any:
    name = asked.values["session"]
    session = site.sessions.by_id.get(name)
    if session is None:
        for member in in_order(site):
            # Another node asks for its own part alone, so no question goes round.
            if member.incarnation != site.incarnation and asked.request.headers.get("user-agent") != PEER:
                try:
                    return await ask(site, member, f"/api/v1/players/{name}/kick", "POST")
                except ProtocolError:
                    continue
        raise ProtocolError(ErrorCode.NOT_FOUND, "no node has such a session")
    occupant = session.seat
    if isinstance(occupant, Occupant) and not occupant.leaving:
        room = site.lobby.room(occupant.room)
        if room is not None:
            site.lobby.hosts[room.stage.game.name].seating.leave(occupant, 0)
    site.end(session, KICKED)
    await site.registry.revoke(session)
    log.info("kicked", session=name, account=session.account)
    return {"done": True}


@endpoint(
    "POST",
    "/api/v1/broadcast",
    "Say something to everybody, or to those in a room",
    answers=schemas.shape(told=schemas.COUNT, silent=schemas.items(schemas.TEXT)),
    body=WORDS,
)
async def broadcast(site: Site, asked: Asked) -> Any:
    words = asked.values
    told, silent = await _tell_here(site, words["text"], words["room"]), []
    if words["reach"] == "cluster":
        for member in in_order(site):
            if member.incarnation != site.incarnation:
                try:
                    answer = await ask(site, member, "/api/v1/broadcast", "POST", {**words, "reach": "node"})
                    told += answer["told"]
                except Silent:
                    silent.append(member.node)
    return {"told": told, "silent": silent}


async def _tell_here(site: Site, text: str, room: str) -> int:
    said = message_bytes(messages.Notice(text="".join(c if c.isprintable() else " " for c in text)))
    told = 0
    for number, session in enumerate(list(site.sessions.by_id.values())):
        if number % PIECE == PIECE - 1:
            await trio.lowlevel.checkpoint()
        seat = session.seat.room if isinstance(session.seat, Occupant) else ""
        if session.lost_at is None and not session.ended and room in ("", seat):
            session.link.write(said)
            told += 1
    return told
