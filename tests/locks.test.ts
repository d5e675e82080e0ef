/**
 * Locks and elections end to end: both services through real gRPC, step by step beside a real etcd where one is installed
 * (ETCD names it; v3.4 and newer answer alike); and the same recipes as etcdctl runs them itself, over ranges, txns, leases
 * and watches. At the end what a lock does not do (known failure LO-02).
 *
 * covers: LO-02
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { CompareTarget } from "@quorate/api";
import {
  CampaignRequest,
  CampaignResponse,
  type Init,
  type LeaderKey,
  LeaderRequest,
  LeaderResponse,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LockRequest,
  LockResponse,
  ProclaimRequest,
  ProclaimResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  ResignRequest,
  ResignResponse,
  TxnRequest,
  TxnResponse,
  UnlockRequest,
  UnlockResponse,
} from "@quorate/api/messages";
import type { CallOptions, RpcError } from "@quorate/rpc";
import { Etcdctl } from "./harness/etcdctl.ts";
import { etcdVersion, isInstalled, ServerProcess, sleep } from "./harness/processes.ts";
import { Calls, machineClock, send } from "./harness/rpc.ts";

/** Long enough for a call that waits to have said so. */
const WAITS_MS = 150;
const PATIENCE_MS = 10_000;
const GIVEN_UP = /^context deadline exceeded$|^stream terminated by RST_STREAM/;

/** One server and what a script hears from it, in words without what differs from run to run. */
class Scene {
  readonly transcript: string[] = [];
  readonly #calls: Calls;

  constructor(port: number) {
    this.#calls = new Calls(port);
  }

  close(): void {
    this.#calls.close();
  }

  async grant(...ids: bigint[]): Promise<void> {
    for (const ID of ids) {
      const request = { ID, TTL: 60 };
      await this.#calls.unary("etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, LeaseGrantResponse, request);
    }
  }

  async revoke(ID: bigint): Promise<void> {
    await this.#calls.unary("etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, LeaseRevokeResponse, { ID });
  }

  async put(key: string): Promise<void> {
    await this.#calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, { key: Buffer.from(key) });
  }

  /** In one revision. */
  async removeBoth(...keys: string[]): Promise<void> {
    const success = keys.map((key) => ({ requestDeleteRange: { key: Buffer.from(key) } }));
    await this.#calls.unary("etcdserverpb.KV/Txn", TxnRequest, TxnResponse, { success });
  }

  async keys(prefix: string): Promise<void> {
    const end = `${prefix.slice(0, -1)}${String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)}`;
    const request = { key: Buffer.from(prefix), rangeEnd: Buffer.from(end) };
    const { kvs } = await this.#calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, request);
    this.transcript.push(`keys: ${kvs.map((kv) => `${kv.key}=${kv.value}`).join(" ")}`);
  }

  /** An answer's place in the transcript is where the script awaits it: two calls may be answered in either order. */
  async hears(answer: Promise<string>): Promise<void> {
    this.transcript.push(await answer);
  }

