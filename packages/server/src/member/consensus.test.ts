import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import {
  ConfChangeType,
  type ConfState,
  Entry,
  EntryType,
  type HardState,
  index,
  MemoryLogStorage,
  Message,
  MessageType,
  type NodeId,
  RawNode,
  Role,
  type Snapshot,
  term,
} from "@quorate/raft";
import { SeededRandom } from "@quorate/wal/testing";
import { type Log, silentLog } from "@quorate/world";
import { ManualWorld } from "../testing/manual-world.ts";
import { Consensus, type ConsensusOwner, type Proposal } from "./consensus.ts";
import type { DurableLog } from "./log-appends.ts";
import type { ReadWaiter } from "./read-rounds.ts";
import { RequestIds } from "./request-ids.ts";

interface Save {
  readonly entries: readonly Entry[];
  readonly hardState: HardState | null;
  readonly done: (error: Error | null) => void;
}

class FixedConfStorage extends MemoryLogStorage {
  readonly confState: ConfState;

  constructor(voters: readonly NodeId[]) {
    super();
    this.confState = { voters: [...voters], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  }

  override initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return { hardState: super.initialState().hardState, confState: this.confState };
  }
}

/** Member 1 of a group, its log completing writes when told, its owner writing down what it hears. */
class Bench implements ConsensusOwner, DurableLog {
  readonly world = new ManualWorld();
  readonly storage: FixedConfStorage;
  readonly raft: RawNode;
  readonly consensus: Consensus;
  readonly saves: Save[] = [];
  readonly events: string[] = [];
  readonly sent: Message[] = [];
  isStorageBehind = false;
  onApply: (entry: Entry) => void = () => {};
  failure: Error | null = null;
  readonly installs: (() => void)[] = [];
  /** Messages given to the network and not flushed. */
  unflushed = 0;
  /** What raft logs at level info. */
  readonly logged: string[] = [];

  constructor(voters: readonly NodeId[] = [1n], preVote = false) {
    this.storage = new FixedConfStorage(voters);
    this.raft = new RawNode({
      id: 1n,
      electionTicks: 10,
      heartbeatTicks: 1,
      storage: this.storage,
      applied: index(0),
      maxSizePerMessageBytes: 1024 * 1024,
      maxCommittedSizePerReadyBytes: 0,
      maxUncommittedSizeBytes: 1000,
      maxInflightMessages: 512,
      maxInflightBytes: 0,
      checkQuorum: true,
      preVote,
      readOnly: "safe",
      disableProposalForwarding: false,
      disableConfChangeValidation: false,
      stepDownOnRemoval: false,
      asyncStorageWrites: true,
      random: new SeededRandom(1),
      log: { ...silentLog, info: (text) => void this.logged.push(text) } satisfies Log,
    });
    this.consensus = new Consensus(
      {
        raft: this.raft,
        storage: this.storage,
        wal: this,
        owner: this,
        clock: this.world,
        timers: this.world,
        log: silentLog,
        ids: new RequestIds(1n, 0),
        requestTimeoutMs: 7000,
        stallMs: 1000,
      },
      0,
    );
  }

  save(entries: readonly Entry[], hardState: HardState | null, done: (error: Error | null) => void): void {
    this.saves.push({ entries: [...entries], hardState, done });
    this.events.push(`save ${names(entries)}`);
  }

  /** Completes the oldest write. */
  durable(error: Error | null = null): void {
    const save = this.saves.shift()!;
    this.events.push("durable");
    save.done(error);
  }

  apply(entries: readonly Entry[]): void {
    this.events.push(`apply ${names(entries)}`);
    for (const entry of entries) this.onApply(entry);
  }

  leaderChanged(leader: NodeId, role: Role): void {
    this.events.push(`leader ${leader}${role === Role.Leader ? " itself" : ""}`);
  }

  flushPeers(): void {
    this.unflushed = 0;
  }

  installSnapshot(snapshot: Snapshot, hardState: HardState, done: () => void): void {
    this.events.push(`install ${snapshot.metadata.index} commit ${hardState.commit}`);
    this.installs.push(done);
  }

  send(message: Message): void {
    this.sent.push(message);
    this.unflushed++;
  }

  logFailed(error: Error): void {
    this.failure = error;
  }

