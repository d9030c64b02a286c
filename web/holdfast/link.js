/**
 * One connection: a WebSocket whose binary messages hold whole packets of the control channel.
 *
 *     reach ─► enter: hello, login / resume ─► welcome ─► run ─► messages, frames ─► owner
 *              refused ─► Ended      sent elsewhere ─► Redirected     lost ─► Ended
 *
 * A session goes on over another `Link` (client.js). Everything goes over it: a browser has no datagrams, so inputs and
 * frames are packets of kind 1.
 */

import { ErrorCode, HoldfastError, errorCode } from "./errors.js";
import { MESSAGE, REALTIME, frame, packets } from "./framing.js";
import { pack, unpack } from "./msgpack.js";

export const PROTOCOL = 1;
const SUBPROTOCOL = "holdfast.1";
const AGENT = "holdfast web";
const INPUT = Uint8Array.of(1);
const FRAME = 2;
/** How long the answer to the first words may take: a node holds a resume while the room has no owner. */
const ENTER_MS = 10_000;
/** The first attempts to open a connection are given up after so long; the last one waits longest. */
const PATIENCE_MS = [300, 900, 5000];
const PING_MS = 1000;
/** Nothing for so long, though there were pings to answer: the connection is given up. */
const SILENT_MS = 6000;
const REQUESTS_MAX = 64;
/** @type {Record<string, string[]>} */
const ANSWERS = {
  list_rooms: ["rooms"],
  create_room: ["room_created", "redirect"],
  join: ["seated", "redirect"],
  leave: ["left"],
  watch: ["watching", "redirect"],
  unwatch: ["unwatched"],
};

/** Seconds by the clock that everything here counts on. */
export const clock = () => performance.now() / 1000;

/** Why a connection is over; `again`: whether a new one may take the session up. */
export class Ended extends HoldfastError {
  /** @param {import("./errors.js").Code} code @param {string} message @param {boolean} again */
  constructor(code, message, again) {
    super(code, message);
    this.again = again;
  }

  /** By the server, which says whether trying again may help. @param {any} error the message */
  static refused(error) {
    return new Ended(errorCode(error.code), error.message, error.retryable);
  }

  /** By the network, or by silence. @param {string} message */
  static lost(message) {
    return new Ended(ErrorCode.TIMED_OUT, message, true);
  }
}

/** Another node is the right one for this session. */
export class Redirected extends Error {
  /** @param {any} redirect the message */
  constructor(redirect) {
    super(`go on at ${redirect.host}:${redirect.port}`);
    this.redirect = redirect;
  }
}

/**
 * Whom a link serves.
 * @typedef {{take(message: any): void, takeFrame(data: Uint8Array): void}} LinkOwner `take` throws HoldfastError when
 *   the message is the server's fault
 */

export class Link {
  /** @param {WebSocket} socket an open one @param {string} url */
  constructor(socket, url) {
    this.url = url;
    /** Bytes that came and went. */
    this.bytesIn = 0;
    this.bytesOut = 0;
    this._socket = socket;
    this._heardAt = clock();
    this._greeted = false;
    /** @type {any[]} what came before anybody was served */
    this._unread = [];
    /** @type {(() => void) | null} */
    this._wake = null;
    /** @type {LinkOwner | null} */
    this._owner = null;
    /** @type {Ended | null} */
    this._ended = null;
    /** @type {(ended: Ended) => void} */
    this._onEnd = () => {};
    /** @type {Map<number, {kind: string, resolve: (message: any) => void, reject: (error: Error) => void}>} */
    this._requests = new Map();
    this._ref = 0;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this._timer = undefined;
    socket.onmessage = (event) => this._receive(new Uint8Array(event.data));
    socket.onclose = (event) => this._end(Ended.lost(event.reason || `the connection was lost (${event.code})`));
  }

