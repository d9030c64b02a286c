/**
 * Fixed-point maths, the same integers as `game/fixed.py` (a test compares every one of them).
 *
 *     position   24.8: 256 is one unit
 *     angle      16 bits: 65536 is a full turn, 0 points along +x, 16384 along +y (down on a screen)
 *     cos, sin   Q14: 16384 is one
 */

export const UNIT_BITS = 8;
export const UNIT = 1 << UNIT_BITS;
export const TURN = 1 << 16;
export const ONE_BITS = 14;

const DIRECTION_BITS = 12;
const DIRECTIONS = 1 << DIRECTION_BITS;
// The nearest whole numbers: no sine of these lies within an engine's error of a half (the test has them all).
const SIN = Int32Array.from({ length: DIRECTIONS }, (_, at) =>
  Math.round(Math.sin((at * 2 * Math.PI) / DIRECTIONS) * (1 << ONE_BITS)));

/** Sine of an angle in 16-bit turns, taken to the nearest 4096th of a turn, in Q14. @param {number} angle */
export function sin(angle) {
  return SIN[((angle + 8) >> (16 - DIRECTION_BITS)) & (DIRECTIONS - 1)];
}

/** Cosine, likewise. @param {number} angle */
export function cos(angle) {
  return sin(angle + TURN / 4);
}

/** The direction of a vector in 16-bit turns, 0..65535. For aiming: not shared with the server. @param {number} x @param {number} y */
export function angleOf(x, y) {
  return Math.round((Math.atan2(y, x) / (2 * Math.PI)) * TURN) & (TURN - 1);
}
