/** Signature, version and chunks (§3), each checked as it is reached. */

import { Reader, crc32, utf8 } from "./bytes.js";
import { unpack, unpackAlpha } from "./compression.js";
import { BadFile, SdfError, Truncated, Unsupported } from "./errors.js";
import { checkModel, hasAlpha, isSound, parseFront, parseParameters } from "./header.js";
import { CHUNKS } from "./tables.js";

const SIGNATURE = [0x89, 0x53, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];
/** Offset of chunk H. */
const FIRST = 10;
const MOST_CHUNKS = 128;
const MOST_HEADER = 4096;
const LONGEST = 2 ** 31 - 1;
const ALL_METADATA = 16 << 20;

/** 64 million pixels: what 4 GB of memory carry. */
export const MAX_PIXELS = 1 << 26;

/**
 * @typedef {object} ParseOptions
 * @property {number} [maxPixels] width times height; a file that asks for more is unsupported
 * @property {boolean} [incomplete] what is there of a truncated file will do, and what is behind the payload is left alone (§8.4)
 */

/** @typedef {{type: string, offset: number, body: Uint8Array, start: number, end: number}} Chunk offset: of its first byte in the file; start: of its body's; end: of the byte behind it, in an incomplete file where that were */
/** @typedef {{version: [number, number], header: import("./header.js").Header, chunk: Chunk}} Head */
/** @typedef {{exif?: Uint8Array, icc?: Uint8Array, xmp?: Uint8Array, texts: {key: string, value: string}[]}} Metadata */

/**
 * @typedef {object} SdfFile
 * @property {number} bytes of the file
 * @property {[number, number]} version
 * @property {import("./header.js").Header} header
 * @property {Chunk[]} chunks in their order
 * @property {Chunk} payload chunk D
 * @property {number} stated bytes of the payload, whatever is there of an incomplete one
 * @property {Uint8Array} [alpha] height x width, row by row
 * @property {Uint8Array} [preview] body of chunk p, unchecked
 * @property {Metadata} metadata
 */

/**
 * Runs a part of the parser; its errors get the place of the chunk they are about.
 * @template T
 * @param {number} offset
 * @param {() => T} read
 * @returns {T}
 */
export function at(offset, read) {
  try {
    return read();
  } catch (error) {
    if (error instanceof SdfError) error.offset ??= offset;
    throw error;
  }
}

/**
 * A file's structure, checksums, header and metadata. No weights are looked for, and nothing is made of a size that the file only claims.
 * @param {Uint8Array} bytes the whole file
 * @param {ParseOptions} [options]
 * @returns {SdfFile}
 */
export function parse(bytes, options) {
  return parseRest(bytes, parseHead(bytes, options), options);
}

/**
 * What chunk H says, checked (stages front to model of §8.1, but for the weights).
 * @param {Uint8Array} bytes the file, or as much of it as is there
 * @param {ParseOptions} [options]
 * @returns {Head}
 */
export function parseHead(bytes, { maxPixels = MAX_PIXELS } = {}) {
  const head = Math.min(bytes.length, SIGNATURE.length);
  if (head < SIGNATURE.length || SIGNATURE.some((byte, n) => byte !== bytes[n])) {
    throw new BadFile("§3.1 another signature: this is no SDF file", 0);
  }
  if (bytes.length < FIRST) throw new Truncated("§3.1 the file ends inside its version", 0);
  if (bytes[8] !== 1) throw new Unsupported(`§3.1 major version ${bytes[8]}; this decoder reads version 1`, 0);
  return at(FIRST, () => {
    const chunk = readChunk(bytes, FIRST, []);
    checkCrc(bytes, chunk);
    const { front, reader } = parseFront(chunk.body);
    findCritical(bytes, chunk);
    if (!isSound(front) && front.width * front.height > maxPixels) {
      throw new Unsupported(`§8.1 ${front.width} x ${front.height} pixels; this decoder is set to ${maxPixels} at most`);
    }
    const header = parseParameters(front, reader);
    checkModel(header);
    return { version: /** @type {[number, number]} */ ([bytes[8], bytes[9]]), header, chunk };
  });
}

/**
 * The chunks behind H: all their frames, then all their checksums, then what is in them (§8.1).
 * @param {Uint8Array} bytes the whole file
 * @param {Head} head
 * @param {ParseOptions} [options]
 * @returns {SdfFile}
 */
export function parseRest(bytes, { version, header, chunk: first }, { incomplete = false } = {}) {
  const chunks = [first];
  let position = first.end;
  for (let type = "H"; type !== "D"; ) {
    const chunk = at(position, () => readChunk(bytes, position, chunks, incomplete));
    chunks.push(chunk);
    ({ type, end: position } = chunk);
  }
  if (position < bytes.length && !incomplete) throw new BadFile(`§3.2 ${bytes.length - position} bytes behind the payload`, position);
  for (const chunk of chunks.slice(1)) if (chunk.end <= bytes.length) checkCrc(bytes, chunk);
  /** @param {string} type */
  const find = (type) => chunks.find((chunk) => chunk.type === type);
  if (!find("A") && hasAlpha(header)) throw new BadFile(`§3.5 mode ${header.mode} without an alpha plane`, first.offset);
  /** @type {Metadata} */
  const metadata = { texts: [] };
  let left = ALL_METADATA;
  /** @type {Uint8Array | undefined} */
  let alpha;
  for (const { type, offset, body } of chunks) {
    at(offset, () => {
      if (type === "A") {
        if (!hasAlpha(header)) throw new BadFile(`§3.5 an alpha plane in mode ${header.mode}`);
        alpha = unpackAlpha(body, header.width, header.height);
      }
      if (!"eitx".includes(type)) return;
      const data = unpack(body);
      left -= data.length;
      if (left < 0) throw new BadFile(`§3.4 metadata of more than ${ALL_METADATA} bytes in all`);
      if (type === "e") metadata.exif = data;
      if (type === "i") metadata.icc = data;
      if (type === "x") metadata.xmp = data;
      if (type === "t") metadata.texts.push(parseText(data));
    });
  }
  const payload = /** @type {Chunk} */ (find("D"));
  const stated = payload.end - 4 - payload.start;
  return { bytes: bytes.length, version, header, chunks, payload, stated, alpha, preview: find("p")?.body, metadata };
}

