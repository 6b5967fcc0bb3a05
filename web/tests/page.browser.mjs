/**
 * The page in a real browser. tests/test_web.py serves it and says where:
 * SDF_PAGE, the address of the page; SDF_FILES, a folder of files; SDF_OUT, where downloads go; SDF_CHROMIUM, the browser.
 */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

/** @param {string} name */
const setting = (name) => {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
};
const PAGE = setting("SDF_PAGE");
const FILES = setting("SDF_FILES");
const OUT = setting("SDF_OUT");
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];
const PATIENCE = 120_000;

/** @type {import("playwright-core").BrowserContext} */
let browser;
/** @type {import("playwright-core").Page} */
let page;
/** @type {import("playwright-core").Request[]} */
const requests = [];
/** @type {string[]} */
const complaints = [];
/** Dialogs for a file that the page asked for. */
let choosers = 0;

before(async () => {
  browser = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "sdf-page-")), {
    executablePath: setting("SDF_CHROMIUM"),
    headless: true,
    args: FLAGS,
    viewport: { width: 1200, height: 800 },
    acceptDownloads: true,
  });
  page = browser.pages()[0] ?? (await browser.newPage());
  page.setDefaultTimeout(PATIENCE);
  page.on("filechooser", () => choosers++);
  browser.on("request", (request) => requests.push(request));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(PAGE);
  // What the canvas shows, in its order.
  await page.evaluate(() => {
    const seen = /** @type {string[]} */ ([]);
    Object.assign(globalThis, { seen });
    const canvas = /** @type {HTMLElement} */ (document.getElementById("canvas"));
    new MutationObserver(() => seen.push(canvas.dataset.state ?? "")).observe(canvas, { attributeFilter: ["data-state"] });
  });
});
after(() => browser.close());

/** Forgets what is shown, so that `finished` waits for what comes. */
const forget = () =>
  page.evaluate(() => {
    /** @type {any} */ (globalThis).seen?.splice(0);
    delete (/** @type {HTMLElement} */ (document.getElementById("canvas")).dataset.state);
    /** @type {HTMLElement} */ (document.getElementById("problem")).hidden = true;
  });

/** @param {string} name of a file in SDF_FILES */
async function open(name) {
  await forget();
  await page.setInputFiles("#file", join(FILES, `${name}.sdf`));
}

/** A picture or a problem. @returns {Promise<string>} "picture", or the problem's class */
async function finished() {
  const handle = await page.waitForFunction(() => {
    const [canvas, problem, bar] = ["canvas", "problem", "bar"].map((id) => /** @type {HTMLElement} */ (document.getElementById(id)));
    if (!bar.hidden) return undefined;
    if (!problem.hidden) return problem.dataset.code;
    return canvas.dataset.state === "picture" ? "picture" : undefined;
  });
  return /** @type {string} */ (await handle.jsonValue());
}

for (const name of ["plain", "mode-l", "mode-la", "mode-rgba", "size-17x15", "trellis-12", "pfr-12", "scene"]) {
  test(`opens ${name}, and downloads it as PNG`, async () => {
    await open(name);
    assert.equal(await finished(), "picture");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
    assert.equal(download.suggestedFilename(), `${name}.png`);
    await download.saveAs(join(OUT, `${name}.png`));
    assert.ok(await page.isVisible("#mark"));
  });
}

test("the canvas has the pixels of the PNG", async () => {
  await open("plain");
  await finished();
  const png = readFileSync(join(OUT, "plain.png")).toString("base64");
  const different = await page.evaluate(async (base64) => {
    const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))]));
    const own = /** @type {HTMLCanvasElement} */ (document.getElementById("canvas"));
    const other = new OffscreenCanvas(own.width, own.height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (other.getContext("2d"));
    context.drawImage(bitmap, 0, 0);
    const [a, b] = [/** @type {CanvasRenderingContext2D} */ (own.getContext("2d")), context].map((c) => c.getImageData(0, 0, own.width, own.height).data);
    return [a.length, a.reduce((worst, value, n) => Math.max(worst, Math.abs(value - b[n])), 0)];
  }, png);
  assert.deepEqual(different, [40 * 24 * 4, 0]);
});

