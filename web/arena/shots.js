/**
 * Shots as a screen has them: born where frames show their shooter, drawn where their age says, gone when frames say.
 *
 *     frame: shot 0 ─► 57.. (born at its tick) ─► 57.. ─► 0 (ended at that tick: it hit something, or is too old)
 *
 * The moment that is drawn lies behind the newest frame, so the end of a shot is known before it is drawn.
 */

import { ageOf, ballisticsAt, shotOf, wallAhead } from "./rules.js";

const UNITS_S = 900;
const QUARTERS = 4;
/** What has ended is forgotten after so long: nobody draws so far back. */
const KEPT_S = 0.6;

/**
 * `x`, `y`: where it starts, units; `reach`: how far the walls let it, units; ticks of its birth and end.
 * @typedef {{seat: number, stamp: number, rail: boolean, angle: number, x: number, y: number, reach: number,
 *   born: number, ended: number, sparked: boolean}} Shot
 */

export class Shots {
  /** @param {import("./maps.js").Walls} walls @param {number} tickHz */
  constructor(walls, tickHz) {
    this._walls = walls;
    this._ballistics = ballisticsAt(tickHz);
    /** @type {Shot[]} */
    this.all = [];
  }

  /** Another owner of the room, or a new connection: what flies is told anew. */
  clear() {
    this.all.length = 0;
  }

  /**
   * What a frame says; returns the shots that it tells of for the first time.
   * @param {import("../holdfast/frame.js").Frame} frame
   * @returns {Shot[]}
   */
  frame(frame) {
    const { tickHz, lifeTicks, beamTicks } = this._ballistics, tick = frame.tick;
    const words = frame.values("shot"), xs = frame.values("x"), ys = frame.values("y");
    /** @type {Shot[]} */
    const fresh = [];
    for (const shot of this.all) {
      if (shot.ended === Infinity && shotOf(words[shot.seat]).stamp !== shot.stamp && tick > shot.born) shot.ended = tick;
    }
    words.forEach((word, seat) => {
      if (!word) return;
      const { stamp, rail, angle } = shotOf(word);
      const age = ageOf(stamp, tick), born = tick - age;
      if (this.all.some((each) => each.seat === seat && each.born === born)) return;
      // (A frame of a later tick than its birth's shows the shooter a step on: near enough for the eye.)
      const x = Math.round(xs[seat]), y = Math.round(ys[seat]);
      const far = rail ? Infinity : (UNITS_S * QUARTERS * lifeTicks) / tickHz;
      const reach = wallAhead(this._walls, x, y, angle, Math.min(far, this._walls.width * 32 * QUARTERS * 1.5)) / QUARTERS;
      const shot = { seat, stamp, rail, angle, x: x / 256, y: y / 256, reach, born, ended: Infinity, sparked: false };
      if (rail) shot.ended = born + beamTicks;
      this.all.push(shot);
      fresh.push(shot);
    });
    this.all = this.all.filter((shot) => tick - Math.min(shot.ended, shot.born + lifeTicks) < KEPT_S * tickHz);
    return fresh;
  }

  /**
   * How far a shot has flown at this moment, units; null when it is not in the air.
   * @param {Shot} shot @param {number} tick
   */
  flown(shot, tick) {
    const age = tick - shot.born, { tickHz, lifeTicks } = this._ballistics;
    if (age < 0 || tick >= shot.ended || age > lifeTicks) return null;
    const flown = (UNITS_S * age) / tickHz;
    return flown > shot.reach ? null : flown;
  }

  /**
   * The shots that have ended by this moment and have not been drawn so yet, with how far they came.
   * @param {(shot: Shot) => number} tickOf
   */
  *landed(tickOf) {
    const { tickHz, lifeTicks } = this._ballistics;
    for (const shot of this.all) {
      const tick = tickOf(shot), wall = shot.born + (shot.reach / UNITS_S) * tickHz;
      if (shot.sparked || tick < Math.min(shot.rail ? shot.born : shot.ended, wall)) continue;
      shot.sparked = true;
      const early = Math.min(shot.ended, wall);
      if (shot.rail) yield { shot, flown: shot.reach };
      else if (early < shot.born + lifeTicks) yield { shot, flown: Math.min(shot.reach, ((early - shot.born) * UNITS_S) / tickHz) };
    }
  }

  /** How much of a beam is left to be seen, 0..1. @param {Shot} shot @param {number} tick */
  glow(shot, tick) {
    const age = tick - shot.born;
    return shot.rail && age >= 0 ? Math.max(0, 1 - age / this._ballistics.beamTicks) : 0;
  }
}
