/** covers: RA-20 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { encodeRaftRequest, RaftOp } from "@quorate/api";
import { AuthUserAddRequest, DowngradeInfoSetRequest, PutRequest } from "@quorate/api/messages";
import { encodeChange } from "@quorate/membership";
import {
  type ConfChange,
  ConfChangeType,
  Entry,
  EntryType,
  encodeConfChange,
  index,
  Message,
  MessageType,
  term,
} from "@quorate/raft";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";

function passOn(cluster: SimulatedCluster, type: EntryType, data: Uint8Array): void {
  const { leader } = cluster;
  const [follower] = cluster.followers as [ClusterMachine];
  const message = new Message(MessageType.Prop, leader.id, follower.id);
  message.entries = [new Entry(type, term(0), index(0), data)];
  leader.owner!.step(message);
  cluster.settle();
}

test("a change that nobody could apply never enters the log, whoever passes it on", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const good = { id: 5n, ...encodeChange({ kind: "remove", id: 77n }) };
  const member = { id: 9n, peerUrls: ["http://m9:2380"], isLearner: false, name: "", clientUrls: [] };
  const add: ConfChange = { id: 5n, ...encodeChange({ kind: "add", member }) };
  const before = cluster.leader.member.commitIndex;
  const malformed: ConfChange[] = [
    { ...good, nodeId: 0n },
    { ...add, context: Buffer.from("{") },
    { ...add, nodeId: 10n },
    { ...add, type: ConfChangeType.AddLearnerNode },
    { ...add, type: ConfChangeType.UpdateNode, context: new Uint8Array(0) },
  ];
  for (const change of malformed) {
    const pass = (): void => passOn(cluster, EntryType.ConfChange, encodeConfChange(change));
    assert.throws(pass, { kind: "MalformedMessage" });
  }
  assert.throws(() => passOn(cluster, EntryType.ConfChangeV2, new Uint8Array(0)), { kind: "MalformedMessage" });
  cluster.advance(1000);
  assert.equal(cluster.leader.member.commitIndex, before);
  passOn(cluster, EntryType.ConfChange, encodeConfChange(good));
  assert.equal(cluster.leader.member.commitIndex, before + 1, "refused by every member alike, and no worse");
});

test("an operation that nobody could apply or knows never enters the log either", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const before = cluster.leader.member.commitIndex;
  const operation = (op: RaftOp, bytes: Uint8Array): Uint8Array =>
    encodeRaftRequest(1, 1, Buffer.alloc(0), 0, op, bytes, 0, bytes.length);
  for (const data of [
    Buffer.from([0xff, 0xff, 0xff]),
    operation(RaftOp.Put, Buffer.from([0x0a, 0x7f])),
    operation(RaftOp.AuthUserAdd, Buffer.from([0x0a, 0x7f])),
    operation(RaftOp.AuthRoleGrantPermission, Buffer.from([0x12, 0x01, 0xff])),
    operation(RaftOp.DowngradeInfoSet, DowngradeInfoSetRequest.encode({ enabled: true, ver: "lower" })),
    operation(5000 as RaftOp, Buffer.alloc(0)),
  ]) {
    assert.throws(() => passOn(cluster, EntryType.Normal, data), { kind: "MalformedMessage" });
  }
  cluster.advance(1000);
  assert.equal(cluster.leader.member.commitIndex, before);
  const put = PutRequest.encode({ key: Buffer.from("k"), value: Buffer.from("v") });
  passOn(cluster, EntryType.Normal, operation(RaftOp.Put, put));
  assert.equal(cluster.leader.member.commitIndex, before + 1);
  passOn(cluster, EntryType.Normal, operation(RaftOp.AuthUserAdd, AuthUserAddRequest.encode({ name: "u" })));
  assert.equal(cluster.leader.member.commitIndex, before + 2);
});
