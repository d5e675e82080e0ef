/** Changing the membership, with etcd's checks and words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  MemberAddRequest,
  MemberAddResponse,
  MemberListRequest,
  MemberListResponse,
  MemberPromoteRequest,
  MemberPromoteResponse,
  MemberRemoveRequest,
  MemberRemoveResponse,
  MemberUpdateRequest,
  MemberUpdateResponse,
} from "@quorate/api/messages";
import { addedMemberIdOf } from "@quorate/membership";
import { FakeCall } from "../testing/fake-call.ts";
import { type ClusterMachine, peerUrlOf, SimulatedCluster } from "../testing/simulated-cluster.ts";

const ADD = "/etcdserverpb.Cluster/MemberAdd";
const LIST = "/etcdserverpb.Cluster/MemberList";
const PROMOTE = "/etcdserverpb.Cluster/MemberPromote";
const REMOVE = "/etcdserverpb.Cluster/MemberRemove";
const UPDATE = "/etcdserverpb.Cluster/MemberUpdate";

const NOT_STARTED = "2: etcdserver: re-configuration failed due to not enough started members";
const UNHEALTHY = "14: etcdserver: unhealthy cluster";

/** A cluster whose members have been connected for long enough to count. */
async function healthy(count: number, settings: Readonly<Record<string, string>> = {}): Promise<SimulatedCluster> {
  const cluster = await SimulatedCluster.serving(count, settings);
  cluster.advance(6000);
  return cluster;
}

function add(cluster: SimulatedCluster, machine: ClusterMachine, peerURLs: string[], isLearner: boolean) {
  return cluster.call(machine, ADD, MemberAddRequest, { peerURLs, isLearner }, MemberAddResponse);
}

function remove(cluster: SimulatedCluster, machine: ClusterMachine, ID: bigint) {
  return cluster.call(machine, REMOVE, MemberRemoveRequest, { ID }, MemberRemoveResponse);
}

function update(cluster: SimulatedCluster, machine: ClusterMachine, ID: bigint, peerURLs: string[]) {
  return cluster.call(machine, UPDATE, MemberUpdateRequest, { ID, peerURLs }, MemberUpdateResponse);
}

function promote(cluster: SimulatedCluster, machine: ClusterMachine, ID: bigint) {
  return cluster.call(machine, PROMOTE, MemberPromoteRequest, { ID }, MemberPromoteResponse);
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  return "done";
}

/** A learner that runs and has everything. */
async function withLearner(cluster: SimulatedCluster): Promise<ClusterMachine> {
  add(cluster, cluster.leader, [peerUrlOf("m4")], true);
  const learner = await cluster.join("m4");
  cluster.advance(2000);
  return learner;
}

test("a member is added by any member: its id is of its URLs and the second, the list is whole and sorted", async () => {
  const cluster = await healthy(3);
  const follower = cluster.followers[0]!;
  const urls = ["http://b:1 ", "HTTP://a:1"];
  const id = addedMemberIdOf(["http://a:1", "http://b:1"], cluster.world.wallMs() / 1000);
  const { header, member, members } = add(cluster, follower, urls, false);
  assert.deepEqual(member, {
    ID: id,
    name: "",
    peerURLs: ["http://a:1", "http://b:1"],
    clientURLs: [],
    isLearner: false,
  });
  assert.equal(members.length, 4);
  assert.deepEqual(
    members.map((each) => each.ID),
    members.map((each) => each.ID).toSorted((a, b) => (a < b ? -1 : 1)),
  );
  assert.equal(header!.revision, 0);
  assert.equal(header!.memberId, follower.id);
  cluster.advance(1000);
  for (const machine of cluster.machines) {
    assert.equal(cluster.call(machine, LIST, MemberListRequest, {}, MemberListResponse).members.length, 4);
  }
});

// covers: MB-17
test("URLs that are none are refused before anything else", async () => {
  const cluster = await healthy(1);
  const machine = cluster.leader;
  const bad: string[][] = [[], ["localhost:1"], ["http://a"], ["http://a:1/x"], ["ftp://a:1"], ["http://a:1", ""]];
  for (const urls of bad) {
    assert.equal(
      refusal(() => add(cluster, machine, urls, false)),
      "3: etcdserver: given member URLs are invalid",
      urls.join(),
    );
    assert.equal(
      refusal(() => update(cluster, machine, machine.id, urls)),
      "3: etcdserver: given member URLs are invalid",
      urls.join(),
    );
  }
});

