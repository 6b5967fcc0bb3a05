/**
 * A decoder that stays: for every line `IN<tab>OUT` on stdin it decodes a file to PNG and answers with a line of JSON, the exit status that
 * cli.mjs would have and what it would say. A process a file takes seconds to start.
 */

import { readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { SdfError, decode, encodePng } from "../index.js";
import { findFolder } from "../src/folders.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  const [source, target] = line.split("\t");
  /** @type {{status: number, said: string}} */
  let answer = { status: 0, said: "" };
  try {
    const picture = await decode(new Uint8Array(await readFile(source)), { device: "wasm", threads: 1, findFolder });
    await writeFile(target, await encodePng(picture));
  } catch (error) {
    answer = { status: error instanceof SdfError ? error.status : 2, said: String(error) };
  }
  console.log(JSON.stringify(answer));
}
process.exit(0);
