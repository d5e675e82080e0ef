import assert from "node:assert/strict";
import { test } from "node:test";
import { clusterIdOf, idText, type Member, memberIdOf } from "@quorate/membership";
import { decodeConfChange, term } from "@quorate/raft";
import { type Config, configOf } from "../config/config.ts";
import { type Bootstrap, BootstrapError, bootstrapEntries, bootstrapHardState, forcedEntries } from "./bootstrap.ts";
import { checkLearnerCount, discoverCluster } from "./discover-cluster.ts";
import { FakeDiscoveryWorld } from "./testing/fake-discovery-world.ts";

const A = "http://10.0.0.1:2380";
const B = "http://10.0.0.2:2380";
const C = "http://10.0.0.3:2380";
const THREE = `a=${A},b=${B},c=${C}`;

/** A member called "a" at A, with these flags besides. */
function config(settings: Record<string, string> = {}): Config {
  const given = { name: "a", "initial-advertise-peer-urls": A, ...settings };
  return configOf(new Map(Object.entries(given)), true);
}

function discover(settings: Record<string, string>, world = new FakeDiscoveryWorld()): Promise<Bootstrap> {
  return world.run(discoverCluster(config(settings), world));
}

async function refuses(settings: Record<string, string>, message: string, world?: FakeDiscoveryWorld): Promise<void> {
  await assert.rejects(discover(settings, world), new BootstrapError(message));
}

function member(id: bigint, peerUrls: readonly string[], fields: Partial<Member> = {}): Member {
  return { id, peerUrls, isLearner: false, name: "", clientUrls: [], ...fields };
}

// ------------------------------------------------------------------------------------------------ new, static

test("the members of a new cluster have ids from their URLs and the token, in the order of ids", async () => {
  const found = await discover({ "initial-cluster": THREE, "initial-cluster-token": "t" });
  const ids = [A, B, C].map((url) => memberIdOf([url], "t"));
  assert.equal(found.kind, "new");
  assert.equal(found.memberId, ids[0]);
  assert.equal(found.clusterId, clusterIdOf(ids));
  assert.equal(found.token, "t");
  assert.deepEqual(
    found.members.map((each) => each.id),
    [...ids].sort((a, b) => (a < b ? -1 : 1)),
  );
  assert.deepEqual(
    found.members.find((each) => each.name === "b"),
    member(ids[1]!, [B], { name: "b" }),
  );
});

test("the log of a new cluster begins with one addition per member, the same wherever it is made", async () => {
  const found = await discover({ "initial-cluster": THREE });
  const entries = bootstrapEntries(found);
  assert.deepEqual(
    entries.map((each) => [each.term, each.index]),
    [
      [1, 1],
      [1, 2],
      [1, 3],
    ],
  );
  const changes = entries.map((each) => decodeConfChange(each.data));
  assert.deepEqual(
    changes.map((each) => [each.id, each.type, each.nodeId]),
    found.members.map((each) => [0n, 0, each.id]),
  );
  const [first] = found.members;
  assert.equal(
    Buffer.from(changes[0]!.context).toString(),
    `{"id":${first!.id},"peerURLs":["${first!.peerUrls[0]}"],"name":"${first!.name}"}`,
  );
  assert.deepEqual(bootstrapHardState(entries), { term: 1, vote: 0n, commit: 3 });
  assert.deepEqual(bootstrapEntries({ ...found, kind: "join" }), []);
});

test("a cluster that does not contain us as we are is refused in etcd's words", async () => {
  const other = "http://10.0.0.9:2380";
  await refuses({ "initial-cluster": `b=${B}` }, `couldn't find local name "a" in the initial cluster configuration`);
  await refuses({ "initial-cluster": "" }, `couldn't find local name "a" in the initial cluster configuration`);
  await refuses(
    { "initial-cluster": `a=${other}` },
    `--initial-cluster has a=${other} but missing from --initial-advertise-peer-urls=${A} ` +
      `(resolved urls: "${A}" != "${other}")`,
  );
  await refuses(
    { "initial-cluster": `a=${A},a=${other}` },
    `--initial-cluster has a=${other} but missing from --initial-advertise-peer-urls=${A} ` +
      `(len(["${A}"]) != len(["${A}" "${other}"]))`,
  );
  await refuses(
    { "initial-cluster": `a=${A}`, "initial-advertise-peer-urls": `${other},${A}` },
    `--initial-advertise-peer-urls has ${other} but missing from --initial-cluster=a=${A},a=${other}`,
  );
  await refuses(
    { "initial-cluster": `a=${A},a=${A}` },
    `failed to resolve ${A} to match --initial-cluster=a=${A} (len(["${A}"]) != len(["${A}" "${A}"]))`,
  );
  await refuses({ "initial-cluster": `b=${A},a=${A}` }, `initial cluster a=${A},b=${A} has duplicate url`);
});