  turnEnded(): void {
    assert.equal(this.unflushed, 0, "every turn ends with its messages on their way");
  }

  saved(): void {}

  /** Elected, its first entry durable and applied. */
  lead(): this {
    this.consensus.campaign();
    while (this.saves.length > 0) this.durable();
    this.events.length = 0;
    return this;
  }

  proposalsDropped(proposals: readonly Proposal[]): void {
    for (const { data } of proposals) this.dropped.push(String(data));
  }

  changeDropped(): void {
    this.dropped.push("change");
  }
  readonly dropped: string[] = [];

  propose(text: string): Proposal {
    const proposal: Proposal = { data: Buffer.from(text), isAbandoned: false, isProposed: false, leaderTerm: null };
    this.consensus.propose(proposal);
    return proposal;
  }

  turn(): void {
    while (this.world.runTurn()) {
      // All of it.
    }
  }

  reader(name: string): ReadWaiter {
    return {
      readReady: () => this.events.push(`read ${name}`),
      readFailed: (reason) => this.events.push(`${name} ${reason}`),
    };
  }

  tick(ms: number): void {
    for (let left = ms; left > 0; left -= 100) {
      this.world.nowMs += 100;
      this.consensus.tick();
    }
  }

  step(type: MessageType, from: NodeId, fields: Partial<Message>): void {
    const message = new Message(type, 1n, from);
    Object.assign(message, fields);
    this.consensus.step(message);
    this.turn();
  }
}

function names(entries: readonly Entry[]): string {
  return entries.map((each) => (each.data.length === 0 ? "-" : Buffer.from(each.data).toString())).join("");
}

// covers: AP-06, AP-13
test("a lone voter applies an entry only after its own save completed", () => {
  const bench = new Bench().lead();
  bench.propose("a");
  bench.turn();
  assert.deepEqual(bench.events, ["save a"]);
  bench.turn();
  bench.tick(500);
  assert.deepEqual(bench.events, ["save a"]);
  bench.durable();
  assert.deepEqual(bench.events, ["save a", "durable", "apply a"]);
});

test("what is proposed while a save is under way goes out as one save, in order", () => {
  const bench = new Bench().lead();
  bench.propose("a");
  bench.turn();
  bench.propose("b");
  bench.turn();
  bench.propose("c");
  bench.propose("d");
  bench.turn();
  assert.deepEqual(bench.events, ["save a"]);
  bench.durable();
  assert.deepEqual(bench.events, ["save a", "durable", "save bcd", "apply a"]);
  bench.durable();
  assert.deepEqual(bench.events.slice(4), ["durable", "apply bcd"]);
});

test("a commit index is not written by itself, and the next save carries it", () => {
  const bench = new Bench().lead();
  bench.propose("a");
  bench.turn();
  const commitBefore = bench.saves[0]!.hardState!.commit;
  bench.durable();
  assert.equal(bench.consensus.appliedIndex, commitBefore + 1);
  bench.tick(1000);
  assert.equal(bench.saves.length, 0);
  bench.propose("b");
  bench.turn();
  assert.equal(bench.saves[0]!.hardState!.commit, commitBefore + 1);
});

// covers: WA-08
test("after a failed save nothing is applied, answered, proposed or read", () => {
  const bench = new Bench().lead();
  bench.propose("a");
  bench.turn();
  bench.propose("b");
  bench.durable(new Error("EIO"));
  assert.equal(bench.failure?.message, "EIO");
  bench.turn();
  bench.tick(10_000);
  bench.consensus.read(bench.reader("r"));
  bench.turn();
  assert.deepEqual(bench.events, ["save a", "durable", "r Stopped"]);
  assert.equal(bench.saves.length, 0);
});

test("a proposal nobody waits for any more is not proposed", () => {
  const bench = new Bench();
  bench.propose("a").isAbandoned = true;
  bench.propose("b");
  bench.turn();
  bench.lead();
  const stored = bench.storage.entries(index(1), index(bench.storage.lastIndex() + 1), 1e6)!;
  assert.deepEqual(names(stored), "-b");
});

