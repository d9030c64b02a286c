/**
 * One seat in a room of rows, without I/O: inputs out at the room's pace, frames in, and what they tell
 * (`netcode/play.py`).
 *
 *     every input   packed ─► window ─► input packet                every frame   last_seq ─► window
 *                      └────► predictor                                              ├──────► clock, steering: when the next is due
 *                                                                                    └──────► predictor, interpolator
 */

import { ErrorCode, HoldfastError } from "./errors.js";
import { InputShape, InputWindow } from "./inputs.js";
import { Predictor } from "./predict.js";
import { Sight } from "./sight.js";
import { Steering } from "./steering.js";

/** For so long after a picture an input says that its player saw what was drawn, not what came last. */
const DRAWN_S = 0.25;

/** Inputs and frames of one seat. Times are seconds of the caller's monotonic clock. */
export class Play extends Sight {
  /**
   * @param {any} seated the message
   * @param {import("./predict.js").Rules | null} rules own moves are predicted with them; null: nothing is predicted
   */
  constructor(seated, rules) {
    super(seated);
    this.seat = /** @type {number} */ (seated.seat);
    this.shape = new InputShape(seated.inputs);
    this.stream = seated.stream;
    this.window = new InputWindow(seated.last_seq);
    /** From input to acknowledging frame, the latest; null before the first. @type {number | null} */
    this.rttMs = null;
    this.steering = new Steering(this.clock, seated.last_seq);
    this.predictor = rules && new Predictor(rules, this.seat, this.tickHz);
    /** @type {{tick: number, at: number} | null} */
    this._drawn = null;
    this._held = this.shape.neutral();
  }

  /** When the next input is to be made; -Infinity: at once. */
  get dueAt() {
    return this.steering.dueAt;
  }

  /** The input that is being repeated. */
  get held() {
    return { ...this._held };
  }

  /**
   * What the player wants from now on; fields that are not named stay as they are. Throws HoldfastError (BAD_OPTION).
   * @param {Record<string, number>} fields
   */
  want(fields) {
    this.shape.check(fields);
    if (Object.entries(fields).every(([name, value]) => this._held[name] === value)) return;
    Object.assign(this._held, fields);
    this.predictor?.want(this._held);
  }

  /** Add the held input to the window unless it is full; the packet carries all that is unacknowledged. @param {number} now */
  nextPacket(now) {
    if (!this.window.full) {
      const seq = this.window.add(this.shape.pack(this._held));
      this.steering.made(seq, now);
      this.predictor?.sent(seq, this._held, now);
    }
    return this.repeatPacket(now);
  }

  /** The packet that carries all that is unacknowledged, without a new input. @param {number} now */
  repeatPacket(now) {
    let seen = Math.max(this.frames.newestTick, 0);
    if (this._drawn && now - this._drawn.at < DRAWN_S) seen = Math.min(seen, this._drawn.tick);
    return this.window.packet(this.stream, this.frames.baseline, seen);
  }

  /** @param {import("./frame.js").Frame} frame @param {number} now */
  _took(frame, now) {
    this.steering.frame(frame.tick, frame.lastSeq, frame.depth, now);
    this.predictor?.frame(frame, now);
  }

  /**
   * Take a frame; returns it when it is of this seat. Throws BadFrame.
   * @param {Uint8Array} data @param {number} now
   */
  receive(data, now) {
    const frame = super.receive(data, now);
    if (frame && this.window.acknowledge(frame.lastSeq)) {
      this.rttMs = (now - this.steering.madeAt(frame.lastSeq)) * 1000;
    }
    return frame;
  }

  /**
   * What to draw now, by name of the room's shared columns, in their units: the others as they were a little ago,
   * oneself where the inputs made so far lead. `tick` is the moment that is drawn. Null before the first frame.
   * @param {number} now
   * @returns {{tick: number, columns: Record<string, number[]>} | null}
   */
  viewAt(now) {
    const view = super.viewAt(now);
    if (!view) return null;
    this._drawn = { tick: Math.max(0, Math.round(view.tick)), at: now };
    for (const [name, value] of Object.entries(this.predictor?.drawn(now) ?? {})) view.columns[name][this.seat] = value;
    return view;
  }

  /**
   * The same seat over another connection: settle what was applied in the meantime, repeat the rest.
   * @param {any} seated
   */
  resume(seated) {
    this.stream = seated.stream;
    if (seated.last_seq > this.window.newest) this.window = new InputWindow(seated.last_seq);
    this.window.acknowledge(seated.last_seq);
    if (this.shape.fields.length !== seated.inputs.length) {
      throw new HoldfastError(ErrorCode.BAD_MESSAGE, "the seat that was resumed takes other inputs");
    }
    super.resume(seated);
  }

  /** @param {number} lastSeq */
  _startAnew(lastSeq) {
    super._startAnew(lastSeq);
    this.steering.restart(lastSeq);
    this._drawn = null;
    this.predictor?.restart(lastSeq);
  }
}