test("advertised URLs are the configured ones if their hosts have the same addresses", async () => {
  const world = new FakeDiscoveryWorld();
  world.hosts.set("a.example", ["fd00::1", "10.0.0.1"]);
  const found = await discover({ "initial-cluster": "a=http://a.example:2380" }, world);
  // The id comes from what is configured, which is what the others see.
  assert.equal(found.memberId, memberIdOf(["http://a.example:2380"], "etcd-cluster"));
  world.hosts.set("a.example", ["10.0.0.7"]);
  await refuses(
    { "initial-cluster": "a=http://a.example:2380" },
    `--initial-cluster has a=http://a.example:2380 but missing from --initial-advertise-peer-urls=${A} ` +
      `(resolved urls: "${A}" != "http://10.0.0.7:2380")`,
    world,
  );
});

test("a name that does not resolve is asked for again for half a minute", async () => {
  const world = new FakeDiscoveryWorld();
  const began = world.clock.nowMs;
  await refuses(
    { "initial-cluster": "a=http://nowhere:2380" },
    `--initial-cluster has a=http://nowhere:2380 but missing from --initial-advertise-peer-urls=${A} ` +
      `(failed to resolve "http://nowhere:2380" (lookup nowhere: no such host))`,
    world,
  );
  assert.equal(world.clock.nowMs - began, 29_000);
  assert.equal(world.lookedUp.length, 30);
  const late = new FakeDiscoveryWorld();
  late.clock.after(5_500, () => late.hosts.set("late", ["10.0.0.1"]));
  assert.equal((await discover({ "initial-cluster": "a=http://late:2380" }, late)).kind, "new");
});

test("localhost is nobody's address but its own, and IPv6 is one however it is written", async () => {
  await refuses(
    { "initial-cluster": "a=http://127.0.0.1:2380", "initial-advertise-peer-urls": "http://localhost:2380" },
    "--initial-cluster has a=http://127.0.0.1:2380 but missing from " +
      "--initial-advertise-peer-urls=http://localhost:2380 " +
      '(resolved urls: "http://localhost:2380" != "http://127.0.0.1:2380")',
  );
  const found = await discover({
    "initial-cluster": "a=http://[fd00:0::1]:2380",
    "initial-advertise-peer-urls": "http://[FD00::0001]:2380",
  });
  assert.equal(found.kind, "new");
});

// covers: MB-07
test("an id whose member has been running is not begun again", async () => {
  const ids = [A, B, C].map((url) => memberIdOf([url], "etcd-cluster"));
  const listed = (clientUrls: string[]): Member[] => [
    member(ids[1]!, [B]),
    member(ids[0]!, [A], { name: "a", clientUrls }),
  ];
  const world = new FakeDiscoveryWorld();
  world.fakePeers.set(B, { clusterId: 1n, members: [] });
  world.fakePeers.set(C, { clusterId: 1n, members: listed(["http://a:1"]) });
  await refuses({ "initial-cluster": THREE }, `member ${idText(ids[0]!)} has already been bootstrapped`, world);
  assert.deepEqual(world.asked, [`members ${B} 1000`, `members ${C} 1000`]);
  // A member that others know of, but that has never told its name, is one that begins.
  world.fakePeers.set(C, { clusterId: 1n, members: listed([]) });
  assert.equal((await discover({ "initial-cluster": THREE }, world)).kind, "new");
});

// ------------------------------------------------------------------------------------------------ joining

