/** Model folders on this machine, for Node (§4.5, §9). */

import { readFile, readdir } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { sha256 } from "./bytes.js";
import { Autoencoder } from "./autoencoder.js";

/**
 * The autoencoder of a hash in the folders of folders that the environment's SDF_MODEL_DIR names.
 * @type {import("./models.js").FindAutoencoder}
 */
export async function findAutoencoder(wanted) {
  const roots = (process.env.SDF_MODEL_DIR ?? "").split(delimiter).filter(Boolean);
  for (const root of roots) {
    const names = await readdir(root).catch(() => /** @type {string[]} */ ([]));
    for (const folder of [root, ...names.sort().map((name) => join(root, name))]) {
      const found = await open(folder);
      if (found && found.hash === wanted) return new Autoencoder(found.config, found.weights);
    }
  }
  return undefined;
}

/** @param {string} folder */
async function open(folder) {
  try {
    const text = await readFile(join(folder, "config.json"), "utf8");
    /** @type {import("./autoencoder.js").Config} */
    const config = JSON.parse(text);
    if (!config._class_name?.startsWith("AutoencoderKL")) return undefined;
    const weights = new Uint8Array(await readFile(join(folder, "diffusion_pytorch_model.safetensors")));
    return { config, weights, hash: await hashOf(text, weights) };
  } catch {
    return undefined;
  }
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
