/** What strangers with made-up tokens can make a member keep. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { errors } from "@quorate/api";
import { type Init, LeaseKeepAliveRequest, PutRequest, WatchRequest } from "@quorate/api/messages";
import { FakeCall } from "../testing/fake-call.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";
import { callWith, Users } from "../testing/users.ts";
import { WaitingRoom } from "./waiting-room.ts";

const PUT = "/etcdserverpb.KV/Put";
const WATCH = "/etcdserverpb.Watch/Watch";
const RENEWALS = "/etcdserverpb.Lease/LeaseKeepAlive";
const MIB = 1024 * 1024;
/** Of a log-in that may yet come, as far as the member knows. */
const MADE_UP = "aaaaaaaaaaaaaaaa.1000000";
const big = { key: Buffer.from("k"), value: Buffer.alloc(MIB) };
const small = { key: Buffer.from("k") };
const tooMany = errors.TooManyRequests.message;

async function withAuth(): Promise<{ simulated: SimulatedMember; token: string }> {
  const simulated = await SimulatedMember.serving();
  const users = new Users(simulated);
  users.enable();
  return { simulated, token: users.token! };
}

function putBy(simulated: SimulatedMember, token: string, request: Init<PutRequest> = big): FakeCall {
  const call = simulated.send(PUT, PutRequest, request, callWith(PUT, token));
  simulated.settle();
  return call;
}

test("16 MiB wait for their callers, of all calls together; the next call is one too many, and known callers go on", async () => {
  const { simulated, token } = await withAuth();
  const waiting = Array.from({ length: 15 }, () => putBy(simulated, MADE_UP));
  for (const call of waiting) assert.equal(call.status, null);
  assert.equal(putBy(simulated, MADE_UP).status!.message, tooMany);
  const stream = simulated.openStream(WATCH, callWith(WATCH, MADE_UP));
  stream.send(WatchRequest, { createRequest: { key: Buffer.alloc(MIB) } });
  assert.equal(stream.call.status!.message, tooMany);
  assert.equal(putBy(simulated, token, small).status!.code, 0);

  waiting[0]!.cancel("deadline");
  waiting[1]!.cancel("cancelled");
  waiting[2]!.cancel("connection");
  for (let i = 0; i < 3; i++) assert.equal(putBy(simulated, MADE_UP).status, null, "calls that ended keep nothing");
  assert.equal(putBy(simulated, MADE_UP).status!.message, tooMany);

  simulated.advance(6000);
  assert.equal(waiting[3]!.status!.message, errors.InvalidAuthToken.message);
  for (let i = 0; i < 15; i++) assert.equal(putBy(simulated, MADE_UP).status, null, "nor do those that were told");
});

test("streams share the room, and one that ends gives its part back", async () => {
  const { simulated } = await withAuth();
  const key = Buffer.alloc(MIB);
  const streams = Array.from({ length: 5 }, () => simulated.openStream(WATCH, callWith(WATCH, MADE_UP)));
  for (const stream of streams) for (let i = 0; i < 3; i++) stream.send(WatchRequest, { createRequest: { key } });
  for (const { call } of streams) assert.equal(call.isOpen, true);
  streams[0]!.send(WatchRequest, { createRequest: { key } });
  assert.equal(streams[0]!.call.status!.message, tooMany);
  for (let i = 0; i < 3; i++) streams[1]!.send(WatchRequest, { createRequest: { key } });
  assert.equal(streams[1]!.call.isOpen, true);
  streams[2]!.call.cancel();
  for (let i = 0; i < 3; i++) streams[1]!.send(WatchRequest, { createRequest: { key } });
  assert.equal(streams[1]!.call.isOpen, true);
});

test("whoever cannot even wait to be told whose his token is hears of too many requests, not of a bad token", async () => {
  const { simulated, token } = await withAuth();
  const waiting = Array.from({ length: 1024 }, () => simulated.send(PUT, PutRequest, small, callWith(PUT, MADE_UP)));
  assert.ok(waiting.every((call) => call.isOpen));
  assert.equal(simulated.send(PUT, PutRequest, small, callWith(PUT, MADE_UP)).status!.message, tooMany);
  const stream = simulated.openStream(RENEWALS, callWith(RENEWALS, MADE_UP));
  stream.send(LeaseKeepAliveRequest, { ID: 1n });
  assert.equal(stream.call.status!.message, tooMany);
  assert.equal(putBy(simulated, token, small).status!.code, 0);
});

test("who owns a call hears of its end while it waits, and owns it again afterwards", () => {
  const room = new WaitingRoom();
  const call = new FakeCall(WATCH);
  const heard: string[] = [];
  const owner = { cancelled: (_: unknown, reason: string) => heard.push(reason), drained: () => heard.push("drained") };
  call.owner = owner;
  const stay = room.enter(call);
  assert.equal(stay.add(Buffer.from("abc"), 1, 3), true);
  call.owner.drained!(call);
  assert.deepEqual(stay.leave().map(String), ["bc"]);
  assert.equal(call.owner, owner);
  assert.equal(room.usedBytes, 0);
  const again = room.enter(call);
  again.add(Buffer.from("d"), 0, 1);
  call.cancel("deadline");
  assert.deepEqual(heard, ["drained", "deadline"]);
  assert.deepEqual(again.leave(), []);
  assert.equal(room.usedBytes, 0);
});
