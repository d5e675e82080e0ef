/** covers: RA-13, RA-20, and the parts of RA-01 and RA-03 that are the log's */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "@quorate/world";
import { entrySizeBytes } from "./codec.ts";
import { RaftLog } from "./log.ts";
import { MemoryLogStorage } from "./storage.ts";
import { EMPTY_CONF_STATE, Entry, type EntryId, EntryType, type Index, type Term } from "./types.ts";

function entry(index: number, term: number): Entry {
  return new Entry(EntryType.Normal, term as Term, index as Index, new Uint8Array(10));
}

function at(index: number): Index {
  return index as Index;
}

function id(term: number, index: number): EntryId {
  return { term: term as Term, index: at(index) };
}

const SIZE = entrySizeBytes(entry(1, 1));

/** Entries 1..stable in storage, up to `last` unstable, all of the terms given. */
function log(terms: readonly number[], stable: number, maxApplyingBytes: number = Number.POSITIVE_INFINITY): RaftLog {
  const storage = new MemoryLogStorage();
  const entries = terms.map((term, i) => entry(i + 1, term));
  storage.append(entries.slice(0, stable));
  const result = new RaftLog(storage, silentLog, maxApplyingBytes);
  result.append(entries, stable);
  return result;
}

function terms(of: RaftLog): number[] {
  return of.entriesFrom(of.firstIndex(), Number.POSITIVE_INFINITY)!.map((one) => one.term);
}

test("a leader's entries are appended where they fit, and only what conflicts is replaced", () => {
  const cases: [previous: EntryId, entries: Entry[], last: number | undefined, after: number[]][] = [
    [id(3, 3), [], 3, [1, 2, 3]],
    [id(3, 3), [entry(4, 4)], 4, [1, 2, 3, 4]],
    [id(2, 2), [entry(3, 3)], 3, [1, 2, 3]],
    [id(1, 1), [entry(2, 2)], 2, [1, 2, 3]],
    [id(1, 1), [entry(2, 4), entry(3, 4)], 3, [1, 4, 4]],
    [id(1, 1), [entry(2, 4)], 2, [1, 4]],
    [id(0, 0), [entry(1, 4)], 1, [4]],
    [id(2, 3), [entry(4, 4)], undefined, [1, 2, 3]],
    [id(4, 4), [entry(5, 4)], undefined, [1, 2, 3]],
  ];
  for (const stable of [0, 2, 3]) {
    for (const [previous, entries, last, after] of cases) {
      const subject = log([1, 2, 3], stable);
      assert.equal(subject.maybeAppend(previous, entries, at(0)), last);
      assert.deepEqual(terms(subject), after);
    }
  }
});

test("a leader's commit index is believed as far as its entries reach, not as far as ours do", () => {
  // What lies behind them here may still be replaced.
  const subject = log([1, 1, 1, 1], 4);
  subject.maybeAppend(id(1, 1), [entry(2, 1)], at(4));
  assert.equal(subject.committed, 2);
});

test("committed entries are never replaced", () => {
  const subject = log([1, 2, 3], 3);
  subject.commitTo(at(2));
  assert.throws(() => subject.maybeAppend(id(1, 1), [entry(2, 4)], at(0)), { name: "BrokenInvariant" });
  assert.throws(() => subject.commitTo(at(4)), { name: "BrokenInvariant" });
  subject.commitTo(at(1));
  assert.equal(subject.committed, 2);
});

test("the term of a compacted entry is unknown, not 0, and matches nothing", () => {
  const storage = new MemoryLogStorage();
  storage.append([entry(1, 1), entry(2, 1), entry(3, 2)]);
  storage.compact(at(2));
  const subject = new RaftLog(storage, silentLog, Number.POSITIVE_INFINITY);
  assert.equal(subject.term(at(1)), undefined);
  assert.equal(subject.matches(id(0, 1)), false);
  assert.equal(subject.matches(id(0, 9)), false);
  assert.equal(subject.maybeAppend(id(0, 9), [], at(9)), undefined);
  assert.equal(subject.entriesFrom(at(2), 100), undefined);
  assert.deepEqual(subject.findConflictByTerm(at(3), 0 as Term), id(0, 1));
});

