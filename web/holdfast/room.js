/**
 * A seat as a page has it: what to want, what is seen, what happened. It outlives its connections.
 *
 *     Room ── events, roster, why it ended
 *      ├─ ShownRoom       rows: frames ─► `viewAt`
 *      │   ├─ RowRoom     a seat: `want` ─► an input a tick
 *      │   └─ WatchedRoom no seat
 *      └─ ObjectRoom      objects: `act` ─► each applied once;  whole view on joining and on every resume
 *
 * While the connection is lost nothing here ends. Events that nobody listens to yet wait, 1024 at most.
 */

import { ActWindow, ViewParts, packAct } from "./acts.js";
import { BadFrame, ErrorCode, HoldfastError } from "./errors.js";
import { Emitter } from "./emitter.js";
import { Play } from "./play.js";
import { Sight } from "./sight.js";
import { clock } from "./link.js";

const EVENTS_KEPT = 1024;
/** Frames come at every tick; who sees none for so long asks another node. */
const SILENT_S = 0.5;
const LAST_INDEX = 2 ** 32 - 1;

/**
 * What happened in a room, each once and in order.
 * @typedef {{tick: number, index: number, kind: string, data: any[]}} RoomEvent
 * @typedef {{say(message: any): void}} Carrier
 */

/**
 * What both kinds of rooms have. Events: `event` (RoomEvent), `roster` (names by seat), `ended` (HoldfastError).
 * @template {Record<string, any>} More
 * @extends {Emitter<{event: RoomEvent, roster: string[], ended: HoldfastError} & More>}
 */
export class Room extends Emitter {
  /** @param {any} seated the message @param {[number, number] | null} after id of the last event known */
  constructor(seated, after) {
    super();
    this.id = /** @type {string} */ (seated.room);
    this.game = /** @type {string} */ (seated.game);
    this.options = /** @type {Record<string, number>} */ (seated.options);
    this.seat = /** @type {number} */ (seated.seat);
    this.seats = /** @type {number} */ (seated.seats);
    this.generation = /** @type {number} */ (seated.generation);
    this.tickHz = /** @type {number} */ (seated.tick_hz);
    /** Counts the nodes that the room has been on. */
    this.epoch = /** @type {number} */ (seated.epoch);
    /** Names by seat, kept up to date by the room's events; "" is free. @type {string[]} */
    this.roster = seated.roster.map(String);
    /** Why no more comes; null while the seat is ours. @type {HoldfastError | null} */
    this.ended = null;
    /** (tick, index) of the newest event that came. @type {[number, number]} */
    this.heard = after ?? before(seated.tick);
    /** Whether some events of a pause were kept by the server no longer. */
    this.missed = !!seated.missed;
    /** @type {RoomEvent[]} */
    this._unheard = [];
  }

  /**
   * @template {string & keyof ({event: RoomEvent, roster: string[], ended: HoldfastError} & More)} Kind
   * @param {Kind} kind
   * @param {(detail: ({event: RoomEvent, roster: string[], ended: HoldfastError} & More)[Kind]) => void} listener
   */
  on(kind, listener) {
    const end = super.on(kind, listener);
    if (kind === "event") for (const event of this._unheard.splice(0)) this._tell(event);
    return end;
  }

  /** Whether all is there that a seat begins with. */
  get ready() {
    return true;
  }

  /** Whether nothing has been heard of the room for longer than it should take. @param {number} _now */
  silent(_now) {
    return false;
  }

  /** @param {any} seated @returns {boolean} */
  _continues(seated) {
    return this.id === seated.room && this.seat === seated.seat && this.generation === seated.generation;
  }

  /** The same seat over a new connection. @param {any} seated */
  _resume(seated) {
    this.roster = seated.roster.map(String);
    this.epoch = seated.epoch;
    this.missed ||= !!seated.missed;
    /** @type {Emitter<any>} */ (this).emit("roster", this.roster);
  }

  _lost() {}

  /** @param {HoldfastError} error */
  _end(error) {
    if (this.ended) return;
    this.ended = error;
    /** @type {Emitter<any>} */ (this).emit("ended", error);
  }

  /** Those that are known already are passed over. @param {any} message */
  _takeEvents(message) {
    for (const entry of message.events) {
      const [tick, index, kind, data] = entry;
      if (!(tick >= 0 && index >= 0 && typeof kind === "string" && Array.isArray(data))) {
        throw new HoldfastError(ErrorCode.BAD_MESSAGE, "an event is [tick, index, kind, data]");
      }
      if (tick < this.heard[0] || (tick === this.heard[0] && index <= this.heard[1])) continue;
      this.heard = [tick, index];
      this._tell({ tick, index, kind, data });
    }
  }

  /** @param {RoomEvent} event */
  _tell(event) {
    const { kind, data } = event;
    if (kind === "joined" || kind === "left") {
      this.roster[data[0]] = kind === "joined" ? String(data[1]) : "";
      /** @type {Emitter<any>} */ (this).emit("roster", this.roster);
    }
    if (/** @type {Emitter<any>} */ (this).emit("event", event)) return;
    this._unheard.push(event);
    if (this._unheard.length > EVENTS_KEPT) this._unheard.shift();
  }
}

/**
 * A room of rows, as its frames show it. Also tells `frame`.
 * @template {Sight} Seen
 * @extends {Room<{frame: import("./frame.js").Frame}>}
 */
