/**
 * The picture, sixty times a second: ground, items, shots, players, names; and the small map.
 *
 * Everything is drawn in the arena's units; the map is one image that was painted before (`ground.js`), and nothing here
 * makes objects that live on.
 */

import { CHARGES, HEALTH, TILE_UNITS } from "./maps.js";
import { DEAD, EMPTY, PROTECTED } from "./rules.js";
import { paintGround } from "./ground.js";

const BODY = 12;
/** Units of the map along the geometric mean of the screen's sides. */
const SEEN_UNITS = 620;
const SEEN_UNITS_SMALL = 430;
const DPR_MAX = 2;
/** So much of what lies beyond the map is seen at most, units. */
const BEYOND = 40;
const TURN = 65536;

/**
 * What is to be drawn.
 * @typedef {object} Scene
 * @property {Record<string, number[]>} columns as `viewAt` gives them, places in 256ths of a unit
 * @property {number} tick
 * @property {(shot: import("./shots.js").Shot) => number} tickOf the moment at which a shot is drawn
 * @property {number} me the own seat; -1: none
 * @property {number} aim 16-bit turns
 * @property {number} now seconds
 * @property {string[]} names
 * @property {number[]} flash by seat, when somebody was hurt, seconds
 */

export class Painter {
  /** @param {HTMLCanvasElement} canvas @param {HTMLCanvasElement} minimap */
  constructor(canvas, minimap) {
    this._canvas = canvas;
    this._minimap = minimap;
    this._pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    this._small = /** @type {CanvasRenderingContext2D} */ (minimap.getContext("2d", { alpha: false }));
    /** @type {import("./maps.js").Walls | null} */
    this._walls = null;
    /** @type {HTMLCanvasElement | null} */
    this._ground = null;
    this._scale = 1;
    this._dpr = 1;
    this.colours = readColours();
    /** Where the middle of the screen is, units. */
    this.x = 0;
    this.y = 0;
    this._shake = 0;
  }

  /** Another map, another size of the window, another theme. @param {import("./maps.js").Walls} [walls] */
  fit(walls) {
    this._walls = walls ?? this._walls;
    this.colours = readColours();
    this._dpr = Math.min(devicePixelRatio || 1, DPR_MAX);
    const { clientWidth: width, clientHeight: height } = this._canvas;
    this._canvas.width = Math.max(1, Math.round(width * this._dpr));
    this._canvas.height = Math.max(1, Math.round(height * this._dpr));
    const seen = Math.min(width, height) < 520 ? SEEN_UNITS_SMALL : SEEN_UNITS;
    this._scale = Math.sqrt(this._canvas.width * this._canvas.height) / seen;
    if (!this._walls) return;
    this._ground = paintGround(this._walls, this._scale, this.colours);
    this._paintMinimap();
  }

  /** Look here, units, as far as there is something to see. @param {number} x @param {number} y */
  lookAt(x, y) {
    const side = (this._walls?.width ?? 0) * TILE_UNITS;
    const within = (/** @type {number} */ value, /** @type {number} */ pixels) => {
      const half = pixels / this._scale / 2 - BEYOND;
      return half * 2 > side ? side / 2 : Math.min(Math.max(value, half), side - half);
    };
    this.x = within(x, this._canvas.width);
    this.y = within(y, this._canvas.height);
  }

  /** The map alone, as a background. */
  drawGround() {
    const { width, height } = this._canvas, side = (this._walls?.width ?? 0) * TILE_UNITS;
    this.lookAt(side * 0.36, side * 0.4);
    this._pen.setTransform(1, 0, 0, 1, 0, 0);
    this._copyGround(this.x - width / 2 / this._scale, this.y - height / 2 / this._scale);
  }

  /** A place on the screen (CSS pixels) as a place on the map. @param {number} x @param {number} y */
  toUnits(x, y) {
    return {
      x: this.x + (x * this._dpr - this._canvas.width / 2) / this._scale,
      y: this.y + (y * this._dpr - this._canvas.height / 2) / this._scale,
    };
  }

  /** Shake a little, as when hit. @param {number} much units */
  shake(much) {
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this._shake = Math.min(8, this._shake + much);
  }

