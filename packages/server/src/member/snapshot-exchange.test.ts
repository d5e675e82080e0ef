import assert from "node:assert/strict";
import { test } from "node:test";
import { PutRequest, PutResponse } from "@quorate/api/messages";
import type { Message } from "@quorate/raft";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";

function put(cluster: SimulatedCluster, key: string): void {
  const request = { key: Buffer.from(key), value: Buffer.from(key) };
  cluster.call(cluster.leader, "/etcdserverpb.KV/Put", PutRequest, request, PutResponse);
}

interface Received {
  readonly message: Message;
  readonly file: Uint8Array;
}

/** A follower that was away for too long, and what it is sent when it comes back. */
async function behind(): Promise<{ cluster: SimulatedCluster; follower: ClusterMachine; received: Received[] }> {
  const cluster = await SimulatedCluster.serving(3, { "snapshot-count": "10", "snapshot-catchup-entries": "1" });
  const [follower] = cluster.followers as [ClusterMachine];
  cluster.cutOff(follower);
  // Entries are given up in memory by the thousand.
  for (let i = 0; i < 2600; i++) {
    put(cluster, `k${i % 10}`);
    if (i % 100 === 0) cluster.advance(200);
  }
  cluster.advance(1000);
  const received: Received[] = [];
  const { receiveSnapshot } = follower.owner!;
  follower.owner!.receiveSnapshot = (message, path, done) => {
    received.push({ message, file: Uint8Array.from(follower.disk.contents(path)) });
    receiveSnapshot(message, path, done);
  };
  return { cluster, follower, received };
}

function install(cluster: SimulatedCluster, follower: ClusterMachine): void {
  const old = follower.member.store;
  cluster.reconnect(follower);
  for (let i = 0; i < 100 && follower.member.store === old; i++) cluster.advance(100);
  assert.notEqual(follower.member.store, old, "a snapshot was installed");
}

/** As if it had arrived once more. */
function receiveAgain({ message, file }: Received, follower: ClusterMachine, heard: (string | null)[]): void {
  const path = "/data/member/again.db";
  follower.disk.open(path, "create").write(file, 0, file.length, 0);
  follower.owner!.receiveSnapshot(message, path, (error) => heard.push(error?.message ?? null));
}

// covers: SN-02
test("a snapshot that has been installed or is behind us is of no use, and nothing is made of it", async () => {
  const { cluster, follower, received } = await behind();
  install(cluster, follower);
  const receive = follower.databases.receive.bind(follower.databases);
  let made = 0;
  follower.databases.receive = (...args) => {
    made++;
    receive(...args);
  };
  const heard: (string | null)[] = [];
  receiveAgain(received[0]!, follower, heard);
  cluster.settle();
  assert.equal(made, 0);
  assert.deepEqual(heard, [null], "raft has told the leader how far we are");
  assert.equal(follower.disk.exists("/data/member/again.db"), false);
  put(cluster, "after");
  cluster.advance(1000);
  assert.equal(follower.failure, null);
  assert.equal(follower.member.appliedIndex, cluster.leader.member.appliedIndex);
});
