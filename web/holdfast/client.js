/**
 * A logged-in player: what it has, and what connections bring for it, whichever connection it is (`netcode/client.py`,
 * `netcode/presence.py`; where the two sides differ, docs/protocol.md decides).
 *
 *     Lifeline ── welcomed ─► a seat that stays, or ends       Link ── take ──────► seated, part, left, events, pong
 *              ── lost ─────► paused                                ── takeFrame ─► the room's frames
 *              ── over ─────► ended
 *
 * A seat that is the same on a new connection (room, number, generation) goes on as the same object; any other is new.
 */

import { Emitter } from "./emitter.js";
import { ErrorCode, HoldfastError } from "./errors.js";
import { Lifeline } from "./lifeline.js";
import { ObjectRoom, RowRoom } from "./room.js";
import { Watch } from "./watch.js";
import { clock } from "./link.js";
import { fromBase64, toBase64 } from "./storage.js";

/** Round trips of which the best counts. */
const PINGS_KEPT = 8;
const IDLE_MS = 20;
const SEAT_GONE = [ErrorCode.ROOM_CLOSED.number, ErrorCode.NOT_SEATED.number];

/**
 * @typedef {object} ConnectOptions
 * @property {string} [name] what a player is called
 * @property {Uint8Array} [secret] 16 to 64 bytes that this device is known by; default: the store's, else a new guest
 * @property {import("./storage.js").BrowserStore | null} [store] keeps the device's secret and the tab's session
 * @property {Record<string, (options: Record<string, number>, tickHz: number) => import("./predict.js").Rules>} [rules]
 *   by name of a game: what its own moves are predicted with
 * @property {number} [reconnectS] how long a lost connection is tried; default: as long as the server keeps the session
 *
 * @typedef {{pauseMs: number, epoch: number, moved: boolean}} Resumed `pauseMs`: since anything was last heard of the
 *   room; `moved`: another node has the room now
 */

/**
 * Log in, or take up the session that this tab had (then `client.room` is the seat that was kept for it).
 *
 * `server` is a WebSocket's address, or several: "wss://play.example:7777". Throws HoldfastError.
 * @param {string | string[]} server
 * @param {ConnectOptions} [options]
 */
export async function connect(server, options = {}) {
  const urls = [server].flat(), { store = null, name = "" } = options;
  const kept = (await store?.session()) ?? null;
  const secret = options.secret ?? (await store?.secret()) ?? crypto.getRandomValues(new Uint8Array(32));
  const client = new Client(urls, { t: "login", secret, name }, options);
  await client._start(kept && urls.includes(kept.server) ? kept : null);
  return client;
}

/**
 * A logged-in player. Made by `connect`. Tells `paused` (why), `resumed` (one for each `paused`, unless it ends),
 * `moved` (the room is on another node, and nobody had to wait), `room` (a seat, or null when it is gone), `notice` (the
 * operator's word), `watched` (a room that is watched, or null when it is no more), `ended`.
 * @extends {Emitter<{paused: string, resumed: Resumed, moved: Resumed, room: RowRoom | ObjectRoom | null,
 *   watched: import("./room.js").WatchedRoom | null, notice: string, ended: HoldfastError}>}
 */
export class Client extends Emitter {
  /** @param {string[]} urls @param {any} login the message @param {ConnectOptions} options */
  constructor(urls, login, options) {
    super();
    this.account = "";
    this.name = "";
    /** What the node calls itself that the session is on; "" when it does not say. */
    this.node = "";
    /** What can be played on this server. @type {string[]} */
    this.games = [];
    /** After a log-in: the room in which a seat is held for this account; joining it takes the seat again. */
    this.heldRoom = "";
    /** The seat. @type {RowRoom | ObjectRoom | null} */
    this.room = null;
    /** The best round trip of late, ms; null before the first. @type {number | null} */
    this.pingMs = null;
    this._options = options;
    /** @type {Lifeline} */
    this._lifeline = new Lifeline(this, urls, login, options.reconnectS);
    /** @type {Watch} */
    this._watch = new Watch((message) => this._lifeline.request(message), (room) => {
      if (room) this._heardAt = clock();
      this.emit("watched", room);
      this._checkBack();
    });
    this._expected = ""; // the room whose seat comes back by itself
    /** @type {[number, number] | null} id of the last event, of a session that another page began */
    this._after = null;
    this._away = false; // `paused` was told, and `resumed` not yet
    this._heardAt = clock();
    this._quietSince = 0;
    this._epochAway = 0;
    /** @type {number[]} */
    this._pings = [];
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._inputTimer = undefined;
    this._keepNow = () => this._keep();
  }