test("what is proposed and read while entries are applied is done in the same turn", () => {
  const bench = new Bench().lead();
  bench.onApply = (entry) => {
    if (Buffer.from(entry.data).toString() !== "a") return;
    bench.propose("b");
    bench.consensus.read(bench.reader("r"));
  };
  bench.propose("a");
  bench.turn();
  bench.durable();
  assert.deepEqual(bench.events, ["save a", "durable", "apply a", "save b", "read r"]);
});

// covers: RA-18
test("proposals that raft refuses end nothing, and later ones are taken", () => {
  const bench = new Bench().lead();
  bench.propose("x".repeat(900));
  bench.turn();
  bench.propose("y".repeat(900));
  bench.turn();
  bench.durable();
  assert.equal(bench.saves.length, 0);
  bench.propose("b");
  bench.turn();
  assert.equal(names(bench.saves[0]!.entries), "b");
});

// --- what must be durable before it is told

// covers: RA-02
test("a vote given while a save is under way is itself saved before it is told", () => {
  const bench = new Bench([1n, 2n, 3n]);
  const entry = { type: EntryType.Normal, term: term(1), index: index(1), data: Buffer.from("a") } as Entry;
  bench.step(MessageType.App, 2n, {
    term: term(1),
    index: index(0),
    logTerm: term(0),
    entries: [entry],
    commit: index(0),
  });
  assert.equal(bench.saves.length, 1);
  // The leader of term 1 is gone, so member 3 stands in term 2; its log is as good as ours.
  bench.step(MessageType.Vote, 3n, {
    term: term(2),
    index: index(1),
    logTerm: term(1),
    context: Buffer.from("CampaignTransfer"),
  });
  assert.equal(bench.sent.length, 0);
  bench.durable();
  assert.deepEqual(
    bench.sent.map((each) => each.type),
    [MessageType.AppResp],
  );
  assert.equal(bench.saves.length, 1, "the vote is written before it is told");
  assert.deepEqual([bench.saves[0]!.hardState!.term, bench.saves[0]!.hardState!.vote], [2, 3n]);
  bench.durable();
  assert.equal(bench.sent.at(-1)!.type, MessageType.VoteResp);
  assert.equal(bench.sent.at(-1)!.reject, false);
});

// covers: RA-03
test("a follower acknowledges entries only when they are durable", () => {
  const bench = new Bench([1n, 2n, 3n]);
  const entry = { type: EntryType.Normal, term: term(1), index: index(1), data: Buffer.from("a") } as Entry;
  bench.step(MessageType.App, 2n, {
    term: term(1),
    index: index(0),
    logTerm: term(0),
    entries: [entry],
    commit: index(1),
  });
  assert.equal(bench.sent.length, 0);
  assert.deepEqual(
    bench.events.filter((each) => each.startsWith("apply")),
    [],
  );
  bench.durable();
  assert.equal(bench.sent[0]!.type, MessageType.AppResp);
  assert.deepEqual(
    bench.events.filter((each) => each.startsWith("apply")),
    ["apply a"],
  );
});

test("entries that commit while their own save is under way are said to be durable once", () => {
  const bench = new Bench([1n, 2n, 3n]);
  const entry = (at: number): Entry => new Entry(EntryType.Normal, term(1), index(at), Buffer.from(`e${at}`));
  const append = { term: term(1), logTerm: term(1) };
  bench.step(MessageType.App, 2n, {
    ...append,
    logTerm: term(0),
    index: index(0),
    entries: [entry(1)],
    commit: index(0),
  });
  bench.step(MessageType.App, 2n, { ...append, index: index(1), entries: [], commit: index(1) });
  bench.logged.length = 0;
  bench.durable();
  assert.deepEqual(bench.logged, []);
  assert.deepEqual(
    bench.events.filter((each) => each.startsWith("apply")),
    ["apply e1"],
  );
  bench.step(MessageType.App, 2n, { ...append, index: index(1), entries: [entry(2)], commit: index(1) });
  bench.durable();
  assert.deepEqual(
    bench.sent.map((each) => each.index),
    [1, 1, 2],
    "the next entry is stored and told as ever",
  );
});

