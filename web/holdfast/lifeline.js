/**
 * A session kept alive over one connection after the other, on whichever node its room is (`netcode/lifeline.py`).
 *
 *     connected ──lost──► paused ── resume ─► welcome ─► `back` ──► connected
 *         │                 ├────── the session is gone ─► login ─► welcome: another session of the same account
 *         └──refused──► over ◄───── nothing within its time
 *     a request is redirected ─► resumed there, asked again       the old connection is closed behind the welcome
 *     the room moves (told), or nothing is heard of it ─► standby: resume (above = epoch) elsewhere ─► the same
 *
 * Requests that were under way when a connection was lost fail as TIMED_OUT; new ones wait until the session is back.
 */

import { Backoff } from "./backoff.js";
import { Ended, Link, Redirected, clock } from "./link.js";
import { ErrorCode, HoldfastError } from "./errors.js";

const ANSWER_MS = 10_000;
export const HOPS_MAX = 4;
const LOOK_EVERY_MS = 100;
/** A look that comes so much too late tells that this page stood still, not that the server did. */
const STALLED_S = 0.3;

/**
 * Whose session it is.
 * @typedef {object} Owner
 * @property {(message: any) => void} take
 * @property {(data: Uint8Array) => void} takeFrame
 * @property {(welcome: any, resumed: boolean) => void} welcomed there is a connection
 * @property {() => [number, number]} lastEvent (tick, index) of the newest event that came
 * @property {() => number} epoch of the room; 0 without one
 * @property {(now: number) => boolean} silent whether nothing has been heard of the room for too long
 * @property {(why: string) => void} lost what follows is `welcomed` or `over`
 * @property {(error: HoldfastError) => void} over
 *
 * @typedef {{told: boolean, cancelled: boolean, link: Link | null}} Standby a second connection that is being made;
 *   `told`: where the server sent us to
 */

export class Lifeline {
  /** @param {Owner} owner @param {string[]} urls @param {any} login the message @param {number} [reconnectS] */
  constructor(owner, urls, login, reconnectS) {
    this.urls = urls;
    this.session = "";
    this.secret = new Uint8Array(0);
    /** Whether there is no connection, or something that belongs to the session is not back yet. */
    this.paused = true;
    /** Whether it is paused because nothing is heard of the room, over a connection that is still there. */
    this.missing = false;
    /** Why the session is over; null while it is not. @type {HoldfastError | null} */
    this.error = null;
    /** How often it was taken up again. */
    this.resumes = 0;
    /** The present connection, or the last. @type {Link | null} */
    this.link = null;
    this._owner = owner;
    this._login = login;
    this._reconnectS = reconnectS;
    this._resumeS = 0;
    this._closing = false;
    /** @type {Standby | null} */
    this._standby = null;
    /** @type {Set<() => void>} */
    this._waiters = new Set();
    this._lookedAt = clock();
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this._timer = undefined;
  }

  /** The first connection: the session of before where there is one (and it is not too old), else a log-in. Throws Ended. */
  async start() {
    const backoff = new Backoff();
    for (let attempt = 0; ; attempt++) {
      try {
        await this.enter(this.session ? this.resume() : this._login);
        break;
      } catch (error) {
        if (!(error instanceof Ended)) throw error;
        if (this.session && !error.again) this.session = ""; // it grew too old: log in
        else if (!this.session || attempt >= HOPS_MAX) throw error;
        else await sleep(backoff.next());
      }
    }
    void this._live();
    this._timer = setInterval(() => this._watch(), LOOK_EVERY_MS);
  }

  /** End the connection; the session waits on the server for a while. */
  close() {
    this._closing = true;
    this.neverMind();
    clearInterval(this._timer);
    this.link?.close();
  }

  /** All that belongs to the session is there again. */
  back() {
    this.paused = false;
    this.changed();
  }

  /** Ask, and wait for the answer, wherever we are sent for it. Throws HoldfastError. @param {any} message @returns {Promise<any>} */
  async request(message) {
    for (let hop = 0; hop < HOPS_MAX; hop++) {
      await this.ready();
      const late = sleep(ANSWER_MS).then(() => {
        throw new HoldfastError(ErrorCode.TIMED_OUT, `no answer to ${message.t}`);
      });
      const answer = await Promise.race([/** @type {Link} */ (this.link).request(message), late]);
      if (answer.t !== "redirect") return answer;
      await this.enter(this.resume({ ticket: answer.ticket }), answer);
    }
    throw new HoldfastError(ErrorCode.ROOM_MOVING, "sent from node to node without end");
  }

  /** Wait out a pause. Throws HoldfastError when the session is over. */
  async ready() {
    this.check();
    while (this.paused) await this.change();
  }

  /** Wait for the next change. Throws HoldfastError when the session is over. */
  async change() {
    await new Promise((resolve) => this._waiters.add(() => resolve(undefined)));
    this.check();
  }

