/**
 * One zstandard frame (RFC 8878).
 *
 * The format wants more of a frame than the libraries for browsers check: one frame and nothing behind it, a window and a size
 * within limits, a right checksum (§3.4, §3.5). So this is a decoder of its own: it writes at most `limit` bytes, and
 * asks for memory only as it writes.
 */

import { BadFile } from "./errors.js";

/** @param {string} why @returns {never} */
function bad(why) {
  throw new BadFile(`zstandard frame: ${why}`);
}

/** Bits of a stream that is read backwards: from its last byte to its first (RFC 8878, 4.1). */
class Backward {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    const last = bytes.length ? bytes[bytes.length - 1] : 0;
    if (!last) bad("a bit stream without an end mark");
    this.left = bytes.length * 8 - (Math.clz32(last) - 24) - 1;
  }

  /** The next bits as a number; bits before the first byte are 0. @param {number} count at most 32 */
  read(count) {
    const value = this.peek(count);
    this.left -= count;
    return value;
  }

  /** @param {number} count */
  peek(count) {
    let value = 0;
    let first = this.left - count;
    let scale = 1;
    if (first < 0) {
      scale = 2 ** -first;
      count += first;
      first = 0;
    }
    let shift = 0;
    while (shift < count) {
      const take = Math.min(8 - (first & 7), count - shift);
      value += ((this.bytes[first >> 3] >> (first & 7)) & ((1 << take) - 1)) * 2 ** shift;
      shift += take;
      first += take;
    }
    return value * scale;
  }
}

/** @typedef {{accuracy: number, symbol: Uint8Array, bits: Uint8Array, base: Uint16Array}} Fse a decoding table */

/**
 * @param {ArrayLike<number>} counts probability of every symbol, -1 for "less than 1"
 * @param {number} accuracy
 * @returns {Fse}
 */
function fseTable(counts, accuracy) {
  const size = 1 << accuracy;
  const symbol = new Uint8Array(size);
  const next = new Uint16Array(counts.length);
  let high = size;
  for (let s = 0; s < counts.length; s++) {
    if (counts[s] === -1) {
      symbol[--high] = s;
      next[s] = 1;
    } else next[s] = counts[s];
  }
  const step = (size >> 1) + (size >> 3) + 3;
  let place = 0;
  for (let s = 0; s < counts.length; s++) {
    for (let k = 0; k < counts[s]; k++) {
      symbol[place] = s;
      do place = (place + step) & (size - 1);
      while (place >= high);
    }
  }
  if (place) bad("a table that does not close");
  const bits = new Uint8Array(size);
  const base = new Uint16Array(size);
  for (let i = 0; i < size; i++) {
    const state = next[symbol[i]]++;
    bits[i] = accuracy - (31 - Math.clz32(state));
    base[i] = (state << bits[i]) - size;
  }
  return { accuracy, symbol, bits, base };
}

/**
 * A table's description (RFC 8878, 4.1.1).
 * @param {Uint8Array} bytes
 * @param {number} position of its first byte
 * @param {number} symbols at most
 * @param {number} most accuracy
 * @returns {{table: Fse, end: number}}
 */
function readFse(bytes, position, symbols, most) {
  let at = position * 8;
  const end = bytes.length * 8;
  /** @param {number} count */
  const read = (count) => {
    let value = 0;
    for (let k = 0; k < count; k++, at++) {
      if (at < end) value |= ((bytes[at >> 3] >> (at & 7)) & 1) << k;
    }
    return value;
  };
  const accuracy = read(4) + 5;
  if (accuracy > most) bad("a table that is too fine");
  const counts = [];
  let left = (1 << accuracy) + 1;
  while (left > 1) {
    if (counts.length >= symbols) bad("a table of too many symbols");
    const width = 32 - Math.clz32(left);
    const small = (1 << width) - 1 - left;
    let value = read(width - 1);
    if (value >= small) {
      value |= read(1) << (width - 1);
      if (value >= 1 << (width - 1)) value -= small;
    }
    const count = value - 1;
    left -= Math.abs(count);
    if (left < 1) bad("a table whose probabilities are too large");
    counts.push(count);
    if (!count) {
      for (let more = 3; more === 3; ) {
        more = read(2);
        for (let k = 0; k < more; k++) counts.push(0);
      }
      if (counts.length > symbols) bad("a table of too many symbols");
    }
  }
  if (at > end) bad("a table that ends early");
  return { table: fseTable(counts, accuracy), end: (at + 7) >> 3 };
}

