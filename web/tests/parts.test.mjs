/** Parts of the decoder that have no vector in the specification. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Autoencoder } from "../src/autoencoder.js";
import { parse, parseHead, peek } from "../src/container.js";
import { decode } from "../src/decode.js";
import { describe } from "../src/describe.js";
import { BadFile, Truncated, Unsupported } from "../src/errors.js";
import { autoencoderSettings, hashesOf } from "../src/folders.mjs";
import { INVENTED, marked, statedSource } from "../src/mark.js";
import { fromCoefficients } from "../src/pixels.js";
import { ROOT } from "../src/resources.js";
import * as tables from "../src/tables.js";
import { blend, starts } from "../src/tiles.js";
import { denoise, walk } from "../src/walk.js";

/** @param {string} path from the repository's folder */
const file = (path) => new Uint8Array(readFileSync(new URL(path, ROOT)));
/** @param {string} path */
const json = (path) => JSON.parse(readFileSync(new URL(path, ROOT), "utf8"));
/** @param {string} name of a file of the suite */
const suite = (name) => file(`spec/conformance/files/${name}.sdf`);

test("tables 3.1 to 5.4 are those of spec/tables/ids.json", () => {
  const ids = json("spec/tables/ids.json");
  /** @param {string} name @returns {string[]} */
  const names = (name) => ids[name].map((/** @type {{name: string}} */ entry) => entry.name);
  assert.deepEqual(tables.CHUNKS, Object.fromEntries(ids.chunks.map((/** @type {{type: string, name: string}} */ chunk) => [chunk.type, chunk.name])));
  assert.deepEqual(tables.MODES, names("modes"));
  assert.deepEqual(tables.KINDS, names("kinds"));
  assert.deepEqual(tables.CODERS, names("coders"));
  assert.deepEqual(tables.DENOISERS, names("denoisers"));
  assert.deepEqual(tables.CONTEXTS, names("contexts"));
  assert.deepEqual(tables.FORMS, names("forms"));
  assert.deepEqual(tables.RATES, json("spec/tables/rates.json").rates.map((/** @type {{samples_per_second: number}} */ rate) => rate.samples_per_second));
});

test("models.json agrees with table 4.1", () => {
  for (const { id, name, sha256 } of json("web/models.json").models) {
    assert.equal(tables.MODELS[id].name, name);
    assert.equal(tables.MODELS[id].sha256, sha256);
  }
});

test("§4.3 samples of a latent: a constant block, and a picture that is cut", () => {
  const latent = new Float32Array(192 * 4);
  // White: (R + G + B) / sqrt 3 of 1 is sqrt 3, and the constant of an orthonormal 8x8 DCT is 8 times the mean.
  latent.fill(8 * Math.sqrt(3), 0, 4);
  const samples = fromCoefficients(latent, new Float32Array(192).fill(1), { height: 2, width: 2 }, { height: 9, width: 11 });
  assert.equal(samples.length, 9 * 11 * 3);
  assert.ok(samples.every((sample) => sample === 255));
});

test("§4.3 the inverse transform undoes the transform as the text has it", () => {
  const size = { height: 8, width: 8 };
  const pixels = Array.from({ length: 3 }, (_, c) => Array.from({ length: 64 }, (_, n) => (n * 37 + c * 91) % 256));
  const colours = pixels[0].map((_, n) => {
    const [r, g, b] = pixels.map((plane) => plane[n] / 127.5 - 1);
    return [(r + g + b) / Math.sqrt(3), (r - b) / Math.sqrt(2), (r - 2 * g + b) / Math.sqrt(6)];
  });
  /** @param {number} k @param {number} x */
  const basis = (k, x) => Math.sqrt((k ? 2 : 1) / 8) * Math.cos(((2 * x + 1) * k * Math.PI) / 16);
  const weight = Float32Array.from({ length: 192 }, (_, n) => 0.5 + n / 100);
  const latent = Float32Array.from({ length: 192 }, (_, n) => {
    const [c, v, u] = [n >> 6, (n >> 3) & 7, n & 7];
    let sum = 0;
    for (let y = 0; y < 8; y++) for (let x = 0; x < 8; x++) sum += colours[8 * y + x][c] * basis(v, y) * basis(u, x);
    return sum * weight[n];
  });
  const found = fromCoefficients(latent, weight, { height: 1, width: 1 }, size);
  assert.deepEqual(Array.from(found), pixels[0].flatMap((_, n) => pixels.map((plane) => plane[n])));
});

