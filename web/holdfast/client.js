/**
 * A player's session, kept alive over one connection after the other, on whichever node its room is.
 *
 *     connected ──lost──► paused ── resume ─► welcome ─► seat back ──► connected       (one `paused`, one `resumed`)
 *         │                 ├────── the session is gone ─► login ─► welcome: another session of the same account
 *         └──refused──► over ◄───── nothing within its time
 *     a request is redirected ─► resumed there, asked again            the old connection is closed behind the welcome
 *     the room moves (told), or nothing is heard of it ─► standby: resume (above = epoch) elsewhere ─► the same
 *
 * As `netcode/lifeline.py` and `netcode/presence.py`; where the two differ, the protocol (docs/protocol.md) decides.
 */

import { Backoff } from "./backoff.js";
import { Emitter } from "./emitter.js";
import { Ended, Link, Redirected, clock } from "./link.js";
import { ErrorCode, HoldfastError } from "./errors.js";
import { ObjectRoom, RowRoom } from "./room.js";
import { fromBase64, toBase64 } from "./storage.js";

const ANSWER_MS = 10_000;
const HOPS_MAX = 4;
const LOOK_EVERY_MS = 100;
/** A look that comes so much too late tells that this page stood still, not that the server did. */
const STALLED_S = 0.3;
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
 * @typedef {{told: boolean, cancelled: boolean, link: Link | null}} Standby a second connection that is being made;
 *   `told`: where the server sent us to
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
  const client = new Client([server].flat(), options);
  await client._start();
  return client;
}

/**
 * A logged-in player. Made by `connect`. Tells `paused` (why), `resumed`, `moved` (the room is on another node, and
 * nobody had to wait), `room` (a seat, or null when it is gone), `notice` (the operator's word), `ended`.
 * @extends {Emitter<{paused: string, resumed: Resumed, moved: Resumed, room: RowRoom | ObjectRoom | null,
 *   notice: string, ended: HoldfastError}>}
 */
export class Client extends Emitter {
  /** @param {string[]} urls @param {ConnectOptions} options */
  constructor(urls, options) {
    super();
    this.urls = urls;
    this.account = "";
    this.name = options.name ?? "";
    this.session = "";
    /** What the node calls itself that the session is on; "" when it does not say. */
    this.node = "";
    /** What can be played on this server. @type {string[]} */
    this.games = [];
    /** After a log-in: the room in which a seat is held for this account; joining it takes the seat again. */
    this.heldRoom = "";
    /** The seat. @type {RowRoom | ObjectRoom | null} */
    this.room = null;
    /** Whether there is no connection, or something that belongs to the session is not back yet. */
    this.paused = true;
    /** Why the session is over; null while it is not. @type {HoldfastError | null} */
    this.error = null;
    /** How often the session was taken up again. */
    this.resumes = 0;
    /** The best round trip of late, ms; null before the first. @type {number | null} */
    this.pingMs = null;
    this._options = options;
    this._store = options.store ?? null;
    /** @type {any} */
    this._login = null;
    this._secret = new Uint8Array(0);
    /** @type {Link | null} */
    this._link = null;
    this._resumeS = 0;
    this._closing = false;
    this._expected = ""; // the room whose seat comes back by itself
    /** @type {[number, number] | null} id of the last event, of a session that another page began */
    this._after = null;
    this._away = false; // `paused` was told, and `resumed` not yet
    this._missing = false; // nothing is heard of the room, over a connection that is still there
    this._heardAt = clock();
    this._quietSince = 0;
    this._epochAway = 0;
    /** @type {Standby | null} */
    this._standby = null;
    /** @type {Set<() => void>} */
    this._waiters = new Set();
    /** @type {number[]} */
    this._pings = [];
    this._lookedAt = clock();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._inputTimer = undefined;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this._watchTimer = undefined;
  }

  // -- what a page asks for -------------------------------------------------------------------------------------------

