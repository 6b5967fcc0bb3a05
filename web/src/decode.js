/** A file to a picture. */

import { receive } from "./coders.js";
import { at, parseHead, parseRest } from "./container.js";
import { loadNetwork } from "./engine.js";
import { BadFile, Stopped, Truncated, Unsupported } from "./errors.js";
import { isGrey, isSound, latentShape } from "./header.js";
import { decodeLowbit } from "./lowbit.js";
import { resolve } from "./models.js";
import { decodePalette } from "./palette.js";
import { fromCoefficients, toRgba, toSample } from "./pixels.js";
import { tensors } from "./safetensors.js";
import { expand } from "./schedule.js";
import { MODELS } from "./tables.js";
import { blend } from "./tiles.js";
import { denoise, walk } from "./walk.js";

/** @typedef {import("./container.js").SdfFile} SdfFile */
/** @typedef {import("./header.js").Header} Header */

/**
 * @typedef {object} Picture
 * @property {number} width
 * @property {number} height
 * @property {"L" | "RGB" | "LA" | "RGBA"} mode
 * @property {Uint8ClampedArray<ArrayBuffer>} rgba height x width x 4, as a canvas has it
 * @property {SdfFile} file
 * @property {string} [device] that the network ran on
 */

/**
 * @typedef {object} Progress
 * @property {number} done predictions
 * @property {number} total
 * @property {number} width of the picture [pixel]
 * @property {number} height
 * @property {() => Promise<Uint8ClampedArray<ArrayBuffer>>} picture as far as it is known, height x width x 4
 */

/**
 * @typedef {object} DecodeOptions
 * @property {(file: SdfFile) => void} [onFile] its structure and header, before anything is decoded
 * @property {(progress: Progress) => void | Promise<void>} [onProgress]
 * @property {AbortSignal} [signal]
 * @property {import("./tables.js").Denoiser} [denoiser] another than the file names
 * @property {import("./models.js").FindFolder} [findFolder]
 */

/** Networks that were loaded, by their name and device. @type {Map<string, Promise<import("./engine.js").Network>>} */
const networks = new Map();

/**
 * The picture in a file. SdfError says what is wrong with one.
 * @param {Uint8Array} bytes
 * @param {DecodeOptions & import("./container.js").ParseOptions & import("./engine.js").EngineOptions} [options]
 * @returns {Promise<Picture>}
 */
export async function decode(bytes, options = {}) {
  const head = parseHead(bytes, options);
  const { offset } = head.chunk;
  const model = await placed(offset, () => resolve(head.header, options.findFolder));
  const file = parseRest(bytes, head, options);
  const { header } = file;
  options.onFile?.(file);
  if (isSound(header)) throw new Unsupported("§4.6 sound: this decoder opens pictures", offset);
  const made = model.kind === "network" ? await byNetwork(file, model, options) : await byFolder(file, model, options);
  const { width, height } = header;
  const rgba = toRgba(made.colours, isGrey(header), file.alpha);
  return { width, height, mode: /** @type {Picture["mode"]} */ (header.mode), rgba, file, device: made.device };
}

/**
 * `at` for what takes its time.
 * @template T
 * @param {number} offset
 * @param {() => Promise<T>} run
 */
async function placed(offset, run) {
  const [error, result] = await run().then(
    (value) => /** @type {const} */ ([undefined, value]),
    (reason) => /** @type {const} */ ([reason, undefined]),
  );
  return at(offset, () => {
    if (error) throw error;
    return /** @type {T} */ (result);
  });
}

/**
 * @param {SdfFile} file of kind diffc
 * @param {import("./models.js").EmbeddedModel} model
 * @param {DecodeOptions & import("./engine.js").EngineOptions} options
 */
async function byNetwork(file, model, options) {
  const { header } = file;
  const shape = latentShape(header, model);
  const plan = planOf(file, shape);
  const network = await loaded(model.entry, options);
  const { weight } = tensors(network.weights, ["weight"]);
  /** @param {Float32Array<ArrayBuffer>} latent */
  const colours = async (latent) => fromCoefficients(latent, weight.values, shape, header);
  const latent = await run(file, plan, (y, sigma) => predictByTiles(network, y, sigma, shape), colours, options);
  return { colours: await colours(latent), device: network.device };
}

/**
 * @param {import("./engine.js").NetworkEntry} entry
 * @param {import("./engine.js").EngineOptions} options
 */
