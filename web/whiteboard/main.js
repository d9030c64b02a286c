/**
 * The whiteboard's page: the room, two canvases (what is drawn, and what moves over it), and the tools.
 */

import { BrowserStore, HoldfastError, ObjectRoom, connect } from "../holdfast/index.js";
import { Board, SIDE } from "./board.js";
import { Pen, onBoard } from "./pen.js";
import { element, followTheme, linkWith, offerKill, part, playerName, serverAddresses } from "../common.js";

const GAME = "whiteboard";
/** @type {[string, string][]} */
const COLOURS = [
  ["Ink", "#1b222d"], ["Red", "#c8321f"], ["Orange", "#d97706"], ["Green", "#1c8a45"],
  ["Blue", "#1668c7"], ["Violet", "#7c3bbf"], ["Pink", "#d6336c"], ["White", "#fffdf8"],
];
/** @type {[string, number][]} in 1024ths of the board's width */
const WIDTHS = [["Fine", 3], ["Middle", 6], ["Thick", 14], ["Broad", 40]];
const RETRY_MS = 2000;
const KEY_STEP = SIDE / 160;

const paper = part("paper", HTMLCanvasElement), hands = part("hands", HTMLCanvasElement);
const ink = /** @type {CanvasRenderingContext2D} */ (paper.getContext("2d"));
const over = /** @type {CanvasRenderingContext2D} */ (hands.getContext("2d"));
const board = new Board();
/** @type {import("../holdfast/client.js").Client | null} */
let client = null;
/** @type {ObjectRoom | null} */
let room = null;
const pen = new Pen(() => room);
/** Where the keyboard's pen is, board units; null before a key was used. @type {[number, number] | null} */
let key = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let noteTimer;
Object.assign(globalThis, { holdfast: { get client() { return client; }, get room() { return room; }, board, pen } });

const theme = followTheme();

// -- the room -----------------------------------------------------------------------------------------------------------

async function enter() {
  const query = new URLSearchParams(location.search), named = { room: query.get("room") ?? "", code: query.get("code") ?? "" };
  for (;;) {
    try {
      client = await connect(await serverAddresses(), { name: playerName(), store: new BrowserStore("holdfast.whiteboard") });
      client.on("paused", () => note("Connection lost – finding the board…", 0));
      client.on("resumed", ({ pauseMs, moved }) => {
        const where = client?.node ? `Moved to ${client.node}` : "Moved to another server";
        note(`${moved ? where : "Back"} in ${Math.round(pauseMs)} ms. Nothing is lost.`);
      });
      client.on("notice", (text) => note(text, 8000));
      client.on("ended", (error) => note(`${error.message}. Reload to come back.`, 0));
      client.on("room", (next) => next instanceof ObjectRoom && take(next));
      const here = client.room instanceof ObjectRoom && (!named.room || client.room.id === named.room) ? client.room : null;
      if (!here && client.room) await client.leave();
      take(here ?? /** @type {ObjectRoom} */ (await joinNamed(named)));
      note("");
      return;
    } catch (error) {
      client?.close();
      note(`${error instanceof HoldfastError || error instanceof Error ? error.message : error}. Trying again…`, 0);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** The room of the address, else any. @param {{room: string, code: string}} named */
async function joinNamed({ room: id, code }) {
  const here = /** @type {import("../holdfast/client.js").Client} */ (client);
  if (id || code) {
    try {
      return await here.join({ room: id, code });
    } catch (error) {
      note(`${error instanceof Error ? error.message : error}: another board then`);
    }
  }
  return here.join({ game: GAME });
}

/** @param {ObjectRoom} next */
function take(next) {
  if (room === next) return;
  room = next;
  if (!new URLSearchParams(location.search).get("code")) history.replaceState(null, "", linkWith({ room: next.id }));
  const load = () => {
    board.load(next.view);
    repaint();
  };
  if (next.ready) load();
  next.on("view", load);
  next.on("roster", people);
  next.on("settled", (seq) => pen.settled(seq));
  next.on("event", ({ tick, kind, data }) => {
    if (tick <= next.viewTick) return; // the view has it already
    if (kind === "full") {
      pen.full();
      note("The board is full: clear it, or undo something");
      return;
    }
    const { stroke, from = 0, anew } = board.apply(kind, data);
    if (anew) repaint();
    else if (stroke) draw(ink, stroke, from);
  });
  people();
}

function people() {
  const names = room?.roster.filter(Boolean) ?? [];
  part("people", HTMLParagraphElement).textContent = names.length === 1 ? "Alone: share the link" : `${names.length} people: ${names.join(", ")}`;
}

/** @param {string} text @param {number} [ms] 0: it stays */
function note(text, ms = 4000) {
  const line = part("note", HTMLParagraphElement);
  clearTimeout(noteTimer);
  line.textContent = text;
  line.hidden = !text;
  if (text && ms) noteTimer = setTimeout(() => note(""), ms);
}

// -- the picture --------------------------------------------------------------------------------------------------------

/** @param {CanvasRenderingContext2D} on @param {{colour: string, width: number, points: number[]}} stroke @param {number} [from] a point */
function draw(on, { colour, width, points }, from = 0) {
  const kx = on.canvas.width / SIDE, ky = on.canvas.height / SIDE, first = Math.max(0, from) * 2;
  on.strokeStyle = colour;
  on.lineWidth = (width * on.canvas.width) / 1024;
  on.lineCap = on.lineJoin = "round";
  on.beginPath();
  on.moveTo(points[first] * kx, points[first + 1] * ky);
  if (points.length === first + 2) on.lineTo(points[first] * kx + 0.01, points[first + 1] * ky);
  for (let at = first + 2; at < points.length; at += 2) on.lineTo(points[at] * kx, points[at + 1] * ky);
  on.stroke();
}

function repaint() {
  ink.clearRect(0, 0, paper.width, paper.height);
  for (const stroke of board.strokes.values()) draw(ink, stroke);
}

function fit() {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  for (const canvas of [paper, hands]) {
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  }
  repaint();
}

/** What moves: one's own fresh strokes, and where the others' pointers are. */
function picture() {
  requestAnimationFrame(picture);
  over.clearRect(0, 0, hands.width, hands.height);
  for (const stroke of pen.own) draw(over, stroke);
  const kx = hands.width / SIDE, ky = hands.height / SIDE, size = hands.width / hands.clientWidth;
  over.font = `600 ${12 * size}px system-ui, sans-serif`;
  for (const [seat, [x, y]] of board.cursors) {
    if (seat === room?.seat || !room?.roster[seat]) continue;
    over.fillStyle = COLOURS[1 + (seat % 6)][1];
    over.beginPath();
    over.arc(x * kx, y * ky, 5 * size, 0, 2 * Math.PI);
    over.fill();
    over.lineWidth = 3 * size;
    over.strokeStyle = "#fffdf8";
    over.strokeText(room.roster[seat], x * kx + 9 * size, y * ky + 4 * size);
    over.fillText(room.roster[seat], x * kx + 9 * size, y * ky + 4 * size);
  }
  if (key && document.activeElement === hands) {
    over.strokeStyle = pen.down ? pen.colour : "#566172";
    over.lineWidth = 2 * size;
    const x = key[0] * kx, y = key[1] * ky, arm = 10 * size;
    over.beginPath();
    over.moveTo(x - arm, y);
    over.lineTo(x + arm, y);
    over.moveTo(x, y - arm);
    over.lineTo(x, y + arm);
    over.stroke();
  }
}

// -- pointer, keys, tools -----------------------------------------------------------------------------------------------

/** @param {PointerEvent} event */
function at(event) {
  const box = hands.getBoundingClientRect();
  return /** @type {[number, number]} */ (onBoard((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height));
}

hands.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  hands.setPointerCapture(event.pointerId);
  pen.lower(...at(event));
});
hands.addEventListener("pointermove", (event) => {
  for (const each of event.getCoalescedEvents?.() ?? [event]) pen.move(...at(each));
  const [x, y] = at(event);
  pen.point(x, y, performance.now());
});
for (const end of ["pointerup", "pointercancel"]) hands.addEventListener(end, () => pen.lift());

hands.addEventListener("keydown", (event) => {
  const step = KEY_STEP * (event.shiftKey ? 4 : 1);
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.code];
  if (way) {
    const [x, y] = key ?? [SIDE / 2, SIDE / 2];
    key = /** @type {[number, number]} */ (onBoard((x + way[0] * step) / SIDE, (y + way[1] * step * 4 / 3) / SIDE));
    pen.move(...key);
    pen.point(...key, performance.now());
  } else if (event.code === "Space") {
    key ??= [SIDE / 2, SIDE / 2];
    if (pen.down) pen.lift();
    else pen.lower(...key);
  } else return;
  event.preventDefault();
});
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.code === "KeyZ") {
    event.preventDefault();
    pen.undo();
  }
});

