/** SDF files in JavaScript: see README.md of this folder. */

export { decode, samplesOf } from "./src/decode.js";
export { MAX_PIXELS, parse, peek } from "./src/container.js";
export { describe } from "./src/describe.js";
export { encodePng } from "./src/png.js";
export { marked, statedSource, INVENTED } from "./src/mark.js";
export * from "./src/errors.js";

/** @typedef {import("./src/decode.js").Picture} Picture */
/** @typedef {import("./src/decode.js").DecodeOptions} DecodeOptions */
/** @typedef {import("./src/container.js").SdfFile} SdfFile */
