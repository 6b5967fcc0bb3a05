/** Kind palette (§5.3): every cell of the latent is the number of a vector. */

import { NumberContexts, RangeDecoder } from "./entropy.js";
import { BadFile } from "./errors.js";

const WEIGHTS = [3, 3, 1, 1];

/**
 * The latent in a payload, channel by channel, row by row.
 * @param {Pick<import("./header.js").Palette, "colours" | "groups" | "step">} parameters
 * @param {Uint8Array} payload
 * @param {{channels: number, height: number, width: number}} shape
 * @returns {Float32Array<ArrayBuffer>}
 */
export function decodePalette({ colours, groups, step }, payload, { channels, height, width }) {
  const coder = new RangeDecoder(payload);
  /** @param {number} g */
  const first = (g) => Math.floor((channels * g) / groups);
  const palettes = Array.from({ length: groups }, (_, g) => readPalette(coder, colours, first(g + 1) - first(g)));
  const models = palettes.map((palette) => new Cells(coder, palette));
  const numbers = palettes.map(() => new Uint16Array(height * width));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) for (let g = 0; g < groups; g++) numbers[g][y * width + x] = models[g].read(numbers[g], x, y, width);
  }
  coder.end();
  const unit = 2 ** (step / 8);
  const latent = new Float32Array(channels * height * width);
  for (let g = 0; g < groups; g++) {
    for (let c = first(g); c < first(g + 1); c++) {
      const plane = c * height * width;
      numbers[g].forEach((number, n) => (latent[plane + n] = palettes[g][number][c - first(g)] * unit));
    }
  }
  return latent;
}

/**
 * @param {RangeDecoder} coder
 * @param {number} colours
 * @param {number} channels
 * @returns {Int16Array[]} vectors (§5.3.1)
 */
function readPalette(coder, colours, channels) {
  const contexts = new NumberContexts(coder, channels + 1);
  /** @type {Int16Array[]} */
  const vectors = [];
  for (let k = 0; k < colours; k++) {
    const vector = new Int16Array(channels);
    for (let c = 0; c < channels; c++) {
      let value = contexts.number(c, c ? channels : 0);
      if (!c && k) {
        if (value < 0) throw new BadFile("§5.3.1 the first channel of a palette's vectors falls");
        value += vectors[k - 1][0];
      }
      if (value < -128 || value > 127) throw new BadFile(`§5.3.1 value ${value} of a palette; -128 to 127 are allowed`);
      vector[c] = value;
    }
    vectors.push(vector);
  }
  return vectors;
}

/** The model of a palette's numbers (§5.3.2). */
class Cells {
  /** @param {RangeDecoder} coder @param {Int16Array[]} vectors */
  constructor(coder, vectors) {
    this.coder = coder;
    this.vectors = vectors;
    const count = vectors.length;
    this.counts = new Int32Array(count).fill(1);
    this.sum = count;
    this.frequencies = new Int32Array(count);
    /** @type {(Float64Array | undefined)[]} */
    this.distances = new Array(count);
    const channels = vectors[0].length;
    let squares = 0;
    let square = 0;
    for (let c = 0; c < channels; c++) {
      let total = 0;
      for (const vector of vectors) {
        total += vector[c];
        squares += vector[c] ** 2;
      }
      square += total ** 2;
    }
    this.energy = Math.max(1, Math.floor(Math.floor((2 * (count * squares - square)) / count ** 2) / 2));
  }

  /** @param {number} i @returns {Float64Array} squared distances of vector i to all */
  distancesOf(i) {
    let row = this.distances[i];
    if (!row) {
      const own = this.vectors[i];
      row = Float64Array.from(this.vectors, (other) => other.reduce((sum, value, c) => sum + (value - own[c]) ** 2, 0));
      this.distances[i] = row;
    }
    return row;
  }

  /**
   * @param {Uint16Array} numbers of the cells before
   * @param {number} x
   * @param {number} y
   * @param {number} width
   */
  read(numbers, x, y, width) {
    const cell = y * width + x;
    const places = [x ? cell - 1 : -1, y ? cell - width : -1, x && y ? cell - width - 1 : -1, y && x + 1 < width ? cell - width + 1 : -1];
    const near = places.flatMap((place, k) => (place < 0 ? [] : [{ weight: WEIGHTS[k], distances: this.distancesOf(numbers[place]) }]));
    const weight = near.reduce((sum, { weight }) => sum + weight, 0);
    const { counts, frequencies, energy } = this;
    let total = 0;
    for (let i = 0; i < counts.length; i++) {
      let frequency = counts[i];
      if (weight) {
        let far = 0;
        for (const { weight, distances } of near) far += weight * distances[i];
        let c = Math.floor((65536 * energy * weight) / (energy * weight + far));
        for (let k = 0; k < 3; k++) c = Math.floor((c * c) / 65536);
        frequency = 1 + Math.floor((frequency * c) / 256);
      }
      frequencies[i] = frequency;
      total += frequency;
    }
    const target = this.coder.target(total);
    let number = 0;
    let start = 0;
    while (start + frequencies[number] <= target) start += frequencies[number++];
    this.coder.take(start, frequencies[number]);
    counts[number] += 3;
    this.sum += 3;
    if (this.sum > 2 ** 19) {
      this.sum = 0;
      for (let i = 0; i < counts.length; i++) this.sum += counts[i] = (counts[i] + 1) >> 1;
    }
    return number;
  }
}