/**
 * A row of buttons of which one is chosen; the arrow keys go from one to the next.
 * @template Value
 * @param {HTMLElement} group @param {[string, Value][]} choices @param {Value} chosen
 * @param {(button: HTMLElement, value: Value) => void} paint @param {(value: Value) => void} choose
 */
function radios(group, choices, chosen, paint, choose) {
  const buttons = choices.map(([label, value]) => {
    const button = element("button");
    button.setAttribute("type", "button");
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", label);
    button.title = label;
    paint(button, value);
    return button;
  });
  const check = (/** @type {number} */ number) => {
    buttons.forEach((button, each) => {
      button.setAttribute("aria-checked", String(each === number));
      button.tabIndex = each === number ? 0 : -1;
    });
    choose(choices[number][1]);
  };
  buttons.forEach((button, number) => {
    button.addEventListener("click", () => check(number));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.code];
      if (!step) return;
      event.preventDefault();
      const next = (number + step + buttons.length) % buttons.length;
      check(next);
      buttons[next].focus();
    });
  });
  group.append(...buttons);
  check(choices.findIndex(([, value]) => value === chosen));
}

radios(part("colours", HTMLDivElement), COLOURS, pen.colour, (button, value) => (button.style.background = value), (value) => (pen.colour = value));
radios(part("widths", HTMLDivElement), WIDTHS, pen.width, (button, value) => {
  const dot = element("i");
  dot.style.width = dot.style.height = `${Math.round(4.6 * Math.sqrt(value) - 4)}px`;
  button.append(dot);
}, (value) => (pen.width = value));
part("undo", HTMLButtonElement).addEventListener("click", () => pen.undo());
part("clear", HTMLButtonElement).addEventListener("click", () => pen.clear());
part("theme", HTMLButtonElement).addEventListener("click", () => theme.toggle());
part("share", HTMLButtonElement).addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    note("The link is copied");
  } catch {
    note(location.href, 12_000);
  }
});
const home = part("home", HTMLAnchorElement);
home.href += location.search;
new ResizeObserver(fit).observe(hands);
fit();
requestAnimationFrame(picture);
offerKill();
void enter();
