/**
 * Inputs on their way: what a player wants, packed, and the window of those that the server has not acknowledged
 * (docs/protocol.md, "Input packets"; `netcode/inputs.py`).
 *
 * Every packet repeats all unacknowledged inputs; the server applies each sequence once. At most 32 are unacknowledged:
 * then the input clock stops.
 */

import { ErrorCode, HoldfastError } from "./errors.js";

export const UNACKED_MAX = 32;
/** How many inputs of a seat the server queues. */
export const QUEUED_MAX = 8;
const HAS_BASELINE = 1;
const HEADER_BYTES = 15;
/** @type {Record<string, number>} */
const SIZES = { u1: 1, i1: 1, u2: 2, i2: 2, u4: 4, i4: 4 };

/** The fields of a game's input, from `seated.inputs`. */
export class InputShape {
  /** @param {[string, string, number, number][]} fields name, type, lowest and highest value */
  constructor(fields) {
    this.fields = fields;
    this.bytes = 0;
    for (const [name, type] of fields) {
      if (!SIZES[type]) throw new HoldfastError(ErrorCode.BAD_MESSAGE, `input ${name} of type ${type}`);
      this.bytes += SIZES[type];
    }
  }

  /** What nobody wants anything of: each field the value nearest to 0. @returns {Record<string, number>} */
  neutral() {
    return Object.fromEntries(this.fields.map(([name, , low, high]) => [name, Math.max(low, Math.min(0, high))]));
  }

  /**
   * Throws HoldfastError (BAD_OPTION) for a field that the game does not have or a value outside its limits.
   * @param {Record<string, number>} wanted
   */
  check(wanted) {
    for (const [name, value] of Object.entries(wanted)) {
      const field = this.fields.find((each) => each[0] === name);
      if (!field) throw new HoldfastError(ErrorCode.BAD_OPTION, `there is no input ${name}`);
      if (!Number.isInteger(value) || value < field[2] || value > field[3]) {
        throw new HoldfastError(ErrorCode.BAD_OPTION, `input ${name}=${value} lies outside ${field[2]}..${field[3]}`);
      }
    }
  }

  /** @param {Record<string, number>} wanted @returns {Uint8Array} */
  pack(wanted) {
    const bytes = new Uint8Array(this.bytes), view = new DataView(bytes.buffer);
    let at = 0;
    for (const [name, type] of this.fields) {
      const value = wanted[name];
      if (SIZES[type] === 1) view.setUint8(at, value);
      else if (SIZES[type] === 2) view.setUint16(at, value, true);
      else view.setUint32(at, value, true);
      at += SIZES[type];
    }
    return bytes;
  }
}

/** The unacknowledged inputs. */
export class InputWindow {
  /** @param {number} lastSeq */
  constructor(lastSeq) {
    this.newest = lastSeq;
    this.acknowledged = lastSeq;
    /** @type {Uint8Array[]} */
    this._waiting = [];
  }

  /** Whether the input clock must stop until the server acknowledges. */
  get full() {
    return this._waiting.length >= UNACKED_MAX;
  }

  /** Append one input; returns its sequence. The caller looks at `full` first. @param {Uint8Array} packed */
  add(packed) {
    this._waiting.push(packed);
    this.newest += 1;
    return this.newest;
  }

  /**
   * The room has applied everything up to `lastSeq`; returns how many inputs that settles now.
   * @param {number} lastSeq
   */
  acknowledge(lastSeq) {
    const settled = Math.min(lastSeq, this.newest) - this.acknowledged;
    if (settled <= 0) return 0;
    this._waiting.splice(0, settled);
    this.acknowledged += settled;
    return settled;
  }

  /**
   * The plaintext that carries all of them. No datagrams come here, so there is none to acknowledge.
   * @param {number} stream @param {number} baseline -1: none @param {number} seen
   */
  packet(stream, baseline, seen) {
    const count = this._waiting.length, size = count ? this._waiting[0].length : 0;
    const bytes = new Uint8Array(HEADER_BYTES + count * size), view = new DataView(bytes.buffer);
    view.setUint8(0, baseline >= 0 ? HAS_BASELINE : 0);
    view.setUint8(1, stream);
    view.setUint16(8, baseline >= 0 ? baseline % 0x10000 : 0, true);
    view.setUint16(10, seen % 0x10000, true);
    view.setUint16(12, this.newest % 0x10000, true);
    view.setUint8(14, count);
    this._waiting.forEach((packed, number) => bytes.set(packed, HEADER_BYTES + (count - 1 - number) * size));
    return bytes;
  }
}
