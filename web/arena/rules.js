/**
 * The arena's rules as far as a player's own screen needs them: how one moves, and where shots are. The same integers
 * as the server's (`game/arena/movement.py`, `game/arena/shots.py`): what is predicted is what the server will say, to
 * the last bit, and tests/web/vectors.py has the real game prove it.
 */

import { ONE_BITS, UNIT, UNIT_BITS, cos, sin } from "../holdfast/fixed.js";
import { MAPS, TILE_BITS } from "./maps.js";

export const EMPTY = 0, ALIVE = 1, DEAD = 2, PROTECTED = 3;
export const FIRE = 1, RAIL = 2;
export const HP_MAX = 100, CHARGES_MAX = 6;
const SPEED_UNITS_S = 240;
const ACCEL_UNITS_S2 = 2000;
const FRICTION_UNITS_S2 = 1500;
/** Half of a player's width, 24.8. */
export const HALF = 12 * UNIT;
const TILE = 1 << TILE_BITS;

const SHOT_UNITS_S = 900;
const LIFE_MS = 500;
const COOLDOWN_MS = 500;
const BEAM_MS = 250;
const AGES = 127;
const QUARTERS = 4;
/** Quarter units shifted right by this are a tile. */
const QUARTER_TILE_BITS = 7;
const SAMPLE = 8 * QUARTERS;

/** The constants of movement at one tick rate. @param {number} tickHz */
export function paceAt(tickHz) {
  const full = Math.floor((SPEED_UNITS_S * UNIT) / tickHz);
  const grainBits = Math.max(32 - Math.clz32(full) - 7, 0);
  const square = tickHz * tickHz;
  return {
    /** Wanted speed along an axis when 0, 1 or 2 axes are pressed. */
    speed: [0, full >> grainBits, Math.floor((full * 181) / 256) >> grainBits].map((grains) => grains << grainBits),
    /** How much velocity may change a tick on an axis let go or pressed. */
    rate: [FRICTION_UNITS_S2, ACCEL_UNITS_S2].map(
      (change) => Math.max(1, (Math.floor((change * UNIT) / square) + ((1 << grainBits) >> 1)) >> grainBits) << grainBits,
    ),
  };
}

/**
 * @typedef {{x: number, y: number, vx: number, vy: number}} Mover places 24.8, velocities 1/256 units a tick
 */

/**
 * Where a player is after one tick.
 * @param {ReturnType<typeof paceAt>} pace @param {import("./maps.js").Walls} walls @param {Mover} from
 * @param {number} wishX @param {number} wishY −1, 0 or 1
 * @returns {Mover}
 */
export function move(pace, walls, from, wishX, wishY) {
  const speed = pace.speed[wishX * wishX + wishY * wishY];
  const [x, vx] = slide(walls, from.x, from.y, steer(from.vx, wishX * speed, pace.rate[wishX & 1]), 1, walls.width);
  const [y, vy] = slide(walls, from.y, x, steer(from.vy, wishY * speed, pace.rate[wishY & 1]), walls.width, 1);
  return { x, y, vx, vy };
}

/** @param {number} velocity @param {number} wanted @param {number} rate */
function steer(velocity, wanted, rate) {
  return velocity + Math.min(Math.max(wanted - velocity, -rate), rate);
}

/**
 * Move on one axis, up to the edge of the tile where one of the two leading corners is in a wall.
 * @param {import("./maps.js").Walls} walls
 * @param {number} along @param {number} across @param {number} velocity @param {number} stride @param {number} strideAcross
 */
function slide(walls, along, across, velocity, stride, strideAcross) {
  const to = along + velocity, forward = velocity > 0;
  const tile = (to + (forward ? HALF - 1 : -HALF)) >> TILE_BITS;
  const oneSide = ((across - HALF) >> TILE_BITS) * strideAcross;
  const otherSide = ((across + (HALF - 1)) >> TILE_BITS) * strideAcross;
  if (!walls.solid[tile * stride + oneSide] && !walls.solid[tile * stride + otherSide]) return [to, velocity];
  return [(tile << TILE_BITS) + (forward ? -HALF : TILE + HALF), 0];
}

/**
 * What `connect` takes as the rules of the game "arena".
 * @param {Record<string, number>} options @param {number} tickHz
 * @returns {import("../holdfast/predict.js").Rules}
 */
export function Arena(options, tickHz) {
  const pace = paceAt(tickHz), walls = MAPS[options.map ?? 0];
  return {
    predict(own, _frame, wanted) {
      if (own.state !== ALIVE && own.state !== PROTECTED) return own;
      return { ...own, ...move(pace, walls, /** @type {any} */ (own), wanted.move_x, wanted.move_y) };
    },
  };
}

/** The constants of shooting at one tick rate, in ticks. @param {number} tickHz */
export function ballisticsAt(tickHz) {
  return {
    tickHz,
    lifeTicks: Math.floor((LIFE_MS * tickHz) / 1000),
    cooldownTicks: Math.ceil((COOLDOWN_MS * tickHz) / 1000),
    beamTicks: Math.max(1, Math.floor((BEAM_MS * tickHz) / 1000)),
  };
}

/**
 * A birth record, taken apart: `stamp` (0: none), `rail`, and its direction in 16-bit turns.
 * @param {number} shot
 */
export function shotOf(shot) {
  return { stamp: shot & 127, rail: (shot & 128) > 0, angle: (shot >> 8) << 8 };
}

/** Ticks since the birth of a shot with this stamp. @param {number} stamp @param {number} tick */
export function ageOf(stamp, tick) {
  return (((tick + 1 - stamp) % AGES) + AGES) % AGES;
}

/**
 * Where a shot of `age` whole ticks is that started at (x, y) 24.8; in quarter units, as the server has it.
 * @param {ReturnType<typeof ballisticsAt>} ballistics
 * @param {number} x @param {number} y @param {number} angle @param {number} age
 */
export function placeOf({ tickHz }, x, y, angle, age) {
  const flown = Math.floor((SHOT_UNITS_S * QUARTERS * age) / tickHz);
  return {
    x: (x >> UNIT_BITS) * QUARTERS + 2 + ((cos(angle) * flown) >> ONE_BITS),
    y: (y >> UNIT_BITS) * QUARTERS + 2 + ((sin(angle) * flown) >> ONE_BITS),
  };
}

/**
 * How far a line from (x, y) 24.8 goes before it is in a wall, quarter units; `reach` at most.
 * @param {import("./maps.js").Walls} walls
 * @param {number} x @param {number} y @param {number} angle @param {number} reach
 */
export function wallAhead(walls, x, y, angle, reach) {
  const fromX = (x >> UNIT_BITS) * QUARTERS + 2, fromY = (y >> UNIT_BITS) * QUARTERS + 2;
  for (let at = SAMPLE; at < reach; at += SAMPLE) {
    const tileX = (fromX + ((cos(angle) * at) >> ONE_BITS)) >> QUARTER_TILE_BITS;
    const tileY = (fromY + ((sin(angle) * at) >> ONE_BITS)) >> QUARTER_TILE_BITS;
    if (walls.solid[tileY * walls.width + tileX]) return at;
  }
  return reach;
}
