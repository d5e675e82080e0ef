import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { AlarmAction, AlarmType, encodeRaftRequest, RaftOp } from "@quorate/api";
import {
  AlarmRequest,
  AuthRoleAddRequest,
  AuthUserAddRequest,
  AuthUserDeleteRequest,
  ClusterVersionSetRequest,
  CompactionRequest,
  DeleteRangeRequest,
  LeaseCheckpointRequest,
  LeaseGrantRequest,
  LeaseRevokeRequest,
  PutRequest,
  RangeRequest,
  TxnRequest,
} from "@quorate/api/messages";
import { AuthStore } from "@quorate/auth";
import { encodeChange, encodeMember, type Member, type MembershipChange } from "@quorate/membership";
import { TABLES } from "@quorate/mvcc";
import { ConfChangeType, type ConfState, Entry, EntryType, encodeConfChange, index, term } from "@quorate/raft";
import { BrokenInvariant } from "@quorate/world";
import { SimulatedMember } from "../testing/simulated-member.ts";
import { Applier } from "./applier.ts";
import { confStateJson, parseConfState } from "./conf-state.ts";

/** The applier over the parts of a member that is not started. */
class Bench {
  readonly simulated = new SimulatedMember();
  readonly outcomes: string[] = [];
  readonly terms: number[] = [];
  readonly changes: string[] = [];
  applier: Applier = null as never;
  #index = 0;

  async open(nowMs = 1000): Promise<this> {
    this.simulated.world.nowMs = nowMs;
    await this.simulated.open();
    this.applier = new Applier(this.simulated.parts.state, 1, 0, {
      entryApplied: (_high, low, outcome) => this.outcomes.push(`${low} ${outcome.error ?? "ok"} ${outcome.revision}`),
      applyConfChange: (change) => confState({ voters: change.nodeId === 0n ? [] : [change.nodeId] }),
      membershipChanged: (change) => this.changes.push(change.kind),
      clusterVersionSet: (version) => this.changes.push(version),
      termBegan: (began) => this.terms.push(began),
      loggedIn: () => {},
      credentialsDropped: () => {},
    });
    return this;
  }

  /** Applies one operation and asserts that the applied index followed, whatever came of it. */
  apply(op: RaftOp, bytes: Uint8Array, entryTerm = 1): string {
    const at = ++this.#index;
    const data = encodeRaftRequest(1, at, Buffer.alloc(0), 0, op, bytes, 0, bytes.length);
    this.applier.apply(new Entry(EntryType.Normal, term(entryTerm), index(at), data));
    assert.equal(this.simulated.member.backend.appliedIndex, at);
    return this.outcomes.at(-1)!.slice(String(at).length + 1);
  }

  entry(type: EntryType, data: Uint8Array, entryTerm = 1): void {
    const at = ++this.#index;
    this.applier.apply(new Entry(type, term(entryTerm), index(at), data));
    assert.equal(this.simulated.member.backend.appliedIndex, at);
  }

