/** Layers of the small networks that are run in plain JavaScript (§4.3.1, §4.5.1). */

import { tensors } from "./safetensors.js";

/** @typedef {{channels: number, height: number, width: number, values: Float32Array<ArrayBuffer>}} Planes */

export class Layers {
  /**
   * @param {Uint8Array} weights safetensors
   * @param {number} groups of the group norms
   * @param {number} epsilon added to their variance
   */
  constructor(weights, groups, epsilon) {
    this.tensors = tensors(weights);
    this.groups = groups;
    this.epsilon = epsilon;
  }

  /**
   * @param {Planes} x
   * @param {string} name
   * @param {Float32Array} [level] added to every channel between the convolutions
   * @returns {Planes}
   */
  resnet(x, name, level) {
    let h = this.conv(silu(this.norm(x, `${name}.norm1`)), `${name}.conv1`);
    if (level) {
      const plane = h.height * h.width;
      h = { ...h, values: h.values.map((v, n) => v + level[Math.floor(n / plane)]) };
    }
    const out = this.conv(silu(this.norm(h, `${name}.norm2`)), `${name}.conv2`);
    const skip = `${name}.conv_shortcut.weight` in this.tensors ? this.conv(x, `${name}.conv_shortcut`) : x;
    return { ...out, values: out.values.map((v, n) => v + skip.values[n]) };
  }

  /** @param {Float32Array} x @param {string} name @returns {Float32Array<ArrayBuffer>} */
  linear(x, name) {
    const { values } = this.tensors[`${name}.weight`];
    return this.tensors[`${name}.bias`].values.map((bias, o) => x.reduce((sum, v, i) => sum + v * values[o * x.length + i], bias));
  }

  /** @param {Planes} x @param {string} name @returns {Planes} normalised over groups of channels */
  norm({ channels, height, width, values }, name) {
    const scale = this.tensors[`${name}.weight`].values;
    const shift = this.tensors[`${name}.bias`].values;
    const plane = height * width;
    const size = (channels / this.groups) * plane;
    const result = new Float32Array(values.length);
    for (let first = 0; first < values.length; first += size) {
      let sum = 0;
      for (let n = first; n < first + size; n++) sum += values[n];
      const mean = sum / size;
      let square = 0;
      for (let n = first; n < first + size; n++) square += (values[n] - mean) ** 2;
      const unit = 1 / Math.sqrt(square / size + this.epsilon);
      for (let n = first; n < first + size; n++) {
        const c = Math.floor(n / plane);
        result[n] = (values[n] - mean) * unit * scale[c] + shift[c];
      }
    }
    return { channels, height, width, values: result };
  }

  /** @param {Planes} x @param {string} name @returns {Planes} of the same size; beyond its edge are zeros */
  conv({ channels, height, width, values }, name) {
    const { shape, values: weight } = this.tensors[`${name}.weight`];
    const bias = this.tensors[`${name}.bias`].values;
    const [out, , side] = shape;
    const pad = side >> 1;
    const plane = height * width;
    const result = new Float32Array(out * plane);
    for (let o = 0; o < out; o++) {
      const to = result.subarray(o * plane, (o + 1) * plane).fill(bias[o]);
      for (let i = 0; i < channels; i++) {
        const from = values.subarray(i * plane, (i + 1) * plane);
        for (let a = 0; a < side; a++) {
          for (let b = 0; b < side; b++) {
            const w = weight[((o * channels + i) * side + a) * side + b];
            const [dy, dx] = [a - pad, b - pad];
            const left = Math.max(0, -dx);
            const right = Math.min(width, width - dx);
            for (let y = Math.max(0, -dy); y < Math.min(height, height - dy); y++) {
              const source = (y + dy) * width + dx;
              const target = y * width;
              for (let x = left; x < right; x++) to[target + x] += w * from[source + x];
            }
          }
        }
      }
    }
    return { channels: out, height, width, values: result };
  }
}

/** @param {Planes} x @returns {Planes} */
export const silu = (x) => ({ ...x, values: x.values.map(siluOf) });

/** @param {number} v */
export const siluOf = (v) => v / (1 + Math.exp(-v));
