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
      if (found?.hashes.includes(wanted)) return found.open();
    }
  }
  return undefined;
}

/** @typedef {{hashes: string[], open: () => import("./models.js").Folder}} Found hashes: with and without lines of configurations (§4.4.4) */
/** @typedef {{text: string, config: any, weights: Uint8Array}} Component text: of its config.json */

/** @param {string} folder @returns {Promise<Component | undefined>} a component of diffusers, if it is one */
async function component(folder) {
  const text = await readFile(join(folder, "config.json"), "utf8").catch(() => undefined);
  const weights = text && (await readFile(join(folder, "diffusion_pytorch_model.safetensors")).catch(() => undefined));
  return text && weights ? { text, config: JSON.parse(text), weights: new Uint8Array(weights) } : undefined;
}

/** @param {string} folder @returns {Promise<Found | undefined>} an autoencoder alone (§4.5) */
async function autoencoder(folder) {
  const vae = await component(folder);
  if (!vae?.config._class_name?.startsWith("AutoencoderKL")) return undefined;
  return { hashes: await hashesOf({ vae }, autoencoderSettings(vae)), open: () => new Autoencoder(vae.config, vae.weights) };
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
    hashes: await hashesOf({ unet, vae }, pipelineSettings(vae, unet, law)),
    open: () => new Pipeline(vae.config, vae.weights, unet.config, unet.weights, JSON.parse(law)),
  };
}

/**
 * The hashes of a folder (§4.4.4): with the lines of its configurations, and without them, as files from before have it.
 * @param {Record<string, Component>} components
 * @param {string[]} settings members of a JSON object, sorted
 * @returns {Promise<string[]>}
 */
export async function hashesOf(components, settings) {
  const encoder = new TextEncoder();
  const weights = [];
  const configurations = [];
  for (const [name, { text, weights: bytes }] of Object.entries(components)) {
    weights.push(`${name} ${await sha256(bytes)}`);
    configurations.push(`${name}/config.json ${await sha256(encoder.encode(text))}`);
  }
  /** @param {string[]} lines */
  const hash = (lines) => sha256(encoder.encode([...lines.sort(), `{${settings.join(",")}}`].map((line) => `${line}\n`).join("")));
  return [await hash([...weights, ...configurations]), await hash(weights)];
}

/**
 * @param {Component} vae
 * @param {Component} unet
 * @param {string} law text of scheduler_config.json
 */
function pipelineSettings(vae, unet, law) {
  const scheduler = JSON.parse(law);
  const cell = 2 ** (vae.config.block_out_channels.length - 1);
  const zero = scheduler.rescale_betas_zero_snr ? "_zero_snr" : "";
  const betas = [
    JSON.stringify((scheduler.beta_schedule ?? "linear") + zero),
    number(law, "beta_start", 0.0001),
    number(law, "beta_end", 0.02),
    scheduler.num_train_timesteps ?? 1000,
  ];
  return [
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
}

/** @param {Component} vae @returns {string[]} (§4.5) */
export function autoencoderSettings({ text, config }) {
  return [
    `"cell":${2 ** (config.block_out_channels.length - 1)}`,
    `"channels":${config.latent_channels ?? 4}`,
    `"native":${config.sample_size ?? 32}`,
    `"scaling":${number(text, "scaling_factor", 0.18215)}`,
    `"shift":${number(text, "shift_factor", 0)}`,
  ];
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
