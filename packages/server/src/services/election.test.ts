/** Elections against the semantics reference, §8, on one member whose time stands still unless told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { StatusCode } from "@quorate/api";
import {
  CampaignRequest,
  CampaignResponse,
  type Init,
  LeaderKey,
  LeaderRequest,
  LeaderResponse,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
  ProclaimRequest,
  ProclaimResponse,
  PutRequest,
  PutResponse,
  ResignRequest,
  ResignResponse,
} from "@quorate/api/messages";
import { FakeCall } from "../testing/fake-call.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";

const CAMPAIGN = "/v3electionpb.Election/Campaign";
const PROCLAIM = "/v3electionpb.Election/Proclaim";
const LEADER = "/v3electionpb.Election/Leader";
const OBSERVE = "/v3electionpb.Election/Observe";
const RESIGN = "/v3electionpb.Election/Resign";
const NAME = Buffer.from("e");

function grant(simulated: SimulatedMember, ...ids: bigint[]): void {
  for (const ID of ids) {
    simulated.call("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, { ID, TTL: 60 }, LeaseGrantResponse);
  }
}

function revoke(simulated: SimulatedMember, ID: bigint): void {
  simulated.call("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, { ID }, LeaseRevokeResponse);
  simulated.settle();
}

function campaign(simulated: SimulatedMember, lease: bigint, value: string): FakeCall {
  const call = simulated.send(CAMPAIGN, CampaignRequest, { name: NAME, lease, value: Buffer.from(value) });
  simulated.settle();
  return call;
}

/** The leader's key as the campaign answered it. */
function elected(call: FakeCall): LeaderKey {
  assert.deepEqual(call.status, { code: 0, message: "" });
  return CampaignResponse.decode(call.messages[0]!, 0, call.messages[0]!.length).leader!;
}

function state(call: FakeCall): string {
  if (call.status === null) return "waits";
  if (call.status.code !== 0) return `${call.status.code} ${call.status.message}`;
  const { leader, header } = CampaignResponse.decode(call.messages[0]!, 0, call.messages[0]!.length);
  return `${leader!.name} ${leader!.key} ${leader!.rev} ${leader!.lease} @${header!.revision}`;
}

function leader(simulated: SimulatedMember): string {
  const call = simulated.send(LEADER, LeaderRequest, { name: NAME });
  simulated.settle();
  return call.status!.code === 0 ? told(call.messages[0]!) : `${call.status!.code} ${call.status!.message}`;
}

/** "e/1=a:2 @3": key, value, mod revision and the header's. */
function told(message: Buffer): string {
  const { kv, header } = LeaderResponse.decode(message, 0, message.length);
  return `${kv!.key}=${kv!.value}:${kv!.modRevision} @${header!.revision}`;
}

function proclaim(simulated: SimulatedMember, leaderKey: Init<LeaderKey> | undefined, value: string): string {
  const request = { ...(leaderKey === undefined ? {} : { leader: leaderKey }), value: Buffer.from(value) };
  const call = simulated.send(PROCLAIM, ProclaimRequest, request);
  simulated.settle();
  if (call.status!.code !== 0) return `${call.status!.code} ${call.status!.message}`;
  return `@${ProclaimResponse.decode(call.messages[0]!, 0, call.messages[0]!.length).header!.revision}`;
}

function resign(simulated: SimulatedMember, leaderKey: Init<LeaderKey>): number {
  const { header } = simulated.call(RESIGN, ResignRequest, { leader: leaderKey }, ResignResponse);
  simulated.settle();
  return header!.revision;
}

test("the first campaign wins at once, the next ones in order", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 10n, 11n, 12n);
  assert.equal(leader(simulated), `${StatusCode.Unknown} election: no leader`);
  const first = campaign(simulated, 10n, "a");
  const second = campaign(simulated, 11n, "b");
  const third = campaign(simulated, 12n, "c");
  assert.deepEqual([first, second, third].map(state), ["e e/a 2 10 @2", "waits", "waits"]);
  assert.equal(leader(simulated), "e/a=a:2 @4");
  assert.equal(resign(simulated, elected(first)), 5);
  assert.deepEqual([second, third].map(state), ["e e/b 3 11 @3", "waits"], "the header is the entry's");
  revoke(simulated, 11n);
  assert.equal(state(third), "e e/c 4 12 @4");
  assert.equal(leader(simulated), "e/c=c:4 @6");
});

