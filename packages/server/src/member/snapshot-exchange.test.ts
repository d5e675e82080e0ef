import assert from "node:assert/strict";
import { test } from "node:test";
import type { DatabaseCut } from "@quorate/mvcc";
import { EMPTY_CONF_STATE, index, Message, MessageType, term } from "@quorate/raft";
import { silentLog } from "@quorate/world";
import type { OutgoingSnapshot } from "../peers/peer-network.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import type { AppliedState } from "./applied-state.ts";
import { SnapshotExchange } from "./snapshot-exchange.ts";

/** An exchange over a storage that writes its files when told. */
class Bench {
  readonly world = new ManualWorld();
  readonly removed: string[] = [];
  readonly writes: ((error: Error | null, cut: DatabaseCut | null) => void)[] = [];
  readonly given: { readonly index: number; readonly snapshot: OutgoingSnapshot }[] = [];
  readonly failures: string[] = [];
  flushedIndex = 0;
  readonly exchange: SnapshotExchange;
  #count = 0;

  constructor() {
    const storage = {
      writeSnapshot: (_path: string, done: (error: Error | null, cut: DatabaseCut | null) => void) => {
        this.writes.push(done);
        return { cancel: () => {} };
      },
    };
    const membership = { members: () => [], removedIds: () => [], clusterVersion: null };
    const state = (): AppliedState =>
      ({ backend: { storage, flushedIndex: this.flushedIndex }, membership }) as unknown as AppliedState;
    this.exchange = new SnapshotExchange(
      {
        clusterId: 1n,
        memberId: 1n,
        heartbeatMs: 100,
        electionTicks: 10,
        leaseCheckpointMs: null,
        databases: {
          receive: () => {},
          discard: () => {},
          outgoingPath: () => `file-${++this.#count}`,
          removeFile: (path) => this.removed.push(path),
        },
        clock: this.world,
        timers: this.world,
        log: silentLog,
      },
      { state, stepSnapshot: () => true },
    );
  }

  open(to: bigint, atIndex: number): void {
    const message = new Message(MessageType.Snap, to, 1n);
    message.snapshot = {
      data: new Uint8Array(0),
      metadata: { index: index(atIndex), term: term(1), confState: EMPTY_CONF_STATE },
    };
    this.exchange.open(message, (error, snapshot) => {
      if (snapshot === null) this.failures.push(error!.message);
      else this.given.push({ index: snapshot.message.snapshot!.metadata.index, snapshot });
    });
  }

  written(appliedIndex: number): void {
    const done = this.writes.shift()!;
    done(null, { appliedIndex, appliedTerm: 1, confState: null, revision: 1, sizeBytes: 10 });
  }

  get paths(): string[] {
    return this.given.map(({ snapshot }) => snapshot.path);
  }
}

test("one file serves every follower whose need it covers, and goes with the last of them", () => {
  const bench = new Bench();
  bench.open(2n, 5);
  bench.open(3n, 6);
  bench.written(7);
  bench.open(4n, 7);
  assert.deepEqual(bench.paths, ["file-1", "file-1", "file-1"]);
  assert.deepEqual(
    bench.given.map((each) => each.index),
    [7, 7, 7],
  );
  for (const { snapshot } of bench.given) {
    assert.deepEqual(bench.removed, []);
    snapshot.release();
  }
  assert.deepEqual(bench.removed, ["file-1"]);
});

test("who needs more than the file at hand has gets one of its own, however long the first is in use", () => {
  const bench = new Bench();
  bench.open(2n, 5);
  bench.open(3n, 9);
  bench.written(7);
  bench.written(9);
  bench.open(4n, 8);
  assert.deepEqual(bench.paths, ["file-1", "file-2", "file-2"]);
  assert.deepEqual(bench.failures, []);
});

// covers: SN-05
test("the log is held for who is being sent a file, and for a while after", () => {
  const bench = new Bench();
  bench.flushedIndex = 4;
  assert.equal(bench.exchange.heldIndex, Number.POSITIVE_INFINITY);
  bench.open(2n, 4);
  assert.equal(bench.exchange.heldIndex, 4);
  bench.written(7);
  assert.equal(bench.exchange.heldIndex, 7);
  bench.given[0]!.snapshot.release();
  assert.equal(bench.exchange.heldIndex, 7);
  bench.world.nowMs += 60_000;
  assert.equal(bench.exchange.heldIndex, Number.POSITIVE_INFINITY);
});

test("a file that cannot be written fails those who waited for it, and the next is tried anew", () => {
  const bench = new Bench();
  bench.open(2n, 5);
  bench.writes.shift()!(new Error("ENOSPC"), null);
  assert.deepEqual(bench.failures, ["ENOSPC"]);
  bench.open(2n, 5);
  bench.written(5);
  assert.deepEqual(bench.paths, ["file-2"]);
});