test("§7.1, §7.2 walk and denoisers of a source whose posterior mean is known", async () => {
  // A normal source of variance v: the mean is y v / (v + sigma^2), and the walk's y is its latent plus noise of sigma.
  const v = 2;
  /** @type {import("../src/walk.js").Predict} */
  const predict = async (y, sigma) => y.map((value) => (value * v) / (v + sigma * sigma));
  const z = Float32Array.of(0.5, -1, 2);
  const steps = [-1, 0.5, 2].map((level) => ({ level, bits: 0 }));
  const { y, sigma } = await walk(steps, predict, () => z);
  assert.ok(Math.abs(sigma - Math.exp(-1)) < 1e-12);
  // By hand: S and t after each step.
  let [sum, precision] = [0, 0];
  for (const { level } of steps) {
    const mean = precision && ((sum / precision) * v) / (v + 1 / precision);
    const rise = Math.exp(level) - precision;
    sum += rise * mean + Math.sqrt(rise) * z[0];
    precision = Math.exp(level);
  }
  assert.ok(Math.abs(y[0] - sum / precision) < 1e-5);
  /** @param {import("../src/tables.js").Denoiser} denoiser */
  const run = async (denoiser) => (await denoise({ y, sigma }, denoiser, predict, 1))[0];
  const first = (y[0] * v) / (v + sigma * sigma);
  assert.ok(Math.abs((await run({ name: "mean", steps: 1 })) - first) < 1e-6);
  assert.equal(await run({ name: "balanced", steps: 1 }), await run({ name: "mean", steps: 1 }));
  // The flow of a normal source scales it to its own spread.
  const flow = await run({ name: "flow", steps: 31 });
  assert.ok(Math.abs(flow - y[0] * Math.sqrt(v / (v + sigma * sigma))) < 2e-3);
  const three = await run({ name: "flow", steps: 3 });
  assert.ok(Math.abs((await run({ name: "balanced", steps: 3 })) - (first + three) / 2) < 1e-6);
  assert.notEqual(await run({ name: "ancestral", steps: 3 }), (await denoise({ y, sigma }, { name: "ancestral", steps: 3 }, predict, 2))[0]);
});

test("§4.4.3 tiles cover what they are cut from, and blend to it", async () => {
  assert.deepEqual(starts(64, 64, 2), [0]);
  for (const [length, side, grid] of [[65, 64, 1], [130, 64, 2], [1000, 96, 8]]) {
    const places = starts(length, side, grid);
    assert.equal(places[places.length - 1], length - side);
    for (let k = 1; k < places.length; k++) assert.ok(places[k] - places[k - 1] <= (side * 3) / 4 + grid && places[k] > places[k - 1]);
  }
  const [height, width] = [40, 90];
  const source = Float32Array.from({ length: 2 * height * width }, (_, n) => Math.sin(n));
  const { values } = await blend({ height, width }, 32, 2, async (top, left, high, wide) => {
    const part = new Float32Array(2 * high * wide);
    for (let n = 0; n < part.length; n++) {
      const [c, y, x] = [Math.floor(n / (high * wide)), Math.floor(n / wide) % high, n % wide];
      part[n] = source[(c * height + top + y) * width + left + x];
    }
    return { channels: 2, values: part };
  });
  assert.ok(values.every((value, n) => Math.abs(value - source[n]) < 1e-5));
});

test("§4.5 the hash of an autoencoder's folder", async () => {
  const folder = "spec/conformance/models/autoencoder/";
  const text = new TextDecoder().decode(file(`${folder}config.json`));
  const weights = file(`${folder}diffusion_pytorch_model.safetensors`);
  const vae = { text, config: JSON.parse(text), weights };
  const [whole, before] = await hashesOf({ vae }, autoencoderSettings(vae));
  assert.equal(before, "a12133ea39addd7105829e210557610da8e52d76cfb0de26f6a4e43fb9af7351");
  assert.notEqual(whole, before);
  assert.throws(() => new Autoencoder({ ...JSON.parse(text), mid_block_add_attention: true }, weights), Unsupported);
});

