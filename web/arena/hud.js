/**
 * What lies over the picture: scores, clock, kills, health, figures. Plain elements, written only when they change.
 */

import { CHARGES_MAX, EMPTY, HP_MAX } from "./rules.js";
import { element, part } from "../common.js";

const FEED_KEPT = 5;
const FEED_MS = 6000;
const SAMPLES = 110;

export class Hud {
  constructor() {
    this._root = part("hud", HTMLDivElement);
    this._scores = part("scores", HTMLElement);
    this._list = part("score-list", HTMLOListElement);
    this._time = part("time", HTMLSpanElement);
    this._phase = part("phase", HTMLSpanElement);
    this._feed = part("feed", HTMLUListElement);
    this._health = part("health", HTMLDivElement);
    this._shield = part("shield", HTMLDivElement);
    this._hp = part("hp", HTMLSpanElement);
    this._charges = part("charges", HTMLDivElement);
    this._vitals = part("vitals", HTMLElement);
    this._watching = part("watching", HTMLElement);
    this._graph = part("graph", HTMLElement);
    this._graphText = part("graph-text", HTMLElement);
    this._banner = part("banner", HTMLParagraphElement);
    this._note = part("note", HTMLParagraphElement);
    this._lines = /** @type {CanvasRenderingContext2D} */ (part("graph-lines", HTMLCanvasElement).getContext("2d"));
    for (let at = 0; at < CHARGES_MAX; at++) this._charges.append(document.createElement("i"));
    /** @type {Map<string, string>} what was written where */
    this._written = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._noteTimer = undefined;
    /** Milliseconds between pictures, and pings, newest last. @type {number[]} */
    this.intervals = [];
    /** @type {number[]} */
    this.pings = [];
    this.allScores = false;
  }

  /** @param {boolean} there @param {boolean} [seated] whether somebody plays here, or only looks on */
  show(there, seated = true) {
    this._root.hidden = !there;
    this._vitals.hidden = !seated;
    this._watching.hidden = seated;
    if (!there) this.banner("");
  }

  /** @param {boolean} there */
  showGraph(there) {
    this._graph.hidden = !there;
  }

  /** A word that goes by itself; `ms` 0: that stays. @param {string} text @param {{ms?: number, good?: boolean}} [how] */
  note(text, { ms = 4000, good = false } = {}) {
    clearTimeout(this._noteTimer);
    this._note.textContent = text;
    this._note.hidden = !text;
    this._note.classList.toggle("good", good);
    if (text && ms) this._noteTimer = setTimeout(() => this.note(""), ms);
  }

  /** @param {string} text */
  banner(text) {
    this._write("banner", text, () => {
      this._banner.textContent = text;
      this._banner.hidden = !text;
    });
  }

  /** @param {number} hp @param {number} charges */
  vitals(hp, charges) {
    this._write("hp", String(hp), () => {
      this._hp.textContent = String(hp);
      this._health.style.transform = `scaleX(${Math.min(hp, HP_MAX) / HP_MAX})`;
      this._health.classList.toggle("low", hp <= 34);
      this._shield.style.transform = `scaleX(${Math.max(0, hp - HP_MAX) / 50})`;
    });
    this._write("charges", String(charges), () => {
      [...this._charges.children].forEach((child, at) => child.classList.toggle("full", at < charges));
      this._charges.setAttribute("aria-label", `${charges} rail charges`);
    });
  }

  /** Whom we look after, how they are, and whether one could play. @param {string} name @param {number} hp @param {boolean} free */
  watched(name, hp, free) {
    this._write("watched", JSON.stringify([name, hp, free]), () => {
      part("watched-name", HTMLElement).textContent = name;
      part("watched-health", HTMLElement).style.transform = `scaleX(${Math.min(hp, HP_MAX) / HP_MAX})`;
      const join = part("watch-join", HTMLButtonElement);
      join.disabled = !free;
      join.textContent = free ? "Join" : "Full";
    });
  }

  /** @param {number} leftS @param {boolean} between matches */
  clock(leftS, between) {
    const whole = Math.max(0, Math.ceil(leftS));
    const text = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
    this._write("time", text, () => (this._time.textContent = text));
    this._write("phase", String(between), () => (this._phase.textContent = between ? "next match" : ""));
  }

