/** Names and numbers of the tables of the specification. */

import { resource } from "./resources.js";

/** @param {string} name of a file of the specification's tables */
const json = async (name) => JSON.parse(new TextDecoder().decode(await resource(`spec/tables/${name}`)));

/** Table 3.1: chunk types. Upper case is critical. @type {Readonly<Record<string, string>>} */
export const CHUNKS = {
  H: "header",
  A: "alpha plane",
  D: "payload",
  e: "EXIF",
  i: "ICC profile",
  p: "preview",
  t: "text",
  x: "XMP",
};

/** Table 3.2: modes. */
export const MODES = /** @type {const} */ (["L", "RGB", "LA", "RGBA", "mono", "stereo"]);
/** @typedef {typeof MODES[number]} Mode */

/** Table 3.3: samples a second. */
export const RATES = [44100, 48000, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 88200, 96000, 192000];

/** Table 5.1: kinds. */
export const KINDS = /** @type {const} */ (["diffc", "palette", "lowbit"]);

/** Table 5.2: coders. */
export const CODERS = /** @type {const} */ (["trellis", "pfr", "tree"]);
/** @typedef {typeof CODERS[number]} Coder */

/** Table 5.3: denoisers. */
export const DENOISERS = /** @type {const} */ (["mean", "flow", "ancestral", "balanced"]);
/** @typedef {{name: typeof DENOISERS[number], steps: number}} Denoiser */

/** Table 5.4: contexts of kind lowbit. */
export const CONTEXTS = /** @type {const} */ (["neighbours", "alone", "even"]);
/** @typedef {typeof CONTEXTS[number]} Contexts */

/** Table 4.2: forms of a schedule. */
export const FORMS = /** @type {const} */ (["law", "registered", "inline"]);

/**
 * @typedef {object} ModelEntry a row of table 4.1
 * @property {number} id
 * @property {string} name
 * @property {number} channels of the latent
 * @property {number} cell pixels a side
 * @property {number} multiple what sides are rounded up to [pixel]
 * @property {number} least side [pixel]
 * @property {typeof DENOISERS[number]} denoiser where the header names none
 * @property {number} denoiser_steps
 * @property {string[]} kinds that it can be used for
 * @property {boolean} prompts whether it takes one
 * @property {string} [sha256] of the weights
 */

/** Table 4.1: models by their number. @type {Readonly<Record<number, ModelEntry>>} */
export const MODELS = Object.fromEntries((await json("models.json")).models.map((/** @type {ModelEntry} */ entry) => [entry.id, entry]));

/** Table 4.3: schedules by their number; levels in 1/1024 nat, bits in 1/1024 bit a cell. @type {Readonly<Record<number, {name: string, levels: number[], bits: number[]}>>} */
export const SCHEDULES = await json("schedules.json");