/**
 * Header and preview of a file that may still be arriving: undefined until its header is there.
 * @param {Uint8Array} bytes the file's first bytes
 * @returns {{header: import("./header.js").Header, preview?: Uint8Array} | undefined}
 */
export function peek(bytes) {
  /** @type {Head | undefined} */
  let head;
  /** @type {Uint8Array | undefined} */
  let preview;
  try {
    head = parseHead(bytes);
    const chunks = [head.chunk];
    for (let position = head.chunk.end; !preview; position = chunks[chunks.length - 1].end) {
      const chunk = readChunk(bytes, position, chunks);
      checkCrc(bytes, chunk);
      if (chunk.type === "p") preview = chunk.body;
      if (chunk.type === "D") break;
      chunks.push(chunk);
    }
  } catch (error) {
    if (!(error instanceof SdfError)) throw error;
  }
  return head && { header: head.header, preview };
}

/**
 * The frame of a chunk (§3.2). Of its checksum nothing is said.
 * @param {Uint8Array} bytes
 * @param {number} offset of its first byte
 * @param {Chunk[]} before the chunks before it
 * @param {boolean} [incomplete] the payload need not be all there
 * @returns {Chunk}
 */
function readChunk(bytes, offset, before, incomplete = false) {
  const reader = new Reader(bytes, (what) => new Truncated(`§3.2 the file ends inside ${what}`), offset);
  if (!reader.left) throw new Truncated(`§3.2 the file ends where ${before.length ? "its payload is missing" : "its header is missing"}`);
  if (before.length === MOST_CHUNKS) throw new BadFile(`§3.2 more than ${MOST_CHUNKS} chunks`);
  const code = reader.byte("a chunk's type");
  const type = String.fromCharCode(code);
  if (!/[A-Za-z]/.test(type)) throw new BadFile(`§3.2 chunk type ${code} is no letter`);
  const length = reader.varint("a chunk's length");
  if (length > LONGEST) throw new BadFile(`§3.2 a chunk of ${length} bytes`);
  if (!before.length && type !== "H") throw new BadFile(`§3.2 the first chunk is ${type}; it has to be H`);
  if (!(type in CHUNKS) && type < "a") throw new Unsupported(`§3.2 critical chunk ${type} is unknown here`);
  if (type in CHUNKS && type !== "t" && before.some((chunk) => chunk.type === type)) throw new BadFile(`§3.2 two chunks ${type}`);
  if (type === "H" && length > MOST_HEADER) throw new BadFile(`§3.2 a header of ${length} bytes; at most ${MOST_HEADER} are allowed`);
  const start = reader.position;
  if (incomplete && type === "D" && reader.left < length + 4) {
    return { type, offset, body: bytes.subarray(start, start + length), start, end: start + length + 4 };
  }
  const body = reader.take(length, `chunk ${type}`);
  reader.take(4, `the checksum of chunk ${type}`);
  return { type, offset, body, start, end: reader.position };
}

/** @param {Uint8Array} bytes @param {Chunk} chunk */
function checkCrc(bytes, { type, offset, end }) {
  const covered = bytes.subarray(offset, end - 4);
  const wanted = new DataView(bytes.buffer, bytes.byteOffset + end - 4, 4).getUint32(0);
  const found = type === "H" ? crc32(bytes.subarray(8, FIRST), covered) : crc32(covered);
  if (found !== wanted) throw new BadFile(`§3.2 chunk ${type} is damaged: its checksum is wrong`, offset);
}

/**
 * A critical chunk that is unknown here is found before anything that it might change is read (§8.1).
 * @param {Uint8Array} bytes
 * @param {Chunk} first
 */
function findCritical(bytes, first) {
  const chunks = [first];
  try {
    while (chunks[chunks.length - 1].type !== "D") chunks.push(readChunk(bytes, chunks[chunks.length - 1].end, chunks));
  } catch (error) {
    if (error instanceof Unsupported) {
      error.offset = chunks[chunks.length - 1].end;
      throw error;
    }
  }
}

/** @param {Uint8Array} body key, null, value */
function parseText(body) {
  const end = body.indexOf(0);
  if (end < 0) throw new BadFile("§3.4 a text without a null character behind its key");
  if (!end) throw new BadFile("§3.4 a text with an empty key");
  return { key: utf8(body.subarray(0, end), "§3.4 a text"), value: utf8(body.subarray(end + 1), "§3.4 a text") };
}