  lock(name: string, lease: bigint, options: CallOptions = {}): Promise<string> {
    const request = { name: Buffer.from(name), lease };
    return this.#heard(
      "lock",
      this.#calls.unary("v3lockpb.Lock/Lock", LockRequest, LockResponse, request, options),
      (r) => `${r.key} @${r.header!.revision}`,
    );
  }

  unlock(key: string): Promise<string> {
    const answer = this.#calls.unary("v3lockpb.Lock/Unlock", UnlockRequest, UnlockResponse, { key: Buffer.from(key) });
    return this.#heard("unlock", answer, (r) => `@${r.header!.revision}`);
  }

  campaign(name: string, lease: bigint, value: string, options: CallOptions = {}): Promise<string> {
    const request = { name: Buffer.from(name), lease, value: Buffer.from(value) };
    const method = "v3electionpb.Election/Campaign";
    return this.#heard(
      "campaign",
      this.#calls.unary(method, CampaignRequest, CampaignResponse, request, options),
      (r) => `${r.leader!.name} ${r.leader!.key} ${r.leader!.rev} ${r.leader!.lease} @${r.header!.revision}`,
    );
  }

  proclaim(leader: Init<LeaderKey> | null, value: string): Promise<string> {
    const request = { ...(leader === null ? {} : { leader }), value: Buffer.from(value) };
    const answer = this.#calls.unary("v3electionpb.Election/Proclaim", ProclaimRequest, ProclaimResponse, request);
    return this.#heard("proclaim", answer, (r) => `@${r.header!.revision}`);
  }

  resign(leader: Init<LeaderKey> | null): Promise<string> {
    const request = leader === null ? {} : { leader };
    const answer = this.#calls.unary("v3electionpb.Election/Resign", ResignRequest, ResignResponse, request);
    return this.#heard("resign", answer, (r) => `@${r.header!.revision}`);
  }

  leader(name: string): Promise<string> {
    const request = { name: Buffer.from(name) };
    const answer = this.#calls.unary("v3electionpb.Election/Leader", LeaderRequest, LeaderResponse, request);
    return this.#heard("leader", answer, told);
  }

  /** What is observed goes into the transcript as it comes; `news` waits for that many more. */
  observe(name: string): { news(count: number): Promise<void>; cancel(): void } {
    const seen: string[] = [];
    let taken = 0;
    const call = this.#calls.stream(
      "v3electionpb.Election/Observe",
      LeaderResponse,
      (response) => seen.push(told(response)),
      () => {},
    );
    send(call, LeaderRequest, { name: Buffer.from(name) });
    call.halfClose();
    return {
      news: async (count) => {
        const deadline = Date.now() + PATIENCE_MS;
        while (seen.length < taken + count && Date.now() < deadline) await sleep(5);
        await sleep(30);
        for (const each of seen.slice(taken)) this.transcript.push(`observed: ${each}`);
        taken = seen.length;
      },
      cancel: () => call.cancel(),
    };
  }

  /** That a call is still waiting. */
  async waits(call: Promise<string>): Promise<void> {
    const isWaiting = await Promise.race([call.then(() => false), sleep(WAITS_MS).then(() => true)]);
    this.transcript.push(isWaiting ? "waits" : "has answered");
  }

  #heard<Response>(what: string, answer: Promise<Response>, words: (response: Response) => string): Promise<string> {
    return answer.then(
      (response) => `${what}: ${words(response)}`,
      // A deadline reaches the client as its own, as the server's status, or as a reset, whichever comes first.
      ({ code, message }: RpcError) => `${what}: ${GIVEN_UP.test(message) ? "gave up" : `${code} ${message}`}`,
    );
  }
}

function soon(): CallOptions {
  return { deadlineMs: machineClock.monotonicMs() + 300 };
}

function told({ kv, header }: LeaderResponse): string {
  return `${kv!.key}=${kv!.value}:${kv!.createRevision}/${kv!.modRevision} @${header!.revision}`;
}

interface Script {
  readonly name: string;
  readonly run: (scene: Scene) => Promise<void>;
  readonly expected: readonly string[];
  /** etcd answers so from this version on. */
  readonly since?: string;
}