  /** @param {Scene} scene @param {import("./shots.js").Shots} shots @param {import("./sparks.js").Sparks} sparks */
  draw(scene, shots, sparks) {
    const pen = this._pen, { width, height } = this._canvas, scale = this._scale;
    this._shake *= 0.86;
    const left = this.x - width / 2 / scale + (Math.random() - 0.5) * this._shake;
    const top = this.y - height / 2 / scale + (Math.random() - 0.5) * this._shake;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = this.colours.wallSide;
    pen.fillRect(0, 0, width, height);
    if (this._ground) this._copyGround(left, top);
    pen.setTransform(scale, 0, 0, scale, -left * scale, -top * scale);
    this._drawItems(scene);
    this._drawShots(scene, shots);
    const { x, y, state } = scene.columns;
    const near = (/** @type {number} */ seat) =>
      Math.abs(x[seat] / 256 - this.x) < width / scale / 2 + 40 && Math.abs(y[seat] / 256 - this.y) < height / scale / 2 + 40;
    for (let seat = 0; seat < state.length; seat++) {
      if (state[seat] !== EMPTY && state[seat] !== DEAD && seat !== scene.me && near(seat)) this._drawPlayer(scene, seat);
    }
    if (scene.me >= 0 && state[scene.me] !== EMPTY && state[scene.me] !== DEAD) this._drawPlayer(scene, scene.me);
    sparks.draw(pen, scene.now);
    this._drawNames(scene, near);
  }

  /** @param {Scene} scene @param {number} eye the seat that stands out */
  drawMinimap(scene, eye) {
    const pen = this._small, walls = this._walls;
    if (!walls || !this._mapImage) return;
    const side = this._minimap.width, units = walls.width * TILE_UNITS, k = side / units;
    pen.drawImage(this._mapImage, 0, 0);
    const { x, y, state } = scene.columns;
    for (let seat = 0; seat < state.length; seat++) {
      if (state[seat] === EMPTY || state[seat] === DEAD) continue;
      const dot = seat === eye ? 9 : 6;
      pen.fillStyle = this.colourOf(scene, seat);
      if (seat === eye) {
        pen.fillStyle = this.colours.ink;
        pen.fillRect((x[seat] / 256) * k - dot / 2 - 1.5, (y[seat] / 256) * k - dot / 2 - 1.5, dot + 3, dot + 3);
        pen.fillStyle = seat === scene.me ? this.colours.self : this.colourOf(scene, seat);
      }
      pen.fillRect((x[seat] / 256) * k - dot / 2, (y[seat] / 256) * k - dot / 2, dot, dot);
    }
  }

  /** @param {{columns: Record<string, number[]>, me: number}} scene @param {number} seat */
  colourOf({ columns, me }, seat) {
    const team = columns.team?.[seat] ?? 0;
    if (team) return this.colours.teams[team - 1];
    return seat === me ? this.colours.self : this.colours.seats[seat % this.colours.seats.length];
  }

  /** @param {number} left @param {number} top units */
  _copyGround(left, top) {
    const ground = /** @type {HTMLCanvasElement} */ (this._ground), { width, height } = this._canvas;
    const fromX = Math.round(left * this._scale), fromY = Math.round(top * this._scale);
    const x = Math.max(0, fromX), y = Math.max(0, fromY);
    const right = Math.min(ground.width, fromX + width), bottom = Math.min(ground.height, fromY + height);
    if (right > x && bottom > y) {
      this._pen.drawImage(ground, x, y, right - x, bottom - y, x - fromX, y - fromY, right - x, bottom - y);
    }
  }

