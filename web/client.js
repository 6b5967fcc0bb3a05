/** A decoder in a worker, as a page uses it. */

/** @typedef {import("./worker.js").Message} Message */
/** @typedef {import("./worker.js").Problem} Problem */
/** @typedef {import("./worker.js").Settings} Settings */
/** @typedef {Extract<Message, {kind: "picture"}>} Done */
/** @typedef {(message: Message) => void} Listener */

/** A file that cannot be shown. `code` is its class (§8.1), or "error". */
export class DecodeError extends Error {
  /** @param {Problem} problem */
  constructor({ message, code, offset }) {
    super(message);
    this.name = "DecodeError";
    this.code = code;
    this.offset = offset;
  }
}

/** Decodes one file after the other. */
export class Client {
  /** @type {Worker | undefined} */
  #worker;
  #next = 0;
  /** @type {Map<number, {listen: Listener, resolve: (message: any) => void, reject: (error: Error) => void}>} */
  #open = new Map();

  #start() {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("message", (/** @type {MessageEvent<Message>} */ { data }) => {
      const request = this.#open.get(data.id);
      if (!request) return;
      if (data.kind === "error") request.reject(new DecodeError(data.problem));
      else if (data.kind === "picture" || data.kind === "png") request.resolve(data);
      else return request.listen(data);
      this.#open.delete(data.id);
    });
    worker.addEventListener("error", (event) => {
      const message = event.message || "the decoder could not be loaded";
      this.#end(new DecodeError({ name: "Error", code: "error", message }));
    });
    return worker;
  }

  /** @param {Error} error that everything under way ends with */
  #end(error) {
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const { reject } of this.#open.values()) reject(error);
    this.#open.clear();
  }

  /**
   * @param {object} request
   * @param {Listener} listen
   * @param {number} id
   * @param {Transferable[]} transfer
   * @returns {Promise<any>}
   */
  #ask(request, listen, id, transfer) {
    return new Promise((resolve, reject) => {
      this.#open.set(id, { listen, resolve, reject });
      this.#worker ??= this.#start();
      this.#worker.postMessage({ id, ...request }, transfer);
    });
  }

  /**
   * A file's picture. DecodeError says what is wrong with one.
   * @param {Uint8Array | string | URL} source bytes, or an address
   * @param {Listener} [listen] told what is known on the way: arriving, preview, file, loading, progress
   * @param {Settings} [settings]
   * @returns {Promise<Done>}
   */
  async decode(source, listen = () => {}, settings = {}) {
    const bytes = source instanceof Uint8Array;
    const id = this.#next++;
    return this.#ask({ source: bytes ? source : new URL(source, document.baseURI).href, settings }, listen, id, []);
  }

  /**
   * The last picture as a PNG file, with its metadata and its mark.
   * @param {number} id of its message
   * @returns {Promise<Blob>}
   */
  async png(id) {
    const { png } = await this.#ask({ png: true }, () => {}, id, []);
    return new Blob([png], { type: "image/png" });
  }

  /** Ends what is under way. */
  stop() {
    if (this.#open.size) this.#end(new DecodeError({ name: "Stopped", code: "stopped", message: "stopped" }));
  }
}

/**
 * Draws a message with pixels, or a preview, into a canvas of the picture's size.
 * @param {HTMLCanvasElement} canvas
 * @param {Message} message
 */
export function draw(canvas, message) {
  if (message.kind !== "preview" && message.kind !== "progress" && message.kind !== "picture") return;
  const { width, height } = message;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  if (message.kind === "preview") context.drawImage(message.bitmap, 0, 0, width, height);
  else if (message.rgba) context.putImageData(new ImageData(message.rgba, width, height), 0, 0);
}
