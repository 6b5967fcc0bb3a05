/** The small picture in chunk p (§3.6). */

const MOST_BYTES = 1 << 20;
const MOST_SIDE = 1024;

/** @typedef {{type: "image/jpeg" | "image/webp", width: number, height: number}} PreviewKind */

/**
 * A preview's kind and size, from its first bytes. Undefined if it breaks a rule: then it is passed over.
 * @param {Uint8Array} body of chunk p
 * @param {{width: number, height: number}} picture
 * @returns {PreviewKind | undefined}
 */
export function previewKind(body, picture) {
  if (body.length > MOST_BYTES) return undefined;
  const kind = jpeg(body) ?? webp(body);
  if (!kind) return undefined;
  const { width, height } = kind;
  if (!width || !height || width > MOST_SIDE || height > MOST_SIDE || width > picture.width || height > picture.height) return undefined;
  const wide = Math.abs(height - (picture.height * width) / picture.width) < 1;
  const high = Math.abs(width - (picture.width * height) / picture.height) < 1;
  return wide || high ? kind : undefined;
}

/** @param {Uint8Array} b @returns {PreviewKind | undefined} by its frame's header */
function jpeg(b) {
  if (b[0] !== 0xff || b[1] !== 0xd8) return undefined;
  for (let at = 2; at + 9 < b.length && b[at] === 0xff; ) {
    const marker = b[at + 1];
    if (marker === 0xff) {
      at++;
      continue;
    }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) return { type: "image/jpeg", height: 256 * b[at + 5] + b[at + 6], width: 256 * b[at + 7] + b[at + 8] };
    at += 2 + 256 * b[at + 2] + b[at + 3];
  }
  return undefined;
}

/** @param {Uint8Array} b @returns {PreviewKind | undefined} by its first chunk */
function webp(b) {
  /** @param {number} at */
  const name = (at) => String.fromCharCode(...b.subarray(at, at + 4));
  if (b.length < 30 || name(0) !== "RIFF" || name(8) !== "WEBP") return undefined;
  const type = "image/webp";
  if (name(12) === "VP8 ") return { type, width: (b[26] | (b[27] << 8)) & 0x3fff, height: (b[28] | (b[29] << 8)) & 0x3fff };
  if (name(12) === "VP8L") {
    const bits = (b[21] | (b[22] << 8) | (b[23] << 16) | (b[24] << 24)) >>> 0;
    return { type, width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
  }
  if (name(12) === "VP8X") {
    return { type, width: 1 + (b[24] | (b[25] << 8) | (b[26] << 16)), height: 1 + (b[27] | (b[28] << 8) | (b[29] << 16)) };
  }
  return undefined;
}
