/**
 * One room: where everybody is, who sits in it, whom it has belonged to.
 *
 * Places are asked for four times a second and drawn in between, as long behind as two looks are apart, so they move
 * evenly. The map grows to hold all that it has seen.
 */

import { Refused } from "./api.js";
import { age, count, keep, make, say, span } from "./dom.js";

const EVERY_MS = 250;
const TRAIL = 12;

export function room(id, tools) {
  const canvas = make("canvas", { "aria-label": "Map of the players' places; the table names them", role: "img" });
  const about = make("p.dim");
  const facts = make("dl.facts");
  const seats = make("tbody");
  const past = make("ol.chain");
  const close = make("button.hot", { type: "button" }, "Close this room");
  close.onclick = () =>
    tools.sure("Close this room", "Its match ends, and its players are told.", "Close it", () => tools.ask(`/rooms/${id}/close`, { method: "POST" }));
  const watch = make("a", { href: `/arena/?watch=${id}`, hidden: true }, "Watch it");
  const map = drawn(canvas);
  const element = make(
    "div.room",
    {},
    make("section.map", { "aria-label": "Map" }, canvas, about),
    make(
      "section",
      { "aria-label": "The room" },
      make("header", {}, make("h2", {}, `Room ${id.slice(0, 8)}`), make("div.acts", {}, watch, close)),
      facts,
      make(
        "table",
        {},
        make("caption", {}, "Players"),
        make("thead", {}, make("tr", {}, ...["seat", "name", "score", ""].map((name) => make(name === "score" ? "th.number" : "th", { scope: "col" }, name)))),
        seats,
      ),
      make("h3", {}, "Whom it has belonged to"),
      past,
    ),
  );

  async function look() {
    let found;
    try {
      found = await tools.ask(`/rooms/${id}${map.hasWalls() ? "" : "?walls=yes"}`);
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
      say(about, "This room has ended.");
      close.disabled = true;
      return;
    }
    tools.sums([["node", found.node], ["epoch", String(found.epoch)], ["tick", count(found.tick)], ["players", `${found.players}/${found.seats}`]]);
    const told = [
      ["game", found.game],
      ["rate", `${found.tick_hz} Hz`],
      ["played for", age(found.tick / found.tick_hz)],
      ["its share of a tick", span(found.cost_us / 1000)],
      ["kind", found.private ? "private" : "open to all"],
    ];
    keep(facts, told, (one) => one[0], ([name]) => make("div", {}, make("dt", {}, name), make("dd")), (row, [, value]) => say(row.lastChild, value));
    keep(seats, found.roster, (one) => `${one.seat} ${one.account}`, seat, (row, one) => {
      row.dataset.away = String(!one.connected);
      say(row.children[0], String(one.seat));
      say(row.children[1], one.connected ? one.name : `${one.name} (away)`);
      say(row.children[2], one.score === null ? "" : String(one.score));
      row.children[0].style.setProperty("--hue", String(hue(one.seat)));
    });
    keep(past, found.chain, (one) => String(one.epoch), () => make("li"), (item, one) => say(item, `epoch ${one.epoch}: ${one.incarnation}`));
    watch.hidden = found.game !== "arena" || found.private;
    map.add(found.map, found.epoch);
    say(about, found.map ? "" : "This game tells no places.");
    canvas.hidden = !found.map;
  }

  function seat(one) {
    const kick = make("button", { type: "button", "aria-label": `Kick ${one.name}` }, "Kick");
    kick.onclick = () =>
      tools.sure(`Kick ${one.name}`, "The session ends and the seat is free.", "Kick", async () => {
        const all = await tools.ask("/players?limit=500");
        const found = all.find((player) => player.account === one.account);
        if (!found) throw new Error("this player is not connected");
        await tools.ask(`/players/${found.session}/kick`, { method: "POST" });
      });
    return make("tr", {}, make("td.seat"), make("td"), make("td.number"), make("td", {}, kick));
  }

  return { element, every_ms: EVERY_MS, look, end: map.end };
}

