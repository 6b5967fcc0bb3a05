/** The page: opens a file, shows it getting clearer, says what is in it and what is wrong with it. */

import { Client, DecodeError, draw } from "./client.js";

/** @template {HTMLElement} T @param {string} id @returns {T} */
const element = (id) => /** @type {T} */ (document.getElementById(id));
const canvas = /** @type {HTMLCanvasElement} */ (element("canvas"));
const stage = element("stage");
const progress = /** @type {HTMLProgressElement} */ (element("progress"));
const chooser = /** @type {HTMLInputElement} */ (element("file"));
const button = (/** @type {string} */ id) => /** @type {HTMLButtonElement} */ (element(id));

const client = new Client();
const parameters = new URLSearchParams(location.search);

/** @type {{source: Uint8Array | string, name: string} | undefined} */
let current;
/** Counts what was opened: what comes late is dropped. */
let opened = 0;
/** Of the decoded picture, for its PNG. @type {number | undefined} */
let finished;
/** Pixels of the screen a pixel; undefined fits the window. @type {number | undefined} */
let zoom;

const TITLES = /** @type {Record<string, string>} */ ({
  bad: "This file is damaged, or no SDF file",
  truncated: "This file ends early",
  unsupported: "This file needs another decoder",
  "missing-model": "This file needs a model that is not here",
  stopped: "Stopped",
  error: "This did not work",
});

/** @param {number} bytes */
const size = (bytes) => (bytes < 1000 ? `${bytes} bytes` : bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/**
 * @param {Uint8Array | string} source bytes, or an address
 * @param {string} name
 * @param {boolean} [incomplete]
 */
async function open(source, name, incomplete = false) {
  client.stop();
  const turn = ++opened;
  current = { source, name };
  finished = undefined;
  zoom = undefined;
  element("name").textContent = name;
  document.title = `${name} - SDF viewer`;
  for (const id of ["empty", "problem", "canvas", "mark"]) element(id).hidden = true;
  for (const id of ["fields", "metadata"]) element(id).replaceChildren();
  enable();
  status("Opening");
  element("bar").hidden = false;
  try {
    const device = /** @type {import("./worker.js").Settings["device"]} */ (parameters.get("device") ?? undefined);
    const threads = Number(parameters.get("threads")) || undefined;
    const picture = await client.decode(source, (message) => turn === opened && show(message), { incomplete, device, threads });
    if (turn !== opened) return;
    show(picture);
    finished = picture.id;
    const { seconds, device: ran } = picture;
    addFields([["decoded in", `${seconds.toFixed(1)} s${ran ? `, ${ran === "webgpu" ? "WebGPU" : "WebAssembly"}` : ""}`]]);
    if (incomplete) addFields([["note", "not the whole file: what is there of it"]]);
  } catch (error) {
    if (turn === opened) complain(error instanceof Error ? error : new Error(String(error)));
  }
  if (turn !== opened) return;
  element("bar").hidden = true;
  enable();
}

/** @param {string} text @param {number} [share] 0 to 1 */
function status(text, share) {
  element("status").textContent = text;
  if (share === undefined) progress.removeAttribute("value");
  else progress.value = share;
}

/** @param {import("./worker.js").Message} message */
function show(message) {
  if (message.kind === "arriving") status(`Opening: ${size(message.done)}`, message.total && message.done / message.total);
  if (message.kind === "loading") status(`Loading the model: ${size(message.done)}`, message.total && message.done / message.total);
  if (message.kind === "file") describe(message);
  if (message.kind === "progress") status(`Prediction ${message.done} of ${message.total}`, message.done / message.total);
  draw(canvas, message);
  const drawn = message.kind === "preview" || message.kind === "picture" || (message.kind === "progress" && message.rgba);
  if (!drawn) return;
  canvas.hidden = false;
  element("mark").hidden = false;
  canvas.setAttribute("aria-label", `${current?.name}, ${canvas.width} x ${canvas.height} pixels`);
  canvas.dataset.state = message.kind;
  place();
  enable();
}

/** @param {[string, string | undefined][]} rows */
function addFields(rows) {
  for (const [name, value] of rows) {
    if (value === undefined) continue;
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, text.textContent] = [name, value];
    element("fields").append(term, text);
  }
}

/** @param {import("./worker.js").About} about */
function describe({ info, xmp }) {
  const steps = info.schedule?.length;
  /** @type {[string, string | undefined][]} */
  const rows = [
    ["size", info.width && `${info.width} × ${info.height} pixels, ${info.mode}`],
    ["sound", info.samples && `${info.seconds.toFixed(1)} s, ${info.sample_rate} samples a second, ${info.mode}`],
    ["file", info.width ? `${size(info.bytes)}, ${info.bits_per_pixel} bits a pixel` : size(info.bytes)],
    ["version", info.version],
    ["kind", info.kind],
    ["model", info.model],
    ["weights", info.weights.length > 8 ? `${info.weights.slice(0, 8)}…` : info.weights],
    ["schedule", info.schedule_form && `${info.schedule_form}${steps ? `, ${steps} steps` : ""}`],
    ["last level", steps && `σ = ${info.schedule[steps - 1].sigma.toFixed(3)}`],
    ["coder", info.coder && `${info.coder}, ${info.coder_bits} bits`],
    ["seed", info.seed?.toString()],
    ["denoiser", info.denoiser && `${info.denoiser}, ${info.denoiser_steps} step${info.denoiser_steps === 1 ? "" : "s"}`],
    ["prompt", info.prompt || undefined],
    ["colours", info.colours && `${info.colours} in ${info.groups} group${info.groups === 1 ? "" : "s"}`],
    ["levels", info.levels && `${info.levels}, ${info.contexts}`],
  ];
  addFields(rows);
  const { text = {}, ...sizes } = info.metadata;
  const parts = [];
  const entries = [...Object.entries(text), ...Object.entries(sizes).map(([name, bytes]) => [name.toUpperCase(), size(Number(bytes))])];
  if (entries.length) {
    const list = document.createElement("dl");
    for (const [name, value] of entries) {
      const [term, content] = [document.createElement("dt"), document.createElement("dd")];
      [term.textContent, content.textContent] = [name, String(value)];
      list.append(term, content);
    }
    parts.push(list);
  }
  const packet = document.createElement("details");
  const [summary, pre] = [document.createElement("summary"), document.createElement("pre")];
  summary.textContent = "XMP, with the mark";
  pre.textContent = xmp;
  packet.append(summary, pre);
  const title = document.createElement("h2");
  title.textContent = "Metadata";
  element("metadata").replaceChildren(title, ...parts, packet);
}