/** @typedef {{bits: number, symbol: Uint8Array, length: Uint8Array}} Huffman */

/**
 * A Huffman table (RFC 8878, 4.2.1).
 * @param {Uint8Array} bytes
 * @returns {{table: Huffman, end: number}}
 */
function readHuffman(bytes) {
  if (!bytes.length) bad("no Huffman table");
  const head = bytes[0];
  /** @type {number[]} */
  const weights = [];
  let end = 1;
  if (head >= 128) {
    const count = head - 127;
    end += (count + 1) >> 1;
    if (end > bytes.length) bad("a Huffman table that ends early");
    for (let k = 0; k < count; k++) {
      const byte = bytes[1 + (k >> 1)];
      weights.push(k & 1 ? byte & 15 : byte >> 4);
    }
  } else {
    end += head;
    if (end > bytes.length) bad("a Huffman table that ends early");
    const part = bytes.subarray(0, end);
    const { table, end: first } = readFse(part, 1, 256, 6);
    const stream = new Backward(part.subarray(first));
    const states = [stream.read(table.accuracy), stream.read(table.accuracy)];
    if (stream.left < 0) bad("a Huffman table that ends early");
    for (let turn = 0; ; turn ^= 1) {
      const state = states[turn];
      weights.push(table.symbol[state]);
      if (weights.length > 254) bad("a Huffman table of too many symbols");
      const count = table.bits[state];
      if (stream.left < count) {
        weights.push(table.symbol[states[turn ^ 1]]);
        break;
      }
      states[turn] = table.base[state] + stream.read(count);
    }
  }
  let sum = 0;
  for (const w of weights) {
    if (w > 11) bad("a Huffman code that is too long");
    sum += w ? 1 << (w - 1) : 0;
  }
  if (!sum || weights.length > 255) bad("an empty Huffman table");
  const bits = 32 - Math.clz32(sum);
  if (bits > 11) bad("a Huffman code that is too long");
  const rest = (1 << bits) - sum;
  if (rest & (rest - 1)) bad("a Huffman table that is not complete");
  weights.push(32 - Math.clz32(rest));
  const symbol = new Uint8Array(1 << bits);
  const length = new Uint8Array(1 << bits);
  let place = 0;
  for (let w = 1; w <= bits; w++) {
    for (let s = 0; s < weights.length; s++) {
      if (weights[s] !== w) continue;
      symbol.fill(s, place, place + (1 << (w - 1)));
      length.fill(bits + 1 - w, place, place + (1 << (w - 1)));
      place += 1 << (w - 1);
    }
  }
  return { table: { bits, symbol, length }, end };
}

/**
 * @param {Uint8Array} bytes one stream
 * @param {Huffman} table
 * @param {Uint8Array} out filled
 */
function huffman(bytes, table, out) {
  const stream = new Backward(bytes);
  for (let k = 0; k < out.length; k++) {
    const code = stream.peek(table.bits);
    out[k] = table.symbol[code];
    stream.left -= table.length[code];
    if (stream.left < 0) bad("literals that end early");
  }
  if (stream.left) bad("literals with bits left");
}

/** @param {number[]} bits extra bits of every code @param {number} first @returns {number[]} */
function bases(bits, first) {
  const result = [];
  let base = first;
  for (const count of bits) {
    result.push(base);
    base += 2 ** count;
  }
  return result;
}