  /**
   * Take a seat: in the named room, in the one that has the `code`, or in the fullest open room of `game` with these
   * options (made when there is none). Throws HoldfastError.
   * @param {{game?: string, room?: string, code?: string, options?: Record<string, number>}} where
   * @returns {Promise<RowRoom | ObjectRoom>}
   */
  async join({ game = "", room = "", code = "", options = {} }) {
    await this._request({ t: "join", game, room, code, options });
    while (!this.room || !this.room.ready) {
      this._check();
      if (!this.room) throw new HoldfastError(ErrorCode.NOT_SEATED, "the seat is gone already");
      await this._change();
    }
    return this.room;
  }

  /**
   * Open a room: its id, and the code of a private one. Throws HoldfastError.
   * @param {string} game
   * @param {{options?: Record<string, number>, private?: boolean}} [how]
   * @returns {Promise<{room: string, seats: number, code: string}>}
   */
  async createRoom(game, { options = {}, private: hidden = false } = {}) {
    return this._request({ t: "create_room", game, options, private: hidden });
  }

  /**
   * The rooms of the server, fullest first; `open` leaves out those that are full. Throws HoldfastError.
   * @param {{game?: string, options?: Record<string, number>, open?: boolean}} [which]
   * @returns {Promise<{room: string, game: string, options: Record<string, number>, players: number, seats: number}[]>}
   */
  async rooms({ game = "", options = {}, open = false } = {}) {
    return (await this._request({ t: "list_rooms", game, options, open })).rooms;
  }

  /** Give the seat up. Throws HoldfastError. */
  async leave() {
    await this._request({ t: "leave" });
  }

  /** Say something to the room. Throws HoldfastError when the session is over. @param {string} text */
  async chat(text) {
    await this._ready();
    this.say({ t: "chat", text });
  }

  /** Send a message over the present connection, if there is one. @param {any} message */
  say(message) {
    this._link?.say(message);
  }

  /** Bytes that came and went over the present connection. */
  get traffic() {
    return { in: this._link?.bytesIn ?? 0, out: this._link?.bytesOut ?? 0 };
  }

  /** End the connection; the session waits on the server for a while. */
  close() {
    this._closing = true;
    this._neverMind();
    clearTimeout(this._inputTimer);
    clearInterval(this._watchTimer);
    this._link?.close();
  }

  // -- the session ----------------------------------------------------------------------------------------------------

  async _start() {
    const kept = (await this._store?.session()) ?? null;
    const { secret, name = "" } = this._options;
    const device = secret ?? (await this._store?.secret()) ?? crypto.getRandomValues(new Uint8Array(32));
    this._login = { t: "login", secret: device, name };
    if (kept && this.urls.includes(kept.server)) {
      this.session = kept.session;
      this._secret = fromBase64(kept.secret);
      this._after = [kept.eventTick, kept.eventIndex];
    }
    const backoff = new Backoff();
    for (let attempt = 0; ; attempt++) {
      try {
        await this._enter(this.session ? this._resume() : this._login);
        break;
      } catch (error) {
        const ended = /** @type {Ended} */ (error);
        if (this.session && !ended.again) this.session = ""; // it grew too old: log in
        else if (!ended.again || attempt >= HOPS_MAX || !this.session) throw error;
        else await sleep(backoff.next());
      }
    }
    if (typeof addEventListener === "function") addEventListener("pagehide", () => this._keep());
    void this._live();
    this._pump();
    this._watchTimer = setInterval(() => this._watch(), LOOK_EVERY_MS);
    await this._ready();
  }

  /** Serve the session until it is over. */
  async _live() {
    for (;;) {
      const served = /** @type {Link} */ (this._link);
      let ended = await served.run(this);
      const ours = ended.code === ErrorCode.SESSION_REPLACED; // by our own second connection, if there is one
      if (this._standby && (this._standby.told || ours) && !this._closing && this._link === served) {
        await Promise.race([this._standbyOver(served), sleep(ANSWER_MS)]); // it was made before this one broke
      }
      if (this._link !== served) continue;
      this._neverMind();
      if (this._closing) return;
      const anew = ended.code === ErrorCode.SESSION_GONE;
      const patienceS = this._options.reconnectS ?? this._resumeS;
      if ((ended.again || anew) && patienceS > 0) {
        this._lost(ended.message);
        const failed = await this._comeBack(ended, patienceS);
        if (this._closing) return;
        if (!failed) {
          this.resumes += 1;
          continue;
        }
        ended = failed;
      }
      this._over(ended);
      return;
    }
  }