/** @param {Error} error */
function complain(error) {
  const code = error instanceof DecodeError ? error.code : "error";
  const offset = error instanceof DecodeError ? error.offset : undefined;
  const [title, what, where] = ["h2", ".what", ".where"].map((name) => /** @type {HTMLElement} */ (element("problem").querySelector(name)));
  title.textContent = TITLES[code] ?? TITLES.error;
  const message = error.message.replace(/^(§|table) ?([\d.]+):? /, "");
  what.textContent = code === "stopped" ? "The decoding was stopped." : `${message[0].toUpperCase()}${message.slice(1)}.`;
  const clause = /^(§|table )([\d.]+)/.exec(error.message)?.[0];
  where.textContent = [offset !== undefined && `byte ${offset} of the file`, clause && `${clause} of the specification`].filter(Boolean).join("; ");
  element("problem").dataset.code = code;
  element("problem").hidden = false;
  button("anyway").hidden = code !== "truncated";
  if (code !== "stopped") canvas.hidden = true;
  if (canvas.hidden) element("mark").hidden = true;
}

function enable() {
  const shown = !canvas.hidden;
  for (const id of ["in", "out", "fit", "full"]) button(id).disabled = !shown;
  button("save").disabled = finished === undefined;
}

/** The canvas at its zoom. */
function place() {
  const ratio = devicePixelRatio || 1;
  const fit = Math.min((stage.clientWidth - 32) / canvas.width, (stage.clientHeight - 32) / canvas.height);
  // A small picture is enlarged by whole numbers, so that its pixels stay squares.
  const scale = zoom === undefined ? (fit * ratio >= 2 ? Math.min(8, Math.floor(fit * ratio)) / ratio : Math.min(fit, 1)) : zoom / ratio;
  canvas.style.width = `${canvas.width * scale}px`;
  canvas.style.height = `${canvas.height * scale}px`;
  canvas.classList.toggle("large", scale * ratio >= 2);
  return scale * ratio;
}

/** @param {number | undefined} wanted */
function zoomTo(wanted) {
  if (canvas.hidden) return;
  zoom = wanted && Math.min(32, Math.max(1 / 32, wanted));
  place();
}

async function save() {
  if (finished === undefined) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await client.png(finished));
  link.download = `${(current?.name ?? "picture").replace(/\.sdf$/i, "")}.png`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function toggleDetails() {
  const details = element("details");
  details.hidden = !details.hidden;
  button("toggle").setAttribute("aria-expanded", String(!details.hidden));
  if (!canvas.hidden) place();
}

/** @param {File} file */
async function openFile(file) {
  await open(new Uint8Array(await file.arrayBuffer()), file.name);
}

const ACTIONS = /** @type {Record<string, () => void>} */ ({
  o: () => chooser.click(),
  "+": () => zoomTo(place() * 2),
  "=": () => zoomTo(place() * 2),
  "-": () => zoomTo(place() / 2),
  0: () => zoomTo(undefined),
  1: () => zoomTo(1),
  s: () => void save(),
  i: toggleDetails,
  Escape: () => client.stop(),
});
const BUTTONS = { in: "+", out: "-", fit: "0", full: "1", save: "s", toggle: "i", stop: "Escape" };

for (const [id, key] of Object.entries(BUTTONS)) element(id).addEventListener("click", ACTIONS[key]);
element("anyway").addEventListener("click", () => current && void open(current.source, current.name, true));
chooser.addEventListener("change", () => {
  const [file] = chooser.files ?? [];
  chooser.value = "";
  if (file) void openFile(file);
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
stage.addEventListener(
  "wheel",
  (event) => {
    if (!event.ctrlKey || canvas.hidden) return;
    event.preventDefault();
    zoomTo(place() * (event.deltaY < 0 ? 1.25 : 0.8));
  },
  { passive: false },
);
addEventListener("resize", () => canvas.hidden || place());
for (const type of ["dragover", "dragleave", "drop"]) {
  addEventListener(type, (event) => {
    event.preventDefault();
    stage.classList.toggle("over", type === "dragover");
    const [file] = /** @type {DragEvent} */ (event).dataTransfer?.files ?? [];
    if (type === "drop" && file) void openFile(file);
  });
}

const src = parameters.get("src");
if (src) void open(new URL(src, location.href).href, decodeURIComponent(new URL(src, location.href).pathname.split("/").pop() || src));
