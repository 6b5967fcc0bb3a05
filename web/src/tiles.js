/** Large arrays by overlapping tiles (§4.4). */

const WHOLE = 1.5;

/**
 * First positions of tiles.
 * @param {number} length
 * @param {number} side of a tile
 * @param {number} grid that tiles start on
 */
export function starts(length, side, grid) {
  if (length <= side) return [0];
  const count = Math.ceil(((length - side) * 4) / (3 * side)) + 1;
  const places = Array.from({ length: count - 1 }, (_, i) => {
    // Half-way between two positions of the grid the even one is taken.
    const exact = ((length - side) * i) / (count - 1) / grid;
    const low = Math.floor(exact);
    const up = exact - low > 0.5 || (exact - low === 0.5 && low % 2 === 1);
    return (low + (up ? 1 : 0)) * grid;
  });
  return [...places, length - side];
}

/**
 * Weight of every position of a tile: 1 in its middle, falling linearly over its overlaps.
 * @param {number[]} places of all tiles
 * @param {number} index of this one
 * @param {number} side
 */
function ramp(places, index, side) {
  const first = places[index];
  return Float32Array.from({ length: side }, (_, i) => {
    const rise = index ? (i + 1) / (places[index - 1] + side - first + 1) : 1;
    const fall = index + 1 < places.length ? (side - i) / (first + side - places[index + 1] + 1) : 1;
    return Math.min(1, rise, fall);
  });
}

/**
 * An array of planes made tile by tile, linearly blended where tiles overlap.
 * @param {{height: number, width: number}} size of the whole
 * @param {number} side of a tile
 * @param {number} grid
 * @param {(top: number, left: number, height: number, width: number) => Promise<{channels: number, values: Float32Array<ArrayBuffer>}>} make planes of a tile
 * @returns {Promise<{channels: number, values: Float32Array<ArrayBuffer>}>}
 */
export async function blend({ height, width }, side, grid, make) {
  if (height * width <= WHOLE * side * side) return make(0, 0, height, width);
  const [high, wide] = [Math.min(side, height), Math.min(side, width)];
  const [rows, columns] = [starts(height, high, grid), starts(width, wide, grid)];
  const mass = new Float32Array(height * width);
  let total = new Float32Array(0);
  let channels = 0;
  for (const [r, top] of rows.entries()) {
    for (const [c, left] of columns.entries()) {
      const part = await make(top, left, high, wide);
      channels = part.channels;
      if (!total.length) total = new Float32Array(channels * height * width);
      const [down, across] = [ramp(rows, r, high), ramp(columns, c, wide)];
      for (let y = 0; y < high; y++) {
        for (let x = 0; x < wide; x++) {
          const weight = down[y] * across[x];
          const at = (top + y) * width + left + x;
          mass[at] += weight;
          for (let k = 0; k < channels; k++) total[k * height * width + at] += weight * part.values[(k * high + y) * wide + x];
        }
      }
    }
  }
  return { channels, values: total.map((value, n) => value / mass[n % mass.length]) };
}
