/**
 * Frames: one tick of a room as this player is told it (docs/protocol.md, "Frames"; `netcode/frame.py`).
 *
 *      0      1       2      3       5    6         8     9
 *     +------+-------+------+-------+----+---------+-----+-----------+--------------+-----------+
 *     |flags |stream |epoch |tick   |age |last_seq |depth|[acks 6 B] |shared delta  |own delta  |
 *     +------+-------+------+-------+----+---------+-----+-----------+--------------+-----------+
 */

import { BadFrame } from "./errors.js";
import { decodeDelta } from "./delta.js";
import { widen } from "./sequence.js";

/** How many frames are kept as baselines. */
export const BASELINES_MAX = 32;
const HEADER_BYTES = 9;
const ACKS_BYTES = 6;
const HAS_ACKS = 1;

/** A frame as its player sees it; `shared` and `own` are wire values in the order of the layout. */
export class Frame {
  /**
   * @param {{tick: number, lastSeq: number, depth: number, epoch: number, layout: import("./delta.js").Layout,
   *   shared: number[], own: number[]}} parts
   */
  constructor({ tick, lastSeq, depth, epoch, layout, shared, own }) {
    this.tick = tick;
    /** The last input that the room has applied for this seat. */
    this.lastSeq = lastSeq;
    /** Inputs of this seat that wait on the server. */
    this.depth = depth;
    this.epoch = epoch;
    this.layout = layout;
    this.shared = shared;
    this.own = own;
  }

  /**
   * What the room shares under this name, in the units of the game's column.
   * @param {string} name
   * @returns {number[]}
   */
  values(name) {
    const field = this.layout.shared.find((each) => each.name === name);
    if (!field) throw new RangeError(`the room shares no ${name}`);
    const unit = 2 ** field.shift;
    return this.shared.slice(field.start, field.start + field.count).map((value) => value * unit);
  }

  /**
   * Every column per seat that the seat sees of itself, exact where the frame has the lost bits.
   * @param {number} seat
   * @returns {Record<string, number>}
   */
  mine(seat) {
    /** @type {Record<string, number>} */
    const mine = {};
    for (const { name, per, start, shift } of this.layout.shared) {
      if (per === "seat") mine[name] = this.shared[start + seat] * 2 ** shift;
    }
    for (const { name, start, shift, exact } of this.layout.own) {
      mine[name] = exact ? mine[name] + this.own[start] : this.own[start] * 2 ** shift;
    }
    return mine;
  }
}

/** One client's memory of a room's frames since it took its seat. */
export class FrameDecoder {
  /**
   * @param {import("./delta.js").Layout} layout
   * @param {{stream: number, epoch: number, tick: number, last_seq: number}} seated
   */
  constructor(layout, { stream, epoch, tick, last_seq }) {
    this.layout = layout;
    this.stream = stream;
    this.epoch = epoch;
    /** The highest tick of this epoch. */
    this.newestTick = tick;
    this.lastSeq = last_seq;
    /** Tick of the newest frame that was read: what to acknowledge. -1: none yet. */
    this.baseline = -1;
    /** @type {Map<number, {shared: number[], own: number[]}>} */
    this._kept = new Map();
    this._zeros = { shared: new Array(layout.sharedWidth).fill(0), own: new Array(layout.ownWidth).fill(0) };
  }

  /**
   * The frame in `data`; null for one of another seat or a lower epoch, or against a baseline no longer kept. Throws
   * BadFrame on bytes that are no frame.
   * @param {Uint8Array} data
   * @returns {Frame | null}
   */
  receive(data) {
    if (data.length < HEADER_BYTES) throw new BadFrame("shorter than a frame's header");
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const flags = data[0], stream = data[1], age = data[5], depth = data[8];
    const epoch = widen(data[2], 8, this.epoch);
    if (stream !== this.stream || epoch < this.epoch) return null;
    if (epoch > this.epoch) { // another owner of the room: its ticks and sequences are news, whatever ours were
      this.epoch = epoch;
      this.newestTick = widen(view.getUint16(3, true), 16, this.newestTick);
      this.lastSeq = widen(view.getUint16(6, true), 16, this.lastSeq);
      this.baseline = -1;
      this._kept.clear();
    }
    const acks = flags & HAS_ACKS ? ACKS_BYTES : 0; // of datagrams, which we send none of
    if (data.length < HEADER_BYTES + acks) throw new BadFrame("the acks are cut short");
    const tick = widen(view.getUint16(3, true), 16, this.newestTick);
    const lastSeq = widen(view.getUint16(6, true), 16, this.lastSeq);
    const base = age === 0 ? this._zeros : this._kept.get(tick - age);
    if (!base) return null;
    const shared = decodeDelta(this.layout.shared, data, HEADER_BYTES + acks, base.shared);
    const own = decodeDelta(this.layout.own, data, shared.at, base.own);
    this._keep(tick, { shared: shared.values, own: own.values });
    this.newestTick = Math.max(this.newestTick, tick);
    this.lastSeq = Math.max(this.lastSeq, lastSeq);
    this.baseline = Math.max(this.baseline, tick);
    return new Frame({ tick, lastSeq, depth, epoch, layout: this.layout, shared: shared.values, own: own.values });
  }

  /** @param {number} tick @param {{shared: number[], own: number[]}} views */
  _keep(tick, views) {
    this._kept.set(tick, views);
    if (this._kept.size > BASELINES_MAX) this._kept.delete(Math.min(...this._kept.keys()));
  }
}
