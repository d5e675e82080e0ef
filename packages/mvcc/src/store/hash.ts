/**
 * HashKV: one number over the history, equal on every member that holds the same, etcd's own members included
 * (semantics §4.7). It is taken over the stored form, so it says that bytes agree, not just answers.
 *
 *     crc32c( "key", then for each record that counts, ascending: history key, record )
 *
 *     revisions     1 ───────── C ────────────── R ─────── current
 *     counts           kept at R   everything      nothing
 *
 * C is the compacted revision and R the one asked for. Up to C only what a compaction at R would keep counts, so the
 * number is the same before, during and after the removal of what a compaction at C gave up; a tombstone exactly at C
 * does not count, because older etcd versions remove it. QUIRK: when nothing at all is kept at R, all that is still
 * stored up to C counts.
 *
 * Whether a record is kept is asked of the index while scanning: newer writes and removals up to R do not change the
 * answer, so a hash can be taken in slices between which the store goes on. Compactions beyond C must wait meanwhile
 * (Store pins C). The same goes for the question whether anything is kept at all, which comes first: it looks at keys
 * until it has found one, and there may be millions that are deleted.
 */

import { crc32c } from "@quorate/crc32c";
import { HISTORY_KEY_BYTES, writeHistoryKey } from "../backend/history-key.ts";
import type { RecordVisitor } from "../backend/storage.ts";
import type { SlotVisitor } from "../key-index/key-index.ts";
import { NONE } from "../key-index/limits.ts";
import { RecordView } from "./key-value.ts";
import type { StoreState } from "./state.ts";

const BUCKET = Buffer.from("key");

export interface KvHash {
  readonly hash: number;
  readonly compactRevision: number;
  readonly revision: number;
}

/** What a hash in progress is taken over. */
export interface HashRange {
  /** R. */
  readonly revision: number;
  /** C. */
  readonly compactRevision: number;
  /** Whether a tombstone at R itself is among the kept, as it is for the hash a compaction takes. */
  readonly keepsTombstone: boolean;
}

/** A hash being taken: `step` until it returns false, then read `hash`. */
export class KvHashing implements RecordVisitor, KvHash {
  readonly revision: number;
  readonly compactRevision: number;
  readonly #state: StoreState;
  /** Null when the question is answered. */
  #search: KeptSearch | null;
  #isFiltering = false;
  readonly #view = new RecordView();
  readonly #historyKey = new Uint8Array(HISTORY_KEY_BYTES + 1);
  #hash: number;
  #nextMain = 0;
  #nextSub = 0;
  #budget = 0;
  #isDone = false;

  constructor(state: StoreState, range: HashRange) {
    this.#state = state;
    this.revision = range.revision;
    this.compactRevision = range.compactRevision;
    this.#search = range.compactRevision >= 0 ? new KeptSearch(state, range) : null;
    this.#hash = crc32c(BUCKET);
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  get hash(): number {
    return this.#hash;
  }

  /** Takes in about `budget` records; false when all are taken in. */
  step(budget: number): boolean {
    if (this.#isDone) return false;
    if (this.prepare(budget)) return true;
    this.#budget = budget;
    this.#state.backend.scanRecords(this.#nextMain, this.#nextSub, this);
    // The scan ended by itself, or `visit` ended it: past R, or out of budget.
    if (this.#budget > 0) this.#isDone = true;
    return !this.#isDone;
  }

  /** Called by the scan. */
  visit(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    if (main > this.revision) return false;
    this.take(main, sub, isTombstone, bytes, start, end);
    this.#nextMain = main;
    this.#nextSub = sub + 1;
    return --this.#budget > 0;
  }

  /** What has to be known before the first record; takes about as long as `budget` records. True if there is more to do. */
  prepare(budget: number): boolean {
    if (this.#search === null) return false;
    if (this.#search.step(budget * KEYS_PER_RECORD)) return true;
    this.#isFiltering = this.#search.found || this.#state.bumps.keptAt(this.revision) >= 0;
    this.#search = null;
    return false;
  }

  /** For who scans instead of `step`, after `prepare`: the next record, up to R. */
  take(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): void {
    if (!this.#counts(main, sub, isTombstone, bytes, start, end)) return;
    const length = writeHistoryKey(this.#historyKey, 0, main, sub, isTombstone);
    this.#hash = crc32c(this.#historyKey, this.#hash, 0, length);
    this.#hash = crc32c(bytes, this.#hash, start, end);
  }

  #counts(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    if (main > this.compactRevision) return true;
    if (isTombstone && main === this.compactRevision) return false;
    if (!this.#isFiltering) return true;
    if (isTombstone) return false;
    if (start === end) return this.#state.bumps.keptAt(this.revision) === main;
    const { index } = this.#state;
    const view = this.#view;
    view.parse(bytes, start, end, main, sub);
    const slot = index.find(view.buffer, view.keyStart, view.keyEnd);
    if (slot === NONE) return false;
    const kept = index.nodeAt(slot, this.revision);
    return kept !== NONE && index.main(kept) === main && index.sub(kept) === sub;
  }
}

/** Looking at a key in the index costs less than taking in a record by about this. */
const KEYS_PER_RECORD = 8;

/** Looks for a key of which a compaction at R would keep something, in slices. */
class KeptSearch implements SlotVisitor {
  readonly #state: StoreState;
  readonly #range: HashRange;
  /** The first key not looked at. */
  #next: Uint8Array = FIRST_KEY;
  #left = 0;
  #isMore = false;
  found = false;

  constructor(state: StoreState, range: HashRange) {
    this.#state = state;
    this.#range = range;
  }

  /** Looks at `budget` keys; false when the answer is in `found`. */
  step(budget: number): boolean {
    this.#left = budget;
    this.#isMore = false;
    this.#state.index.walk(this.#next, null, this);
    return this.#isMore;
  }

  /** Called by the walk of the index. */
  visit(slot: number): boolean {
    const { index } = this.#state;
    if (this.#left-- === 0) {
      this.#isMore = true;
      this.#next = new Uint8Array(index.keyLength(slot));
      index.copyKey(slot, this.#next, 0);
      return false;
    }
    const { revision, keepsTombstone } = this.#range;
    const node = index.newestAtOrBefore(slot, revision);
    this.found = node !== NONE && (!index.isTombstone(node) || (keepsTombstone && index.main(node) === revision));
    return !this.found;
  }
}

const FIRST_KEY = new Uint8Array(0);

/**
 * The hashes completed compactions left behind, the newest ten: what members compare with each other, because all of
 * them took it over the same stretch (known-failures ST-05).
 */
export class CompactionHashes {
  #hashes: KvHash[] = [];

  add(hash: KvHash): void {
    this.#hashes.push({ hash: hash.hash, compactRevision: hash.compactRevision, revision: hash.revision });
    this.#hashes.sort((a, b) => a.revision - b.revision);
    if (this.#hashes.length > COMPACTION_HASHES_MAX) this.#hashes.shift();
  }

  at(revision: number): KvHash | undefined {
    return this.#hashes.find((hash) => hash.revision === revision);
  }

  /** Ascending by revision. */
  all(): readonly KvHash[] {
    return this.#hashes;
  }
}

/** As etcd's: with one comparison a minute and one compaction in five, ten are far more than are asked for. */
export const COMPACTION_HASHES_MAX = 10;
