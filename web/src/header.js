/** Chunk H (§3.3) and the parameters of the kinds (§5.2 to §5.5). */

import { Reader, hex, utf8 } from "./bytes.js";
import { unpack } from "./compression.js";
import { BadFile, Unsupported } from "./errors.js";
import { checkLevels } from "./schedule.js";
import { CODERS, CONTEXTS, DENOISERS, FORMS, KINDS, MODELS, MODES, RATES, SCHEDULES } from "./tables.js";

/** @typedef {import("./tables.js").Denoiser} Denoiser */
/** @typedef {{form: "law", steps: number, end: number, slope: number, bend: number} | {form: "registered", table: number, gain: number} | {form: "inline", steps: number, first: number, rises: number[], bits: number[]}} ScheduleFields as the header has them (§4.2) */
/** @typedef {{kind: "diffc", seed: number, coder: import("./tables.js").Coder, coderBits: number, schedule: ScheduleFields, denoiser: Denoiser | undefined, guidance: [number, number], prompt: string}} Diffc */
/** @typedef {{denoiser: Denoiser, level: number, gain: number}} Cleanup level: log-SNR [nat] */
/** @typedef {{kind: "palette", colours: number, groups: number, step: number, dithering: number, cleanup: Cleanup | undefined}} Palette step: 8 times the logarithm to base 2 of the unit */
/** @typedef {{kind: "lowbit", levels: number, contexts: import("./tables.js").Contexts, cleanup: Cleanup | undefined}} Lowbit */

/**
 * @typedef {object} Header
 * @property {number} width pixels; of sound, its length in samples
 * @property {number} height pixels; of sound, samples a second
 * @property {import("./tables.js").Mode} mode
 * @property {number} model table 4.1; 0 is a model that no table has
 * @property {string} weights hexadecimal: the first 4 bytes of the SHA-256, or all 32 of model 0
 * @property {number} channels of the latent
 * @property {number} cell pixels a side, or samples
 * @property {Diffc | Palette | Lowbit} parameters
 */

const SIDE = 65535;
const PROMPT = 8192;

/** @param {Pick<Header, "mode">} header */
export const isSound = (header) => header.mode === "mono" || header.mode === "stereo";
/** @param {Pick<Header, "mode">} header */
export const isGrey = (header) => header.mode === "L" || header.mode === "LA";
/** @param {Pick<Header, "mode">} header */
export const hasAlpha = (header) => header.mode === "LA" || header.mode === "RGBA";

/**
 * @template T
 * @param {ArrayLike<T>} table
 * @param {number} id
 * @param {string} what
 * @returns {T}
 */
function known(table, id, what) {
  if (id < table.length) return table[id];
  throw new Unsupported(`${what} ${id} is unknown here; 0 to ${table.length - 1} are known`);
}

/**
 * @param {boolean} holds
 * @param {string} message
 */
function require(holds, message) {
  if (!holds) throw new BadFile(message);
}

/** @typedef {Omit<Header, "parameters"> & {kind: number}} Front a header without its parameters */

/**
 * The fields of §3.3 in chunk H.
 * @param {Uint8Array} body
 * @returns {{front: Front, reader: Reader}} reader: at the first byte of the parameters
 */
export function parseFront(body) {
  const reader = new Reader(body, (what) => new BadFile(`§3.3 the header ends inside ${what}`));
  const width = reader.varint("width");
  let height = reader.varint("height");
  const kinds = reader.byte("kind and mode");
  const model = reader.varint("model");
  const weights = hex(reader.take(model ? 4 : 32, "weights"));
  const entry = MODELS[model];
  const channels = model ? (entry?.channels ?? Infinity) : reader.varint("channels");
  const cell = model ? (entry?.cell ?? 1) : reader.varint("cell");
  const mode = known(MODES, kinds & 15, "table 3.2: mode");
  const sound = isSound({ mode });
  if (sound) {
    require(width > 0, "§3.3 a sound of no samples");
    if (height < 1000) {
      require(height < RATES.length, `table 3.3: rate ${height}`);
      height = RATES[height];
    } else {
      require(height <= 1e6, `§3.3 ${height} samples a second; 1000 to 1000000 are allowed`);
      require(!RATES.includes(height), `table 3.3: ${height} samples a second has a number of its own`);
    }
  } else {
    require(width >= 1 && width <= SIDE, `§3.3 width ${width}; 1 to ${SIDE} are allowed`);
    require(height >= 1 && height <= SIDE, `§3.3 height ${height}; 1 to ${SIDE} are allowed`);
  }
  if (!model) {
    require(channels >= 1 && channels <= 65535, `§3.3 a latent of ${channels} channels`);
    const most = sound ? 65535 : 64;
    require(cell >= 1 && cell <= most, `§3.3 a cell of ${cell}; 1 to ${most} are allowed`);
  }
  return { front: { width, height, mode, model, weights, channels, cell, kind: kinds >> 4 }, reader };
}

