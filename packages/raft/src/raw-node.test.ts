/** covers: RA-02, RA-04, RA-06, RA-14, RA-16, RA-18, RA-19, RA-20, MB-01, MB-02, MB-03, MB-16 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type LogLevel, silentLog } from "@quorate/world";
import { confChangeOf, encodeConfChange } from "./codec.ts";
import { ConfChangeTransition, ConfChangeType } from "./conf-change.ts";
import type { RaftConfig } from "./config.ts";
import { LOCAL_APPEND_THREAD, Message, MessageType, NO_BYTES } from "./message.ts";
import { Role } from "./raft.ts";
import { RawNode } from "./raw-node.ts";
import { MemoryLogStorage } from "./storage.ts";
import { type ConfState, EMPTY_CONF_STATE, Entry, EntryType, type Index, type NodeId, type Term } from "./types.ts";

const DEFAULTS: Omit<RaftConfig, "storage"> = {
  id: 1n,
  electionTicks: 10,
  heartbeatTicks: 1,
  applied: 2 as Index,
  maxSizePerMessageBytes: 1 << 20,
  maxCommittedSizePerReadyBytes: 0,
  maxUncommittedSizeBytes: 0,
  maxInflightMessages: 256,
  maxInflightBytes: 0,
  checkQuorum: false,
  preVote: false,
  readOnly: "safe",
  disableProposalForwarding: false,
  disableConfChangeValidation: false,
  stepDownOnRemoval: false,
  asyncStorageWrites: false,
  random: { below: () => 0 },
  log: silentLog,
};

/** A log that begins after index 2, term 1. */
function stored(voters: readonly NodeId[]): MemoryLogStorage {
  const storage = new MemoryLogStorage();
  const metadata = { index: 2 as Index, term: 1 as Term, confState: { ...EMPTY_CONF_STATE, voters } };
  storage.applySnapshot({ data: NO_BYTES, metadata });
  return storage;
}

/** Does everything a Ready asks, for as long as there is one. Returns what was applied and sent. */
function settle(node: RawNode, storage: MemoryLogStorage): { applied: Entry[]; sent: Message[]; reads: Index[] } {
  const [applied, sent, reads]: [Entry[], Message[], Index[]] = [[], [], []];
  while (node.hasReady()) {
    const ready = node.ready();
    if (ready.hardState !== null) storage.setHardState(ready.hardState);
    if (ready.snapshot !== null) storage.applySnapshot(ready.snapshot);
    storage.append(ready.entries);
    for (const entry of ready.committedEntries) {
      applied.push(entry);
      if (entry.type !== EntryType.Normal) node.applyConfChange(confChangeOf(entry));
    }
    sent.push(...ready.messages);
    reads.push(...ready.readStates.map((state) => state.index));
    node.advance(ready);
  }
  return { applied, sent, reads };
}

function leader(settings: Partial<RaftConfig> = {}): { node: RawNode; storage: MemoryLogStorage } {
  const storage = stored([1n]);
  const node = new RawNode({ ...DEFAULTS, ...settings, storage });
  node.campaign();
  settle(node, storage);
  assert.equal(node.role, Role.Leader);
  return { node, storage };
}

