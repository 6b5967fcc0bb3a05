/** Which model a header asks for, and whether it is here (§4). */

import { MissingModel, BadFile, Unsupported } from "./errors.js";
import { isSound } from "./header.js";
import { resource } from "./resources.js";
import { MODELS } from "./tables.js";

/** @typedef {{kind: "network", entry: import("./engine.js").NetworkEntry, multiple: number, least: number}} EmbeddedModel */
/** @typedef {import("./autoencoder.js").Autoencoder | import("./pipeline.js").Pipeline} Folder */
/** @typedef {{kind: "folder", model: Folder, multiple: number, least: number}} FolderModel */
/** @typedef {EmbeddedModel | FolderModel} Model */
/** @typedef {(sha256: string) => Promise<Folder | undefined>} FindFolder by the hash of §4.4.4 and §4.5 */

/** @type {import("./engine.js").NetworkEntry[]} */
const NETWORKS = JSON.parse(new TextDecoder().decode(await resource("web/models.json"))).models;

/**
 * The model of a header (stage "model" of §8.1). MissingModel if its weights are not here.
 * @param {import("./header.js").Header} header
 * @param {FindFolder} [find]
 * @returns {Promise<Model>}
 */
export async function resolve(header, find) {
  const { model: id, weights, channels, cell, parameters } = header;
  if (id) {
    const row = MODELS[id];
    const entry = NETWORKS.find((network) => network.id === id);
    if (!entry) throw new MissingModel(`§3.3 this decoder has no weights of ${row.name}`);
    if (!entry.sha256.startsWith(weights)) {
      throw new MissingModel(`§3.3 the file needs other weights of ${row.name} (${weights}) than the ones here (${entry.sha256.slice(0, 8)})`);
    }
    return { kind: "network", entry, multiple: row.multiple, least: row.least };
  }
  if (parameters.kind === "diffc" && parameters.prompt) throw new MissingModel("§5.2 no model that takes a prompt is here");
  const model = await find?.(weights);
  if (!model) throw new MissingModel(`§3.3 no weights of the hash ${weights} are here`);
  if (model.channels !== channels || model.cell !== cell) {
    throw new BadFile(`§3.3 a latent of ${channels} channels and cells of ${cell}; its weights have ${model.channels} and ${model.cell}`);
  }
  if (isSound(header)) throw new BadFile("§4.6 a sound of a model of pictures");
  if (!model.predicts && (parameters.kind === "diffc" || parameters.cleanup)) throw new Unsupported("§4.5 an autoencoder alone predicts nothing");
  return { kind: "folder", model, multiple: model.multiple, least: model.least };
}