const SCRIPTS: readonly Script[] = [
  {
    name: "locks go from hand to hand",
    run: async (scene) => {
      await scene.grant(1n, 2n, -3n);
      await scene.hears(scene.lock("l", 1n));
      const second = scene.lock("l", 2n);
      await scene.waits(second);
      const third = scene.lock("l", -3n);
      await scene.waits(third);
      await scene.keys("l/");
      await scene.hears(scene.lock("l", 1n));
      await scene.hears(scene.unlock("l/1"));
      await scene.hears(second);
      await scene.waits(third);
      await scene.revoke(2n);
      await scene.hears(third);
      await scene.hears(scene.unlock("l/none"));
    },
    expected: [
      "lock: l/1 @2",
      "waits",
      "waits",
      "keys: l/-3= l/1= l/2=",
      "lock: l/1 @4",
      "unlock: @5",
      "lock: l/2 @5",
      "waits",
      "lock: l/-3 @6",
      "unlock: @6",
    ],
  },
  {
    name: "a waiter that is gone leaves nothing behind",
    run: async (scene) => {
      await scene.grant(1n, 2n);
      await scene.hears(scene.lock("l", 1n));
      await scene.hears(scene.lock("l", 2n, soon()));
      await sleep(200);
      await scene.keys("l/");
      await scene.hears(scene.campaign("e", 1n, "a"));
      await scene.hears(scene.campaign("e", 2n, "b", soon()));
      await sleep(200);
      await scene.keys("e/");
    },
    expected: [
      "lock: l/1 @2",
      "lock: gave up",
      "keys: l/1=",
      "campaign: e e/1 5 1 @5",
      "campaign: gave up",
      "keys: e/1=a",
    ],
  },
  {
    name: "a waiter whose key is gone by the time its turn has come does not own the lock",
    since: "3.5",
    run: async (scene) => {
      await scene.grant(1n, 2n);
      await scene.hears(scene.lock("l", 1n));
      const second = scene.lock("l", 2n);
      await scene.waits(second);
      await scene.removeBoth("l/1", "l/2");
      await scene.hears(second);
    },
    expected: ["lock: l/1 @2", "waits", "lock: 2 mutex: session is expired"],
  },
  {
    name: "errors keep their text and lose their code",
    run: async (scene) => {
      await scene.hears(scene.lock("l", 77n));
      await scene.hears(scene.unlock(""));
      await scene.hears(scene.campaign("e", 77n, "v"));
      await scene.hears(scene.leader("e"));
      await scene.hears(scene.proclaim(null, "v"));
      await scene.hears(scene.resign(null));
      await scene.hears(scene.proclaim({ name: Buffer.from("e"), key: Buffer.from("e/1"), rev: 1, lease: 77n }, "v"));
    },
    expected: [
      "lock: 2 etcdserver: requested lease not found",
      "unlock: 2 etcdserver: key is not provided",
      "campaign: 2 etcdserver: requested lease not found",
      "leader: 2 election: no leader",
      'proclaim: 2 "leader" field must be provided',
      'resign: 2 "leader" field must be provided',
      "proclaim: 2 election: not leader",
    ],
  },
  {
    name: "an election from its first candidate to its last, and who watches it",
    run: async (scene) => {
      await scene.grant(10n, 11n);
      const observer = scene.observe("e");
      await sleep(WAITS_MS);
      await scene.put("ex");
      await scene.hears(scene.campaign("e", 10n, "a"));
      await observer.news(1);
      const second = scene.campaign("e", 11n, "b");
      await scene.waits(second);
      await scene.hears(scene.leader("e"));
      const leader = { name: Buffer.from("e"), key: Buffer.from("e/a"), rev: 3, lease: 10n };
      await scene.hears(scene.proclaim(leader, "c"));
      await observer.news(1);
      await scene.hears(scene.campaign("e", 10n, "d"));
      await observer.news(1);
      await scene.hears(scene.campaign("e", 10n, "d"));
      await scene.hears(scene.resign({ ...leader, rev: 4 }));
      await scene.hears(scene.resign(leader));
      await scene.hears(second);
      await observer.news(1);
      await scene.hears(scene.proclaim(leader, "late"));
      await scene.revoke(11n);
      await scene.hears(scene.leader("e"));
      observer.cancel();
    },
    expected: [
      "campaign: e e/a 3 10 @3",
      "observed: e/a=a:3/3 @3",
      "waits",
      "leader: e/a=a:3/3 @4",
      "proclaim: @5",
      "observed: e/a=c:3/5 @5",
      "campaign: e e/a 3 10 @5",
      "observed: e/a=d:3/6 @6",
      "campaign: e e/a 3 10 @6",
      "resign: @6",
      "resign: @7",
      "campaign: e e/b 4 11 @4",
      "observed: e/b=b:4/4 @7",
      "proclaim: 2 election: not leader",
      "leader: 2 election: no leader",
    ],
  },
];

function describeScripts(whose: string, start: () => Promise<ServerProcess>, skip: boolean, version = "9"): void {
  describe(`locks and elections of ${whose}`, { skip, concurrency: false }, () => {
    for (const { name, run, expected, since = "3" } of SCRIPTS) {
      it(name, { skip: version < since && `only from etcd ${since} on` }, async () => {
        const server = await start();
        const scene = new Scene(server.ports.client);
        try {
          await run(scene);
          assert.deepEqual(scene.transcript, expected);
        } finally {
          scene.close();
          await server.dispose();
        }
      });
    }
  });
}

describeScripts("Quorate", () => ServerProcess.quorate(), false);

const ETCD_VERSION = etcdVersion();
describeScripts("etcd", () => ServerProcess.etcd(), ETCD_VERSION === "", ETCD_VERSION);

