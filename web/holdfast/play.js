/**
 * One seat in a room of rows, without I/O: inputs out at the room's pace, frames in, and what they tell
 * (`netcode/play.py`).
 *
 *     every input   packed ─► window ─► input packet                every frame   last_seq ─► window
 *                      └────► predictor                                              ├──────► clock, steering: when the next is due
 *                                                                                    └──────► predictor, interpolator
 */

import { ErrorCode, HoldfastError } from "./errors.js";
import { FrameDecoder } from "./frame.js";
import { InputShape, InputWindow } from "./inputs.js";
import { Interpolator, Playhead } from "./interpolate.js";
import { layoutOf } from "./delta.js";
import { Predictor } from "./predict.js";
import { Steering } from "./steering.js";
import { TickClock } from "./timesync.js";

/** For so long after a picture an input says that its player saw what was drawn, not what came last. */
const DRAWN_S = 0.25;

/** Inputs and frames of one seat. Times are seconds of the caller's monotonic clock. */
export class Play {
  /**
   * @param {any} seated the message
   * @param {import("./predict.js").Rules | null} rules own moves are predicted with them; null: nothing is predicted
   */
  constructor(seated, rules) {
    this.seat = /** @type {number} */ (seated.seat);
    this.tickHz = /** @type {number} */ (seated.tick_hz);
    this.layout = layoutOf(seated.view);
    this.shape = new InputShape(seated.inputs);
    this.stream = seated.stream;
    this.window = new InputWindow(seated.last_seq);
    this.frames = new FrameDecoder(this.layout, seated);
    /** @type {import("./frame.js").Frame | null} */
    this.newest = null;
    /** From input to acknowledging frame, the latest; null before the first. @type {number | null} */
    this.rttMs = null;
    this.clock = new TickClock(this.tickHz);
    this.steering = new Steering(this.clock, seated.last_seq);
    this.predictor = rules && new Predictor(rules, this.seat, this.tickHz);
    this.interpolator = new Interpolator(this.layout, this.tickHz);
    this._playhead = new Playhead(this.clock);
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

  /**
   * Take a frame; returns it when it is of this seat. Throws BadFrame.
   * @param {Uint8Array} data @param {number} now
   */
  receive(data, now) {
    const frame = this.frames.receive(data);
    if (!frame) return null;
    const settled = this.window.acknowledge(frame.lastSeq);
    if (settled) this.rttMs = (now - this.steering.madeAt(frame.lastSeq)) * 1000;
    const newest = this.newest;
    if (!newest || frame.tick > newest.tick || frame.epoch > newest.epoch) {
      if (newest && frame.epoch > newest.epoch) this._startAnew(frame.lastSeq);
      this.newest = frame;
      this.clock.frame(frame.tick, now);
      this.steering.frame(frame.tick, frame.lastSeq, frame.depth, now);
      this.predictor?.frame(frame, now);
    }
    this.interpolator.add(frame);
    return frame;
  }

  /**
   * What to draw now, by name of the room's shared columns, in their units: the others as they were a little ago,
   * oneself where the inputs made so far lead. `tick` is the moment that is drawn. Null before the first frame.
   * @param {number} now
   * @returns {{tick: number, columns: Record<string, number[]>} | null}
   */
  viewAt(now) {
    if (!this.newest) return null;
    const tick = this._playhead.at(now);
    const columns = this.interpolator.at(tick);
    this._drawn = { tick: Math.max(0, Math.round(tick)), at: now };
    for (const [name, value] of Object.entries(this.predictor?.drawn(now) ?? {})) columns[name][this.seat] = value;
    return { tick, columns };
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
    this.frames = new FrameDecoder(this.layout, seated);
    this.newest = null;
    this._startAnew(seated.last_seq);
  }

  /** @param {number} lastSeq */
  _startAnew(lastSeq) {
    this.clock.restart();
    this.steering.restart(lastSeq);
    this._playhead.restart();
    this._drawn = null;
    this.interpolator.clear();
    this.predictor?.restart(lastSeq);
  }
}
