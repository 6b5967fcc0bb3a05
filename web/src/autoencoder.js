/**
 * The decoder of an AutoencoderKL of diffusers (§4.5), in plain JavaScript: slow, and without attention. It is there for small models.
 */

import { Unsupported } from "./errors.js";
import { tensors } from "./safetensors.js";

/** @typedef {import("./safetensors.js").Tensor} Tensor */
/** @typedef {{channels: number, height: number, width: number, values: Float32Array<ArrayBuffer>}} Planes */

/** @typedef {{_class_name: string, act_fn: string, block_out_channels: number[], latent_channels: number, layers_per_block: number, mid_block_add_attention?: boolean, norm_num_groups: number, out_channels: number, sample_size: number, scaling_factor: number, shift_factor?: number | null, up_block_types: string[], use_post_quant_conv?: boolean}} Config of diffusers */

const EPSILON = 1e-6;

export class Autoencoder {
  /**
   * @param {Config} config
   * @param {Uint8Array} weights safetensors
   */
  constructor(config, weights) {
    if (config._class_name !== "AutoencoderKL") throw new Unsupported(`§4.5 ${config._class_name} cannot be decoded here`);
    if (config.mid_block_add_attention !== false) throw new Unsupported("§4.5 an autoencoder with attention cannot be decoded here");
    if (config.act_fn !== "silu" || config.up_block_types.some((type) => type !== "UpDecoderBlock2D")) {
      throw new Unsupported("§4.5 an autoencoder of these blocks cannot be decoded here");
    }
    this.config = config;
    this.tensors = tensors(weights);
    this.channels = config.latent_channels;
    this.cell = 2 ** (config.block_out_channels.length - 1);
    this.native = config.sample_size;
  }

  /**
   * Samples p, about -1 to 1, of a latent.
   * @param {Planes} latent
   * @returns {Planes}
   */
  decode(latent) {
    const { config } = this;
    const shift = config.shift_factor ?? 0;
    let x = { ...latent, values: latent.values.map((v) => v / config.scaling_factor + shift) };
    if (config.use_post_quant_conv !== false) x = this.conv(x, "post_quant_conv");
    x = this.conv(x, "decoder.conv_in");
    x = this.resnet(x, "decoder.mid_block.resnets.0");
    x = this.resnet(x, "decoder.mid_block.resnets.1");
    const blocks = config.block_out_channels.length;
    for (let block = 0; block < blocks; block++) {
      const name = `decoder.up_blocks.${block}`;
      for (let layer = 0; layer <= config.layers_per_block; layer++) x = this.resnet(x, `${name}.resnets.${layer}`);
      if (block + 1 < blocks) x = this.conv(twice(x), `${name}.upsamplers.0.conv`);
    }
    return this.conv(silu(this.norm(x, "decoder.conv_norm_out")), "decoder.conv_out");
  }

  /** @param {Planes} x @param {string} name @returns {Planes} */
  resnet(x, name) {
    const h = this.conv(silu(this.norm(x, `${name}.norm1`)), `${name}.conv1`);
    const out = this.conv(silu(this.norm(h, `${name}.norm2`)), `${name}.conv2`);
    const skip = `${name}.conv_shortcut.weight` in this.tensors ? this.conv(x, `${name}.conv_shortcut`) : x;
    return { ...out, values: out.values.map((v, n) => v + skip.values[n]) };
  }

  /** @param {Planes} x @param {string} name @returns {Planes} normalised over groups of channels */
  norm({ channels, height, width, values }, name) {
    const scale = this.tensors[`${name}.weight`].values;
    const shift = this.tensors[`${name}.bias`].values;
    const plane = height * width;
    const size = (channels / this.config.norm_num_groups) * plane;
    const result = new Float32Array(values.length);
    for (let first = 0; first < values.length; first += size) {
      let sum = 0;
      for (let n = first; n < first + size; n++) sum += values[n];
      const mean = sum / size;
      let square = 0;
      for (let n = first; n < first + size; n++) square += (values[n] - mean) ** 2;
      const unit = 1 / Math.sqrt(square / size + EPSILON);
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
const silu = (x) => ({ ...x, values: x.values.map((v) => v / (1 + Math.exp(-v))) });

/** @param {Planes} x @returns {Planes} with sides twice as long, by the nearest position */
function twice({ channels, height, width, values }) {
  const result = new Float32Array(values.length * 4);
  const wide = 2 * width;
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < 2 * height; y++) {
      const from = (c * height + (y >> 1)) * width;
      const to = (c * 2 * height + y) * wide;
      for (let x = 0; x < wide; x++) result[to + x] = values[from + (x >> 1)];
    }
  }
  return { channels, height: 2 * height, width: wide, values: result };
}