  /** Wake those who wait for a change. */
  changed() {
    const waiters = [...this._waiters];
    this._waiters.clear();
    for (const wake of waiters) wake();
  }

  check() {
    if (this.error) throw this.error;
  }

  // -- one connection after the other ---------------------------------------------------------------------------------

  /** Serve the session until it is over. */
  async _live() {
    for (;;) {
      const served = /** @type {Link} */ (this.link);
      let ended = await served.run(this._owner);
      const ours = ended.code === ErrorCode.SESSION_REPLACED; // by our own second connection, if there is one
      if (this._standby && (this._standby.told || ours) && !this._closing && this.link === served) {
        await Promise.race([this._standbyOver(served), sleep(ANSWER_MS)]); // it was made before this one broke
      }
      if (this.link !== served) continue;
      this.neverMind();
      if (this._closing) return;
      const patienceS = this._reconnectS ?? this._resumeS;
      if ((ended.again || ended.code === ErrorCode.SESSION_GONE) && patienceS > 0) {
        this.paused = true;
        this._owner.lost(ended.message);
        const failed = await this._comeBack(ended, patienceS);
        if (this._closing) return;
        if (!failed) {
          this.resumes += 1;
          continue;
        }
        ended = failed;
      }
      clearInterval(this._timer);
      this.error = ended;
      this._owner.over(ended);
      this.changed();
      return;
    }
  }

  /** @param {Link} served */
  async _standbyOver(served) {
    while (this.link === served && this._standby) await this.change();
  }

  /** Take the session up again, or log in anew; returns why not, otherwise. @param {Ended} lost @param {number} patienceS */
  async _comeBack(lost, patienceS) {
    const backoff = new Backoff(), until = clock() + patienceS;
    let entry = lost.code === ErrorCode.SESSION_GONE && !lost.again ? this._login : this.resume();
    let urls = this._othersFirst(), last = lost.message;
    while (clock() < until) {
      await sleep(backoff.next());
      if (this._closing) return null;
      try {
        await this.enter(entry, null, urls);
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
  async enter(entry, to = null, urls = this.urls, standby = { told: false, cancelled: false, link: null }) {
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
        const before = this.link;
        this.link = link;
        before?.close();
        [this.session, this.secret, this._resumeS] = [welcome.session, welcome.secret, welcome.resume_s ?? 0];
        this._owner.welcomed(welcome, entry.t === "resume");
        this.changed();
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
  resume(more = {}) {
    const [event_tick, event_index] = this._owner.lastEvent();
    return { t: "resume", session: this.session, secret: this.secret, event_tick, event_index, ...more };
  }

  /** Where a server sends us to. @param {any} redirect */
  _urlOf({ host, port }) {
    const url = new URL(this.link?.url ?? this.urls[0]);
    if (host) url.hostname = host.includes(":") ? `[${host}]` : host;
    url.port = String(port);
    return url.href;
  }

  /** The addresses, that of the present connection last: its node may have lost touch with the store. */
  _othersFirst() {
    return [...this.urls].sort((a, b) => Number(a === this.link?.url) - Number(b === this.link?.url));
  }

  // -- another node ---------------------------------------------------------------------------------------------------

  /**
   * Ask another node for the room, at a higher epoch than ours; the present connection stays meanwhile.
   * @param {any} redirect the room moves there; null: nothing is heard of it, and any node may know
   */
  seek(redirect) {
    if (!redirect && this._standby) return;
    this.neverMind();
    const standby = { told: redirect !== null, cancelled: false, link: null };
    this._standby = standby;
    void this._stand(standby, redirect);
  }

  /** The room is heard again, or there is no connection that could stay. */
  neverMind() {
    this.missing = false;
    if (this._standby) {
      this._standby.cancelled = true;
      this._standby.link?.close();
    }
    this._standby = null;
  }

  /** @param {Standby} standby @param {any} redirect */
  async _stand(standby, redirect) {
    const backoff = new Backoff();
    let urls = this._othersFirst();
    while (!standby.cancelled && !this._closing) {
      try {
        const more = redirect ? { ticket: redirect.ticket } : {};
        await this.enter(this.resume({ above: this._owner.epoch(), ...more }), redirect, urls, standby);
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
      this.changed();
    }
  }

  /** Ask another node when nothing is heard of the room. */
  _watch() {
    const now = clock(), stalled = now - this._lookedAt > LOOK_EVERY_MS / 1000 + STALLED_S;
    this._lookedAt = now;
    if (stalled || this.paused || this._closing || this._standby?.told || !this._owner.silent(now)) return;
    this.paused = true;
    this._owner.lost("nothing is heard of the room");
    this.seek(null);
    this.missing = true;
  }
}

/** @param {number} ms */
function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
