"""Weapons: the blaster, whose shots fly, and the rail, whose beams do not; one trigger discipline for both.

    input `buttons`   bit 0 FIRE: the blaster, always loaded     bit 1 RAIL: the rail, while it has charges

Held buttons fire as soon as `ready_at` is reached, which both weapons share: whoever fires the rail waits longer for
either. With both buttons held the rail goes first. Shots pass through mates (unless `friendly_fire`) and end at
protected players without hurting them. Who fires is protected no more.
"""

from __future__ import annotations

import numpy as np

from game.arena import lives, match, rail, shots, teams
from game.arena.terms import Terms
from game.rows import Rows

FIRE, RAIL = 1, 2
"""Bits of the input `buttons`; the others are kept for later."""
BLASTER_KILL, RAIL_KILL = 0, 1
"""What the event `kill` calls the weapon."""


def fly(rooms: Rows, terms: Terms) -> None:
    """Move the shots in the air by a tick, let them hit, and forget the beams that were shown long enough."""
    row, seat = np.nonzero(rooms.shot)
    if not row.size:
        return
    shot = rooms.shot[row, seat]
    beam = shots.is_rail(shot)
    if beam.any():
        faded = beam & (shots.age_of(shot, rooms.tick[row]) >= terms.ballistics.beam_ticks)
        rooms.shot[row[faded], seat[faded]] = 0
        row, seat, shot = row[~beam], seat[~beam], shot[~beam]
        if not row.size:
            return
    targets = _targets(rooms, terms, row, seat)
    origin = rooms.shot_from[row, seat]
    flight = shots.fly(terms.ballistics, terms.walls, rooms.tick, row, shot, origin, targets, rooms.x, rooms.y)
    rooms.shot[row[flight.ended], seat[flight.ended]] = 0
    hit = np.flatnonzero(flight.victim >= 0)
    if hit.size:
        lives.hurt(rooms, terms, row[hit], seat[hit], flight.victim[hit], shots.DAMAGE, BLASTER_KILL)


def fire(rooms: Rows, terms: Terms) -> None:
    """Let those fire who hold a button and may; the rail hits at once."""
    able = lives.living(rooms) & (rooms.ready_at <= rooms.tick[:, None]) & (rooms.phase == match.PLAYING)[:, None]
    row, seat = np.nonzero(able & ((rooms.buttons & (FIRE | RAIL)) > 0))
    if not row.size:
        return
    beam = ((rooms.buttons[row, seat] & RAIL) > 0) & (rooms.charges[row, seat] > 0)
    fires = beam | ((rooms.buttons[row, seat] & FIRE) > 0)
    row, seat, beam = row[fires], seat[fires], beam[fires]
    rooms.shot[row, seat] = shots.pack_shot(rooms.tick[row], rooms.aim[row, seat], beam)
    rooms.shot_from[row, seat] = shots.pack_origin(rooms.x[row, seat], rooms.y[row, seat])
    rooms.charges[row, seat] -= beam.astype(np.uint8)
    rooms.state[row, seat] = lives.ALIVE
    wait = np.where(beam, np.uint32(terms.rail_ticks), np.uint32(terms.ballistics.cooldown_ticks))
    rooms.ready_at[row, seat] = rooms.tick[row] + wait
    if beam.any():
        row, seat = row[beam], seat[beam]
        which, victim = rail.strike(rooms, terms.walls, terms.sweep, row, seat, _targets(rooms, terms, row, seat))
        if which.size:
            lives.hurt(rooms, terms, row[which], seat[which], victim, rail.DAMAGE, RAIL_KILL)


def _targets(rooms: Rows, terms: Terms, row: np.ndarray, seat: np.ndarray) -> np.ndarray:
    """(k, seats) bool: whom a shot of each of these seats can hit."""
    foes = teams.foes(rooms, 0 if terms.friendly_fire else terms.teams, row, seat)
    foes &= lives.living(rooms)[row]
    return foes
