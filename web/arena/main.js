/**
 * The arena's page: who plays, in which room, and what the menu does. The round itself is round.js.
 */

import { Arena } from "./rules.js";
import { BrowserStore, ErrorCode, HoldfastError, RowRoom, connect } from "../holdfast/index.js";
import { Controls } from "./controls.js";
import { Hud } from "./hud.js";
import { MAPS } from "./maps.js";
import { Painter } from "./draw.js";
import { Round } from "./round.js";
import { Watch } from "./watch.js";
import { element, followTheme, linkWith, offerKill, part, playerName, remember, remembered, serverAddresses } from "../common.js";

const GAME = "arena";
const BOTS = 6;
const ROOMS_EVERY_MS = 3000;
const RETRY_MS = 2000;

const field = part("field", HTMLCanvasElement), menu = part("menu", HTMLDivElement), trouble = part("trouble", HTMLParagraphElement);
const nameInput = part("name", HTMLInputElement), chatLine = part("chat-line", HTMLParagraphElement), chat = part("chat", HTMLInputElement);
const hud = new Hud(), painter = new Painter(field, part("minimap", HTMLCanvasElement));
const store = new BrowserStore();
/** @type {import("../holdfast/client.js").Client | null} */
let client = null;
/** @type {Round | null} */
let round = null;
/** Where a room of this page's address is; `watch`: it is not to be joined. @type {{room?: string, code?: string, watch?: boolean}} */
let wanted = addressed();

const controls = new Controls(field, {
  from: () => round?.from() ?? null,
  place: (x, y) => painter.toUnits(x, y),
  nearestFoe: () => round?.nearestFoe() ?? null,
});
/** What a round is played with; sounds are loaded when somebody wants them. @type {import("./round.js").Desk} */
const desk = { painter, hud, controls, sound: { play() {} } };
const theme = followTheme(fit);
addEventListener("resize", fit);
// For a look from the browser's console, and for tests.
Object.assign(globalThis, { holdfast: { get client() { return client; }, get round() { return round; }, hud, controls } });

function fit() {
  painter.fit(round?.walls ?? MAPS[0]);
  if (!round) painter.drawGround();
}

// -- the session --------------------------------------------------------------------------------------------------------