  /** @param {Scene} scene */
  _drawItems({ columns, now }) {
    const pen = this._pen, walls = this._walls, { colours } = this;
    walls?.items.forEach(({ kind, tile }, number) => {
      const x = (tile % walls.width + 0.5) * TILE_UNITS, y = (Math.floor(tile / walls.width) + 0.5) * TILE_UNITS;
      const there = (columns.pickups[0] >> number) & 1, colour = kind === HEALTH ? colours.good : kind === CHARGES ? colours.rail : colours.shield;
      pen.strokeStyle = colour;
      pen.fillStyle = colour;
      pen.globalAlpha = there ? 0.9 : 0.22;
      pen.lineWidth = 1.5;
      pen.beginPath();
      pen.arc(x, y, 11, 0, 2 * Math.PI);
      pen.stroke();
      if (there) {
        const size = 5.5 + Math.sin(now * 4 + number) * 0.7;
        if (kind === HEALTH) {
          pen.fillRect(x - size, y - 2, 2 * size, 4);
          pen.fillRect(x - 2, y - size, 4, 2 * size);
        } else {
          pen.beginPath();
          const corners = kind === CHARGES ? [[1.5, -7], [-5, 1], [-1, 1], [-1.5, 7], [5, -1], [1, -1]] : [[0, -7], [6, -4], [5, 3], [0, 7], [-5, 3], [-6, -4]];
          for (const [dx, dy] of corners) pen.lineTo(x + (dx * size) / 6, y + (dy * size) / 6);
          pen.closePath();
          pen.fill();
        }
      }
    });
    pen.globalAlpha = 1;
  }

