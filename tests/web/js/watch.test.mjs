// What is watched is asked for again until it is there, and only when nothing else is asked for.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ErrorCode, HoldfastError } from "../../../web/holdfast/errors.js";
import { Watch } from "../../../web/holdfast/watch.js";

const FIELD = { name: "x", per: "seat", count: 1, bits: 8, signed: false, shift: 0, exact: false };

/** @param {string} room @param {number} [epoch] */
function watching(room, epoch = 1) {
  const view = { shared: [FIELD], own: [] };
  return { t: "watching", room, game: "g", options: {}, seats: 1, stream: 1, epoch, tick: 7, tick_hz: 30, every: 3, view, roster: [""] };
}

/** A `Watch`, what it has asked for, and how each is answered. */
function rig() {
  /** @type {{message: any, resolve: (answer: any) => void, reject: (error: Error) => void}[]} */
  const asked = [];
  /** @type {(string | null)[]} */
  const told = [];
  const watch = new Watch(
    (message) => new Promise((resolve, reject) => asked.push({ message, resolve, reject })),
    (room) => told.push(room?.id ?? null),
  );
  const begin = async (/** @type {string} */ room) => {
    const done = watch.ask({ t: "watch", room, code: "" });
    watch.take(watching(room));
    asked[0].resolve({});
    await done;
    asked.length = 0;
  };
  return { watch, asked, told, begin };
}

/** Let everything go on that can. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

test("over another connection the same room goes on as the same object", async () => {
  const { watch, asked, told, begin } = rig();
  await begin("r");
  const room = watch.room;
  watch.reconnected();
  assert.deepEqual(asked.map(({ message }) => message), [{ t: "watch", room: "r", code: "" }]);
  watch.take(watching("r", 2));
  asked[0].resolve({});
  await settle();
  assert.equal(watch.room, room);
  assert.equal(room?.epoch, 2);
  assert.deepEqual([told, asked.length], [["r"], 1]);
});

test("what is not there yet is asked for again, what is refused for good is over", async () => {
  const { watch, asked, told, begin } = rig();
  await begin("r");
  watch.reconnected();
  asked[0].reject(new HoldfastError(ErrorCode.ROOM_MOVING, "wait"));
  while (asked.length < 2) await settle();
  assert.equal(watch.room?.id, "r");
  asked[1].reject(new HoldfastError(ErrorCode.UNKNOWN_ROOM, "gone"));
  await settle();
  assert.deepEqual([watch.room, told, asked.length], [null, ["r", null], 2]);
});

test("a wish that leads to another node comes first", async () => {
  const { watch, asked, begin } = rig();
  await begin("r");
  const done = watch.ask({ t: "join", room: "s" });
  watch.reconnected(); // we were sent there for it
  assert.deepEqual(asked.map(({ message }) => message.t), ["join"]);
  asked[0].reject(new HoldfastError(ErrorCode.ROOM_FULL, "full"));
  await assert.rejects(done);
  assert.deepEqual(asked.map(({ message }) => message.t), ["join", "watch"]);
});

test("an answer that comes when nobody looks any more is nothing", async () => {
  const { watch, asked, told, begin } = rig();
  await begin("r");
  watch.reconnected();
  watch.end(new HoldfastError(ErrorCode.NOT_SEATED, "looked away"));
  watch.take(watching("r", 2));
  asked[0].resolve({});
  await settle();
  assert.deepEqual([watch.room, told, asked.length], [null, ["r", null], 1]);
});
