/**
 * `node web/bench.mjs`: what decoding takes. Seconds and memory of a picture of 768x512, in Node and, where there is one, in Chromium, with one thread
 * of WebAssembly and with two. Lines of JSON. On a machine that does nothing else.
 *
 *   --predictions N   of the network, default 8; a photograph at 0.1 bits a pixel takes about 24
 *   --size WxH        default 768x512
 *   --chromium PATH   default: chromium, if it is there; "none" leaves it out
 */

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { crc32 } from "./src/bytes.js";
import { receive } from "./src/coders.js";
import { decode } from "./src/decode.js";
import { ROOT } from "./src/resources.js";

const { values: options } = parseArgs({
  options: {
    predictions: { type: "string", default: "8" },
    size: { type: "string", default: "768x512" },
    chromium: { type: "string" },
    child: { type: "string" },
  },
});
const predictions = Number(options.predictions);
const [width, height] = options.size.split("x").map(Number);
const THREADS = [1, 2];

/** A file of so many predictions: random bits, 0.1 a pixel, and the posterior mean at the end. */
function file() {
  /** @param {number} n */
  const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, n >> 7]);
  /** @param {string} type @param {number[]} body @param {number[]} [before] */
  const chunk = (type, body, before = []) => {
    const head = Uint8Array.from([type.charCodeAt(0), ...varint(body.length), ...body]);
    const crc = crc32(Uint8Array.from(before), head);
    return [...head, crc >>> 24, (crc >>> 16) & 255, (crc >>> 8) & 255, crc & 255];
  };
  const law = (predictions << 24) | (94 << 14) | (87 << 7);
  const fields = [0x01, 0x01, 0xb0, 0x50, 0x84, 0x3e, 0x10, law >>> 24, (law >>> 16) & 255, (law >>> 8) & 255, law & 255, 0x01];
  const payload = Array.from({ length: Math.floor((width * height) / 80) }, (_, n) => (Math.imul(n + 1, 2654435769) >>> 11) & 255);
  const signature = [0x89, 0x53, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a, 1, 0];
  return Uint8Array.from([...signature, ...chunk("H", [...varint(width), ...varint(height), ...fields], [1, 0]), ...chunk("D", payload)]);
}

/** @param {Record<string, unknown>} figures */
const say = (figures) => console.log(JSON.stringify(figures));
/** @param {number} n */
const rounded = (n) => Math.round(n * 1000) / 1000;

/** In this process, which is new. @param {number} threads */
async function inNode(threads) {
  const began = performance.now();
  let first = 0;
  await decode(file(), { device: "wasm", threads, onProgress: ({ done }) => void (done === 1 && (first = performance.now())) });
  const end = performance.now();
  const each = (end - first) / (predictions - 1) / 1000;
  const size = 3 * Math.ceil(width / 16) * 16 * Math.ceil(height / 16) * 16;
  const bits = new Uint8Array(1024).fill(0x5a);
  const start = performance.now();
  for (let step = 0; step < 5; step++) receive("tree", 12, { seed: 0, step, size }, bits, 0, 4000);
  say({
    where: "node",
    threads,
    size: options.size,
    predictions,
    seconds: rounded((end - began) / 1000),
    "to the first prediction": rounded((first - began) / 1000),
    "seconds a prediction": rounded(each),
    "seconds a step's z": rounded((performance.now() - start) / 5000),
    "peak MB": Math.round(process.resourceUsage().maxRSS / 1024),
  });
}

/** What this folder's pages need, isolated from other origins. @param {Uint8Array} picture */
function serve(picture) {
  /** @type {Record<string, string>} */
  const types = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json", ".wasm": "application/wasm", ".svg": "image/svg+xml" };
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://localhost").pathname.slice(1);
    try {
      const body = path === "picture.sdf" ? picture : readFileSync(new URL(path, ROOT));
      response.writeHead(200, {
        "Content-Type": types[extname(path)] ?? "application/octet-stream",
        "Content-Length": body.length,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
      });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((/** @type {(address: {url: string, close: () => void}) => void} */ resolve) =>
    server.listen(0, "127.0.0.1", () => {
      const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
      resolve({ url: `http://127.0.0.1:${port}`, close: () => server.close() });
    }),
  );
}

/** Memory of all processes of a browser [MB]: what is theirs alone, and their share of the rest. @param {string} profile */
function memoryOf(profile) {
  let kilobytes = 0;
  for (const name of readdirSync("/proc")) {
    try {
      if (!/^\d+$/.test(name) || !readFileSync(`/proc/${name}/cmdline`, "utf8").includes(profile)) continue;
      kilobytes += Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${name}/smaps_rollup`, "utf8"))?.[1] ?? 0);
    } catch {
      // A process that has ended meanwhile.
    }
  }
  return Math.round(kilobytes / 1024);
}

/** @param {string} executablePath @param {number} threads */
async function inChromium(executablePath, threads) {
  const { chromium } = await import("playwright-core");
  const { url, close } = await serve(file());
  const profile = mkdtempSync(join(tmpdir(), "sdf-bench-"));
  const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  const browser = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args: flags });
  try {
    const page = browser.pages()[0] ?? (await browser.newPage());
    let peak = 0;
    const watch = setInterval(() => (peak = Math.max(peak, memoryOf(profile))), 1000);
    const began = performance.now();
    await page.goto(`${url}/web/index.html?src=/picture.sdf&device=wasm&threads=${threads}`);
    await page.waitForFunction(() => document.getElementById("status")?.textContent?.startsWith("Prediction 1 "), null, { timeout: 0, polling: 20 });
    const first = performance.now();
    await page.waitForFunction(() => document.getElementById("canvas")?.dataset.state === "picture", null, { timeout: 0, polling: 20 });
    const end = performance.now();
    clearInterval(watch);
    say({
      where: "chromium",
      version: browser.browser()?.version() ?? execFileSync(executablePath, ["--version"], { encoding: "utf8" }).trim(),
      threads,
      size: options.size,
      predictions,
      seconds: rounded((end - began) / 1000),
      "to the first prediction": rounded((first - began) / 1000),
      "seconds a prediction": rounded((end - first) / (predictions - 1) / 1000),
      "peak MB": Math.max(peak, memoryOf(profile)),
    });
  } finally {
    await browser.close();
    close();
    rmSync(profile, { recursive: true, force: true });
  }
}

if (options.child) {
  await inNode(Number(options.child));
  process.exit(0);
}
for (const threads of THREADS) {
  spawnSync(process.execPath, [fileURLToPath(import.meta.url), "--child", String(threads), "--size", options.size, "--predictions", options.predictions], { stdio: "inherit" });
}
const browser = options.chromium ?? spawnSync("which", ["chromium"], { encoding: "utf8" }).stdout.trim();
if (browser && browser !== "none") for (const threads of THREADS) await inChromium(browser, threads);
