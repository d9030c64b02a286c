"""The rooms of one game on this node: opened with options, spread over the phases of the tick, closed when empty.

    draft ─► (row in the directory) ─► open ─► ticks … ─► Close, a command ─► gone, and its row with it
                                      admit ─┘   a room of another owner, with its state

Rooms with the same options form a *variant* of the game, which has one stage a phase; all stages of a phase tick
together. Variants come with the first room that asks for them and go with the last.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import structlog

from cluster.model import RoomEntry, Span
from game.api import Game
from game.commands import Close
from game.errors import BadGame, BadOption
from game.ledger import Player
from game.save import SavedRoom
from netcode.errors import ErrorCode, ProtocolError
from server.stage import Stage

EMPTY_ROOM_S = 5.0
"""How long a room without players is kept."""
VARIANTS_MAX = 64
"""Sets of options of one game that may be played at once."""
CONFIGURATIONS_KEPT = 256
"""Configured games that are remembered by what was asked for: making one costs as much as twenty joins."""
OPTION_DIGITS_MAX = 20
CODE_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
CODE_LENGTH = 8
"""40 bits: trying a million codes a second finds one of a thousand private rooms in twenty minutes; nobody gets to."""

log = structlog.get_logger("holdfast.rooms")
Options = tuple[tuple[str, int], ...]


@attrs.define(eq=False)
class Room:
    """What the node knows of a room beyond its state."""

    stage: Stage
    entry: RoomEntry
    """Its row in the directory, as we have written it."""
    reserved: int = 0
    """Joins that wait for their tick: seats that a quick-join must not count as free."""
    empty_since: float | None = None
    since_tick: int = 0
    """The tick at which it came here."""
    closing: bool = False
    """It was told to close, or is being given away: nobody is let in any more."""

    @property
    def id(self) -> str:
        """The room's id, never used again."""
        return self.entry.room

    @property
    def code(self) -> str:
        """What a private room is found by; "" for an open one."""
        return self.entry.code

    @property
    def opened_by(self) -> str:
        """The account that asked for it."""
        return self.entry.opened_by

    @property
    def suspect(self) -> bool:
        """Whether its row still says that it was taken over, and may be what its owners die of."""
        return bool(self.entry.attempts or self.entry.strikes)

    @property
    def ticked(self) -> int:
        """Ticks that it has made here."""
        return int(self.stage.batch.tick_of(self.id)) - self.since_tick

    @property
    def free_seats(self) -> int:
        """Seats that nobody sits in, is held or has asked for."""
        return len(self._players) - self.taken_seats - self.reserved

    @property
    def taken_seats(self) -> int:
        """Seats that somebody sits in, or is held."""
        return len(self._players) - self._players.count(None)

    @property
    def _players(self) -> list[Player | None]:
        players: list[Player | None] = self.stage.batch.ledger(self.id).players
        return players