/** Members 11 and 12 run at A' and B; 13 was added for C and is us, called "c". */
function running(cluster = "3.7.0", downgrade = false): FakeDiscoveryWorld {
  const members = [
    member(13n, [C]),
    member(11n, [A], { name: "a", clientUrls: ["http://a:1"] }),
    member(12n, [B], { name: "b", clientUrls: ["http://b:1"] }),
  ];
  const world = new FakeDiscoveryWorld();
  for (const url of [A, B]) world.fakePeers.set(url, { clusterId: 0xcafen, members, cluster, downgrade });
  return world;
}

const joining = {
  name: "c",
  "initial-advertise-peer-urls": C,
  "initial-cluster": THREE,
  "initial-cluster-state": "existing",
};

test("who joins has the ids of the running cluster", async () => {
  const world = running();
  world.fakePeers.delete(A);
  const found = await discover(joining, world);
  assert.equal(found.kind, "join");
  assert.equal(found.memberId, 13n);
  assert.equal(found.clusterId, 0xcafen);
  assert.deepEqual(
    found.members.map((each) => each.id),
    [11n, 12n, 13n],
  );
  assert.deepEqual(world.asked, [
    `members ${A} 10000`,
    `members ${B} 10000`,
    `version ${A} 7000`,
    `version ${B} 7000`,
    `downgrade ${A} 7000`,
    `downgrade ${B} 7000`,
  ]);
  assert.deepEqual(world.warnings, ["failed to get cluster response", "failed to get version"]);
});

test("members are matched by their URLs in any order, by name only if that has to be", async () => {
  const world = running();
  const [old] = world.fakePeers.values();
  const members = [member(13n, ["http://c2:1", C]), member(11n, ["http://a.example:2380"]), member(12n, [B])];
  for (const url of [A, B]) world.fakePeers.set(url, { ...old, members });
  world.hosts.set("a.example", ["10.0.0.1"]);
  const cluster = `c=${C},b=${B},a=${A},c=http://c2:1`;
  const found = await discover({ ...joining, "initial-cluster": cluster }, world);
  assert.equal(found.memberId, 13n);
  assert.deepEqual(world.lookedUp, ["a.example"]);
});

test("a cluster that is not the one configured is refused in etcd's words", async () => {
  await refuses(
    joining,
    "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs",
    new FakeDiscoveryWorld(),
  );
  const empty = running();
  empty.fakePeers.set(A, { clusterId: 1n, members: [] });
  await refuses(
    joining,
    "cannot fetch cluster info from peer urls: failed to get raft cluster member(s) from the given URLs",
    empty,
  );
  const shown =
    `{ClusterID:cafe Members:[` +
    `&{ID:b RaftAttributes:{PeerURLs:[${A}] IsLearner:false} Attributes:{Name:a ClientURLs:[http://a:1]}} ` +
    `&{ID:c RaftAttributes:{PeerURLs:[${B}] IsLearner:false} Attributes:{Name:b ClientURLs:[http://b:1]}} ` +
    `&{ID:d RaftAttributes:{PeerURLs:[${C}] IsLearner:false} Attributes:{Name: ClientURLs:[]}}] RemovedMemberIDs:[]}`;
  await refuses(
    { ...joining, "initial-cluster": `a=${A},c=${C}` },
    `error validating peerURLs ${shown}: member count is unequal`,
    running(),
  );
  const other = "http://10.0.0.9:2380";
  await refuses(
    { ...joining, "initial-cluster": `a=${A},b=${other},c=${C}` },
    `error validating peerURLs ${shown}: PeerURLs: no match found for existing member (c, [${B}]), ` +
      `last resolver error (resolved urls: "${B}" != "${other}")`,
    running(),
  );
  await refuses(
    { ...joining, name: "d" },
    `couldn't find local name "d" in the initial cluster configuration`,
    running(),
  );
  await refuses(
    { ...joining, "initial-cluster": `a=${A},b=${A},c=${C}` },
    `initial cluster a=${A},b=${A},c=${C} has duplicate url`,
    running(),
  );
  const { "initial-cluster": _, ...found } = joining;
  await refuses(
    { ...found, "discovery-token": "t", "discovery-endpoints": "e:1" },
    "discovery URL should not be set when joining existing initial cluster",
  );
});

