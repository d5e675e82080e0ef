import assert from "node:assert/strict";
import { test } from "node:test";
import { PutRequest, PutResponse } from "@quorate/api/messages";
import type { DatabaseCut } from "@quorate/mvcc";
import { EMPTY_CONF_STATE, index, Message, MessageType, term } from "@quorate/raft";
import { silentLog } from "@quorate/world";
import type { OutgoingSnapshot } from "../peers/peer-network.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";
import type { AppliedState } from "./applied-state.ts";
import { SnapshotExchange } from "./snapshot-exchange.ts";

function put(cluster: SimulatedCluster, key: string): void {
  const request = { key: Buffer.from(key), value: Buffer.from(key) };
  cluster.call(cluster.leader, "/etcdserverpb.KV/Put", PutRequest, request, PutResponse);
}

interface Received {
  readonly message: Message;
  readonly file: Uint8Array;
}

/** A follower that was away for too long, and what it is sent when it comes back. */
async function behind(): Promise<{ cluster: SimulatedCluster; follower: ClusterMachine; received: Received[] }> {
  const cluster = await SimulatedCluster.serving(3, { "snapshot-count": "10", "snapshot-catchup-entries": "1" });
  const [follower] = cluster.followers as [ClusterMachine];
  cluster.cutOff(follower);
  // Entries are given up in memory by the thousand.
  for (let i = 0; i < 2600; i++) {
    put(cluster, `k${i % 10}`);
    if (i % 100 === 0) cluster.advance(200);
  }
  cluster.advance(1000);
  const received: Received[] = [];
  const { receiveSnapshot } = follower.owner!;
  follower.owner!.receiveSnapshot = (message, path, done) => {
    received.push({ message, file: Uint8Array.from(follower.disk.contents(path)) });
    receiveSnapshot(message, path, done);
  };
  return { cluster, follower, received };
}

function install(cluster: SimulatedCluster, follower: ClusterMachine): void {
  const old = follower.member.store;
  cluster.reconnect(follower);
  for (let i = 0; i < 200 && follower.member.store === old; i++) cluster.advance(100);
  assert.notEqual(follower.member.store, old, "a snapshot was installed");
}

/** As if it had arrived once more. */
function receiveAgain({ message, file }: Received, follower: ClusterMachine, heard: (string | null)[]): void {
  const path = "/data/member/again.db";
  follower.disk.open(path, "create").write(file, 0, file.length, 0);
  follower.owner!.receiveSnapshot(message, path, (error) => heard.push(error?.message ?? null));
}

// covers: SN-02
test("a snapshot that has been installed or is behind us is of no use, and nothing is made of it", async () => {
  const { cluster, follower, received } = await behind();
  install(cluster, follower);
  const receive = follower.databases.receive.bind(follower.databases);
  let made = 0;
  follower.databases.receive = (...args) => {
    made++;
    receive(...args);
  };
  const heard: (string | null)[] = [];
  receiveAgain(received[0]!, follower, heard);
  cluster.settle();
  assert.equal(made, 0);
  assert.deepEqual(heard, [null], "raft has told the leader how far we are");
  assert.equal(follower.disk.exists("/data/member/again.db"), false);
  put(cluster, "after");
  cluster.advance(1000);
  assert.equal(follower.failure, null);
  assert.equal(follower.member.appliedIndex, cluster.leader.member.appliedIndex);
});

// covers: RA-20
test("a snapshot that contradicts itself is refused, also when it is old", async () => {
  const { cluster, follower, received } = await behind();
  install(cluster, follower);
  const { message, file } = received[0]!;
  const bad = new Message(MessageType.Snap, message.to, message.from);
  bad.term = message.term;
  const { metadata, data } = message.snapshot!;
  const confState = { ...metadata.confState, learners: metadata.confState.voters };
  bad.snapshot = { data, metadata: { ...metadata, confState } };
  const heard: (string | null)[] = [];
  receiveAgain({ message: bad, file }, follower, heard);
  assert.equal(heard.length, 1);
  assert.notEqual(heard[0], null);
});

test("a snapshot of a version that the next start would refuse is refused, and the state stays", async () => {
  const { cluster, follower } = await behind();
  const { backend } = cluster.leader.member;
  backend.put("meta", Buffer.from("storageVersion"), Buffer.from("3.8.0"));
  put(cluster, "later");
  cluster.advance(1000);
  const { store } = follower.member;
  const heard: string[] = [];
  const { receiveSnapshot } = follower.owner!;
  follower.owner!.receiveSnapshot = (message, path, done) => {
    receiveSnapshot(message, path, (error) => {
      heard.push(String(error?.message));
      done(error);
    });
  };
  cluster.reconnect(follower);
  for (let i = 0; i < 200 && heard.length === 0; i++) cluster.advance(100);
  assert.equal(heard[0], "the database has the form of version 3.8.0, this server knows those up to 3.7.0");
  assert.equal(follower.member.store, store);
  assert.equal(follower.failure, null);
});

