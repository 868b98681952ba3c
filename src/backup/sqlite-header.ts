const MAGIC = Buffer.from('SQLite format 3\0', 'latin1');
const HEADER_BYTES = 100;

/** The first bytes of a SQLite file, in which it says how long it is. They may come in parts. */
export class SqliteHeader {
  #bytes = Buffer.alloc(0);

  /** Takes what comes next of the file; answers false when this is no SQLite file. */
  add(part: Uint8Array): boolean {
    const left = HEADER_BYTES - this.#bytes.length;
    if (left > 0) this.#bytes = Buffer.concat([this.#bytes, part.subarray(0, left)]);
    const magic = this.#bytes.subarray(0, MAGIC.length);
    return magic.equals(MAGIC.subarray(0, magic.length));
  }

  /** How many bytes the file has when it is whole; null while the header itself is not. */
  get fileBytes(): number | null {
    if (this.#bytes.length < HEADER_BYTES) return null;
    const pageSize = this.#bytes.readUInt16BE(16);
    // Two bytes cannot hold the largest size.
    return this.#bytes.readUInt32BE(28) * (pageSize === 1 ? 65536 : pageSize);
  }
}
