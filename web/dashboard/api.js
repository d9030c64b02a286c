/**
 * The API as pages ask it: with the token, in one place.
 *
 * The token comes in the address (`#token=…`, which no browser sends anywhere), or is typed in; it is kept for this tab
 * alone and taken out of the address. A node that has just died is no reason to fail: looking is tried once more, for
 * another node answers on the same port.
 */

const KEPT = "holdfast.token";
const PATIENCE_MS = 4000;

/** A refusal: the server's own code, name and words. */
export class Refused extends Error {
  /** @param {number} status @param {{code: number, name: string, retryable: boolean, message: string}} told */
  constructor(status, told) {
    super(told.message);
    this.status = status;
    this.code = told.code;
    this.name = told.name;
    this.retryable = told.retryable;
  }
}

/** Take a token out of the address, if there is one; whether this page has one now. */
export function takeToken() {
  const found = /(?:^#|[&#])token=([\w-]{16,})/.exec(location.hash);
  if (found) {
    sessionStorage.setItem(KEPT, found[1]);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(KEPT) !== null;
}

/** Use this token from now on. @param {string} text */
export function useToken(text) {
  sessionStorage.setItem(KEPT, text.trim());
}

/**
 * Ask. @param {string} path under /api/v1 @param {{method?: string, body?: object}} [how]
 * @returns {Promise<any>} the answer; rejects with Refused, or with TypeError where nobody answers.
 */
export async function ask(path, { method = "GET", body } = {}) {
  /** @type {Record<string, string>} */
  const headers = { accept: "application/json" };
  const token = sessionStorage.getItem(KEPT);
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) headers["content-type"] = "application/json";
  const once = () =>
    fetch(`/api/v1${path}`, {
      method,
      headers,
      body: body && JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
  let answer;
  try {
    answer = await once();
  } catch (error) {
    if (method !== "GET") throw error;
    answer = await once();
  }
  const told = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, told.error);
  return told;
}

/** Have a node killed (demonstrations only). @param {string} node */
export const kill = (node) => ask(`/nodes/${node}/kill`, { method: "POST" });

/** Have a node give its rooms away. @param {string} node */
export const drain = (node) => ask(`/nodes/${node}/drain`, { method: "POST" });
