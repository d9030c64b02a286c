/**
 * Interpolation: what to draw of the others between two frames (`netcode/interpolate.py`).
 *
 * Places go straight from frame to frame, angles the shorter way round; everything else is that of the older frame.
 * When the newest frame is behind the playhead, places go on as they last moved for a quarter of a second at most. What
 * leapt or changed its `state` did not walk: it stays at the older place until the newer frame's tick has come.
 */

import { UNIT } from "./fixed.js";

const FRAMES_KEPT = 32;
const PLACES = ["x", "y", "z"];
const ANGLES = ["facing", "angle", "aim", "yaw", "pitch", "heading"];
const STATE = "state";
/** Further than this in a tick is a leap, in the column's units. */
export const JUMP = 64 * UNIT;
const EXTRAPOLATED_MAX_S = 0.25;
const BEHIND_TICKS = 2;
const JITTERS = 3;
const BEHIND_MAX_S = 0.25;
const SLEW = 0.1;

/** The last 32 frames of one seat, in any order they came. The caller clears it when the room's epoch rises. */
export class Interpolator {
  /** @param {import("./delta.js").Layout} layout @param {number} tickHz */
  constructor(layout, tickHz) {
    this._aheadMax = EXTRAPOLATED_MAX_S * tickHz;
    /** @type {import("./frame.js").Frame[]} by tick */
    this._frames = [];
    this._state = layout.shared.find((field) => field.name === STATE && field.per === "seat") ?? null;
    this._columns = layout.shared.map((field) => ({
      name: field.name,
      start: field.start,
      count: field.count,
      unit: 2 ** field.shift,
      turn: ANGLES.includes(field.name) ? 2 ** field.bits : 0,
      moves: field.per !== "room" && [...PLACES, ...ANGLES].includes(field.name),
      perSeat: field.per === "seat",
    }));
  }

  /** Keep a frame; one of a tick that is known already changes nothing. @param {import("./frame.js").Frame} frame */
  add(frame) {
    const frames = this._frames;
    let at = frames.length;
    while (at && frames[at - 1].tick > frame.tick) at--;
    if (at && frames[at - 1].tick === frame.tick) return;
    frames.splice(at, 0, frame);
    if (frames.length > FRAMES_KEPT) frames.shift();
  }

  /** Forget all frames. */
  clear() {
    this._frames.length = 0;
  }

  /**
   * Every shared column at this moment of the room, by name, in the units of the game's column. Before the oldest frame
   * it is the oldest; without any frame it is empty.
   * @param {number} tick
   * @returns {Record<string, number[]>}
   */
  at(tick) {
    const frames = this._frames;
    if (!frames.length) return {};
    let after = frames.length;
    while (after && frames[after - 1].tick > tick) after--;
    if (!after || frames.length === 1) return this._between(frames[0], frames[0], 0);
    after = Math.min(after, frames.length - 1);
    const older = frames[after - 1], newer = frames[after];
    const upTo = Math.min(tick, newer.tick + this._aheadMax);
    return this._between(older, newer, (upTo - older.tick) / (newer.tick - older.tick));
  }

  /** @param {import("./frame.js").Frame} older @param {import("./frame.js").Frame} newer @param {number} share */
  _between(older, newer, share) {
    const steady = share >= 1 ? newer : older;
    const leap = JUMP * (newer.tick - older.tick);
    /** @type {Record<string, number[]>} */
    const view = {};
    for (const { name, start, count, unit, turn, moves, perSeat } of this._columns) {
      const drawn = new Array(count);
      for (let at = 0; at < count; at++) {
        const index = start + at;
        drawn[at] = steady.shared[index] * unit;
        if (!moves || older === newer) continue;
        const from = older.shared[index];
        let way = newer.shared[index] - from;
        if (turn) way = mod(way + turn / 2, turn) - turn / 2;
        if (!way || (perSeat && this._changed(older, newer, at)) || (!turn && Math.abs(way) * unit > leap)) continue;
        const there = from + way * share;
        drawn[at] = (turn ? mod(there, turn) : there) * unit;
      }
      view[name] = drawn;
    }
    return view;
  }

  /** Whether a seat's state is another one. @param {import("./frame.js").Frame} older @param {import("./frame.js").Frame} newer @param {number} seat */
  _changed(older, newer, seat) {
    if (!this._state) return false;
    const index = this._state.start + seat;
    return older.shared[index] !== newer.shared[index];
  }
}

/** The moment of the room that is being drawn: behind the tick line, and never going back. */
export class Playhead {
  /** @param {import("./timesync.js").TickClock} clock @param {number} [every] ticks from frame to frame */
  constructor(clock, every = 1) {
    this._clock = clock;
    this._every = every;
    this._tick = 0;
    /** @type {number | null} */
    this._movedAt = null;
  }

  /** Another line: go where it says. */
  restart() {
    this._movedAt = null;
  }

  /** How far behind the line it ought to be. */
  get behindTicks() {
    const hz = this._clock.tickHz;
    const forJitter = this._every + ((JITTERS * this._clock.jitterMs) / 1000) * hz;
    return Math.max(BEHIND_TICKS - 1 + this._every, Math.min(forJitter, BEHIND_MAX_S * hz));
  }

  /** Where it is at `now`, as a tick with a fraction. A frame must have come. @param {number} now */
  at(now) {
    const hz = this._clock.tickHz;
    const wanted = this._clock.tickAt(now) - this.behindTicks;
    if (this._movedAt === null) this._tick = wanted;
    else {
      const run = Math.max(0, now - this._movedAt) * hz;
      const ahead = this._tick + run - wanted;
      if (Math.abs(ahead) > BEHIND_MAX_S * hz) this._tick = Math.max(this._tick, wanted); // a pause: it stood, or catches up
      else this._tick += run - Math.max(-SLEW * run, Math.min(SLEW * run, ahead));
    }
    this._movedAt = now;
    return this._tick;
  }
}

/** @param {number} value @param {number} span */
function mod(value, span) {
  return ((value % span) + span) % span;
}
