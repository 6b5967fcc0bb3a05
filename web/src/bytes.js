/** Bytes to numbers (§2), and the checksum of a chunk (§3.2). */

import { BadFile } from "./errors.js";

/** Reads fields one after the other. What ends early is `early`'s error. */
export class Reader {
  /**
   * @param {Uint8Array} bytes
   * @param {(what: string) => Error} [early] made where the bytes end inside a field
   * @param {number} [position] of the first byte that is read
   */
  constructor(bytes, early = (what) => new BadFile(`ends inside ${what}`), position = 0) {
    this.bytes = bytes;
    this.early = early;
    this.position = position;
  }

  get left() {
    return this.bytes.length - this.position;
  }

  /** @param {string} what the field's name */
  byte(what) {
    if (this.left < 1) throw this.early(what);
    return this.bytes[this.position++];
  }

  /**
   * @param {number} count
   * @param {string} what
   * @returns {Uint8Array} a view
   */
  take(count, what) {
    if (this.left < count) throw this.early(what);
    this.position += count;
    return this.bytes.subarray(this.position - count, this.position);
  }

  /**
   * An unsigned LEB128 number below 2^32, no longer than needed (§2).
   * @param {string} what
   */
  varint(what) {
    let value = 0;
    for (let index = 0; index < 5; index++) {
      const byte = this.byte(what);
      value += (byte & 127) * 2 ** (7 * index);
      if (byte < 128) {
        if (index && !byte) throw new BadFile(`§2 ${what}: a number in more bytes than needed`);
        if (value >= 2 ** 32) break;
        return value;
      }
    }
    throw new BadFile(`§2 ${what}: a number of more than 32 bits`);
  }

  /** @param {string} what */
  zigzag(what) {
    const v = this.varint(what);
    return v % 2 ? -(v + 1) / 2 : v / 2;
  }

  /** @param {string} what */
  signed(what) {
    return (this.byte(what) << 24) >> 24;
  }
}

const CRC = new Uint32Array(256).map((_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/**
 * CRC-32 of ISO 3309.
 * @param {...Uint8Array} parts
 */
export function crc32(...parts) {
  let crc = 0xffffffff;
  for (const part of parts) for (const byte of part) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * UTF-8 to text; BadFile if it is not UTF-8.
 * @param {Uint8Array} bytes
 * @param {string} what
 */
export function utf8(bytes, what) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new BadFile(`${what} is not UTF-8`);
  }
}

/** @param {Uint8Array} bytes */
export const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

/**
 * SHA-256 as hexadecimal digits. It needs a page that is served by https or from this machine.
 * @param {Uint8Array} bytes
 */
export async function sha256(bytes) {
  const digest = await crypto.subtle.digest("SHA-256", /** @type {Uint8Array<ArrayBuffer>} */ (bytes));
  return hex(new Uint8Array(digest));
}
