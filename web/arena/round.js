/**
 * One seat on the screen, from taking it to leaving it: every picture asks the controls, tells the room what is wanted,
 * and draws what the room shows. `Watch` is the same without a seat.
 */

import { ALIVE, DEAD, EMPTY, PROTECTED, wallAhead } from "./rules.js";
import { angleOf } from "../holdfast/fixed.js";
import { MAPS } from "./maps.js";
import { Shots } from "./shots.js";
import { Sparks } from "./sparks.js";

/** The camera looks so far ahead of the one who aims, units. */
const AHEAD = 46;
const SLOW_MS = 100;
/** Frames over which lost ones are counted. */
const COUNTED = 300;

/**
 * @typedef {{painter: import("./draw.js").Painter, hud: import("./hud.js").Hud, sound: {play(name: string, far?: number): void},
 *   controls: import("./controls.js").Controls}} Desk what a round is played with
 */

export class Round {
  /** @param {import("../holdfast/client.js").Client} client @param {import("../holdfast/room.js").RowRoom} room @param {Desk} desk */
  constructor(client, room, desk) {
    this.client = client;
    this.room = room;
    this._desk = desk;
    this.walls = MAPS[room.options.map ?? 0];
    this._shots = new Shots(this.walls, room.tickHz);
    this._sparks = new Sparks();
    /** What the last picture showed. @type {{tick: number, columns: Record<string, number[]>} | null} */
    this.view = null;
    /** @type {number[]} */
    this._flash = new Array(room.seats).fill(-9);
    this._killer = "";
    this._winner = "";
    this._drawnAt = 0;
    this._slowAt = 0;
    this._bytes = { at: performance.now(), in: 0, kbIn: 0 };
    this._epoch = room.epoch;
    this._arrived = { tick: -1, come: 0, lost: 0 };
    desk.painter.fit(this.walls);
    this._ends = [
      room.on("frame", (frame) => this._frame(frame)),
      room.on("event", (event) => this._event(event)),
    ];
    this._hide = () => document.hidden && this._letGo(); // (a hidden page draws no pictures, which ask the controls)
    document.addEventListener("visibilitychange", this._hide);
    this._request = requestAnimationFrame((at) => this._picture(at));
  }

  /** Nothing more is drawn. */
  close() {
    cancelAnimationFrame(this._request);
    document.removeEventListener("visibilitychange", this._hide);
    for (const end of this._ends) end();
  }

  /** Hands off the keys. */
  _letGo() {
    if (!this.room.ended) this.room.want({ move_x: 0, move_y: 0, buttons: 0 });
  }

  /** What a seat is called. @param {number} seat */
  nameOf(seat) {
    const name = this.room.roster[seat];
    if (name) return name;
    return this.view?.columns.filler?.[seat] ? `Bot ${seat + 1}` : `Guest ${seat + 1}`;
  }

  /** Where one stands, units; null before there is a picture, or when dead. */
  from() {
    const columns = this.view?.columns, me = this.room.seat;
    if (!columns || columns.state[me] === EMPTY || columns.state[me] === DEAD) return null;
    return { x: columns.x[me] / 256, y: columns.y[me] / 256 };
  }

  /** The foe that is nearest, units; those behind a wall come last. */
  nearestFoe() {
    const from = this.from(), columns = this.view?.columns, me = this.room.seat;
    if (!from || !columns) return null;
    let best = null, least = Infinity;
    columns.state.forEach((state, seat) => {
      const mate = columns.team && columns.team[seat] === columns.team[me];
      if (seat === me || mate || (state !== ALIVE && state !== PROTECTED)) return;
      const x = columns.x[seat] / 256, y = columns.y[seat] / 256, away = Math.hypot(x - from.x, y - from.y);
      const free = wallAhead(this.walls, from.x * 256, from.y * 256, angleOf(x - from.x, y - from.y), away * 4);
      const far = away + (free < away * 4 - 64 ? 10_000 : 0);
      if (far < least) [best, least] = [{ x, y }, far];
    });
    return best;
  }