/** Everything goes on until the follower's log is about to be replaced; the write is under way then. */
function untilReplacing(cluster: SimulatedCluster, follower: ClusterMachine): void {
  const { wal } = follower.parts;
  const replace = wal.replaceWithSnapshot.bind(wal);
  let isReplacing = false;
  wal.replaceWithSnapshot = (...args) => {
    isReplacing = true;
    replace(...args);
  };
  cluster.reconnect(follower);
  for (let i = 0; i < 100_000 && !isReplacing; i++) {
    let isBusy = cluster.world.runTurn();
    for (const { disk, databases } of cluster.machines) {
      if (isReplacing) break;
      if (disk.pendingCount > 0) {
        disk.runPending(1);
        isBusy = true;
      }
      if (databases.step()) isBusy = true;
    }
    if (!isBusy) cluster.world.fireNext(cluster.world.nowMs + 100);
  }
  assert.ok(isReplacing, "the log is being replaced");
}

test("a stop while a snapshot takes the log's place waits for it and closes what is there then", async () => {
  const { cluster, follower } = await behind();
  untilReplacing(cluster, follower);
  const stopped: (Error | null)[] = [];
  follower.member.stop((error) => stopped.push(error));
  cluster.settle();
  assert.deepEqual(stopped, [null]);
  assert.equal(follower.failure, null);
  assert.equal(follower.parts.wal.lastIndex, follower.member.backend.flushedIndex);
});

