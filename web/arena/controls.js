/**
 * Keyboard, mouse and touch, all at once; whichever was used last aims.
 *
 *     keyboard   W A S D move · arrows turn · Q faces the nearest foe · space, E fire
 *     mouse      aims from the middle of one's own body; left and right button fire
 *     touch      left half: a stick to move; right half: a stick that aims, and fires when it is pushed out
 */

import { FIRE, RAIL } from "./rules.js";
import { angleOf } from "../holdfast/fixed.js";

const TURN_S = 65536 * 0.55;
const STICK_PX = 56;
/** A stick is pushed when it is so far out, of its length. */
const MOVES = 0.35, FIRES = 0.6;

/** @type {Record<string, [number, number]>} */
const MOVE_KEYS = { KeyW: [0, -1], KeyS: [0, 1], KeyA: [-1, 0], KeyD: [1, 0] };

/**
 * @typedef {{id: number, x: number, y: number, dx: number, dy: number}} Stick
 */

export class Controls {
  /**
   * @param {HTMLElement} field
   * @param {{from(): {x: number, y: number} | null, place(x: number, y: number): {x: number, y: number},
   *   nearestFoe(): {x: number, y: number} | null}} eyes where one stands, what lies under a point of the screen (units)
   */
  constructor(field, eyes) {
    this._eyes = eyes;
    this._field = field;
    /** @type {Set<string>} */
    this._keys = new Set();
    this._mouse = 0;
    /** @type {{x: number, y: number} | null} */
    this._pointer = null;
    /** @type {Stick | null} */
    this.moveStick = null;
    /** @type {Stick | null} */
    this.aimStick = null;
    this.railPressed = false;
    this.aim = 0;
    this.touched = false;
    /** Whether keys are ours: not while somebody writes, or looks at the menu. */
    this.active = false;
    addEventListener("keydown", (event) => this._key(event, true));
    addEventListener("keyup", (event) => this._key(event, false));
    addEventListener("blur", () => this.release());
    document.addEventListener("visibilitychange", () => this.release());
    field.addEventListener("contextmenu", (event) => event.preventDefault());
    field.addEventListener("pointerdown", (event) => this._down(event));
    field.addEventListener("pointermove", (event) => this._move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      field.addEventListener(end, (event) => this._up(/** @type {PointerEvent} */ (event)));
    }
  }

  /** Hands off. */
  release() {
    this._keys.clear();
    this._mouse = 0;
    this.moveStick = this.aimStick = null;
    this.railPressed = false;
  }

  /**
   * What the player wants now. @param {number} spentS since the last call
   * @returns {{move_x: number, move_y: number, aim: number, buttons: number}}
   */
  wanted(spentS) {
    let x = 0, y = 0, buttons = this._mouse;
    for (const [key, [dx, dy]] of Object.entries(MOVE_KEYS)) {
      if (this._keys.has(key)) [x, y] = [x + dx, y + dy];
    }
    const turn = Number(this._keys.has("ArrowRight")) - Number(this._keys.has("ArrowLeft"));
    if (turn) {
      this._pointer = null;
      this.aim = (this.aim + Math.round(turn * TURN_S * Math.min(spentS, 0.1)) + 65536) & 65535;
    }
    const from = this._eyes.from(), foe = this._keys.has("KeyQ") ? this._eyes.nearestFoe() : null;
    if (foe && from) {
      this._pointer = null;
      this.aim = angleOf(foe.x - from.x, foe.y - from.y);
    } else if (this._pointer && from) {
      const at = this._eyes.place(this._pointer.x, this._pointer.y);
      this.aim = angleOf(at.x - from.x, at.y - from.y);
    }
    if (this._keys.has("Space")) buttons |= FIRE;
    if (this._keys.has("KeyE")) buttons |= RAIL;
    if (this.moveStick) {
      const { dx, dy } = this.moveStick;
      x = Math.abs(dx) > MOVES * STICK_PX ? Math.sign(dx) : 0;
      y = Math.abs(dy) > MOVES * STICK_PX ? Math.sign(dy) : 0;
    }
    if (this.aimStick && Math.hypot(this.aimStick.dx, this.aimStick.dy) > 8) {
      this.aim = angleOf(this.aimStick.dx, this.aimStick.dy);
      if (Math.hypot(this.aimStick.dx, this.aimStick.dy) > FIRES * STICK_PX) buttons |= FIRE;
    }
    if (this.railPressed) buttons |= RAIL;
    return { move_x: Math.sign(x), move_y: Math.sign(y), aim: this.aim, buttons };
  }

  /** @param {CanvasRenderingContext2D} pen in CSS pixels @param {string} ink */
  drawSticks(pen, ink) {
    for (const stick of [this.moveStick, this.aimStick]) {
      if (!stick) continue;
      pen.globalAlpha = 0.5;
      pen.strokeStyle = ink;
      pen.fillStyle = ink;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(stick.x, stick.y, STICK_PX, 0, 2 * Math.PI);
      pen.stroke();
      const far = Math.max(1, Math.hypot(stick.dx, stick.dy) / STICK_PX);
      pen.beginPath();
      pen.arc(stick.x + stick.dx / far, stick.y + stick.dy / far, 22, 0, 2 * Math.PI);
      pen.fill();
      pen.globalAlpha = 1;
    }
  }

  /** @param {KeyboardEvent} event @param {boolean} down */
  _key(event, down) {
    if (!down) {
      this._keys.delete(event.code);
      return;
    }
    if (!this.active || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.code in MOVE_KEYS || ["ArrowLeft", "ArrowRight", "Space", "KeyE", "KeyQ"].includes(event.code)) {
      this._keys.add(event.code);
      event.preventDefault();
    }
  }

  /** @param {PointerEvent} event */
  _down(event) {
    if (!this.active) return;
    this._field.focus({ preventScroll: true });
    if (event.pointerType === "mouse") {
      this._pointer = { x: event.clientX, y: event.clientY };
      this._mouse |= event.button === 2 ? RAIL : FIRE;
      return;
    }
    this.touched = true;
    this._pointer = null;
    const stick = { id: event.pointerId, x: event.clientX, y: event.clientY, dx: 0, dy: 0 };
    if (event.clientX < innerWidth / 2) this.moveStick ??= stick;
    else this.aimStick ??= stick;
    this._field.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  _move(event) {
    if (event.pointerType === "mouse") {
      this._pointer = { x: event.clientX, y: event.clientY };
      return;
    }
    for (const stick of [this.moveStick, this.aimStick]) {
      if (stick?.id === event.pointerId) [stick.dx, stick.dy] = [event.clientX - stick.x, event.clientY - stick.y];
    }
  }

  /** @param {PointerEvent} event */
  _up(event) {
    if (event.pointerType === "mouse") this._mouse &= event.button === 2 ? ~RAIL : ~FIRE;
    if (this.moveStick?.id === event.pointerId) this.moveStick = null;
    if (this.aimStick?.id === event.pointerId) this.aimStick = null;
  }
}