  /** @param {Scene} scene @param {import("./shots.js").Shots} shots */
  _drawShots(scene, shots) {
    const pen = this._pen;
    pen.lineCap = "round";
    for (const shot of shots.all) {
      const tick = scene.tickOf(shot), angle = (shot.angle / TURN) * 2 * Math.PI, cos = Math.cos(angle), sin = Math.sin(angle);
      const colour = this.colourOf(scene, shot.seat), glow = shots.glow(shot, tick);
      if (glow > 0) {
        const beam = (/** @type {number} */ wide, /** @type {number} */ alpha, ink = this.colours.rail) => {
          pen.globalAlpha = alpha * glow;
          this._line(shot, cos, sin, BODY, shot.reach, wide * (0.4 + 0.6 * glow), ink);
        };
        beam(9, 0.25);
        beam(3.5, 0.9);
        beam(1.4, 1, "#fff");
        continue;
      }
      const flown = shot.rail ? null : shots.flown(shot, tick);
      if (flown === null) continue;
      const tail = Math.max(0, flown - 26), x = shot.x + cos * flown, y = shot.y + sin * flown;
      pen.globalAlpha = 0.45;
      this._line(shot, cos, sin, tail, flown, 4, colour);
      pen.globalAlpha = 1;
      pen.fillStyle = this.colours.bolt;
      pen.beginPath();
      pen.arc(x, y, 3.2, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  /**
   * A line that leaves (x, y) in a direction, between two distances.
   * @param {{x: number, y: number}} at @param {number} cos @param {number} sin @param {number} from @param {number} to
   * @param {number} wide @param {string} ink
   */
  _line({ x, y }, cos, sin, from, to, wide, ink) {
    const pen = this._pen;
    pen.strokeStyle = ink;
    pen.lineWidth = wide;
    pen.beginPath();
    pen.moveTo(x + cos * from, y + sin * from);
    pen.lineTo(x + cos * to, y + sin * to);
    pen.stroke();
  }

  /** @param {Scene} scene @param {number} seat */
  _drawPlayer(scene, seat) {
    const pen = this._pen, { columns, me, now, aim } = scene, { colours } = this;
    const x = columns.x[seat] / 256, y = columns.y[seat] / 256, mine = seat === me;
    const angle = ((mine ? aim : columns.facing[seat]) / TURN) * 2 * Math.PI;
    const colour = this.colourOf(scene, seat), hurt = now - (scene.flash[seat] ?? -9) < 0.09;
    pen.globalAlpha = 0.3;
    pen.fillStyle = "#000";
    pen.beginPath();
    pen.ellipse(x, y + 5, BODY, BODY * 0.8, 0, 0, 2 * Math.PI);
    pen.fill();
    pen.globalAlpha = 1;
    this._drawHealth(x, y, columns.hp[seat], mine);
    const cos = Math.cos(angle), sin = Math.sin(angle);
    pen.lineCap = "round";
    this._line({ x, y }, cos, sin, 6, 19, 9.5, colours.halo);
    this._line({ x, y }, cos, sin, 6, 19, 5.5, mine ? colours.ink : colour);
    pen.fillStyle = hurt ? "#fff" : colour;
    pen.strokeStyle = colours.halo;
    pen.lineWidth = 2.2;
    pen.beginPath();
    pen.arc(x, y, BODY, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
    pen.fillStyle = colours.halo;
    pen.globalAlpha = 0.75;
    pen.beginPath();
    pen.arc(x + cos * 3.5, y + sin * 3.5, 4.6, 0, 2 * Math.PI);
    pen.fill();
    pen.globalAlpha = 1;
    if (columns.state[seat] === PROTECTED) {
      pen.strokeStyle = colours.ink;
      pen.lineWidth = 1.6;
      pen.setLineDash([7, 6]);
      pen.lineDashOffset = -now * 24;
      pen.beginPath();
      pen.arc(x, y, 22, 0, 2 * Math.PI);
      pen.stroke();
      pen.setLineDash([]);
    }
  }

  /** An arc below a player: health, and the shield outside of it. @param {number} x @param {number} y @param {number} hp @param {boolean} mine */
  _drawHealth(x, y, hp, mine) {
    const pen = this._pen, { colours } = this;
    const arc = (/** @type {number} */ share, /** @type {number} */ radius, /** @type {string} */ ink, /** @type {number} */ wide) => {
      pen.strokeStyle = ink;
      pen.lineWidth = wide;
      pen.beginPath();
      pen.arc(x, y, radius, Math.PI * 0.85, Math.PI * (0.85 - 0.7 * share), true);
      pen.stroke();
    };
    pen.lineCap = "butt";
    arc(1, 18, colours.halo, 5);
    arc(Math.min(hp, 100) / 100, 18, hp > 40 ? colours.good : hp > 20 ? colours.warn : colours.bad, mine ? 3.4 : 2.6);
    if (hp > 100) arc((hp - 100) / 50, 22, colours.shield, 2.4);
  }

  /** @param {Scene} scene @param {(seat: number) => boolean} near */
  _drawNames({ columns, names, me }, near) {
    const pen = this._pen, { colours } = this;
    pen.font = `600 ${Math.max(9.5, (11.5 * this._dpr) / this._scale)}px ${colours.sans}`;
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    pen.lineJoin = "round";
    pen.lineWidth = 3.2;
    pen.strokeStyle = colours.halo;
    for (let seat = 0; seat < columns.state.length; seat++) {
      if (seat === me || columns.state[seat] === EMPTY || columns.state[seat] === DEAD || !near(seat)) continue;
      const x = columns.x[seat] / 256, y = columns.y[seat] / 256 - 24;
      pen.strokeText(names[seat], x, y);
      pen.fillStyle = colours.ink;
      pen.fillText(names[seat], x, y);
    }
  }

  _paintMinimap() {
    const walls = this._walls, side = this._minimap.width;
    if (!walls) return;
    const image = document.createElement("canvas");
    image.width = image.height = side;
    const pen = /** @type {CanvasRenderingContext2D} */ (image.getContext("2d", { alpha: false })), k = side / walls.width;
    pen.fillStyle = this.colours.floor;
    pen.fillRect(0, 0, side, side);
    pen.fillStyle = this.colours.wallEdge;
    walls.solid.forEach((solid, tile) => {
      if (solid) pen.fillRect(Math.floor((tile % walls.width) * k), Math.floor(Math.floor(tile / walls.width) * k), Math.ceil(k), Math.ceil(k));
    });
    this._mapImage = image;
  }
}

/** The colours of the theme, for a canvas. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const read = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const light = document.documentElement.dataset.theme === "light";
  const hues = [8, 42, 210, 280, 330, 95, 24, 190, 255, 60, 310, 130, 0, 225, 290, 75];
  return {
    floor: read("--floor"), floorMark: read("--floor-mark"), wall: read("--wall"), wallSide: read("--wall-side"),
    wallEdge: read("--wall-edge"), ink: read("--ink"), halo: read("--halo"), self: read("--self"), good: read("--good"),
    warn: read("--warn"), bad: read("--bad"), shield: read("--shield"), rail: read("--rail"), accent: read("--accent"),
    sans: read("--sans"), bolt: light ? "#3a1d00" : "#fff7e0",
    seats: hues.map((hue, at) => `hsl(${hue} ${light ? "62%" : "78%"} ${(light ? 40 : 64) + (at % 2 ? 4 : -2)}%)`),
    teams: light ? ["#b3261a", "#0b62b8", "#1c7a3b", "#8a5a00"] : ["#ff8579", "#79bbff", "#6fdc8c", "#ffcf5c"],
  };
}