test("every refusal of a change has etcd's code and words", async () => {
  const cluster = await healthy(3);
  const [first, second] = cluster.followers as [ClusterMachine, ClusterMachine];
  const leader = cluster.leader;
  assert.equal(
    refusal(() => add(cluster, first, [peerUrlOf(second.config.name)], false)),
    "9: etcdserver: Peer URLs already exists",
  );
  add(cluster, first, ["http://learner:1"], true);
  assert.equal(
    refusal(() => add(cluster, first, ["http://other:1"], true)),
    "9: etcdserver: too many learner members in cluster",
  );
  assert.equal(
    refusal(() => remove(cluster, first, 99n)),
    "5: etcdserver: member not found",
  );
  assert.equal(
    refusal(() => update(cluster, first, 99n, ["http://x:1"])),
    "5: etcdserver: member not found",
  );
  assert.equal(
    refusal(() => update(cluster, first, first.id, [peerUrlOf(second.config.name)])),
    "9: etcdserver: Peer URLs already exists",
  );
  for (const machine of [leader, first]) {
    const name = machine === leader ? "asked of the leader" : "asked of a follower";
    assert.equal(
      refusal(() => promote(cluster, machine, 99n)),
      "5: etcdserver: member not found",
      name,
    );
    assert.equal(
      refusal(() => promote(cluster, machine, second.id)),
      "9: etcdserver: can only promote a learner member",
      name,
    );
  }
});

// covers: MB-12
test("a learner is promoted by any member, once it runs and has what the leader has", async () => {
  const cluster = await healthy(3);
  const [follower] = cluster.followers as [ClusterMachine];
  const { member } = add(cluster, follower, [peerUrlOf("m4")], true);
  const notReady = "9: etcdserver: can only promote a learner member which is in sync with leader";
  for (const machine of [cluster.leader, follower]) {
    assert.equal(
      refusal(() => promote(cluster, machine, member!.ID)),
      notReady,
    );
  }
  const learner = await cluster.join("m4");
  cluster.advance(2000);
  assert.equal(learner.member.isLearner, true);
  cluster.cutOff(learner);
  assert.equal(
    refusal(() => promote(cluster, follower, member!.ID)),
    notReady,
    "it has everything and is gone",
  );
  cluster.reconnect(learner);
  cluster.advance(1000);
  const call = follower.send(PROMOTE, MemberPromoteRequest, { ID: member!.ID });
  cluster.settle();
  const { members } = MemberPromoteResponse.decode(call.messages[0]!);
  assert.deepEqual([members.length, members.some((each) => each.isLearner)], [4, false]);
  cluster.advance(500);
  assert.equal(learner.member.isLearner, false);
});

// covers: MB-13
test("an update changes the URLs and nothing else", async () => {
  const cluster = await healthy(3);
  const learner = await withLearner(cluster);
  const { members } = update(cluster, cluster.followers[0]!, learner.id, ["http://moved:1"]);
  const updated = members.find((each) => each.ID === learner.id)!;
  assert.deepEqual([updated.peerURLs, updated.isLearner, updated.name], [["http://moved:1"], true, "m4"]);
});

// covers: MB-09
test("strict: with one of three down no voter is added, nor a voter who is up removed; the one who is down may go", async () => {
  const cluster = await healthy(3);
  const [down, up] = cluster.followers as [ClusterMachine, ClusterMachine];
  cluster.cutOff(down);
  cluster.advance(1000);
  for (const isLearner of [false, true]) {
    assert.equal(
      refusal(() => add(cluster, cluster.leader, ["http://x:1"], isLearner)),
      UNHEALTHY,
    );
  }
  assert.equal(
    refusal(() => remove(cluster, cluster.leader, up.id)),
    UNHEALTHY,
  );
  assert.equal(remove(cluster, cluster.leader, down.id).members.length, 2);
});

test("strict: a connection counts when it has lasted five seconds", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const connectedMs = cluster.world.nowMs - Math.max(...cluster.machines.map((each) => each.connectedSinceMs));
  assert.ok(connectedMs < 5000);
  cluster.advance(4999 - connectedMs);
  const addOne = () => add(cluster, cluster.leader, ["http://x:1"], false);
  assert.equal(refusal(addOne), UNHEALTHY);
  cluster.advance(100);
  assert.equal(refusal(addOne), "done");
});