class Rooms:
    """All rooms of one game, by id."""

    def __init__(self, game: Game, make_stage: Callable[[Any], Stage], *, phases: int) -> None:
        self.game = game
        self.by_id: dict[str, Room] = {}
        self.by_code: dict[str, Room] = {}
        self.phases: list[list[Stage]] = [[] for _ in range(phases)]
        """The stages that tick together, by phase."""
        self._make_stage = make_stage
        self._variants: dict[Options, list[Stage]] = {}
        self._configurations: dict[Options, Game] = {}
        self._add_variant(game)

    @property
    def stages(self) -> list[Stage]:
        """All stages."""
        return [stage for phase in self.phases for stage in phase]

    def options_of(self, wanted: Mapping[str, Any]) -> Options:
        """The options of a room for which these are wanted, complete and in order; raises ProtocolError(BAD_OPTION)."""
        return tuple(sorted(self.configured(wanted).option.items()))

    def draft(self, wanted: Mapping[str, Any], *, private: bool, account: str, owner: str, first: int) -> RoomEntry:
        """A row for a new room, nowhere written yet; raises ProtocolError (TOO_MANY_ROOMS, BAD_OPTION)."""
        game = self._variant(wanted)[0].game
        return RoomEntry(
            room=secrets.token_hex(8),
            game=game.name,
            options=dict(game.option),
            tick_hz=game.tick_hz,
            seed=secrets.randbits(64),
            fingerprint=game.fingerprint,
            code="".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH)) if private else "",
            opened_by=account,
            owner=owner,
            chain=(Span(1, owner, first),),
        )

    def open(self, entry: RoomEntry) -> Room:
        """Open a new room whose row is written; raises ProtocolError(INTERNAL) when the game fails."""
        stage = self._emptiest(entry)
        try:
            stage.batch.open(entry.room, entry.seed)
        except Exception as error:
            log.exception("room_not_opened", game=self.game.name)
            raise ProtocolError(ErrorCode.INTERNAL, "the game failed to open a room") from error
        return self._enter(entry, stage)

    def admit(self, entry: RoomEntry, saved: bytes, phase: int | None = None) -> Room:
        """Take in a room that had another owner, in this phase of the tick if one is named; raises BadRoomData when its
        state does not fit its game."""
        stage = self._emptiest(entry) if phase is None else self._of(entry)[phase]
        stage.batch.load(saved)
        return self._enter(entry, stage)

    def admit_all(self, rooms: Sequence[tuple[RoomEntry, SavedRoom]]) -> list[Room]:
        """The same of many rooms, in less time: from the parts of rooms whose rules are known to be ours."""
        load = [sum(len(stage.batch) for stage in phase) for phase in self.phases]
        by_stage: dict[Stage, list[tuple[RoomEntry, SavedRoom]]] = {}
        for entry, saved in rooms:
            phase = load.index(min(load))
            load[phase] += 1
            by_stage.setdefault(self._of(entry)[phase], []).append((entry, saved))
        for stage, some in by_stage.items():
            stage.batch.enter_all([saved for _, saved in some])
        return [self._enter(entry, stage) for stage, some in by_stage.items() for entry, _ in some]

    def playable(self, entry: RoomEntry) -> Game | None:
        """The very game of a room; None when it cannot be continued here: other code, rate or options."""
        if entry.game != self.game.name or entry.tick_hz != self.game.tick_hz:
            return None
        try:
            game = self.configured(entry.options)
        except ProtocolError:
            return None
        return game if game.fingerprint == entry.fingerprint else None

    def close(self, room: str) -> Room:
        """Take a room out at once."""
        self.by_id[room].stage.batch.close(room)
        return self.forget(room)

    def forget(self, room: str) -> Room:
        """A room is not in its batch any more."""
        found = self.by_id.pop(room)
        self.by_code.pop(found.code, None)
        found.stage.epochs.pop(room, None)
        return found

    def sweep(self, now: float) -> None:
        """Tell rooms that have been empty for a while to close, and forget options that nobody plays with."""
        self._forget_unused_variants()
        empty = {room for stage in self.stages if len(stage.batch) for room in stage.empty_rooms()}
        for room in list(self.by_id.values()):
            if room.id not in empty or room.reserved or room.closing:
                room.empty_since = None
            elif room.empty_since is None:
                room.empty_since = now
            elif now - room.empty_since >= EMPTY_ROOM_S:
                room.closing = room.stage.submit(Close(room.id))

    def _emptiest(self, entry: RoomEntry) -> Stage:
        stages = self._of(entry)
        load = [sum(len(stage.batch) for stage in phase) for phase in self.phases]
        return stages[load.index(min(load))]

    def _enter(self, entry: RoomEntry, stage: Stage) -> Room:
        stage.epochs[entry.room] = entry.epoch
        room = self.by_id[entry.room] = Room(stage, entry, since_tick=stage.batch.tick_of(entry.room))
        if entry.code:
            self.by_code[entry.code] = room
        return room

    def configured(self, wanted: Mapping[str, Any]) -> Game:
        """The game with these options over those that the server was started with; raises ProtocolError(BAD_OPTION)."""
        if not wanted or wanted == self.game.option:
            return self.game
        wanted = plain_options(wanted)
        asked = tuple(sorted(wanted.items()))
        found = self._configurations.get(asked)
        if found is not None:
            return found
        try:
            found = type(self.game)({**self.game.option, **wanted}, self.game.tick_hz)
        except (BadOption, BadGame) as error:
            raise ProtocolError(ErrorCode.BAD_OPTION, str(error)) from None
        if len(self._configurations) >= CONFIGURATIONS_KEPT:
            del self._configurations[next(iter(self._configurations))]
        self._configurations[asked] = found
        return found

    def _of(self, entry: RoomEntry) -> list[Stage]:
        """The stages of a room that there is: no limit keeps it out."""
        game = self.configured(entry.options)
        found = self._variants.get(tuple(sorted(game.option.items())))
        return self._add_variant(game) if found is None else found

    def _variant(self, wanted: Mapping[str, Any]) -> list[Stage]:
        game = self.configured(wanted)
        found = self._variants.get(tuple(sorted(game.option.items())))
        if found is not None:
            return found
        if len(self._variants) >= VARIANTS_MAX:
            self._forget_unused_variants()
        if len(self._variants) >= VARIANTS_MAX:
            raise ProtocolError(
                ErrorCode.TOO_MANY_ROOMS,
                f"{self.game.name} is played with {VARIANTS_MAX} sets of options now",
            )
        return self._add_variant(game)

    def _add_variant(self, game: Game) -> list[Stage]:
        stages = [self._make_stage(game) for _ in self.phases]
        for phase, stage in zip(self.phases, stages, strict=True):
            phase.append(stage)
        self._variants[tuple(sorted(game.option.items()))] = stages
        return stages

    def _forget_unused_variants(self) -> None:
        for options, stages in list(self._variants.items()):
            if stages[0].game is not self.game and not any(len(stage.batch) for stage in stages):
                del self._variants[options]
                for phase, stage in zip(self.phases, stages, strict=True):
                    phase.remove(stage)


def plain_options(wanted: Mapping[str, Any]) -> dict[str, int]:
    """Options as whole numbers, however a client has written them; raises ProtocolError(BAD_OPTION)."""
    found = {}
    for name, value in wanted.items():
        try:
            if type(value) not in (int, str) or len(str(value)) > OPTION_DIGITS_MAX:
                raise ValueError
            found[name] = int(value)
        except ValueError:
            raise ProtocolError(ErrorCode.BAD_OPTION, f"option {name[:64]!r} is no whole number") from None
    return found