test("§3.7 the mark is added where there is room for it, and only there", () => {
  assert.equal(statedSource(marked(undefined)), INVENTED);
  const packet = `<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:dc="urn:dc" dc:title="a &lt; b"/></rdf:RDF></x:xmpmeta>`;
  const shown = marked(packet);
  assert.equal(statedSource(packet), undefined);
  assert.equal(statedSource(shown), INVENTED);
  assert.ok(shown.includes('dc:title="a &lt; b"'), "what is in the packet stays");
  assert.equal(marked(shown), shown);
  const empty = packet.replace(/<rdf:Desc[^>]*>/, "").replace(/><\/rdf:RDF>/, "/>");
  assert.equal(statedSource(marked(empty)), INVENTED);
  const own = packet.replace("dc:title", 'xmlns:q="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" q:DigitalSourceType="urn:mine" dc:title');
  assert.equal(marked(own), own);
  assert.equal(statedSource(own), "urn:mine");
  // Comments state nothing; what is no XML is shown by a packet of the mark alone.
  const comment = packet.replace("<rdf:Desc", `<!-- ${own.match(/<rdf:Desc.*?>/)?.[0]} --><rdf:Desc`);
  assert.equal(statedSource(comment), undefined);
  for (const broken of ["", "no XML", packet.slice(0, -3), packet + packet]) assert.equal(marked(broken), marked(undefined));
});

test("header fields are those that the suite's manifest has", () => {
  /** @param {any} wanted @param {any} found @param {string} where */
  const holds = (wanted, found, where) => {
    if (typeof wanted === "number") assert.ok(Math.abs(wanted - found) <= 1e-3 * Math.max(1, Math.abs(wanted)), `${where}: ${found}, not ${wanted}`);
    else if (Array.isArray(wanted)) {
      assert.equal(found?.length, wanted.length, where);
      wanted.forEach((value, n) => holds(value, found[n], `${where}[${n}]`));
    } else if (wanted && typeof wanted === "object") for (const [key, value] of Object.entries(wanted)) holds(value, found?.[key], `${where}.${key}`);
    else assert.equal(found, wanted, where);
  };
  for (const { name, file: path, header } of json("spec/conformance/manifest.json").accepted) {
    const { metadata, ...wanted } = header;
    const { metadata: found, ...described } = describe(parse(file(`spec/conformance/${path}`)));
    if (!wanted.schedule?.length) delete wanted.schedule;
    // The manifest's null is of the first edition: §3.7 has a mark for every picture.
    wanted.digital_source_type ??= INVENTED;
    holds(wanted, described, name);
    if (metadata.text) holds(metadata.text, /** @type {{text: object}} */ (found).text, `${name}.text`);
  }
});

test("§8.4 what is there of a truncated file is decoded on request, and no more", async () => {
  const whole = suite("plain");
  const cut = whole.subarray(0, whole.length - 20);
  await assert.rejects(decode(cut, { device: "wasm", threads: 1 }), Truncated);
  const { rgba } = await decode(cut, { device: "wasm", threads: 1, incomplete: true });
  assert.equal(rgba.length, 40 * 24 * 4);
  const reference = (await decode(whole, { device: "wasm", threads: 1 })).rgba;
  const rms = (/** @type {Uint8ClampedArray} */ a) => Math.sqrt(a.reduce((sum, value, n) => sum + (value - reference[n]) ** 2, 0) / a.length);
  assert.ok(rms(rgba) > 0.5, "later steps are missing");
  await assert.rejects(decode(whole.subarray(0, 32), { device: "wasm", threads: 1, incomplete: true }), Truncated);
  // Something behind the payload is left alone.
  assert.equal(rms((await decode(Uint8Array.of(...whole, 1, 2, 3), { device: "wasm", threads: 1, incomplete: true })).rgba), 0);
});

test("what a decoder knows while a file arrives", () => {
  const whole = suite("preview-webp");
  assert.equal(peek(whole.subarray(0, 12)), undefined);
  assert.equal(peek(whole.subarray(0, 30))?.preview, undefined);
  assert.ok(peek(whole.subarray(0, whole.length - 50))?.preview);
  assert.equal(peek(whole)?.header.width, 40);
});

test("§8.1 a limit of pixels is checked before weights and payload", () => {
  assert.throws(() => parseHead(suite("plain"), { maxPixels: 959 }), (error) => error instanceof Unsupported && error.offset === 10);
  parseHead(suite("plain"), { maxPixels: 960 });
});

test("files that are damaged anywhere are refused with an error of our own", () => {
  const whole = suite("metadata-zstandard");
  for (let n = 0; n < whole.length; n++) {
    const damaged = whole.slice();
    damaged[n] ^= 1 << n % 8;
    assert.throws(() => parse(damaged), (error) => error instanceof BadFile || error instanceof Unsupported || error instanceof Truncated);
  }
});
