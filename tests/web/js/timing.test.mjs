// Clock, input clock, playhead and interpolation are Python's; waits before coming back are spread.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff } from "../../../web/holdfast/backoff.js";
import { layoutOf } from "../../../web/holdfast/delta.js";
import { Frame } from "../../../web/holdfast/frame.js";
import { Interpolator, Playhead } from "../../../web/holdfast/interpolate.js";
import { Steering } from "../../../web/holdfast/steering.js";
import { TickClock } from "../../../web/holdfast/timesync.js";
import { vectors } from "./kit.mjs";

/** @param {number | null} ours @param {number | null} wanted @param {string} what */
function near(ours, wanted, what) {
  if (ours === null || wanted === null) assert.equal(ours, wanted, what);
  else assert.ok(Math.abs(ours - wanted) < 1e-6, `${what}: ${ours} is not ${wanted}`);
}

test("clock, input clock, playhead and pictures are those of Python", () => {
  const { tick_hz, view, steps } = vectors("timing"), layout = layoutOf(view);
  const clock = new TickClock(tick_hz), steering = new Steering(clock, 0), playhead = new Playhead(clock);
  const interpolator = new Interpolator(layout, tick_hz);
  let leads = 0;
  for (const step of steps) {
    if ("made" in step) {
      steering.made(step.made, step.at);
      continue;
    }
    const { tick, now, last_seq: lastSeq, depth, shared } = step;
    clock.frame(tick, now);
    steering.frame(tick, lastSeq, depth, now);
    interpolator.add(new Frame({ tick, lastSeq, depth, epoch: 1, layout, shared, own: [] }));
    near(clock.jitterMs, step.jitter_ms, `jitter at ${tick}`);
    near(clock.arrivalOf(tick), step.arrival, `arrival of ${tick}`);
    near(steering.leadS, step.lead_s, `lead at ${tick}`);
    near(steering.dueAt, step.due_at, `due after ${tick}`);
    const moment = playhead.at(step.later), drawn = interpolator.at(moment);
    near(moment, step.playhead, `playhead at ${tick}`);
    for (const [name, values] of Object.entries(step.drawn)) {
      values.forEach((/** @type {number} */ value, /** @type {number} */ at) => near(drawn[name][at], value, `${name}[${at}] at ${tick}`));
    }
    leads += Number(step.lead_s !== null);
  }
  assert.ok(leads > 100);
});

test("the first try to come back is within 200 ms, and the bound doubles up to two seconds", () => {
  const latest = new Backoff(() => 1 - Number.EPSILON), waits = Array.from({ length: 6 }, () => Math.round(latest.next()));
  assert.deepEqual(waits, [200, 400, 800, 1600, 2000, 2000]);
  const earliest = new Backoff(() => 0);
  assert.deepEqual([earliest.next(), earliest.next()], [0, 0]);
});
