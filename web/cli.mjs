#!/usr/bin/env node
/**
 * `node web/cli.mjs IN OUT` writes the picture of a file as PNG; `node web/cli.mjs --info IN` prints what a file says of itself.
 * Exit status as in §9: 0, 1 bad, 3 unsupported, 4 missing model, 5 truncated; 2 for anything else.
 */

import { readFile, rename, writeFile } from "node:fs/promises";
import { decode, describe, encodePng, parse } from "./index.js";
import { SdfError } from "./src/errors.js";
import { findFolder } from "./src/folders.mjs";

const USAGE = "usage: node web/cli.mjs IN OUT.png\n       node web/cli.mjs --info IN";

/** @param {string[]} words @returns {Promise<number>} exit status */
async function main(words) {
  const info = words[0] === "--info";
  const [source, target] = info ? words.slice(1) : words;
  if (!source || !target === !info || words.length !== 2) {
    console.error(USAGE);
    return 2;
  }
  try {
    const bytes = new Uint8Array(await readFile(source));
    if (info) {
      console.log(JSON.stringify({ file: source, valid: true, errors: [], ...describe(parse(bytes)) }));
      return 0;
    }
    const picture = await decode(bytes, { device: "wasm", threads: Number(process.env.SDF_THREADS) || 1, findFolder });
    // The name is taken when all of the file is there.
    await writeFile(`${target}.part`, await encodePng(picture));
    await rename(`${target}.part`, target);
    return 0;
  } catch (error) {
    console.error(`${source}: ${error instanceof SdfError ? error : error instanceof Error ? error.message : error}`);
    return error instanceof SdfError ? error.status : 2;
  }
}

process.exit(await main(process.argv.slice(2)));
