/**
 * msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md), as much of it as the protocol speaks.
 *
 *     nil  boolean  string  array      null  boolean  string  Array
 *     bin                              Uint8Array (a copy: it outlives the message)
 *     integer                          number; BigInt beyond ±(2 ** 53 − 1)
 *     float                            number; one that is a whole number within ±(2 ** 53 − 1) is packed as an integer
 *     map                              object, its keys as text; a Map with `{ maps: true }`
 *
 * Extension types are refused. Nothing that a peer sends makes `unpack` do anything but return or throw a RangeError:
 * lengths are judged against the bytes that are there before anything is made, and depth is limited.
 */

const DEPTH_MAX = 128;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * @param {unknown} value anything of the table above; `undefined` is packed as nil
 * @returns {Uint8Array}
 */
export function pack(value) {
  const writer = new Writer();
  writer.write(value, 0);
  return writer.bytes.slice(0, writer.size);
}

/**
 * @param {Uint8Array} bytes one whole value
 * @param {{maps?: boolean}} [options] `maps`: maps come as Map, with keys of any type
 * @returns {any}
 */
export function unpack(bytes, options = {}) {
  const reader = new Reader(bytes, options.maps ?? false);
  const value = reader.read(0);
  if (reader.at !== bytes.length) throw new RangeError(`${bytes.length - reader.at} bytes behind the value`);
  return value;
}

class Writer {
  bytes = new Uint8Array(256);
  view = new DataView(this.bytes.buffer);
  size = 0;

  /** @param {number} more @returns {number} where so many bytes begin */
  grow(more) {
    const at = this.size, size = at + more;
    if (size > this.bytes.length) {
      const bytes = new Uint8Array(Math.max(size, this.bytes.length * 2));
      bytes.set(this.bytes);
      this.bytes = bytes;
      this.view = new DataView(bytes.buffer);
    }
    this.size = size;
    return at;
  }

  /** @param {unknown} value @param {number} depth */
  write(value, depth) {
    if (depth > DEPTH_MAX) throw new RangeError("nested too deeply");
    if (value === null || value === undefined) this.byte(0xc0);
    else if (typeof value === "boolean") this.byte(value ? 0xc3 : 0xc2);
    else if (typeof value === "number") this.number(value);
    else if (typeof value === "bigint") this.big(value);
    else if (typeof value === "string") this.text(value);
    else if (value instanceof Uint8Array) this.blob(value);
    else if (Array.isArray(value)) {
      this.head(value.length, 0x90, 0xdc);
      for (const each of value) this.write(each, depth + 1);
    } else if (typeof value === "object") {
      const entries = value instanceof Map ? [...value] : Object.entries(value);
      this.head(entries.length, 0x80, 0xde);
      for (const [key, each] of entries) {
        this.write(key, depth + 1);
        this.write(each, depth + 1);
      }
    } else throw new RangeError(`a ${typeof value} is nothing of msgpack`);
  }

  /** @param {number} value */
  byte(value) {
    const at = this.grow(1);
    this.bytes[at] = value;
  }

  /** The head of an array or a map. @param {number} count @param {number} small @param {number} large */
  head(count, small, large) {
    if (count < 16) this.byte(small | count);
    else if (count < 0x10000) {
      const at = this.grow(3);
      this.view.setUint8(at, large);
      this.view.setUint16(at + 1, count);
    } else {
      const at = this.grow(5);
      this.view.setUint8(at, large + 1);
      this.view.setUint32(at + 1, count);
    }
  }

  /** @param {number} value */
  number(value) {
    if (!Number.isSafeInteger(value)) {
      const at = this.grow(9);
      this.view.setUint8(at, 0xcb);
      this.view.setFloat64(at + 1, value);
    } else if (value >= 0 ? value < 128 : value >= -32) this.byte(value & 0xff);
    else if (value >= 0 && value <= 0xffffffff) {
      const size = value < 0x100 ? 1 : value < 0x10000 ? 2 : 4;
      const at = this.grow(1 + size);
      this.view.setUint8(at, 0xcb + (size === 4 ? 3 : size));
      if (size === 1) this.view.setUint8(at + 1, value);
      else if (size === 2) this.view.setUint16(at + 1, value);
      else this.view.setUint32(at + 1, value);
    } else if (value < 0 && value >= -0x80000000) {
      const size = value >= -0x80 ? 1 : value >= -0x8000 ? 2 : 4;
      const at = this.grow(1 + size);
      this.view.setUint8(at, 0xcf + (size === 4 ? 3 : size));
      if (size === 1) this.view.setInt8(at + 1, value);
      else if (size === 2) this.view.setInt16(at + 1, value);
      else this.view.setInt32(at + 1, value);
    } else this.big(BigInt(value));
  }

