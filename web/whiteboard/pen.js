/**
 * One's own pen: points gather while it is down, and go to the room a few times a second, as acts.
 *
 *     down ─► begin (colour, width, first points) ─► extend … ─► end       what the room has not taken yet is `waiting`
 *
 * What one has drawn shows at once; when the room has applied it, the room's stroke takes its place.
 */

import { SIDE, bytesOf } from "./board.js";

/** An act carries so many points at most (`game/whiteboard.py`). */
const ACT_POINTS_MAX = 256;
const FLUSH_MS = 40;
/** Points nearer to the last one than this (board units) tell nothing. */
const NEAR = 90;
/** A stroke takes 4096 points; a fresh one goes on where this one is full. */
const STROKE_POINTS = 3800;

/**
 * One's own stroke, as far as the room has not applied all of it. `seq`: its last act.
 * @typedef {{colour: string, width: number, points: number[], sent: number, begun: boolean, over: boolean, seq: number}} Own
 */

export class Pen {
  /** @param {() => import("../holdfast/room.js").ObjectRoom | null} room */
  constructor(room) {
    this._room = room;
    this.colour = "#1b222d";
    this.width = 6;
    /** Strokes that the room has not applied as a whole, oldest first. @type {Own[]} */
    this.own = [];
    /** @type {Own | null} */
    this._now = null;
    this._cursor = { at: 0, told: "" };
    setInterval(() => this._flush(), FLUSH_MS);
  }

  /** Whether the pen is down. */
  get down() {
    return this._now !== null;
  }

  /** @param {number} x @param {number} y board units */
  lower(x, y) {
    this._now = { colour: this.colour, width: this.width, points: [x, y], sent: 0, begun: false, over: false, seq: Infinity };
    this.own.push(this._now);
  }

  /** @param {number} x @param {number} y */
  move(x, y) {
    const stroke = this._now;
    if (!stroke) return;
    const [lastX, lastY] = stroke.points.slice(-2);
    if (Math.hypot(x - lastX, y - lastY) < NEAR) return;
    stroke.points.push(x, y);
    if (stroke.points.length / 2 >= STROKE_POINTS) {
      this.lift();
      this.lower(x, y);
    }
  }

  lift() {
    if (this._now) this._now.over = true;
    this._now = null;
    this._flush();
  }

  /** Tell where the pointer is, ten times a second at most. @param {number} x @param {number} y @param {number} nowMs */
  point(x, y, nowMs) {
    const told = `${x},${y}`;
    if (nowMs - this._cursor.at < 100 || told === this._cursor.told) return;
    const room = this._room();
    if (!room?.ready || room.unsettled > 64) return; // drawing goes first
    this._cursor = { at: nowMs, told };
    room.act(["cursor", x, y]);
  }

  undo() {
    this.lift();
    this._room()?.act(["undo"]);
  }

  clear() {
    this.lift();
    this._room()?.act(["clear"]);
  }

  /** The room has applied all acts up to `seq`. @param {number} seq */
  settled(seq) {
    this.own = this.own.filter((stroke) => stroke.seq > seq);
  }

  /** The room has no place for this: nobody sees it. */
  full() {
    if (this._now) this._now = null;
    this.own = [];
  }

  _flush() {
    const room = this._room();
    if (!room || room.ended) return;
    for (const stroke of this.own) {
      const count = stroke.points.length / 2;
      while (stroke.sent < count) {
        const upTo = Math.min(count, stroke.sent + ACT_POINTS_MAX);
        const xy = bytesOf(stroke.points.slice(stroke.sent * 2, upTo * 2));
        const act = stroke.begun ? ["extend", xy] : ["begin", stroke.colour, stroke.width, xy];
        if (!room.act(act)) return; // too much waits: later
        stroke.begun = true;
        stroke.sent = upTo;
      }
      if (stroke.over && stroke.seq === Infinity) stroke.seq = room.act(["end"]) || Infinity;
    }
  }
}

/** A place of the board from shares of its sides. @param {number} x @param {number} y 0..1 */
export function onBoard(x, y) {
  const whole = (/** @type {number} */ share) => Math.min(SIDE - 1, Math.max(0, Math.round(share * SIDE)));
  return [whole(x), whole(y)];
}
