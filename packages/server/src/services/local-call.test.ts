/** Calls of our own methods: what is passed on, when answers come, and what becomes of waits whose watch is overtaken. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Init,
  LeaderRequest,
  LeaderResponse,
  LockRequest,
  LockResponse,
  RangeResponse,
  TxnResponse,
  WatchResponse,
} from "@quorate/api/messages";
import type { BodySource, Method, ServerCall } from "@quorate/rpc";
import { FakeCall } from "../testing/fake-call.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import { electionMethods } from "./election.ts";
import { failOuter, LocalMethods } from "./local-call.ts";
import { lockMethods } from "./lock.ts";
import { RANGE } from "./owner-keys.ts";

const RANGE_PATH = "/etcdserverpb.KV/Range";
const TXN_PATH = "/etcdserverpb.KV/Txn";
const WATCH_PATH = "/etcdserverpb.Watch/Watch";
const header = { revision: 5 };

/** A member's methods whose calls wait until the test answers them. */
class Scripted {
  readonly world = new ManualWorld();
  readonly calls: ServerCall[] = [];
  readonly methods: LocalMethods;

  constructor() {
    const keep = (call: ServerCall): void => {
      this.calls.push(call);
    };
    this.methods = new LocalMethods(
      [
        [RANGE_PATH, { kind: "unary", handle: keep }],
        [TXN_PATH, { kind: "unary", handle: keep }],
        [
          WATCH_PATH,
          {
            kind: "stream",
            open: (call) => {
              keep(call);
              return { message: () => {}, halfClosed: () => {} };
            },
          },
        ],
      ],
      this.world,
    );
  }

  /** The paths of calls made since the last time that are still open. */
  get open(): string[] {
    return this.calls.filter((call) => call.isOpen).map((call) => call.path);
  }

  answer(bytes: Uint8Array): void {
    const call = this.calls.at(-1)!;
    if (call.path === WATCH_PATH) call.send(bytes, 0, bytes.length);
    else call.respond(bytes, 0, bytes.length);
    this.settle();
  }

  settle(): void {
    while (this.world.runTurn());
  }

  start(method: [string, Method], request: Uint8Array): FakeCall {
    const call = new FakeCall(method[0]);
    assert(method[1].kind !== "stream");
    method[1].handle(call, request, 0, request.length);
    this.settle();
    return call;
  }
}

function kv(key: string, createRevision: number, value = ""): object {
  return { key: Buffer.from(key), createRevision, modRevision: createRevision, version: 1, value: Buffer.from(value) };
}

function ranges(succeeded: boolean, ...found: readonly object[][]): Uint8Array {
  const responses = found.map((kvs) => ({ responseRange: { kvs, count: kvs.length } }));
  return TxnResponse.encode({ header, succeeded, responses } as Init<TxnResponse>);
}

test("an inner call has the client's metadata, connection and deadline, but not its wish for a leader", () => {
  const { methods, calls } = new Scripted();
  const outer = new FakeCall("/outer", { token: "t", hasleader: "true" });
  methods.unary(outer, RANGE, {}, () => {});
  const inner = calls[0]!;
  assert.equal(inner.metadata("token"), "t");
  assert.equal(`${inner.metadataBytes("token")}`, "t");
  assert.equal(inner.metadata("hasleader"), undefined);
  assert.equal(inner.connection, outer.connection);
  assert.equal(inner.deadlineMs, outer.deadlineMs);
  assert.equal(inner.path, RANGE_PATH);
});

test("an answer comes in a turn of its own, once, and never after the call was abandoned", () => {
  const { methods, calls, world } = new Scripted();
  const outer = new FakeCall("/outer");
  const heard: (string | number)[] = [];
  const ask = (): ReturnType<LocalMethods["unary"]> =>
    methods.unary(outer, RANGE, {}, (failure, found) => heard.push(failure?.message ?? found!.count));
  const bytes = RangeResponse.encode({ count: 7 });
  ask();
  calls[0]!.respond(bytes, 0, bytes.length);
  calls[0]!.fail(2, "too late");
  assert.deepEqual(heard, []);
  world.runTurn();
  assert.deepEqual(heard, [7]);
  ask();
  calls[1]!.fail(8, "full");
  world.runTurn();
  assert.deepEqual(heard, [7, "full"]);
  const third = ask();
  let cancelled = 0;
  calls[2]!.owner = { cancelled: () => cancelled++ };
  third.abandon();
  third.abandon();
  calls[2]!.respond(bytes, 0, bytes.length);
  const fourth = ask();
  calls[3]!.respond(bytes, 0, bytes.length);
  fourth.abandon();
  while (world.runTurn());
  assert.deepEqual([heard, cancelled], [[7, "full"], 1]);
});

test("a body that is produced in pieces is put together, also when it pauses, and let go of when it is cut off", () => {
  const { methods, calls, world } = new Scripted();
  const outer = new FakeCall("/outer");
  const heard: string[] = [];
  const ask = (): ServerCall => {
    methods.unary(outer, RANGE, {}, (failure, found) => heard.push(failure?.message ?? `${found!.count}`));
    return calls.at(-1)!;
  };
  const bytes = RangeResponse.encode({ count: 300 });
  let released = 0;
  const body = (pieces: (Uint8Array | null)[]): BodySource => ({
    read: () => pieces.shift() ?? null,
    released: () => released++,
  });
  const call = ask();
  call.respondFrom(bytes.length, body([bytes.subarray(0, 1), null, bytes.subarray(1)]));
  assert.deepEqual([heard, released], [[], 0]);
  call.resume();
  world.runTurn();
  assert.deepEqual([heard, released], [["300"], 1]);
  const cut = ask();
  cut.respondFrom(bytes.length, body([null]));
  cut.cutOff();
  world.runTurn();
  assert.deepEqual([heard.at(-1), released], ["etcdserver: leader changed", 2]);
});