  flush(): void {
    const { backend } = this.simulated.member;
    backend.flush((error) => assert.equal(error, null));
    this.simulated.storage.step();
    assert.equal(backend.flushedIndex, this.#index);
  }
}

function confState(fields: Partial<ConfState>): ConfState {
  return { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false, ...fields };
}

const a = Buffer.from("a");
const put = (lease = 0n): Uint8Array => PutRequest.encode({ key: a, value: a, lease });
const grant = (ID: bigint): Uint8Array => LeaseGrantRequest.encode({ ID, TTL: 60 });
const alarm = (action: number, type: number): Uint8Array => AlarmRequest.encode({ action, memberID: 1n, alarm: type });

function conf(): Uint8Array {
  const member = { id: 9n, peerUrls: ["http://a:1"], isLearner: false, name: "n", clientUrls: [] };
  return encodeConfChange({
    id: 0n,
    type: ConfChangeType.AddNode,
    nodeId: 9n,
    context: Buffer.from(encodeMember(member)),
  });
}

/** Entries of every kind, with what each comes to; most come to nothing. */
function everything(bench: Bench): string[] {
  bench.entry(EntryType.ConfChange, conf());
  bench.entry(EntryType.Normal, Buffer.alloc(0));
  return [
    bench.apply(RaftOp.Put, put()),
    bench.apply(RaftOp.Put, put(99n)),
    bench.apply(RaftOp.LeaseGrant, grant(7n)),
    bench.apply(RaftOp.LeaseGrant, grant(7n)),
    bench.apply(RaftOp.Put, put(7n)),
    bench.apply(RaftOp.LeaseRevoke, LeaseRevokeRequest.encode({ ID: 99n })),
    bench.apply(RaftOp.DeleteRange, DeleteRangeRequest.encode({ key: Buffer.from("none") })),
    bench.apply(RaftOp.Compaction, CompactionRequest.encode({ revision: 99 })),
    bench.apply(RaftOp.Compaction, CompactionRequest.encode({ revision: 2 })),
    bench.apply(RaftOp.Compaction, CompactionRequest.encode({ revision: 2 })),
    bench.apply(RaftOp.Txn, TxnRequest.encode({ success: [{ requestRange: { key: a, revision: 50 } }] } as never)),
    bench.apply(RaftOp.Alarm, alarm(AlarmAction.GET, AlarmType.NONE)),
    bench.apply(RaftOp.Alarm, alarm(AlarmAction.DEACTIVATE, AlarmType.CORRUPT)),
    bench.apply(RaftOp.Alarm, alarm(AlarmAction.ACTIVATE, AlarmType.NOSPACE)),
    bench.apply(RaftOp.Put, put()),
    bench.apply(RaftOp.LeaseRevoke, LeaseRevokeRequest.encode({ ID: 7n })),
    bench.apply(RaftOp.ClusterVersionSet, ClusterVersionSetRequest.encode({ ver: "3.7.0" })),
  ];
}

// covers: AP-04
test("the applied index follows every entry: refused, failed, empty, a question, a configuration", async () => {
  const bench = await new Bench().open();
  assert.deepEqual(everything(bench), [
    "ok 2",
    "LeaseNotFound 2",
    "ok 2",
    "LeaseExists 2",
    "ok 3",
    "LeaseNotFound 3",
    "ok 3",
    "FutureRevision 3",
    "ok 3",
    "Compacted 3",
    "FutureRevision 3",
    "ok 3",
    "ok 3",
    "ok 3",
    "NoSpace 3",
    "ok 4",
    "ok 4",
  ]);
  bench.flush();
  assert.deepEqual(bench.terms, [1]);
});

// covers: AP-07, AP-09
test("what is applied depends on entries alone, not on clocks, waiters or members", async () => {
  const one = await new Bench().open(1000);
  const other = await new Bench().open(987_654_321);
  other.simulated.member.lessor.promote(0);
  everything(one);
  everything(other);
  one.flush();
  other.flush();
  assert.deepEqual(one.simulated.image.records, other.simulated.image.records);
  for (const table of TABLES) {
    assert.deepEqual(one.simulated.image.table(table), other.simulated.image.table(table), table);
  }
  assert.ok(one.simulated.image.table("alarm").size > 0);
});

test("an operation this build does not know, or bytes that are none, stop it before anything is changed", async () => {
  const operation = (op: number): Uint8Array =>
    encodeRaftRequest(1, 1, Buffer.alloc(0), 0, op as RaftOp, Buffer.alloc(0), 0, 0);
  for (const data of [
    operation(5000),
    encodeRaftRequest(1, 1, Buffer.alloc(0), 0, RaftOp.Put, Buffer.from([0xff]), 0, 1),
    Buffer.from([0xff]),
  ]) {
    const bench = await new Bench().open();
    const entry = new Entry(EntryType.Normal, term(1), index(1), data);
    assert.throws(() => bench.applier.apply(entry));
    assert.deepEqual(bench.outcomes, []);
    assert.equal(bench.simulated.member.backend.appliedIndex, 0);
  }
  const bench = await new Bench().open();
  const unknown = new Entry(EntryType.Normal, term(1), index(1), operation(5000));
  assert.throws(() => bench.applier.apply(unknown), BrokenInvariant);
});

// covers: AP-14
test("corruption refuses every write, but not what tells of it and ends it", async () => {
  const bench = await new Bench().open();
  bench.apply(RaftOp.LeaseGrant, grant(7n));
  bench.apply(RaftOp.Alarm, alarm(AlarmAction.ACTIVATE, AlarmType.CORRUPT));
  bench.apply(RaftOp.Alarm, alarm(AlarmAction.ACTIVATE, AlarmType.NOSPACE));
  const txn = TxnRequest.encode({ success: [{ requestDeleteRange: { key: a } }] } as never);
  for (const [op, bytes] of [
    [RaftOp.Put, put()],
    [RaftOp.DeleteRange, DeleteRangeRequest.encode({ key: a })],
    [RaftOp.Txn, txn],
    [RaftOp.Compaction, CompactionRequest.encode({ revision: 1 })],
    [RaftOp.LeaseGrant, grant(8n)],
    [RaftOp.LeaseRevoke, LeaseRevokeRequest.encode({ ID: 7n })],
  ] as const) {
    assert.equal(bench.apply(op, bytes), "Corrupt 1");
  }
  assert.equal(bench.apply(RaftOp.Alarm, alarm(AlarmAction.DEACTIVATE, AlarmType.CORRUPT)), "ok 1");
  assert.equal(bench.apply(RaftOp.Put, put()), "NoSpace 1");
});

test("the configuration is kept with the entry that made it, whatever the ids", async () => {
  const bench = await new Bench().open();
  bench.entry(EntryType.ConfChange, conf());
  bench.flush();
  const stored = bench.simulated.image.table("meta").get(Buffer.from("confState").toString("hex"));
  assert.equal(Buffer.from(stored!).toString(), '{"voters":[9],"auto_leave":false}');
  for (const state of [
    confState({}),
    confState({ voters: [1n], autoLeave: true }),
    confState({
      voters: [2n ** 64n - 1n, 2n ** 53n + 1n],
      learners: [5n],
      votersOutgoing: [6n, 7n],
      learnersNext: [8n],
    }),
  ]) {
    assert.deepEqual(parseConfState(confStateJson(state)), state);
  }
});

// covers: MB-02, MB-06, MB-13
test("a change of the membership that does not fit changes nothing, here or in raft, and moves the index all the same", async () => {
  const bench = await new Bench().open();
  const { membership } = bench.simulated.member;
  const member = (id: bigint, url: string, isLearner = false): Member => ({
    id,
    peerUrls: [url],
    isLearner,
    name: "",
    clientUrls: [],
  });
  const apply = (change: MembershipChange): string => {
    const before = bench.changes.length;
    bench.entry(EntryType.ConfChange, encodeConfChange({ id: 5n, ...encodeChange(change) }));
    const told = bench.changes.length > before ? ` ${bench.changes.at(-1)}` : "";
    return bench.outcomes.at(-1)!.split(" ")[1]! + told;
  };
  assert.equal(apply({ kind: "add", member: member(1n, "http://a:1") }), "ok add");
  assert.equal(apply({ kind: "add", member: member(1n, "http://b:1") }), "MemberExists");
  assert.equal(apply({ kind: "add", member: member(2n, "http://a:1") }), "PeerUrlExists");
  assert.equal(apply({ kind: "add", member: member(2n, "http://b:1", true) }), "ok add");
  assert.equal(apply({ kind: "add", member: member(3n, "http://c:1", true) }), "TooManyLearners");
  assert.equal(apply({ kind: "updatePeerUrls", id: 2n, peerUrls: ["http://d:1"] }), "ok updatePeerUrls");
  assert.equal(membership.member(2n)?.isLearner, true);
  assert.equal(apply({ kind: "promote", id: 2n }), "ok promote");
  assert.equal(apply({ kind: "promote", id: 2n }), "MemberNotLearner");
  assert.equal(apply({ kind: "remove", id: 2n }), "ok remove");
  assert.equal(apply({ kind: "add", member: member(2n, "http://b:1") }), "MemberNotFound");
  assert.deepEqual(bench.simulated.parts.state.confState.voters, [], "raft heard of a change of node 0");
});

// covers: LE-06
test("recorded remaining times are used by the next leader's clock", async () => {
  const bench = await new Bench().open();
  bench.apply(RaftOp.LeaseGrant, LeaseGrantRequest.encode({ ID: 7n, TTL: 600 }));
  bench.apply(RaftOp.LeaseCheckpoint, LeaseCheckpointRequest.encode({ checkpoints: [{ ID: 7n, remainingTTL: 40 }] }));
  const { lessor } = bench.simulated.member;
  lessor.promote(0);
  assert.equal(lessor.timeToLive(7n)?.remainingSeconds, 40);
});

test("a read that another member put into the log changes nothing", async () => {
  const bench = await new Bench().open();
  assert.equal(bench.apply(RaftOp.Range, RangeRequest.encode({ key: a })), "ok 1");
});

test("users and roles of any name are applied, as on etcd's members, and there after a restart", async () => {
  const bench = await new Bench().open();
  const long = "n".repeat(20_000);
  const add = AuthUserAddRequest.encode({ name: long, hashedPassword: Buffer.from("hash").toString("base64") });
  assert.match(bench.apply(RaftOp.AuthUserAdd, add), /^ok/);
  assert.match(bench.apply(RaftOp.AuthUserAdd, add), /^UserAlreadyExists/);
  assert.match(bench.apply(RaftOp.AuthRoleAdd, AuthRoleAddRequest.encode({ name: long })), /^ok/);
  bench.flush();
  const { storage } = bench.simulated;
  const stored = new AuthStore({ put: () => {}, scan: (table, visit) => storage.scan(table, visit) });
  assert.deepEqual([stored.users(), stored.roles()], [[long], [long]]);
  assert.match(bench.apply(RaftOp.AuthUserDelete, AuthUserDeleteRequest.encode({ name: long })), /^ok/);
  assert.deepEqual(bench.simulated.parts.state.auth.users(), []);
});
