/** What a file says of itself, as `sdf info --json` has it (spec/info.schema.json). */

import { marked, statedSource } from "./mark.js";
import { isSound, latentShape } from "./header.js";
import { expand } from "./schedule.js";
import { CHUNKS, MODELS } from "./tables.js";

/** @typedef {import("./container.js").SdfFile} SdfFile */

/**
 * @param {SdfFile} file
 * @returns {Record<string, unknown>}
 */
export function describe(file) {
  const { header, bytes, chunks, payload, metadata } = file;
  const { width, height, parameters } = header;
  const size = isSound(header)
    ? { samples: width, sample_rate: height, channels: header.mode === "mono" ? 1 : 2, seconds: width / height, bits_per_second: Math.round((8 * bytes * height) / width) }
    : { width, height, bits_per_pixel: Math.round((8e4 * bytes) / (width * height)) / 1e4 };
  const xmp = metadata.xmp && new TextDecoder().decode(metadata.xmp);
  return {
    bytes,
    version: file.version.join("."),
    ...size,
    mode: header.mode,
    kind: parameters.kind,
    model: MODELS[header.model]?.name ?? "unregistered (0)",
    weights: header.weights,
    ...(parameters.kind === "diffc" ? describeDiffc(file, parameters) : describeQuantised(parameters)),
    chunks: chunks.map(({ type, offset, body }) => ({
      type,
      name: CHUNKS[type] ?? "unknown",
      ancillary: type >= "a",
      offset,
      length: body.length,
      crc: "ok",
    })),
    overhead_bytes: bytes - payload.body.length,
    digital_source_type: statedSource(marked(xmp)) ?? null,
    metadata: describeMetadata(metadata),
  };
}

/** @param {SdfFile} file @param {import("./header.js").Diffc} parameters */
function describeDiffc({ header, stated }, parameters) {
  const { form, ...fields } = parameters.schedule;
  const model = MODELS[header.model];
  const denoiser = parameters.denoiser ?? (model && { name: model.denoiser, steps: model.denoiser_steps });
  /** @type {{log_snr: number, sigma: number, bits: number}[] | undefined} */
  let schedule;
  if (model && !isSound(header)) {
    const shape = latentShape(header, model);
    schedule = expand(parameters.schedule, 8 * stated, shape.height * shape.width).map(({ level, bits }) => ({ log_snr: level, sigma: Math.exp(-level / 2), bits }));
  }
  return {
    seed: parameters.seed,
    coder: parameters.coder,
    coder_bits: parameters.coderBits,
    denoiser: denoiser?.name ?? null,
    denoiser_steps: denoiser?.steps ?? null,
    prompt: parameters.prompt,
    guidance: parameters.guidance,
    schedule_form: form,
    schedule_fields: fields,
    ...(schedule && { schedule }),
  };
}

/** @param {import("./header.js").Palette | import("./header.js").Lowbit} parameters */
function describeQuantised(parameters) {
  const { cleanup } = parameters;
  const own =
    parameters.kind === "palette"
      ? { colours: parameters.colours, groups: parameters.groups, palette_step: 2 ** (parameters.step / 8), dithering: parameters.dithering }
      : { levels: parameters.levels, contexts: parameters.contexts };
  const end = cleanup ? { cleanup_steps: cleanup.denoiser.steps, cleanup_log_snr: cleanup.level, cleanup_gain: cleanup.gain } : {};
  return { ...own, cleanup: cleanup?.denoiser.name ?? null, ...end };
}

/** @param {import("./container.js").Metadata} metadata */
function describeMetadata({ exif, icc, xmp, texts }) {
  return {
    ...(exif && { exif: exif.length }),
    ...(icc && { icc: icc.length }),
    ...(xmp && { xmp: xmp.length }),
    ...(texts.length && { text: Object.fromEntries(texts.map(({ key, value }) => [key, value])) }),
  };
}