  /** @param {Link} served */
  async _standbyOver(served) {
    while (this._link === served && this._standby) await this._change();
  }

  /** Take the session up again, or log in anew; returns why not, otherwise. @param {Ended} lost @param {number} patienceS */
  async _comeBack(lost, patienceS) {
    const backoff = new Backoff(), until = clock() + patienceS;
    let entry = lost.code === ErrorCode.SESSION_GONE && !lost.again ? this._login : this._resume();
    let urls = this._othersFirst(), last = lost.message;
    while (clock() < until) {
      await sleep(backoff.next());
      if (this._closing) return null;
      try {
        await this._enter(entry, null, urls);
        return null;
      } catch (error) {
        if (!(error instanceof Ended)) throw error;
        last = error.message;
        if (!error.again) {
          if (error.code !== ErrorCode.SESSION_GONE || entry === this._login) return error;
          entry = this._login;
        }
      }
      urls = [...urls.slice(1), urls[0]];
    }
    return new Ended(lost.code, `${lost.message}; it could not be taken up again within ${patienceS} s: ${last}`, false);
  }

  /**
   * Enter where we are told to, or at one of `urls`; a connection that there is makes way behind the welcome. Throws
   * Ended.
   * @param {any} entry @param {any} [to] a redirect @param {string[]} [urls] @param {Standby} [standby]
   */
  async _enter(entry, to = null, urls = this.urls, standby = { told: false, cancelled: false, link: null }) {
    for (let hop = 0; hop <= HOPS_MAX; hop++) {
      const link = await Link.reach(to ? [this._urlOf(to)] : urls);
      try {
        if (standby.cancelled) throw Ended.lost("not wanted any more");
        standby.link = link;
        const welcome = await link.enter(entry);
        standby.link = null; // from now on the server knows no other: whatever we wanted, this is our connection
        if (this._closing) {
          link.close();
          return;
        }
        const before = this._link;
        this._link = link;
        before?.close();
        this._welcomed(welcome, entry.t === "resume");
        return;
      } catch (error) {
        link.close();
        if (!(error instanceof Redirected)) throw error;
        to = error.redirect;
        if (entry.t === "resume") entry = { ...entry, ticket: to.ticket };
      }
    }
    throw new Ended(ErrorCode.ROOM_MOVING, "sent from node to node without end", true);
  }

  /** @param {any} [more] `above`, `ticket` */
  _resume(more = {}) {
    const [event_tick, event_index] = this.room?.heard ?? this._after ?? [0, 0];
    return { t: "resume", session: this.session, secret: this._secret, event_tick, event_index, ...more };
  }

  /** Where a server sends us to. @param {any} redirect */
  _urlOf({ host, port }) {
    const url = new URL(this._link?.url ?? this.urls[0]);
    if (host) url.hostname = host.includes(":") ? `[${host}]` : host;
    url.port = String(port);
    return url.href;
  }

  /** The addresses, that of the present connection last: its node may have lost touch with the store. */
  _othersFirst() {
    return [...this.urls].sort((a, b) => Number(a === this._link?.url) - Number(b === this._link?.url));
  }

  /** @param {any} message @returns {Promise<any>} */
  async _request(message) {
    for (let hop = 0; hop < HOPS_MAX; hop++) {
      await this._ready();
      const late = sleep(ANSWER_MS).then(() => {
        throw new HoldfastError(ErrorCode.TIMED_OUT, `no answer to ${message.t}`);
      });
      const answer = await Promise.race([/** @type {Link} */ (this._link).request(message), late]);
      if (answer.t !== "redirect") return answer;
      await this._enter(this._resume({ ticket: answer.ticket }), answer);
    }
    throw new HoldfastError(ErrorCode.ROOM_MOVING, "sent from node to node without end");
  }

