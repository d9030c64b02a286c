/**
 * What the pages share: dark and light, a player's name, where the server is.
 */

/** Take the theme that was chosen, else the system's; `change` hears of every change. @param {() => void} [change] */
export function followTheme(change = () => {}) {
  const light = matchMedia("(prefers-color-scheme: light)");
  const apply = () => {
    document.documentElement.dataset.theme = remembered("theme") || (light.matches ? "light" : "dark");
    change();
  };
  light.addEventListener("change", apply);
  apply();
  return {
    /** The other one, from now on. */
    toggle() {
      remember("theme", document.documentElement.dataset.theme === "light" ? "dark" : "light");
      apply();
    },
  };
}

/** What this browser remembers; "" when it does not. @param {string} key */
export function remembered(key) {
  try {
    return localStorage.getItem(`holdfast.${key}`) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} key @param {string} value */
export function remember(key, value) {
  try {
    localStorage.setItem(`holdfast.${key}`, value);
  } catch {
    // not allowed: the next visit asks again
  }
}

/**
 * The WebSocket addresses of the server: those of `?server=` (several with commas between), else what the page's own
 * server says. Throws Error when it says nothing.
 * @returns {Promise<string[]>}
 */
export async function serverAddresses() {
  const named = new URLSearchParams(location.search).get("server");
  if (named) return named.split(",");
  const response = await fetch("/api/v1/server", { cache: "no-store" });
  if (!response.ok) throw new Error(`the server answers ${response.status}`);
  const { host, port, secure } = await response.json();
  const name = host || location.hostname;
  return [`${secure ? "wss" : "ws"}://${name.includes(":") && !name.startsWith("[") ? `[${name}]` : name}:${port}/`];
}

const ANIMALS = ["Otter", "Heron", "Badger", "Lynx", "Marten", "Osprey", "Stoat", "Raven", "Ibex", "Gannet"];

/** The name that this player has chosen, else one to begin with. */
export function playerName() {
  const any = ANIMALS[Math.floor(Math.random() * ANIMALS.length)];
  return remembered("name") || `${any} ${Math.floor(10 + Math.random() * 90)}`;
}

/** The button that kills the node under this page: for who holds the operator's token (dashboard/kill.js says more). */
export function offerKill() {
  const button = "./dashboard/kill.js";
  if (/[#&]token=/.test(location.hash) || sessionStorage.getItem("holdfast.token")) void import(button);
}

/**
 * The element with this id. Throws Error when the page has none of this kind.
 * @template {typeof Element} Kind
 * @param {string} id
 * @param {Kind} kind
 * @returns {InstanceType<Kind>}
 */
export function part(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return /** @type {InstanceType<Kind>} */ (found);
}

/**
 * An element with text in it.
 * @param {string} tag @param {string} [className] @param {string} [text]
 */
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** A link to this page with only these in its query, the server kept when it was named. @param {Record<string, string>} query */
export function linkWith(query) {
  const link = new URL(location.pathname, location.href);
  const server = new URLSearchParams(location.search).get("server");
  for (const [key, value] of Object.entries({ ...query, ...(server ? { server } : {}) })) {
    if (value) link.searchParams.set(key, value);
  }
  return link.href;
}