test("entries whose save ends after a change of term are durable for raft with the next write", () => {
  const bench = new Bench([1n, 2n, 3n]);
  const entry = new Entry(EntryType.Normal, term(1), index(1), Buffer.from("a"));
  const from = { logTerm: term(0), index: index(0), entries: [entry], commit: index(0) };
  bench.step(MessageType.App, 2n, { ...from, term: term(1) });
  // Of term 2: our answer to the write of term 1 counts for nothing.
  bench.step(MessageType.App, 3n, { term: term(2), logTerm: term(1), index: index(1), entries: [], commit: index(1) });
  bench.durable();
  bench.durable();
  assert.deepEqual(
    bench.events.filter((each) => each.startsWith("apply")),
    ["apply a"],
  );
});

test("the hard state for a mark is never behind the log's, and covers what is applied and no more than the log has", () => {
  const bench = new Bench([1n, 2n, 3n]);
  const entry = (i: number) =>
    ({ type: EntryType.Normal, term: term(1), index: index(i), data: Buffer.from("a") }) as Entry;
  bench.step(MessageType.App, 2n, {
    term: term(1),
    index: index(0),
    logTerm: term(0),
    entries: [entry(1)],
    commit: index(1),
  });
  bench.step(MessageType.App, 2n, {
    term: term(1),
    index: index(1),
    logTerm: term(1),
    entries: [entry(2)],
    commit: index(2),
  });
  // Entry 2 is known to be committed but not even being written.
  assert.deepEqual(bench.consensus.hardStateForMark, { term: 1, vote: 0n, commit: 1 });
  bench.durable();
  bench.durable();
  assert.equal(bench.consensus.hardStateForMark.commit, 2);
});

// --- linearizable reads

test("a lone leader that has applied everything answers at once, and not otherwise", () => {
  const bench = new Bench();
  bench.consensus.read(bench.reader("early"));
  bench.turn();
  assert.equal(bench.events.length, 0);
  bench.consensus.campaign();
  assert.equal(bench.consensus.mayReadNow, false);
  while (bench.saves.length > 0) {
    assert.equal(bench.events.includes("read early"), false);
    bench.durable();
  }
  assert.equal(bench.events.at(-1), "read early");
  assert.equal(bench.consensus.mayReadNow, true);
  bench.events.length = 0;
  bench.consensus.read(bench.reader("r"));
  assert.deepEqual(bench.events, ["read r"]);
  bench.propose("a");
  bench.turn();
  // Not committed yet, so nobody was told of it: reading is allowed.
  assert.equal(bench.consensus.mayReadNow, true);
  bench.onApply = () => assert.equal(bench.consensus.mayReadNow, false);
  bench.durable();
  assert.equal(bench.consensus.mayReadNow, true);
});

/** Leads members 2 and 3, who acknowledged its first entry. */
function leadThree(): Bench {
  const bench = new Bench([1n, 2n, 3n]);
  bench.consensus.campaign();
  bench.durable();
  bench.step(MessageType.VoteResp, 2n, { term: term(1) });
  bench.durable();
  bench.step(MessageType.AppResp, 2n, { term: term(1), index: index(1) });
  assert.equal(bench.consensus.isLeader, true);
  assert.equal(bench.consensus.appliedIndex, 1);
  bench.events.length = 0;
  bench.sent.length = 0;
  return bench;
}

function heartbeatContexts(bench: Bench): Buffer[] {
  const contexts = bench.sent
    .filter((each) => each.type === MessageType.Heartbeat && each.to === 2n && each.context.length > 0)
    .map((each) => Buffer.from(each.context));
  bench.sent.length = 0;
  return contexts;
}

// covers: RA-05
test("a read never uses a round that began before it", () => {
  const bench = leadThree();
  bench.consensus.read(bench.reader("first"));
  bench.turn();
  const [context] = heartbeatContexts(bench);
  bench.consensus.read(bench.reader("second"));
  bench.turn();
  assert.equal(heartbeatContexts(bench).length, 0, "one round at a time");
  bench.step(MessageType.HeartbeatResp, 2n, { term: term(1), context: context! });
  assert.deepEqual(bench.events, ["read first"]);
  const [next] = heartbeatContexts(bench);
  assert.notDeepEqual(next, context);
  bench.step(MessageType.HeartbeatResp, 3n, { term: term(1), context: context! });
  assert.deepEqual(bench.events, ["read first"]);
  bench.step(MessageType.HeartbeatResp, 3n, { term: term(1), context: next! });
  assert.deepEqual(bench.events, ["read first", "read second"]);
});