  // -- another node ---------------------------------------------------------------------------------------------------

  /** Ask another node for the room, at a higher epoch than ours; the present connection stays meanwhile. @param {any} redirect null: any node may know */
  _seek(redirect) {
    if (!redirect && this._standby) return;
    this._neverMind();
    /** @type {Standby} */
    const standby = { told: redirect !== null, cancelled: false, link: null };
    this._standby = standby;
    if (redirect) this._missing = false;
    void this._stand(standby, redirect);
  }

  /** @param {Standby} standby @param {any} redirect */
  async _stand(standby, redirect) {
    const backoff = new Backoff();
    let urls = this._othersFirst();
    while (!standby.cancelled && !this._closing) {
      try {
        const more = redirect ? { ticket: redirect.ticket } : {};
        const above = this.room?.epoch ?? 0;
        await this._enter(this._resume({ above, ...more }), redirect, urls, standby);
        break;
      } catch (error) {
        if (!(error instanceof Ended)) throw error;
        redirect = null;
        urls = [...urls.slice(1), urls[0]];
        await sleep(backoff.next());
      }
    }
    if (this._standby === standby) {
      this._standby = null;
      this._changed();
    }
  }

  /** The room is heard again, or there is no connection that could stay. */
  _neverMind() {
    this._missing = false;
    if (this._standby) {
      this._standby.cancelled = true;
      this._standby.link?.close();
    }
    this._standby = null;
  }

  /** Ask another node when nothing is heard of the room. */
  _watch() {
    const now = clock(), stalled = now - this._lookedAt > LOOK_EVERY_MS / 1000 + STALLED_S;
    this._lookedAt = now;
    if (stalled || this.paused || this._closing || this._standby?.told || !this.room?.silent(now)) return;
    this._lost("nothing is heard of the room");
    this._seek(null);
    this._missing = true;
  }

  // -- what connections bring -----------------------------------------------------------------------------------------

  /** @param {any} message */
  take(message) {
    const room = this.room;
    switch (message.t) {
      case "seated": return this._seated(message);
      case "part":
        if (room instanceof ObjectRoom && message.room === room.id) {
          room._takePart(message);
          this._checkBack();
        }
        return undefined;
      case "left":
        if (room?.id === message.room) this._seatGone(new HoldfastError(ErrorCode.NOT_SEATED, "the seat was given up"));
        return undefined;
      case "events":
        if (room?.id === message.room) room?._takeEvents(message);
        return undefined;
      case "pong": return this._pong(message);
      case "notice":
        this.emit("notice", String(message.text));
        return undefined;
      case "redirect": return message.ref ? undefined : this._seek(message);
      case "error":
        if (!message.ref && SEAT_GONE.includes(message.code)) {
          const code = message.code === ErrorCode.ROOM_CLOSED.number ? ErrorCode.ROOM_CLOSED : ErrorCode.NOT_SEATED;
          this._seatGone(new HoldfastError(code, message.message));
        }
        return undefined;
      default: return undefined;
    }
  }

  /** @param {Uint8Array} data */
  takeFrame(data) {
    const room = this.room;
    if (!(room instanceof RowRoom) || !room._receive(data)) return;
    this._heardAt = clock();
    if (this._missing) this._neverMind();
    this._checkBack();
  }

  /** @param {any} message */
  _pong(message) {
    const now = clock(), sentAt = Number(message.time_us) / 1e6;
    this._pings.push((now - sentAt) * 1000);
    if (this._pings.length > 8) this._pings.shift();
    this.pingMs = Math.min(...this._pings);
    if (this.room instanceof RowRoom) this.room.play.clock.pong(sentAt, now);
  }

  /** @param {any} welcome @param {boolean} resumed */
  _welcomed(welcome, resumed) {
    this.account = welcome.account;
    this.name = welcome.name;
    this.node = welcome.node ?? "";
    this.games = welcome.games;
    this.session = welcome.session;
    this._secret = welcome.secret;
    this._resumeS = welcome.resume_s ?? 0;
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
    this._changed();
  }

