/**
 * The dashboard: which view is shown, when it is brought up to date, and what is asked before something is done.
 *
 *   address #/  ─► cluster      #/players ─► players      #/room/ID ─► room
 *   every view: {element, every_ms, look(): Promise} ─► looked at as long as it is shown and the page is in sight
 */

import { Refused, ask, takeToken, useToken } from "./api.js";
import { cluster } from "./cluster.js";
import { say } from "./dom.js";
import { players } from "./players.js";
import { room } from "./room.js";

const part = (id) => document.getElementById(id);
const WAIT_MS = 1000;
let shown;
let turn = 0;

/** Show the view that the address names. */
function route() {
  takeToken();
  const [, name = "", what = ""] = location.hash.split("/");
  shown?.end?.();
  const view = name === "room" && /^[0-9a-f]{16}$/.test(what) ? "room" : name === "players" ? "players" : "cluster";
  shown = { room: () => room(what, tools), players: () => players(tools), cluster: () => cluster(tools) }[view]();
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  part("main").replaceChildren(shown.element);
  turn += 1;
  look(turn);
}

/** Look, again and again, until another view is shown. */
async function look(mine) {
  while (mine === turn) {
    let wait = shown.every_ms;
    if (!document.hidden) {
      try {
        await shown.look();
        pulse("live", "live");
      } catch (error) {
        if (mine !== turn) return;
        if (error instanceof Refused && (error.status === 401 || error.status === 403)) await token(error.message);
        else pulse("lost", error instanceof Refused ? error.message : "no node answers; trying again");
        wait = WAIT_MS;
      }
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}

function pulse(state, text) {
  part("pulse").dataset.state = state;
  say(part("pulse"), text);
}

/** Ask for the token, until one is given. */
function token(why) {
  const dialog = part("key");
  pulse("lost", "the token is needed");
  say(part("key-bad"), sessionStorage.length ? why : "");
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener(
      "close",
      () => {
        if (part("key-text").value) useToken(part("key-text").value);
        part("key-text").value = "";
        done();
      },
      { once: true },
    );
  });
}

const tools = {
  ask,
  /** Words for everybody who looks, and listens. */
  tell(text) {
    say(part("said"), text);
    clearTimeout(tools.timer);
    tools.timer = setTimeout(() => say(part("said"), ""), 6000);
  },
  /** Do something that cannot be taken back: after a question, and with a word on what came of it. */
  async sure(title, text, verb, act) {
    say(part("sure-title"), title);
    say(part("sure-text"), text);
    say(part("sure-yes"), verb);
    const dialog = part("sure");
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
    if (dialog.returnValue !== "yes") return;
    await tools.act(act, title);
  },
  async act(act, what) {
    try {
      await act();
      tools.tell(`${what}: done`);
    } catch (error) {
      tools.tell(`${what}: ${error.message}`);
    }
  },
  sums(list) {
    const parts = list.flatMap(([name, value]) => {
      const term = document.createElement("dt");
      const told = document.createElement("dd");
      term.textContent = name;
      told.textContent = value;
      return [term, told];
    });
    part("sums").replaceChildren(...parts);
  },
};

addEventListener("hashchange", route);
route();
