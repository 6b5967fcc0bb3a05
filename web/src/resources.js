/** Files that the decoder needs: tables of the specification, graphs, weights. */

/** The folder that `web`, `spec` and `sdf_format` lie in, as in the repository. */
export const ROOT = new URL("../../", import.meta.url);

/**
 * The bytes of a file.
 * @param {string} path from the root
 * @param {(done: number, total: number | undefined) => void} [progress] bytes, while they arrive
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function resource(path, progress) {
  const url = new URL(path, ROOT);
  if (url.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    return new Uint8Array(await readFile(url));
  }
  return download(url, progress);
}

/**
 * The bytes at an address; Error with the address and the reason if they do not come.
 * @param {URL | string} url
 * @param {(done: number, total: number | undefined, part: Uint8Array) => void} [progress] part: what arrived last
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function download(url, progress) {
  const response = await fetch(url);
  if (!response.ok || !response.body) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  if (!progress) return new Uint8Array(await response.arrayBuffer());
  const length = Number(response.headers.get("Content-Length")) || undefined;
  const total = response.headers.get("Content-Encoding") ? undefined : length;
  const parts = [];
  let done = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { value } = await reader.read();
    if (!value) break;
    parts.push(value);
    done += value.length;
    progress(done, total, value);
  }
  const bytes = new Uint8Array(done);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
