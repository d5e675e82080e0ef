/** Pending changes of the small tables, the last one of each key. What is given is copied: ours may outlive the caller's. */
import type { Table, TableChange } from "./storage.ts";

export class TableChanges {
  readonly #byKey = new Map<string, TableChange>();
  #sizeBytes = 0;

  get count(): number {
    return this.#byKey.size;
  }

  /** Bytes of keys and values held. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  put(table: Table, key: Uint8Array, value: Uint8Array | null): void {
    // Not slice(): a Buffer's slice is a view of the same memory.
    this.#set({ table, key: new Uint8Array(key), value: value === null ? null : new Uint8Array(value) });
  }

  /** Takes over everything of `newer`, which wins, and empties it. */
  absorb(newer: TableChanges): void {
    for (const change of newer.#byKey.values()) this.#set(change);
    newer.#byKey.clear();
    newer.#sizeBytes = 0;
  }

  toArray(): TableChange[] {
    return [...this.#byKey.values()];
  }

  #set(change: TableChange): void {
    const name = nameOf(change);
    const old = this.#byKey.get(name);
    if (old !== undefined) this.#sizeBytes -= sizeOf(old);
    this.#byKey.set(name, change);
    this.#sizeBytes += sizeOf(change);
  }
}

/** Table names hold no slash, so the first one ends the table; latin1 keeps every byte of the key apart. */
function nameOf(change: TableChange): string {
  const { table, key } = change;
  return `${table}/${Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1")}`;
}

function sizeOf(change: TableChange): number {
  return change.key.length + (change.value === null ? 0 : change.value.length);
}
