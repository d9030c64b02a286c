/**
 * A room on the screen without a seat in it: the camera follows one player after the other, as the viewer likes.
 */

import { DEAD, EMPTY } from "./rules.js";
import { Round } from "./round.js";

export class Watch extends Round {
  /**
   * @param {import("../holdfast/client.js").Client} client @param {import("../holdfast/room.js").WatchedRoom} room
   * @param {import("./round.js").Desk} desk
   */
  constructor(client, room, desk) {
    super(client, /** @type {any} */ (room), desk);
    /** Whom the camera follows; null before the first picture. @type {number | null} */
    this._followed = null;
    /** @type {number[]} */
    this._seats = [];
  }

  /** Whether somebody could take a seat. */
  get hasSeat() {
    return this.room.roster.some((name) => !name);
  }

  /** Follow another one. @param {number} way 1: the next, -1: the one before */
  follow(way) {
    const at = this._seats.indexOf(this._followed ?? -1), count = this._seats.length;
    if (count) this._followed = this._seats[(Math.max(at, 0) + way + count) % count];
  }

  /** The one who was followed as long as there is one, else who leads. @param {Record<string, number[]>} columns */
  eye({ state, score }) {
    this._seats = state.map((_, seat) => seat).filter((seat) => state[seat] !== EMPTY);
    if (this._followed === null || !this._seats.includes(this._followed)) {
      this._followed = this._seats.length ? this._seats.reduce((best, seat) => (score[seat] > score[best] ? seat : best)) : null;
    }
    return this._followed ?? 0;
  }

  /** Nobody here aims. */
  from() {
    return null;
  }

  _letGo() {}

  /** @returns {number} */
  _act() {
    return 0;
  }

  /** @param {Record<string, number[]>} columns */
  _ahead({ facing }) {
    return { angle: facing[this._followed ?? 0], far: 0 };
  }

  /** @param {Record<string, number>} _own @param {any} scene */
  _tellOwn(_own, { columns, names }) {
    const seat = this.eye(columns), { hud } = this._desk;
    const dead = columns.state[seat] === DEAD, there = this._seats.length > 0;
    hud.watched(there ? names[seat] : "an empty room", dead ? 0 : columns.hp[seat] ?? 0, this.hasSeat);
  }

  _pause() {
    return "";
  }
}
