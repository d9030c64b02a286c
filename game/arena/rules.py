"""The arena: its columns, its options, and a tick as a list of phases.

    the dead come back ─► everybody moves ─► shots fly, hit, kill ─► new shots are fired ─► the match's clock

What changes at every tick is small on the wire: a place in half units and a facing in 256ths of a turn for
those who move or turn. The rest changes when something happens. A seat is always at a legal place, an empty
one too, so no phase has to ask who is there before it moves all. A seat that is held for a player who lost
the connection plays on with its hands off the keys. Whole numbers only, and everything that depends on the
tick rate is worked out in `configure`, so that a second is a second at 10 Hz and at 128 Hz.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from game import fixed, rng
from game.api import Column, Input, Option, RowGame
from game.arena import maps, match, movement, shots
from game.errors import BadOption
from game.rows import Rows

FIRE = 1
"""Bit of the input `buttons`; the others are kept for later."""


class Arena(RowGame):
    """A top-down shooter for 2 to 16 players at 10 to 128 ticks a second."""

    name = "arena"
    version = 1
    default_tick_hz = 30
    options = (
        Option("seats", 10, 2, 16, "players in a room"),
        Option("match_s", 120, 5, 3600, "seconds that a match lasts"),
        Option("score_limit", 0, 0, 1000, "kills that end a match early; 0: none do"),
        Option("respawn_ms", 2000, 0, 30_000, "milliseconds from death to the next life"),
        Option("map", 0, 0, len(maps.MAPS) - 1, "0: the yard, for ten; 1: the small duel"),
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
        self.seats = self.option["seats"]
        self.walls = maps.MAPS[self.option["map"]]
        self.pace = movement.Pace.at(self.tick_hz)
        self.ballistics = shots.Ballistics.at(self.tick_hz)
        self.match_ticks = self.option["match_s"] * self.tick_hz
        self.intermission_ticks = match.INTERMISSION_S * self.tick_hz
        self.respawn_ticks = max(1, self.option["respawn_ms"] * self.tick_hz // 1000)
        slots = self.seats * shots.SLOTS
        self.columns = (
            Column("x", "i4", per="seat", see="all", shift=7, exact=True, wire="u2"),
            Column("y", "i4", per="seat", see="all", shift=7, exact=True, wire="u2"),
            Column("facing", "u2", per="seat", see="all", shift=8, wire="u1"),
            Column("vx", "i2", per="seat", see="own"),
            Column("vy", "i2", per="seat", see="own"),
            Column("state", "u1", per="seat", see="all"),
            Column("hp", "u1", per="seat", see="all"),
            Column("score", "i2", per="seat", see="all"),
            Column("deaths", "i2", per="seat", see="all"),
            Column("shot", "u4", per=slots, see="all"),
            Column("shot_born", "u1", per=slots, see="all"),
            Column("phase", "u1", see="all"),
            Column("ends_at", "u4", see="all"),
            Column("respawn_at", "u4", per="seat"),
            Column("ready_at", "u4", per="seat"),
        )

    def code(self) -> tuple[Any, ...]:
        """The modules that a step runs through."""
        return maps, match, movement, shots, fixed, rng

    def open(self, rooms: Rows) -> None:
        """Empty seats rest on a spawn point; the first match starts."""
        rooms.x[:] = self.walls.spawn_x[0]
        rooms.y[:] = self.walls.spawn_y[0]
        rooms.ends_at[:] = self.match_ticks

    def join(self, rooms: Rows, seat: int, profile: Mapping[str, Any]) -> None:
        """On the field at once, far from the others."""
        match.spawn(rooms, self.walls, np.zeros(1, np.intp), np.array([seat]))

    def leave(self, rooms: Rows, seat: int) -> None:
        """Off the field, with its shots and its score."""
        for column in ("vx", "vy", "state", "hp", "facing", "score", "deaths", "respawn_at", "ready_at"):
            getattr(rooms, column)[0, seat] = 0
        rooms.shot_born[0, seat * shots.SLOTS : (seat + 1) * shots.SLOTS] = 0

    def step(self, rooms: Rows) -> None:
        """One tick of every room."""
        match.respawn_due(rooms, self.walls)
        self._move(rooms)
        self._fly(rooms)
        self._fire(rooms)
        match.clock(rooms, self.walls, self.match_ticks, self.intermission_ticks, self.option["score_limit"])

    def predict(self, own: dict[str, int], view: Mapping[str, np.ndarray], wanted: Mapping[str, int]) -> dict[str, int]:
        """The seat's own place and velocity after one more input; the dead stay where they are."""
        if own["state"] != match.ALIVE:
            return own
        x, y, vx, vy = (np.array([[own[name]]], np.int32) for name in ("x", "y", "vx", "vy"))
        wish_x, wish_y = (np.array([[wanted[name]]], np.int8) for name in ("move_x", "move_y"))
        moved = movement.move(self.pace, self.walls, x, y, vx, vy, wish_x, wish_y)
        return own | {name: int(value[0, 0]) for name, value in zip(("x", "y", "vx", "vy"), moved, strict=True)}

    def _move(self, rooms: Rows) -> None:
        alive = rooms.state == match.ALIVE
        rooms.x[:], rooms.y[:], rooms.vx[:], rooms.vy[:] = movement.move(
            self.pace,
            self.walls,
            rooms.x,
            rooms.y,
            rooms.vx,
            rooms.vy,
            rooms.move_x * alive,
            rooms.move_y * alive,
        )
        np.copyto(rooms.facing, rooms.aim, where=alive)

    def _fly(self, rooms: Rows) -> None:
        alive = rooms.state == match.ALIVE
        flight = shots.fly(
            self.ballistics, self.walls, rooms.tick, rooms.shot, rooms.shot_born, rooms.x, rooms.y, alive
        )
        if flight is None:
            return
        rooms.shot_born[flight.row[flight.ended], flight.slot[flight.ended]] = 0
        hit = np.flatnonzero(flight.victim >= 0)
        if hit.size:
            attacker = flight.slot[hit] // shots.SLOTS
            match.hurt(rooms, flight.row[hit], attacker, flight.victim[hit], self.respawn_ticks)

    def _fire(self, rooms: Rows) -> None:
        pressed = (rooms.buttons & FIRE).astype(bool) & (rooms.state == match.ALIVE)
        fires = pressed & (rooms.ready_at <= rooms.tick[:, None]) & (rooms.phase == match.PLAYING)[:, None]
        if not fires.any():
            return
        row, seat = np.nonzero(fires)
        slot = seat * shots.SLOTS
        slot += rooms.shot_born[row, slot] > 0  # one of the two is free: see `game.arena.shots`
        rooms.shot[row, slot] = shots.pack_shot(rooms.x[row, seat], rooms.y[row, seat], rooms.aim[row, seat])
        rooms.shot_born[row, slot] = shots.birth_stamp(rooms.tick)[row]
        rooms.ready_at[row, seat] = rooms.tick[row] + np.uint32(self.ballistics.cooldown_ticks)