async function enter() {
  for (;;) {
    try {
      const urls = await serverAddresses();
      client = await connect(urls, { name: nameInput.value.trim(), store, rules: { [GAME]: Arena } });
      break;
    } catch (error) {
      complain(`The server cannot be reached: ${messageOf(error)}. Trying again…`);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
  complain("");
  const here = client;
  here.on("paused", () => hud.note("Connection lost – finding the room…", { ms: 0 }));
  here.on("resumed", (how) => hud.note(movedText(how), { good: true }));
  here.on("moved", (how) => hud.note(movedText(how), { good: true }));
  here.on("notice", (text) => hud.note(text, { ms: 8000 }));
  here.on("room", (room) => (room instanceof RowRoom ? begin(room) : end("")));
  here.on("watched", (room) => {
    if (room) begin(room);
    else if (!here.room) end("");
  });
  here.on("ended", (error) => {
    end(error.message);
    complain(error.code.wireName === "session_replaced" ? "This player goes on in another window." : error.message);
  });
  if (here.room instanceof RowRoom && here.room.game === GAME) begin(here.room);
  else {
    if (here.room) await here.leave(); // (of another game: one has one seat)
    openMenu();
  }
}

/** @param {import("../holdfast/client.js").Resumed} how */
function movedText({ pauseMs, moved }) {
  const ms = `${Math.round(pauseMs)} ms`;
  if (!moved) return `Back after ${ms}`;
  return client?.node ? `Moved to ${client.node} in ${ms}` : `Moved to another server in ${ms}`;
}

/** @param {{game?: string, room?: string, code?: string, options?: Record<string, number>}} where */
async function join(where) {
  if (!client) return;
  setBusy(true);
  complain("");
  try {
    const name = nameInput.value.trim();
    remember("name", name);
    if (name !== client.name) { // a name is told at log-in
      client.close();
      store.keep(null);
      client = null;
      await enter();
    }
    await client?.join(where);
    wanted = { ...wanted, watch: false };
    history.replaceState(null, "", linkWith(where.code ? { code: where.code } : { room: round?.room.id ?? "" }));
  } catch (error) {
    if (!round) wanted = {};
    complain(messageOf(error));
    if (round) hud.note(messageOf(error));
  } finally {
    setBusy(false);
  }
}

/** See a room without a seat. @param {{room?: string, code?: string}} where */
async function watch({ room, code }) {
  setBusy(true);
  complain("");
  wanted = { room, code, watch: true };
  try {
    const watched = await client?.watch({ room, code });
    history.replaceState(null, "", linkWith({ watch: watched?.id ?? "", code: code ?? "" }));
  } catch (error) {
    wanted = {};
    complain(messageOf(error));
    openMenu();
  } finally {
    setBusy(false);
  }
}

/** @param {RowRoom | import("../holdfast/room.js").WatchedRoom} room */
function begin(room) {
  const here = /** @type {import("../holdfast/client.js").Client} */ (client), seated = room instanceof RowRoom;
  round?.close();
  controls.release();
  round = room instanceof RowRoom ? new Round(here, room, desk) : new Watch(here, room, desk);
  room.on("ended", ({ code, message }) => {
    if (code !== ErrorCode.ROOM_CLOSED) return;
    wanted = {};
    complain(message);
  });
  hud.show(true, seated);
  closeMenu();
}

/** @param {string} why */
function end(why) {
  round?.close();
  round = null;
  hud.show(false);
  fit();
  openMenu();
  if (why) complain(why);
}

// -- the menu -----------------------------------------------------------------------------------------------------------

function openMenu() {
  menu.hidden = false;
  controls.active = false;
  controls.release();
  const seated = round !== null, joins = !wanted.watch && (wanted.code || wanted.room);
  part("enter", HTMLFormElement).hidden = part("rooms-part", HTMLElement).hidden = seated;
  part("seated", HTMLDivElement).hidden = !seated;
  part("play", HTMLButtonElement).textContent = joins ? "Join the room" : "Play";
  (seated ? part("resume", HTMLButtonElement) : nameInput).focus();
}

function closeMenu() {
  menu.hidden = true;
  controls.active = !(round instanceof Watch);
  field.focus();
}

async function listRooms() {
  const list = part("rooms", HTMLUListElement);
  for (;;) {
    if (!menu.hidden && !round && client && !client.paused && !document.hidden) {
      try {
        const rooms = await client.rooms({ game: GAME });
        const lines = rooms.slice(0, 20).map(({ room, players, seats, options }) => {
          const line = document.createElement("li"), button = document.createElement("button"), look = document.createElement("button");
          const name = options.map ? "Duel" : "Yard", count = `${players} / ${seats}`;
          button.type = look.type = "button";
          button.disabled = players >= seats;
          button.append(element("span", "", name), element("span", "figures dim", count));
          button.addEventListener("click", () => void join({ room }));
          look.textContent = "Watch";
          look.setAttribute("aria-label", `Watch ${name}, ${count}`);
          look.addEventListener("click", () => void watch({ room }));
          line.append(button, look);
          return line;
        });
        list.replaceChildren(...(lines.length ? lines : [element("li", "dim", "None yet: Play opens one.")]));
      } catch {
        // the next look tells
      }
    }
    await new Promise((resolve) => setTimeout(resolve, ROOMS_EVERY_MS));
  }
}

/** @param {string} text */
function complain(text) {
  trouble.textContent = text;
  trouble.hidden = !text;
}

/** @param {boolean} busy */
function setBusy(busy) {
  for (const id of ["play", "create", "bots"]) part(id, HTMLButtonElement).disabled = busy;
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof HoldfastError || error instanceof Error ? error.message : String(error);
}

/** The room that the page's address names. */
function addressed() {
  const query = new URLSearchParams(location.search), watched = query.get("watch");
  const code = query.get("code"), room = watched ?? query.get("room"), watch = watched !== null;
  return code ? { code, watch } : room ? { room, watch } : {};
}

part("enter", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  const { room, code, watch } = wanted;
  void join(!watch && (code || room) ? { room, code } : { game: GAME });
});
part("bots", HTMLButtonElement).addEventListener("click", () => void join({ game: GAME, options: { fillers: BOTS } }));
part("create", HTMLButtonElement).addEventListener("click", async () => {
  try {
    const made = await client?.createRoom(GAME, { private: true, options: { fillers: BOTS } });
    if (made) await join({ code: made.code });
  } catch (error) {
    complain(messageOf(error));
  }
});
part("resume", HTMLButtonElement).addEventListener("click", closeMenu);
for (const id of ["leave", "watch-leave"]) part(id, HTMLButtonElement).addEventListener("click", leave);
part("watch-join", HTMLButtonElement).addEventListener("click", () => {
  const { code } = wanted, room = client?.watched?.id;
  void join(code ? { code } : { room });
});
/** @type {const} */ ([["watch-before", -1], ["watch-next", 1]]).forEach(([id, way]) => {
  part(id, HTMLButtonElement).addEventListener("click", () => round instanceof Watch && round.follow(way));
});
part("share", HTMLButtonElement).addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    hud.note("The link is copied", { good: true });
  } catch {
    hud.note(location.href, { ms: 12_000 });
  }
});
part("theme", HTMLButtonElement).addEventListener("click", () => theme.toggle());
part("sound", HTMLButtonElement).addEventListener("click", toggleSound);
part("graph-button", HTMLButtonElement).addEventListener("click", toggleGraph);
part("menu-button", HTMLButtonElement).addEventListener("click", openMenu);
const railButton = part("rail-button", HTMLButtonElement);
railButton.addEventListener("pointerdown", () => (controls.railPressed = true));
for (const over of ["pointerup", "pointercancel", "pointerleave"]) railButton.addEventListener(over, () => (controls.railPressed = false));
railButton.hidden = !matchMedia("(pointer: coarse)").matches;

