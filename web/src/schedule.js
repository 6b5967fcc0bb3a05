/** Levels and bits of every step (§4.2). */

import { BadFile } from "./errors.js";
import { SCHEDULES } from "./tables.js";

/** @typedef {{level: number, bits: number}} Step level: log-SNR at the step's end [nat] */

/** @typedef {import("./header.js").ScheduleFields} ScheduleFields */
/** @typedef {Extract<ScheduleFields, {form: "law"}>} Law */
/** @typedef {Extract<ScheduleFields, {form: "inline"}>} Inline */
/** @typedef {Extract<ScheduleFields, {form: "registered"}>} Registered */

const MOST = 16;

/** @param {Law} law @returns {number[]} the level of every step [nat] */
function lawLevels({ steps, end, slope, bend }) {
  return Array.from({ length: steps }, (_, n) => {
    const u = Math.log((n + 1) / steps);
    return end / 32 + (slope / 16) * u + (bend / 32) * u * u;
  });
}

/** @param {Inline} inline @returns {number[]} the level of every step [nat] */
function inlineLevels({ steps, first, rises }) {
  const levels = [first];
  for (const rise of rises) levels.push(levels[levels.length - 1] + rise);
  return levels.slice(0, steps).map((level) => level / 64);
}

/**
 * Levels that are in the header rise and stay within their limits, and there is one (§4.2).
 * @param {Law | Inline} fields
 */
export function checkLevels(fields) {
  if (!fields.steps) throw new BadFile("§4.2 a schedule of no steps");
  const levels = fields.form === "law" ? lawLevels(fields) : inlineLevels(fields);
  for (const [n, level] of levels.entries()) {
    if (!(Math.abs(level) <= MOST)) throw new BadFile(`§4.2 step ${n + 1} ends at ${level} nat; -${MOST} to ${MOST} are allowed`);
    if (n && level <= levels[n - 1]) throw new BadFile(`§4.2 the level of step ${n + 1} does not rise`);
  }
}

/**
 * The steps of a payload; BadFile where it breaks a rule.
 * @param {ScheduleFields} fields
 * @param {number} total bits of the payload, T
 * @param {number} cells of the latent
 * @returns {Step[]}
 */
export function expand(fields, total, cells) {
  if (fields.form === "law") return law(fields, total);
  return fields.form === "inline" ? inline(fields, total) : registered(fields, total, cells);
}

/** @param {Law} fields @param {number} total @returns {Step[]} */
function law(fields, total) {
  // T k^2 can be beyond 2^53.
  const square = BigInt(fields.steps) ** 2n;
  /** @param {number} k */
  const until = (k) => Number((BigInt(total) * BigInt(k) ** 2n) / square);
  return lawLevels(fields).map((level, n) => ({ level, bits: until(n + 1) - until(n) }));
}

/** @param {Inline} fields @param {number} total @returns {Step[]} */
function inline(fields, total) {
  const rest = total - fields.bits.reduce((a, b) => a + b, 0);
  if (rest < 0 || rest > 7) throw new BadFile(`§4.2.3 steps of ${total - rest} bits and a payload of ${total}`);
  return inlineLevels(fields).map((level, n) => ({ level, bits: fields.bits[n] }));
}

/** @param {Registered} fields @param {number} total @param {number} cells @returns {Step[]} */
function registered({ table, gain }, total, cells) {
  const entry = SCHEDULES[table];
  /** @type {Step[]} */
  const steps = [];
  let left = total;
  for (let k = 0; k < entry.levels.length && left > 0; k++) {
    const granted = Number((BigInt(entry.bits[k]) * BigInt(cells) * BigInt(gain)) / 65536n);
    const bits = Math.min(granted, left);
    let level = entry.levels[k] / 1024;
    if (bits < granted) {
      const precision = k ? Math.exp(entry.levels[k - 1] / 1024) : 0;
      level = Math.log(precision + (Math.exp(level) - precision) * (bits / granted));
    }
    steps.push({ level, bits });
    left -= bits;
  }
  if (left >= 8) throw new BadFile(`§4.2.2 ${left} bits behind the last entry of table ${table}`);
  if (!steps.length) throw new BadFile("§4.2.2 an empty payload, of which no step is taken");
  const last = steps[steps.length - 1].level;
  if (!(Math.abs(last) <= MOST)) throw new BadFile(`§4.2.2 the last step ends at ${last} nat; -${MOST} to ${MOST} are allowed`);
  return steps;
}
