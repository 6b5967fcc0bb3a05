/** From the bits' numbers to the latent (§7). */

import { STREAM, normals } from "./philox.js";

/** @typedef {(y: Float32Array<ArrayBuffer>, sigma: number) => Promise<Float32Array<ArrayBuffer>>} Predict posterior mean of the clean latent for y = clean + sigma * normal */
/** @typedef {{y: Float32Array<ArrayBuffer>, sigma: number}} Noisy y: the latent plus noise of standard deviation sigma */

/**
 * The walk (§7.1).
 * @param {import("./schedule.js").Step[]} steps
 * @param {Predict} predict
 * @param {(step: number) => Float32Array<ArrayBuffer>} receive z of a step, counted from 0
 * @param {(done: number, clean: Float32Array<ArrayBuffer> | undefined) => Promise<void>} [progress] after every step, with the prediction that it began with
 * @returns {Promise<Noisy>}
 */
export async function walk(steps, predict, receive, progress) {
  /** @type {Float32Array<ArrayBuffer> | undefined} */
  let sum;
  let precision = 0;
  for (const [k, { level }] of steps.entries()) {
    const clean = sum && (await predict(sum.map((s) => s / precision), 1 / Math.sqrt(precision)));
    const z = receive(k);
    const next = Math.exp(level);
    const rise = next - precision;
    const scale = Math.sqrt(rise);
    sum ??= new Float32Array(z.length);
    for (let n = 0; n < z.length; n++) sum[n] += rise * (clean ? clean[n] : 0) + scale * z[n];
    precision = next;
    await progress?.(k + 1, clean);
  }
  if (!sum) throw new RangeError("a walk of no steps");
  return { y: sum.map((s) => s / precision), sigma: 1 / Math.sqrt(precision) };
}

/**
 * The latent (§7.2).
 * @param {Noisy} noisy
 * @param {import("./tables.js").Denoiser} denoiser
 * @param {Predict} predict
 * @param {number} seed
 * @param {(done: number, clean: Float32Array<ArrayBuffer>) => Promise<void>} [progress] after every prediction
 * @returns {Promise<Float32Array<ArrayBuffer>>}
 */
export async function denoise({ y, sigma }, { name, steps }, predict, seed, progress) {
  /** @param {number} i */
  const sigmas = (i) => sigma * ((steps - i) / steps) ** 2;
  const first = await predict(y, sigma);
  await progress?.(1, first);
  let previous = first;
  let clean = first;
  for (let i = 0; i + 1 < steps; i++) {
    const ratio = sigmas(i + 1) / sigmas(i);
    const next = new Float32Array(y.length);
    if (name === "ancestral") {
      const noise = normals(new Int32Array(y.length), seed, i, STREAM.ancestral);
      const r = ratio * ratio;
      const scale = (sigmas(i + 1) * Math.sqrt(1 - r)) / 4096;
      for (let n = 0; n < y.length; n++) next[n] = clean[n] + r * (y[n] - clean[n]) + scale * noise[n];
    } else {
      const slope = i ? Math.log(ratio) / (2 * Math.log(sigmas(i) / sigmas(i - 1))) : 0;
      for (let n = 0; n < y.length; n++) {
        const d = clean[n] + (clean[n] - previous[n]) * slope;
        next[n] = d + (y[n] - d) * ratio;
      }
    }
    y = next;
    previous = clean;
    clean = await predict(y, sigmas(i + 1));
    await progress?.(i + 2, clean);
  }
  return name === "balanced" ? clean.map((c, n) => first[n] + (c - first[n]) / 2) : clean;
}
