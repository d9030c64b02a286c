/**
 * Rooms of objects: acts that wait to be applied, and the whole view in parts (`netcode/acts.py`).
 *
 * Acts are numbered 1, 2, … and applied once each, in order; after a resume those after `last_seq` are sent again.
 */

import { ErrorCode, HoldfastError } from "./errors.js";
import { pack, unpack } from "./msgpack.js";

const ACTS_MAX = 256;
const ACTS_BYTES_MAX = 128 * 1024;
const ACT_MAX = 4096;
const VIEW_MAX = 1024 * 1024;

/** The bytes of one act. Throws HoldfastError (TOO_LARGE), and RangeError for what msgpack has not. @param {unknown} value */
export function packAct(value) {
  const data = pack(value);
  if (data.length > ACT_MAX) {
    throw new HoldfastError(ErrorCode.TOO_LARGE, `an act of ${data.length} bytes; the limit is ${ACT_MAX}`);
  }
  return data;
}

/** The acts of one seat that are not known to be applied. */
export class ActWindow {
  /** @param {number} lastSeq */
  constructor(lastSeq) {
    /** The last act that was applied. */
    this.acknowledged = lastSeq;
    /** @type {Uint8Array[]} */
    this._waiting = [];
    this._bytes = 0;
  }

  /** The sequence of the newest act. */
  get newest() {
    return this.acknowledged + this._waiting.length;
  }

  /** Whether there is room for one more act. @param {Uint8Array} data */
  takes(data) {
    return this._waiting.length < ACTS_MAX && this._bytes + data.length <= ACTS_BYTES_MAX;
  }

  /** Take one act in; the caller looks at `takes` first. @param {Uint8Array} data */
  add(data) {
    this._waiting.push(data);
    this._bytes += data.length;
    return { t: "act", seq: this.newest, data };
  }

  /** The room has applied everything up to `lastSeq`; returns how many acts that settles now. @param {number} lastSeq */
  acknowledge(lastSeq) {
    const settled = Math.min(Math.max(0, lastSeq - this.acknowledged), this._waiting.length);
    for (const data of this._waiting.splice(0, settled)) this._bytes -= data.length;
    this.acknowledged = Math.max(this.acknowledged + settled, lastSeq);
    return settled;
  }

  /** What is to be sent again on a new connection. */
  unsettled() {
    return this._waiting.map((data, number) => ({ t: "act", seq: this.acknowledged + 1 + number, data }));
  }
}

/** A view that comes in parts. */
export class ViewParts {
  /** @param {number} parts */
  constructor(parts) {
    this._left = parts;
    this._next = 0;
    this._bytes = 0;
    /** @type {Uint8Array[]} */
    this._parts = [];
  }

  /**
   * Take the next part; `{view}` when it is complete, else null. Throws HoldfastError for a part that is out of order or
   * one too many, and a view that is too large or no msgpack.
   * @param {{part: number, data: Uint8Array}} message
   * @returns {{view: any} | null}
   */
  add({ part, data }) {
    if (part !== this._next || !this._left) {
      throw new HoldfastError(ErrorCode.BAD_MESSAGE, `part ${part} of a view where ${this._next} is next`);
    }
    this._bytes += data.length;
    if (this._bytes > VIEW_MAX) throw new HoldfastError(ErrorCode.TOO_LARGE, `a view of more than ${VIEW_MAX} bytes`);
    this._parts.push(data);
    this._next += 1;
    this._left -= 1;
    if (this._left) return null;
    const whole = new Uint8Array(this._bytes);
    this._parts.reduce((at, each) => (whole.set(each, at), at + each.length), 0);
    try {
      return { view: unpack(whole) };
    } catch (error) {
      throw new HoldfastError(ErrorCode.BAD_MESSAGE, `the view is no msgpack: ${error}`);
    }
  }
}
