/**
 * Folders of diffusers' Stable Diffusion whose network has one level without attention (§4.4): what the conformance suite has. Larger
 * networks are refused; plain JavaScript would take hours for them.
 */

import { Autoencoder } from "./autoencoder.js";
import { Unsupported } from "./errors.js";
import { Layers, silu, siluOf } from "./layers.js";
import { blend } from "./tiles.js";

/** @typedef {import("./layers.js").Planes} Planes */
/** @typedef {{block_out_channels: number[], down_block_types: string[], up_block_types: string[], mid_block_type?: string | null, layers_per_block: number, norm_num_groups: number, norm_eps: number, act_fn: string, sample_size?: number, flip_sin_to_cos: boolean, freq_shift: number}} UnetConfig of diffusers */
/** @typedef {{prediction_type?: string, beta_schedule?: string, beta_start?: number, beta_end?: number, num_train_timesteps?: number, rescale_betas_zero_snr?: boolean}} SchedulerConfig of diffusers */

/** The network's own noise: ln sigma and abar of every timestep (§4.4.2). */
class NoiseLaw {
  /** @param {SchedulerConfig} config */
  constructor(config) {
    const { beta_schedule = "linear", beta_start = 0.0001, beta_end = 0.02, num_train_timesteps: count = 1000 } = config;
    if (beta_schedule !== "linear" && beta_schedule !== "scaled_linear") throw new Unsupported(`§4.4.2 betas ${beta_schedule} are unknown here`);
    const roots = beta_schedule === "scaled_linear";
    const [first, last] = [beta_start, beta_end].map((beta) => (roots ? Math.sqrt(beta) : beta));
    let product = 1;
    this.abar = Float64Array.from({ length: count }, (_, t) => {
      const value = first + ((last - first) * t) / (count - 1);
      return (product *= 1 - (roots ? value * value : value));
    });
    if (config.rescale_betas_zero_snr) {
      const [r0, rl] = [Math.sqrt(this.abar[0]), Math.sqrt(this.abar[count - 1])];
      this.abar = this.abar.map((abar) => (((Math.sqrt(abar) - rl) * r0) / (r0 - rl)) ** 2);
    }
    this.levels = this.abar.map((abar) => Math.log((1 - abar) / abar) / 2);
  }

  /** @param {number} sigma @returns {{timestep: number, abar: number}} */
  at(sigma) {
    const { levels } = this;
    const level = Math.log(sigma);
    const last = levels.length - 1;
    if (level >= levels[last]) return { timestep: last, abar: level > levels[last] ? this.abar[last] : 1 / (1 + sigma * sigma) };
    const abar = 1 / (1 + sigma * sigma);
    if (level <= levels[0]) return { timestep: 0, abar };
    const t = levels.findIndex((next) => next > level) - 1;
    return { timestep: t + (level - levels[t]) / (levels[t + 1] - levels[t]), abar };
  }
}

/** The network, of one level. */
class Unet extends Layers {
  /** @param {UnetConfig} config @param {Uint8Array} weights */
  constructor(config, weights) {
    super(weights, config.norm_num_groups, config.norm_eps);
    const { block_out_channels, down_block_types, up_block_types, mid_block_type, layers_per_block, act_fn, flip_sin_to_cos, freq_shift } = config;
    const known =
      block_out_channels.length === 1 &&
      down_block_types[0] === "DownBlock2D" &&
      up_block_types[0] === "UpBlock2D" &&
      mid_block_type === null &&
      layers_per_block === 1 &&
      act_fn === "silu" &&
      flip_sin_to_cos &&
      freq_shift === 0;
    if (!known) throw new Unsupported("§4.4 a network of these blocks cannot be run here");
    this.frequencies = this.tensors["time_embedding.linear_1.weight"].shape[1] / 2;
  }

  /** @param {Planes} z @param {number} timestep @returns {Planes} */
  answer(z, timestep) {
    const angles = Array.from({ length: this.frequencies }, (_, k) => timestep / 10000 ** (k / this.frequencies));
    const waves = Float32Array.from([...angles.map(Math.cos), ...angles.map(Math.sin)]);
    const level = this.linear(this.linear(waves, "time_embedding.linear_1").map(siluOf), "time_embedding.linear_2").map(siluOf);
    /** @param {Planes} x @param {string} name */
    const block = (x, name) => this.resnet(x, name, this.linear(level, `${name}.time_emb_proj`));
    const a = this.conv(z, "conv_in");
    const b = block(a, "down_blocks.0.resnets.0");
    const c = block(both(b, b), "up_blocks.0.resnets.0");
    const d = block(both(c, a), "up_blocks.0.resnets.1");
    return this.conv(silu(this.norm(d, "conv_norm_out")), "conv_out");
  }
}

/** @param {Planes} x @param {Planes} y @returns {Planes} the channels of both */
function both(x, y) {
  const values = new Float32Array(x.values.length + y.values.length);
  values.set(x.values);
  values.set(y.values, x.values.length);
  return { ...x, channels: x.channels + y.channels, values };
}

/** A network with its autoencoder. */
export class Pipeline extends Autoencoder {
  predicts = true;

  /**
   * @param {import("./autoencoder.js").Config} config of the autoencoder
   * @param {Uint8Array} weights
   * @param {UnetConfig} unet
   * @param {Uint8Array} unetWeights
   * @param {SchedulerConfig} scheduler
   */
  constructor(config, weights, unet, unetWeights, scheduler) {
    super(config, weights);
    this.unet = new Unet(unet, unetWeights);
    this.law = new NoiseLaw(scheduler);
    this.prediction = scheduler.prediction_type ?? "epsilon";
    if (!["epsilon", "v_prediction", "sample"].includes(this.prediction)) throw new Unsupported(`§4.4.2 prediction ${this.prediction} is unknown here`);
    this.multiple = this.cell * 2 ** (unet.block_out_channels.length - 1);
    this.trained = this.cell * (unet.sample_size ?? 64);
    this.least = this.trained / 4;
  }

  /**
   * The posterior mean (§4.4.2), by tiles where the latent is large (§4.4.3).
   * @param {Float32Array<ArrayBuffer>} y
   * @param {number} sigma
   * @param {{channels: number, height: number, width: number}} shape
   * @returns {Promise<Float32Array<ArrayBuffer>>}
   */
  async predict(y, sigma, shape) {
    const { channels, height, width } = shape;
    const { timestep, abar } = this.law.at(sigma);
    const scale = 1 / Math.sqrt(1 + sigma * sigma);
    const [signal, noise] = [Math.sqrt(abar), Math.sqrt(1 - abar)];
    const blended = await blend(shape, this.trained / this.cell, this.multiple / this.cell, async (top, left, high, wide) => {
      const z = { channels, height: high, width: wide, values: new Float32Array(channels * high * wide) };
      for (let c = 0; c < channels; c++) {
        for (let r = 0; r < high; r++) {
          for (let x = 0; x < wide; x++) z.values[(c * high + r) * wide + x] = y[(c * height + top + r) * width + left + x] * scale;
        }
      }
      const { values } = this.unet.answer(z, timestep);
      if (this.prediction === "sample") return { channels, values };
      const clean = this.prediction === "epsilon" ? z.values.map((v, n) => (v - noise * values[n]) / signal) : z.values.map((v, n) => signal * v - noise * values[n]);
      return { channels, values: clean };
    });
    return blended.values;
  }
}