test("a paused stream keeps its messages, and its service hears when they are taken", () => {
  const { methods, calls, world } = new Scripted();
  const received: number[] = [];
  let drained = 0;
  const call = methods.open(new FakeCall("/outer"), WATCH_PATH, WatchResponse, [], {
    received: (message) => received.push(message.length),
    ended: () => {},
  });
  const inner = calls[0]!;
  inner.owner = { cancelled: () => {}, drained: () => drained++ };
  const message = Buffer.alloc(200_000);
  call.pause();
  assert.equal(inner.send(message, 0, message.length), true);
  assert.equal(inner.sendShared(message, 0, 1000, message), false);
  world.runTurn();
  assert.deepEqual([received, inner.queuedBytes, drained], [[], 401_000, 0]);
  call.unpause();
  world.runTurn();
  assert.deepEqual([received, inner.queuedBytes, drained], [[200_000, 201_000], 0, 1]);
});

test("only the caller's own end of patience keeps its code", () => {
  const ended = (code: number, message: string): number => {
    const call = new FakeCall("/outer");
    failOuter(call, { code, message });
    return call.status!.code;
  };
  assert.equal(ended(4, "context deadline exceeded"), 4);
  assert.equal(ended(1, "context canceled"), 1);
  assert.equal(ended(1, "etcdserver: request canceled"), 2);
  assert.equal(ended(14, "etcdserver: request timed out"), 2);
});

test("a waiter whose watch was overtaken by compaction looks again", () => {
  const scripted = new Scripted();
  const [lock] = lockMethods(scripted.methods);
  const call = scripted.start(lock!, LockRequest.encode({ name: Buffer.from("l"), lease: 1n }));
  const own = kv("l/1", 5);
  scripted.answer(ranges(true, [], [kv("l/9", 4)]));
  scripted.answer(ranges(true, [kv("l/9", 4)], [own]));
  assert.deepEqual(scripted.open, [WATCH_PATH]);
  scripted.answer(WatchResponse.encode({ created: true }));
  assert.deepEqual(scripted.open, [WATCH_PATH]);
  scripted.answer(WatchResponse.encode({ canceled: true, compactRevision: 7 }));
  assert.deepEqual(scripted.open, [TXN_PATH]);
  scripted.answer(ranges(true, [], [own]));
  assert.deepEqual(call.status, { code: 0, message: "" });
  assert.equal(`${LockResponse.decode(call.messages[0]!, 0, call.messages[0]!.length).key}`, "l/1");
});

// covers: LO-05
test("a waiter whose watch is refused or whose read fails says so and leaves", () => {
  for (const end of ["refused", "stream", "read"] as const) {
    const scripted = new Scripted();
    const [lock] = lockMethods(scripted.methods);
    const call = scripted.start(lock!, LockRequest.encode({ name: Buffer.from("l"), lease: 1n }));
    scripted.answer(ranges(true, [], [kv("l/9", 4)]));
    if (end === "read") {
      scripted.calls.at(-1)!.fail(14, "why");
      scripted.settle();
    } else {
      scripted.answer(ranges(true, [kv("l/9", 4)], [kv("l/1", 5)]));
      if (end === "refused") scripted.answer(WatchResponse.encode({ canceled: true, cancelReason: "why" }));
      else {
        scripted.calls.at(-1)!.fail(14, "why");
        scripted.settle();
      }
    }
    assert.deepEqual(call.status, { code: 2, message: "why" }, end);
    assert.deepEqual(scripted.open, [TXN_PATH], "it deletes its key");
  }
});

test("an observer whose watch was overtaken by compaction hears of the leader of now", () => {
  const scripted = new Scripted();
  const observe = electionMethods(scripted.methods).find(([path]) => path.endsWith("/Observe"))!;
  const call = scripted.start(observe, LeaderRequest.encode({ name: Buffer.from("e") }));
  const found = (...kvs: object[]): Uint8Array => RangeResponse.encode({ header, kvs } as Init<RangeResponse>);
  scripted.answer(found());
  scripted.answer(WatchResponse.encode({ canceled: true, compactRevision: 7 }));
  scripted.answer(found(kv("e/1", 4, "a")));
  scripted.answer(WatchResponse.encode({ canceled: true, compactRevision: 9 }));
  assert.deepEqual(scripted.open, [RANGE_PATH]);
  scripted.answer(found(kv("e/2", 8, "b")));
  assert.deepEqual(
    call.messages.map((each) => `${LeaderResponse.decode(each, 0, each.length).kv!.value}`),
    ["a", "b"],
  );
  scripted.answer(WatchResponse.encode({ canceled: true, cancelReason: "why" }));
  assert.deepEqual([call.status, scripted.open], [{ code: 2, message: "why" }, []]);
});
