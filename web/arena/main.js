/**
 * The arena's page: who plays, in which room, and what the menu does. The round itself is round.js.
 */

import { Arena } from "./rules.js";
import { BrowserStore, HoldfastError, RowRoom, connect } from "../holdfast/index.js";
import { Controls } from "./controls.js";
import { Hud } from "./hud.js";
import { MAPS } from "./maps.js";
import { Painter } from "./draw.js";
import { Round } from "./round.js";
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
/** Where a room of this page's address is. */
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
  here.on("ended", (error) => {
    end(error.message);
    complain(error.code.wireName === "session_replaced" ? "This player goes on in another window." : error.message);
  });
  if (here.room instanceof RowRoom && here.room.game === GAME) begin(here.room);
  else {
    if (here.room) await here.leave(); // (of another game: one has one seat)
    openMenu();
    void listRooms();
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
    history.replaceState(null, "", linkWith(where.code ? { code: where.code } : { room: round?.room.id ?? "" }));
  } catch (error) {
    wanted = {};
    complain(messageOf(error));
  } finally {
    setBusy(false);
  }
}

/** @param {RowRoom} room */
function begin(room) {
  round?.close();
  controls.release();
  round = new Round(/** @type {import("../holdfast/client.js").Client} */ (client), room, desk);
  hud.show(true);
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
  const seated = round !== null;
  part("enter", HTMLFormElement).hidden = part("rooms-part", HTMLElement).hidden = seated;
  part("seated", HTMLDivElement).hidden = !seated;
  part("play", HTMLButtonElement).textContent = wanted.code || wanted.room ? "Join the room" : "Play";
  (seated ? part("resume", HTMLButtonElement) : nameInput).focus();
}

function closeMenu() {
  menu.hidden = true;
  controls.active = true;
  field.focus();
}

async function listRooms() {
  const list = part("rooms", HTMLUListElement);
  for (;;) {
    if (!menu.hidden && !round && client && !client.paused && !document.hidden) {
      try {
        const rooms = await client.rooms({ game: GAME });
        const lines = rooms.slice(0, 20).map(({ room, players, seats, options }) => {
          const line = document.createElement("li"), button = document.createElement("button");
          button.type = "button";
          button.disabled = players >= seats;
          button.append(element("span", "", options.map ? "Duel" : "Yard"), element("span", "figures dim", `${players} / ${seats}`));
          button.addEventListener("click", () => void join({ room }));
          line.append(button);
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

/** The room that the page's address names. @returns {{room?: string, code?: string}} */
function addressed() {
  const query = new URLSearchParams(location.search), code = query.get("code"), room = query.get("room");
  return code ? { code } : room ? { room } : {};
}

part("enter", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void join(wanted.code || wanted.room ? wanted : { game: GAME });
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
part("leave", HTMLButtonElement).addEventListener("click", async () => {
  wanted = {};
  history.replaceState(null, "", linkWith({}));
  await client?.leave().catch((error) => complain(messageOf(error)));
  void openMenu();
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
  } else if (menu.hidden && event.code === "Enter") {
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
void enter();
