/** Networks on ONNX Runtime Web: WebGPU where there is one that works, otherwise WebAssembly. */

import { MissingModel } from "./errors.js";
import { STREAM, normals } from "./philox.js";
import { resource } from "./resources.js";
import { sha256 } from "./bytes.js";
import { widenedFile } from "./safetensors.js";

/** @typedef {typeof import("onnxruntime-common")} Runtime */
/** @typedef {"auto" | "webgpu" | "wasm"} Device */
/** @typedef {{id: number, name: string, graph: string, wide: string, weights: string, sha256: string, margin: number, grid: number, probe: {height: number, width: number, sigma: number, clean: number[]}}} NetworkEntry a row of models.json */

/**
 * @typedef {object} EngineOptions
 * @property {Device} [device] auto: WebGPU if there is one that gives right numbers
 * @property {number} [threads] of WebAssembly; a page without cross-origin isolation has one
 * @property {string | URL | Runtime} [runtime] where ONNX Runtime Web's `dist` is, or the module itself
 * @property {(done: number, total: number | undefined) => void} [downloaded] bytes of the weights, as they arrive
 */

/** Where a browser finds ONNX Runtime Web if it is told nothing else. */
const DIST = new URL("../node_modules/onnxruntime-web/dist/", import.meta.url);
const TOLERANCE = 0.02;

/** Networks run here. One that is loaded is kept. */
export class Network {
  /**
   * @param {NetworkEntry} entry
   * @param {Runtime} runtime
   * @param {import("onnxruntime-common").InferenceSession} session
   * @param {Uint8Array} weights
   * @param {Exclude<Device, "auto">} device
   */
  constructor(entry, runtime, session, weights, device) {
    this.entry = entry;
    this.runtime = runtime;
    this.session = session;
    this.weights = weights;
    this.device = device;
  }

  /**
   * The posterior mean (§7).
   * @param {Float32Array<ArrayBuffer>} y channels of height x width
   * @param {number} sigma
   * @param {{channels: number, height: number, width: number}} shape height and width on the network's grid
   * @returns {Promise<Float32Array<ArrayBuffer>>}
   */
  async predict(y, sigma, { channels, height, width }) {
    const { Tensor } = this.runtime;
    const feeds = {
      y: new Tensor("float32", y, [1, channels, height, width]),
      sigma: new Tensor("float32", Float32Array.of(sigma), [1]),
    };
    const { clean } = await this.session.run(feeds);
    return /** @type {Float32Array<ArrayBuffer>} */ (await clean.getData(true));
  }

  /** The largest error at the numbers that models.json has of this network. */
  async probe() {
    const { height, width, sigma, clean } = this.entry.probe;
    const { length } = await this.shape(height, width);
    const y = Float32Array.from(normals(new Int32Array(length), 0, 0, STREAM.normals), (n) => n / 4096);
    const found = await this.predict(y, sigma, { channels: length / (height * width), height, width });
    return clean.reduce((worst, value, n) => Math.max(worst, Math.abs(value - found[n]) || (Number.isNaN(found[n]) ? Infinity : 0)), 0);
  }

  /** @param {number} height @param {number} width */
  async shape(height, width) {
    const input = this.session.inputMetadata.find(({ name }) => name === "y");
    const channels = input?.isTensor ? Number(input.shape[1]) : NaN;
    return { length: channels * height * width };
  }
}

/**
 * A network, ready to run. MissingModel if its weights are not the ones that it is to have.
 * @param {NetworkEntry} entry
 * @param {EngineOptions} [options]
 * @returns {Promise<Network>}
 */
export async function loadNetwork(entry, { device = "auto", threads, runtime, downloaded } = {}) {
  const weights = await resource(entry.weights, downloaded);
  const found = await sha256(weights);
  if (found !== entry.sha256) throw new MissingModel(`§3.3 ${entry.weights} has the hash ${found}; ${entry.sha256} is wanted`);
  /** @param {Exclude<Device, "auto">} kind */
  const start = async (kind) => {
    const ort = await loadRuntime(kind, runtime);
    ort.env.wasm.numThreads = threads ?? defaultThreads();
    ort.env.logLevel = "error";
    // The build with WebGPU cannot widen bfloat16: it gets the tensors in float32, by a graph that points at those.
    const wide = kind === "webgpu";
    const graph = await resource(wide ? entry.wide : entry.graph);
    const path = /** @type {string} */ ((wide ? entry.wide.replace(/\.onnx$/, "") : entry.weights).split("/").pop());
    const externalData = [{ path, data: wide ? widenedFile(weights) : weights }];
    const session = await ort.InferenceSession.create(graph, { executionProviders: [kind], externalData });
    return new Network(entry, ort, session, weights, kind);
  };
  if (device === "webgpu") return start("webgpu");
  if (device === "auto" && (await hasWebGpu())) {
    try {
      const network = await start("webgpu");
      if ((await network.probe()) < TOLERANCE) return network;
      await network.session.release();
    } catch {
      // A driver that does not do: WebAssembly does.
    }
  }
  return start("wasm");
}

/** Whether there is a GPU that is no emulation. */
async function hasWebGpu() {
  const gpu = /** @type {{gpu?: {requestAdapter(): Promise<{info?: {isFallbackAdapter?: boolean}} | null>}}} */ (globalThis.navigator ?? {}).gpu;
  const adapter = await gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !adapter?.info?.isFallbackAdapter;
}

/** Threads that a page may use: one, unless it is isolated from other origins; in Node all. */
function defaultThreads() {
  const cores = globalThis.navigator?.hardwareConcurrency ?? 1;
  const isolated = globalThis.crossOriginIsolated ?? true;
  return isolated ? Math.min(cores, 8) : 1;
}

/**
 * @param {Exclude<Device, "auto">} device
 * @param {EngineOptions["runtime"]} runtime
 * @returns {Promise<Runtime>}
 */
async function loadRuntime(device, runtime) {
  if (runtime && typeof runtime === "object" && !(runtime instanceof URL)) return runtime;
  if (!runtime && globalThis.process?.versions?.node) return import("onnxruntime-web");
  const dist = new URL(runtime ?? DIST, import.meta.url);
  const ort = await import(new URL(`ort.${device}.min.mjs`, dist).href);
  ort.env.wasm.wasmPaths = dist.href;
  return ort;
}