test("a leader that campaigns again proclaims its new value and stays leader", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n);
  campaign(simulated, 1n, "a");
  assert.equal(state(campaign(simulated, 1n, "a")), "e e/1 2 1 @2", "the same value is not put again");
  assert.equal(state(campaign(simulated, 1n, "b")), "e e/1 2 1 @2", "the header is from before the value was put");
  assert.equal(leader(simulated), "e/1=b:3 @3");
  const waiting = campaign(simulated, 2n, "x");
  assert.equal(state(campaign(simulated, 2n, "y")), "waits");
  assert.equal(state(waiting), "waits");
  revoke(simulated, 1n);
  assert.equal(leader(simulated), "e/2=y:5 @6");
});

test("without a lease a campaign is given one of a minute", async () => {
  const simulated = await SimulatedMember.serving();
  const { lease, key } = elected(campaign(simulated, 0n, "a"));
  assert.equal(`${key}`, `e/${lease.toString(16)}`);
  const path = "/etcdserverpb.Lease/LeaseTimeToLive";
  const { grantedTTL } = simulated.call(path, LeaseTimeToLiveRequest, { ID: lease }, LeaseTimeToLiveResponse);
  assert.equal(grantedTTL, 60);
});

test("only the leader proclaims: by its key and the revision it was created at", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n);
  const key = elected(campaign(simulated, 1n, "a"));
  assert.equal(proclaim(simulated, key, "b"), "@3");
  assert.equal(leader(simulated), "e/1=b:3 @3");
  assert.equal(proclaim(simulated, { ...key, rev: 3 }, "c"), `${StatusCode.Unknown} election: not leader`);
  assert.equal(proclaim(simulated, undefined, "c"), `${StatusCode.Unknown} "leader" field must be provided`);
  assert.equal(proclaim(simulated, {}, "c"), `${StatusCode.Unknown} etcdserver: key is not provided`);
  resign(simulated, key);
  assert.equal(proclaim(simulated, key, "c"), `${StatusCode.Unknown} election: not leader`);
});

test("a revision no store will ever reach is compared like any other", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n);
  campaign(simulated, 1n, "a");
  // rev = 2^63 - 1
  const key = LeaderKey.encode({ name: NAME, key: Buffer.from("e/1"), lease: 1n });
  const rev = Buffer.from([0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
  const bytes = Buffer.concat([Buffer.from([0x0a, key.length + rev.length]), key, rev]);
  const call = simulated.sendBytes(PROCLAIM, bytes);
  simulated.settle();
  assert.deepEqual(call.status, { code: StatusCode.Unknown, message: "election: not leader" });
});

test("a proclamation without a lease lives by a fresh one", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n);
  const key = elected(campaign(simulated, 1n, "a"));
  proclaim(simulated, { ...key, lease: 0n }, "b");
  revoke(simulated, 1n);
  assert.equal(leader(simulated), "e/1=b:3 @3", "the old lease has nothing to do with it any more");
});

// covers: LO-05
test("resigning ends exactly the leadership named, and is content if that is over", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n);
  const key = elected(campaign(simulated, 1n, "a"));
  assert.equal(resign(simulated, { ...key, rev: 1 }), 2);
  assert.equal(leader(simulated), "e/1=a:2 @2");
  assert.equal(resign(simulated, key), 3);
  assert.equal(resign(simulated, key), 3);
  const call = simulated.send(RESIGN, ResignRequest, {});
  assert.deepEqual(call.status, { code: StatusCode.Unknown, message: '"leader" field must be provided' });
});

// covers: LO-01, LO-03
test("a campaign whose session has expired hears that it will not lead", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n);
  campaign(simulated, 1n, "a");
  const second = campaign(simulated, 2n, "b");
  revoke(simulated, 2n);
  assert.equal(state(second), `${StatusCode.Unknown} election: not leader`);
});

