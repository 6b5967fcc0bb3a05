/** What a step's bits say: its D numbers z (§6.3 trellis, §6.4 pfr, §6.5 tree). All but the last division is integer arithmetic. */

import { STREAM, normals, philox } from "./philox.js";

const GOLDEN = 2654435769;
const ORDER = 256;

/** @typedef {(index: number) => number} Bits bit of a step, from 0; bits beyond its end are 0 */
/** @typedef {{seed: number, step: number, size: number}} Address step from 0; size: D, numbers of the latent */

/**
 * z of a step.
 * @param {import("./tables.js").Coder} coder
 * @param {number} parameter L or K
 * @param {Address} address
 * @param {Uint8Array} payload
 * @param {number} first bit of the step in the payload
 * @param {number} count R, bits of the step, at most D
 * @returns {Float32Array<ArrayBuffer>}
 */
export function receive(coder, parameter, address, payload, first, count) {
  const { seed, step, size } = address;
  if (!count) return Float32Array.from(normals(new Int32Array(size), seed, step, STREAM.normals), (n) => n / 4096);
  /** @type {Bits} */
  const bits = (index) => (index < count ? (payload[(first + index) >>> 3] >> (7 - ((first + index) & 7))) & 1 : 0);
  const signs = new Signs(address);
  if (coder === "pfr") {
    const values = candidates(parameter, address, bits, count);
    return place(values, address, signs, 65536);
  }
  const values = coder === "tree" ? branches(size, bits, count, 2048, treeWords(parameter), parameter) : branches(size, bits, count, 1024, trellisWords(parameter), parameter);
  signs.apply(2, values);
  mixRows(values);
  signs.apply(1, values);
  return place(values, address, signs, 256);
}

/**
 * First place of part n = 0..parts of `size` places: floor(size n / parts), without a product beyond 2^53.
 * @param {number} size
 * @param {number} parts
 * @returns {() => number} gives them one after the other
 */
function boundaries(size, parts) {
  const whole = Math.floor(size / parts);
  const more = size % parts;
  let place = 0;
  let rest = 0;
  let started = false;
  return () => {
    if (started) {
      place += whole;
      rest += more;
      if (rest >= parts) {
        place++;
        rest -= parts;
      }
    }
    started = true;
    return place;
  };
}

/** @param {number} x 32 bits @returns {number} 1 if an odd number of them is set */
function parity(x) {
  x ^= x >>> 16;
  x ^= x >>> 8;
  x ^= x >>> 4;
  return (0x6996 >>> (x & 15)) & 1;
}

/** @param {number} length L @returns {(state: number) => [number, number]} next state without its bit, word (§6.3.2) */
const trellisWords = (length) => {
  const mask = 2 ** length - 1;
  return (state) => [state & mask, state & mask];
};

/** @param {number} length K @returns {(state: number) => [number, number]} §6.5.2 */
const treeWords = (length) => (state) => [state, Math.imul(GOLDEN, state) >>> (32 - length)];

/**
 * The sign of every place by its branch's word and its code, 1 or -1, before base signs (§6.3.1, §6.3.6, §6.5.1).
 * @param {number} size
 * @param {Bits} bits
 * @param {number} count
 * @param {number} longest branches of a walk
 * @param {(state: number) => [number, number]} words
 * @param {number} length of a word [bit]
 */
function branches(size, bits, count, longest, words, length) {
  const values = new Int32Array(size);
  const walks = Math.ceil(count / longest);
  const walkStart = boundaries(count, walks);
  const branchStart = boundaries(size, count);
  walkStart();
  branchStart();
  let next = walks ? walkStart() : 0;
  let state = 0;
  let from = 0;
  for (let b = 0; b < count; b++) {
    if (b === next) {
      state = 0;
      next = walkStart();
    }
    const [kept, word] = words(((state << 1) | bits(b)) >>> 0);
    state = kept;
    const to = branchStart();
    for (let p = from, code = GOLDEN | 0; p < to; p++, code = (code + GOLDEN) | 0) values[p] = 1 - 2 * parity(word & (code >>> (32 - length)));
    from = to;
  }
  return values;
}

/**
 * The values of the chosen candidates, times 4096 (§6.4.1 to §6.4.3).
 * @param {number} parameter K
 * @param {Address} address
 * @param {Bits} bits
 * @param {number} count
 */