test("shows the preview first, then the picture getting clearer", async () => {
  await open("preview-webp");
  assert.equal(await finished(), "picture");
  const all = await page.evaluate(() => /** @type {{seen: string[]}} */ (/** @type {unknown} */ (globalThis)).seen);
  const seen = all.filter(Boolean);
  assert.equal(seen[0], "preview");
  assert.ok(seen.includes("progress"), seen.join());
  assert.equal(seen[seen.length - 1], "picture");
});

test("shows header fields and metadata", async () => {
  await open("metadata-zstandard");
  assert.equal(await finished(), "picture");
  const fields = await page.innerText("#fields");
  for (const text of ["40 × 24 pixels, RGB", "sdf-tiny-1", "law, 6 steps", "tree, 12 bits"]) assert.ok(fields.includes(text), `${text} in ${fields}`);
  const metadata = await page.innerText("#metadata");
  for (const text of ["Comment", "again and again", "EXIF", "ICC"]) assert.ok(metadata.includes(text), `${text} in ${metadata}`);
  assert.match((await page.textContent("#metadata pre")) ?? "", /compositeWithTrainedAlgorithmicMedia/);
});

for (const [name, code, words] of [
  ["refused-signature-text", "bad", ["damaged, or no SDF file", "byte 0"]],
  ["refused-crc-payload", "bad", ["checksum", "byte 29", "§3.2"]],
  ["refused-model-unknown", "unsupported", ["another decoder", "byte 10"]],
  ["palette-16-2", "missing-model", ["model that is not here"]],
  ["refused-truncated-payload", "truncated", ["ends early", "byte 29"]],
]) {
  test(`says what is wrong with ${name}`, async () => {
    await open(/** @type {string} */ (name));
    assert.equal(await finished(), code);
    const said = await page.innerText("#problem");
    for (const word of words) assert.ok(said.includes(word), `${word} in ${said}`);
    assert.ok(!(await page.isVisible("#canvas")) && !(await page.isVisible("#mark")));
    assert.ok(await page.isDisabled("#save"));
  });
}

test("shows what is there of a truncated file on request", async () => {
  await open("refused-truncated-payload");
  await finished();
  await Promise.all([page.click("#anyway"), page.waitForSelector("#problem", { state: "hidden" })]);
  assert.equal(await finished(), "picture");
});

test("a file that is dropped is opened", async () => {
  const bytes = Array.from(readFileSync(join(FILES, "seed.sdf")));
  await forget();
  await page.evaluate((bytes) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([Uint8Array.from(bytes)], "dropped.sdf"));
    dispatchEvent(new DragEvent("drop", { dataTransfer }));
  }, bytes);
  assert.equal(await finished(), "picture");
  assert.equal(await page.innerText("#name"), "dropped.sdf");
});

test("works by keyboard", async () => {
  const width = () => page.evaluate(() => /** @type {HTMLElement} */ (document.getElementById("canvas")).getBoundingClientRect().width);
  await page.keyboard.press("1");
  assert.equal(await width(), 40);
  await page.keyboard.press("+");
  assert.equal(await width(), 80);
  await page.keyboard.press("-");
  await page.keyboard.press("-");
  assert.equal(await width(), 20);
  await page.keyboard.press("0");
  assert.equal(await width(), 320);
  await page.keyboard.press("i");
  assert.ok(!(await page.isVisible("#details")));
  await page.keyboard.press("i");
  assert.ok(await page.isVisible("#details"));
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("s")]);
  assert.equal(download.suggestedFilename(), "dropped.png");
  const before = choosers;
  await page.keyboard.press("o");
  for (let k = 0; k < 100 && choosers === before; k++) await page.waitForTimeout(100);
  assert.equal(choosers, before + 1);
  // Every button is reached by the tab key, and says what it does.
  await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement)?.blur());
  const reached = [];
  for (let k = 0; k < 12; k++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => document.activeElement?.id));
  }
  for (const id of ["file", "out", "fit", "full", "in", "save", "toggle", "stage"]) assert.ok(reached.includes(id), `${id} in ${reached}`);
});