test("only an entry of the leader's own term is committed by counting", () => {
  const subject = log([1, 1, 2], 3);
  assert.equal(subject.maybeCommit(id(2, 2)), false);
  assert.equal(subject.maybeCommit(id(2, 3)), true);
  assert.equal(subject.maybeCommit(id(2, 3)), false);
});

test("the conflict hint skips every entry of a later term", () => {
  const subject = log([1, 2, 2, 4, 4, 6], 3);
  assert.deepEqual(subject.findConflictByTerm(at(6), 5 as Term), id(4, 5));
  assert.deepEqual(subject.findConflictByTerm(at(5), 3 as Term), id(2, 3));
  assert.deepEqual(subject.findConflictByTerm(at(6), 0 as Term), id(0, 0));
});

test("an entry counts as durable only if the write that finished wrote this very entry", () => {
  const subject = log([1, 1], 0);
  subject.acceptUnstable();
  subject.append([entry(2, 2)], 0);
  subject.stableTo(id(1, 2));
  assert.equal(subject.hasUnstableEntries(), true);
  assert.deepEqual(
    subject.nextUnstableEntries().map((one) => one.term),
    [2],
  );
  subject.acceptUnstable();
  subject.stableTo(id(2, 2));
  assert.equal(subject.hasUnstableEntries(), false);
});

test("entries handed out for writing are not handed out twice, unless they were replaced", () => {
  const subject = log([1, 1, 1], 0);
  assert.equal(subject.nextUnstableEntries().length, 3);
  subject.acceptUnstable();
  assert.equal(subject.hasNextUnstableEntries(), false);
  subject.append([entry(2, 2), entry(3, 2)], 0);
  assert.deepEqual(
    subject.nextUnstableEntries().map((one) => one.index),
    [2, 3],
  );
});

test("a read across the durable and the unstable part respects the limit in both", () => {
  const subject = log([1, 1, 1, 1, 1, 1], 3);
  const count = (limit: number): number => subject.slice(at(1), at(7), limit)!.length;
  assert.deepEqual(
    [0, SIZE, 2 * SIZE, 3 * SIZE, 3 * SIZE + 1, 4 * SIZE, 6 * SIZE - 1, 6 * SIZE].map(count),
    [1, 1, 2, 3, 3, 4, 5, 6],
  );
  assert.equal(subject.entriesFrom(at(5), 1)!.length, 1);
  assert.deepEqual(subject.entriesFrom(at(7), 1), []);
});

test("applying stops at the budget and goes on when it is given back", () => {
  const subject = log([1, 1, 1, 1], 4, 2 * SIZE);
  subject.commitTo(at(4));
  const first = subject.nextCommittedEntries(true);
  assert.deepEqual(
    first.map((one) => one.index),
    [1, 2],
  );
  subject.acceptApplying(at(2), 2 * SIZE, true);
  assert.deepEqual(subject.nextCommittedEntries(true), []);
  subject.appliedTo(at(2), 2 * SIZE);
  assert.deepEqual(
    subject.nextCommittedEntries(true).map((one) => one.index),
    [3, 4],
  );
});

test("with storage writes of its own pace, only durable entries are applied", () => {
  const subject = log([1, 1, 1], 2);
  subject.commitTo(at(3));
  assert.deepEqual(
    subject.nextCommittedEntries(false).map((one) => one.index),
    [1, 2],
  );
  assert.deepEqual(
    subject.nextCommittedEntries(true).map((one) => one.index),
    [1, 2, 3],
  );
});

test("a snapshot replaces the log, and nothing is applied before it is", () => {
  const subject = log([1, 1, 1], 2);
  const metadata = { index: at(9), term: 3 as Term, confState: EMPTY_CONF_STATE };
  subject.restore({ data: new Uint8Array(), metadata });
  assert.deepEqual(
    [subject.firstIndex(), subject.lastIndex(), subject.committed, subject.term(at(9)), subject.term(at(2))],
    [10, 9, 9, 3, undefined],
  );
  subject.append([entry(10, 3)], 0);
  subject.commitTo(at(10));
  assert.equal(subject.hasNextCommittedEntries(true), false);
});
