/**
 * The timeline: nodes that died or were drained, newest first, and how long their rooms stood still, on a scale from
 * ten milliseconds to ten seconds whose every third is ten times the one before.
 */

import { keep, make, say, some, span } from "./dom.js";

const LOW_MS = 10;
const DECADES = 3;

/** @param {number} ms */
const place = (ms) => `${(100 * Math.max(0, Math.min(1, Math.log10(Math.max(ms, LOW_MS) / LOW_MS) / DECADES))).toFixed(1)}%`;

export function timeline() {
  const list = make("ol.takeovers");
  const none = make("p.dim", {}, "None so far. Drain or kill a node to see its rooms go on elsewhere.");
  const element = make("div", {}, none, list, scale());
  function show(found) {
    none.hidden = found.length > 0;
    keep(list, found, (one) => `${one.incarnation} ${one.how} ${one.at_s}`, entry, update);
  }
  return { element, show };
}

function entry(one) {
  const parts = { when: make("time"), what: make("strong"), rooms: make("span.dim"), bar: make("div.pauses"), told: make("p"), each: make("ul") };
  parts.when.dateTime = new Date(one.at_s * 1000).toISOString();
  parts.when.textContent = new Date(one.at_s * 1000).toLocaleTimeString();
  parts.bar.setAttribute("aria-hidden", "true");
  parts.bar.append(make("i.half"), make("i.most"));
  const made = make(
    "li.takeover",
    { "data-how": one.how },
    make("header", {}, parts.when, parts.what, parts.rooms),
    parts.bar,
    parts.told,
    make("details", {}, make("summary", {}, "Where its rooms are"), parts.each),
  );
  made.parts = parts;
  return made;
}

function update(made, one) {
  const { parts } = made;
  say(parts.what, `${one.node} ${one.how === "died" ? "died" : "was drained"}`);
  say(parts.rooms, `${some(one.count, "room")} moved`);
  const pause = one.pause_ms;
  parts.bar.hidden = !pause;
  if (pause) {
    parts.bar.style.setProperty("--half", place(pause.p50));
    parts.bar.style.setProperty("--most", place(pause.max));
  }
  const told = pause && (pause.known > 1 ? `${span(pause.p50)} (half of them), ${span(pause.max)} at most` : span(pause.max));
  say(parts.told, told ? `stood still for ${told}` : "how long they stood still is not known");
  keep(parts.each, one.rooms, (moved) => moved.room, () => make("li", {}, make("a"), make("span.dim")), (item, moved) => {
    item.firstChild.href = `#/room/${moved.room}`;
    say(item.firstChild, moved.room.slice(0, 8));
    const to = moved.to.slice(0, moved.to.lastIndexOf("."));
    say(item.lastChild, ` to ${to}, epoch ${moved.epoch}${moved.pause_ms === null ? "" : `, ${span(moved.pause_ms)}`}`);
  });
}

const scale = () => make("p.scale", { "aria-hidden": "true" }, ...["10 ms", "100 ms", "1 s", "10 s"].map((text) => make("span", {}, text)));