function candidates(parameter, { seed, step, size }, bits, count) {
  const values = new Int32Array(size);
  const chunks = Math.min(size, Math.ceil(count / parameter));
  const patterns = Math.min(10, 31 - Math.clz32(Math.floor(size / chunks)));
  const stride = 8 * Math.ceil(size / 8);
  const start = boundaries(size, chunks);
  let from = start();
  let bit = 0;
  /** @param {number} width */
  const read = (width) => {
    let value = 0;
    for (let k = 0; k < width; k++) value = 2 * value + bits(bit++);
    return value;
  };
  for (let chunk = 0; chunk < chunks; chunk++) {
    const width = read(4);
    const index = 2 ** width + read(width) - 1;
    const vector = index >>> patterns;
    const pattern = index & (2 ** patterns - 1);
    const to = start();
    normals(values.subarray(from, to), seed, step, STREAM.candidates, stride * vector + from);
    if (pattern) {
      for (let p = from, code = GOLDEN | 0; p < to; p++, code = (code + GOLDEN) | 0) if (parity(pattern & (code >>> (32 - patterns)))) values[p] = -values[p];
    }
    from = to;
  }
  return values;
}

/** Planes of signs (§6.3.4). */
class Signs {
  /** @param {Address} address */
  constructor({ seed, step, size }) {
    this.seed = seed;
    this.step = step;
    this.blocks = Math.ceil(size / 128);
  }

  /**
   * @param {number} plane 0 outer, 1 middle, 2 base
   * @param {Int32Array} values of all places, changed
   */
  apply(plane, values) {
    const piece = 1 << 12;
    for (let block = 0; block < this.blocks; block += piece) {
      const words = philox(this.seed, this.step, STREAM.mixing, 1 + plane * this.blocks + block, Math.min(piece, this.blocks - block));
      const from = 128 * block;
      const to = Math.min(values.length, from + 32 * words.length);
      for (let p = from; p < to; p++) {
        const q = p - from;
        // -1 for a set bit: x ^ -1 is -x - 1.
        const sign = -((words[q >>> 5] >>> (q & 31)) & 1);
        values[p] = (values[p] ^ sign) - sign;
      }
    }
  }
}

/**
 * Mixing by rows (§6.3.5).
 * @param {Int32Array} values changed
 */
export function mixRows(values) {
  const head = values.length % ORDER;
  for (let p = 0; p < head; p++) values[p] *= 16;
  for (let first = head; first < values.length; first += ORDER) {
    for (let half = 1; half < ORDER; half *= 2) {
      for (let i = first; i < first + ORDER; i += 2 * half) {
        for (let j = i; j < i + half; j++) {
          const a = values[j];
          const b = values[j + half];
          values[j] = a + b;
          values[j + half] = a - b;
        }
      }
    }
  }
}

/**
 * Mixing by columns (§6.3.5).
 * @param {Int32Array} values changed
 */
export function mixColumns(values) {
  const q = Math.floor(values.length / ORDER);
  for (let half = 1; half < ORDER; half *= 2) {
    const distance = half * q;
    for (let row = 0; row < ORDER; row += 2 * half) {
      for (let j = row * q, end = j + distance; j < end; j++) {
        const a = values[j];
        const b = values[j + distance];
        values[j] = a + b;
        values[j + distance] = a - b;
      }
    }
  }
  for (let p = ORDER * q; p < values.length; p++) values[p] *= 16;
}

/**
 * Columns mixed, outer signs, and every place at its dimension (§6.3.3, §6.3.7, §6.4.4).
 * @param {Int32Array} values
 * @param {Address} address
 * @param {Signs} signs
 * @param {number} unit what a number is divided by
 */
function place(values, { seed, step, size }, signs, unit) {
  mixColumns(values);
  signs.apply(0, values);
  const stride = mixingStride(size) % size;
  let dimension = philox(seed, step, STREAM.mixing, 0, 1)[0] % size;
  const z = new Float32Array(size);
  for (let p = 0; p < size; p++) {
    z[dimension] = values[p] / unit;
    dimension += stride;
    if (dimension >= size) dimension -= size;
  }
  return z;
}

/**
 * a of §6.3.3.
 * @param {number} size
 */
export function mixingStride(size) {
  let a = Math.max(1, Number((BigInt(size) * BigInt(GOLDEN)) >> 32n));
  /** @param {number} x @param {number} y @returns {number} */
  const divisor = (x, y) => (y ? divisor(y, x % y) : x);
  while (divisor(a, size) !== 1) a++;
  return a;
}
