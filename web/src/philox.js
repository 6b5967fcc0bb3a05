/** Shared randomness (§6.1). */

/** Streams of §6.1.1. */
export const STREAM = { normals: 0, mixing: 1, candidates: 2, ancestral: 3 };

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/**
 * Words of Philox4x32-10: four a block, blocks first to first + count - 1 of (seed, step, stream).
 * @param {number} seed
 * @param {number} step from 0
 * @param {number} stream
 * @param {number} first up to 2^53
 * @param {number} count
 * @returns {Uint32Array} 4 * count
 */
export function philox(seed, step, stream, first, count) {
  const words = new Uint32Array(4 * count);
  const h0 = M0 >>> 16;
  const l0 = M0 & 0xffff;
  const h1 = M1 >>> 16;
  const l1 = M1 & 0xffff;
  for (let n = 0; n < count; n++) {
    const block = first + n;
    let a = block >>> 0;
    let b = Math.floor(block / 2 ** 32) >>> 0;
    let c = step >>> 0;
    let d = stream >>> 0;
    let k0 = seed >>> 0;
    let k1 = 0;
    for (let turn = 0; turn < 10; turn++) {
      // High words of the products, by halves; low ones by imul.
      const al = a & 0xffff;
      const cl = c & 0xffff;
      const u = h0 * al + ((l0 * al) >>> 16);
      const v = l0 * (a >>> 16) + (u & 0xffff);
      const high0 = h0 * (a >>> 16) + (u >>> 16) + (v >>> 16);
      const x = h1 * cl + ((l1 * cl) >>> 16);
      const y = l1 * (c >>> 16) + (x & 0xffff);
      const high1 = h1 * (c >>> 16) + (x >>> 16) + (y >>> 16);
      const low0 = Math.imul(M0, a);
      const low1 = Math.imul(M1, c);
      a = (high1 ^ b ^ k0) >>> 0;
      b = low1 >>> 0;
      c = (high0 ^ d ^ k1) >>> 0;
      d = low0 >>> 0;
      k0 = (k0 + W0) | 0;
      k1 = (k1 + W1) | 0;
    }
    words[4 * n] = a;
    words[4 * n + 1] = b;
    words[4 * n + 2] = c;
    words[4 * n + 3] = d;
  }
  return words;
}

/**
 * The inverse normal distribution to about 1e-16 (Wichura 1988, AS 241).
 * @param {number} p
 */
function inverseNormal(p) {
  /** @param {number[]} top @param {number[]} bottom @param {number} r */
  const ratio = (top, bottom, r) => top.reduceRight((s, k) => s * r + k, 0) / bottom.reduceRight((s, k) => s * r + k, 0);
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) return q * ratio(A, B, 0.180625 - q * q);
  const r = Math.sqrt(-Math.log(q < 0 ? p : 1 - p));
  return Math.sign(q) * (r <= 5 ? ratio(C, D, r - 1.6) : ratio(E, F, r - 5));
}
const A = [3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125, 45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727];
const B = [1, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867, 39307.89580009271061, 28729.085735721942674, 5226.495278852545703];
const C = [1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504, 1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833, 7.7454501427834140764e-4];
const D = [1, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455, 0.14810397642748007459, 0.0151986665636164571966, 5.475938084995344946e-4, 1.05075007164441684324e-9];
const E = [6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123, 0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5, 2.01033439929228813265e-7];
const F = [1, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525, 7.868691311456132591e-4, 1.8463183175100546818e-5, 1.4215117583164458887e-7, 2.04426310338993978564e-15];

/** The table of normals (§6.1.2), 4096 times too large. */
export const NORMALS = Int16Array.from({ length: 65536 }, (_, w) => Math.round(4096 * inverseNormal((w + 0.5) / 65536)));

/**
 * Normals first to first + out.length - 1 of an address, times 4096, into `out`.
 * @param {Int32Array} out
 * @param {number} seed
 * @param {number} step
 * @param {number} stream
 * @param {number} first
 */
export function normals(out, seed, step, stream, first = 0) {
  // A piece at a time: words take twice the room of what is made of them.
  const piece = 1 << 16;
  for (let from = 0; from < out.length; from += piece) {
    const to = Math.min(out.length, from + piece);
    const block = Math.floor((first + from) / 8);
    const words = philox(seed, step, stream, block, Math.floor((first + to - 1) / 8) - block + 1);
    const halves = first + from - 8 * block;
    for (let n = from, h = halves; n < to; n++, h++) out[n] = NORMALS[(words[h >> 1] >>> (16 * (h & 1))) & 0xffff];
  }
  return out;
}