const LITERAL_BITS = [...Array(16).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const MATCH_BITS = [...Array(32).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const OFFSET_BITS = [...Array(32).keys()];

/** Literal lengths, offsets, match lengths: extra bits, first values, predefined tables, finest tables (RFC 8878, 3.1.1.3). */
const CODES = [
  {
    bits: LITERAL_BITS,
    base: bases(LITERAL_BITS, 0),
    most: 9,
    table: fseTable(
      [4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1],
      6,
    ),
  },
  {
    bits: OFFSET_BITS,
    base: OFFSET_BITS.map((n) => 2 ** n),
    most: 8,
    table: fseTable([1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1], 5),
  },
  {
    bits: MATCH_BITS,
    base: bases(MATCH_BITS, 3),
    most: 9,
    table: fseTable(
      [1, 4, 3, 2, 2, 2, 2, 2, 2, ...Array(37).fill(1), -1, -1, -1, -1, -1, -1, -1],
      6,
    ),
  },
];

/** What was written so far; it grows, and never beyond the limit. */
class Output {
  /** @param {number} limit */
  constructor(limit) {
    this.limit = limit;
    this.bytes = new Uint8Array(Math.min(limit, 1 << 16));
    this.length = 0;
  }

  /** @param {number} count bytes that are about to be written */
  need(count) {
    const wanted = this.length + count;
    if (wanted > this.limit) bad(`more than ${this.limit} bytes`);
    if (wanted > this.bytes.length) {
      const grown = new Uint8Array(Math.min(this.limit, Math.max(wanted, this.bytes.length * 2)));
      grown.set(this.bytes.subarray(0, this.length));
      this.bytes = grown;
    }
  }

  /** @param {Uint8Array} part */
  write(part) {
    this.need(part.length);
    this.bytes.set(part, this.length);
    this.length += part.length;
  }

  /** @param {number} distance @param {number} count */
  copy(distance, count) {
    this.need(count);
    const { bytes } = this;
    for (let to = this.length, end = to + count; to < end; to++) bytes[to] = bytes[to - distance];
    this.length += count;
  }
}

/** Blocks of a frame; tables and distances go on from block to block. */
class Frame {
  /** @param {Output} output @param {number} window */
  constructor(output, window) {
    this.output = output;
    this.window = window;
    /** @type {Huffman | undefined} */
    this.huffman = undefined;
    /** @type {(Fse | undefined)[]} */
    this.tables = [undefined, undefined, undefined];
    this.distances = [1, 4, 8];
  }

  /** @param {Uint8Array} block a compressed one */
  compressed(block) {
    const { literals, end } = this.literals(block);
    this.sequences(block.subarray(end), literals);
  }

  /** @param {Uint8Array} block @returns {{literals: Uint8Array, end: number}} */
  literals(block) {
    const kind = block[0] & 3;
    const form = (block[0] >> 2) & 3;
    /** @param {number} count little-endian, without the kind and the form */
    const field = (count) => {
      if (count > block.length) bad("a block that ends early");
      let value = 0;
      for (let k = 0; k < count; k++) value += block[k] * 2 ** (8 * k);
      return value;
    };
    if (kind < 2) {
      const head = form === 1 ? 2 : form === 3 ? 3 : 1;
      const size = Math.floor(field(head) / (form & 1 ? 16 : 8));
      this.small(size);
      const stored = kind ? 1 : size;
      if (head + stored > block.length) bad("literals that end early");
      const part = block.subarray(head, head + stored);
      return { literals: kind ? new Uint8Array(size).fill(part[0]) : part, end: head + stored };
    }
    const head = form < 2 ? 3 : form + 2;
    const width = [10, 10, 14, 18][form];
    const fields = Math.floor(field(head) / 16);
    const size = fields % 2 ** width;
    const stored = Math.floor(fields / 2 ** width);
    this.small(size);
    const end = head + stored;
    if (end > block.length) bad("literals that end early");
    let data = block.subarray(head, end);
    if (kind === 2) {
      const { table, end: first } = readHuffman(data);
      this.huffman = table;
      data = data.subarray(first);
    }
    if (!this.huffman) bad("literals without a table");
    const literals = new Uint8Array(size);
    if (!form) {
      huffman(data, this.huffman, literals);
      return { literals, end };
    }
    if (data.length < 6) bad("literals that end early");
    const part = (size + 3) >> 2;
    if (part * 3 > size) bad("too few literals for four streams");
    let from = 6;
    for (let k = 0; k < 4; k++) {
      const to = k < 3 ? from + data[2 * k] + 256 * data[2 * k + 1] : data.length;
      if (to > data.length) bad("literals that end early");
      huffman(data.subarray(from, to), this.huffman, literals.subarray(k * part, k < 3 ? (k + 1) * part : size));
      from = to;
    }
    return { literals, end };
  }

  /** @param {number} size of the literals */
  small(size) {
    if (size > 1 << 17) bad("too many literals for a block");
  }

  /** @param {Uint8Array} bytes @param {Uint8Array} literals */
  sequences(bytes, literals) {
    const { output } = this;
    if (!bytes.length) bad("a block that ends early");
    let count = bytes[0];
    let at = 1;
    if (count >= 128) {
      at = count === 255 ? 3 : 2;
      if (bytes.length < at) bad("a block that ends early");
      count = count === 255 ? bytes[1] + 256 * bytes[2] + 0x7f00 : ((count - 128) << 8) + bytes[1];
    }
    if (!count) {
      if (bytes.length !== at) bad("bytes behind a block's literals");
      output.write(literals);
      return;
    }
    if (bytes.length <= at) bad("a block that ends early");
    const modes = bytes[at++];
    if (modes & 3) bad("reserved bits of a block");
    for (let k = 0; k < 3; k++) {
      const mode = (modes >> (6 - 2 * k)) & 3;
      const code = CODES[k];
      if (mode === 0) this.tables[k] = code.table;
      else if (mode === 1) {
        if (at >= bytes.length || bytes[at] >= code.bits.length) bad("a code that there is not");
        this.tables[k] = { accuracy: 0, symbol: bytes.slice(at, at + 1), bits: new Uint8Array(1), base: new Uint16Array(1) };
        at++;
      } else if (mode === 2) {
        const { table, end } = readFse(bytes, at, code.bits.length, code.most);
        this.tables[k] = table;
        at = end;
      } else if (!this.tables[k]) bad("a table that was not sent before");
    }
    const stream = new Backward(bytes.subarray(at));
    const tables = /** @type {Fse[]} */ (this.tables);
    const states = tables.map((table) => stream.read(table.accuracy));
    if (stream.left < 0) bad("sequences that end early");
    const { distances } = this;
    let literal = 0;
    const before = output.length;
    for (let n = 0; n < count; n++) {
      const [l, o, m] = states.map((state, k) => tables[k].symbol[state]);
      if (o > 31) bad("an offset that is too large");
      const value = CODES[1].base[o] + stream.read(o);
      const match = CODES[2].base[m] + stream.read(MATCH_BITS[m]);
      const length = CODES[0].base[l] + stream.read(LITERAL_BITS[l]);
      let distance;
      if (value > 3) {
        distance = value - 3;
        distances.splice(0, 3, distance, distances[0], distances[1]);
      } else {
        const index = value - 1 + (length ? 0 : 1);
        distance = index < 3 ? distances[index] : distances[0] - 1;
        if (distance < 1) bad("a distance of 0");
        if (index) {
          if (index > 1) distances[2] = distances[1];
          distances[1] = distances[0];
          distances[0] = distance;
        }
      }
      if (n + 1 < count) {
        for (const k of [0, 2, 1]) states[k] = tables[k].base[states[k]] + stream.read(tables[k].bits[states[k]]);
      }
      if (stream.left < 0) bad("sequences that end early");
      if (literal + length > literals.length) bad("too few literals");
      output.write(literals.subarray(literal, literal + length));
      literal += length;
      if (distance > output.length || distance > this.window) bad("a distance before the frame's first byte");
      output.copy(distance, match);
      if (output.length - before > 1 << 17) bad("a block of more than 128 KiB");
    }
    if (stream.left) bad("sequences with bits left");
    output.write(literals.subarray(literal));
  }
}

const MASK = (1n << 64n) - 1n;
const PRIMES = [11400714785074694791n, 14029467366897019727n, 1609587929392839161n, 9650029242287828579n, 2870177450012600261n];
/** @param {bigint} x @param {bigint} n */
const rotate = (x, n) => ((x << n) | (x >> (64n - n))) & MASK;
/** @param {bigint} sum @param {bigint} lane */
const round = (sum, lane) => (rotate((sum + lane * PRIMES[1]) & MASK, 31n) * PRIMES[0]) & MASK;

/**
 * Low 32 bits of XXH64 with seed 0: a frame's checksum.
 * @param {Uint8Array} bytes
 */
export function xxh64(bytes) {
  const [p1, p2, p3, p4, p5] = PRIMES;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  let hash = p5;
  if (bytes.length >= 32) {
    const sums = [(p1 + p2) & MASK, p2, 0n, -p1 & MASK];
    for (; at + 32 <= bytes.length; at += 32) {
      for (let k = 0; k < 4; k++) sums[k] = round(sums[k], view.getBigUint64(at + 8 * k, true));
    }
    hash = (rotate(sums[0], 1n) + rotate(sums[1], 7n) + rotate(sums[2], 12n) + rotate(sums[3], 18n)) & MASK;
    for (const sum of sums) hash = ((hash ^ round(0n, sum)) * p1 + p4) & MASK;
  }
  hash = (hash + BigInt(bytes.length)) & MASK;
  for (; at + 8 <= bytes.length; at += 8) hash = (rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * p1 + p4) & MASK;
  for (; at + 4 <= bytes.length; at += 4) hash = (rotate(hash ^ ((BigInt(view.getUint32(at, true)) * p1) & MASK), 23n) * p2 + p3) & MASK;
  for (; at < bytes.length; at++) hash = (rotate(hash ^ ((BigInt(bytes[at]) * p5) & MASK), 11n) * p1) & MASK;
  hash = ((hash ^ (hash >> 33n)) * p2) & MASK;
  hash = ((hash ^ (hash >> 29n)) * p3) & MASK;
  return Number((hash ^ (hash >> 32n)) & 0xffffffffn);
}

/**
 * The bytes of exactly one frame. BadFile if there is no frame, anything behind it, or anything wrong in it.
 * @param {Uint8Array} bytes
 * @param {{limit: number, window: number}} most bytes that the frame may hold, and of its window
 */
export function decompress(bytes, { limit, window }) {
  let at = 0;
  /** @param {number} count little-endian */
  const number = (count) => {
    if (at + count > bytes.length) bad("ends early");
    let value = 0;
    for (let k = 0; k < count; k++) value += bytes[at + k] * 2 ** (8 * k);
    at += count;
    return value;
  };
  if (number(4) !== 0xfd2fb528) bad("another signature");
  const flags = number(1);
  const single = (flags >> 5) & 1;
  if (flags & 8) bad("reserved bits");
  let size = 0;
  if (!single) {
    const field = number(1);
    const base = 2 ** (10 + (field >> 3));
    size = base + (base / 8) * (field & 7);
  }
  if (number([0, 1, 2, 4][flags & 3])) bad("a dictionary");
  const width = [single, 2, 4, 8][flags >> 6];
  const content = width ? number(width) + (width === 2 ? 256 : 0) : undefined;
  if (content !== undefined && content > limit) bad(`more than ${limit} bytes`);
  if (single) size = /** @type {number} */ (content);
  if (size > window) bad(`a window of ${size} bytes; at most ${window} are allowed`);
  const output = new Output(content ?? limit);
  const frame = new Frame(output, Math.max(size, 1));
  const largest = Math.min(1 << 17, size);
  for (let last = 0; !last; ) {
    const head = number(3);
    last = head & 1;
    const kind = (head >> 1) & 3;
    const length = head >> 3;
    if (length > largest) bad("a block larger than the window");
    const stored = kind === 1 ? 1 : length;
    if (at + stored > bytes.length) bad("ends early");
    const block = bytes.subarray(at, at + stored);
    at += stored;
    if (kind === 0) output.write(block);
    else if (kind === 1) {
      output.need(length);
      output.bytes.fill(block[0], output.length, output.length + length);
      output.length += length;
    } else if (kind === 2) frame.compressed(block);
    else bad("a block of an unknown kind");
  }
  if (content !== undefined && output.length !== content) bad("fewer bytes than it says");
  const result = output.bytes.subarray(0, output.length);
  if (flags & 4 && number(4) !== xxh64(result)) bad("a wrong checksum");
  if (at !== bytes.length) bad("something behind it");
  return result;
}
