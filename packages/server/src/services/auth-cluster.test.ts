/** Users and tokens among several members: what each knows of the others' log-ins, and when. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { errors, PermissionType } from "@quorate/api";
import {
  AuthUserDeleteRequest,
  AuthUserDeleteResponse,
  MemberAddRequest,
  MemberPromoteRequest,
  PutRequest,
  RangeRequest,
} from "@quorate/api/messages";
import type { FakeCall } from "../testing/fake-call.ts";
import { type ClusterMachine, peerUrlOf, SimulatedCluster } from "../testing/simulated-cluster.ts";
import { callWith, Users } from "../testing/users.ts";

const RANGE = "/etcdserverpb.KV/Range";
const PUT = "/etcdserverpb.KV/Put";
const k = Buffer.from("k");

/** The Auth service of one machine of a cluster. */
function usersOf(cluster: SimulatedCluster, machine: ClusterMachine, token: string | null = null): Users {
  const send: ClusterMachine["send"] = (path, type, request, call) => machine.send(path, type, request, call);
  return new Users({ send, settle: () => cluster.settle() }, token);
}

/** With user u, who may read k, and root's token. */
async function guarded(size: number, settings: Record<string, string> = {}): Promise<[SimulatedCluster, Users]> {
  const cluster = await SimulatedCluster.serving(size, settings);
  const users = usersOf(cluster, cluster.leader);
  users.addRole("r", [{ key: "k", permType: PermissionType.READ }]);
  users.add("u");
  users.grant("u", "r");
  users.enable();
  return [cluster, users];
}

function read(cluster: SimulatedCluster, machine: ClusterMachine, token: string, serializable = false): FakeCall {
  const call = machine.send(RANGE, RangeRequest, { key: k, serializable }, callWith(RANGE, token));
  cluster.settle();
  return call;
}

// covers: AU-02
test("a token is good on every member, whichever it was asked from", async () => {
  const [cluster] = await guarded(3);
  for (const machine of cluster.machines) {
    const token = usersOf(cluster, machine).logIn("u");
    for (const other of cluster.machines) assert.equal(read(cluster, other, token).status!.message, "");
  }
});

test("a member that has not heard of the log-in waits until it has", async () => {
  const [cluster, users] = await guarded(3);
  const [follower] = cluster.followers as [ClusterMachine];
  cluster.cutOff(follower);
  const token = users.logIn("u");
  const call = read(cluster, follower, token, true);
  assert.equal(call.status, null);
  cluster.reconnect(follower);
  cluster.advance(500);
  assert.equal(call.status!.message, "");
});

test("what was changed while a linearizable read waited for its round counts", async () => {
  const [cluster, users] = await guarded(3);
  const [follower] = cluster.followers as [ClusterMachine];
  const token = users.logIn("u");
  cluster.cutOff(follower);
  const waiting = read(cluster, follower, token);
  assert.equal(waiting.status, null);
  users.call("UserDelete", AuthUserDeleteRequest, { name: "u" }, AuthUserDeleteResponse);
  cluster.reconnect(follower);
  cluster.advance(1000);
  assert.equal(waiting.status!.message, errors.InvalidAuthToken.message);
});

// covers: SN-13, AP-02, AP-11
test("a snapshot brings the users of its moment, and ends tokens of those it left out", async () => {
  const [cluster, users] = await guarded(3, { "snapshot-count": "10", "snapshot-catchup-entries": "1" });
  const [follower] = cluster.followers as [ClusterMachine];
  const token = users.logIn("u");
  assert.equal(read(cluster, follower, token).status!.message, "");
  cluster.cutOff(follower);
  cluster.advance(3000);
  users.call("UserDelete", AuthUserDeleteRequest, { name: "u" }, AuthUserDeleteResponse);
  users.add("v");
  users.grant("v", "r");
  for (let i = 0; i < 3000; i++) {
    cluster.leader.send(PUT, PutRequest, { key: k, value: k }, callWith(PUT, users.token));
  }
  cluster.advance(1000);
  const { auth: old } = follower.member;
  cluster.reconnect(follower);
  for (let i = 0; i < 100 && follower.member.auth === old; i++) cluster.advance(100);
  assert.notEqual(follower.member.auth, old, "a snapshot was installed");
  cluster.advance(1000);
  assert.equal(follower.member.auth.revision, cluster.leader.member.auth.revision);
  assert.equal(read(cluster, follower, token).status!.message, errors.InvalidAuthToken.message);
  const fresh = usersOf(cluster, follower).logIn("v");
  for (const machine of cluster.machines) assert.equal(read(cluster, machine, fresh).status!.message, "");
});

// covers: MB-14
test("a promotion that a follower passes on is done for an administrator, and for nobody else", async () => {
  const [cluster, users] = await guarded(2, { "strict-reconfig-check": "false" });
  const [follower] = cluster.followers as [ClusterMachine];
  const add = "/etcdserverpb.Cluster/MemberAdd";
  const request = { peerURLs: [peerUrlOf("m9")], isLearner: true };
  cluster.leader.send(add, MemberAddRequest, request, callWith(add, users.token));
  cluster.settle();
  const joined = await cluster.join("m9");
  cluster.advance(10_000);
  const { id } = joined.member;
  const promote = (machine: ClusterMachine, token: string | null): string => {
    const path = "/etcdserverpb.Cluster/MemberPromote";
    const call = machine.send(path, MemberPromoteRequest, { ID: id }, callWith(path, token));
    cluster.advance(1000);
    return call.status?.message ?? "waits";
  };
  assert.equal(promote(follower, users.logIn("u")), errors.PermissionDenied.message);
  // What the follower did not ask, the leader does.
  for (const token of [null, "bad", users.logIn("u")]) {
    let outcome = "";
    cluster.leader.requests!.promote(id, token, (each) => {
      outcome = each.kind;
    });
    cluster.advance(1000);
    assert.equal(outcome, "failed", `with token ${token}`);
  }
  assert.equal(joined.member.isLearner, true);
  assert.equal(promote(follower, users.token), "");
  assert.equal(joined.member.isLearner, false);
});
