/** From the latent of the embedded models to samples (§4.3), and from samples to what a mode shows. */

const BLOCK = 8;

/** BASIS[8 k + x]: the orthonormal DCT-II's function of frequency k at place x. */
const BASIS = Float64Array.from({ length: BLOCK * BLOCK }, (_, n) => {
  const k = n >> 3;
  return Math.sqrt((k ? 2 : 1) / BLOCK) * Math.cos(((2 * (n & 7) + 1) * k * Math.PI) / (2 * BLOCK));
});

/** @param {number} p @returns {number} the sample of p = s / 127.5 - 1, rounded and clipped */
export const toSample = (p) => Math.min(255, Math.max(0, Math.round((p + 1) * 127.5)));

/**
 * Samples of a latent of weighted DCT coefficients, red, green and blue by turns.
 * @param {Float32Array<ArrayBuffer>} latent 192 channels of rows x columns
 * @param {Float32Array<ArrayBuffer>} weight of every channel
 * @param {{height: number, width: number}} cells of the latent
 * @param {{height: number, width: number}} size of the picture [pixel]; what is beyond it at the right and the bottom is dropped
 * @returns {Uint8ClampedArray<ArrayBuffer>} height x width x 3
 */
export function fromCoefficients(latent, weight, cells, size) {
  const plane = cells.height * cells.width;
  const result = new Uint8ClampedArray(size.height * size.width * 3);
  const block = new Float64Array(3 * 64);
  const half = new Float64Array(64);
  const colours = new Float64Array(3 * 64);
  const inverse = Float64Array.from(weight, (w) => 1 / w);
  const [whole, difference, middle] = [1 / Math.sqrt(3), 1 / Math.sqrt(2), 1 / Math.sqrt(6)];
  for (let row = 0; row < cells.height; row++) {
    for (let column = 0; column < cells.width; column++) {
      const cell = row * cells.width + column;
      for (let c = 0; c < 192; c++) block[c] = latent[c * plane + cell] * inverse[c];
      for (let c = 0; c < 3; c++) {
        // half[8 v + x]: rows done; then columns.
        for (let v = 0; v < 8; v++) {
          for (let x = 0; x < 8; x++) {
            let sum = 0;
            for (let u = 0; u < 8; u++) sum += block[64 * c + 8 * v + u] * BASIS[8 * u + x];
            half[8 * v + x] = sum;
          }
        }
        for (let y = 0; y < 8; y++) {
          for (let x = 0; x < 8; x++) {
            let sum = 0;
            for (let v = 0; v < 8; v++) sum += half[8 * v + x] * BASIS[8 * v + y];
            colours[64 * c + 8 * y + x] = sum;
          }
        }
      }
      const high = Math.min(BLOCK, size.height - row * BLOCK);
      const wide = Math.min(BLOCK, size.width - column * BLOCK);
      for (let y = 0; y < high; y++) {
        for (let x = 0; x < wide; x++) {
          const n = 8 * y + x;
          const a = colours[n] * whole;
          const b = colours[64 + n] * difference;
          const c = colours[128 + n] * middle;
          const at = 3 * ((row * BLOCK + y) * size.width + column * BLOCK + x);
          result[at] = toSample(a + b + c);
          result[at + 1] = toSample(a - 2 * c);
          result[at + 2] = toSample(a - b + c);
        }
      }
    }
  }
  return result;
}

/**
 * Red, green and blue with alpha, as a canvas has them. Grey is the rounded mean of the three (§4.3).
 * @param {Uint8ClampedArray} colours height x width x 3
 * @param {boolean} grey
 * @param {Uint8Array} [alpha] opaque if there is none
 * @returns {Uint8ClampedArray<ArrayBuffer>} height x width x 4
 */
export function toRgba(colours, grey, alpha) {
  const count = colours.length / 3;
  const result = new Uint8ClampedArray(count * 4);
  for (let n = 0; n < count; n++) {
    const [red, green, blue] = [colours[3 * n], colours[3 * n + 1], colours[3 * n + 2]];
    const mean = Math.round((red + green + blue) / 3);
    result[4 * n] = grey ? mean : red;
    result[4 * n + 1] = grey ? mean : green;
    result[4 * n + 2] = grey ? mean : blue;
    result[4 * n + 3] = alpha ? alpha[n] : 255;
  }
  return result;
}
