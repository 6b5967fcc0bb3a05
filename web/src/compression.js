/** Bodies that may be compressed (§3.4), and the alpha plane (§3.5). */

import { BadFile } from "./errors.js";
import { decompress } from "./zstd.js";

const WINDOW = 8 << 20;
const METADATA = 4 << 20;

/**
 * A body of §3.4: a byte method and data.
 * @param {Uint8Array} body
 * @param {number} [limit] bytes that it may have
 */
export function unpack(body, limit = METADATA) {
  if (!body.length) throw new BadFile("§3.4 a body without a method");
  const data = body.subarray(1);
  if (body[0] > 1) throw new BadFile(`§3.4 method ${body[0]}; 0 and 1 are known`);
  if (body[0]) return decompress(data, { limit, window: WINDOW });
  if (data.length > limit) throw new BadFile(`§3.4 ${data.length} bytes; at most ${limit} are allowed`);
  return data;
}

/**
 * The alpha plane, row by row (§3.5).
 * @param {Uint8Array} body of chunk A
 * @param {number} width
 * @param {number} height
 */
export function unpackAlpha(body, width, height) {
  if (!body.length) throw new BadFile("§3.5 an alpha plane without a filter");
  const filter = body[0];
  if (filter > 3) throw new BadFile(`table 3.4: filter ${filter}; 0 to 3 are known`);
  const size = width * height;
  const plane = decompress(body.subarray(1), { limit: size, window: WINDOW });
  if (plane.length !== size) throw new BadFile(`§3.5 ${plane.length} bytes of alpha; ${size} are wanted`);
  if (filter > 1) for (let n = width; n < size; n++) plane[n] += plane[n - width];
  if (filter & 1) for (let n = 0; n < size; n++) if (n % width) plane[n] += plane[n - 1];
  return plane;
}