describe("etcdctl's own locks and elections", { skip: !isInstalled("etcdctl", "version") }, () => {
  let server: ServerProcess;
  let ctl: Etcdctl;

  before(async () => {
    server = await (process.env.QUORATE_TEST_SUBJECT === "etcd" ? ServerProcess.etcd() : ServerProcess.quorate());
    ctl = new Etcdctl(server.endpoint);
  });
  after(async () => {
    await ctl.stopAll();
    await server.dispose();
  });

  async function keysUnder(prefix: string, count: number): Promise<string[]> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const keys = (await ctl.ok(["get", prefix, "--prefix", "--keys-only"])).split("\n").filter((line) => line !== "");
      if (keys.length === count || Date.now() > deadline) return keys;
      await sleep(20);
    }
  }

  it("a lock is held until its holder is interrupted, and goes to who waits", async () => {
    const first = ctl.start(["lock", "l"]);
    const [key] = await first.lines(1);
    assert.match(key!, /^l\/[0-9a-f]+$/);
    const second = ctl.start(["lock", "l"]);
    assert.equal((await keysUnder("l/", 2)).length, 2);
    first.child.kill("SIGINT");
    const secondKey = await second.line();
    assert.notEqual(secondKey, key);
    await first.end();
    assert.deepEqual(await keysUnder("l/", 1), [secondKey]);
    second.child.kill("SIGINT");
    await second.end();
    assert.deepEqual(await keysUnder("l/", 0), []);
  });

  it("a command runs under a lock and knows its key and revision; its end is the lock's", async () => {
    const script = 'echo "$ETCD_LOCK_KEY $ETCD_LOCK_REV"';
    assert.match(await ctl.ok(["lock", "cmd", "--", "sh", "-c", script]), /^cmd\/[0-9a-f]+ [0-9]+\n$/);
    const failed = await ctl.run(["lock", "cmd", "--", "sh", "-c", "exit 7"]);
    assert.notEqual(failed.code, 0, "etcdctl 3.4 says 1, later ones the command's own code");
    assert.deepEqual(await keysUnder("cmd/", 0), []);
  });

  it("a lock whose holder is killed is free when its session has expired", async () => {
    const first = ctl.start(["lock", "ttl", "--ttl=2"]);
    await first.line();
    await first.stop();
    const second = ctl.start(["lock", "ttl"]);
    assert.match(await second.line(), /^ttl\//);
    await second.stop();
  });

  it("the elect command campaigns, proclaims and resigns, and listeners hear of it", async () => {
    const listener = ctl.start(["elect", "e", "--listen"]);
    const first = ctl.start(["elect", "e", "one"]);
    const [firstKey, firstValue] = await first.lines(2);
    assert.match(firstKey!, /^e\/[0-9a-f]+$/);
    assert.equal(firstValue, "one");
    assert.deepEqual(await listener.lines(2), [firstKey, "one"]);
    const second = ctl.start(["elect", "e", "two"]);
    assert.equal((await keysUnder("e/", 2)).length, 2);
    first.child.kill("SIGINT");
    const [secondKey, secondValue] = await second.lines(2);
    assert.equal(secondValue, "two");
    assert.deepEqual(await listener.lines(2), [secondKey, "two"]);
  });
});

/** Two clients that both believe to hold the lock: one was paused until its session had expired. */
describe("a holder that was paused", () => {
  let server: ServerProcess;
  let calls: Calls;

  before(async () => {
    server = await ServerProcess.quorate();
    calls = new Calls(server.ports.client);
    for (const ID of [1n, 2n]) {
      await calls.unary("etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, LeaseGrantResponse, { ID, TTL: 60 });
    }
  });
  after(async () => {
    calls.close();
    await server.dispose();
  });

  /** Acquires the lock; its fencing token is the revision that its key was created at. */
  async function acquire(lease: bigint): Promise<{ key: Uint8Array; createRevision: number }> {
    const name = Buffer.from("l");
    const { key } = await calls.unary("v3lockpb.Lock/Lock", LockRequest, LockResponse, { name, lease });
    const { kvs } = await calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, { key });
    return { key, createRevision: kvs[0]!.createRevision };
  }

  async function guarded(): Promise<string> {
    const { kvs } = await calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, { key: Buffer.from("x") });
    return `${kvs[0]!.value}`;
  }

  it("overwrites what the next holder wrote, unless its writes compare the lock's create revision", async () => {
    const x = { key: Buffer.from("x"), value: Buffer.from("by the first") };
    const put = { requestPut: x };
    const paused = await acquire(1n);
    await calls.unary("etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, LeaseRevokeResponse, { ID: 1n });
    await acquire(2n);
    const byTheSecond = { key: x.key, value: Buffer.from("by the second") };
    await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, byTheSecond);
    await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, x);
    assert.equal(await guarded(), "by the first", "the lock alone protects nothing");

    await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, byTheSecond);
    const compare = [{ key: paused.key, target: CompareTarget.CREATE, createRevision: paused.createRevision }];
    const request = { compare, success: [put] };
    const { succeeded } = await calls.unary("etcdserverpb.KV/Txn", TxnRequest, TxnResponse, request);
    assert.equal(succeeded, false);
    assert.equal(await guarded(), "by the second");
  });
});
