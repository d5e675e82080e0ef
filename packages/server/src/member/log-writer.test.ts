import assert from "node:assert/strict";
import { test } from "node:test";
import { type HardState, index, term } from "@quorate/raft";
import type { SnapshotMark } from "@quorate/wal";
import { assert as claim } from "@quorate/world";
import { type LogFile, LogWriter } from "./log-writer.ts";

/** A log that writes down what it is asked and ends each write when told. */
class FakeLog implements LogFile {
  readonly calls: string[] = [];
  #done: ((error: Error | null) => void) | null = null;
  refusal: Error | null = null;

  save(_entries: unknown, hardState: HardState | null, done: (error: Error | null) => void): void {
    this.#begin(`save ${hardState!.commit}`, done);
  }

  saveSnapshotMark(mark: SnapshotMark, hardState: HardState | null, done: (error: Error | null) => void): void {
    this.#begin(`mark ${mark.index} (${hardState!.commit})`, done);
  }

  replaceWithSnapshot(mark: SnapshotMark, hardState: HardState, done: (error: Error | null) => void): void {
    this.#begin(`replace ${mark.index} (${hardState.commit})`, done);
  }

  release(upTo: number): void {
    if (this.refusal !== null) throw this.refusal;
    this.calls.push(`release ${upTo}`);
  }

  end(error: Error | null = null): void {
    const done = this.#done!;
    this.#done = null;
    done(error);
  }

  #begin(call: string, done: (error: Error | null) => void): void {
    claim(this.#done === null, "the log takes one write at a time");
    if (this.refusal !== null) throw this.refusal;
    this.calls.push(call);
    this.#done = done;
  }
}

const state = (commit: number): HardState => ({ term: term(1), vote: 1n, commit: index(commit) });
const mark = (at: number): SnapshotMark => ({ index: index(at), term: term(1), confState: new Uint8Array(0) });

function make(): { log: FakeLog; writer: LogWriter; failures: string[]; heard: string[] } {
  const log = new FakeLog();
  const failures: string[] = [];
  return { log, writer: new LogWriter(log, 0, (error) => failures.push(error.message)), failures, heard: [] };
}

// covers: WA-18
test("a mark waits for the save under way, goes before the next, and releases only when it is durable", () => {
  const { log, writer, heard } = make();
  writer.save([], state(1), () => {
    heard.push("saved 1");
    writer.save([], state(2), () => heard.push("saved 2"));
  });
  writer.mark(mark(1), state(1), () => heard.push("marked"));
  assert.deepEqual(log.calls, ["save 1"]);
  log.end();
  assert.deepEqual(log.calls, ["save 1", "mark 1 (1)"]);
  log.end();
  assert.deepEqual(log.calls, ["save 1", "mark 1 (1)", "release 1", "save 2"]);
  log.end();
  assert.deepEqual(heard, ["saved 1", "marked", "saved 2"]);
});

test("of two marks that wait the newer is written, and one that is not newer than the last is none", () => {
  const { log, writer, heard } = make();
  writer.save([], state(9), () => {});
  writer.mark(mark(3), state(9), () => {});
  writer.mark(mark(5), state(9), () => heard.push("five"));
  writer.mark(mark(4), state(9), () => heard.push("four"));
  log.end();
  log.end();
  assert.deepEqual(log.calls, ["save 9", "mark 5 (9)", "release 5"]);
  assert.deepEqual(heard, ["five", "four"]);
  assert.equal(writer.markedIndex, 5);
});

test("a mark that becomes due while another is written goes behind a save that waits, of which its hard state may speak", () => {
  const { log, writer, heard } = make();
  writer.save([], state(1), () => {});
  log.end();
  writer.mark(mark(1), state(1), () => {});
  writer.save([], state(5), () => {
    heard.push("saved 5");
    writer.save([], state(6), () => {});
  });
  writer.mark(mark(4), state(5), () => heard.push("marked 4"));
  log.end();
  log.end();
  log.end();
  assert.deepEqual(log.calls.slice(3), ["save 5", "mark 4 (5)", "release 4", "save 6"]);
  assert.deepEqual(heard, ["saved 5", "marked 4"]);
});

test("idle is when nothing is written and nothing waits", () => {
  const { log, writer, heard } = make();
  writer.whenIdle(() => heard.push("at once"));
  writer.save([], state(1), () => writer.save([], state(2), () => {}));
  writer.whenIdle(() => heard.push("idle"));
  log.end();
  assert.deepEqual(heard, ["at once"]);
  log.end();
  assert.deepEqual(heard, ["at once", "idle"]);
});

// covers: WA-08, WA-10
test("after a failure of whatever kind nothing more is written", () => {
  for (const kind of ["save", "mark", "release", "refused save"] as const) {
    const { log, writer, failures, heard } = make();
    if (kind === "refused save") log.refusal = new Error("ENOSPC");
    if (kind === "mark" || kind === "release") writer.mark(mark(1), state(1), () => heard.push("marked"));
    if (kind === "release") log.refusal = new Error("ENOSPC");
    writer.save([], state(1), (error) => {
      heard.push("saved");
      if (error !== null) failures.push(error.message);
    });
    if (kind !== "refused save") log.end(kind === "release" ? null : new Error("ENOSPC"));
    assert.deepEqual(failures, ["ENOSPC"], kind);
    const written = log.calls.length;
    log.refusal = null;
    writer.mark(mark(7), state(7), () => heard.push("marked"));
    writer.whenIdle(() => heard.push("idle"));
    assert.equal(log.calls.length, written, kind);
    assert.deepEqual(heard, kind === "save" ? ["saved"] : [], kind);
  }
});

// covers: SN-01
test("a snapshot takes the log's place after the mark under way, and makes marks of what it replaced worthless", () => {
  const { log, writer, heard } = make();
  writer.mark(mark(1), state(1), () => heard.push("marked"));
  writer.replace(mark(9), state(9), () => heard.push("replaced"));
  assert.deepEqual(log.calls, ["mark 1 (1)"]);
  log.end();
  assert.deepEqual(log.calls, ["mark 1 (1)", "release 1", "replace 9 (9)"]);
  writer.mark(mark(5), state(5), () => heard.push("late"));
  log.end();
  assert.deepEqual(log.calls.slice(3), ["release 9"]);
  assert.deepEqual(heard, ["marked", "replaced", "late"]);
  assert.equal(writer.markedIndex, 9);
});