// covers: RA-05, RA-07
test("each retry has an id of its own, and an answer to any try of the round will do", () => {
  const bench = leadThree();
  bench.consensus.read(bench.reader("r"));
  bench.turn();
  const first = heartbeatContexts(bench)[0]!;
  bench.tick(600);
  const all = heartbeatContexts(bench).map((each) => each.toString("hex"));
  const retries = new Set(all.filter((each) => each !== first.toString("hex")));
  assert.equal(retries.size, 1);
  bench.step(MessageType.HeartbeatResp, 2n, { term: term(1), context: Buffer.from([...retries][0]!, "hex") });
  assert.deepEqual(bench.events, ["read r"]);
});

test("a confirmed read waits until the confirmed index is applied", () => {
  const bench = leadThree();
  bench.propose("a");
  bench.turn();
  // Members 2 and 3 have it: committed, while our own disk still works, so it is not applied here.
  bench.step(MessageType.AppResp, 2n, { term: term(1), index: index(2) });
  bench.step(MessageType.AppResp, 3n, { term: term(1), index: index(2) });
  bench.consensus.read(bench.reader("r"));
  bench.turn();
  const context = heartbeatContexts(bench).at(-1)!;
  bench.step(MessageType.HeartbeatResp, 2n, { term: term(1), context });
  assert.equal(bench.events.includes("read r"), false);
  bench.durable();
  assert.deepEqual(bench.events.slice(-2), ["apply a", "read r"]);
});

// covers: RA-06
test("the reads of a round fail when the leader changes, also if its confirmation comes with the news", () => {
  const bench = leadThree();
  bench.consensus.read(bench.reader("r"));
  bench.turn();
  const [context] = heartbeatContexts(bench);
  const confirmation = new Message(MessageType.HeartbeatResp, 1n, 2n);
  confirmation.term = term(1);
  confirmation.context = context!;
  const deposed = new Message(MessageType.App, 1n, 3n);
  Object.assign(deposed, { term: term(2), index: index(1), logTerm: term(1), commit: index(1) });
  bench.consensus.step(confirmation);
  bench.consensus.step(deposed);
  bench.turn();
  assert.deepEqual(
    bench.events.filter((each) => each.startsWith("r")),
    ["r LeaderChanged"],
  );
});

// covers: RA-07, RA-12
test("a round that is never confirmed times out", () => {
  const bench = leadThree();
  bench.consensus.read(bench.reader("r"));
  bench.turn();
  for (let i = 0; i < 80; i++) {
    bench.tick(100);
    // Alive, but its answers carry no context: the quorum holds, the round is never confirmed.
    bench.step(MessageType.HeartbeatResp, 2n, { term: term(1) });
  }
  assert.deepEqual(
    bench.events.filter((each) => each.startsWith("r")),
    ["r Timeout"],
  );
});

test("without a leader every read waits its own full time", () => {
  const bench = new Bench([1n, 2n, 3n]);
  bench.consensus.read(bench.reader("first"));
  bench.tick(6000);
  bench.consensus.read(bench.reader("second"));
  bench.tick(1000);
  const heard = (): string[] => bench.events.filter((each) => /^(first|second)/.test(each));
  assert.deepEqual(heard(), ["first Timeout"]);
  bench.tick(5900);
  assert.deepEqual(heard(), ["first Timeout"]);
  bench.tick(200);
  assert.deepEqual(heard(), ["first Timeout", "second Timeout"]);
});

test("a stop fails every read and lets nothing more happen", () => {
  const bench = leadThree();
  bench.consensus.read(bench.reader("first"));
  bench.turn();
  bench.consensus.read(bench.reader("second"));
  bench.propose("a");
  bench.consensus.stop();
  bench.turn();
  assert.deepEqual(bench.events, ["first Stopped", "second Stopped"]);
});

