/** Helpers of the backend's tests: seeded chance, record contents, and scans as readable texts. */
import type { Backend } from "../backend.ts";
import type { Storage } from "../storage.ts";

/** A small seeded generator (mulberry32). */
export class Rng {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Uniform in [0, bound). */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000) * bound);
  }
}

export function recordBytes(rng: Rng, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) bytes[i] = rng.below(256);
  return bytes;
}

export function revisionName(main: number, sub: number): string {
  return `${main}/${sub}`;
}

/** Appends a record with this text; returns its position. */
export function put(backend: Backend, main: number, sub: number, text: string, isTombstone = false): number {
  const bytes = Buffer.from(text);
  return backend.append(main, sub, isTombstone, bytes, 0, bytes.length);
}

/** Up to `limit` records from (main, sub) on as "main/sub text", with a "t" behind the revision of tombstones. */
export function collect(
  from: Backend | Storage,
  main = 0,
  sub = 0,
  limit: number = Number.POSITIVE_INFINITY,
): string[] {
  const found: string[] = [];
  from.scanRecords(main, sub, {
    visit(recordMain, recordSub, isTombstone, bytes, start, end) {
      found.push(recordText(recordMain, recordSub, isTombstone, bytes.subarray(start, end)));
      return found.length < limit;
    },
  });
  return found;
}

export function recordText(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  return `${revisionName(main, sub)}${isTombstone ? "t" : ""} ${text}`;
}
