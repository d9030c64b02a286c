// Messages, frames and inputs: what Python writes is read here, and the other way round.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ActWindow, ViewParts } from "../../../web/holdfast/acts.js";
import { layoutOf } from "../../../web/holdfast/delta.js";
import { BadFrame, ErrorCode, HoldfastError, errorCode } from "../../../web/holdfast/errors.js";
import { FrameDecoder } from "../../../web/holdfast/frame.js";
import { MESSAGE, REALTIME, frame, packets } from "../../../web/holdfast/framing.js";
import { InputShape, InputWindow } from "../../../web/holdfast/inputs.js";
import { pack, unpack } from "../../../web/holdfast/msgpack.js";
import { widen } from "../../../web/holdfast/sequence.js";
import { fromHex, fromPlain, toHex, vectors } from "./kit.mjs";

const documented = JSON.parse(readFileSync(new URL("../../../docs/protocol-vectors.json", import.meta.url), "utf8"));

test("the error codes are those of Python", () => {
  const ours = Object.entries(ErrorCode).map(([name, code]) => [name, code.number, code.wireName, code.retryable]);
  assert.deepEqual(ours, vectors("errors"));
  assert.equal(errorCode(20), ErrorCode.UNKNOWN_GAME);
  assert.equal(errorCode(9999), ErrorCode.INTERNAL);
});

test("msgpack of Python's is read, and written the same", () => {
  for (const { value, hex, back } of vectors("packed").good) {
    const wanted = fromPlain(value);
    assert.deepEqual(unpack(fromHex(hex), { maps: true }), wanted);
    if (back) assert.equal(toHex(pack(wanted)), hex);
  }
});

test("what is no msgpack throws a RangeError, and nothing else happens", () => {
  for (const hex of vectors("packed").bad) assert.throws(() => unpack(fromHex(hex)), RangeError, hex);
  const good = pack({ a: [1, "two", new Uint8Array(3)], b: { c: -1.5 } });
  for (let size = 0; size < good.length; size++) assert.throws(() => unpack(good.subarray(0, size)), RangeError);
  assert.throws(() => pack(1n << 64n), RangeError);
  assert.throws(() => pack(() => 0), RangeError);
});

test("maps come as objects, whatever their keys are", () => {
  const map = unpack(pack(new Map([["a", 1], ["__proto__", 2], [3, "three"]])));
  assert.deepEqual(Object.entries(map).sort(), [["3", "three"], ["__proto__", 2], ["a", 1]]);
  assert.equal(Object.getPrototypeOf(map), Object.prototype);
});

test("messages are framed as Python frames them", () => {
  for (const { message, hex } of vectors("control")) {
    assert.equal(toHex(frame(MESSAGE, pack(fromPlain(message)))), hex);
    const [{ kind, payload }] = packets(fromHex(hex));
    assert.equal(kind, MESSAGE);
    assert.deepEqual(unpack(payload, { maps: true }), fromPlain(message));
  }
  for (const { message, bytes } of documented.control) assert.equal(toHex(frame(MESSAGE, pack(message))), bytes);
});

test("a binary message holds whole packets, one or more", () => {
  const both = fromHex(toHex(frame(MESSAGE, fromHex("c0"))) + toHex(frame(REALTIME, fromHex("02"), fromHex("aabb"))));
  assert.deepEqual(
    packets(both).map(({ kind, payload }) => [kind, toHex(payload)]),
    [[0, "c0"], [1, "02aabb"]],
  );
  for (let size = 1; size < both.length; size++) {
    if (size !== 6) assert.throws(() => packets(both.subarray(0, size)), HoldfastError);
  }
  assert.throws(() => packets(fromHex("00000000")), HoldfastError);
  assert.deepEqual(packets(new Uint8Array(0)), []);
});

test("short numbers are widened as Python widens them", () => {
  for (const [low, bits, near, value] of vectors("widened")) assert.equal(widen(low, bits, near), value);
});