/** A colour for a seat. @param {number} seat */
const hue = (seat) => Math.round((seat * 137.5) % 360);

/** The map on a canvas. */
function drawn(canvas) {
  const looks = []; // {at, places: Map seat → place}
  const trails = new Map();
  let [low, high] = [[Infinity, Infinity], [-Infinity, -Infinity]];
  let walls = null;
  let running = true;

  function add(map, epoch) {
    if (!map) return;
    if (map.walls) walls = map.walls;
    low = low.map((value, axis) => Math.min(value, map.low[axis]));
    high = high.map((value, axis) => Math.max(value, map.high[axis]));
    looks.push({ at: performance.now(), epoch, places: new Map(map.places.map((place) => [place.seat, place])) });
    if (looks.length > 8) looks.shift();
    for (const place of map.places) {
      const trail = trails.get(place.seat) ?? [];
      trail.push([place.x, place.y]);
      trails.set(place.seat, trail.slice(-TRAIL));
    }
    for (const seat of trails.keys()) if (!looks.at(-1).places.has(seat)) trails.delete(seat);
  }

  function draw(now) {
    if (!running) return;
    requestAnimationFrame(draw);
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    if (!looks.length || !width) return;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = canvas.height = Math.round(width * ratio);
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const size = Math.max(high[0] - low[0], high[1] - low[1], 1);
    const margin = 14;
    const scale = (width - 2 * margin) / size;
    const spot = (x, y) => [margin + (x - low[0]) * scale, margin + (y - low[1]) * scale];
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, width);
    pen.strokeStyle = style.getPropertyValue("--line");
    pen.lineWidth = 1;
    pen.fillStyle = style.getPropertyValue("--wall");
    (walls?.rows ?? []).forEach((row, down) => {
      for (const { index, 0: run } of row.matchAll(/#+/g)) {
        const [x, y] = spot(index * walls.tile, down * walls.tile);
        pen.fillRect(x, y, run.length * walls.tile * scale + 0.5, walls.tile * scale + 0.5);
      }
    });
    for (let part = 0; part <= (walls ? -1 : 8); part += 1) {
      const at = margin + ((width - 2 * margin) * part) / 8;
      pen.beginPath();
      pen.moveTo(at, margin);
      pen.lineTo(at, width - margin);
      pen.moveTo(margin, at);
      pen.lineTo(width - margin, at);
      pen.stroke();
    }
    const then = now - EVERY_MS * 1.3;
    const after = looks.find((look) => look.at >= then) ?? looks.at(-1);
    const before = [...looks].reverse().find((look) => look.at < then) ?? after;
    const share = after === before ? 1 : (then - before.at) / (after.at - before.at);
    pen.font = `12px ${style.fontFamily}`;
    pen.textAlign = "center";
    for (const [seat, place] of after.places) {
      const from = before.places.get(seat) ?? place;
      const far = Math.hypot(place.x - from.x, place.y - from.y) > size / 6; // a new life, not a way
      const [x, y] = far ? spot(place.x, place.y) : spot(from.x + (place.x - from.x) * share, from.y + (place.y - from.y) * share);
      const colour = `hsl(${hue(seat)} 70% ${style.getPropertyValue("--seat-light")})`;
      pen.strokeStyle = colour;
      pen.globalAlpha = 0.35;
      pen.beginPath();
      for (const [tx, ty] of trails.get(seat) ?? []) pen.lineTo(...spot(tx, ty));
      pen.stroke();
      pen.globalAlpha = 1;
      pen.fillStyle = colour;
      pen.beginPath();
      pen.arc(x, y, 6, 0, 7);
      pen.fill();
      pen.fillStyle = style.color;
      const name = place.name.slice(0, 16), half = pen.measureText(name).width / 2 + 2;
      pen.fillText(name, Math.min(Math.max(x, half), width - half), y - 10);
    }
  }
  requestAnimationFrame(draw);
  return { add, hasWalls: () => looks.length > 0, end: () => { running = false; } };
}
