/**
 * Packets of the control channel, as they stand in a WebSocket's binary messages: one or more, each whole.
 *
 *     u32 length (LE) | u8 kind | payload             length = 1 + bytes of payload
 *
 * Kind 0 is a msgpack message, kind 1 a packet of the realtime channel (`u8 type`, then its plaintext).
 */

import { ErrorCode, HoldfastError } from "./errors.js";

export const MESSAGE = 0;
export const REALTIME = 1;
/** The largest `length`: a message of 64 KiB and its kind. */
export const LENGTH_MAX = 65537;

/**
 * The bytes that carry one packet.
 * @param {number} kind @param {...Uint8Array} parts of the payload
 */
export function frame(kind, ...parts) {
  const size = parts.reduce((sum, part) => sum + part.length, 1);
  const bytes = new Uint8Array(4 + size);
  new DataView(bytes.buffer).setUint32(0, size, true);
  bytes[4] = kind;
  let at = 5;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * The packets in one binary message, in order; the payloads are views of `bytes`.
 *
 * Throws HoldfastError (TOO_LARGE) when the message is not cut into whole packets.
 * @param {Uint8Array} bytes
 * @returns {{kind: number, payload: Uint8Array}[]}
 */
export function packets(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = [];
  let at = 0;
  while (at < bytes.length) {
    const length = at + 4 <= bytes.length ? view.getUint32(at, true) : 0;
    const end = at + 4 + length;
    if (length < 1 || length > LENGTH_MAX || end > bytes.length) {
      throw new HoldfastError(ErrorCode.TOO_LARGE, `a packet of ${length} bytes in a message of ${bytes.length}`);
    }
    found.push({ kind: bytes[at + 4], payload: bytes.subarray(at + 5, end) });
    at = end;
  }
  return found;
}
