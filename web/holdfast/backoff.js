/**
 * How long to wait before each attempt to come back: evenly from 0 to a bound that doubles (full jitter), so that the
 * players of a server that comes back do not all come at once.
 */

export const FIRST_WAIT_MS = 200;
export const LONGEST_WAIT_MS = 2000;

export class Backoff {
  /** @param {() => number} [draw] chances in 0 ≤ x < 1 */
  constructor(draw = Math.random) {
    this._draw = draw;
    this._boundMs = FIRST_WAIT_MS;
  }

  /** Milliseconds to wait before the next attempt. */
  next() {
    const waitMs = this._draw() * this._boundMs;
    this._boundMs = Math.min(this._boundMs * 2, LONGEST_WAIT_MS);
    return waitMs;
  }
}