test("input packets are those of Python", () => {
  const { fields, cases } = vectors("inputs"), shape = new InputShape(fields);
  for (const { last_seq, wanted, acknowledged, stream, baseline, seen, hex } of cases) {
    const window = new InputWindow(last_seq);
    for (const values of wanted) window.add(shape.pack(Object.fromEntries(fields.map(([name], at) => [name, values[at]]))));
    assert.equal(window.acknowledge(acknowledged), acknowledged - last_seq);
    assert.equal(toHex(window.packet(stream, baseline, seen)), hex);
  }
  const { stream, baseline, seen, inputs_oldest_first, newest_seq, plaintext } = documented.input_packet;
  const window = new InputWindow(newest_seq - inputs_oldest_first.length);
  for (const packed of inputs_oldest_first) window.add(fromHex(packed));
  const ours = toHex(window.packet(stream, baseline, seen)), acks = 4;
  assert.equal(ours.slice(0, acks), plaintext.slice(0, acks));
  assert.equal(ours.slice(acks + 12), plaintext.slice(acks + 12)); // a WebSocket has no datagrams to acknowledge
});

test("a full window takes no more, and fields outside their limits are refused", () => {
  const shape = new InputShape([["go", "i1", -1, 1]]), window = new InputWindow(0);
  for (let number = 0; number < 32; number++) window.add(shape.pack({ go: -1 }));
  assert.ok(window.full);
  assert.throws(() => shape.check({ go: 2 }), HoldfastError);
  assert.throws(() => shape.check({ went: 0 }), HoldfastError);
});

test("documented frames are read", () => {
  const { view, stream, epoch, last_seq, plaintexts, ticks, views } = documented.frames;
  const decoder = new FrameDecoder(layoutOf(view), { stream, epoch, tick: 69999, last_seq });
  plaintexts.forEach((/** @type {string} */ plaintext, /** @type {number} */ at) => {
    const read = decoder.receive(fromHex(plaintext));
    assert.deepEqual([read?.tick, read?.lastSeq, read?.depth], [ticks[at], 65536, 1]);
    assert.deepEqual([read?.shared, read?.own], [views[at].shared, views[at].own]);
  });
});

test("frames of the real arena are read: deltas, losses, a new epoch", () => {
  for (const game of vectors("play")) {
    const decoder = new FrameDecoder(layoutOf(game.view), { ...game, last_seq: 0 });
    for (const step of game.steps) {
      if (!step.frame) continue;
      const read = decoder.receive(fromHex(step.frame));
      assert.ok(read);
      assert.deepEqual([read.tick, read.epoch, read.lastSeq, read.depth], [step.tick, step.epoch, step.last_seq, step.depth]);
      assert.deepEqual(read.shared, step.shared);
      assert.deepEqual(read.own, step.own);
    }
  }
});

test("broken frames are what Python takes them for", () => {
  const { view, tick, cases } = vectors("broken"), layout = layoutOf(view);
  for (const { hex, bad, views } of cases) {
    const decoder = new FrameDecoder(layout, { stream: 0, epoch: 0, tick, last_seq: 0 });
    if (bad) assert.throws(() => decoder.receive(fromHex(hex)), BadFrame, hex);
    else {
      const read = decoder.receive(fromHex(hex));
      assert.deepEqual(read && [read.shared, read.own], views, hex);
    }
  }
});

test("acts that no event has settled are sent again", () => {
  const { last_seq, count, acknowledged, settled, again } = vectors("acts"), window = new ActWindow(last_seq);
  for (let number = 0; number < count; number++) window.add(pack(["extend", Uint8Array.of(number)]));
  assert.equal(window.acknowledge(acknowledged), settled);
  assert.deepEqual(window.unsettled().map(({ seq, data }) => [seq, toHex(data)]), again);
});

test("a view in parts is whole with the last", () => {
  const data = pack({ strokes: [[1, 2]], cursors: new Map([[4, [5, 6]]]) }), parts = new ViewParts(2);
  assert.equal(parts.add({ part: 0, data: data.subarray(0, 5) }), null);
  assert.deepEqual(parts.add({ part: 1, data: data.subarray(5) }), { view: { strokes: [[1, 2]], cursors: { 4: [5, 6] } } });
  assert.throws(() => parts.add({ part: 2, data }), HoldfastError);
  assert.throws(() => new ViewParts(2).add({ part: 1, data }), HoldfastError);
});