  /** @param {number} at milliseconds, when this picture will be shown */
  _picture(at) {
    this._request = requestAnimationFrame((next) => this._picture(next));
    const { painter, hud, controls } = this._desk, room = this.room, now = performance.now() / 1000;
    const spentMs = this._drawnAt ? at - this._drawnAt : 16.7;
    this._drawnAt = at;
    hud.paced(spentMs);
    const aim = this._act(spentMs / 1000);
    const before = this.view, view = room.viewAt();
    if (!view) return; // the picture stands until the first frame of a new connection
    this.view = view;
    this._changes(before, view, now);
    const scene = {
      columns: view.columns, tick: view.tick, me: room.seat, aim, now, flash: this._flash,
      names: view.columns.state.map((_, seat) => this.nameOf(seat)),
      // One's own shots are drawn as soon as a frame tells of them, others' at the moment that the others are.
      tickOf: (/** @type {import("./shots.js").Shot} */ shot) =>
        shot.seat === room.seat ? room.play.clock.tickAt(now) : view.tick,
    };
    for (const { shot, flown } of this._shots.landed(scene.tickOf)) {
      const angle = (shot.angle / 65536) * 2 * Math.PI;
      const x = shot.x + Math.cos(angle) * flown, y = shot.y + Math.sin(angle) * flown;
      this._sparks.burst(x, y, now, { count: shot.rail ? 14 : 8, speed: 130, colour: shot.rail ? painter.colours.rail : painter.colours.accent });
      this._desk.sound.play("hit", Math.hypot(x - painter.x, y - painter.y));
    }
    this._look(scene, before === null, spentMs / 1000);
    painter.draw(scene, this._shots, this._sparks);
    if (controls.touched) this._drawSticks();
    this._tell(scene);
  }

  /** Tell the room what the hands want; where they aim. @param {number} spentS */
  _act(spentS) {
    const { controls } = this._desk, wanted = controls.wanted(spentS);
    if (!controls.active) this._letGo();
    else if (!this.room.ended) this.room.want(wanted);
    return wanted.aim;
  }

  /** Whom the camera follows. @param {Record<string, number[]>} _columns */
  eye(_columns) {
    return this.room.seat;
  }

  /** How far ahead of them it looks, units. @param {Record<string, number[]>} columns @param {number} aim */
  _ahead({ state }, aim) {
    return { angle: aim, far: state[this.room.seat] === DEAD ? 0 : AHEAD };
  }

  /** The camera follows. @param {{columns: Record<string, number[]>, aim: number}} scene @param {boolean} first @param {number} spentS */
  _look({ columns, aim }, first, spentS) {
    const { painter } = this._desk, seat = this.eye(columns), ahead = this._ahead(columns, aim);
    const angle = (ahead.angle / 65536) * 2 * Math.PI;
    const x = columns.x[seat] / 256 + Math.cos(angle) * ahead.far, y = columns.y[seat] / 256 + Math.sin(angle) * ahead.far;
    const share = first || Math.hypot(x - painter.x, y - painter.y) > 500 ? 1 : 1 - Math.exp(-9 * Math.min(spentS, 0.1));
    painter.lookAt(painter.x + (x - painter.x) * share, painter.y + (y - painter.y) * share);
  }

  /** What is another between two pictures: who was hurt, died, came. @param {{columns: Record<string, number[]>} | null} before @param {{columns: Record<string, number[]>}} view @param {number} now */
  _changes(before, view, now) {
    if (!before) return;
    const { painter, sound } = this._desk, me = this.room.seat, { state, hp, x, y } = view.columns, was = before.columns;
    state.forEach((is, seat) => {
      const at = /** @type {const} */ ([was.x[seat] / 256, was.y[seat] / 256]);
      const scene = { columns: view.columns, me }, colour = painter.colourOf(scene, seat);
      if (hp[seat] < was.hp[seat] && is !== EMPTY) {
        this._flash[seat] = now;
        if (seat === me) {
          painter.shake(4);
          sound.play("hurt");
        }
      }
      if (is === DEAD && was.state[seat] !== DEAD && was.state[seat] !== EMPTY) {
        this._sparks.burst(...at, now, { count: 34, speed: 210, colour, size: 4, lifeS: 0.8 });
        this._sparks.ring(...at, now, { from: 8, to: 54, colour });
        sound.play("death", Math.hypot(at[0] - painter.x, at[1] - painter.y));
      }
      if (is === PROTECTED && was.state[seat] !== PROTECTED) {
        this._sparks.ring(x[seat] / 256, y[seat] / 256, now, { from: 46, to: 12, colour, lifeS: 0.4 });
      }
    });
  }

