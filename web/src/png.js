/** Pictures to PNG, with what is known about them. */

import { crc32 } from "./bytes.js";
import { samplesOf } from "./decode.js";
import { marked } from "./mark.js";

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const COLOUR = { L: 0, RGB: 2, LA: 4, RGBA: 6 };
const encode = (/** @type {string} */ text) => new TextEncoder().encode(text);

/** @param {...Uint8Array} parts @returns {Uint8Array<ArrayBuffer>} */
function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** @param {number} n @returns {Uint8Array} big-endian */
const word = (n) => Uint8Array.of(n >>> 24, n >>> 16, n >>> 8, n);

/** @param {string} type @param {...Uint8Array} body */
function chunk(type, ...body) {
  const data = joined(...body);
  const name = encode(type);
  return joined(word(data.length), name, data, word(crc32(name, data)));
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {string} key @param {string} value UTF-8 */
const text = (key, value) => chunk("iTXt", encode(key), Uint8Array.of(0, 0, 0, 0, 0), encode(value));

/**
 * A PNG file: samples in the picture's mode, the file's metadata, and the mark of §3.7.
 * @param {import("./decode.js").Picture} picture
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function encodePng(picture) {
  const { width, height, mode, file } = picture;
  const samples = samplesOf(picture);
  const row = samples.length / height;
  const lines = new Uint8Array(samples.length + height);
  const before = row / width;
  for (let y = 0; y < height; y++) {
    const to = y * (row + 1);
    lines[to] = 1;
    for (let x = 0; x < row; x++) lines[to + 1 + x] = samples[y * row + x] - (x >= before ? samples[y * row + x - before] : 0);
  }
  const { exif, icc, xmp, texts } = file.metadata;
  const parts = [SIGNATURE, chunk("IHDR", word(width), word(height), Uint8Array.of(8, COLOUR[mode], 0, 0, 0))];
  if (icc) parts.push(chunk("iCCP", encode("ICC"), Uint8Array.of(0, 0), await deflate(icc.slice())));
  if (exif) parts.push(chunk("eXIf", exif[0] === 0x45 ? exif.subarray(6) : exif));
  parts.push(text("XML:com.adobe.xmp", marked(xmp && new TextDecoder().decode(xmp))));
  for (const { key, value } of texts) {
    // A key of PNG has 1 to 79 printable characters of Latin-1 and no blanks at its ends; a text has no null.
    if (/^(?! )[\x20-\x7e]{1,79}(?<! )$/.test(key) && !value.includes("\0")) parts.push(text(key, value));
  }
  parts.push(chunk("IDAT", await deflate(lines)), chunk("IEND"));
  return joined(...parts);
}
