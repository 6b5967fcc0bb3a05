/** Entropy coding by integers (§5.6). */

import { BadFile } from "./errors.js";

/** Range coder (§5.6.1). All numbers are below 2^53, so that their quotients are exact. */
export class RangeDecoder {
  /** @param {Uint8Array} payload */
  constructor(payload) {
    this.payload = payload;
    this.position = 0;
    this.range = 2 ** 40;
    this.code = 0;
    for (let k = 0; k < 5; k++) this.code = this.code * 256 + this.next();
    this.part = 1;
  }

  next() {
    const byte = this.position < this.payload.length ? this.payload[this.position] : 0;
    this.position++;
    return byte;
  }

  /** @param {number} total @returns {number} a number of the symbol's interval; `take` is to follow */
  target(total) {
    this.part = Math.floor(this.range / total);
    const target = Math.floor(this.code / this.part);
    if (target >= total) throw new BadFile("§5.6.1 the payload has a symbol that is none");
    return target;
  }

  /** @param {number} start @param {number} size of the symbol's interval */
  take(start, size) {
    this.code -= this.part * start;
    this.range = this.part * size;
    while (this.range < 2 ** 32) {
      this.range *= 256;
      this.code = this.code * 256 + this.next();
    }
    // Bytes of nothing are read only by a payload that is too short: it need not be read to its end.
    if (this.position > this.payload.length + 4) throw new BadFile("§5.6.1 the payload ends before what it holds");
  }

  /** @param {number} total of equally likely symbols */
  uniform(total) {
    const symbol = this.target(total);
    this.take(symbol, 1);
    return symbol;
  }

  /** @param {number} ones size of the interval of a 1 at the start of 65536 */
  bit(ones) {
    const one = this.target(65536) < ones;
    if (one) this.take(0, ones);
    else this.take(ones, 65536 - ones);
    return one ? 1 : 0;
  }

  /** Everything is read: BadFile if the payload goes on. */
  end() {
    if (this.position !== this.payload.length + 4) {
      throw new BadFile(`§5.6.1 the payload has ${this.payload.length + 4 - this.position} bytes behind what it holds`);
    }
  }
}

/** Contexts of bits (§5.6.2). */
export class BitContexts {
  /** @param {RangeDecoder} coder @param {number} count */
  constructor(coder, count) {
    this.coder = coder;
    this.probability = new Int32Array(count).fill(32768);
    this.slowness = new Uint8Array(count).fill(3);
  }

  /** @param {number} a @param {number} b contexts, which may be the same */
  bit(a, b) {
    const { probability } = this;
    const bit = this.coder.bit((probability[a] + probability[b]) >> 1);
    this.adapt(a, bit);
    this.adapt(b, bit);
    return bit;
  }

  /** @param {number} context @param {number} bit */
  adapt(context, bit) {
    const slowness = this.slowness[context];
    this.probability[context] += Math.floor((2 * ((bit ? 65472 : 64) - this.probability[context])) / slowness);
    if (slowness !== 255) this.slowness[context] += 2;
  }
}

/** Whole numbers (§5.6.3), by groups of contexts. */
export class NumberContexts {
  /** @param {RangeDecoder} coder @param {number} groups */
  constructor(coder, groups) {
    this.coder = coder;
    this.bits = new BitContexts(coder, 96 * groups);
  }

  /** @param {number} a @param {number} b groups */
  number(a, b) {
    let length = 1;
    for (; !this.bits.bit(96 * a + length - 1, 96 * b + length - 1); length++) {
      if (length === 32) throw new BadFile("§5.6.3 a number of more than 32 bits");
    }
    let w = 1;
    for (let k = 1; k < length; k++) {
      if (length > 6) w = 2 * w + this.coder.bit(32768);
      else {
        const place = 32 + 2 ** (length - 1) + w;
        w = 2 * w + this.bits.bit(96 * a + place, 96 * b + place);
      }
    }
    return w % 2 ? (w - 1) / 2 : -w / 2;
  }
}
