import assert from "node:assert/strict";
import { test } from "node:test";
import type { ErrorKind } from "@quorate/api";
import { CompactionRequest, CompactionResponse, PutRequest, PutResponse } from "@quorate/api/messages";
import { silentLog } from "@quorate/world";
import { type AutoCompaction, parseAutoCompaction } from "../config/auto-compaction.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";
import { AutoCompactor } from "./auto-compactor.ts";
import { Outcome } from "./outcome.ts";
import type { Pending } from "./pending.ts";

const MINUTE_MS = 60_000;

/** A compactor in a world where one revision is made every minute, from 1 at the start. */
class Bench {
  readonly world = new ManualWorld();
  /** "minute: revision". */
  readonly compacted: string[] = [];
  isLeader = true;
  /** What proposals come to; "silence": nothing is heard of them. */
  outcome: ErrorKind | null | "silence" = null;
  readonly compactor: AutoCompactor;
  readonly #startMs = this.world.nowMs;

  constructor(mode: string, retention: string) {
    const settings = parseAutoCompaction(mode, retention) as AutoCompaction & {};
    this.compactor = new AutoCompactor(
      settings,
      {
        revision: () => 1 + Math.floor(this.minute),
        isLeader: () => this.isLeader,
        propose: (_op, bytes, handler) => {
          this.compacted.push(`${this.minute}: ${CompactionRequest.decode(bytes).revision}`);
          if (this.outcome === "silence") return;
          const outcome = new Outcome();
          outcome.error = this.outcome;
          handler.applied(null as unknown as Pending, outcome);
        },
      },
      { clock: this.world, timers: this.world, log: silentLog },
    );
    this.compactor.start();
  }

  get minute(): number {
    return (this.world.nowMs - this.#startMs) / MINUTE_MS;
  }

  advance(minutes: number): void {
    const untilMs = this.world.nowMs + minutes * MINUTE_MS;
    while (this.world.fireNext(untilMs)) {
      // Until nothing is due.
    }
  }
}

// covers: QU-09
test("periodic: after one retention, and then every hour at most, the past beyond the retention goes", () => {
  const table: [retention: string, minutes: number, compacted: string[]][] = [
    ["1", 190, ["60: 1", "120: 55", "180: 115"]],
    ["60m", 60, ["60: 1"]],
    ["10m", 31, ["10: 1", "20: 10", "30: 20"]],
    ["5h", 430, ["300: 1", "360: 55", "420: 115"]],
  ];
  for (const [retention, minutes, compacted] of table) {
    const bench = new Bench("periodic", retention);
    bench.advance(minutes);
    assert.deepEqual(bench.compacted, compacted, retention);
  }
});

test("revision: every five minutes all but the last so many go", () => {
  const bench = new Bench("revision", "10");
  bench.advance(31);
  assert.deepEqual(bench.compacted, ["10: 1", "15: 6", "20: 11", "25: 16", "30: 21"]);
});

// covers: QU-09
test("only the leader compacts, by what it has seen as a follower", () => {
  for (const [mode, retention, first] of [
    ["periodic", "1h", "126: 61"],
    ["revision", "10", "125: 116"],
  ] as const) {
    const bench = new Bench(mode, retention);
    bench.isLeader = false;
    bench.advance(121);
    assert.deepEqual(bench.compacted, [], mode);
    bench.isLeader = true;
    bench.advance(6);
    assert.deepEqual(bench.compacted, [first], mode);
  }
});

test("what was refused or lost is tried again at the next look, what was compacted already is done", () => {
  const bench = new Bench("periodic", "1h");
  bench.outcome = "Timeout";
  bench.advance(60);
  bench.outcome = "Compacted";
  bench.advance(6);
  bench.advance(12);
  assert.deepEqual(bench.compacted, ["60: 1", "66: 1"]);
});

test("one that nothing is heard of yet is not proposed twice, and a stop ends it all", () => {
  const bench = new Bench("revision", "10");
  bench.outcome = "silence";
  bench.advance(60);
  assert.deepEqual(bench.compacted, ["10: 1"]);
  bench.compactor.stop();
  assert.equal(bench.world.timerCount, 0);
});

test("nothing is compacted where nothing was written since", () => {
  const bench = new Bench("revision", "1000");
  bench.advance(60);
  assert.deepEqual(bench.compacted, []);
});

test("a cluster compacts itself, and goes on when another member leads", async () => {
  const cluster = await SimulatedCluster.serving(3, {
    "auto-compaction-mode": "revision",
    "auto-compaction-retention": "5",
  });
  const put = (): void => {
    for (let i = 0; i < 10; i++) {
      const request = { key: Buffer.from(`k${i}`) };
      cluster.call(cluster.leader, "/etcdserverpb.KV/Put", PutRequest, request, PutResponse);
    }
  };
  const compacted = (): number[] => cluster.machines.map((each) => each.member.store.compactRevision);
  put();
  cluster.advance(5 * MINUTE_MS + 1000);
  assert.deepEqual(compacted(), [6, 6, 6]);
  const old: ClusterMachine = cluster.leader;
  cluster.cutOff(old);
  cluster.advance(5000);
  assert.notEqual(cluster.leader, old);
  put();
  cluster.reconnect(old);
  cluster.advance(5 * MINUTE_MS);
  assert.deepEqual(compacted(), [16, 16, 16]);
  const request = { revision: 10 };
  assert.throws(
    () => cluster.call(cluster.leader, "/etcdserverpb.KV/Compact", CompactionRequest, request, CompactionResponse),
    /has been compacted/,
  );
});
