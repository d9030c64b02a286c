/**
 * The board as this page has it, without a screen: the view that came whole, and the events after it
 * (`game/whiteboard.py` lists them).
 */

/** The board is so many units wide and high, whatever the screen. */
export const SIDE = 65536;

/**
 * @typedef {{id: number, seat: number, colour: string, width: number, points: number[]}} Stroke `points`: x, y, x, y …
 */

export class Board {
  constructor() {
    /** Oldest first. @type {Map<number, Stroke>} */
    this.strokes = new Map();
    /** Where people's pointers are, by seat. @type {Map<number, [number, number]>} */
    this.cursors = new Map();
  }

  /** The whole view. @param {any} view */
  load(view) {
    this.strokes = new Map(view.strokes.map((/** @type {any[]} */ [id, seat, colour, width, xy]) =>
      [id, { id, seat, colour, width, points: pointsOf(xy) }]));
    this.cursors = new Map(Object.entries(view.cursors).map(([seat, at]) => [Number(seat), at]));
  }

  /**
   * What an event changes: a stroke that got longer (`stroke`, from its point `from` on), or more than that (`anew`).
   * @param {string} kind @param {any[]} data
   * @returns {{stroke?: Stroke, from?: number, anew?: boolean}}
   */
  apply(kind, data) {
    switch (kind) {
      case "begin": {
        const [id, seat, colour, width, xy] = data, stroke = { id, seat, colour, width, points: pointsOf(xy) };
        this.strokes.set(id, stroke);
        return { stroke, from: 0 };
      }
      case "extend": {
        const stroke = this.strokes.get(data[0]);
        if (!stroke) return {};
        const from = stroke.points.length / 2 - 1;
        stroke.points.push(...pointsOf(data[1]));
        return { stroke, from };
      }
      case "undo":
        return { anew: this.strokes.delete(data[0]) };
      case "drop":
        for (const id of data[0]) this.strokes.delete(id);
        return { anew: true };
      case "clear":
        this.strokes.clear();
        return { anew: true };
      case "cursor":
        this.cursors.set(data[0], [data[1], data[2]]);
        return {};
      case "away":
        this.cursors.delete(data[0]);
        for (const stroke of this.strokes.values()) if (stroke.seat === data[0]) stroke.seat = -1;
        return {};
      default:
        return {};
    }
  }
}

/** @param {Uint8Array} xy little-endian u16 each @returns {number[]} */
export function pointsOf(xy) {
  const view = new DataView(xy.buffer, xy.byteOffset, xy.byteLength), points = [];
  for (let at = 0; at + 2 <= xy.length; at += 2) points.push(view.getUint16(at, true));
  return points;
}

/** @param {number[]} points x, y, x, y … whole numbers in 0..65535 */
export function bytesOf(points) {
  const bytes = new Uint8Array(points.length * 2), view = new DataView(bytes.buffer);
  points.forEach((value, at) => view.setUint16(at * 2, value, true));
  return bytes;
}
