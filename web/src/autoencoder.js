/**
 * The decoder of an AutoencoderKL of diffusers (§4.5), in plain JavaScript: slow, and without attention. It is there for small models.
 */

import { Unsupported } from "./errors.js";
import { Layers, silu } from "./layers.js";

/** @typedef {import("./layers.js").Planes} Planes */

/** @typedef {{_class_name: string, act_fn: string, block_out_channels: number[], latent_channels: number, layers_per_block: number, mid_block_add_attention?: boolean, norm_num_groups: number, out_channels: number, sample_size: number, scaling_factor: number, shift_factor?: number | null, up_block_types: string[], use_post_quant_conv?: boolean}} Config of diffusers */

export class Autoencoder extends Layers {
  /** Whether there is a network that predicts. */
  predicts = false;
  /** What sides are rounded up to, and the least one [pixel]. */
  multiple = 1;
  least = 1;

  /**
   * @param {Config} config
   * @param {Uint8Array} weights safetensors
   */
  constructor(config, weights) {
    super(weights, config.norm_num_groups, 1e-6);
    if (config._class_name !== "AutoencoderKL") throw new Unsupported(`§4.5 ${config._class_name} cannot be decoded here`);
    if (config.mid_block_add_attention !== false) throw new Unsupported("§4.5 an autoencoder with attention cannot be decoded here");
    if (config.act_fn !== "silu" || config.up_block_types.some((type) => type !== "UpDecoderBlock2D")) {
      throw new Unsupported("§4.5 an autoencoder of these blocks cannot be decoded here");
    }
    this.config = config;
    this.channels = config.latent_channels;
    this.cell = this.multiple = 2 ** (config.block_out_channels.length - 1);
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
}

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
