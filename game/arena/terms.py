"""What a configured arena is played by: its options and the constants that follow from the tick rate, worked out
once, so that a second is a second at 10 Hz and at 128 Hz and no phase has to ask for an option."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from game.arena.maps import MAPS, Walls
from game.arena.movement import Pace
from game.arena.rail import COOLDOWN_MS, Sweep
from game.arena.shots import Ballistics

INTERMISSION_S = 3
HEALTH_BACK_S, SHIELD_BACK_S, CHARGES_BACK_S = 12, 25, 15


@attrs.frozen(eq=False)
class Terms:
    """The terms of one configured arena; everything named `ticks` counts ticks."""

    tick_hz: int
    walls: Walls
    pace: Pace
    ballistics: Ballistics
    sweep: Sweep
    teams: int
    """0: everybody for themselves."""
    friendly_fire: bool
    fillers: int
    score_limit: int
    match_ticks: int
    intermission_ticks: int
    respawn_ticks: int
    protect_ticks: int
    """0: no protection."""
    rail_ticks: int
    """From a shot of the rail to the next shot of any weapon."""
    back_ticks: tuple[int, int, int]
    """From the taking of an item to its return, by its kind."""

    @classmethod
    def of(cls, option: Mapping[str, int], tick_hz: int) -> Terms:
        """The terms that follow from the options of `game.arena.rules.Arena`."""
        walls = MAPS[option["map"]]
        return cls(
            tick_hz=tick_hz,
            walls=walls,
            pace=Pace.at(tick_hz),
            ballistics=Ballistics.at(tick_hz),
            sweep=Sweep.over(walls),
            teams=option["teams"],
            friendly_fire=option["friendly_fire"] > 0,
            fillers=min(option["fillers"], option["seats"]),
            score_limit=option["score_limit"],
            match_ticks=option["match_s"] * tick_hz,
            intermission_ticks=INTERMISSION_S * tick_hz,
            respawn_ticks=max(1, option["respawn_ms"] * tick_hz // 1000),
            protect_ticks=option["protect_ms"] * tick_hz // 1000,
            rail_ticks=-(-COOLDOWN_MS * tick_hz // 1000),
            back_ticks=(HEALTH_BACK_S * tick_hz, SHIELD_BACK_S * tick_hz, CHARGES_BACK_S * tick_hz),
        )
