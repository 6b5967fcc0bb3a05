/** The test vectors of spec/sdf-1.md: what is exact. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { receive } from "../src/coders.js";
import { BitContexts, NumberContexts, RangeDecoder } from "../src/entropy.js";
import { NORMALS, normals, philox } from "../src/philox.js";

/** @param {string} digits */
const fromHex = (digits) => Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/** @param {NodeJS.ArrayBufferView & {buffer: ArrayBufferLike}} values little-endian, as this machine is */
const hash = (values) => createHash("sha256").update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)).digest("hex");

/** Bits floor(b b / 3) mod 2, packed. @param {number} count */
function someBits(count) {
  const bytes = new Uint8Array(Math.ceil(count / 8));
  for (let b = 0; b < count; b++) bytes[b >> 3] |= (Math.floor((b * b) / 3) % 2) << (7 - (b % 8));
  return bytes;
}

test("§6.1.1 Philox", () => {
  assert.deepEqual(Array.from(philox(0, 0, 0, 0, 1), (word) => word.toString(16)), ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]);
});

test("§6.1.1 a block beyond 2^32 has its upper word in the counter", () => {
  const far = philox(5, 2, 1, 2 ** 32 + 7, 1);
  assert.notDeepEqual(far, philox(5, 2, 1, 7, 1));
  assert.deepEqual(philox(5, 2, 1, 2 ** 32 - 1, 9).subarray(32), far);
});

test("§6.1.2 the table of normals", () => {
  assert.equal(hash(NORMALS), "1ea009ce409dac97d6bd609266910f809c5fb912f78e16bd89145b08174d6fc5");
});

test("§6.1.2 normals from any place on are those of the whole", () => {
  const whole = normals(new Int32Array(200), 3, 1, 2);
  assert.deepEqual(normals(new Int32Array(90), 3, 1, 2, 77), whole.slice(77, 167));
});

for (const [coder, parameter, count, wanted] of /** @type {const} */ ([
  ["trellis", 12, 300, "d8d6479835b4a12af0249f62bb27b2cf33a74b788d79658fe52226ee9fe15005"],
  ["pfr", 14, 300, "57df455a2670267f86fddf88e4536222c1301ed513109ce545b5063445976ce0"],
  ["tree", 12, 3000, "488f6782fb91e8dac174461c3eeb410a7d5017f4a1060ab59493b4bf78343047"],
])) {
  test(`§6 z of the ${coder}`, () => {
    const z = receive(coder, parameter, { seed: 7, step: 3, size: 10007 }, someBits(count), 0, count);
    assert.equal(hash(z), wanted);
    assert.ok(!z.some((value) => Object.is(value, -0)), "a zero is positive");
  });
}

test("§6.2 a step's bits may begin inside a byte", () => {
  const address = { seed: 1, step: 0, size: 600 };
  const packed = someBits(40);
  const shifted = new Uint8Array(6);
  for (let b = 0; b < 40; b++) shifted[(b + 5) >> 3] |= ((packed[b >> 3] >> (7 - (b % 8))) & 1) << (7 - ((b + 5) % 8));
  for (const coder of /** @type {const} */ (["trellis", "pfr", "tree"])) {
    assert.deepEqual(receive(coder, 12, address, shifted, 5, 40), receive(coder, 12, address, packed, 0, 40));
  }
});

test("§5.6.1 range coder", () => {
  const coder = new RangeDecoder(fromHex("00153d689dd9a67ffcebbba6fc6b31d913bd602c8f4dd2b5adb7"));
  for (let n = 0; n < 50; n++) {
    const target = coder.target(132);
    let k = 0;
    while ((k + 1) * (k + 2) <= target) k++;
    coder.take(k * (k + 1), 2 * (k + 1));
    assert.equal(k, (n * n) % 11);
  }
  coder.end();
});

test("§5.6.2 bits", () => {
  const coder = new RangeDecoder(fromHex("c119e55fbbac3bfacd4f95201e"));
  const bits = new BitContexts(coder, 5);
  for (let n = 0; n < 100; n++) assert.equal(bits.bit(n % 3, 3 + (n % 2)), Math.floor((n * n) / 3) % 2);
  coder.end();
});

test("§5.6.3 numbers", () => {
  const coder = new RangeDecoder(fromHex("fafe1d2f817db1a74e0ed8714c229d6aecbcec5f5cfd1cacd2610a19a4d8f81938ecd699c4c8985fd4f1c6"));
  const numbers = new NumberContexts(coder, 4);
  for (let n = 0; n < 50; n++) assert.equal(numbers.number(n % 3, 3), ((n * n * n) % 41) - 20);
  coder.end();
});

test("§5.6.1 a payload that is too short or too long is refused", () => {
  const whole = fromHex("c119e55fbbac3bfacd4f95201e");
  for (const payload of [whole.subarray(0, -1), Uint8Array.of(...whole, 0)]) {
    const coder = new RangeDecoder(payload);
    const bits = new BitContexts(coder, 5);
    assert.throws(() => {
      for (let n = 0; n < 100; n++) bits.bit(n % 3, 3 + (n % 2));
      coder.end();
    }, /§5\.6\.1/);
  }
});