function loaded(entry, options) {
  const key = `${entry.name} ${options.device} ${options.threads}`;
  let loading = networks.get(key);
  if (!loading) {
    loading = loadNetwork(entry, options);
    networks.set(key, loading);
    loading.catch(() => networks.delete(key));
  }
  return loading;
}

/** @typedef {{parameters: import("./header.js").Diffc, steps: import("./schedule.js").Step[], size: number}} Plan size: D */

/**
 * @param {SdfFile} file of kind diffc
 * @param {import("./header.js").Shape} shape
 * @returns {Plan}
 */
function planOf({ header, payload, stated }, shape) {
  const parameters = /** @type {import("./header.js").Diffc} */ (header.parameters);
  const steps = at(payload.offset, () => stepsOf(parameters, payload.body, stated, shape));
  return { parameters, steps, size: shape.channels * shape.height * shape.width };
}

/**
 * Walk and denoiser of kind diffc (§7).
 * @param {SdfFile} file
 * @param {Plan} plan
 * @param {import("./walk.js").Predict} predict
 * @param {(latent: Float32Array<ArrayBuffer>) => Promise<Uint8ClampedArray>} colours
 * @param {DecodeOptions} options
 * @returns {Promise<Float32Array<ArrayBuffer>>} the latent
 */
async function run({ header, payload, alpha }, { parameters, steps, size }, predict, colours, options) {
  const { width, height } = header;
  const denoiser = options.denoiser ?? parameters.denoiser ?? denoiserFor(header.model);
  /** @type {number[]} */
  const starts = [];
  for (let bit = 0, k = 0; k < steps.length; bit += steps[k++].bits) starts.push(bit);
  const total = steps.length - 1 + denoiser.steps;
  let done = 0;
  /** @param {Float32Array<ArrayBuffer>} latent */
  const report = async (latent) => {
    if (options.signal?.aborted) throw new Stopped("the decoding was stopped");
    done++;
    await options.onProgress?.({ done, total, width, height, picture: async () => toRgba(await colours(latent), isGrey(header), alpha) });
  };
  const { seed, coder, coderBits } = parameters;
  /** @param {number} step */
  const z = (step) => receive(coder, coderBits, { seed, step, size }, payload.body, starts[step], steps[step].bits);
  const noisy = await walk(steps, predict, z, async (_, clean) => void (clean && (await report(clean))));
  return denoise(noisy, denoiser, predict, seed, (_, clean) => report(clean));
}

/** @param {number} id of a model @returns {import("./tables.js").Denoiser} where the header names none (table 4.1) */
function denoiserFor(id) {
  const row = MODELS[id];
  return row ? { name: row.denoiser, steps: row.denoiser_steps } : OTHERWISE;
}

/** What a model 0 is denoised by where the header names nothing: as models 2 to 8. @type {import("./tables.js").Denoiser} */
const OTHERWISE = { name: "flow", steps: 8 };

/**
 * The steps of a payload, checked (stage "payload" of §8.3): of an incomplete one the whole ones that are there (§8.4).
 * @param {import("./header.js").Diffc} parameters
 * @param {Uint8Array} payload
 * @param {number} stated bytes of the payload when it was whole
 * @param {import("./header.js").Shape} shape
 */
function stepsOf({ schedule }, payload, stated, { channels, height, width }) {
  const size = channels * height * width;
  const steps = expand(schedule, 8 * stated, height * width);
  for (const [k, { bits }] of steps.entries()) {
    if (bits > size) throw new BadFile(`§6.3 step ${k + 1} has ${bits} bits for ${size} numbers`);
  }
  if (payload.length < stated) {
    let left = 8 * payload.length;
    const missing = steps.findIndex(({ bits }) => (left -= bits) < 0);
    if (!missing) throw new Truncated("§8.4 the file ends inside the first step");
    return missing < 0 ? steps : steps.slice(0, missing);
  }
  const left = 8 * stated - steps.reduce((sum, { bits }) => sum + bits, 0);
  if (left && payload[stated - 1] & (2 ** left - 1)) throw new BadFile("§6.2 the bits behind the last step are not 0");
  return steps;
}

/** Positions a side up to which a latent is predicted at once, and a side of a tile's own part of a larger one. */
const TILE = 192;

/**
 * A prediction by tiles whose margins hold all that an output depends on: the same numbers as in one go.
 * @param {import("./engine.js").Network} network
 * @param {Float32Array<ArrayBuffer>} y
 * @param {number} sigma
 * @param {import("./header.js").Shape} shape
 */
