/**
 * What frames show of a room, without I/O: frames in, a view for each picture out. `Play` adds a seat to it.
 */

import { FrameDecoder } from "./frame.js";
import { Interpolator, Playhead } from "./interpolate.js";
import { TickClock } from "./timesync.js";
import { layoutOf } from "./delta.js";

/** Times are seconds of the caller's monotonic clock. */
export class Sight {
  /** @param {any} told the message that the frames follow: `seated` or `watching` @param {number} [every] ticks from frame to frame */
  constructor(told, every = 1) {
    this.tickHz = /** @type {number} */ (told.tick_hz);
    this.layout = layoutOf(told.view);
    this.frames = new FrameDecoder(this.layout, told);
    /** @type {import("./frame.js").Frame | null} */
    this.newest = null;
    this.clock = new TickClock(this.tickHz);
    this.interpolator = new Interpolator(this.layout, this.tickHz);
    this._playhead = new Playhead(this.clock, every);
  }

  /**
   * Take a frame; returns it when it is of this room. Throws BadFrame.
   * @param {Uint8Array} data @param {number} now
   */
  receive(data, now) {
    const frame = this.frames.receive(data);
    if (!frame) return null;
    const newest = this.newest;
    if (!newest || frame.tick > newest.tick || frame.epoch > newest.epoch) {
      if (newest && frame.epoch > newest.epoch) this._startAnew(frame.lastSeq);
      this.newest = frame;
      this.clock.frame(frame.tick, now);
      this._took(frame, now);
    }
    this.interpolator.add(frame);
    return frame;
  }

  /**
   * What to draw now, by name of the room's shared columns, in their units: all as they were a little ago. `tick` is the
   * moment that is drawn. Null before the first frame.
   * @param {number} now
   * @returns {{tick: number, columns: Record<string, number[]>} | null}
   */
  viewAt(now) {
    if (!this.newest) return null;
    const tick = this._playhead.at(now);
    return { tick, columns: this.interpolator.at(tick) };
  }

  /** The same room over another connection. @param {any} told */
  resume(told) {
    this.frames = new FrameDecoder(this.layout, told);
    this.newest = null;
    this._startAnew(told.last_seq ?? 0);
  }

  /** A frame is the newest now. @param {import("./frame.js").Frame} _frame @param {number} _now */
  _took(_frame, _now) {}

  /** @param {number} _lastSeq */
  _startAnew(_lastSeq) {
    this.clock.restart();
    this._playhead.restart();
    this.interpolator.clear();
  }
}
