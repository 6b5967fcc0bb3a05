/** The mark that a picture is partly a model's invention (§3.7). */

const IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/";
const RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
export const INVENTED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia";

const PACKET = `<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="${RDF}"></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>`;

/** What is no element: comments, sections of text, instructions; then a tag. */
const TOKENS = /<!--[^]*?-->|<!\[CDATA\[[^]*?\]\]>|<\?[^]*?\?>|<(\/?)([^\s<>/!?=]+)((?:\s+[^\s<>/=]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>/y;
const ATTRIBUTES = /([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;

/** @typedef {{stated: string | undefined, room: {at: number, empty: string | undefined} | undefined}} Reading stated: DigitalSourceType; room: where the property goes, and the name of an element that is empty there */

/**
 * What a packet states and where there is room in it. Undefined if it is no XML. A document type, which may define
 * anything, counts as none.
 * @param {string} xmp
 * @returns {Reading | undefined}
 */
function read(xmp) {
  /** @type {{name: string, spaces: Record<string, string>, source: boolean}[]} */
  const open = [];
  /** @type {Reading} */
  const reading = { stated: undefined, room: undefined };
  let elements = 0;
  let at = 0;
  while (at < xmp.length) {
    if (xmp[at] !== "<") {
      const next = xmp.indexOf("<", at);
      const text = xmp.slice(at, next < 0 ? xmp.length : next);
      // Only white space, and null characters of a padded packet, may stand outside the root.
      if (!open.length && /[^\s\ufeff\0]/.test(text)) return undefined;
      const inside = open[open.length - 1];
      if (inside?.source && text.trim()) reading.stated ??= text.trim();
      at += text.length;
      continue;
    }
    TOKENS.lastIndex = at;
    const token = TOKENS.exec(xmp);
    if (!token) return undefined;
    const [whole, closing, name, attributes, empty] = token;
    at += whole.length;
    if (name === undefined) continue;
    if (closing) {
      const element = open.pop();
      if (!element || element.name !== name || attributes || empty) return undefined;
      if (resolve(name, element.spaces) === `${RDF}RDF`) reading.room ??= { at: at - whole.length, empty: undefined };
      continue;
    }
    if (!open.length && elements++) return undefined;
    const pairs = [...attributes.matchAll(ATTRIBUTES)].map(([, key, a, b]) => /** @type {[string, string]} */ ([key, a ?? b]));
    const spaces = { ...open[open.length - 1]?.spaces };
    for (const [key, value] of pairs) {
      if (key === "xmlns") spaces[""] = value;
      else if (key.startsWith("xmlns:")) spaces[key.slice(6)] = value;
    }
    const source = resolve(name, spaces) === `${IPTC}DigitalSourceType`;
    if (source) reading.stated ??= pairs.find(([key]) => resolve(key, spaces) === `${RDF}resource`)?.[1];
    for (const [key, value] of pairs) {
      if (key.includes(":") && resolve(key, spaces) === `${IPTC}DigitalSourceType`) reading.stated ??= value;
    }
    if (!empty) open.push({ name, spaces, source });
    else if (resolve(name, spaces) === `${RDF}RDF`) reading.room ??= { at, empty: name };
  }
  return open.length || !elements ? undefined : reading;
}

/** @param {string} name @param {Record<string, string>} spaces @returns {string} the name behind its namespace */
function resolve(name, spaces) {
  const colon = name.indexOf(":");
  return (spaces[name.slice(0, Math.max(0, colon))] ?? "") + name.slice(colon + 1);
}

/**
 * DigitalSourceType that a packet states.
 * @param {string} xmp
 * @returns {string | undefined}
 */
export const statedSource = (xmp) => read(xmp)?.stated;

/**
 * A packet as it is to be shown: the file's own with the property added, or, where there is none or it cannot take the property, one of
 * the mark alone. A packet that states a source itself stays as it is.
 * @param {string | undefined} xmp
 * @returns {string}
 */
export function marked(xmp) {
  const reading = xmp === undefined ? undefined : read(xmp);
  if (xmp === undefined || !reading || (!reading.stated && !reading.room)) return marked(PACKET);
  if (reading.stated || !reading.room) return xmp;
  const { at, empty } = reading.room;
  const property = `<r:Description xmlns:r="${RDF}" r:about="" xmlns:Iptc4xmpExt="${IPTC}" Iptc4xmpExt:DigitalSourceType="${INVENTED}"/>`;
  if (empty === undefined) return xmp.slice(0, at) + property + xmp.slice(at);
  return `${xmp.slice(0, xmp.lastIndexOf("/", at))}>${property}</${empty}>${xmp.slice(at)}`;
}
