/**
 * The cluster: a card a node, with a tile a room; and the timeline of takeovers.
 *
 * A tile's colour is its phase's tick (p99 of five seconds) against the time that there is for it; rooms of one phase
 * are stepped together, so they share a colour. A tile that has moved stands out for a while.
 */

import { drain, kill } from "./api.js";
import { age, count, keep, make, say, some, span } from "./dom.js";
import { timeline } from "./timeline.js";

const STEPS = [0.1, 0.25, 0.5, 0.8];
const MOVED_MS = 8000;
const GONE_MS = 20000;
const LOOK_TAKEOVERS_EVERY = 2;

export function cluster(tools) {
  const nodes = make("div.nodes");
  const gone = make("p.dim");
  const line = timeline();
  const element = make(
    "div.cluster",
    {},
    make("section", { "aria-label": "Nodes" }, nodes, gone, legend()),
    make("section.past", { "aria-label": "Takeovers" }, make("h2", {}, "Takeovers"), line.element),
  );
  const before = new Map(); // incarnation → counts at a time, for rates
  const epochs = new Map(); // room → {epoch, movedAt}
  const seen = new Map(); // node → {one, at} when it was there last
  let looks = 0;

  async function look() {
    const found = await tools.ask("/cluster");
    const flow = rates(found.nodes, before);
    note(found.nodes, epochs);
    keep(nodes, withGone(found.nodes, seen), (one) => one.node, card, (made, one) => {
      show(made, one, { flow: flow.by.get(one.incarnation), epochs, may: found.may_kill, alone: found.nodes.length < 2 });
    });
    say(gone, found.nodes.length ? "" : "no node is alive");
    tools.sums([
      ["nodes", count(found.nodes.length)],
      ["rooms", count(found.rooms)],
      ["players", count(found.players)],
      ["frames/s", count(flow.frames)],
      ["inputs/s", count(flow.inputs)],
    ]);
    if (looks++ % LOOK_TAKEOVERS_EVERY === 0) line.show(await tools.ask("/takeovers"));
  }

  /** A card, empty. */
  function card(one) {
    const parts = {
      state: make("span.badge"),
      facts: make("p.dim"),
      gauges: make("dl.gauges"),
      tiles: make("ul.tiles", { "aria-label": `Rooms of ${one.node}` }),
      more: make("p.dim"),
      drain: make("button", { type: "button" }, "Drain"),
      kill: make("button.hot", { type: "button" }, "Kill"),
    };
    parts.drain.onclick = () =>
      tools.sure(`Drain ${one.node}`, "It gives its rooms to the other nodes and ends. A supervisor starts it anew.", "Drain it", () => drain(one.node));
    parts.kill.onclick = () => tools.act(() => kill(one.node), `${one.node} gets SIGKILL`);
    parts.drain.setAttribute("aria-label", `Drain ${one.node}`);
    parts.kill.setAttribute("aria-label", `Kill ${one.node} with SIGKILL`);
    const made = make(
      "article.node",
      { "aria-label": one.node },
      make("header", {}, make("h2", {}, one.node), parts.state, make("div.acts", {}, parts.drain, parts.kill)),
      parts.facts,
      parts.gauges,
      parts.tiles,
      parts.more,
    );
    made.parts = parts;
    return made;
  }

  return { element, every_ms: 1000, look };
}