/**
 * The parameters behind those fields (§5): all are read before any is judged.
 * @param {Front} front
 * @param {Reader} reader
 * @returns {Header}
 */
export function parseParameters({ kind, ...front }, reader) {
  const read = { diffc: readDiffc, palette: readPalette, lowbit: readLowbit }[known(KINDS, kind, "table 5.1: kind")];
  const judge = read(reader);
  require(!reader.left, `§5 ${reader.left} bytes behind the parameters`);
  return { ...front, parameters: judge(front.channels) };
}

/** @typedef {{channels: number, height: number, width: number}} Shape of a latent */

/**
 * The latent of a picture (§4.1).
 * @param {Pick<Header, "width" | "height" | "channels" | "cell" | "mode">} header
 * @param {{multiple: number, least: number}} model what sides are rounded up to, and the least side [pixel]
 * @returns {Shape}
 */
export function latentShape({ width, height, channels, cell, mode }, { multiple, least }) {
  // Of a sound the number of positions depends on its model's rate: it has not more than one a sample.
  if (isSound({ mode })) return { channels, height: 1, width: Math.ceil(width / cell) };
  /** @param {number} side */
  const cells = (side) => (Math.ceil(Math.max(side, least) / multiple) * multiple) / cell;
  return { channels, height: cells(height), width: cells(width) };
}

/**
 * What model and header have to agree on, whichever weights are here (§4, §5).
 * @param {Header} header
 */
export function checkModel(header) {
  const { model, parameters } = header;
  const entry = MODELS[model];
  if (model && !entry) throw new Unsupported(`table 4.1: model ${model} is unknown here`);
  if (entry && !entry.kinds.includes(parameters.kind)) {
    throw new BadFile(`§5.1 kind ${parameters.kind} needs the latent of an autoencoder; ${entry.name} has none`);
  }
  if (entry && isSound(header)) throw new BadFile(`§4.6 sound with ${entry.name}, a model of pictures`);
  if (parameters.kind === "diffc" && entry && !entry.prompts) {
    const { prompt, guidance } = parameters;
    if (prompt || guidance.some((g) => g !== 1)) throw new Unsupported(`§5.2 ${entry.name} takes no prompt`);
  }
  const { channels, height, width } = latentShape(header, entry ?? { multiple: header.cell, least: 1 });
  if (channels * height * width >= 2 ** 32) throw new Unsupported(`§6.3 a latent of ${channels * height * width} numbers`);
}

/** @param {Reader} reader */
function skipExtension(reader) {
  reader.take(reader.varint("extension"), "extension");
}

/** @param {number} byte @param {string} clause @returns {Denoiser} */
function denoiserOf(byte, clause) {
  const name = known(DENOISERS, byte >> 5, `${clause} denoiser`);
  const steps = byte & 31;
  require(steps > 0, `${clause} a denoiser of no steps`);
  require(name !== "mean" || steps === 1, `${clause} ${steps} steps of mean, which has one`);
  return { name, steps };
}

