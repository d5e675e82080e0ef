/** What the tests of this room say often: logs, on a simulated disk, and a short model of what reading them gives. */
import { Buffer } from "node:buffer";
import { type ConfState, Entry, EntryType, type HardState, index, term } from "@quorate/raft";
import { SeededRandom, SimDisk } from "@quorate/wal/testing";
import type { Random } from "@quorate/world";
import type { EtcdLog } from "../read-log.ts";
import type { LogIdentity, SnapshotMark } from "../records.ts";

export const DIRECTORY = "/member/wal";
export const IDENTITY: LogIdentity = { memberId: 0xfedc_ba98_7654_3210n, clusterId: 0x8000_0000_0000_0001n };
export const CONF_STATE: ConfState = {
  voters: [0x1122_3344_5566_7788n, IDENTITY.memberId],
  learners: [7n],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

export function newDisk(): SimDisk {
  const disk = new SimDisk({ random: new SeededRandom(1) });
  disk.makeDirectory("/member");
  disk.makeDirectory(DIRECTORY);
  return disk;
}

export function entry(at: number, inTerm: number, sizeBytes: number): Entry {
  const random = new SeededRandom(at * 1000 + inTerm);
  const data = Buffer.alloc(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) data[i] = 1 + random.below(255);
  return new Entry(at % 9 === 0 ? EntryType.ConfChange : EntryType.Normal, term(inTerm), index(at), data);
}

/** Entries after `from`, of rising terms and sizes from nothing to `sizeMax`. */
export function randomEntries(random: Random, from: number, count: number, sizeMax: number): Entry[] {
  let inTerm = 1 + random.below(3);
  return Array.from({ length: count }, (_, i) => {
    if (random.below(8) === 0) inTerm++;
    return entry(from + 1 + i, inTerm, 1 + random.below(random.below(4) === 0 ? sizeMax : 40));
  });
}

export function hardState(inTerm: number, commit: number, vote: bigint = IDENTITY.memberId): HardState {
  return { term: term(inTerm), vote, commit: index(commit) };
}

export function mark(at: number, inTerm: number): SnapshotMark {
  return { index: index(at), term: term(inTerm), confState: CONF_STATE };
}

export function contentsOf(disk: SimDisk, path: string): Buffer {
  const file = disk.open(path, "read");
  const bytes = Buffer.alloc(file.sizeBytes());
  file.read(bytes, bytes.length, 0);
  file.close();
  return bytes;
}

/** Replaces the file. */
export function putContents(disk: SimDisk, path: string, bytes: Uint8Array): void {
  if (disk.exists(path)) disk.remove(path);
  const file = disk.open(path, "create");
  file.write(bytes, 0, bytes.length, 0);
  file.close();
}

/** What a log says, for comparing: bytes may be in arrays of different kinds. */
export function asText({ hardState, start, entries }: Pick<EtcdLog, "hardState" | "start" | "entries">): string {
  const lines = entries.map(
    ({ type, term, index, data }) => `${index}/${term} ${type} ${Buffer.from(data).toString("hex")}`,
  );
  const { voters, learners } = start.confState ?? { voters: [], learners: [] };
  const { term, vote, commit } = hardState;
  return [
    `start ${start.index}/${start.term} ${voters};${learners}`,
    ...lines,
    `term ${term} vote ${vote} commit ${commit}`,
  ].join("\n");
}