  /**
   * An open connection. Throws Ended. A signal that is aborted gives it up.
   * @param {string} url @param {AbortSignal} [signal]
   * @returns {Promise<Link>}
   */
  static open(url, signal) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, SUBPROTOCOL);
      socket.binaryType = "arraybuffer";
      const giveUp = () => {
        socket.onopen = socket.onclose = null;
        socket.close();
        reject(Ended.lost(`${url} did not answer`));
      };
      signal?.addEventListener("abort", giveUp);
      socket.onopen = () => {
        signal?.removeEventListener("abort", giveUp);
        resolve(new Link(socket, url));
      };
      socket.onclose = () => {
        signal?.removeEventListener("abort", giveUp);
        reject(Ended.lost(`${url} cannot be reached`));
      };
    });
  }

  /**
   * A connection to whichever address answers, one after the other, again and again with more patience. Behind a port
   * that processes share, one that is stopped takes connections and never answers: the next attempt may reach another.
   * (One at a time: browsers open no second connection to an address while the first is not there yet.) Throws Ended.
   * @param {string[]} urls
   */
  static async reach(urls) {
    let failure = Ended.lost("there is no address to go to");
    for (const patienceMs of PATIENCE_MS) {
      for (const url of urls) {
        const given = new AbortController();
        const timer = setTimeout(() => given.abort(), patienceMs);
        try {
          return await Link.open(url, given.signal);
        } catch (error) {
          failure = /** @type {Ended} */ (error);
          if (!given.signal.aborted && urls.length === 1) throw failure; // refused: at once again would be no use
        } finally {
          clearTimeout(timer);
        }
      }
    }
    throw failure;
  }

  /**
   * Say who we are; returns the welcome. Throws Ended and Redirected.
   * @param {any} entry a `login` or `resume` message
   */
  async enter(entry) {
    this._send(
      frame(MESSAGE, pack({ t: "hello", protocol: PROTOCOL, agent: AGENT })),
      frame(MESSAGE, pack(entry)),
    );
    const timer = setTimeout(() => this._end(Ended.lost(`no answer to ${entry.t}`)), ENTER_MS);
    try {
      for (;;) {
        while (this._unread.length) {
          const message = this._unread.shift();
          if (message.t === "welcome") return message;
          if (message.t === "redirect") throw new Redirected(message);
          if (message.t === "error") throw Ended.refused(message);
        }
        if (this._ended) throw this._ended;
        await new Promise((wake) => (this._wake = () => wake(undefined)));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Serve the owner until the connection is over; returns why.
   * @param {LinkOwner} owner
   * @returns {Promise<Ended>}
   */
  run(owner) {
    return new Promise((resolve) => {
      this._owner = owner;
      this._onEnd = resolve;
      for (const item of this._unread.splice(0)) this._dispatch(item);
      if (this._ended) resolve(this._ended);
      else this._timer = setInterval(() => this._keepAlive(), PING_MS);
    });
  }

  /** Why it is over; null while it is not. */
  get ended() {
    return this._ended;
  }

  /** Send a message. @param {any} message */
  say(message) {
    this._send(frame(MESSAGE, pack(message)));
  }

  /** Send an input packet. @param {Uint8Array} packet */
  sendInputs(packet) {
    this._send(frame(REALTIME, INPUT, packet));
  }

  /**
   * Ask; the answer is of the kind that grants it, or a redirect. Throws HoldfastError.
   * @param {any} message
   * @returns {Promise<any>}
   */
  request(message) {
    return new Promise((resolve, reject) => {
      if (this._ended) reject(this._ended);
      else if (this._requests.size >= REQUESTS_MAX) {
        reject(new HoldfastError(ErrorCode.LIMITED, `${REQUESTS_MAX} requests wait for an answer already`));
      } else {
        const ref = (this._ref = (this._ref % 0x7fffffff) + 1);
        this._requests.set(ref, { kind: message.t, resolve, reject });
        this.say({ ...message, ref });
      }
    });
  }

  /** End it. */
  close() {
    this._end(Ended.lost("closed"));
  }

  /** @param {...Uint8Array} packets_ in one message */
  _send(...packets_) {
    if (this._socket.readyState !== WebSocket.OPEN) return;
    const data = packets_.length === 1 ? packets_[0] : new Uint8Array(packets_.flatMap((each) => [...each]));
    this.bytesOut += data.length;
    this._socket.send(data);
  }

  /** @param {Uint8Array} data */
  _receive(data) {
    this._heardAt = clock();
    this.bytesIn += data.length;
    try {
      for (const { kind, payload } of packets(data)) {
        if (kind === MESSAGE) this._message(unpackMessage(payload));
        else if (kind === REALTIME && this._owner && payload[0] === FRAME) this._owner.takeFrame(payload.subarray(1));
        else if (kind !== REALTIME) throw new HoldfastError(ErrorCode.OUT_OF_TURN, `a packet of kind ${kind}`);
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      this._end(new Ended(error.code, error.message, false));
    }
  }

  /** @param {any} message */
  _message(message) {
    if (!this._greeted && message.t === "hello") {
      if (message.protocol !== PROTOCOL) {
        throw new HoldfastError(ErrorCode.WRONG_VERSION, `the server speaks protocol ${message.protocol}`);
      }
      this._greeted = true;
    } else if (this._owner) this._dispatch(message);
    else {
      this._unread.push(message);
      this._wake?.();
    }
  }

  /** @param {any} message */
  _dispatch(message) {
    if (message.t === "error" && message.fatal) {
      this._end(Ended.refused(message));
      return;
    }
    try {
      this._owner?.take(message);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      this._end(new Ended(error.code, error.message, false));
      return;
    }
    const request = message.ref ? this._requests.get(message.ref) : undefined;
    if (!request) return;
    this._requests.delete(message.ref);
    if (message.t === "error") request.reject(new HoldfastError(errorCode(message.code), message.message));
    else if (ANSWERS[request.kind].includes(message.t)) request.resolve(message);
    else this._end(new Ended(ErrorCode.BAD_MESSAGE, `${message.t} is no answer to ${request.kind}`, false));
  }

  _keepAlive() {
    if (clock() - this._heardAt > SILENT_MS / 1000) this._end(Ended.lost(`nothing was heard for ${SILENT_MS / 1000} s`));
    else this.say({ t: "ping", time_us: Math.round(clock() * 1e6) });
  }

  /** @param {Ended} ended the first reason is the one that counts */
  _end(ended) {
    if (this._ended) return;
    this._ended = ended;
    clearInterval(this._timer);
    this._socket.onmessage = this._socket.onclose = null;
    this._socket.close();
    const lost = new HoldfastError(
      ended.again ? ErrorCode.TIMED_OUT : ended.code,
      ended.again ? "the connection was lost before the answer came; what was asked for may have been done" : ended.message,
    );
    for (const { reject } of this._requests.values()) reject(lost);
    this._requests.clear();
    this._wake?.();
    this._onEnd(ended);
  }
}

/** @param {Uint8Array} payload */
function unpackMessage(payload) {
  let message;
  try {
    message = unpack(payload);
  } catch (error) {
    throw new HoldfastError(ErrorCode.BAD_MESSAGE, `not msgpack: ${error}`);
  }
  if (typeof message?.t !== "string") throw new HoldfastError(ErrorCode.BAD_MESSAGE, "a map with 't' is wanted");
  return message;
}
