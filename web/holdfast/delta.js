/**
 * Views and the deltas between them (docs/protocol.md, "Views" and "Deltas"; `netcode/delta.py`).
 *
 *     | codes: 2 bits a field | masks of the changed fields | values of the changed fields |
 */

import { BadFrame, ErrorCode, HoldfastError } from "./errors.js";

const PLAIN_MASK_MAX = 16;
const CODE_BYTES = [0, 1, 2, 4];

/**
 * One column of a view: `count` values from index `start`.
 * @typedef {{name: string, per: "room" | "seat" | number, start: number, count: number, bits: number, signed: boolean,
 *   shift: number, exact: boolean}} Field
 * @typedef {{shared: Field[], own: Field[], sharedWidth: number, ownWidth: number}} Layout
 */

/**
 * The layout that `seated.view` describes. Throws HoldfastError (BAD_MESSAGE) when it makes no sense.
 * @param {any} view
 * @returns {Layout}
 */
export function layoutOf(view) {
  const [shared, own] = [fieldsOf(view?.shared), fieldsOf(view?.own)];
  return { shared, own, sharedWidth: widthOf(shared), ownWidth: widthOf(own) };
}

/** @param {any} entries @returns {Field[]} */
function fieldsOf(entries) {
  if (!Array.isArray(entries)) throw new HoldfastError(ErrorCode.BAD_MESSAGE, "a view is two lists of fields");
  let start = 0;
  return entries.map(({ name, per, count, bits, signed, shift, exact }) => {
    if (![8, 16, 32].includes(bits) || !(count > 0 && count <= 4096) || !(shift >= 0 && shift < 32)) {
      throw new HoldfastError(ErrorCode.BAD_MESSAGE, `a view field of ${count} values of ${bits} bits, ${shift}`);
    }
    start += count;
    return { name: String(name), per, start: start - count, count, bits, signed: !!signed, shift, exact: !!exact };
  });
}

/** @param {Field[]} fields */
function widthOf(fields) {
  return fields.reduce((sum, field) => sum + field.count, 0);
}

/**
 * The values after a delta that starts at `data[at]`, and where it ends. Throws BadFrame on anything malformed.
 * @param {Field[]} fields @param {Uint8Array} data @param {number} at @param {number[]} baseline
 * @returns {{values: number[], at: number}}
 */
export function decodeDelta(fields, data, at, baseline) {
  const values = baseline.slice();
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const codesAt = at;
  /** @param {number} size @returns {number} */
  const skip = (size) => {
    if (at + size > data.length) throw new BadFrame("the delta is cut short");
    at += size;
    return at - size;
  };
  skip(Math.ceil(fields.length / 4));
  /** @type {{field: Field, code: number, where: number[]}[]} */
  const changes = [];
  fields.forEach((field, number) => {
    const code = (data[codesAt + (number >> 2)] >> ((number & 3) * 2)) & 3;
    if (!code) return;
    const where = field.count === 1 ? [0] : readMask(data, field.count, skip);
    if (where.length && where[where.length - 1] >= field.count) {
      throw new BadFrame(`field ${field.name}: the mask is longer than the field`);
    }
    changes.push({ field, code, where });
  });
  for (const { field, code, where } of changes) {
    const size = CODE_BYTES[code], span = 2 ** field.bits, low = field.signed ? -span / 2 : 0;
    for (const offset of where) {
      const from = skip(size), index = field.start + offset;
      const step = size === 1 ? view.getInt8(from) : size === 2 ? view.getInt16(from, true) : view.getInt32(from, true);
      const wrapped = (values[index] + step - low) % span;
      values[index] = (wrapped < 0 ? wrapped + span : wrapped) + low;
    }
  }
  return { values, at };
}

/**
 * Which values of a field have changed, in order.
 * @param {Uint8Array} data @param {number} count @param {(size: number) => number} skip
 */
function readMask(data, count, skip) {
  const maskBytes = Math.ceil(count / 8), topBytes = count > PLAIN_MASK_MAX ? Math.ceil(maskBytes / 8) : 0;
  const topAt = skip(topBytes), where = [];
  for (let number = 0; number < maskBytes; number++) {
    if (topBytes && !((data[topAt + (number >> 3)] >> (number & 7)) & 1)) continue;
    const bits = data[skip(1)];
    for (let bit = 0; bit < 8; bit++) if ((bits >> bit) & 1) where.push(number * 8 + bit);
  }
  return where;
}