  /** @param {bigint} value */
  big(value) {
    if (value < -(1n << 63n) || value >= 1n << 64n) throw new RangeError("whole numbers have at most 64 bits");
    if (Number.isSafeInteger(Number(value)) && value >= -0x80000000n && value <= 0xffffffffn) {
      this.number(Number(value));
      return;
    }
    const at = this.grow(9);
    this.view.setUint8(at, value < 0n ? 0xd3 : 0xcf);
    if (value < 0n) this.view.setBigInt64(at + 1, value);
    else this.view.setBigUint64(at + 1, value);
  }

  /** @param {string} value */
  text(value) {
    const bytes = encoder.encode(value);
    if (bytes.length < 32) this.byte(0xa0 | bytes.length);
    else this.sized(bytes.length, 0xd9);
    const at = this.grow(bytes.length); // (which may make another `bytes`)
    this.bytes.set(bytes, at);
  }

  /** @param {Uint8Array} value */
  blob(value) {
    this.sized(value.length, 0xc4);
    const at = this.grow(value.length);
    this.bytes.set(value, at);
  }

  /** @param {number} size @param {number} kind of the form with one byte of length */
  sized(size, kind) {
    const wide = size < 0x100 ? 0 : size < 0x10000 ? 1 : 2;
    const at = this.grow(1 + (1 << wide));
    this.view.setUint8(at, kind + wide);
    if (wide === 0) this.view.setUint8(at + 1, size);
    else if (wide === 1) this.view.setUint16(at + 1, size);
    else this.view.setUint32(at + 1, size);
  }
}

class Reader {
  /** @param {Uint8Array} bytes @param {boolean} maps */
  constructor(bytes, maps) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.maps = maps;
    this.at = 0;
  }

  /** @param {number} size @returns {number} where they begin */
  skip(size) {
    const at = this.at;
    if (at + size > this.bytes.length) throw new RangeError("the value is cut short");
    this.at = at + size;
    return at;
  }

  /** An unsigned whole number of 1, 2 or 4 bytes. @param {number} size */
  unsigned(size) {
    const at = this.skip(size);
    if (size === 1) return this.view.getUint8(at);
    return size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /** @param {number} depth @returns {any} */
  read(depth) {
    if (depth > DEPTH_MAX) throw new RangeError("nested too deeply");
    const kind = this.unsigned(1);
    if (kind < 0x80) return kind;
    if (kind < 0x90) return this.map(kind & 15, depth);
    if (kind < 0xa0) return this.array(kind & 15, depth);
    if (kind < 0xc0) return this.text(kind & 31);
    if (kind >= 0xe0) return kind - 0x100;
    switch (kind) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: {
        const size = this.unsigned(1 << (kind - 0xc4)), at = this.skip(size);
        return this.bytes.slice(at, at + size);
      }
      case 0xca: return this.view.getFloat32(this.skip(4));
      case 0xcb: return this.view.getFloat64(this.skip(8));
      case 0xcc: case 0xcd: case 0xce: return this.unsigned(1 << (kind - 0xcc));
      case 0xcf: return plain(this.view.getBigUint64(this.skip(8)));
      case 0xd0: return this.view.getInt8(this.skip(1));
      case 0xd1: return this.view.getInt16(this.skip(2));
      case 0xd2: return this.view.getInt32(this.skip(4));
      case 0xd3: return plain(this.view.getBigInt64(this.skip(8)));
      case 0xd9: case 0xda: case 0xdb: return this.text(this.unsigned(1 << (kind - 0xd9)));
      case 0xdc: case 0xdd: return this.array(this.unsigned(2 << (kind - 0xdc)), depth);
      case 0xde: case 0xdf: return this.map(this.unsigned(2 << (kind - 0xde)), depth);
      default: throw new RangeError(`0x${kind.toString(16)} is nothing of ours`);
    }
  }

  /** @param {number} size */
  text(size) {
    const at = this.skip(size);
    try {
      return decoder.decode(this.bytes.subarray(at, at + size));
    } catch {
      throw new RangeError("text that is no UTF-8");
    }
  }

  /** @param {number} count @param {number} depth */
  array(count, depth) {
    this.affordable(count);
    const values = new Array(count);
    for (let number = 0; number < count; number++) values[number] = this.read(depth + 1);
    return values;
  }

  /** @param {number} count @param {number} depth @returns {any} */
  map(count, depth) {
    this.affordable(2 * count);
    const map = new Map();
    for (let number = 0; number < count; number++) {
      const key = this.read(depth + 1);
      map.set(this.maps ? key : String(key), this.read(depth + 1));
    }
    return this.maps ? map : Object.fromEntries(map); // (which defines a key "__proto__" like any other)
  }

  /** Each value takes a byte at least. @param {number} count */
  affordable(count) {
    if (count > this.bytes.length - this.at) throw new RangeError("the value is cut short");
  }
}

/** @param {bigint} value */
function plain(value) {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
