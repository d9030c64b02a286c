/**
 * Steering: when to make the next input, so that each arrives just before the tick that takes it
 * (`netcode/steering.py` draws it and says why).
 *
 * Each frame is one trial of `leadS`, the age that an input shall have in the frame that acknowledges it: had the input
 * of that age arrived? If not, a twelfth of a tick is added; if so, it shrinks by so little that in the long run one
 * input in 400 is late. The period of inputs is between 0.9 and 1.1 ticks, and doubles after a pause.
 */

import { QUEUED_MAX, UNACKED_MAX } from "./inputs.js";

const FASTEST = 0.9, SLOWEST = 1.1;
const FAR_TICKS = 3.0, HALVED = 2.0;
const LATE_SHARE = 1 / 400;
const STEP_TICKS = 1 / 12;
const STEP_MIN_S = 0.001;
const NEAR_TICKS = 1 / 8;
const DESCENT_TICKS = 1 / 10;
const OUTAGE = 12;

/** The input clock of one seat. Times are seconds of the caller's monotonic clock. */
export class Steering {
  /** The age that an input shall have in the frame that acknowledges it; null: nothing has arrived yet. @type {number | null} */
  leadS = null;
  /** @type {number | null} */
  _base = null;
  _queueFull = false;
  _inTime = 0; // in a row since the last late one
  _late = 0; // in a row
  _descending = true;
  _leastS = Infinity;

  /** @param {import("./timesync.js").TickClock} clock @param {number} lastSeq */
  constructor(clock, lastSeq) {
    this._clock = clock;
    this._periodS = 1 / clock.tickHz;
    this._nearS = NEAR_TICKS * this._periodS;
    this._stepS = Math.max(STEP_TICKS * this._periodS, STEP_MIN_S);
    this._newest = this._arrived = lastSeq;
    this._madeAt = new Array(UNACKED_MAX).fill(-Infinity);
  }

  /** Input `seq` was made and sent. @param {number} seq @param {number} now */
  made(seq, now) {
    this._newest = seq;
    this._madeAt[seq % UNACKED_MAX] = now;
  }

  /** When one of the last 32 inputs was made. @param {number} seq */
  madeAt(seq) {
    return this._madeAt[seq % UNACKED_MAX];
  }

  /**
   * A frame newer than all before; the clock has been told of it already.
   * @param {number} tick @param {number} lastSeq @param {number} depth @param {number} now
   */
  frame(tick, lastSeq, depth, now) {
    const arrival = this._clock.arrivalOf(tick);
    this._base = arrival - lastSeq * this._periodS;
    const arrived = lastSeq + depth;
    this._queueFull = depth >= QUEUED_MAX - 1;
    if (now - arrival > this._periodS || this._queueFull || this._newest - UNACKED_MAX >= arrived) {
      return; // the tick was late, or the queue could not take what arrived: that tells nothing of the path
    }
    const age = arrival - this.madeAt(arrived);
    const missingAge = arrived < this._newest
      ? arrival - this.madeAt(arrived + 1)
      : Math.min(age - this._periodS, 0); // the next is not even made; at its pace it would be this old
    const news = arrived > this._arrived;
    this._arrived = arrived;
    if (this.leadS === null) this.leadS = news && age < Infinity ? age : null;
    else if (missingAge > this.leadS - this._nearS) this._wasLate(this.leadS);
    else if (age < this.leadS + this._nearS) this._wasInTime(this.leadS, age);
  }

  /** Seconds from the newest input to the next. */
  get periodS() {
    if (this._queueFull) return HALVED * this._periodS;
    const madeAt = this.madeAt(this._newest);
    if (this._base === null || this.leadS === null || madeAt === -Infinity) return this._periodS;
    const ticks = (this._base + (this._newest + 1) * this._periodS - this.leadS - madeAt) / this._periodS;
    if (ticks > 1 + FAR_TICKS) return HALVED * this._periodS;
    return Math.min(Math.max(ticks, FASTEST), SLOWEST) * this._periodS;
  }

  /** When the next input is to be made; -Infinity: at once. */
  get dueAt() {
    return this.madeAt(this._newest) + this.periodS;
  }

  /** Another connection or owner of the room: keep when inputs were made, learn the path anew. @param {number} lastSeq */
  restart(lastSeq) {
    this._newest = Math.max(this._newest, lastSeq);
    this._learnAnew();
  }

  _learnAnew() {
    this.leadS = this._base = null;
    this._queueFull = false;
    this._inTime = this._late = 0;
    this._descending = true;
    this._leastS = Infinity;
  }

  /** @param {number} leadS */
  _wasLate(leadS) {
    this._inTime = 0;
    this._late += 1;
    if (this._late >= OUTAGE) this._learnAnew();
    else if (this._descending) {
      this._descending = false;
      this.leadS = Math.max(leadS, Math.min(this._leastS, leadS + 3 * this._stepS));
    } else this.leadS = leadS + this._stepS * (1 - LATE_SHARE);
  }

  /** @param {number} leadS @param {number} age */
  _wasInTime(leadS, age) {
    this._late = 0;
    this._inTime += 1;
    if (this._descending) {
      this._leastS = Math.min(this._leastS, age);
      this.leadS = Math.max(0, this._leastS - DESCENT_TICKS * this._periodS);
    } else {
      const calm = Math.max(1, this._inTime * LATE_SHARE); // calmer than it should be: shrink faster and faster
      this.leadS = Math.max(0, leadS - this._stepS * LATE_SHARE * calm * calm);
    }
  }
}