  /** @param {any} seated */
  _seated(seated) {
    const room = this.room;
    if (room && seated.resumed && room._continues(seated)) {
      const moved = seated.epoch > room.epoch;
      room._resume(seated);
      if (moved && !this._away) this.emit("moved", { pauseMs: (clock() - this._heardAt) * 1000, epoch: room.epoch, moved });
    } else {
      const after = seated.resumed ? this._after : null;
      const rules = this._options.rules?.[seated.game]?.(seated.options, seated.tick_hz) ?? null;
      const next = seated.parts ? new ObjectRoom(this, seated, after) : new RowRoom(seated, after, rules);
      room?._end(new HoldfastError(ErrorCode.NOT_SEATED, "another seat has taken its place"));
      this.room = next;
      this._heardAt = clock();
      this.emit("room", next);
    }
    this._expected = this.heldRoom = "";
    this._checkBack();
    this._changed();
  }

  /** @param {HoldfastError} error */
  _seatGone(error) {
    this._expected = "";
    this._endRoom(error);
    this._checkBack();
    this._changed();
  }

  /** @param {HoldfastError} error */
  _endRoom(error) {
    const room = this.room;
    this.room = null;
    if (!room) return;
    room._end(error);
    this.emit("room", null);
  }

  /** The connection is lost, or the room silent; what follows is `_checkBack` or `_over`. @param {string} why */
  _lost(why) {
    this.paused = true;
    this.room?._lost();
    if (this._away) return;
    this._away = true;
    this._epochAway = this.room?.epoch ?? 0;
    this._quietSince = this.room instanceof RowRoom ? this._heardAt : clock();
    this.emit("paused", why);
  }

  /**
   * A pause ends when the seat is back (a room of rows: with its first frame), or known to be gone.
   */
  _checkBack() {
    const room = this.room;
    if (!this.paused || this._expected || this._missing || !this._link || (room && !room.ready)) return;
    if (this._away && room instanceof RowRoom && !room.play.newest) return;
    this.paused = false;
    if (this._away) {
      this._away = false;
      const now = clock(), epoch = room?.epoch ?? 0;
      this.emit("resumed", { pauseMs: (now - this._quietSince) * 1000, epoch, moved: epoch > this._epochAway });
    }
    this._changed();
  }

  /** @param {HoldfastError} error */
  _over(error) {
    this.error = error;
    this._store?.keep(null);
    clearTimeout(this._inputTimer);
    clearInterval(this._watchTimer);
    this._endRoom(error);
    this.emit("ended", error);
    this._changed();
  }

  /** Keep what a reload needs. */
  _keep() {
    if (!this._store || this.error || !this._link) return;
    const [eventTick, eventIndex] = this.room?.heard ?? this._after ?? [0, 0];
    this._store.keep({ server: this.urls[0], session: this.session, secret: toBase64(this._secret), eventTick, eventIndex });
  }

  // -- the input clock ------------------------------------------------------------------------------------------------

  /** Inputs when they are due; while none can be made, what is unacknowledged, once a tick. */
  _pump() {
    let waitMs = 20;
    const room = this.room, link = this._link;
    if (room instanceof RowRoom && link && !link.ended && !this._expected && !room.ended) {
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

  // -- waiting --------------------------------------------------------------------------------------------------------

  /** Wait out a pause. Throws HoldfastError when the session is over. */
  async _ready() {
    this._check();
    while (this.paused) await this._change();
  }

  /** Wait for the next change. Throws HoldfastError when the session is over. */
  async _change() {
    await new Promise((resolve) => this._waiters.add(() => resolve(undefined)));
    this._check();
  }

  _changed() {
    const waiters = [...this._waiters];
    this._waiters.clear();
    for (const wake of waiters) wake();
  }

  _check() {
    if (this.error) throw this.error;
  }
}

/** @param {number} ms */
function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