/** @param {Reader} reader @returns {() => Diffc} (§5.2) */
function readDiffc(reader) {
  const flags = reader.byte("flags");
  if (flags & 128) throw new Unsupported("§5.2 the reserved flag is set");
  const form = known(FORMS, flags & 3, "table 4.2: schedule form");
  const seed = flags & 4 ? reader.varint("seed") : 0;
  const coding = flags & 8 ? reader.byte("coder") : 0x24;
  const schedule = readSchedule(reader, form);
  const denoiser = flags & 16 ? reader.byte("denoiser") : undefined;
  /** @type {[number, number]} */
  let guidance = [1, 1];
  /** @type {Uint8Array | undefined} */
  let prompt;
  if (flags & 64) {
    guidance = [reader.byte("guidance") / 8, reader.byte("guidance") / 8];
    prompt = reader.take(reader.varint("prompt"), "prompt");
  }
  if (flags & 32) skipExtension(reader);
  return () => {
    const coder = known(CODERS, coding >> 4, "table 5.2: coder");
    require((coding & 15) <= 10, `§5.2 parameter ${coding & 15} of a coder; 0 to 10 are allowed`);
    if (schedule.form === "registered") {
      if (!SCHEDULES[schedule.table]) throw new Unsupported(`table 4.3: schedule ${schedule.table} is unknown here`);
    } else checkLevels(schedule);
    return {
      kind: "diffc",
      seed,
      coder,
      coderBits: 8 + (coding & 15),
      schedule,
      denoiser: denoiser === undefined ? undefined : denoiserOf(denoiser, "§5.2"),
      guidance,
      prompt: prompt ? utf8(unpack(prompt, PROMPT), "§5.2 the prompt") : "",
    };
  };
}

/** @param {Reader} reader @param {typeof FORMS[number]} form @returns {ScheduleFields} (§4.2) */
function readSchedule(reader, form) {
  if (form === "law") {
    const word = new DataView(reader.take(4, "schedule").slice().buffer).getInt32(0);
    return { form, steps: word >>> 24, end: (word << 8) >> 22, slope: (word >>> 7) & 127, bend: (word << 25) >> 25 };
  }
  if (form === "registered") return { form, table: reader.varint("table"), gain: reader.varint("gain") };
  const steps = reader.byte("schedule");
  const first = reader.zigzag("schedule");
  const rises = Array.from({ length: Math.max(0, steps - 1) }, () => reader.varint("schedule"));
  const bits = Array.from({ length: steps }, () => reader.varint("schedule"));
  return { form, steps, first, rises, bits };
}

/** @param {Reader} reader @returns {(channels: number) => Palette} (§5.3) */
function readPalette(reader) {
  const flags = reader.byte("flags");
  if (flags >> 3) throw new Unsupported("§5.3 reserved flags are set");
  const colours = reader.varint("colours");
  const groups = reader.varint("groups");
  const step = reader.signed("step");
  const dithering = flags & 2 ? reader.byte("dithering") : undefined;
  const cleanup = flags & 1 ? readCleanup(reader) : undefined;
  if (flags & 4) skipExtension(reader);
  return (channels) => {
    require(colours >= 1 && colours <= 4096, `§5.3 ${colours} colours; 1 to 4096 are allowed`);
    require(groups >= 1 && groups <= channels, `§5.3 ${groups} groups of ${channels} channels`);
    if (dithering !== undefined) require(dithering >= 1 && dithering <= 64, `§5.3 dithering of strength ${dithering}; 1 to 64 are allowed`);
    return { kind: "palette", colours, groups, step, dithering: (dithering ?? 0) / 64, cleanup: cleanup?.() };
  };
}

/** @param {Reader} reader @returns {() => Lowbit} (§5.4) */
function readLowbit(reader) {
  const flags = reader.byte("flags");
  if (flags >> 4) throw new Unsupported("§5.4 reserved flags are set");
  const contexts = known(CONTEXTS, flags >> 2, "table 5.4: contexts");
  const levels = reader.varint("levels");
  const cleanup = flags & 1 ? readCleanup(reader) : undefined;
  if (flags & 2) skipExtension(reader);
  return () => {
    require(levels >= 2 && levels <= 256, `§5.4 ${levels} levels; 2 to 256 are allowed`);
    return { kind: "lowbit", levels, contexts, cleanup: cleanup?.() };
  };
}

/** @param {Reader} reader @returns {() => Cleanup} (§5.5) */
function readCleanup(reader) {
  const byte = reader.byte("clean-up");
  const level = reader.signed("clean-up") / 8;
  const gain = reader.byte("clean-up");
  return () => {
    if (DENOISERS[byte >> 5] === "ancestral") throw new Unsupported("§5.5 clean-up by ancestral");
    const denoiser = denoiserOf(byte, "§5.5");
    require(gain > 0, "§5.5 clean-up with a gain of 0");
    return { denoiser, level, gain: gain / 64 };
  };
}
