/**
 * Prediction: the player's own seat where it will be once the server has applied all inputs (`netcode/predict.py`).
 *
 *     frame of tick T, last_seq S  ──►  own columns at T ──► replay S+1, S+2 … newest ──► state
 *
 * While nobody else interferes, the state after input S is what was predicted, to the last bit. When it is not, the
 * picture does not leap: the difference is drawn on top, and halves every 35 ms; a leap further than `JUMP` (a death, a
 * new life) is shown at once.
 *
 * What is drawn lies between the newest state and the one after it *under the keys as they are now*: a key shows in the
 * very next picture, and not only in the one after the next input. (`netcode/predict.py` draws one input later: it has
 * no picture to be quick for.) Where the next input turns out to be another, that is smoothed like any difference.
 */

import { UNACKED_MAX } from "./inputs.js";
import { JUMP } from "./interpolate.js";

const HALVES_IN_S = 0.035;
const PLACES = ["x", "y"];

/**
 * What a page knows of a game's rules.
 * @typedef {{predict(own: Record<string, number>, frame: import("./frame.js").Frame, wanted: Record<string, number>):
 *   Record<string, number>}} Rules `predict`: the own columns after one more input, as the server's step makes them;
 *   it must not change `own`
 */

/** Own columns of one seat, ahead of the server. Times are seconds of the caller's monotonic clock. */
export class Predictor {
  /** @param {Rules} rules @param {number} seat @param {number} tickHz */
  constructor(rules, seat, tickHz) {
    /** Own columns after all inputs that were made; null before the first frame. @type {Record<string, number> | null} */
    this.state = null;
    /** How far predictions were off: frames compared, those that differed, the furthest (in the columns' units), leaps. */
    this.corrections = { compared: 0, count: 0, max: 0, jumps: 0 };
    this._rules = rules;
    this._seat = seat;
    this._periodS = 1 / tickHz;
    /** @type {{seq: number, wanted: Record<string, number>, after: Record<string, number>}[]} */
    this._waiting = [];
    /** @type {Record<string, number> | null} */
    this._base = null;
    this._baseSeq = 0;
    /** @type {import("./frame.js").Frame | null} */
    this._frame = null;
    /** What is wanted now. @type {Record<string, number>} */
    this._held = {};
    /** @type {Record<string, number> | null} the state one input further, under `_held` */
    this._ahead = null;
    this._madeAt = -Infinity;
    /** @type {Record<string, number>} */
    this._error = {};
    this._errorAt = 0;
  }

  /** Another connection or another owner of the room: inputs up to `lastSeq` are settled. @param {number} lastSeq */
  restart(lastSeq) {
    this._drop(lastSeq);
    this._base = null;
  }

  /** What the player wants from now on. @param {Record<string, number>} held */
  want(held) {
    this._held = { ...held };
    this._lookAhead(); // (shows at once: it is a part of a tick's way at most)
  }

  /** Input `seq` was made. @param {number} seq @param {Record<string, number>} wanted @param {number} now */
  sent(seq, wanted, now) {
    this._smoothly(now, () => {
      if (this.state && this._frame) this.state = this._rules.predict(this.state, this._frame, wanted);
      this._waiting.push({ seq, wanted: { ...wanted }, after: this.state ?? {} });
      if (this._waiting.length > UNACKED_MAX) this._waiting.shift();
      this._madeAt = now;
      this._held = { ...wanted };
      this._lookAhead();
    });
  }

  /**
   * The server's word, newer than all before: start from it and replay what it has not applied yet.
   * @param {import("./frame.js").Frame} frame @param {number} now
   */
  frame(frame, now) {
    this._smoothly(now, () => {
      const told = frame.mine(this._seat), predicted = this._after(frame.lastSeq);
      if (predicted) this._count(told, predicted);
      this._drop(frame.lastSeq);
      this._base = told;
      this._baseSeq = frame.lastSeq;
      this._frame = frame;
      this.state = told;
      for (const each of this._waiting) each.after = this.state = this._rules.predict(this.state, frame, each.wanted);
      this._lookAhead();
    });
  }

  /** The places to draw, in the columns' units; null before the first frame. @param {number} now */
  drawn(now) {
    if (!this.state || !this._ahead) return null;
    const share = Math.min(Math.max((now - this._madeAt) / this._periodS, 0), 1);
    const left = 0.5 ** (Math.max(0, now - this._errorAt) / HALVES_IN_S);
    /** @type {Record<string, number>} */
    const drawn = {};
    for (const name of PLACES) {
      if (!(name in this.state)) continue;
      const step = this._ahead[name] - this.state[name];
      drawn[name] = this.state[name] + step * share + (this._error[name] ?? 0) * left;
    }
    return drawn;
  }

  /** Change something such that the picture stays where it is. @param {number} now @param {() => void} change */
  _smoothly(now, change) {
    const before = this.drawn(now);
    change();
    this._error = {};
    this._errorAt = now;
    const after = this.drawn(now);
    if (!before || !after) return;
    const error = Object.fromEntries(Object.keys(after).map((name) => [name, before[name] - after[name]]));
    if (Math.hypot(...Object.values(error)) <= JUMP) this._error = error;
  }

  _lookAhead() {
    this._ahead = this.state && this._frame ? this._rules.predict(this.state, this._frame, this._held) : null;
  }

  /** What was predicted for the state after input `seq`; null when that was never predicted. @param {number} seq */
  _after(seq) {
    if (!this._base) return null;
    if (seq === this._baseSeq) return this._base;
    return this._waiting.find((each) => each.seq === seq)?.after ?? null;
  }

  /** @param {number} lastSeq */
  _drop(lastSeq) {
    while (this._waiting.length && this._waiting[0].seq <= lastSeq) this._waiting.shift();
  }

  /** @param {Record<string, number>} told @param {Record<string, number>} predicted */
  _count(told, predicted) {
    const books = this.corrections;
    const distance = Math.hypot(...PLACES.filter((name) => name in told).map((name) => told[name] - predicted[name]));
    books.compared += 1;
    if (distance > JUMP) books.jumps += 1;
    else if (distance > 0) {
      books.count += 1;
      books.max = Math.max(books.max, distance);
    }
  }
}