test("strict: a second member that has not started keeps others from being added and the first from being removed", async () => {
  const cluster = await healthy(1);
  const machine = cluster.leader;
  assert.equal(
    refusal(() => remove(cluster, machine, machine.id)),
    NOT_STARTED,
  );
  // Alone it decides alone, and from then on needs the other.
  const call = machine.send(ADD, MemberAddRequest, { peerURLs: ["http://m2:2380"] });
  cluster.settle();
  assert.equal(call.status!.code, 0);
  assert.equal(
    refusal(() => add(cluster, machine, ["http://m3:2380"], false)),
    NOT_STARTED,
  );
});

test("not strict: what risks the quorum may be done, but for removing the last voter", async () => {
  const cluster = await healthy(2, { "strict-reconfig-check": "false" });
  const [follower] = cluster.followers as [ClusterMachine];
  assert.equal(remove(cluster, cluster.leader, follower.id).members.length, 1);
  assert.equal(
    refusal(() => remove(cluster, cluster.leader, cluster.leader.id)),
    NOT_STARTED,
  );
});

// covers: MB-05
test("a leader that removes itself answers, and learns that it is none of the members", async () => {
  const cluster = await healthy(3);
  const { leader } = cluster;
  assert.equal(remove(cluster, leader, leader.id).members.length, 2);
  cluster.advance(1000);
  assert.equal(leader.isRemoved, true);
});

// covers: MB-05
test("when the leader is removed the others elect another at once", async () => {
  const cluster = await healthy(3);
  const { leader, followers } = cluster;
  remove(cluster, followers[0]!, leader.id);
  cluster.advance(300);
  assert.equal(leader.isRemoved, false, "it has not even ended");
  assert.equal(followers.filter((each) => each.member.isLeader).length, 1);
});

test("a change waits as long as its caller does", async () => {
  const cluster = await healthy(3);
  const machine = cluster.leader;
  for (const follower of cluster.followers) cluster.cutOff(follower);
  const call = new FakeCall(UPDATE);
  machine.send(UPDATE, MemberUpdateRequest, { ID: machine.id, peerURLs: ["http://x:1"] }, call);
  cluster.advance(60_000);
  assert.equal(call.status, null);
  call.cancel();
  cluster.advance(1000);
  for (const follower of cluster.followers) cluster.reconnect(follower);
  cluster.advance(5000);
  assert.equal(cluster.machines.filter((each) => each.member.isLeader).length, 1);
});

test("a change whose caller gave up while there was no leader is not made when there is one", async () => {
  const cluster = await healthy(3);
  const [follower] = cluster.followers as [ClusterMachine];
  cluster.cutOff(follower);
  cluster.advance(3000);
  const call = new FakeCall(UPDATE);
  follower.send(UPDATE, MemberUpdateRequest, { ID: follower.id, peerURLs: ["http://x:1"] }, call);
  cluster.advance(100);
  call.cancel();
  cluster.reconnect(follower);
  cluster.advance(5000);
  assert.notEqual(follower.member.leader, 0n);
  const urls = cluster.leader.member.membership.member(follower.id)!.peerUrls;
  assert.deepEqual(urls, [peerUrlOf(follower.config.name)]);
});

test("a promotion that finds no leader says so when a request may take no longer, one that cannot reach it times out", async () => {
  const cluster = await healthy(3);
  const follower = cluster.followers[0]!;
  cluster.cutOff(follower);
  const early = follower.send(PROMOTE, MemberPromoteRequest, { ID: 9n });
  cluster.advance(7100);
  assert.equal(early.status!.message, "etcdserver: no leader");
});

test("promotions of other members end with the request timeout if what they propose is lost", async () => {
  const cluster = await healthy(3);
  const learner = await withLearner(cluster);
  const leader = cluster.leader;
  for (const machine of cluster.machines) if (machine !== leader && machine !== learner) cluster.cutOff(machine);
  const heard: string[] = [];
  leader.requests!.promote(learner.id, null, (outcome) => {
    heard.push(outcome.kind === "failed" ? outcome.message : outcome.kind);
  });
  cluster.advance(8000);
  assert.deepEqual(heard, ["etcdserver: request timed out"]);
});

test("a linearizable list is refused where nobody leads, a local one is not", async () => {
  const cluster = await healthy(3);
  const follower = cluster.followers[0]!;
  cluster.cutOff(follower);
  cluster.advance(3000);
  const local = cluster.call(follower, LIST, MemberListRequest, {}, MemberListResponse);
  assert.equal(local.members.length, 3);
  const call = follower.send(LIST, MemberListRequest, { linearizable: true });
  cluster.advance(7100);
  assert.equal(call.status!.message, "etcdserver: request timed out");
});
