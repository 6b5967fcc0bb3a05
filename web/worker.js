/** The decoder in a worker of its own, so that the page goes on. client.js speaks to it. */

/**
 * Imported at run time: these modules wait for tables, and a message that comes before a worker listens is lost.
 */
const modules = Promise.all([import("./index.js"), import("./src/preview.js"), import("./src/resources.js")]);
modules.catch(() => {}); // whoever asks is told

/** @typedef {import("./index.js").Picture} Picture */
/** @typedef {{incomplete?: boolean, device?: import("./src/engine.js").Device, threads?: number, maxPixels?: number, runtime?: string}} Settings */
/** @typedef {{id: number, source: Uint8Array | string, settings: Settings} | {id: number, png: true}} Request */
/** @typedef {{name: string, code: string, message: string, offset?: number}} Problem code: class of §8.1, or "error" */
/** @typedef {{info: Record<string, any>, xmp: string}} About info: as describe() has it; xmp: with the mark */

/**
 * @typedef {{id: number} & (
 *   | {kind: "arriving", done: number, total: number | undefined}
 *   | {kind: "preview", bitmap: ImageBitmap, width: number, height: number}
 *   | ({kind: "file"} & About)
 *   | {kind: "loading", done: number, total: number | undefined}
 *   | {kind: "progress", done: number, total: number, width: number, height: number, rgba?: Uint8ClampedArray<ArrayBuffer>}
 *   | {kind: "picture", width: number, height: number, mode: string, rgba: Uint8ClampedArray<ArrayBuffer>, device?: string, seconds: number}
 *   | {kind: "png", png: Uint8Array<ArrayBuffer>}
 *   | {kind: "error", problem: Problem}
 * )} Message
 */

/** A picture under way is sent at most so often [ms]. */
const PACE = 150;

/** Pictures by the request that made them: the last one only, for its PNG. @type {Map<number, Picture>} */
const pictures = new Map();

/** @param {Message} message @param {Transferable[]} [transfer] */
const say = (message, transfer = []) => /** @type {{postMessage(message: Message, transfer: Transferable[]): void}} */ (/** @type {unknown} */ (globalThis)).postMessage(message, transfer);

/** @param {number} id @param {Uint8Array} body @param {{width: number, height: number}} size */
async function showPreview(id, body, size) {
  const [, { previewKind }] = await modules;
  const kind = previewKind(body, size);
  if (!kind) return;
  try {
    const bitmap = await createImageBitmap(new Blob([body.slice()], { type: kind.type }));
    say({ id, kind: "preview", bitmap, width: size.width, height: size.height }, [bitmap]);
  } catch {
    // A preview that cannot be read is passed over: the picture is in the payload (§3.6).
  }
}

/** @param {number} id @param {string} url */
async function arriving(id, url) {
  const [{ peek }, , { download }] = await modules;
  /** @type {number[]} */
  const bytes = [];
  let looking = true;
  return download(url, (done, total, part) => {
    say({ id, kind: "arriving", done, total });
    if (!looking) return;
    for (const byte of part) bytes.push(byte);
    const seen = peek(Uint8Array.from(bytes));
    if (seen?.preview) void showPreview(id, seen.preview, seen.header);
    looking = !seen?.preview && bytes.length < 1 << 21;
  });
}

/** @param {Extract<Request, {source: unknown}>} request */
async function open({ id, source, settings }) {
  const [{ decode, describe, marked, peek }] = await modules;
  const bytes = typeof source === "string" ? await arriving(id, source) : source;
  if (typeof source !== "string") {
    const seen = peek(bytes);
    if (seen?.preview) await showPreview(id, seen.preview, seen.header);
  }
  let last = -Infinity;
  let began = performance.now();
  const picture = await decode(bytes, {
    ...settings,
    onFile(file) {
      const { xmp } = file.metadata;
      say({ id, kind: "file", info: describe(file), xmp: marked(xmp && new TextDecoder().decode(xmp)) });
    },
    downloaded: (done, total) => say({ id, kind: "loading", done, total }),
    async onProgress({ done, total, picture: soFar, width, height }) {
      if (done === 1) began = Math.min(began, performance.now());
      const due = performance.now() - last >= PACE;
      const rgba = due ? await soFar() : undefined;
      if (due) last = performance.now();
      say({ id, kind: "progress", done, total, width, height, rgba }, rgba ? [rgba.buffer] : []);
    },
  });
  pictures.clear();
  pictures.set(id, picture);
  const { width, height, mode, rgba, device } = picture;
  say({ id, kind: "picture", width, height, mode, rgba: rgba.slice(), device, seconds: (performance.now() - began) / 1000 });
}

/** @param {unknown} error @returns {Problem} */
function problemOf(error) {
  if (!(error instanceof Error)) return { name: "Error", code: "error", message: String(error) };
  const { code, offset } = /** @type {Partial<import("./index.js").SdfError>} */ (error);
  return { name: error.name, code: typeof code === "string" ? code : "error", message: error.message, offset };
}

/** One after the other: a network works on one picture at a time. */
let queue = Promise.resolve();
addEventListener("message", (/** @type {MessageEvent<Request>} */ { data }) => {
  queue = queue.then(async () => {
    try {
      if ("source" in data) return await open(data);
      const picture = pictures.get(data.id);
      if (!picture) throw new Error("the picture is not there any more");
      const [{ encodePng }] = await modules;
      const png = await encodePng(picture);
      say({ id: data.id, kind: "png", png }, [png.buffer]);
    } catch (error) {
      say({ id: data.id, kind: "error", problem: problemOf(error) });
    }
  });
});
