/**
 * A random history of a log, record by record as etcd would write it, and beside it the plainest possible account of what
 * has to be read back: the twin of log-builder.ts.
 */
import { type Entry, encodeHardState, entrySizeBytes, type HardState, writeEntry } from "@quorate/raft";
import type { SimDisk } from "@quorate/wal/testing";
import type { Random } from "@quorate/world";
import { join, RecordType, segmentName } from "../format.ts";
import { encodeIdentity, encodeMark, type SnapshotMark } from "../records.ts";
import { SegmentOutput } from "../segment-output.ts";
import { DIRECTORY, entry, hardState, IDENTITY, mark } from "./logs.ts";

export interface Account {
  readonly hardState: HardState;
  readonly start: SnapshotMark;
  readonly entries: readonly Entry[];
}

export class History {
  readonly path: string[] = [];
  /** After each record of the last segment: where it ends, and what has to be read up to there. */
  ends: { readonly offset: number; readonly account: Account | null }[] = [];
  readonly #disk: SimDisk;
  readonly #random: Random;
  #output: SegmentOutput;
  #log: Entry[] = [];
  #marks: SnapshotMark[] = [];
  #state: HardState = hardState(0, 0, 0n);
  #term = 1;
  #isReplaced = false;

  constructor(disk: SimDisk, random: Random) {
    this.#disk = disk;
    this.#random = random;
    this.#output = this.#open(0, 0);
    this.#put(RecordType.Metadata, encodeIdentity(IDENTITY));
    this.#mark(mark(0, 0));
  }

  /** The account of the whole log; null where a crash would leave a log that nobody can begin with. */
  get account(): Account | null {
    if (this.#isReplaced) return null;
    const start = this.#marks.findLast(({ index }) => index <= this.#state.commit);
    if (start === undefined) return null;
    return { hardState: this.#state, start, entries: this.#log.filter(({ index }) => index > start.index) };
  }

  step(): void {
    switch (this.#random.below(10)) {
      case 0:
        return this.#cut();
      case 1:
        return this.#takeSnapshot();
      case 2:
        return this.#receiveSnapshot();
      case 3:
        this.#term++;
        return this.#append(this.#random.below(this.#last - this.#state.commit + 1));
      case 4:
      case 5:
        return this.#commit();
      default:
        return this.#append(0);
    }
  }

  finish(): void {
    this.#output.finish();
  }

  get #last(): number {
    return this.#log[this.#log.length - 1]?.index ?? this.#marks[this.#marks.length - 1]!.index;
  }

  #append(overwrittenCount: number): void {
    this.#log.length -= Math.min(overwrittenCount, this.#log.length);
    for (let count = this.#random.below(4); count >= 0; count--) {
      const sizeBytes = this.#random.below(3) === 0 ? this.#random.below(1500) : this.#random.below(60);
      const next = entry(this.#last + 1, this.#term, Math.max(1, sizeBytes));
      this.#log.push(next);
      const bytes = new Uint8Array(entrySizeBytes(next));
      writeEntry(next, bytes, 0);
      this.#put(RecordType.Entry, bytes);
    }
  }

  #commit(): void {
    const { commit } = this.#state;
    this.#state = hardState(this.#term, commit + this.#random.below(this.#last - commit + 1));
    this.#put(RecordType.HardState, encodeHardState(this.#state));
  }

  #takeSnapshot(): void {
    const newest = this.#marks[this.#marks.length - 1]!.index;
    const entryThere = this.#log.find(({ index }) => index > newest && index <= this.#state.commit);
    if (entryThere !== undefined) this.#mark(mark(entryThere.index, entryThere.term));
  }

  /** It takes the place of the log; the hard state that makes it count follows, perhaps after entries. */
  #receiveSnapshot(): void {
    if (this.#random.below(3) > 0) return;
    const at = this.#last + 1 + this.#random.below(20);
    // Until then the mark speaks of what is not committed, and does not count.
    this.#mark(mark(at, this.#term));
    this.#log = [];
    this.#isReplaced = true;
    if (this.#random.below(2) === 0) this.#append(0);
    this.#isReplaced = false;
    this.#state = hardState(this.#term, at);
    this.#put(RecordType.HardState, encodeHardState(this.#state));
  }

  #mark(taken: SnapshotMark): void {
    this.#marks.push(taken);
    this.#put(RecordType.Snapshot, encodeMark(taken));
  }

  #put(type: number, data: Uint8Array): void {
    this.#output.put(type, data);
    this.ends.push({ offset: this.#output.sizeBytes, account: this.account });
  }

  #cut(): void {
    this.#output.finish();
    this.#output = this.#open(this.#last + 1, this.#output.chain);
    this.#put(RecordType.Metadata, encodeIdentity(IDENTITY));
    this.#put(RecordType.HardState, encodeHardState(this.#state));
  }

  #open(firstIndex: number, chain: number): SegmentOutput {
    const path = join(DIRECTORY, segmentName(this.path.length, firstIndex));
    this.path.push(path);
    this.ends = [];
    return new SegmentOutput(this.#disk, path, chain);
  }
}