  /**
   * @param {Record<string, number[]>} columns @param {string[]} names @param {number} me
   * @param {(seat: number) => string} colourOf
   */
  scores(columns, names, me, colourOf) {
    const { state, score, deaths } = columns;
    const seats = state.map((_, seat) => seat).filter((seat) => state[seat] !== EMPTY);
    seats.sort((a, b) => score[b] - score[a] || deaths[a] - deaths[b] || a - b);
    const top = this.allScores ? seats : seats.slice(0, 5);
    if (!top.includes(me) && seats.includes(me)) top.push(me);
    const told = JSON.stringify([top.map((seat) => [seat, names[seat], score[seat], deaths[seat], colourOf(seat)]), this.allScores]);
    this._write("scores", told, () => {
      this._scores.classList.toggle("all", this.allScores);
      const head = element("li", "head");
      head.append(element("span"), element("span"), element("span", "figures", "kills"), element("span", "figures", "deaths"));
      this._list.replaceChildren(
        ...(this.allScores ? [head] : []),
        ...top.map((seat) => {
          const line = element("li", seat === me ? "me" : ""), swatch = element("span", "swatch");
          swatch.style.background = colourOf(seat);
          line.append(
            swatch,
            element("span", "name", names[seat]),
            element("span", "figures", String(score[seat])),
            element("span", "deaths figures", this.allScores ? String(deaths[seat]) : ""),
          );
          return line;
        }),
      );
    });
  }

  /** @param {{who: string, whom: string, rail: boolean, mine: boolean}} kill */
  kill({ who, whom, rail, mine }) {
    const line = element("li", mine ? "mine" : "");
    line.append(who, element("span", rail ? "weapon rail" : "weapon", rail ? "━▶" : "•▶"), whom);
    this._say(line);
  }

  /** @param {string} who @param {string} text */
  said(who, text) {
    const line = element("li");
    line.append(element("strong", "", `${who}: `), text);
    this._say(line);
  }

  /** @param {HTMLElement} line */
  _say(line) {
    this._feed.append(line);
    while (this._feed.children.length > FEED_KEPT) this._feed.firstElementChild?.remove();
    setTimeout(() => line.remove(), FEED_MS);
  }

  /**
   * A picture was drawn. @param {number} intervalMs since the one before
   */
  paced(intervalMs) {
    this.intervals.push(intervalMs);
    if (this.intervals.length > SAMPLES) this.intervals.shift();
  }

  /** @param {{pingMs: number | null, lossShare: number, inputMs: number | null, kbIn: number, colours: Record<string, any>}} figures */
  figures({ pingMs, lossShare, inputMs, kbIn, colours }) {
    if (this._graph.hidden) return;
    this.pings.push(pingMs ?? 0);
    if (this.pings.length > SAMPLES) this.pings.shift();
    const mean = this.intervals.reduce((sum, each) => sum + each, 0) / (this.intervals.length || 1);
    this._graphText.textContent =
      `${(1000 / (mean || 16.7)).toFixed(0).padStart(3)} fps   ping ${pingMs === null ? "–" : pingMs.toFixed(0)} ms\n` +
      `input ${inputMs === null ? "–" : inputMs.toFixed(0)} ms  lost ${(lossShare * 100).toFixed(1)} %  ${kbIn.toFixed(1)} kB/s`;
    const pen = this._lines, { width, height } = pen.canvas;
    pen.clearRect(0, 0, width, height);
    for (const [values, most, ink] of /** @type {[number[], number, string][]} */ ([[this.intervals, 50, colours.accent], [this.pings, 200, colours.self]])) {
      pen.strokeStyle = ink;
      pen.lineWidth = 1.5;
      pen.beginPath();
      values.forEach((value, at) => pen.lineTo((at * width) / SAMPLES, height - 2 - Math.min(1, value / most) * (height - 4)));
      pen.stroke();
    }
  }

  /** @param {string} where @param {string} what @param {() => void} write */
  _write(where, what, write) {
    if (this._written.get(where) === what) return;
    this._written.set(where, what);
    write();
  }
}
