// What the tests of the browser's side share: vectors from Python (HOLDFAST_VECTORS), bytes as hex.

import { readFileSync } from "node:fs";

/** @param {string} subject */
export function vectors(subject) {
  const folder = process.env.HOLDFAST_VECTORS;
  if (!folder) throw new Error("HOLDFAST_VECTORS: where `python -m tests.web.vectors FOLDER` has written");
  return JSON.parse(readFileSync(`${folder}/${subject}.json`, "utf8"));
}

/** @param {string} text */
export function fromHex(text) {
  return Uint8Array.from(Buffer.from(text, "hex"));
}

/** @param {Uint8Array} bytes */
export function toHex(bytes) {
  return Buffer.from(bytes).toString("hex");
}

/** A value as Python's JSON has it (see tests/web/vectors.py), as JavaScript has it; maps as Map. @param {any} value */
export function fromPlain(value) {
  if (Array.isArray(value)) return value.map(fromPlain);
  if (value === null || typeof value !== "object") return value;
  if ("hex" in value) return fromHex(value.hex);
  if ("big" in value) return BigInt(value.big);
  if ("infinity" in value) return Infinity;
  return new Map(value.map.map((/** @type {any[]} */ pair) => pair.map(fromPlain)));
}
