/**
 * The keys that hang on one lease. Most leases hold exactly one (a lock, a session, a registered service), so the first
 * key is kept by itself and a real set is made for the second: at 100,000 leases that is 20 MB less.
 *
 * A key is held as a string of one character a byte: compact, hashed once, and in an order that is the order of bytes.
 */
export class KeySet {
  #only: string | null = null;
  /** Once made it holds every key and #only is null. */
  #many: Set<string> | null = null;

  get size(): number {
    return this.#many !== null ? this.#many.size : this.#only !== null ? 1 : 0;
  }

  /** Copies the key. Adding it again changes nothing. */
  add(key: Uint8Array): void {
    const text = textOf(key);
    if (this.#many !== null) {
      this.#many.add(text);
    } else if (this.#only === null) {
      this.#only = text;
    } else if (this.#only !== text) {
      this.#many = new Set([this.#only, text]);
      this.#only = null;
    }
  }

  /** Removing an absent key changes nothing. */
  remove(key: Uint8Array): void {
    const text = textOf(key);
    if (this.#many !== null) {
      this.#many.delete(text);
      if (this.#many.size === 0) this.#many = null;
    } else if (this.#only === text) {
      this.#only = null;
    }
  }

  /**
   * Whether `holds` says so of every key, asked in no particular order until it says no. The key is buffer[0, length), lent
   * until it returns: nothing is copied or sorted, for leases may hold a million keys and be asked about at every put.
   */
  every(holds: (buffer: Uint8Array, length: number) => boolean): boolean {
    if (this.#many === null) return this.#only === null || holds(Buffer.from(this.#only, "latin1"), this.#only.length);
    let lent = Buffer.allocUnsafe(LENT_SIZE_BYTES);
    for (const text of this.#many) {
      if (text.length > lent.length) lent = Buffer.allocUnsafe(text.length * 2);
      if (!holds(lent, lent.write(text, "latin1"))) return false;
    }
    return true;
  }

  /** Fresh copies, ascending bytewise. */
  sorted(): Uint8Array[] {
    const texts = this.#many !== null ? [...this.#many].sort() : this.#only !== null ? [this.#only] : [];
    return texts.map((text) => Buffer.from(text, "latin1"));
  }
}

/** Room for a key as long as most are. */
const LENT_SIZE_BYTES = 256;

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");
}
