/**
 * A process to be killed: applies entry after entry and flushes all the time, saying on its output which index is
 * durable. Entry i appends revision i + 1, sets a lease key to i, and drops the record of entry i - 40 unless i is a
 * multiple of 3; every 7th entry has no effects at all. Run as `kill-child.ts <directory>`.
 */
import { writeSync } from "node:fs";
import { Backend } from "../backend.ts";
import { LmdbStorage } from "../lmdb-storage.ts";

export const LEASE_KEY: Uint8Array = Buffer.from("last");

/** What storage holds when entries up to `index` are durable: "main/sub text". */
export function expectedRecords(index: number): string[] {
  const records: string[] = [];
  for (let i = 1; i <= index; i++) {
    const isDropped = i + 40 <= index && hasEffects(i + 40) && (i + 40) % 3 !== 0;
    if (hasEffects(i) && !isDropped) records.push(`${i + 1}/0 entry ${i}`);
  }
  return records;
}

export function expectedLease(index: number): string {
  let last = index;
  while (!hasEffects(last)) last--;
  return String(last);
}

function hasEffects(index: number): boolean {
  return index % 7 !== 0;
}

function applyEntry(backend: Backend, index: number): void {
  if (hasEffects(index)) {
    const bytes = Buffer.from(`entry ${index}`);
    backend.append(index + 1, 0, false, bytes, 0, bytes.length);
    backend.put("lease", LEASE_KEY, Buffer.from(String(index)));
    if (index > 40 && index % 3 !== 0 && hasEffects(index - 40)) backend.drop(index - 39, 0, false);
  }
  backend.applied(index, 1);
}

function run(directory: string): void {
  const backend = new Backend({ storage: new LmdbStorage({ directory }), chunkBytes: 4096, cacheBytes: 16_384 });
  const round = (): void => {
    for (let i = 0; i < 50; i++) applyEntry(backend, backend.appliedIndex + 1);
    backend.flush((error) => {
      if (error !== null) throw error;
      writeSync(1, `${backend.flushedIndex}\n`);
      round();
    });
  };
  round();
}

if (import.meta.main) run(process.argv[2]!);