  /** Id of the session. */
  get session() {
    return this._lifeline.session;
  }

  /** Whether the connection is lost, or the seat not back yet. */
  get paused() {
    return this._lifeline.paused && !this.error;
  }

  /** The room that is watched without a seat. */
  get watched() {
    return this._watch.room;
  }

  /** Why the session is over; null while it is not. */
  get error() {
    return this._lifeline.error;
  }

  /** How often the session was taken up again. */
  get resumes() {
    return this._lifeline.resumes;
  }

  /** Bytes that came and went over the present connection. */
  get traffic() {
    const link = this._lifeline.link;
    return { in: link?.bytesIn ?? 0, out: link?.bytesOut ?? 0 };
  }

  // -- what a page asks for -------------------------------------------------------------------------------------------

  /**
   * Take a seat: in the named room, in the one that has the `code`, or in the fullest open room of `game` with these
   * options (made when there is none). Throws HoldfastError.
   * @param {{game?: string, room?: string, code?: string, options?: Record<string, number>}} where
   * @returns {Promise<RowRoom | ObjectRoom>}
   */
  async join({ game = "", room = "", code = "", options = {} }) {
    await this._watch.ask({ t: "join", game, room, code, options });
    for (;;) {
      if (!this.room) throw new HoldfastError(ErrorCode.NOT_SEATED, "the seat is gone already");
      if (this.room.ready) return this.room;
      await this._lifeline.change();
    }
  }

  /**
   * Open a room: its id, and the code of a private one. Throws HoldfastError.
   * @param {string} game
   * @param {{options?: Record<string, number>, private?: boolean}} [how]
   * @returns {Promise<{room: string, seats: number, code: string}>}
   */
  async createRoom(game, { options = {}, private: hidden = false } = {}) {
    return this._lifeline.request({ t: "create_room", game, options, private: hidden });
  }

  /**
   * The rooms of the server, fullest first; `open` leaves out those that are full. Throws HoldfastError.
   * @param {{game?: string, options?: Record<string, number>, open?: boolean}} [which]
   * @returns {Promise<{room: string, game: string, options: Record<string, number>, players: number, seats: number}[]>}
   */
  async rooms({ game = "", options = {}, open = false } = {}) {
    return (await this._lifeline.request({ t: "list_rooms", game, options, open })).rooms;
  }

  /** Give the seat up. Throws HoldfastError. */
  async leave() {
    await this._lifeline.request({ t: "leave" });
  }

  /**
   * Watch a room of rows without a seat: by its id, or a private one by its `code`. It goes on, wherever the room goes,
   * until `unwatch`, a seat, or the room's end. Throws HoldfastError.
   * @param {{room?: string, code?: string}} where
   * @returns {Promise<import("./room.js").WatchedRoom>}
   */
  async watch({ room = "", code = "" }) {
    await this._watch.ask({ t: "watch", room, code });
    if (!this.watched) throw new HoldfastError(ErrorCode.ROOM_CLOSED, "the room is gone already");
    return this.watched;
  }

  /** Look away. Throws HoldfastError. */
  async unwatch() {
    this._watch.end(new HoldfastError(ErrorCode.NOT_SEATED, "looked away"));
    await this._lifeline.request({ t: "unwatch" });
  }

  /** Say something to the room. Throws HoldfastError when the session is over. @param {string} text */
  async chat(text) {
    await this._lifeline.ready();
    this.say({ t: "chat", text });
  }