test("a cluster at another version is joined only if we can follow it", async () => {
  const table: [version: string, downgrade: boolean, may: boolean][] = [
    ["3.7.0", false, true],
    ["3.0.0", false, true],
    ["3.8.0", false, false],
    ["not_decided", false, false],
    ["3.8.0", true, true],
    ["3.7.0", true, false],
  ];
  for (const [version, downgrade, may] of table) {
    if (may) assert.equal((await discover(joining, running(version, downgrade))).kind, "join");
    else await refuses(joining, "incompatible with current running cluster", running(version, downgrade));
  }
  const mixed = running();
  mixed.fakePeers.set(B, { cluster: "3.8.0" });
  await refuses(joining, "incompatible with current running cluster", mixed);
});

test("more learners than we allow are refused", async () => {
  const world = running();
  const [old] = world.fakePeers.values();
  const members = old!.members!.map((each) => ({ ...each, isLearner: each.id !== 11n }));
  for (const url of [A, B]) world.fakePeers.set(url, { ...old, members });
  await refuses(joining, "membership: too many learner members in cluster", world);
  const found = await discover({ ...joining, "max-learners": "2" }, world);
  assert.deepEqual(
    found.members.map((each) => each.isLearner),
    [false, true, true],
  );
  checkLearnerCount(members, 2);
  assert.throws(() => checkLearnerCount(members, 1), BootstrapError);
});

// covers: MB-07
test("who has been running does not join again on an empty disk", async () => {
  const world = running();
  const [old] = world.fakePeers.values();
  const members = old!.members!.map((each) => ({ ...each, clientUrls: ["http://x:1"] }));
  for (const url of [A, B]) world.fakePeers.set(url, { ...old, members });
  await refuses(joining, "member d has already been bootstrapped", world);
});

// ------------------------------------------------------------------------------------------------ DNS

const SSL = "_etcd-server-ssl._tcp.example.com";
const PLAIN = "_etcd-server._tcp.example.com";

function domain(ssl: [string, number][] | null, plain: [string, number][] | null): FakeDiscoveryWorld {
  const world = new FakeDiscoveryWorld();
  const records = (all: [string, number][]) => all.map(([target, port]) => ({ target, port }));
  if (ssl !== null) world.services.set(SSL, records(ssl));
  if (plain !== null) world.services.set(PLAIN, records(plain));
  for (const number of [1, 2, 3]) world.hosts.set(`m${number}.example.com`, [`10.0.0.${number}`]);
  return world;
}

const bySrv = { "discovery-srv": "example.com", "initial-advertise-peer-urls": "http://m1.example.com:2380" };

test("members are found by the records of a domain, we among them by our address", async () => {
  const world = domain(null, [
    ["m2.example.com.", 2380],
    ["m1.example.com.", 2380],
    ["m3.example.com.", 2380],
  ]);
  const found = await discover(bySrv, world);
  assert.deepEqual(found.members.map((each) => `${each.name}=${each.peerUrls}`).sort(), [
    "0=http://m2.example.com:2380",
    "1=http://m3.example.com:2380",
    "a=http://m1.example.com:2380",
  ]);
  assert.equal(found.memberId, memberIdOf(["http://m1.example.com:2380"], "etcd-cluster"));
  assert.deepEqual(world.warnings, ["failed to resolve during SRV discovery"]);
});

test("both services count from 0", async () => {
  const world = domain(
    [
      ["m1.example.com", 2380],
      ["m2.example.com", 2380],
    ],
    [["m3.example.com", 2380]],
  );
  const advertise = "https://m1.example.com:2380";
  const found = await discover({ ...bySrv, "initial-advertise-peer-urls": advertise }, world);
  assert.deepEqual(found.members.map((each) => `${each.name}=${each.peerUrls}`).sort(), [
    "0=http://m3.example.com:2380,https://m2.example.com:2380",
    `a=${advertise}`,
  ]);
});

