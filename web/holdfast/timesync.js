/**
 * The tick line: when each tick's frame comes, learnt from the frames that did (`netcode/timesync.py` says why).
 *
 * A frame is never early: the least delayed one of the last two seconds tells the pace of the server's clock as this
 * client sees it. Four frames in a row that are later than two ticks and 50 ms mean that the server's time stood still;
 * they are believed at once. Times are seconds by one monotonic clock.
 */

const WINDOW_S = 1.0;
const STEP_TICKS = 2, STEP_S = 0.05;
const STEP_FRAMES = 4;
const ROUND_TRIPS = 8;
const JITTER_GAIN = 1 / 16;

/** The tick line of one room, and the round trip to its server. */
export class TickClock {
  /** The highest tick whose frame has come; -1: none has. */
  newest = -1;
  _previous = 0;
  _offset = Infinity;
  _low = Infinity;
  _lowBefore = Infinity;
  _windowFrom = 0;
  _lateFrames = 0;
  _lateLow = Infinity;

  /** @param {number} tickHz */
  constructor(tickHz) {
    this.tickHz = tickHz;
    /** Mean deviation of the frames' arrivals from their pace. */
    this.jitterMs = 0;
    this._periodS = 1 / tickHz;
    this._stepS = STEP_TICKS * this._periodS + STEP_S;
    this._window = Math.max(1, Math.round(WINDOW_S * tickHz));
    /** @type {number[]} */
    this._roundTrips = [];
  }

  /** Forget the line: another connection or another owner of the room has one of its own. */
  restart() {
    this.newest = -1;
    this._previous = 0;
    this._offset = Infinity;
    this._low = Infinity;
    this._lowBefore = Infinity;
    this._windowFrom = 0;
    this._lateFrames = 0;
    this._lateLow = Infinity;
  }

  /**
   * The frame of `tick` has come. Frames that others have overtaken say nothing and are left out.
   * @param {number} tick @param {number} now
   */
  frame(tick, now) {
    if (tick <= this.newest) return;
    const offset = now - tick * this._periodS;
    const offPace = Math.abs(offset - this._previous);
    if (this.newest < 0) this._windowFrom = tick;
    else if (offPace < this._stepS) this.jitterMs += (offPace * 1000 - this.jitterMs) * JITTER_GAIN;
    this.newest = tick;
    this._previous = offset;
    if (tick - this._windowFrom >= this._window) {
      this._windowFrom = tick;
      this._lowBefore = this._low;
      this._low = offset;
    } else if (offset < this._low) this._low = offset;
    if (offset - this._offset > this._stepS) this._late(offset);
    else this._lateFrames = 0;
    this._offset = Math.min(this._low, this._lowBefore);
  }

  /** When the frame of `tick` comes, at the least delay. A frame must have come before. @param {number} tick */
  arrivalOf(tick) {
    return this._offset + tick * this._periodS;
  }

  /** The tick whose frame comes now at the least delay. A frame must have come before. @param {number} now */
  tickAt(now) {
    return (now - this._offset) * this.tickHz;
  }

  /** The answer to a ping that left at `sentAt` is here. @param {number} sentAt @param {number} now */
  pong(sentAt, now) {
    if (now < sentAt) return;
    this._roundTrips.push(now - sentAt);
    if (this._roundTrips.length > ROUND_TRIPS) this._roundTrips.shift();
  }

  /** The best round trip of the last eight; null before the first. */
  get rttMs() {
    return this._roundTrips.length ? Math.min(...this._roundTrips) * 1000 : null;
  }

  /** @param {number} offset */
  _late(offset) {
    this._lateLow = this._lateFrames ? Math.min(this._lateLow, offset) : offset;
    this._lateFrames += 1;
    if (this._lateFrames >= STEP_FRAMES) {
      this._lateFrames = 0;
      this._low = this._lowBefore = this._lateLow;
      this._windowFrom = this.newest;
    }
  }
}