/** Bring a card up to date. */
function show(made, one, { flow, epochs, may, alone }) {
  const { parts } = made;
  const report = one.report;
  const state = one.gone ? "gone" : report ? report.state : "silent";
  made.dataset.state = state;
  say(parts.state, state);
  parts.kill.hidden = !may;
  parts.kill.disabled = one.gone === true;
  parts.drain.disabled = alone || one.gone === true || state === "draining";
  if (one.gone) {
    say(parts.facts, `its process ended ${age(one.gone_s)} ago; a supervisor starts it anew`);
    parts.tiles.replaceChildren();
    parts.gauges.replaceChildren();
    say(parts.more, "");
    return;
  }
  const rooms = some(one.rooms, "room");
  if (!report) {
    say(parts.facts, `${rooms}, ${some(one.players, "player")} by its lease; it does not answer`);
    return;
  }
  say(parts.facts, `${rooms}, ${some(one.players, "player")} · up ${age(report.uptime_s)} · pid ${report.pid} · ${Math.round(report.rss_mb)}\u00a0MB`);
  const busiest = report.phases.reduce((a, b) => (b.tick_ms.p99 / b.budget_ms > a.tick_ms.p99 / a.budget_ms ? b : a), report.phases[0]);
  const gauges = [
    ["tick", busiest.tick_ms.p99 / busiest.budget_ms, `${span(busiest.tick_ms.p99)} of ${span(busiest.budget_ms)}`, "p99 of a phase, over five seconds"],
    ["load", one.load, `${Math.round(one.load * 100)} %`, "share of the time spent in ticks"],
    ["lease", 1 - report.lease.left_ms / 1500, report.lease.held ? `${count(report.lease.age_ms)} ms old` : "not held", "rooms stop at 1,500 ms"],
    ["journal", report.journal.lag / 4, report.journal.lag ? `${some(report.journal.lag, "record")} behind` : "stored", "records begun and not stored"],
    ["late", report.tick_late_ms.p99 / 20, span(report.tick_late_ms.p99), "p99 of how late ticks start"],
  ];
  keep(parts.gauges, gauges, (gauge) => gauge[0], gauge, (row, [, share, text]) => {
    row.children[1].style.setProperty("--share", Math.max(0, Math.min(1, share)).toFixed(3));
    row.children[1].dataset.step = step(share);
    say(row.children[2], text);
  });
  const byPhase = new Map(report.phases.map((phase) => [`${phase.game} ${phase.phase}`, phase]));
  const ordered = [...report.rooms_told].sort((a, b) => (a.room < b.room ? -1 : 1));
  keep(parts.tiles, ordered, (told) => told.room, tile, (item, told) => {
    const link = item.firstChild;
    const phase = byPhase.get(`${told.game} ${told.phase}`);
    const share = phase ? phase.tick_ms.p99 / phase.budget_ms : 0;
    link.dataset.step = step(share);
    const { moved } = epochs.get(told.room) ?? {};
    link.classList.toggle("moved", moved !== undefined && performance.now() - moved < MOVED_MS);
    say(link.children[0], told.room.slice(0, 4));
    say(link.children[1], String(told.players));
    const epoch = told.epoch > 1 ? `, epoch ${told.epoch}` : "";
    const cost = phase ? `tick ${span(phase.tick_ms.p99)} of ${span(phase.budget_ms)}, its share ${Math.round(told.cost_us)} µs` : "";
    link.title = `${told.game} ${told.room}: ${told.players} of ${told.seats} players${epoch}, ${cost}`;
    link.setAttribute("aria-label", link.title);
  });
  const rest = one.rooms - report.rooms_told.length;
  const per = flow ? `${count(flow.frames)} frames/s, ${count(flow.inputs)} inputs/s` : "";
  say(parts.more, [per, rest > 0 ? `and ${some(rest, "room")} more` : ""].filter(Boolean).join(" · "));
}

const gauge = ([name, , , about]) =>
  make("div", { title: about }, make("dt", {}, name), make("dd.bar", { "aria-hidden": "true" }), make("dd.value"));

const tile = (told) => make("li", {}, make("a.tile", { href: `#/room/${told.room}` }, make("span.id"), make("span.who")));

/** 0 (idle) to 4 (at the limit). @param {number} share */
function step(share) {
  const found = STEPS.findIndex((limit) => share < limit);
  return found < 0 ? STEPS.length : found;
}

/** The nodes that are there, and those that have just gone, each in its place. */
function withGone(nodes, seen) {
  const now = performance.now();
  for (const one of nodes) seen.set(one.node, { one, at: now });
  const missing = [...seen].filter(([, { at }]) => at < now && now - at < GONE_MS);
  const gone = missing.map(([node, { at }]) => ({ node, incarnation: node, gone: true, gone_s: (now - at) / 1000 }));
  return [...nodes, ...gone].sort((a, b) => a.node.length - b.node.length || (a.node < b.node ? -1 : 1));
}

/** What flows, by node, from one look to the next. */
function rates(nodes, before) {
  const by = new Map();
  let [frames, inputs] = [0, 0];
  for (const { incarnation, report } of nodes) {
    if (!report) continue;
    const then = before.get(incarnation);
    if (then && report.at_s > then.at_s) {
      const per = (name) => Math.max(0, (report.counts[name] - then.counts[name]) / (report.at_s - then.at_s));
      by.set(incarnation, { frames: per("frames_sent"), inputs: per("inputs_applied") });
      frames += by.get(incarnation).frames;
      inputs += by.get(incarnation).inputs;
    }
    if (!then || report.at_s - then.at_s > 0.9) before.set(incarnation, report);
  }
  return { by, frames, inputs };
}

/** Note which rooms have moved since the last look. */
function note(nodes, epochs) {
  for (const { report } of nodes) {
    for (const told of report ? report.rooms_told : []) {
      const known = epochs.get(told.room);
      if (!known) epochs.set(told.room, { epoch: told.epoch });
      else if (told.epoch > known.epoch) Object.assign(known, { epoch: told.epoch, moved: performance.now() });
    }
  }
}

function legend() {
  const names = ["< 10 %", "< 25 %", "< 50 %", "< 80 %", "more"];
  return make(
    "p.legend",
    {},
    "a room's tick of its time: ",
    ...names.map((name, number) => make("span.tile", { "data-step": String(number) }, name)),
    make("span.tile.moved", {}, "has moved"),
  );
}