test("the service's name can have a suffix", async () => {
  const world = domain(null, null);
  world.services.set("_etcd-server-x._tcp.example.com", [{ target: "m1.example.com", port: 2380 }]);
  assert.equal((await discover({ ...bySrv, "discovery-srv-name": "x" }, world)).members.length, 1);
});

test("a domain that does not name us is refused in etcd's words", async () => {
  await refuses(
    bySrv,
    `error setting up initial cluster: error querying DNS SRV records for _etcd-server-ssl lookup ${SSL}: no such host\n` +
      `error querying DNS SRV records for _etcd-server lookup ${PLAIN}: no such host`,
    domain(null, null),
  );
  await refuses(
    bySrv,
    `error setting up initial cluster: cannot find local etcd member "a" in SRV records`,
    domain(null, [["m2.example.com", 2380]]),
  );
  await refuses(
    bySrv,
    "error setting up initial cluster: error querying DNS SRV records for _etcd-server-ssl " +
      "bootstrap at https://m1.example.com:2380 from DNS for etcd-server-ssl has scheme mismatch with expected peer " +
      "http://m1.example.com:2380\n" +
      `error querying DNS SRV records for _etcd-server lookup ${PLAIN}: no such host`,
    domain([["m1.example.com", 2380]], null),
  );
  await refuses(bySrv, `couldn't find local name "a" in the initial cluster configuration`, domain([], []));
});

// ------------------------------------------------------------------------------------------------ v3 discovery

test("who meets in another cluster has ids from the token", async () => {
  const world = new FakeDiscoveryWorld();
  await world.registry.put("/_etcd/registry/tok/_config/size", "2");
  await world.registry.put("/_etcd/registry/tok/members/77", `b=${B},b=http://b2:1`);
  const found = await discover({ "discovery-token": "tok", "discovery-endpoints": "e:1" }, world);
  const ids = [memberIdOf([A], "tok"), memberIdOf([B, "http://b2:1"], "tok")];
  assert.equal(found.memberId, ids[0]);
  assert.equal(found.clusterId, clusterIdOf(ids));
  assert.equal(found.token, "tok");
  assert.equal(world.registry.rows.get(`/_etcd/registry/tok/members/${idText(ids[0]!)}`)?.value, `a=${A}`);
  assert.ok(world.registry.isClosed);
});

test("what is met is refused if it is no cluster", async () => {
  const table: [nodes: string, message: string][] = [
    [`b=${A}`, `discovery cluster a=${A},b=${A} has duplicate url`],
    [`a=${B}`, `discovery cluster a=${A},a=${B} has another member of the name "a"`],
  ];
  for (const [nodes, message] of table) {
    const world = new FakeDiscoveryWorld();
    await world.registry.put("/_etcd/registry/tok/_config/size", "2");
    await world.registry.put("/_etcd/registry/tok/members/77", nodes);
    await refuses({ "discovery-token": "tok", "discovery-endpoints": "e:1" }, message, world);
    assert.ok(world.registry.isClosed);
  }
});

// ------------------------------------------------------------------------------------------------ forced

// covers: MB-11
test("a forced cluster removes all others, learners too, and adds us if we are missing", () => {
  const changes = (memberIds: bigint[], voterIds: bigint[] = memberIds): unknown[] =>
    forcedEntries({ self: 5n, voterIds, memberIds, term: term(4), lastIndex: 9 }).map((entry) => {
      const { type, nodeId, context } = decodeConfChange(entry.data);
      return [entry.term, entry.index, type, nodeId, Buffer.from(context).toString()];
    });
  assert.deepEqual(changes([7n, 5n, 3n]), [
    [4, 10, 1, 3n, ""],
    [4, 11, 1, 7n, ""],
  ]);
  assert.deepEqual(changes([7n]), [
    [4, 10, 0, 5n, '{"id":5,"peerURLs":["http://localhost:2380"]}'],
    [4, 11, 1, 7n, ""],
  ]);
  assert.deepEqual(changes([7n, 5n], [7n]), [
    [4, 10, 0, 5n, '{"id":5,"peerURLs":null,"isPromote":true}'],
    [4, 11, 1, 7n, ""],
  ]);
  assert.deepEqual(changes([5n]), []);
});