export class ShownRoom extends Room {
  /** @param {any} told the message @param {[number, number] | null} after @param {Seen} play */
  constructor(told, after, play) {
    super(told, after);
    /** Frames and clock, and of a seat inputs and prediction. */
    this.play = play;
    /** Ticks from frame to frame. */
    this.every = /** @type {number} */ (told.every ?? 1);
    this.frames = 0;
    this.badFrames = 0;
    this._heardAt = Infinity; // no frame yet: nothing to miss
  }

  /** What to draw now; see `Play.viewAt`. */
  viewAt() {
    return this.play.viewAt(clock());
  }

  /** @param {any} told */
  _resume(told) {
    this.play.resume(told);
    this._heardAt = Infinity;
    super._resume(told);
  }

  /** @param {Uint8Array} data @returns {boolean} whether it was a frame of this room */
  _receive(data) {
    const now = clock();
    try {
      const frame = this.play.receive(data, now);
      if (!frame) return false;
      this._heardAt = now;
      this.frames += 1;
      this.epoch = Math.max(this.epoch, frame.epoch);
      this.emit("frame", frame);
      return true;
    } catch (error) {
      if (!(error instanceof BadFrame)) throw error;
      this.badFrames += 1;
      return false;
    }
  }
}

/**
 * A seat in a room of rows: inputs at the room's pace, frames back.
 * @extends {ShownRoom<Play>}
 */
export class RowRoom extends ShownRoom {
  /** @param {any} seated @param {[number, number] | null} after @param {import("./predict.js").Rules | null} rules */
  constructor(seated, after, rules) {
    super(seated, after, new Play(seated, rules));
  }

  /**
   * What the player wants from now on; fields that are not named stay as they are. Throws HoldfastError (BAD_OPTION).
   * @param {Record<string, number>} fields
   */
  want(fields) {
    this.play.want(fields);
  }

  /** @param {number} now */
  silent(now) {
    return !this.ended && now - this._heardAt > SILENT_S;
  }
}

/**
 * A room of rows that is watched without a seat (`seat` is -1): some ten frames a second, and its events.
 * @extends {ShownRoom<Sight>}
 */
export class WatchedRoom extends ShownRoom {
  /** @param {any} watching the message */
  constructor(watching) {
    super({ ...watching, seat: -1, generation: 0 }, null, new Sight({ ...watching, last_seq: 0 }, watching.every));
  }

  /** What happened while nobody looked is not told. @param {any} watching */
  _resume(watching) {
    this.heard = before(watching.tick);
    super._resume({ ...watching, last_seq: 0 });
  }

  _lost() {
    this.play.newest = null;
  }
}

/**
 * A seat in a room of objects: acts that are each applied once and in order, a whole view, and events. Also tells
 * `view` (the view came anew) and `settled` (sequence of the last act that was applied).
 *
 * `view` is as of the tick `viewTick`: an event with a later tick changes it, others are in it already (and are told all
 * the same when they had not been heard).
 * @extends {Room<{view: any, settled: number}>}
 */
export class ObjectRoom extends Room {
  /** @param {Carrier} carrier @param {any} seated @param {[number, number] | null} after */
  constructor(carrier, seated, after) {
    super(seated, after);
    /** @type {any} */
    this.view = null;
    this.viewTick = seated.tick;
    this._carrier = carrier;
    this._window = new ActWindow(seated.last_seq);
    /** @type {ViewParts | null} */
    this._parts = new ViewParts(seated.parts);
  }

  /** Whether the view is there. */
  get ready() {
    return this._parts === null;
  }

  /** Acts that are made and not known to be applied. */
  get unsettled() {
    return this._window.newest - this._window.acknowledged;
  }

  /**
   * Do something: any value of msgpack, as the game wants it. During a pause acts wait to be sent. Returns its sequence,
   * or 0 when too many wait and it was *not* taken. Throws HoldfastError for what is too large.
   * @param {unknown} value
   */
  act(value) {
    const data = packAct(value);
    if (this.ended) throw this.ended;
    if (!this._window.takes(data)) return 0;
    const act = this._window.add(data);
    if (this.ready) this._carrier.say(act);
    return act.seq;
  }

  /** @param {any} seated */
  _resume(seated) {
    super._resume(seated);
    this.viewTick = seated.tick;
    this._parts = new ViewParts(seated.parts);
    this._settle(seated.last_seq);
  }

  _lost() {
    this._parts ??= new ViewParts(0); // nothing is sent until the next view is whole
  }

  /** With the last part the view is there, and acts go (on). @param {any} part */
  _takePart(part) {
    const whole = this._parts?.add(part);
    if (!whole) return;
    this.view = whole.view;
    this._parts = null;
    for (const act of this._window.unsettled()) this._carrier.say(act);
    this.emit("view", this.view);
  }

  /** @param {any} message */
  _takeEvents(message) {
    super._takeEvents(message);
    this._settle(message.last_seq ?? 0);
  }

  /** @param {number} lastSeq */
  _settle(lastSeq) {
    if (this._window.acknowledge(lastSeq)) this.emit("settled", this._window.acknowledged);
  }
}

/** The id that comes before those of all events of a tick. @param {number} tick @returns {[number, number]} */
function before(tick) {
  return [Math.max(tick - 1, 0), tick ? LAST_INDEX : 0];
}
