/**
 * Small bright things that fly apart and fade: hits, deaths, births. For the eye alone; at most 400 at once.
 */

const MOST = 400;

export class Sparks {
  constructor() {
    /** @type {{x: number, y: number, vx: number, vy: number, born: number, lifeS: number, size: number, colour: string}[]} */
    this._all = [];
    /** @type {{x: number, y: number, born: number, lifeS: number, from: number, to: number, colour: string}[]} */
    this._rings = [];
  }

  /**
   * @param {number} x @param {number} y units @param {number} now seconds
   * @param {{count: number, speed: number, colour: string, size?: number, lifeS?: number}} how
   */
  burst(x, y, now, { count, speed, colour, size = 2.5, lifeS = 0.45 }) {
    for (let number = 0; number < count && this._all.length < MOST; number++) {
      const angle = Math.random() * 2 * Math.PI, fast = speed * (0.3 + 0.7 * Math.random());
      this._all.push({
        x, y, vx: Math.cos(angle) * fast, vy: Math.sin(angle) * fast, born: now,
        lifeS: lifeS * (0.6 + 0.4 * Math.random()), size: size * (0.6 + 0.8 * Math.random()), colour,
      });
    }
  }

  /** @param {number} x @param {number} y @param {number} now @param {{from: number, to: number, colour: string, lifeS?: number}} how */
  ring(x, y, now, { from, to, colour, lifeS = 0.5 }) {
    if (this._rings.length < MOST) this._rings.push({ x, y, born: now, lifeS, from, to, colour });
  }

  /** @param {CanvasRenderingContext2D} pen in units @param {number} now */
  draw(pen, now) {
    this._all = this._all.filter((each) => now - each.born < each.lifeS);
    this._rings = this._rings.filter((each) => now - each.born < each.lifeS);
    for (const { x, y, vx, vy, born, lifeS, size, colour } of this._all) {
      const age = now - born, left = 1 - age / lifeS, drag = (1 - Math.exp(-4 * age)) / 4;
      pen.globalAlpha = left;
      pen.fillStyle = colour;
      const side = size * (0.5 + left);
      pen.fillRect(x + vx * drag - side / 2, y + vy * drag - side / 2, side, side);
    }
    pen.lineWidth = 2;
    for (const { x, y, born, lifeS, from, to, colour } of this._rings) {
      const share = (now - born) / lifeS;
      pen.globalAlpha = 1 - share;
      pen.strokeStyle = colour;
      pen.beginPath();
      pen.arc(x, y, from + (to - from) * Math.sqrt(share), 0, 2 * Math.PI);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }
}