function message(type: MessageType, from: NodeId, fields: Partial<Message>): Message {
  return Object.assign(new Message(type, 1n, from), fields);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

test("a node alone elects itself, and a batch is appended, committed and applied in order", () => {
  const { node, storage } = leader();
  node.proposeBatch([text("a"), text("b"), text("c")]);
  const { applied } = settle(node, storage);
  assert.deepEqual(
    applied.map((entry) => [entry.term, entry.index, new TextDecoder().decode(entry.data)]),
    [
      [1, 4, "a"],
      [1, 5, "b"],
      [1, 6, "c"],
    ],
  );
  assert.equal(storage.lastIndex(), 6);
  assert.equal(node.basicStatus().uncommittedSizeBytes, 0);
  node.proposeBatch([]);
  assert.equal(node.hasReady(), false);
});

test("a follower elected by timeout has waited at least electionTicks and less than twice that", () => {
  for (const drawn of [0, 4, 9]) {
    const storage = stored([1n, 2n]);
    const node = new RawNode({ ...DEFAULTS, storage, random: { below: () => drawn } });
    let ticks = 0;
    while (node.role === Role.Follower) {
      node.tick();
      ticks++;
    }
    assert.equal(ticks, 10 + drawn);
  }
});

test("a vote is not counted before it is durable, even one's own", () => {
  const storage = stored([1n]);
  const node = new RawNode({ ...DEFAULTS, storage, asyncStorageWrites: true });
  node.campaign();
  const ready = node.ready();
  assert.equal(node.role, Role.Candidate);
  const work = ready.messages.find((one) => one.type === MessageType.StorageAppend)!;
  assert.deepEqual([work.term, work.vote], [1, 1n]);
  for (const response of work.responses) node.step(response);
  assert.equal(node.role, Role.Leader);
});

test("with storage writes of its own pace, several writes are under way and each is acknowledged for itself", () => {
  const { node: seed, storage } = leader();
  assert.equal(seed.lastIndex, 3);
  const node = new RawNode({ ...DEFAULTS, storage, applied: 3 as Index, asyncStorageWrites: true });
  node.campaign();
  const work: Message[] = [];
  const take = (): void => {
    for (const one of node.ready().messages) if (one.to === LOCAL_APPEND_THREAD) work.push(one);
  };
  const finish = (): void => {
    const { term, vote, commit, entries, responses } = work.shift()!;
    if (term !== 0) storage.setHardState({ term, vote, commit });
    storage.append(entries);
    for (const response of responses) node.step(response);
  };
  take();
  finish();
  node.propose(text("x"));
  take();
  node.propose(text("y"));
  take();
  assert.deepEqual([work.length, node.committed], [2, 3]);
  finish();
  assert.deepEqual([node.lastIndex, node.committed], [6, 5]);
  finish();
  assert.equal(node.committed, 6);
});

test("a Ready belongs to its taker: what happens afterwards does not change it", () => {
  const { node } = leader();
  node.propose(text("x"));
  const ready = node.ready();
  const before = [ready.messages.length, ready.readStates.length, ready.entries.length];
  node.readIndex(text("r"));
  assert.deepEqual([ready.messages.length, ready.readStates.length, ready.entries.length], before);
  assert.throws(() => node.ready(), { name: "BrokenInvariant" });
  node.advance(ready);
  assert.throws(() => node.advance(ready), { name: "BrokenInvariant" });
});

test("a proposal that cannot be appended says why", () => {
  const storage = stored([1n, 2n]);
  const node = new RawNode({ ...DEFAULTS, storage, disableProposalForwarding: true });
  assert.throws(() => node.propose(text("x")), { kind: "ProposalDropped", reason: "no leader is known" });
  node.step(message(MessageType.Heartbeat, 2n, { term: 1 as Term }));
  assert.throws(() => node.propose(text("x")), { kind: "ProposalDropped", reason: "forwarding is disabled" });
});

test("a follower passes proposals on to its leader, without a term", () => {
  const storage = stored([1n, 2n]);
  const node = new RawNode({ ...DEFAULTS, storage });
  node.step(message(MessageType.Heartbeat, 2n, { term: 1 as Term }));
  settle(node, storage);
  node.proposeBatch([text("x"), text("y")]);
  const [forwarded] = settle(node, storage).sent;
  assert.deepEqual([forwarded?.type, forwarded?.to, forwarded?.from, forwarded?.term], [MessageType.Prop, 2n, 1n, 0]);
  assert.equal(forwarded?.entries.length, 2);
});

test("uncommitted bytes are bounded, and the bound lifts when they are applied", () => {
  const { node, storage } = leader({ maxUncommittedSizeBytes: 10 });
  node.propose(new Uint8Array(100));
  assert.throws(() => node.propose(new Uint8Array(1)), { reason: "too many uncommitted bytes" });
  node.propose(NO_BYTES);
  settle(node, storage);
  assert.equal(node.basicStatus().uncommittedSizeBytes, 0);
  node.propose(new Uint8Array(10));
});

test("a proposal delivered twice within one process is two entries", () => {
  const { node, storage } = leader();
  const entry = new Entry(EntryType.Normal, 0 as Term, 0 as Index, text("x"));
  const proposal = message(MessageType.Prop, 2n, { entries: [entry] });
  node.step(proposal);
  node.step(proposal);
  const { applied } = settle(node, storage);
  assert.deepEqual(
    applied.map((one) => one.index),
    [4, 5],
  );
});

test("a read is not answered before an entry of the term is committed, even in a group of one", () => {
  const { storage } = leader();
  storage.setHardState({ term: 5 as Term, vote: 0n, commit: 2 as Index });
  const node = new RawNode({ ...DEFAULTS, storage });
  node.campaign();
  let ready = node.ready();
  storage.setHardState(ready.hardState!);
  node.advance(ready);
  assert.equal(node.role, Role.Leader);
  node.readIndex(text("early"));
  ready = node.ready();
  assert.equal(ready.readStates.length, 0);
  storage.append(ready.entries);
  node.advance(ready);
  assert.deepEqual(settle(node, storage).reads, [4]);
});

test("a second configuration change waits until the first is applied", () => {
  const { node, storage } = leader();
  const add = (nodeId: NodeId): void =>
    node.proposeConfChange({ id: 0n, type: ConfChangeType.AddLearnerNode, nodeId, context: NO_BYTES });
  add(2n);
  add(3n);
  const types = settle(node, storage).applied.map((entry) => entry.type);
  assert.deepEqual(types, [EntryType.ConfChange, EntryType.Normal]);
});

/** Wins an election with the vote of node 2. */
function elect(node: RawNode, storage: MemoryLogStorage): void {
  node.campaign();
  settle(node, storage);
  const vote = new Message(MessageType.VoteResp, node.id, 2n);
  vote.term = node.term;
  node.step(vote);
  settle(node, storage);
  assert.equal(node.role, Role.Leader);
}

test("a new leader takes no configuration change before it has applied what its predecessors left in its log", () => {
  const storage = stored([1n, 2n, 3n]);
  const add = { id: 0n, type: ConfChangeType.AddLearnerNode, nodeId: 4n, context: NO_BYTES };
  storage.append([new Entry(EntryType.ConfChange, 1 as Term, 3 as Index, encodeConfChange(add))]);
  storage.setHardState({ term: 1 as Term, vote: 0n, commit: 2 as Index });
  const node = new RawNode({ ...DEFAULTS, storage });
  elect(node, storage);
  node.proposeConfChange({ ...add, nodeId: 5n });
  settle(node, storage);
  const types = storage.entries(3 as Index, 6 as Index, Number.POSITIVE_INFINITY)!.map((entry) => entry.type);
  assert.deepEqual(types, [EntryType.ConfChange, EntryType.Normal, EntryType.Normal]);
});

test("a read asked of a leader is not answered by the same node when it leads again", () => {
  const storage = stored([1n, 2n, 3n]);
  const node = new RawNode({ ...DEFAULTS, storage });
  const from2 = (type: MessageType, fields: Partial<Message>): { reads: Index[] } => {
    node.step(Object.assign(new Message(type, 1n, 2n), { term: node.term }, fields));
    return settle(node, storage);
  };
  const commitFirstOfTerm = (): void => {
    elect(node, storage);
    from2(MessageType.AppResp, { index: node.lastIndex });
    assert.equal(node.committed, node.lastIndex);
  };
  commitFirstOfTerm();
  node.readIndex(text("asked"));
  const [heartbeat] = settle(node, storage).sent.filter((each) => each.type === MessageType.Heartbeat);
  const { context } = heartbeat!;
  from2(MessageType.Heartbeat, { term: (node.term + 1) as Term });
  assert.equal(node.role, Role.Follower);
  commitFirstOfTerm();
  assert.deepEqual(from2(MessageType.HeartbeatResp, { context }).reads, []);
});

test("an illegal configuration change changes nothing, and the node goes on", () => {
  const { node, storage } = leader();
  const remove = { id: 0n, type: ConfChangeType.RemoveNode, nodeId: 1n, context: NO_BYTES };
  assert.throws(() => node.applyConfChange(remove), { kind: "InvalidConfChange", message: "removed all voters" });
  assert.deepEqual(node.status().config.voters, [1n]);
  node.propose(text("x"));
  assert.equal(settle(node, storage).applied.length, 1);
});

test("node 0 in a configuration change is nobody", () => {
  const { node } = leader();
  const nobody = { id: 0n, type: ConfChangeType.RemoveNode, nodeId: 0n, context: NO_BYTES };
  assert.deepEqual(node.applyConfChange(nobody).voters, [1n]);
});

test("a change handed out before a snapshot came is not applied on top of it", () => {
  const storage = stored([1n, 2n]);
  const node = new RawNode({ ...DEFAULTS, storage, asyncStorageWrites: true });
  const confState = { ...EMPTY_CONF_STATE, voters: [1n, 2n], learners: [3n] };
  const metadata = { index: 9 as Index, term: 1 as Term, confState };
  node.step(message(MessageType.Snap, 2n, { term: 1 as Term, snapshot: { data: NO_BYTES, metadata } }));
  const older = { id: 0n, type: ConfChangeType.RemoveNode, nodeId: 3n, context: NO_BYTES };
  assert.deepEqual(node.applyConfChange(older), confState);
});

test("a voter accepts the snapshot that makes it a learner", () => {
  const storage = stored([1n, 2n]);
  const node = new RawNode({ ...DEFAULTS, storage });
  const confState = { ...EMPTY_CONF_STATE, voters: [2n], learners: [1n] };
  const metadata = { index: 9 as Index, term: 1 as Term, confState };
  node.step(message(MessageType.Snap, 2n, { term: 1 as Term, snapshot: { data: NO_BYTES, metadata } }));
  const { sent } = settle(node, storage);
  assert.deepEqual([node.applied, sent[0]?.index], [9, 9]);
  assert.deepEqual(node.status().config, confState);
});

test("what only this process may say is refused from peers", () => {
  const { node } = leader();
  for (const type of [MessageType.Hup, MessageType.Beat, MessageType.CheckQuorum, MessageType.StorageAppendResp]) {
    assert.throws(() => node.step(message(type, 2n, {})), { kind: "LocalMessageFromPeer" });
  }
  assert.throws(() => node.step(message(MessageType.AppResp, 9n, { term: 1 as Term })), { kind: "UnknownPeer" });
});

test("messages no correct peer sends are refused and change nothing", () => {
  const storage = stored([1n, 2n]);
  const node = new RawNode({ ...DEFAULTS, storage });
  const entry = (term: number, index: number, type: EntryType = EntryType.Normal): Entry =>
    new Entry(type, term as Term, index as Index, text("\x08"));
  const term = 3 as Term;
  const start = { term, index: 2 as Index, logTerm: 1 as Term };
  const wrong: Message[] = [
    message(MessageType.App, 2n, { ...start, entries: [entry(3, 4)] }),
    message(MessageType.App, 2n, { ...start, entries: [entry(3, 3), entry(3, 5)] }),
    message(MessageType.App, 2n, { ...start, entries: [entry(3, 3), entry(2, 4)] }),
    message(MessageType.App, 2n, { ...start, entries: [entry(4, 3)] }),
    message(MessageType.App, 2n, { ...start, term: 0 as Term }),
    message(MessageType.Heartbeat, 2n, {}),
    message(MessageType.Vote, 2n, {}),
    message(MessageType.Prop, 2n, {}),
    message(MessageType.Prop, 2n, { entries: [entry(0, 0, EntryType.ConfChange)] }),
    message(MessageType.ReadIndex, 2n, {}),
  ];
  for (const one of wrong) assert.throws(() => node.step(one), { kind: "MalformedMessage" });
  assert.deepEqual([node.term, node.lastIndex, node.lead, node.hasReady()], [0, 2, 0n, false]);
});

test("an acknowledgement of entries that do not exist is refused", () => {
  const { node } = leader();
  const ack = message(MessageType.AppResp, 1n, { term: 1 as Term, index: 99 as Index });
  assert.throws(() => node.step(ack), { kind: "MalformedMessage" });
});

test("a leader without a quorum steps down, and says so", () => {
  const lines: string[] = [];
  const log = {
    ...silentLog,
    isEnabled: (level: LogLevel) => level === "warn",
    warn: (line: string) => lines.push(line),
  };
  const storage = stored([1n, 2n, 3n]);
  const node = new RawNode({ ...DEFAULTS, storage, checkQuorum: true, log });
  node.campaign();
  settle(node, storage);
  node.step(message(MessageType.VoteResp, 2n, { term: 1 as Term }));
  assert.equal(node.role, Role.Leader);
  for (let i = 0; i < 20 && node.role === Role.Leader; i++) node.tick();
  assert.equal(node.role, Role.Follower);
  assert.deepEqual(lines, ["1 stepped down to follower since quorum is not active"]);
});

test("a joint configuration is left by itself, once", () => {
  const { node, storage } = leader();
  const changes = [
    { type: ConfChangeType.AddLearnerNode, nodeId: 2n },
    { type: ConfChangeType.AddLearnerNode, nodeId: 3n },
  ];
  const change = { transition: ConfChangeTransition.Auto, changes, context: NO_BYTES };
  node.proposeConfChange(change);
  const { applied } = settle(node, storage);
  const lengths = applied.map((entry) => [entry.type, entry.data.length > 0]);
  assert.deepEqual(lengths, [
    [EntryType.ConfChangeV2, true],
    [EntryType.ConfChangeV2, false],
  ]);
  assert.deepEqual(node.status().config, { ...EMPTY_CONF_STATE, voters: [1n], learners: [2n, 3n] });
});

test("a configuration out of its limits is refused", () => {
  const storage = stored([1n]);
  const wrong: Partial<RaftConfig>[] = [
    { id: 0n },
    { id: LOCAL_APPEND_THREAD },
    { heartbeatTicks: 0 },
    { electionTicks: 1 },
    { maxSizePerMessageBytes: 0 },
    { maxInflightMessages: 0 },
    { maxInflightBytes: 1 },
    { readOnly: "lease" },
  ];
  for (const settings of wrong) {
    assert.throws(() => new RawNode({ ...DEFAULTS, storage, ...settings }), { kind: "InvalidConfig" });
  }
});

test("a snapshot whose configuration contradicts itself is refused, and the node goes on as it was", () => {
  const good = { ...EMPTY_CONF_STATE, voters: [1n, 2n, 3n] };
  const cases: [ConfState, number][] = [
    [{ ...good, voters: [1n, 1n, 2n] }, 2],
    [{ ...good, voters: [1n, 0n] }, 2],
    [{ ...good, voters: [], learners: [1n] }, 2],
    [{ ...good, learners: [1n] }, 2],
    [{ ...good, learners: [4n, 4n] }, 2],
    [{ ...good, learnersNext: [4n] }, 2],
    [{ ...good, autoLeave: true }, 2],
    [{ ...good, votersOutgoing: [1n, 4n], learners: [4n] }, 2],
    [{ ...good, votersOutgoing: [1n, 4n], learnersNext: [1n] }, 2],
    [{ ...good, votersOutgoing: [1n, 4n], learnersNext: [5n] }, 2],
    [good, 0],
    [good, 4],
  ];
  for (const [confState, term] of cases) {
    const storage = stored([1n, 2n, 3n]);
    const node = new RawNode({ ...DEFAULTS, storage });
    const metadata = { index: 9 as Index, term: term as Term, confState };
    const fields = { term: 3 as Term, snapshot: { data: NO_BYTES, metadata } };
    assert.throws(() => node.step(message(MessageType.Snap, 2n, fields)), { kind: "MalformedMessage" });
    assert.deepEqual([node.committed, node.lastIndex, node.pendingSnapshotIndex, node.term], [2, 2, 0, 0]);
    assert.equal(node.hasReady(), false);
  }
});