  /** Send a message over the present connection, if there is one. @param {any} message */
  say(message) {
    this._lifeline.link?.say(message);
  }

  /** End the connection; the session waits on the server for a while. */
  close() {
    this._stop();
    this._lifeline.close();
  }

  /** @param {import("./storage.js").Kept | null} kept */
  async _start(kept) {
    if (kept) {
      this._lifeline.session = kept.session;
      this._lifeline.secret = fromBase64(kept.secret);
      this._after = [kept.eventTick, kept.eventIndex];
    }
    await this._lifeline.start();
    globalThis.addEventListener?.("pagehide", this._keepNow);
    this._pump();
    await this._lifeline.ready();
  }

  _stop() {
    clearTimeout(this._inputTimer);
    globalThis.removeEventListener?.("pagehide", this._keepNow);
  }

  // -- what the lifeline asks and tells -------------------------------------------------------------------------------

  /** @returns {[number, number]} */
  lastEvent() {
    return this.room?.heard ?? this._after ?? [0, 0];
  }

  epoch() {
    return (this.room ?? this.watched)?.epoch ?? 0;
  }

  /** @param {number} now */
  silent(now) {
    return this.room?.silent(now) ?? false;
  }

  /** @param {string} why */
  lost(why) {
    this.room?._lost();
    this.watched?._lost();
    if (this._away) return;
    this._away = true;
    this._epochAway = this.epoch();
    this._quietSince = this.room instanceof RowRoom || this.watched ? this._heardAt : clock();
    this.emit("paused", why);
  }

  /** @param {HoldfastError} error */
  over(error) {
    this._stop();
    this._options.store?.keep(null);
    this._endRoom(error);
    this._watch.end(error);
    this.emit("ended", error);
  }

  /** @param {any} welcome @param {boolean} resumed */
  welcomed(welcome, resumed) {
    this.account = welcome.account;
    this.name = welcome.name;
    this.node = welcome.node ?? "";
    this.games = welcome.games;
    this._expected = resumed ? welcome.room : "";
    this.heldRoom = resumed ? "" : welcome.room;
    if (!resumed) this._after = null;
    this._pings = [];
    this._keep();
    if (this.room && this.room.id !== this._expected) {
      const code = resumed ? ErrorCode.NOT_SEATED : ErrorCode.SESSION_GONE;
      this._endRoom(new HoldfastError(code, "the seat was lost with the connection"));
    }
    this._checkBack();
    this._watch.reconnected();
  }

  // -- what connections bring -----------------------------------------------------------------------------------------

  /** @param {any} message */
  take(message) {
    const room = this.room;
    if (message.t === "seated") this._seated(message);
    else if (message.t === "watching" && !room) this._watch.take(message);
    else if (message.t === "part") {
      if (!(room instanceof ObjectRoom) || message.room !== room.id) return;
      room._takePart(message);
      this._checkBack();
    } else if (message.t === "left") {
      if (room?.id === message.room) this._seatGone(new HoldfastError(ErrorCode.NOT_SEATED, "the seat was given up"));
    } else if (message.t === "events") {
      const heard = room ?? this.watched;
      if (heard?.id === message.room) heard?._takeEvents(message);
    } else if (message.t === "pong") this._pong(Number(message.time_us) / 1e6);
    else if (message.t === "notice") this.emit("notice", String(message.text));
    else if (message.t === "redirect" && !message.ref) this._lifeline.seek(message);
    else if (message.t === "error" && !message.ref && message.code === ErrorCode.ROOM_MOVING.number) {
      if (!this.watched) return;
      this.lost(message.message);
      this._watch.reconnected();
    } else if (message.t === "error" && !message.ref && SEAT_GONE.includes(message.code)) {
      const closed = message.code === ErrorCode.ROOM_CLOSED.number;
      this._seatGone(new HoldfastError(closed ? ErrorCode.ROOM_CLOSED : ErrorCode.NOT_SEATED, message.message));
    }
  }

