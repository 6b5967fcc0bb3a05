/** Kind lowbit (§5.4): every value of the latent is one of a few levels. */

import { BitContexts, NumberContexts, RangeDecoder } from "./entropy.js";
import { BadFile } from "./errors.js";

/**
 * The latent in a payload, channel by channel, row by row.
 * @param {Pick<import("./header.js").Lowbit, "levels" | "contexts">} parameters
 * @param {Uint8Array} payload
 * @param {{channels: number, height: number, width: number}} shape
 * @returns {Float32Array<ArrayBuffer>}
 */
export function decodeLowbit({ levels: n, contexts }, payload, { channels, height, width }) {
  const coder = new RangeDecoder(payload);
  const { scales, offsets } = readScales(coder, channels);
  const bits = new BitContexts(coder, 16 * (contexts === "neighbours" ? 5 * channels + 100 : 1));
  /** @param {number} a @param {number} b contexts of a value */
  const read = (a, b) => {
    let low = 0;
    let high = n;
    for (let depth = 0, f = 1; high - low > 1; depth++) {
      if (depth === 4 || contexts === "even") return low + coder.uniform(high - low);
      const middle = (low + high) >> 1;
      const bit = bits.bit(16 * a + f, 16 * b + f);
      f = 2 * f + bit;
      if (bit) low = middle;
      else high = middle;
    }
    return low;
  };
  const cells = height * width;
  const values = new Uint8Array(channels * cells);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) {
        const at = c * cells + y * width + x;
        const [a, b] = contexts === "neighbours" ? neighbours(values, at, x, y, width, n, c, channels) : [0, 0];
        values[at] = read(a, b);
      }
    }
  }
  coder.end();
  return Float32Array.from(values, (value, at) => {
    const c = Math.floor(at / cells);
    return (offsets[c] / 4 + value - (n - 1) / 2) * 2 ** (scales[c] / 4);
  });
}

/** @param {RangeDecoder} coder @param {number} channels (§5.4.1) */
function readScales(coder, channels) {
  const numbers = new NumberContexts(coder, 2);
  const scales = [];
  const offsets = [];
  let sum = 0;
  for (let c = 0; c < channels; c++) {
    const scale = numbers.number(0, 0) + (c ? Math.floor(sum / c) : 0);
    const offset = numbers.number(1, 1);
    if (scale < -128 || scale > 127) throw new BadFile(`§5.4.1 scale ${scale}; -128 to 127 are allowed`);
    if (offset < -32768 || offset > 32767) throw new BadFile(`§5.4.1 offset ${offset}; -32768 to 32767 are allowed`);
    sum += scale;
    scales.push(scale);
    offsets.push(offset);
  }
  return { scales, offsets };
}

/**
 * Contexts of a value by the ones around it (§5.4.2).
 * @param {Uint8Array} values of the channels
 * @param {number} at place of the value
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} n levels
 * @param {number} c channel
 * @param {number} channels
 * @returns {[number, number]}
 */
function neighbours(values, at, x, y, width, n, c, channels) {
  const hasLeft = x > 0;
  let left = hasLeft ? values[at - 1] : -1;
  let north = y ? values[at - width] : x > 1 ? values[at - 2] : -1;
  if (left < 0 && north < 0) left = north = (n - 1) >> 1;
  else if (north < 0) north = left;
  else if (left < 0) left = north;
  const northWest = y && hasLeft ? values[at - width - 1] : north;
  const northEast = y && x + 1 < width ? values[at - width + 1] : north;
  const s = 6 * n - 5;
  const k = Math.min(s, 25);
  const q = Math.floor(((2 * left + 2 * north + northWest + northEast) * k) / s);
  const rough = Math.abs(left - north) + Math.abs(north - northWest) + Math.abs(north - northEast);
  const e = Math.min(3, Math.floor((8 * rough) / (3 * n - 2)));
  return [5 * c + Math.floor((5 * q) / k), 5 * channels + 4 * q + e];
}