test("who asks for a flush while a snapshot takes the log's place hears of it when it has", async () => {
  const { cluster, follower } = await behind();
  untilReplacing(cluster, follower);
  let isFlushed = false;
  follower.member.whenFlushed(() => {
    isFlushed = true;
  });
  cluster.advance(1000);
  assert.ok(isFlushed);
});

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
          openOutgoing: () => assert.fail("files for members are opened by who sends them"),
          outgoingPath: () => `file-${++this.#count}`,
          removeFile: (path) => this.removed.push(path),
        },
        clock: this.world,
        timers: this.world,
        log: silentLog,
      },
      { state, commitIndex: () => 0, stepSnapshot: () => true },
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
    done(null, { appliedIndex, appliedTerm: 1, confState: null, storageVersion: "3.7.0", revision: 1, sizeBytes: 10 });
  }

  fails(code: string): void {
    this.writes.shift()!(new Error(code), null);
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

test("a file that cannot be written fails those who waited for it, once, with the reason and when it is tried again", () => {
  const bench = new Bench();
  bench.open(2n, 5);
  bench.open(3n, 5);
  bench.fails("ENOSPC");
  const text = "cannot write a snapshot for another member, the next attempt is in 1s: ENOSPC";
  assert.deepEqual(bench.failures, [text, text]);
  assert.deepEqual(bench.removed, ["file-1"]);
  assert.equal(bench.exchange.heldIndex, Number.POSITIVE_INFINITY, "nobody has a file whose next entry must be kept");
});

test("after a file that could not be written, who asks waits: a second, twice as long each time, half a minute at most", () => {
  const bench = new Bench();
  const waitsMs: number[] = [];
  bench.open(2n, 5);
  for (let i = 0; i < 7; i++) {
    bench.fails("ENOSPC");
    const failedMs = bench.world.nowMs;
    // As raft does, at the next heartbeat; and another follower, which shares our disk.
    bench.world.nowMs += 100;
    bench.open(2n, 5);
    bench.open(3n, 5);
    assert.equal(bench.writes.length, 0);
    assert.ok(bench.world.fireNext(failedMs + 60_000));
    assert.equal(bench.writes.length, 1);
    waitsMs.push(bench.world.nowMs - failedMs);
  }
  assert.deepEqual(waitsMs, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  assert.equal(bench.failures.length, 1 + 2 * 6);
  bench.written(5);
  assert.deepEqual(bench.paths, ["file-8", "file-8"]);
});

test("a file that was written ends the waiting, and the next failure waits a second again", () => {
  const bench = new Bench();
  bench.open(2n, 5);
  for (const _ of [1, 2]) {
    bench.fails("EIO");
    bench.open(2n, 5);
    bench.world.fireNext(bench.world.nowMs + 60_000);
  }
  bench.written(5);
  bench.given[0]!.snapshot.release();
  bench.open(2n, 6);
  bench.fails("EIO");
  assert.match(bench.failures.at(-1)!, /the next attempt is in 1s: EIO$/);
  bench.world.fireNext(bench.world.nowMs + 60_000);
  bench.open(2n, 6);
  assert.equal(bench.writes.length, 1, "nobody asked in time to wait");
});

test("a file that is there is given to whom it reaches also while no other can be written", () => {
  const bench = new Bench();
  bench.open(2n, 5);
  bench.written(7);
  bench.open(3n, 9);
  bench.fails("ENOSPC");
  bench.open(4n, 6);
  assert.deepEqual(bench.paths, ["file-1", "file-1"]);
});

test("who waits for the next attempt hears that the member stops", () => {
  const bench = new Bench();
  bench.open(2n, 5);
  bench.fails("ENOSPC");
  bench.open(2n, 5);
  bench.exchange.stop();
  assert.equal(bench.failures.at(-1), "the member stops");
  assert.equal(bench.world.timerCount, 0);
});

/** A follower without the last entries, given the leader's snapshot; runs so many steps of what follows. */
async function stepsOfInstalling(
  steps: number,
): Promise<{ follower: ClusterMachine; before: number; isOver: boolean }> {
  const cluster = await SimulatedCluster.serving(3);
  const { leader } = cluster;
  const [follower] = cluster.followers as [ClusterMachine];
  put(cluster, "a");
  cluster.advance(1000);
  cluster.cutOff(follower);
  for (let i = 0; i < 10; i++) put(cluster, `k${i}`);
  cluster.advance(1000);
  const before = follower.member.backend.flushedIndex;
  const asked = new Message(MessageType.Snap, follower.id, leader.id);
  asked.term = term(leader.member.term);
  const metadata = { index: index(before), term: term(1), confState: EMPTY_CONF_STATE };
  asked.snapshot = { data: new Uint8Array(0), metadata };
  leader.owner!.openSnapshot(asked, (error, snapshot) => {
    assert.equal(error, null);
    const path = "/data/member/incoming.db";
    const file = leader.disk.contents(snapshot!.path);
    follower.disk.open(path, "create").write(file, 0, file.length, 0);
    follower.owner!.receiveSnapshot(snapshot!.message, path, (useless) => assert.equal(useless, null));
  });
  while (leader.databases.step()) {
    // Until the snapshot is written and given to the follower.
  }
  for (let i = 0; i < steps; i++) {
    if (cluster.world.runTurn()) continue;
    if (follower.disk.pendingCount > 0) follower.disk.runPending(1);
    else if (!follower.databases.step()) return { follower, before, isOver: true };
  }
  return { follower, before, isOver: false };
}

// covers: SN-01, SN-04
test("whichever step of installing a snapshot is the last, a start has what was before or after, and one database", async () => {
  const found = new Set<string>();
  for (let steps = 0, isOver = false; !isOver; steps++) {
    for (const end of ["crash", "kill"] as const) {
      const installing = await stepsOfInstalling(steps);
      const { follower, before } = installing;
      isOver = installing.isOver;
      follower[end]();
      const world = new ManualWorld();
      const member = (await follower.openOver({ clock: world, timers: world }))!;
      member.start();
      while (world.runTurn() || follower.disk.pendingCount > 0 || follower.databases.step()) follower.disk.runPending();
      const revision = member.store.revision;
      found.add(`${member.appliedIndex > before ? "after" : "before"} at ${revision}`);
      assert.equal(follower.failure, null, `${steps} ${end}`);
      assert.equal(follower.databases.count, 1, `${steps} ${end}`);
    }
  }
  assert.deepEqual([...found], ["before at 2", "after at 12"]);
});

test("a leader whose disk is full tries a follower's snapshot less and less often, and sends it once there is room", async () => {
  const { cluster, follower } = await behind();
  const { storage } = cluster.leader;
  const triedMs: number[] = [];
  const write = storage.writeSnapshot.bind(storage);
  storage.writeSnapshot = (path, done) => {
    triedMs.push(cluster.world.nowMs);
    if (triedMs.length > 4) return write(path, done);
    done(new Error("ENOSPC"), null);
    return { cancel: () => {} };
  };
  install(cluster, follower);
  const waitsMs = triedMs.slice(1).map((at, i) => Math.floor((at - triedMs[i]!) / 1000));
  assert.deepEqual(waitsMs, [1, 2, 4, 8]);
});