async function predictByTiles(network, y, sigma, shape) {
  const { channels, height, width } = shape;
  if (height * width <= TILE * TILE) return network.predict(y, sigma, shape);
  const { margin } = network.entry;
  const result = new Float32Array(y.length);
  for (let top = 0; top < height; top += TILE) {
    for (let left = 0; left < width; left += TILE) {
      const [above, before] = [Math.max(0, top - margin), Math.max(0, left - margin)];
      const [high, wide] = [Math.min(height, top + TILE + margin) - above, Math.min(width, left + TILE + margin) - before];
      const part = new Float32Array(channels * high * wide);
      for (let c = 0; c < channels; c++) {
        for (let r = 0; r < high; r++) {
          const from = (c * height + above + r) * width + before;
          part.set(y.subarray(from, from + wide), (c * high + r) * wide);
        }
      }
      const clean = await network.predict(part, sigma, { channels, height: high, width: wide });
      const [rows, columns] = [Math.min(TILE, height - top), Math.min(TILE, width - left)];
      for (let c = 0; c < channels; c++) {
        for (let r = 0; r < rows; r++) {
          const from = (c * high + top - above + r) * wide + left - before;
          result.set(clean.subarray(from, from + columns), (c * height + top + r) * width + left);
        }
      }
    }
  }
  return result;
}

/**
 * @param {SdfFile} file
 * @param {import("./models.js").FolderModel} folder
 * @param {DecodeOptions} options
 */
async function byFolder(file, { model, multiple, least }, options) {
  const { header, payload, stated } = file;
  const { parameters } = header;
  const shape = latentShape(header, { multiple, least });
  /** @type {import("./walk.js").Predict} */
  const predict = (y, sigma) => {
    if (!("predict" in model)) throw new Unsupported("§4.5 an autoencoder alone predicts nothing");
    return model.predict(y, sigma, shape);
  };
  /** @param {Float32Array<ArrayBuffer>} latent */
  const colours = (latent) => decodeLatent(model, latent, shape, header);
  if (parameters.kind === "diffc") {
    return { colours: await colours(await run(file, planOf(file, shape), predict, colours, options)), device: undefined };
  }
  let latent = at(payload.offset, () => {
    if (payload.body.length < stated) throw new Truncated(`§8.4 kind ${parameters.kind} is shown only when it is all there`);
    return parameters.kind === "palette" ? decodePalette(parameters, payload.body, shape) : decodeLowbit(parameters, payload.body, shape);
  });
  const { cleanup } = parameters;
  if (cleanup) {
    const y = latent.map((value) => value * cleanup.gain);
    latent = await denoise({ y, sigma: Math.exp(-cleanup.level / 2) }, options.denoiser ?? cleanup.denoiser, predict, 0);
  }
  return { colours: await colours(latent), device: undefined };
}

/**
 * Samples of an autoencoder's latent, by tiles where it is large (§4.4.3).
 * @param {import("./models.js").Folder} model
 * @param {Float32Array<ArrayBuffer>} latent
 * @param {import("./header.js").Shape} shape
 * @param {{width: number, height: number}} picture
 * @returns {Promise<Uint8ClampedArray>} height x width x 3
 */
async function decodeLatent(model, latent, shape, { width, height }) {
  const { cell } = model;
  const side = Math.max(512, model.native);
  const whole = { height: shape.height * cell, width: shape.width * cell };
  const { values } = await blend(whole, side, cell, async (top, left, high, wide) => {
    const [row, column, rows, columns] = [top, left, high, wide].map((n) => n / cell);
    const part = new Float32Array(shape.channels * rows * columns);
    for (let c = 0; c < shape.channels; c++) {
      for (let r = 0; r < rows; r++) {
        const from = (c * shape.height + row + r) * shape.width + column;
        part.set(latent.subarray(from, from + columns), (c * rows + r) * columns);
      }
    }
    return model.decode({ channels: shape.channels, height: rows, width: columns, values: part });
  });
  const colours = new Uint8ClampedArray(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) colours[3 * (y * width + x) + c] = toSample(values[(c * whole.height + y) * whole.width + x]);
    }
  }
  return colours;
}

/**
 * Samples by turns in the picture's own mode.
 * @param {Picture} picture
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function samplesOf({ rgba, mode }) {
  const channels = mode === "L" ? [0] : mode === "LA" ? [0, 3] : mode === "RGB" ? [0, 1, 2] : [0, 1, 2, 3];
  const samples = new Uint8Array((rgba.length / 4) * channels.length);
  for (let n = 0, to = 0; n < rgba.length; n += 4) for (const c of channels) samples[to++] = rgba[n + c];
  return samples;
}