test("a large file does not freeze the tab, and can be stopped", async () => {
  /** Longest time between two turns of the page's own loop, and the whole [ms]. */
  const watch = () =>
    page.evaluate(() => {
      const state = { longest: 0, ticks: 0, began: performance.now(), last: performance.now() };
      Object.assign(globalThis, { watched: state });
      const tick = () => {
        const now = performance.now();
        state.longest = Math.max(state.longest, now - state.last);
        state.last = now;
        state.ticks++;
        setTimeout(tick, 10);
      };
      tick();
    });
  await open("large");
  await watch();
  assert.equal(await finished(), "picture");
  const { longest, ticks, whole } = await page.evaluate(() => {
    const { watched } = /** @type {{watched: {longest: number, ticks: number, began: number}}} */ (/** @type {unknown} */ (globalThis));
    return { ...watched, whole: performance.now() - watched.began };
  });
  // Two predictions: in the page itself each would stop it for about half of the time.
  assert.ok(longest < whole / 4 && ticks > 20, `${longest} of ${whole} ms, ${ticks} turns`);
  await open("large");
  await page.waitForSelector("#bar:not([hidden])");
  const began = Date.now();
  await page.keyboard.press("Escape");
  assert.equal(await finished(), "stopped");
  assert.ok(Date.now() - began < whole / 2);
  await open("plain");
  assert.equal(await finished(), "picture");
});

test("opens by link", async () => {
  await page.goto(`${PAGE}?threads=1&src=${encodeURIComponent(setting("SDF_LINK"))}`);
  assert.equal(await finished(), "picture");
  assert.equal(await page.title(), "plain.sdf - SDF viewer");
  await page.goto(`${PAGE}?src=nothing.sdf`);
  assert.equal(await finished(), "error");
  assert.match(await page.innerText("#problem"), /404/);
  complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("404")));
});

test("<sdf-image> shows a file in any page", async () => {
  await page.goto(PAGE);
  const found = await page.evaluate(async (src) => {
    await import(new URL("sdf-image.js", location.href).href);
    const image = /** @type {any} */ (document.createElement("sdf-image"));
    image.alt = "";
    image.setAttribute("alt", "a picture");
    image.setAttribute("threads", "1");
    let turns = 0;
    image.addEventListener("progress", () => turns++);
    const end = new Promise((resolve, reject) => {
      image.addEventListener("load", resolve);
      image.addEventListener("error", (/** @type {CustomEvent} */ event) => reject(event.detail));
    });
    document.body.append(image);
    image.setAttribute("src", src);
    await end;
    const { width, height } = image.canvas;
    const failed = new Promise((resolve) => image.addEventListener("error", (/** @type {CustomEvent} */ event) => resolve(event.detail.code)));
    const label = image.getAttribute("aria-label");
    const complete = image.complete;
    image.setAttribute("src", "models.json");
    return { width, height, turns, label, complete, failed: await failed, note: image.note.textContent };
  }, setting("SDF_LINK"));
  assert.deepEqual([found.width, found.height, found.label, found.complete, found.failed], [40, 24, "a picture", true, "bad"]);
  assert.ok(found.turns >= 6);
  assert.match(found.note, /a picture \[.*signature/);
});

test("nothing leaves the browser", () => {
  const { origin } = new URL(PAGE);
  for (const request of requests) {
    const url = new URL(request.url());
    assert.ok(url.origin === origin || url.protocol === "blob:" || url.protocol === "data:", request.url());
    assert.equal(request.method(), "GET");
    assert.equal(request.postData(), null);
  }
  assert.ok(requests.length > 10);
  assert.deepEqual(complaints, []);
});
