/**
 * `<sdf-image src="picture.sdf" alt="...">`: a picture in any page. It shows the preview at once and gets clearer as it is decoded.
 *
 * Attributes: src, alt, device ("webgpu" or "wasm"), threads. Events: progress (detail {done, total}), load, error (detail: DecodeError).
 * Property: complete. Style it like an image: width and height in CSS; parts `canvas` and `note`.
 */

import { Client, draw } from "./client.js";

const STYLE = `
  :host { display: inline-block; position: relative; max-width: 100%; line-height: 0; }
  :host([hidden]) { display: none; }
  canvas { width: 100%; height: 100%; object-fit: contain; }
  progress { position: absolute; inset: auto 0 0 0; width: 100%; height: 3px; border: 0; appearance: none; background: #0003; }
  progress::-webkit-progress-bar { background: transparent; }
  progress::-webkit-progress-value { background: #4c8dff; }
  progress::-moz-progress-bar { background: #4c8dff; }
  [part=note] { font: 14px/1.4 system-ui, sans-serif; padding: 0.5em; display: block; }
  [hidden] { display: none !important; }
`;
const MARK = "Detail in this picture is partly invented by a model.";

/** All elements of a page share a decoder. */
const client = new Client();

export class SdfImage extends HTMLElement {
  static observedAttributes = ["src", "alt"];
  /** Whether the picture is decoded. */
  complete = false;
  /** Counts what was asked for: what comes late is dropped. */
  #asked = 0;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = `<style>${STYLE}</style><canvas part="canvas" width="1" height="1"></canvas><progress max="1"></progress><span part="note" hidden></span>`;
    this.canvas = /** @type {HTMLCanvasElement} */ (root.querySelector("canvas"));
    this.progress = /** @type {HTMLProgressElement} */ (root.querySelector("progress"));
    this.note = /** @type {HTMLElement} */ (root.querySelector("span"));
  }

  /** @param {string} name @param {string | null} before @param {string | null} value */
  attributeChangedCallback(name, before, value) {
    if (name === "alt") this.#label();
    else if (before !== value) void this.#load(value);
  }

  #label() {
    this.setAttribute("role", "img");
    this.setAttribute("aria-label", this.getAttribute("alt") ?? "");
    this.title = MARK;
  }

  /** @param {string | null} src */
  async #load(src) {
    const asked = ++this.#asked;
    this.complete = false;
    this.note.hidden = true;
    this.canvas.hidden = this.progress.hidden = src === null;
    this.progress.removeAttribute("value");
    this.#label();
    if (src === null) return;
    const device = /** @type {import("./worker.js").Settings["device"]} */ (this.getAttribute("device") ?? undefined);
    const threads = Number(this.getAttribute("threads")) || undefined;
    try {
      const picture = await client.decode(
        src,
        (message) => {
          if (asked !== this.#asked) return;
          draw(this.canvas, message);
          if (message.kind !== "progress") return;
          this.progress.value = message.done / message.total;
          this.dispatchEvent(new CustomEvent("progress", { detail: { done: message.done, total: message.total } }));
        },
        { device, threads },
      );
      if (asked !== this.#asked) return;
      draw(this.canvas, picture);
      this.complete = true;
      this.dispatchEvent(new Event("load"));
    } catch (error) {
      if (asked !== this.#asked) return;
      this.canvas.hidden = true;
      this.note.hidden = false;
      this.note.textContent = `${this.getAttribute("alt") ?? ""} [${/** @type {Error} */ (error).message}]`.trim();
      this.dispatchEvent(new CustomEvent("error", { detail: error }));
    }
    this.progress.hidden = true;
  }
}

customElements.define("sdf-image", SdfImage);
