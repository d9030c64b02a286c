"""The arena: its columns, its options, and a tick as a list of phases.

    the match's clock ─► the dead come back ─► (fillers come, go, think) ─► everybody moves ─► items are taken
                      ─► shots fly, hit, kill ─► new ones are fired, the rail hits at once ─► places are remembered

What changes at every tick is small on the wire: a place in units and a facing in 32nds of a turn for those who move
or turn. The rest changes when something happens. A seat is always at a legal place, an empty one too, so no phase has
to ask who is there before it moves all. A seat that is held for a player who lost the connection plays on with its
hands off the keys. Whole numbers only, and everything that depends on the tick rate is worked out in `configure`
(`game.arena.terms`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from game import fixed, rng
from game.api import Column, Input, Option, RowGame
from game.arena import fillers, lives, maps, match, movement, pickups, rail, shots, teams, terms, weapons
from game.errors import BadOption
from game.fixed import TURN
from game.rows import Rows

FACING_SLACK = TURN // 20
"""How far off the aim `facing` may be before it follows, 16-bit turns: it is for the eye, shots have their own."""


class Arena(RowGame):
    """A top-down shooter for 2 to 16 players at 10 to 128 ticks a second."""

    name = "arena"
    version = 2
    default_tick_hz = 30
    options = (
        Option("seats", 10, 2, 16, "players in a room"),
        Option("match_s", 120, 5, 3600, "seconds that a match lasts"),
        Option(
            "score_limit", 0, 0, 1000, "kills (of a team, where there are teams) that end a match early; 0: none do"
        ),
        Option("respawn_ms", 2000, 0, 30_000, "milliseconds from death to the next life"),
        Option("protect_ms", 1500, 0, 10_000, "milliseconds that a new life cannot be hurt, unless it fires"),
        Option("map", 0, 0, len(maps.MAPS) - 1, "0: the yard, for ten; 1: the small duel"),
        Option("teams", 0, 0, teams.TEAMS_MAX, "0: everybody for themselves; 2 to 4: so many teams"),
        Option("friendly_fire", 0, 0, 1, "1: shots hurt mates, too"),
        Option("fillers", 0, 0, 16, "seats that bots of the room fill up while somebody plays; 0: none"),
    )
    inputs = (
        Input("move_x", "i1", -1, 1),
        Input("move_y", "i1", -1, 1),
        Input("aim", "u2", 0, 65535),
        Input("buttons", "u1", 0, 255),
    )

    def configure(self) -> None:
        """Columns for the seats wanted; constants for the tick rate."""
        if not 10 <= self.tick_hz <= 128:
            raise BadOption(f"tick_hz={self.tick_hz}: the arena ticks 10 to 128 times a second")
        if self.option["teams"] == 1:
            raise BadOption("arena option teams=1: it is 0 (everybody for themselves) or 2 to 4")
        self.seats = self.option["seats"]
        self.terms = terms.Terms.of(self.option, self.tick_hz)
        grain_bits = self.terms.pace.grain_bits
        with_teams: Literal["all", "none"] = "all" if self.option["teams"] else "none"
        with_fillers: Literal["all", "none"] = "all" if self.option["fillers"] else "none"
        self.columns = (
            Column("x", "i4", per="seat", see="all", shift=8, exact=True, wire="u2"),
            Column("y", "i4", per="seat", see="all", shift=8, exact=True, wire="u2"),
            Column("facing", "u2", per="seat", see="all", shift=8, wire="u1"),
            Column("state", "u1", per="seat", see="all"),
            Column("hp", "u1", per="seat", see="all"),
            Column("shot", "u2", per="seat", see="all"),
            Column("score", "i2", per="seat", see="all"),
            Column("deaths", "i2", per="seat", see="all"),
            Column("team", "u1", per="seat", see=with_teams),
            Column("filler", "u1", per="seat", see=with_fillers),
            Column("team_score", "i2", per=teams.TEAMS_MAX, see=with_teams),
            Column("pickups", "u2", see="all"),
            Column("phase", "u1", see="all"),
            Column("ends_at", "u4", see="all"),
            Column("vx", "i2", per="seat", see="own", shift=grain_bits, wire="i1"),
            Column("vy", "i2", per="seat", see="own", shift=grain_bits, wire="i1"),
            Column("charges", "u1", per="seat", see="own"),
            Column("ready_at", "u4", per="seat", see="own"),
            Column("until", "u4", per="seat", see="own"),
            Column("shot_from", "u4", per="seat"),
            Column("born_at", "u4", per="seat"),
            Column("back_at", "u4", per=maps.ITEMS_MAX),
            Column("past", "u4", per="seat", length=rail.ring_ticks(self.tick_hz)),
        )

    def code(self) -> tuple[Any, ...]:
        """The modules that a step runs through."""
        return fillers, lives, maps, match, movement, pickups, rail, shots, teams, terms, weapons, fixed, rng

    def open(self, rooms: Rows) -> None:
        """Empty seats rest on a spawn point; the first match starts."""
        rooms.x[:] = self.terms.walls.spawn_x[0]
        rooms.y[:] = self.terms.walls.spawn_y[0]
        rooms.ends_at[:] = self.terms.match_ticks
        pickups.lay_out(rooms, self.terms)
        rail.remember(rooms)

    def join(self, rooms: Rows, seat: int, profile: Mapping[str, Any]) -> None:
        """On the field at once, far from the foes; a filler that had the seat is gone with all that it had."""
        row, seats = np.zeros(1, np.intp), np.array([seat])
        lives.vacate(rooms, row, seats)
        rooms.team[0, seat] = teams.neediest(rooms, self.terms.teams, person=self.seats)[0]  # people first
        lives.spawn(rooms, self.terms, row, seats)

    def leave(self, rooms: Rows, seat: int) -> None:
        """Off the field, with its shot and its score."""
        lives.vacate(rooms, np.zeros(1, np.intp), np.array([seat]))

    def step(self, rooms: Rows) -> None:
        """One tick of every room."""
        match.clock(rooms, self.terms)
        lives.go_on(rooms, self.terms)
        if self.terms.fillers:
            fillers.manage(rooms, self.terms)
            fillers.think(rooms, self.terms)
        self._move(rooms)
        pickups.take(rooms, self.terms)
        weapons.fly(rooms, self.terms)
        weapons.fire(rooms, self.terms)
        rail.remember(rooms)

    def predict(self, own: dict[str, int], view: Mapping[str, np.ndarray], wanted: Mapping[str, int]) -> dict[str, int]:
        """The seat's own place and velocity after one more input; the dead stay where they are."""
        if own["state"] not in (lives.ALIVE, lives.PROTECTED):
            return own
        x, y, vx, vy = (np.array([[own[name]]], np.int32) for name in ("x", "y", "vx", "vy"))
        wish_x, wish_y = (np.array([[wanted[name]]], np.int8) for name in ("move_x", "move_y"))
        moved = movement.move(self.terms.pace, self.terms.walls, x, y, vx, vy, wish_x, wish_y)
        return own | {name: int(value[0, 0]) for name, value in zip(("x", "y", "vx", "vy"), moved, strict=True)}

    def _move(self, rooms: Rows) -> None:
        alive = lives.living(rooms)
        rooms.x[:], rooms.y[:], rooms.vx[:], rooms.vy[:] = movement.move(
            self.terms.pace,
            self.terms.walls,
            rooms.x,
            rooms.y,
            rooms.vx,
            rooms.vy,
            rooms.move_x * alive,
            rooms.move_y * alive,
        )
        off = (rooms.aim - rooms.facing).astype(np.int16)
        np.copyto(rooms.facing, rooms.aim, where=alive & ((off > FACING_SLACK) | (off < -FACING_SLACK)))
