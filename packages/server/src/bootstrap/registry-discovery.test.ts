import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterMember } from "../config/cluster-map.ts";
import { DiscoveryError } from "./bootstrap.ts";
import { joinRegistry } from "./registry-discovery.ts";
import { FakeDiscoveryWorld } from "./testing/fake-discovery-world.ts";

const SIZE = "/_etcd/registry/t/_config/size";
const MEMBERS = "/_etcd/registry/t/members";

async function withSize(size: string | null): Promise<FakeDiscoveryWorld> {
  const world = new FakeDiscoveryWorld();
  if (size !== null) await world.registry.put(SIZE, size);
  return world;
}

function join(world: FakeDiscoveryWorld, memberId = 0xabn): Promise<ClusterMember[]> {
  const { registry, timers, log } = world;
  return world.run(joinRegistry({ registry, token: "t", memberId, ownNodes: "a=http://a:1", timers, log }));
}

const names = (members: readonly ClusterMember[]): string[] => members.map((each) => each.name);

test("a member waits until all expected have registered", async () => {
  const world = await withSize("3");
  await world.registry.put(`${MEMBERS}/1`, "b=http://b:1");
  let waits = 0;
  world.registry.onWait = () => {
    waits++;
    if (waits === 1) void world.registry.put(`${MEMBERS}/2`, "nonsense");
    if (waits === 2) void world.registry.put(`${MEMBERS}/1`, "b=http://moved:1");
    if (waits === 3) void world.registry.put(`${MEMBERS}/3`, "c=http://c:1,c=http://c:2");
  };
  assert.deepEqual(await join(world), [
    { name: "b", peerUrls: ["http://b:1"] },
    { name: "a", peerUrls: ["http://a:1"] },
    { name: "c", peerUrls: ["http://c:1", "http://c:2"] },
  ]);
  assert.equal(world.registry.rows.get(`${MEMBERS}/ab`)?.value, "a=http://a:1");
  assert.equal(world.registry.watchCount, 0);
  assert.deepEqual(world.warnings, [
    "invalid peer info returned from discovery service",
    "found duplicate peer from discovery service",
  ]);
});

test("a token that cannot be used is refused in etcd's words", async () => {
  const table: [size: string | null, others: string[], message: string][] = [
    [null, [], "discovery: size key not found"],
    ["many", [], "discovery: size key is bad"],
    ["0", [], "discovery: size key is bad"],
    ["-1", [], "discovery: size key is bad"],
    ["1", ["b=http://b:1"], "discovery: cluster is full"],
    ["2", ["b=http://b:1", "c=http://c:1", "d=http://d:1"], "discovery: cluster is full"],
    ["2", ["b=gopher://b"], "discovery: invalid peer URL"],
  ];
  for (const [size, others, message] of table) {
    const world = await withSize(size);
    for (const [at, value] of others.entries()) await world.registry.put(`${MEMBERS}/${at}`, value);
    await assert.rejects(join(world), new DiscoveryError(`failed to join discovery cluster (${message})`));
  }
});

test("a member that registered before takes its place again", async () => {
  const world = await withSize("2");
  await world.registry.put(`${MEMBERS}/ab`, "a=http://old:1");
  await world.registry.put(`${MEMBERS}/1`, "b=http://b:1");
  assert.deepEqual(names(await join(world)), ["a", "b"]);
});

test("who registered first is in, if too many did at once", async () => {
  const world = await withSize("2");
  await world.registry.put(`${MEMBERS}/1`, "b=http://b:1");
  const late = world.registry.put.bind(world.registry);
  // Another one is there before our own registration.
  world.registry.put = async (key, value) => {
    world.registry.put = late;
    await late(`${MEMBERS}/2`, "c=http://c:1");
    await late(key, value);
  };
  await assert.rejects(join(world), { message: "failed to join discovery cluster (discovery: cluster is full)" });
});

test("a registry that does not answer is asked again, ever more slowly", async () => {
  const world = await withSize("1");
  world.registry.failures = 10;
  const began = world.clock.nowMs;
  assert.deepEqual(names(await join(world)), ["a"]);
  assert.equal((world.clock.nowMs - began) / 1000, 2 + 4 + 8 + 16 + 32 + 64 + 128 + 256 + 256 + 256);
});

test("a broken watch loses nobody", async () => {
  const world = await withSize("2");
  world.registry.onWait = () => {
    world.registry.onWait = () => {};
    world.registry.breakWatches();
    void world.registry.put(`${MEMBERS}/1`, "b=http://b:1");
  };
  assert.deepEqual(names(await join(world)), ["a", "b"]);
  assert.equal(world.registry.watchCount, 0);
});
