/** What the tests of this room say often: entries, a small log on a simulated disk, saves that are waited for. */
import { Buffer } from "node:buffer";
import { Entry, EntryType, type HardState, type Index, index, type Term, term } from "@quorate/raft";
import { silentLog } from "@quorate/world";
import type { Replay } from "../replay.ts";
import { type OpenOptions, Wal } from "../wal.ts";
import { SeededRandom } from "./seeded-random.ts";
import { SimDisk } from "./sim-disk.ts";

export const DIRECTORY = "/data/wal";
export const SEGMENT_BYTES = 16_384;
export const METADATA: Uint8Array = Buffer.from("member 1 of cluster 2");

export function newDisk(seed: number): SimDisk {
  const disk = new SimDisk({ random: new SeededRandom(seed) });
  disk.makeDirectory("/data");
  disk.syncDirectory("/");
  return disk;
}

export function createWal(disk: SimDisk, segmentBytes: number = SEGMENT_BYTES): Wal {
  const random = new SeededRandom(7);
  return Wal.create({ disk, directory: DIRECTORY, metadata: METADATA, random, log: silentLog, segmentBytes });
}

export function openWal(disk: SimDisk, options: Partial<OpenOptions> = {}): { wal: Wal; replay: Replay } {
  return Wal.open({ disk, directory: DIRECTORY, log: silentLog, segmentBytes: SEGMENT_BYTES, ...options });
}

/** An entry whose data tells its index and term and is otherwise noise. */
export function entry(at: number, inTerm = 1, sizeBytes = 40): Entry {
  const data = Buffer.alloc(sizeBytes);
  const random = new SeededRandom(at * 1000 + inTerm);
  for (let i = 0; i < sizeBytes; i++) data[i] = random.below(256);
  return new Entry(EntryType.Normal, term(inTerm), index(at), data);
}

/** Entries `[from, until]`. */
export function entries(from: number, until: number, inTerm = 1, sizeBytes = 40): Entry[] {
  const list: Entry[] = [];
  for (let at = from; at <= until; at++) list.push(entry(at, inTerm, sizeBytes));
  return list;
}

export function hardState(inTerm: number, commit: number, vote = 3n): HardState {
  return { term: inTerm as Term, vote, commit: commit as Index };
}

/** Saves and lets the disk finish; throws what `done` was told. */
export function save(disk: SimDisk, wal: Wal, list: readonly Entry[], state: HardState | null = null): void {
  finish(disk, (done) => wal.save(list, state, done));
}

/** Runs one asynchronous call of the log to its end; throws what it was told, or if it was told nothing. */
export function finish(disk: SimDisk, start: (done: (error: Error | null) => void) => void): void {
  let outcome: Error | null | undefined;
  start((error) => {
    outcome = error;
  });
  disk.runPending();
  if (outcome === undefined) throw new Error("the log did not call done");
  if (outcome !== null) throw outcome;
}

/** Index, term and bytes of entries, comparable with deepEqual. */
export function described(list: readonly Entry[]): string[] {
  return list.map((each) => `${each.index}/${each.term}/${each.type}/${Buffer.from(each.data).toString("base64")}`);
}
