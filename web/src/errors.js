/** Why a file is not shown (§8). A `status` is what a command exits with (§9). */

export class SdfError extends Error {
  /** Class of §8, as the conformance suite names it. */
  code = "error";
  status = 1;

  /**
   * @param {string} message what was found, what was wanted, and the clause
   * @param {number} [offset] of the chunk that is wrong [byte]
   */
  constructor(message, offset) {
    super(message);
    this.name = new.target.name;
    this.offset = offset;
  }

  /** The message with its class and its place. */
  toString() {
    const place = this.offset === undefined ? "" : ` (offset ${this.offset})`;
    return `${this.code}: ${this.message}${place}`;
  }
}

/** The file breaks a rule. */
export class BadFile extends SdfError {
  code = "bad";
  status = 1;
}

/** The file may be right, but this decoder does not know what it asks for. */
export class Unsupported extends SdfError {
  code = "unsupported";
  status = 3;
}

/** The weights that the file names are not here. */
export class MissingModel extends SdfError {
  code = "missing-model";
  status = 4;
}

/** The file ends early. */
export class Truncated extends SdfError {
  code = "truncated";
  status = 5;
}

/** Somebody asked for the decoding to stop. */
export class Stopped extends SdfError {
  code = "stopped";
  status = 2;
}
