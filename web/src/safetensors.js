/** Tensors of a safetensors file, in float32. */

import { BadFile } from "./errors.js";

/** @typedef {{shape: number[], values: Float32Array<ArrayBuffer>}} Tensor */

/**
 * What a file says of its tensors, and how long that is.
 * @param {Uint8Array} bytes
 */
function header(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = bytes.length < 8 ? Infinity : view.getUint32(0, true) + 2 ** 32 * view.getUint32(4, true);
  if (length > bytes.length - 8) throw new BadFile("no safetensors file");
  /** @type {Record<string, {dtype: string, shape: number[], data_offsets: [number, number]}>} */
  const table = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  delete table.__metadata__;
  return { table, length };
}

/**
 * All tensors of a file, or those named.
 * @param {Uint8Array} bytes
 * @param {string[]} [names]
 * @returns {Record<string, Tensor>}
 */
export function tensors(bytes, names) {
  const { table, length } = header(bytes);
  const wanted = names ?? Object.keys(table);
  return Object.fromEntries(
    wanted.map((name) => {
      const entry = table[name];
      if (!entry) throw new BadFile(`no tensor ${name} in the weights`);
      const [from, to] = entry.data_offsets.map((n) => n + 8 + length);
      return [name, { shape: entry.shape, values: widen(bytes.slice(from, to).buffer, entry.dtype, name) }];
    }),
  );
}

/**
 * All tensors in float32, one behind the other in the order of the file.
 * @param {Uint8Array} bytes
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function widenedFile(bytes) {
  const all = tensors(bytes);
  const table = header(bytes).table;
  const names = Object.keys(table).sort((a, b) => table[a].data_offsets[0] - table[b].data_offsets[0]);
  const result = new Uint8Array(names.reduce((sum, name) => sum + all[name].values.byteLength, 0));
  let at = 0;
  for (const name of names) {
    const { values } = all[name];
    result.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    at += values.byteLength;
  }
  return result;
}

/** @param {ArrayBuffer} data @param {string} dtype @param {string} name @returns {Float32Array<ArrayBuffer>} */
function widen(data, dtype, name) {
  if (dtype === "F32") return new Float32Array(data);
  if (dtype === "BF16") return new Float32Array(Uint32Array.from(new Uint16Array(data), (half) => half << 16).buffer);
  if (dtype === "F16") return Float32Array.from(new Uint16Array(data), fromHalf);
  throw new BadFile(`tensor ${name} is of type ${dtype}; F32, F16 and BF16 are known`);
}

/** @param {number} half 16 bits */
function fromHalf(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (!exponent) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