async function leave() {
  wanted = {};
  history.replaceState(null, "", linkWith({}));
  await (round instanceof Watch ? client?.unwatch() : client?.leave())?.catch((error) => complain(messageOf(error)));
  openMenu();
}

async function toggleSound() {
  const { Sound } = await import("./sound.js");
  if (!(desk.sound instanceof Sound)) desk.sound = new Sound();
  const on = /** @type {import("./sound.js").Sound} */ (desk.sound).toggle(), button = part("sound", HTMLButtonElement);
  button.textContent = on ? "Sound on" : "Sound off";
  button.setAttribute("aria-pressed", String(on));
}

function toggleGraph() {
  const shown = remembered("graph") !== "yes";
  remember("graph", shown ? "yes" : "no");
  hud.showGraph(shown);
  part("graph-button", HTMLButtonElement).setAttribute("aria-pressed", String(shown));
}

addEventListener("keydown", (event) => {
  if (event.target === chat) {
    if (event.code === "Enter" && chat.value.trim()) void client?.chat(chat.value.trim());
    if (event.code === "Enter" || event.code === "Escape") closeChat();
    return;
  }
  if (!round || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.code === "Escape") {
    if (menu.hidden) openMenu();
    else closeMenu();
  } else if (round instanceof Watch && menu.hidden && ["ArrowLeft", "ArrowRight"].includes(event.code)) {
    round.follow(event.code === "ArrowLeft" ? -1 : 1);
  } else if (!(round instanceof Watch) && menu.hidden && event.code === "Enter") {
    event.preventDefault();
    chatLine.hidden = false;
    controls.active = false;
    controls.release();
    chat.focus();
  } else if (menu.hidden && event.code === "Tab") {
    event.preventDefault();
    hud.allScores = true;
  } else if (menu.hidden && event.code === "KeyG") toggleGraph();
  else if (menu.hidden && event.code === "KeyM") void toggleSound();
});
addEventListener("keyup", (event) => {
  if (event.code === "Tab") hud.allScores = false;
});

function closeChat() {
  chat.value = "";
  chatLine.hidden = true;
  controls.active = menu.hidden;
  field.focus();
}

nameInput.value = playerName();
hud.showGraph(remembered("graph") === "yes");
part("graph-button", HTMLButtonElement).setAttribute("aria-pressed", String(remembered("graph") === "yes"));
const home = part("home", HTMLAnchorElement);
home.href += location.search;
offerKill();
void enter().then(() => {
  void listRooms();
  if (wanted.watch && !round) void watch(wanted);
});
