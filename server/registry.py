"""The registry: sessions and rooms as all nodes know them, and this node's part in it.

    log-in   record written before the welcome; what it replaces is remembered, so that nobody fights his way back in
    resume   secret checked, then the record's generation raised by compare-and-set: whoever wins serves the session
    join     room and join id reserved by compare-and-set before the join takes part in a tick
    where?   a room's owner, by the directory: here, elsewhere (Redirect), gone, or nobody yet (wait, up to LOCATE_S)

The roster in the room is the truth about a seat; `room` in the record is only where to look first.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Callable

import attrs
import structlog
import trio

from cluster.errors import ClusterError, Damaged
from cluster.model import Member, RoomEntry, SessionRecord
from cluster.store import Store
from cluster.tickets import TICKET_S, Ticket, Tickets
from netcode import messages
from netcode.errors import ErrorCode, ProtocolError
from netcode.session import SESSION_MAX_S, Session, secret_hash
from server.tenure import Tenure

LOCATE_S = 5.0
LOOK_AGAIN_S = 0.02
TOUCH_EVERY_S = 10.0
TOUCHED_AT_ONCE = 256
REPLACED_S = 600.0
"""How long it is remembered that a session was replaced by a newer log-in."""
HINTS_MAX = 4096
TRIES = 3
_REPLACED = "replaced/"

log = structlog.get_logger("holdfast.registry")


@attrs.frozen
class Elsewhere:
    """Another node runs the room."""

    member: Member
    room: str
    epoch: int


class Registry:
    """What this node asks and tells the others of sessions and rooms. `run` must be running."""

    def __init__(
        self, store: Store, tenure: Tenure, tickets: Tickets, resume_s: float, is_here: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._tenure = tenure
        self._tickets = tickets
        self._expire_s = resume_s + TOUCH_EVERY_S * 3
        self._is_here = is_here
        self.arrived: Callable[[str], None] = lambda _: None
        """Is told of rooms that have come from another node."""
        self._looked: dict[str, tuple[float, RoomEntry | None]] = {}
        self._left: dict[Session, None] = {}
        self._over: list[Session] = []
        self._arrival = trio.Event()

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def opened(self, session: Session) -> str:
        """A new session of an account, before its welcome; where its player may still have a seat ("": nowhere)."""
        now_s = time.time()
        async with answered():
            before = await self._store.sessions.of_account(session.account, now_s)
            room = "" if before is None else before.room
            record = SessionRecord(
                session=session.id,
                account=session.account,
                name=session.name,
                secret_hash=session.secret_hash,
                profile=session.profile,
                node=self._tenure.incarnation,
                room=room,
                opened_s=now_s,
                expires_s=now_s + self._expire_s,
            )
            replaced = await self._store.sessions.open(record)
            if replaced is not None:
                tomb = attrs.evolve(
                    replaced, account=_REPLACED + replaced.session, room="", expires_s=now_s + REPLACED_S, version=0
                )
                await self._store.sessions.open(tomb)
        session.record = record
        return room

    async def find(self, session: str, secret: bytes) -> SessionRecord:
        """The session that a `Resume` means; raises ProtocolError: SESSION_GONE, which does not tell whether the id or
        the secret was wrong, or SESSION_REPLACED to who was the player and has logged in elsewhere since."""
        now_s = time.time()
        async with answered():
            record = await self._store.sessions.get(session, now_s)
        known = bytes(32) if record is None else record.secret_hash
        if not hmac.compare_digest(secret_hash(secret), known) or record is None:
            raise ProtocolError(ErrorCode.SESSION_GONE, "no such session any more; log in again")
        if record.account.startswith(_REPLACED):
            raise ProtocolError(ErrorCode.SESSION_REPLACED, "this player has logged in elsewhere since")
        if now_s - record.opened_s > SESSION_MAX_S:
            raise ProtocolError(ErrorCode.SESSION_GONE, "the session is over; log in again")
        return record

    async def serve(self, record: SessionRecord) -> SessionRecord:
        """Serve a session from now on, under its next generation; raises ProtocolError: LIMITED when two connections
        try at once and the other was faster, SESSION_GONE when it has ended meanwhile."""
        found: SessionRecord | None = record
        async with answered():
            for _ in range(TRIES):
                if found is None or found.account != record.account:
                    raise ProtocolError(ErrorCode.SESSION_GONE, "the session is over; log in again")
                mine = attrs.evolve(
                    found,
                    generation=found.generation + 1,
                    node=self._tenure.incarnation,
                    expires_s=time.time() + self._expire_s,
                    version=found.version + 1,
                )
                if await self._store.sessions.replace(found, mine):
                    return mine
                found = await self._store.sessions.get(record.session, time.time())
                if found is not None and found.generation != record.generation:
                    break
        raise ProtocolError(ErrorCode.LIMITED, "another connection takes this session up just now")

    async def reserve(self, session: Session, room: str) -> str:
        """Reserve a join of this session into a room; its join id. Raises ProtocolError(SESSION_REPLACED) when
        another node, or a newer log-in, has the player by now."""
        join_id = secrets.token_hex(8)
        async with answered():
            for _ in range(TRIES):
                record = session.record
                mine = attrs.evolve(record, room=room, join_id=join_id, version=record.version + 1)
                if await self._store.sessions.replace(record, mine):
                    session.record = mine
                    return join_id
                found = await self._store.sessions.get(session.id, time.time())
                if found is None or found.generation != record.generation:
                    raise ProtocolError(ErrorCode.SESSION_REPLACED, "this session goes on elsewhere")
                session.record = found
        raise ProtocolError(ErrorCode.INTERNAL, "the session's record does not come to rest; try again")

    def left(self, session: Session) -> None:
        """The session has no seat any more: the hint in its record is taken back, a little later."""
        if len(self._left) < HINTS_MAX:
            self._left[session] = None

    def over(self, session: Session) -> None:
        """Nobody is to take the session up any more: its record goes, a little later."""
        self._over.append(session)

    async def revoke(self, session: Session) -> None:
        """The same, at once: a `Resume` that comes now finds nothing. Raises ClusterError."""
        await self._delete(session)

    async def run(self, sessions: Callable[[], list[Session]], end: Callable[[Session, ProtocolError], None]) -> None:
        """Keep the records of our sessions alive, for ever; `end` those that were replaced elsewhere."""
        touched_at = trio.current_time()
        while True:
            await trio.sleep(1.0)
            try:
                while self._left:
                    await self._take_back(next(iter(self._left)))
                while self._over:
                    await self._delete(self._over[-1])
                    self._over.pop()
                if trio.current_time() - touched_at >= TOUCH_EVERY_S:
                    touched_at = trio.current_time()
                    await self._touch(sessions(), end)
            except ClusterError as error:
                log.warning("sessions_not_kept", error=str(error))

    async def _take_back(self, session: Session) -> None:
        record = session.record
        if session.seat is None and not session.joining and record.room:
            mine = attrs.evolve(record, room="", version=record.version + 1)
            if await self._store.sessions.replace(record, mine) and session.record is record:
                session.record = mine
        self._left.pop(session, None)

    async def _delete(self, session: Session) -> None:
        """Unless another connection, node or log-in has the record by now."""
        record = await self._store.sessions.get(session.id, time.time())
        if record is not None and (record.generation, record.account) == (session.generation, session.account):
            await self._store.sessions.delete(session.id)

    async def _touch(self, ours: list[Session], end: Callable[[Session, ProtocolError], None]) -> None:
        expires_s = time.time() + self._expire_s
        for at in range(0, len(ours), TOUCHED_AT_ONCE):
            some = {session.id: session for session in ours[at : at + TOUCHED_AT_ONCE]}
            for gone in await self._store.sessions.touch(list(some), expires_s):
                session = some[gone]
                if not session.ended:
                    end(session, ProtocolError(ErrorCode.SESSION_REPLACED, "this player has logged in elsewhere"))
        await self._store.sessions.purge(time.time())

    # -- rooms --------------------------------------------------------------------------------------------------------

    async def locate(self, room: str, above: int = 0) -> Elsewhere | str:
        """Where a room is, at an epoch higher than `above`: Elsewhere, the room's id when it is here, "" when it is no
        more. While it has no owner who lives this waits; raises ProtocolError(ROOM_MOVING) after LOCATE_S."""
        deadline = trio.current_time() + LOCATE_S
        while True:
            async with answered():
                entry = await self._look(room)
            if entry is None:
                return ""
            if entry.epoch > above:
                if entry.owner != self._tenure.incarnation:
                    for member in self._tenure.present():
                        if member.incarnation == entry.owner:
                            return Elsewhere(member, room, entry.epoch)
                elif self._is_here(room):
                    return room
            if trio.current_time() >= deadline:
                raise ProtocolError(ErrorCode.ROOM_MOVING, "the room is on its way to another node; try again")
            with trio.move_on_after(LOOK_AGAIN_S):
                await self._arrival.wait()

    def came(self, room: str) -> None:
        """A room is here now: whoever waits for it need not look again."""
        self._looked.pop(room, None)
        self.arrived(room)
        self._arrival.set()
        self._arrival = trio.Event()

    async def by_code(self, code: str) -> RoomEntry | None:
        """A private room of any node."""
        async with answered():
            return await self._store.rooms.find_code(code)

    def redirect(
        self, member: Member, session: str, purpose: str, *, ref: int = 0, room: str = "", epoch: int = 0, hops: int = 0
    ) -> messages.Redirect:
        """What sends a client to another node."""
        expires_s = time.time() + TICKET_S
        ticket = Ticket(session, room, member.incarnation, purpose, hops + 1, expires_s)
        return messages.Redirect(
            ref=ref, host=member.host, port=member.port, ticket=self._tickets.sign(ticket), room=room, epoch=epoch
        )

    def ticket(self, data: bytes) -> Ticket | None:
        """The ticket that a client has brought; None without one, or with one that is not (any more) for us."""
        if not data:
            return None
        try:
            return self._tickets.check(data, time.time(), self._tenure.incarnation)
        except ClusterError:
            return None

    async def _look(self, room: str) -> RoomEntry | None:
        """A room's row, at most LOOK_AGAIN_S old: a hundred players may wait for the same room."""
        now = trio.current_time()
        found = self._looked.get(room)
        if found is None or now - found[0] >= LOOK_AGAIN_S:
            self._looked = {name: one for name, one in self._looked.items() if now - one[0] < LOOK_AGAIN_S}
            try:
                entry = await self._store.rooms.get(room)
            except Damaged as error:  # nobody can take it up; its players need not wait
                log.error("room_not_found", room=room, error=str(error))
                entry = None
            found = self._looked[room] = (now, entry)
        return found[1]


@contextlib.asynccontextmanager
async def answered() -> AsyncIterator[None]:
    """What the store cannot do a player is told: try again."""
    try:
        yield
    except ClusterError as error:
        log.error("store_does_not_answer", error=str(error))
        raise ProtocolError(ErrorCode.INTERNAL, "the store does not answer; try again") from error
