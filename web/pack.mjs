/**
 * `node web/pack.mjs FOLDER`: the npm package, in a folder that is not there yet; `npm pack FOLDER` makes the archive of it. The modules are as they are
 * here, with the tables, graphs and weights that they need where they look for them, and declarations of their types.
 */

import { spawnSync } from "node:child_process";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "./src/resources.js";

const PARTS = ["LICENSE", "spec/tables", "sdf_format/weights"];
const MODULES = ["README.md", "cli.mjs", "client.js", "index.js", "models.json", "sdf-image.js", "src", "worker.js"];

const [target] = process.argv.slice(2);
if (!target) {
  console.error("usage: node web/pack.mjs FOLDER");
  process.exit(2);
}
const folder = resolve(target);
const web = fileURLToPath(new URL("web/", ROOT));
await mkdir(folder); // never into what is there
for (const part of [...PARTS, ...MODULES.map((name) => `web/${name}`)]) {
  await cp(new URL(part, ROOT), join(folder, part), { recursive: true });
}
const types = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--rootDir", web, "--outDir", join(folder, "types")];
const made = spawnSync(process.execPath, [join(web, "node_modules/typescript/bin/tsc"), "-p", web, ...types], { encoding: "utf8" });
if (made.status) throw new Error(made.stdout);
for (const own of ["tests", "bench.d.mts", "cli.d.mts", "pack.d.mts", "page.d.ts"]) await rm(join(folder, "types", own), { recursive: true });
const { name, version, description, license, type, engines, dependencies } = JSON.parse(await readFile(join(web, "package.json"), "utf8"));
const exports = {
  ".": { types: "./types/index.d.ts", default: "./web/index.js" },
  "./client.js": { types: "./types/client.d.ts", default: "./web/client.js" },
  "./sdf-image.js": { types: "./types/sdf-image.d.ts", default: "./web/sdf-image.js" },
};
const sheet = { name, version, description, license, type, engines, exports, bin: { "sdf-decode": "web/cli.mjs" }, dependencies };
await writeFile(join(folder, "package.json"), `${JSON.stringify(sheet, null, 2)}\n`);
console.log(folder);
