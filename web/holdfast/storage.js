/**
 * What a browser keeps of a player: who it is (for the device), and the session (for the tab, so that a reload takes
 * the same seat up again).
 *
 *     localStorage     the device's secret      an account that is the same tomorrow
 *     sessionStorage   the tab's session        as good as being logged in, and gone with the tab
 *
 * A second tab of the same browser is another player: one log-in of an account ends the other, so a secret or a session
 * is used by one tab at a time (a Web Lock says which). Where there are no locks (plain http beyond this machine) each
 * tab has a secret of its own, and no account outlives it.
 */

const SECRET_BYTES = 32;
/** A page that is reloaded may wait for so long until its former self has let go. */
const RELOAD_MS = 500;

/**
 * What is kept of a session; `secret` is base64.
 * @typedef {{server: string, session: string, secret: string, eventTick: number, eventIndex: number}} Kept
 */

export class BrowserStore {
  /** @param {string} [name] pages of one origin with another name are other players */
  constructor(name = "holdfast") {
    this.name = name;
  }

  /** The secret that a log-in of this tab goes by. @returns {Promise<Uint8Array>} */
  async secret() {
    const key = `${this.name}.device`;
    if (navigator.locks && (await seize(key, 0))) return secretIn(localStorage, key);
    return secretIn(sessionStorage, key);
  }

  /** The session that this tab had; null without one, or when a copy of this tab has it now. @returns {Promise<Kept | null>} */
  async session() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(`${this.name}.session`) ?? "null");
      if (typeof kept?.session !== "string" || typeof kept?.secret !== "string") return null;
      if (navigator.locks && !(await seize(`${this.name}.${kept.session}`, RELOAD_MS))) {
        sessionStorage.clear(); // a tab that was duplicated is its own player
        return null;
      }
      return kept;
    } catch {
      return null;
    }
  }

  /** Keep the session, or forget it. @param {Kept | null} kept */
  keep(kept) {
    const key = `${this.name}.session`;
    try {
      if (!kept) sessionStorage.removeItem(key);
      else sessionStorage.setItem(key, JSON.stringify(kept));
      if (kept && navigator.locks) void seize(`${this.name}.${kept.session}`, 0);
    } catch {
      // no room, or not allowed: a reload logs in anew
    }
  }
}

/** @type {Set<string>} */
const held = new Set();

/**
 * Hold a lock until this page is gone; whether it is ours within `waitMs`.
 * @param {string} name @param {number} waitMs
 * @returns {Promise<boolean>}
 */
async function seize(name, waitMs) {
  if (held.has(name)) return true;
  return new Promise((resolve) => {
    const options = waitMs ? { signal: AbortSignal.timeout(waitMs) } : { ifAvailable: true };
    navigator.locks
      .request(name, options, (lock) => {
        resolve(lock !== null);
        if (!lock) return undefined;
        held.add(name);
        return new Promise(() => {});
      })
      .catch(() => resolve(false));
  });
}

/** @param {Storage} storage @param {string} key */
function secretIn(storage, key) {
  try {
    const kept = fromBase64(storage.getItem(key) ?? "");
    if (kept.length === SECRET_BYTES) return kept;
  } catch {
    // something else stands there
  }
  const secret = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
  try {
    storage.setItem(key, toBase64(secret));
  } catch {
    // not allowed: known by it until the page is gone
  }
  return secret;
}

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

/** @param {string} text */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
}