// covers: LO-05
test("a campaign that is cancelled leaves no candidate behind", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n, 3n);
  const first = elected(campaign(simulated, 1n, "a"));
  const second = campaign(simulated, 2n, "b");
  const third = campaign(simulated, 3n, "c");
  second.cancel("deadline");
  simulated.settle();
  resign(simulated, first);
  assert.equal(state(third), "e e/3 4 3 @4");
  const again = simulated.send(CAMPAIGN, CampaignRequest, { name: NAME, lease: 2n });
  again.cancel();
  simulated.settle();
  resign(simulated, elected(third));
  assert.equal(leader(simulated), `${StatusCode.Unknown} election: no leader`);
});

// covers: LO-05
test("a leader that gives up changing its value stays leader", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n);
  campaign(simulated, 1n, "a");
  const again = simulated.send(CAMPAIGN, CampaignRequest, { name: NAME, lease: 1n, value: Buffer.from("b") });
  again.cancel();
  simulated.settle();
  assert.match(leader(simulated), /^e\/1=[ab]:/);
});

function observe(simulated: SimulatedMember, call: FakeCall = new FakeCall(OBSERVE)): () => string[] {
  simulated.send(OBSERVE, LeaderRequest, { name: NAME }, call);
  simulated.settle();
  let seen = 0;
  return () => {
    const news = call.messages.slice(seen).map(told);
    seen = call.messages.length;
    return news;
  };
}

test("who observes hears of the leader, all it proclaims, and the leaders after it", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n);
  const first = elected(campaign(simulated, 1n, "a"));
  campaign(simulated, 2n, "x");
  const news = observe(simulated);
  assert.deepEqual(news(), ["e/1=a:2 @3"]);
  proclaim(simulated, first, "b");
  proclaim(simulated, first, "c");
  assert.deepEqual(news(), ["e/1=b:4 @4", "e/1=c:5 @5"]);
  campaign(simulated, 2n, "y");
  assert.deepEqual(news(), [], "candidates are not leaders");
  resign(simulated, first);
  assert.deepEqual(news(), ["e/2=y:6 @7"]);
});

test("who observes an election without candidates hears of the first one", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n);
  const call = new FakeCall(OBSERVE);
  const news = observe(simulated, call);
  simulated.call("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("e") }, PutResponse);
  simulated.settle();
  assert.deepEqual([news(), call.status], [[], null]);
  const first = elected(campaign(simulated, 1n, "a"));
  assert.deepEqual(news(), ["e/1=a:3 @3"]);
  resign(simulated, first);
  assert.deepEqual(news(), []);
  campaign(simulated, 1n, "b");
  assert.deepEqual(news(), ["e/1=b:5 @5"]);
  call.cancel();
  assert.equal(simulated.member.hub.watcherCount, 0);
});

test("a slow observer holds its watch up and misses nothing", async () => {
  const simulated = await SimulatedMember.serving();
  const put = (value: Buffer): void => {
    simulated.call("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("e/1"), value }, PutResponse);
    simulated.settle();
  };
  put(Buffer.from("0"));
  const call = new FakeCall(OBSERVE);
  call.isReading = false;
  observe(simulated, call);
  const count = 40;
  for (let i = 1; i <= count; i++) put(Buffer.alloc(100_000, `${i} `));
  assert.ok(call.messages.length < 10, `${call.messages.length} were sent to a client that does not read`);
  for (let i = 0; i < count && call.messages.length <= count; i++) {
    call.take();
    simulated.advance(200);
  }
  const revisions = call.messages.map((each) => LeaderResponse.decode(each, 0, each.length).kv!.modRevision);
  assert.deepEqual(
    revisions,
    Array.from({ length: count + 1 }, (_, i) => i + 2),
  );
});

test("a leader whose value is larger than what is answered at once is told all the same", async () => {
  const simulated = await SimulatedMember.serving();
  const value = Buffer.alloc(1_000_000, "v");
  simulated.call("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("e/1"), value }, PutResponse);
  const { kv } = simulated.call(LEADER, LeaderRequest, { name: NAME }, LeaderResponse);
  assert.equal(Buffer.compare(kv!.value, value), 0);
});
