/** Model folders on this machine, for Node (§4.5, §9). */

import { readFile, readdir } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { sha256 } from "./bytes.js";
import { Autoencoder } from "./autoencoder.js";
import { Pipeline } from "./pipeline.js";

/**
 * The model of a hash in the folders of folders that the environment's SDF_MODEL_DIR names.
 * @type {import("./models.js").FindFolder}
 */
export async function findFolder(wanted) {
  const roots = (process.env.SDF_MODEL_DIR ?? "").split(delimiter).filter(Boolean);
  for (const root of roots) {
    const names = await readdir(root).catch(() => /** @type {string[]} */ ([]));
    for (const folder of [root, ...names.sort().map((name) => join(root, name))]) {
      const found = (await autoencoder(folder)) ?? (await pipeline(folder));
      if (found?.hash === wanted) return found.open();
    }
  }
  return undefined;
}

/** @typedef {{hash: string, open: () => import("./models.js").Folder}} Found */

/** @param {string} folder @returns {Promise<{text: string, config: any, weights: Uint8Array} | undefined>} a component of diffusers, if it is one */
async function component(folder) {
  const text = await readFile(join(folder, "config.json"), "utf8").catch(() => undefined);
  const weights = text && (await readFile(join(folder, "diffusion_pytorch_model.safetensors")).catch(() => undefined));
  return text && weights ? { text, config: JSON.parse(text), weights: new Uint8Array(weights) } : undefined;
}

/** @param {string} folder @returns {Promise<Found | undefined>} an autoencoder alone (§4.5) */
async function autoencoder(folder) {
  const vae = await component(folder);
  if (!vae?.config._class_name?.startsWith("AutoencoderKL")) return undefined;
  return { hash: await hashOf(vae.text, vae.weights), open: () => new Autoencoder(vae.config, vae.weights) };
}

/** @param {string} folder @returns {Promise<Found | undefined>} a pipeline of Stable Diffusion without a text encoder (§4.4) */
async function pipeline(folder) {
  const index = await readFile(join(folder, "model_index.json"), "utf8").catch(() => undefined);
  const name = index && JSON.parse(index)._class_name;
  if (name !== "StableDiffusionPipeline" && name !== "StableDiffusionImg2ImgPipeline") return undefined;
  const [vae, unet] = [await component(join(folder, "vae")), await component(join(folder, "unet"))];
  const law = await readFile(join(folder, "scheduler", "scheduler_config.json"), "utf8").catch(() => undefined);
  if (!vae || !unet || !law) return undefined;
  return {
    hash: await pipelineHash(vae, unet, law),
    open: () => new Pipeline(vae.config, vae.weights, unet.config, unet.weights, JSON.parse(law)),
  };
}

/**
 * The hash of §4.4.4.
 * @param {{text: string, config: any, weights: Uint8Array}} vae
 * @param {{config: any, weights: Uint8Array}} unet
 * @param {string} law text of scheduler_config.json
 */
async function pipelineHash(vae, unet, law) {
  const scheduler = JSON.parse(law);
  const cell = 2 ** (vae.config.block_out_channels.length - 1);
  const zero = scheduler.rescale_betas_zero_snr ? "_zero_snr" : "";
  const betas = [
    JSON.stringify((scheduler.beta_schedule ?? "linear") + zero),
    number(law, "beta_start", 0.0001),
    number(law, "beta_end", 0.02),
    scheduler.num_train_timesteps ?? 1000,
  ];
  const settings = [
    `"betas":[${betas.join(",")}]`,
    `"cell":${cell}`,
    `"channels":${vae.config.latent_channels ?? 4}`,
    `"multiple":${cell * 2 ** ((unet.config.block_out_channels?.length ?? 4) - 1)}`,
    `"native":${cell * (unet.config.sample_size ?? 64)}`,
    '"pipeline":"StableDiffusionPipeline"',
    `"prediction":${JSON.stringify(scheduler.prediction_type ?? "epsilon")}`,
    `"scaling":${number(vae.text, "scaling_factor", 0.18215)}`,
    `"shift":${number(vae.text, "shift_factor", 0)}`,
  ];
  const lines = [`unet ${await sha256(unet.weights)}`, `vae ${await sha256(vae.weights)}`, `{${settings.join(",")}}`];
  return sha256(new TextEncoder().encode(lines.map((line) => `${line}\n`).join("")));
}

/**
 * A number as the settings' JSON has it (§4.4.4): a whole one as the configuration writes it, others with a point or an exponent.
 * @param {string} text of the configuration
 * @param {string} name
 * @param {number} otherwise where it is missing or null
 */
function number(text, name, otherwise) {
  const token = new RegExp(`"${name}"\\s*:\\s*(-?[0-9.eE+-]+)`).exec(text)?.[1];
  if (token && /^-?\d+$/.test(token)) return token;
  const value = token ? Number(token) : otherwise;
  const size = Math.abs(value);
  if (size && (size < 1e-4 || size >= 1e16)) return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  return Number.isInteger(value) ? `${value}.0` : `${value}`;
}

/**
 * The hash of §4.5.
 * @param {string} text of config.json
 * @param {Uint8Array} weights
 */
export async function hashOf(text, weights) {
  /** @type {import("./autoencoder.js").Config} */
  const config = JSON.parse(text);
  const settings = [
    `"cell":${2 ** (config.block_out_channels.length - 1)}`,
    `"channels":${config.latent_channels ?? 4}`,
    `"native":${config.sample_size ?? 32}`,
    `"scaling":${number(text, "scaling_factor", 0.18215)}`,
    `"shift":${number(text, "shift_factor", 0)}`,
  ];
  return sha256(new TextEncoder().encode(`vae ${await sha256(weights)}\n{${settings.join(",")}}\n`));
}