  /** @param {any} scene */
  _tell(scene) {
    const { hud, painter } = this._desk, { columns, me, names } = scene, room = this.room;
    const newest = room.play.newest;
    if (!newest) return;
    const own = me < 0 ? {} : newest.mine(me);
    this._tellOwn(own, scene);
    const at = performance.now(), hz = room.tickHz, between = columns.phase[0] === 1, eye = this.eye(columns);
    if (at - this._slowAt < SLOW_MS) return;
    this._slowAt = at;
    const tick = room.play.clock.tickAt(at / 1000);
    hud.clock((columns.ends_at[0] - tick) / hz, between);
    hud.scores(columns, names, eye, (seat) => painter.colourOf(scene, seat));
    hud.banner(between ? this._winner : this._pause(own, tick));
    painter.drawMinimap(scene, eye);
    const { in: bytes } = this.client.traffic, spentS = (at - this._bytes.at) / 1000;
    if (spentS >= 1) this._bytes = { at, in: bytes, kbIn: Math.max(0, bytes - this._bytes.in) / 1000 / spentS };
    const { come, lost } = this._arrived;
    hud.figures({
      pingMs: this.client.pingMs, lossShare: lost / Math.max(1, come + lost), inputMs: room.play.rttMs ?? null,
      kbIn: this._bytes.kbIn, colours: painter.colours,
    });
  }

  /** @param {Record<string, number>} own @param {any} _scene */
  _tellOwn(own, _scene) {
    this._desk.hud.vitals(own.state === DEAD ? 0 : own.hp, own.charges);
  }

  /** What there is to wait for, between death and life. @param {Record<string, number>} own @param {number} tick */
  _pause(own, tick) {
    const back = Math.max(0, (own.until - tick) / this.room.tickHz);
    return own.state === DEAD ? `${this._killer || "You died"}\nback in ${back.toFixed(1)} s` : "";
  }

  _drawSticks() {
    const { controls, painter } = this._desk;
    const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById("field"));
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")), ratio = canvas.width / canvas.clientWidth;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    controls.drawSticks(pen, painter.colours.ink);
  }

  /** @param {import("../holdfast/frame.js").Frame} frame */
  _frame(frame) {
    const { sound, painter } = this._desk, arrived = this._arrived;
    if (frame.epoch !== this._epoch) {
      this._epoch = frame.epoch;
      this._shots.clear();
    } else if (arrived.tick >= 0 && frame.tick > arrived.tick) {
      arrived.lost += (frame.tick - arrived.tick) / this.room.every - 1;
      arrived.come += 1;
      if (arrived.come + arrived.lost > COUNTED) {
        arrived.come /= 2;
        arrived.lost /= 2;
      }
    }
    arrived.tick = frame.tick;
    for (const shot of this._shots.frame(frame)) {
      sound.play(shot.rail ? "beam" : "bolt", Math.hypot(shot.x - painter.x, shot.y - painter.y));
    }
  }

  /** @param {import("../holdfast/room.js").RoomEvent} event */
  _event({ kind, data }) {
    const { hud, sound } = this._desk, me = this.room.seat;
    if (kind === "kill") {
      const [killer, victim, weapon] = data;
      hud.kill({ who: this.nameOf(killer), whom: this.nameOf(victim), rail: weapon === 1, mine: killer === me || victim === me });
      if (victim === me) this._killer = `Hit by ${this.nameOf(killer)}`;
      if (killer === me) sound.play("kill");
    } else if (kind === "pickup" && data[0] === me) sound.play("item");
    else if (kind === "match_over") {
      const [winner, team] = data;
      this._winner = winner < 0 ? (team ? `Team ${team} wins` : "A draw") : winner === me ? "You win" : `${this.nameOf(winner)} wins`;
    } else if (kind === "match_start") this._winner = "";
    else if (kind === "chat") hud.said(this.nameOf(data[0]), String(data[1]));
  }
}
