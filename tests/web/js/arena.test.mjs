// The arena's rules in JavaScript are the server's, to the last bit.

import assert from "node:assert/strict";
import { test } from "node:test";

import { MAPS } from "../../../web/arena/maps.js";
import { Arena, ageOf, ballisticsAt, move, paceAt, placeOf, shotOf } from "../../../web/arena/rules.js";
import { layoutOf } from "../../../web/holdfast/delta.js";
import { cos, sin } from "../../../web/holdfast/fixed.js";
import { FrameDecoder } from "../../../web/holdfast/frame.js";
import { Predictor } from "../../../web/holdfast/predict.js";
import { fromHex, vectors } from "./kit.mjs";

test("every sine is the server's", () => {
  const { angles, cos: cosines, sin: sines } = vectors("trigonometry");
  assert.deepEqual(angles.map(sin), sines);
  assert.deepEqual(angles.map(cos), cosines);
});

test("the maps are the server's, tile by tile and item by item", () => {
  const ours = MAPS.map(({ name, width, solid, items }) => ({
    name,
    width,
    solid: [...solid].map((each) => (each ? "#" : ".")).join(""),
    items: items.map(({ kind, tile }) => [kind, tile]),
  }));
  assert.deepEqual(ours, vectors("maps"));
});

test("players walk as on the server, at every tick rate, along and into walls", () => {
  let stopped = 0;
  for (const { tick_hz, map, start: [x, y, vx, vy], steps } of vectors("moves")) {
    const pace = paceAt(tick_hz);
    let at = { x, y, vx, vy };
    for (const [wishX, wishY, ...wanted] of steps) {
      at = move(pace, MAPS[map], at, wishX, wishY);
      assert.deepEqual([at.x, at.y, at.vx, at.vy], wanted);
      stopped += Number(wishX !== 0 && at.vx === 0);
    }
  }
  assert.ok(stopped > 50, "they met walls");
});

test("shots fly as on the server", () => {
  for (const { tick_hz, life, beam, tick, shot, rail, from, age, at } of vectors("flights")) {
    const ballistics = ballisticsAt(tick_hz), born = shotOf(shot);
    assert.deepEqual([ballistics.lifeTicks, ballistics.beamTicks], [life, beam]);
    assert.equal(born.rail, rail);
    assert.equal(ageOf(born.stamp, tick), age);
    assert.deepEqual(placeOf(ballistics, from[0], from[1], born.angle, age), { x: at[0], y: at[1] });
  }
});

test("what is predicted is what Python predicts, from the real game's frames", () => {
  for (const game of vectors("play")) {
    const predictor = new Predictor(Arena(game.options, game.tick_hz), game.seat, game.tick_hz);
    const decoder = new FrameDecoder(layoutOf(game.view), { ...game, last_seq: 0 });
    const names = game.inputs.map((/** @type {any[]} */ field) => field[0]);
    game.steps.forEach((/** @type {any} */ step, /** @type {number} */ number) => {
      const now = number / game.tick_hz;
      predictor.sent(step.seq, Object.fromEntries(names.map((/** @type {string} */ name, at) => [name, step.wanted[at]])), now);
      if (!step.frame) return;
      const frame = decoder.receive(fromHex(step.frame));
      assert.ok(frame);
      predictor.frame(frame, now);
      assert.deepEqual(predictor.state, step.predicted);
    });
    const { compared, count, jumps } = predictor.corrections;
    assert.deepEqual({ compared, count, jumps }, game.corrections);
  }
});