  /** @param {Uint8Array} data */
  takeFrame(data) {
    const room = this.room ?? this.watched;
    if (!room || room instanceof ObjectRoom || !room._receive(data)) return;
    this._heardAt = clock();
    if (this._lifeline.missing) this._lifeline.neverMind();
    this._checkBack();
  }

  /** @param {number} sentAt */
  _pong(sentAt) {
    const now = clock();
    this._pings.push((now - sentAt) * 1000);
    if (this._pings.length > PINGS_KEPT) this._pings.shift();
    this.pingMs = Math.min(...this._pings);
    if (this.room instanceof RowRoom) this.room.play.clock.pong(sentAt, now);
  }

  /** @param {any} seated */
  _seated(seated) {
    const room = this.room;
    if (room && seated.resumed && room._continues(seated)) {
      const moved = seated.epoch > room.epoch;
      room._resume(seated);
      if (moved && !this._away) {
        this.emit("moved", { pauseMs: (clock() - this._heardAt) * 1000, epoch: room.epoch, moved });
      }
    } else {
      const after = seated.resumed ? this._after : null;
      const rules = this._options.rules?.[seated.game]?.(seated.options, seated.tick_hz) ?? null;
      const next = seated.parts ? new ObjectRoom(this, seated, after) : new RowRoom(seated, after, rules);
      room?._end(new HoldfastError(ErrorCode.NOT_SEATED, "another seat has taken its place"));
      this.room = next;
      this._heardAt = clock();
      this._watch.end(new HoldfastError(ErrorCode.NOT_SEATED, "a seat was taken"));
      this.emit("room", next);
    }
    this._expected = this.heldRoom = "";
    this._checkBack();
    this._lifeline.changed();
  }

  /** @param {HoldfastError} error */
  _seatGone(error) {
    this._expected = "";
    this._endRoom(error);
    this._watch.end(error);
    this._checkBack();
    this._lifeline.changed();
  }

  /** @param {HoldfastError} error */
  _endRoom(error) {
    const room = this.room;
    this.room = null;
    if (!room) return;
    room._end(error);
    this.emit("room", null);
  }

  /** A pause ends when the seat is back (a room of rows: with its first frame), or known to be gone. */
  _checkBack() {
    const room = this.room, lifeline = this._lifeline;
    if (room?.ready) lifeline.changed(); // (somebody may wait for that)
    if (lifeline.paused) {
      if (this._expected || lifeline.missing || (room && !room.ready)) return;
      if (this._away && room instanceof RowRoom && !room.play.newest) return;
      lifeline.back();
    }
    if (!this._away || (this.watched && !this.watched.play.newest)) return;
    this._away = false;
    const epoch = this.epoch();
    this.emit("resumed", { pauseMs: (clock() - this._quietSince) * 1000, epoch, moved: epoch > this._epochAway });
  }

  /** Keep what a reload needs. */
  _keep() {
    const { session, secret, urls } = this._lifeline, [eventTick, eventIndex] = this.lastEvent();
    if (this.error || !session) return;
    this._options.store?.keep({ server: urls[0], session, secret: toBase64(secret), eventTick, eventIndex });
  }

  // -- the input clock ------------------------------------------------------------------------------------------------

  /** Inputs when they are due; while none can be made, what is unacknowledged, once a tick. */
  _pump() {
    let waitMs = IDLE_MS;
    const room = this.room, link = this._lifeline.link;
    if (room instanceof RowRoom && link && !link.ended && !this._expected) {
      const now = clock(), periodMs = 1000 / room.tickHz, making = !room.play.window.full;
      const earlyMs = making ? (room.play.dueAt - now) * 1000 : 0;
      if (earlyMs > 0) waitMs = Math.min(earlyMs, periodMs / 2); // a frame may move it meanwhile
      else {
        link.sendInputs(making ? room.play.nextPacket(now) : room.play.repeatPacket(now));
        waitMs = making ? periodMs / 2 : periodMs;
      }
    }
    this._inputTimer = setTimeout(() => this._pump(), waitMs);
  }
}
