/** A few words for making and keeping elements. */

/**
 * Make an element: `make("button.hot", {onclick}, "Kill")`. @param {string} what tag and classes
 * @param {Record<string, any>} [has] properties (data-… and aria-… are attributes) @param {...(Node|string)} inside
 */
export function make(what, has = {}, ...inside) {
  const [tag, ...classes] = what.split(".");
  const made = document.createElement(tag || "div");
  if (classes.length) made.className = classes.join(" ");
  for (const [name, value] of Object.entries(has)) {
    if (/^(data|aria)-|^(role|scope|for|colspan)$/.test(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...inside);
  return made;
}

/** Set a text only where it differs: what is selected stays selected. @param {Element} where @param {string} text */
export function say(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

/**
 * Bring the children of an element in line with a list; elements of the same key stay, and with them focus and state.
 * @template T
 * @param {Element} where @param {T[]} list @param {(one: T) => string} key @param {(one: T) => Element} create
 * @param {(made: any, one: T) => void} update
 */
export function keep(where, list, key, create, update) {
  const there = new Map([...where.children].map((child) => [child.dataset.key, child]));
  let at = where.firstElementChild;
  for (const one of list) {
    const name = key(one);
    let made = there.get(name);
    if (!made) {
      made = create(one);
      made.dataset.key = name;
    }
    there.delete(name);
    if (made === at) at = at.nextElementSibling;
    else where.insertBefore(made, at);
    update(made, one);
  }
  for (const gone of there.values()) gone.remove();
}

/** Milliseconds for people. @param {number} ms */
export function span(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 0)} s`;
}

/** Seconds for people. @param {number} s */
export function age(s) {
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 129600 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}

/** @param {number} n */
export const count = (n) => n.toLocaleString("en", { maximumFractionDigits: 0 });

/** @param {number} n @param {string} what */
export const some = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;
