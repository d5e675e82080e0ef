/**
 * Our transport beside a real etcd: the same wrong requests get the same answers from both, and as a learner of etcd's
 * cluster it dials, is dialled, and exchanges messages.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Message, MessageType } from "../packages/raft/src/index.ts";
import { PeerClient } from "../packages/server/src/peers/peer-client.ts";
import { noCredentials } from "../packages/server/src/testing/certificates.ts";
import { CLUSTER_ID, ESTABLISHED, PeerNode } from "../packages/server/src/testing/peer-node.ts";
import { askPort, type PortRequest, peerHeaders } from "../packages/server/src/testing/peer-port.ts";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { MachineTimers } from "../packages/server/src/world/clock.ts";
import { isInstalled, ServerProcess } from "./harness/processes.ts";

const etcd = process.env.ETCD ?? "etcd";
/** What a proxy between us might change, and what tells the two programs apart. */
const OWN_HEADERS = ["date", "connection", "keep-alive", "transfer-encoding", "content-length", "x-server-version"];

describe("the peer port beside etcd's", { skip: !isInstalled(etcd) }, () => {
  let server: ServerProcess;
  let clusterId = 0n;
  /** 3.4 answers some of this otherwise. */
  let isRecent = false;
  let node: PeerNode;
  const client = new PeerClient({ tls: noCredentials(), electionTimeoutMs: 1000, timers: new MachineTimers() });
  const peerUrl = (): string => `http://127.0.0.1:${server.ports.peer}`;

  before(async () => {
    server = await ServerProcess.etcd();
    const members = await client.members([peerUrl()], 5000);
    assert.ok(members.kind === "answered", "etcd says who is in its cluster");
    clusterId = members.clusterId;
    const version = await client.version([peerUrl()], 5000);
    isRecent = version.kind === "answered" && /^3\.([6-9]|\d\d)\./.test(version.server);
    if (!isRecent) console.error("\n*** SKIPPED: this etcd is too old to compare the peer port's answers with ***\n");
    node = await PeerNode.start({
      id: members.members[0]!.id,
      port: await freePort(),
      clusterId,
      requests: {
        members: () => members.members,
        promote: (_id, _token, done) => done({ kind: "not found" }),
        hashKv: (revision, done) => {
          const hashed = { revision: 1, hash: 1084519789, compactRevision: -1, hashRevision: 1 };
          if (revision > 1) done({ kind: "future revision" });
          else done({ kind: "hashed", hashed });
        },
        leaseKeepAlive: (_id, done) => done({ kind: "not found" }),
        leaseTimeToLive: (_id, _withKeys, done) => done({ kind: "not found" }),
      },
    });
  });
  after(async () => {
    node?.dispose();
    await server?.dispose();
  });

  const known = (): PortRequest["headers"] & object => peerHeaders(clusterId);
  const lease = Buffer.from("0801", "hex");
  const leaseInternal = Buffer.from("0a020801", "hex");
  const cases: Readonly<Record<string, () => PortRequest>> = {
    "GET /members": () => ({ path: "/members" }),
    "POST /members": () => ({ method: "POST", path: "/members" }),
    "an unknown path": () => ({ path: "/nothing" }),
    "an unknown raft path": () => ({ path: "/raft/nothing" }),
    "GET /members/promote/5": () => ({ path: "/members/promote/5" }),
    "POST /members/promote/5": () => ({ method: "POST", path: "/members/promote/5" }),
    "POST /members/promote/x": () => ({ method: "POST", path: "/members/promote/x" }),
    "POST /members/hashkv": () => ({ method: "POST", path: "/members/hashkv" }),
    "hash without a question": () => ({ path: "/members/hashkv" }),
    "hash at nonsense": () => ({ path: "/members/hashkv", body: '{"revision":"x"}' }),
    "hash in the future": () => ({ path: "/members/hashkv", body: '{"revision":77}' }),
    "GET /leases": () => ({ path: "/leases" }),
    "an unknown lease": () => ({ method: "POST", path: "/leases", body: lease }),
    "a lease request that is none": () => ({ method: "POST", path: "/leases", body: Buffer.from("ff", "hex") }),
    "the time of an unknown lease": () => ({ method: "POST", path: "/leases/internal", body: leaseInternal }),
    "GET /raft": () => ({ path: "/raft" }),
    "GET /raft/snapshot": () => ({ path: "/raft/snapshot" }),
    "POST /raft/stream": () => ({ method: "POST", path: "/raft/stream/message/1" }),
    "a message without headers": () => ({ method: "POST", path: "/raft" }),
    "a message of an old version": () => ({
      method: "POST",
      path: "/raft",
      headers: peerHeaders(clusterId, { "x-server-version": "2.3.0" }),
    }),
    "a message for a newer version": () => ({
      method: "POST",
      path: "/raft",
      headers: peerHeaders(clusterId, { "x-min-cluster-version": "9.0.0" }),
    }),
    "a message of another cluster": () => ({ method: "POST", path: "/raft", headers: peerHeaders(5n) }),
    "a message that is none": () => ({ method: "POST", path: "/raft", headers: known(), body: "zzz" }),
    "a message to another": () => ({
      method: "POST",
      path: "/raft",
      headers: known(),
      body: Buffer.from("0808100118052001", "hex"),
    }),
    "a snapshot without headers": () => ({ method: "POST", path: "/raft/snapshot" }),
    "a snapshot of another cluster": () => ({ method: "POST", path: "/raft/snapshot", headers: peerHeaders(5n) }),
    "an empty snapshot": () => ({ method: "POST", path: "/raft/snapshot", headers: known() }),
    "a snapshot cut short": () => ({ method: "POST", path: "/raft/snapshot", headers: known(), body: "abc" }),
    "an absurd snapshot": () => ({ method: "POST", path: "/raft/snapshot", headers: known(), body: "zzzzzzzzz" }),
    "a snapshot that is a heartbeat": () => ({
      method: "POST",
      path: "/raft/snapshot",
      headers: known(),
      body: Buffer.from("00000000000000020808", "hex"),
    }),
    "a stream of an unknown kind": () => ({ path: "/raft/stream/foo/1", headers: known() }),
    "a stream without an id": () => ({ path: "/raft/stream/message/", headers: known() }),
    "a stream for no id": () => ({ path: "/raft/stream/msgapp/zz", headers: known() }),
    "a stream of a stranger": () => ({ path: "/raft/stream/message/1", headers: known() }),
    "a stream of another cluster": () => ({ path: "/raft/stream/message/1", headers: peerHeaders(5n) }),
    "a hash for another cluster": () => ({ path: "/members/hashkv", headers: { "x-etcd-cluster-id": "5" } }),
    "a lease request that is too large": () => ({ method: "POST", path: "/leases", body: Buffer.alloc(65537, 0x78) }),
  };
  for (const [what, request] of Object.entries(cases)) {
    it(`${what}: the same answer`, async (context) => {
      if (!isRecent) return context.skip("an older etcd");
      const theirs = await askPort(server.ports.peer, request());
      const ours = await askPort(Number(new URL(node.url).port), request());
      const told = (answer: typeof ours): unknown => ({
        ...answer,
        headers: Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !OWN_HEADERS.includes(name))),
      });
      assert.deepEqual(told(ours), told(theirs));
    });
  }

  it("our questions understand etcd's answers", async (context) => {
    if (!isRecent) return context.skip("an older etcd");
    const urls = [peerUrl()];
    const version = await client.version(urls, 5000);
    assert.ok(version.kind === "answered" && /^3\.\d+\.\d+$/.test(version.server));
    const hash = await client.hashKv(urls, clusterId, 0, 5000);
    assert.ok(hash.kind === "hashed" && hash.hashed.hash === 1084519789, "the hash of an empty store");
    assert.deepEqual(await client.hashKv(urls, clusterId, 77, 5000), { kind: "future revision" });
    assert.deepEqual(await client.leaseKeepAlive(urls, 5n, 5000), { kind: "not found" });
    assert.deepEqual(await client.leaseTimeToLive(urls, 5n, true, 5000), { kind: "not found" });
    assert.deepEqual(await client.promote(urls, 5n, null, 5000), { kind: "not found" });
  });

  it("as a learner it hears etcd's messages, and etcd hears its answers", async () => {
    const port = await freePort();
    const added = await fetch(`http://${server.endpoint}/v3/cluster/member/add`, {
      method: "POST",
      body: JSON.stringify({ peerURLs: [`http://127.0.0.1:${port}`], isLearner: true }),
    });
    const { member } = (await added.json()) as { member: { ID: string } };
    const id = BigInt(member.ID);
    const learner = await PeerNode.start({ id, port, clusterId });
    try {
      learner.meet({ id: node.id, url: peerUrl() });
      await learner.until("all four streams", () => learner.logged(ESTABLISHED).length >= 4);
      const first = (type: MessageType): Message | undefined => learner.stepped.find((each) => each.type === type);
      await learner.until("a heartbeat", () => first(MessageType.Heartbeat) !== undefined);
      const heartbeat = first(MessageType.Heartbeat)!;
      assert.deepEqual([heartbeat.from, heartbeat.to], [node.id, id]);
      const answer = new Message(MessageType.HeartbeatResp, node.id, id);
      answer.term = heartbeat.term;
      learner.send(answer);
      // Only a follower that answers is sent entries.
      await learner.until("an append", () => first(MessageType.App) !== undefined);
      const refusal = new Message(MessageType.AppResp, node.id, id);
      refusal.term = heartbeat.term;
      refusal.reject = true;
      refusal.index = first(MessageType.App)!.index;
      learner.send(refusal);
      const fromTheStart = (): Message | undefined =>
        learner.stepped.find((each) => each.type === MessageType.App && each.index === 0 && each.entries.length > 0);
      await learner.until("the log from its beginning", () => fromTheStart() !== undefined);
      const [entry] = fromTheStart()!.entries;
      assert.deepEqual([entry!.index, entry!.term], [1, 1]);
      assert.notEqual(learner.transport.activeSinceMs(node.id), null);
      assert.deepEqual(learner.logged("lost TCP streaming connection with remote peer"), []);
    } finally {
      learner.dispose();
    }
  });

  it("a member of another cluster is sent away by etcd", async () => {
    const stranger = await PeerNode.start({ id: 3n, port: await freePort(), clusterId: CLUSTER_ID + 1n });
    stranger.meet({ id: node.id, url: peerUrl() });
    const line = "request sent was ignored by remote peer due to cluster ID mismatch";
    await stranger.until("a refusal", () => stranger.logged(line).length > 0);
    stranger.dispose();
  });
});
