/** spec/vectors.json (§9.3): z of many sizes, the network's output, and y and the latent of whole walks. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { receive } from "../src/coders.js";
import { parse } from "../src/container.js";
import { loadNetwork } from "../src/engine.js";
import { latentShape } from "../src/header.js";
import { STREAM, normals } from "../src/philox.js";
import { ROOT } from "../src/resources.js";
import { expand } from "../src/schedule.js";
import { MODELS } from "../src/tables.js";
import { denoise, walk } from "../src/walk.js";

/** @param {string} path */
const json = (path) => JSON.parse(readFileSync(new URL(path, ROOT), "utf8"));
const vectors = json("spec/vectors.json");
/** @param {Float32Array} z */
const hash = (z) => createHash("sha256").update(new Uint8Array(z.buffer)).digest("hex");

/** @param {Float32Array} found @param {{first: number[], mean_square: number}} wanted @param {string} what */
function close(found, wanted, what) {
  const scale = Math.sqrt(wanted.mean_square);
  wanted.first.forEach((value, n) => assert.ok(Math.abs(found[n] - value) < 1e-3 * scale, `${what}: number ${n} is ${found[n]}, not ${value}`));
  const square = found.reduce((sum, value) => sum + value * value, 0) / found.length;
  assert.ok(Math.abs(square - wanted.mean_square) < 3e-3 * wanted.mean_square, `${what}: mean square ${square}, not ${wanted.mean_square}`);
}

for (const { coder, D, R, K, sha256 } of vectors.z.cases) {
  test(`§6 z of ${coder}, D = ${D}, R = ${R}, K = ${K}`, () => {
    const bits = new Uint8Array(Math.ceil(R / 8));
    for (let b = 0; b < R; b++) bits[b >> 3] |= Number((BigInt(b) * BigInt(b) / 3n) % 2n) << (7 - (b % 8));
    assert.equal(hash(receive(coder, K, { seed: vectors.z.seed, step: vectors.z.step, size: D }, bits, 0, R)), sha256);
  });
}

const network = await loadNetwork(json("web/models.json").models[0], { device: "wasm", threads: 1 });

test("§4.3.1 the network's output", async () => {
  const y = Float32Array.from(normals(new Int32Array(4608), 0, 0, STREAM.normals), (n) => n / 4096);
  for (const { sigma, ...wanted } of vectors.network.outputs) {
    close(await network.predict(y, sigma, { channels: 192, height: 4, width: 6 }), wanted, `sigma ${sigma}`);
  }
  assert.ok((await network.probe()) < 1e-4);
});

for (const [name, { steps: wanted, latent }] of Object.entries(vectors.walks)) {
  test(`§7 walk and latent of ${name}`, async () => {
    const { header, payload } = parse(new Uint8Array(readFileSync(new URL(`spec/conformance/files/${name}.sdf`, ROOT))));
    const parameters = /** @type {import("../src/header.js").Diffc} */ (header.parameters);
    const model = MODELS[header.model];
    const shape = latentShape(header, model);
    const size = shape.channels * shape.height * shape.width;
    const steps = expand(parameters.schedule, 8 * payload.body.length, shape.height * shape.width);
    assert.equal(steps.length, wanted.length);
    /** @type {import("../src/walk.js").Predict} */
    const predict = (y, sigma) => network.predict(y, sigma, shape);
    /** @param {number} step */
    const z = (step) => {
      const first = steps.slice(0, step).reduce((sum, { bits }) => sum + bits, 0);
      const numbers = receive(parameters.coder, parameters.coderBits, { seed: parameters.seed, step, size }, payload.body, first, steps[step].bits);
      assert.equal(hash(numbers), wanted[step].z_sha256 ?? wanted[step].z, `z of step ${step + 1}`);
      return numbers;
    };
    const noisy = await walk(steps, predict, z);
    close(noisy.y, wanted[wanted.length - 1].y, "y at the end");
    const denoiser = parameters.denoiser ?? { name: model.denoiser, steps: model.denoiser_steps };
    close(await denoise(noisy, denoiser, predict, parameters.seed), latent, "latent");
  });
}