/** Member 1, following member 2 in term 1, sent a snapshot up to index 9. */
function sentSnapshot(): Bench {
  const bench = new Bench([1n, 2n, 3n]);
  bench.step(MessageType.Heartbeat, 2n, { term: term(1) });
  while (bench.saves.length > 0) bench.durable();
  bench.events.length = 0;
  const confState = { voters: [1n, 2n, 3n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  const metadata = { index: index(9), term: term(1), confState };
  bench.step(MessageType.Snap, 2n, { term: term(1), snapshot: { data: new Uint8Array(0), metadata } });
  return bench;
}

// covers: SN-02
test("a snapshot is installed alone: what follows is saved and applied behind it, and its answer waits for it", () => {
  const bench = sentSnapshot();
  assert.deepEqual(bench.events, ["install 9 commit 9"]);
  assert.equal(bench.consensus.isInstalling(9), true);
  const next = new Entry(EntryType.Normal, term(1), index(10), Buffer.from("x"));
  bench.step(MessageType.App, 2n, {
    term: term(1),
    logTerm: term(1),
    index: index(9),
    entries: [next],
    commit: index(10),
  });
  assert.deepEqual(bench.events, ["install 9 commit 9"]);
  assert.equal(bench.sent.filter((each) => each.type === MessageType.AppResp).length, 0);
  bench.installs.shift()!();
  assert.deepEqual(bench.events, ["install 9 commit 9", "save x"]);
  assert.equal(bench.consensus.appliedIndex, 9);
  assert.equal(bench.consensus.isInstalling(9), false);
  assert.equal(bench.sent.find((each) => each.type === MessageType.AppResp)?.index, 9);
  bench.durable();
  assert.deepEqual(bench.events.slice(2), ["durable", "apply x"]);
});

test("what was being saved when a snapshot came is saved first, with the hard state of its own time", () => {
  const bench = new Bench([1n, 2n, 3n]);
  const entry = new Entry(EntryType.Normal, term(1), index(1), Buffer.from("a"));
  bench.step(MessageType.App, 2n, { term: term(1), entries: [entry], commit: index(1) });
  const confState = { voters: [1n, 2n, 3n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  const metadata = { index: index(9), term: term(1), confState };
  bench.step(MessageType.Snap, 2n, { term: term(1), snapshot: { data: new Uint8Array(0), metadata } });
  assert.equal(bench.saves[0]!.hardState!.commit, 1);
  assert.equal(
    bench.events.some((each) => each.startsWith("install")),
    false,
  );
  bench.durable();
  assert.equal(bench.events.at(-1), "install 9 commit 9");
});

// covers: WA-11
test("a leader whose log does not answer for an election timeout falls silent", () => {
  const bench = leadThree();
  bench.propose("a");
  bench.turn();
  bench.tick(900);
  bench.sent.length = 0;
  bench.tick(500);
  assert.deepEqual(
    bench.sent.filter((each) => each.type === MessageType.Heartbeat),
    [],
  );
  bench.durable();
  bench.tick(100);
  assert.notEqual(bench.sent.filter((each) => each.type === MessageType.Heartbeat).length, 0);
});

// covers: LE-01
test("the clock of a leader whose log does not answer stands still", () => {
  const bench = leadThree();
  bench.propose("a");
  bench.turn();
  bench.tick(900);
  const lastMs = bench.world.nowMs;
  assert.equal(bench.consensus.lastTickMs, lastMs);
  bench.tick(2000);
  assert.equal(bench.consensus.lastTickMs, lastMs);
  bench.durable();
  bench.tick(100);
  assert.equal(bench.consensus.lastTickMs, bench.world.nowMs);
});

// covers: WA-11
test("a leader whose log does not answer is not heard of either when clients write and read on", () => {
  const bench = leadThree();
  bench.propose("a");
  bench.turn();
  bench.tick(1000);
  bench.sent.length = 0;
  bench.propose("b");
  bench.consensus.read(bench.reader("r"));
  bench.turn();
  // What comes in is answered with nothing that keeps the others from electing somebody.
  bench.step(MessageType.AppResp, 2n, { term: term(1), index: index(2) });
  bench.tick(500);
  assert.equal(bench.sent.length, 0);
  bench.durable();
  bench.turn();
  bench.world.fireNext(bench.world.nowMs + 10);
  assert.notEqual(bench.sent.filter((each) => each.type === MessageType.App).length, 0);
});

test("a configuration change waits for a leader and is proposed then", () => {
  const bench = new Bench([1n]);
  const change = { id: 7n, type: ConfChangeType.AddNode, nodeId: 2n, context: new Uint8Array(0) };
  bench.consensus.proposeConfChange(change, () => true);
  bench.turn();
  assert.deepEqual(bench.saves, []);
  bench.lead();
  const stored = bench.storage.entries(index(1), index(bench.storage.lastIndex() + 1), 1e6)!;
  assert.deepEqual(
    stored.map((each) => each.type),
    [EntryType.Normal, EntryType.ConfChange],
  );
});

function appendsTo(bench: Bench, to: NodeId): string[] {
  return bench.sent
    .filter((each) => each.type === MessageType.App && each.to === to)
    .map((each) => `${names(each.entries)}@${each.commit}`);
}

test("news of the commit alone waits for the next entries, which tell it too, and for no longer than 2 ms", () => {
  const bench = leadThree();
  bench.propose("a");
  bench.turn();
  bench.durable();
  bench.step(MessageType.AppResp, 2n, { term: term(1), index: index(2) });
  bench.propose("b");
  bench.turn();
  assert.deepEqual(appendsTo(bench, 2n), ["a@1", "b@2"]);
  bench.durable();
  bench.step(MessageType.AppResp, 2n, { term: term(1), index: index(3) });
  assert.deepEqual(appendsTo(bench, 2n), ["a@1", "b@2"]);
  bench.world.fireNext(bench.world.nowMs + 2);
  assert.deepEqual(appendsTo(bench, 2n), ["a@1", "b@2", "@3"]);
});

test("a member that passed on a request hears of the commit at once, because somebody waits there", () => {
  const bench = leadThree();
  bench.step(MessageType.AppResp, 3n, { term: term(1), index: index(1) });
  const entry = new Entry(EntryType.Normal, term(0), index(0), Buffer.from("a"));
  bench.step(MessageType.Prop, 2n, { entries: [entry] });
  bench.durable();
  bench.step(MessageType.AppResp, 2n, { term: term(1), index: index(2) });
  bench.step(MessageType.AppResp, 3n, { term: term(1), index: index(2) });
  assert.deepEqual([appendsTo(bench, 2n), appendsTo(bench, 3n)], [["a@1", "@2"], ["a@1"]]);
});

test("while storage is behind, proposals wait, its own and passed on ones, and none is refused", () => {
  const bench = leadThree();
  bench.step(MessageType.AppResp, 2n, { term: term(1), index: index(1) });
  bench.events.length = 0;
  bench.isStorageBehind = true;
  bench.propose("a");
  const entry = new Entry(EntryType.Normal, term(0), index(0), Buffer.from("b"));
  bench.step(MessageType.Prop, 2n, { entries: [entry] });
  bench.turn();
  assert.deepEqual([bench.events, bench.dropped], [[], []]);
  bench.isStorageBehind = false;
  bench.consensus.resume();
  bench.turn();
  while (bench.saves.length > 0) bench.durable();
  assert.deepEqual(bench.events, ["save ba", "durable"]);
});

const passedOn = (data: Uint8Array): Partial<Message> => ({
  entries: [new Entry(EntryType.Normal, term(0), index(0), data)],
});

test("what was passed on while storage was behind is dropped if raft does not take it any more", () => {
  const deposed = leadThree();
  deposed.isStorageBehind = true;
  deposed.step(MessageType.Prop, 2n, passedOn(Buffer.from("b")));
  // Somebody is further: nobody leads for us.
  deposed.step(MessageType.AppResp, 2n, { term: term(5) });
  while (deposed.saves.length > 0) deposed.durable();
  deposed.isStorageBehind = false;
  deposed.consensus.resume();

  const handingOver = leadThree();
  handingOver.isStorageBehind = true;
  handingOver.step(MessageType.Prop, 2n, passedOn(Buffer.from("b")));
  handingOver.consensus.transferLeadership(2n);
  handingOver.isStorageBehind = false;
  handingOver.consensus.resume();

  const overloaded = leadThree();
  overloaded.isStorageBehind = true;
  for (let i = 0; i < 3; i++) overloaded.step(MessageType.Prop, 2n, passedOn(Buffer.alloc(600)));
  overloaded.isStorageBehind = false;
  overloaded.consensus.resume();
  overloaded.turn();
  assert.equal(overloaded.saves[0]?.entries.length, 1);
});

test("what was passed on goes on waiting while storage is still behind, and takes no more memory than a limit", () => {
  const bench = leadThree();
  bench.events.length = 0;
  bench.isStorageBehind = true;
  const large = Buffer.alloc(1024 * 1024);
  for (let i = 0; i < 100; i++) bench.step(MessageType.Prop, 2n, passedOn(large));
  bench.consensus.resume();
  bench.turn();
  assert.deepEqual(bench.events, []);
  let taken = 0;
  bench.raft.step = () => taken++;
  bench.isStorageBehind = false;
  bench.consensus.resume();
  assert.equal(taken, 63);
});

test("while storage is behind, a follower with entries it has not saved still helps to elect, and stands itself", () => {
  const behind = (): Bench => {
    const bench = new Bench([1n, 2n, 3n], true);
    bench.step(MessageType.Heartbeat, 2n, { term: term(1) });
    bench.durable();
    bench.isStorageBehind = true;
    const entry = new Entry(EntryType.Normal, term(1), index(1), Buffer.from("a"));
    bench.step(MessageType.App, 2n, { term: term(1), entries: [entry] });
    return bench;
  };
  const voter = behind();
  voter.consensus.forgetLeader();
  voter.step(MessageType.PreVote, 3n, { term: term(2), logTerm: term(1), index: index(1) });
  voter.turn();
  assert.deepEqual([countOf(voter, MessageType.PreVoteResp), voter.saves.length], [1, 0]);

  const candidate = behind();
  candidate.tick(5000);
  candidate.step(MessageType.PreVoteResp, 3n, { term: term(2) });
  // Its own vote of the new term, and with it the entry, becomes durable before it asks.
  while (candidate.saves.length > 0) candidate.durable();
  assert.ok(countOf(candidate, MessageType.Vote) > 0);
});

test("a candidate asks for votes only when its term and its own vote are durable", () => {
  const bench = new Bench([1n, 2n, 3n]);
  bench.consensus.campaign();
  assert.deepEqual([bench.saves[0]!.hardState!.term, bench.saves[0]!.hardState!.vote], [1, 1n]);
  assert.equal(countOf(bench, MessageType.Vote), 0);
  bench.durable();
  assert.deepEqual(
    bench.sent.filter((each) => each.type === MessageType.Vote).map((each) => [each.to, each.term]),
    [
      [2n, 1],
      [3n, 1],
    ],
  );
  bench.step(MessageType.VoteResp, 2n, { term: term(1) });
  assert.equal(bench.raft.role, Role.Leader);
});

function countOf(bench: Bench, type: MessageType): number {
  return bench.sent.filter((each) => each.type === type).length;
}

test("while storage is behind, a follower saves no entries and acknowledges none, but votes", () => {
  const bench = new Bench([1n, 2n, 3n]);
  bench.step(MessageType.Heartbeat, 2n, { term: term(1) });
  bench.durable();
  bench.isStorageBehind = true;
  const entry = new Entry(EntryType.Normal, term(1), index(1), Buffer.from("a"));
  bench.step(MessageType.App, 2n, { term: term(1), entries: [entry] });
  bench.turn();
  assert.deepEqual([bench.saves.length, bench.sent.filter((each) => each.type === MessageType.AppResp)], [0, []]);
  bench.consensus.forgetLeader();
  bench.step(MessageType.Vote, 3n, { term: term(2), logTerm: term(1), index: index(1) });
  bench.turn();
  assert.equal(bench.saves[0]?.hardState?.vote, 3n);
  bench.durable();
  assert.deepEqual(
    bench.sent.filter((each) => each.type === MessageType.VoteResp).map((each) => [each.to, each.reject]),
    [[3n, false]],
  );
});

test("a follower goes on with what it held back when storage has caught up", () => {
  const bench = new Bench([1n, 2n, 3n]);
  bench.step(MessageType.Heartbeat, 2n, { term: term(1) });
  bench.durable();
  bench.isStorageBehind = true;
  const entry = new Entry(EntryType.Normal, term(1), index(1), Buffer.from("a"));
  bench.step(MessageType.App, 2n, { term: term(1), entries: [entry] });
  bench.turn();
  bench.isStorageBehind = false;
  bench.consensus.resume();
  bench.turn();
  bench.durable();
  const answers = bench.sent.filter((each) => each.type === MessageType.AppResp);
  assert.deepEqual(
    answers.map((each) => each.index),
    [1],
  );
});
