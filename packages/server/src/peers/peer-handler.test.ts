import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  LeaseInternalRequest,
  LeaseInternalResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
} from "@quorate/api/messages";
import { encodeMessage, type Index, Message, MessageType, type Term } from "@quorate/raft";
import { noCredentials } from "../testing/certificates.ts";
import { CLUSTER_ID, PeerNode } from "../testing/peer-node.ts";
import { askPort, type PortRequest, peerHeaders } from "../testing/peer-port.ts";
import { freePort } from "../testing/ports.ts";
import { MachineTimers } from "../world/clock.ts";
import { encodeFrame } from "./message-frames.ts";
import { PeerClient } from "./peer-client.ts";
import type { PeerRequests } from "./peer-requests.ts";

/** Beyond what a number holds. */
const BIG_ID = 14096517801681184026n;
const MEMBER = { id: BIG_ID, peerUrls: ["http://a:1"], isLearner: false, name: 'q"{}', clientUrls: [] };

/** Answers by the id or revision asked for. */
const requests: PeerRequests = {
  versionBody: () => '{"etcdserver":"3.7.1","etcdcluster":"not_decided","storage":"3.7.0"}',
  members: () => [MEMBER, { ...MEMBER, id: 7n, isLearner: true, name: "" }],
  promote: (id, token, done) => {
    if (id === 1n) done({ kind: "not found" });
    else if (id === 2n) done({ kind: "not a learner" });
    else if (id === 3n) done({ kind: "not in sync" });
    else if (id === BIG_ID) done({ kind: "promoted", members: [MEMBER] });
    else done({ kind: "failed", message: `token ${token}` });
  },
  hashKv: (revision, done) => {
    if (revision === 1) done({ kind: "compacted" });
    else if (revision === 99) done({ kind: "future revision" });
    else if (revision === 50) done({ kind: "failed", message: "the store is closed" });
    else
      done({ kind: "hashed", hashed: { revision: 7, hash: 4084519789, compactRevision: -1, hashRevision: revision } });
  },
  leaseKeepAlive: (id, done) => {
    if (id === 404n) done({ kind: "not found" });
    else if (id === 408n) done({ kind: "timed out" });
    else if (id === 400n) done({ kind: "failed", message: "not a primary lessor" });
    else setImmediate(() => done({ kind: "renewed", ttlSeconds: 60 }));
  },
  leaseTimeToLive: (id, withKeys, done) => {
    if (id === 404n) done({ kind: "not found" });
    else if (id === 408n) done({ kind: "timed out" });
    else if (id === 500n) done({ kind: "failed", message: "not a primary lessor" });
    else {
      const keys = withKeys ? [Buffer.from("k1"), Buffer.from("k2")] : [];
      done({ kind: "found", ttlSeconds: 9, grantedTtlSeconds: 10, keys });
    }
  },
  downgradeEnabled: (done) => done({ kind: "answered", isEnabled: true }),
};

let node: PeerNode;
let port = 0;
before(async () => {
  port = await freePort();
  node = await PeerNode.start({ id: 0xabn, port, requests });
  node.transport.addPeer(5n, ["http://127.0.0.1:1"]);
  node.removed.add(6n);
});
after(() => node.dispose());

const FROM_US = peerHeaders(CLUSTER_ID);
const stream = (path: string, headers = FROM_US): PortRequest => ({ path: `/raft/stream${path}`, headers });
const post = (path: string, body: Uint8Array | string, headers = FROM_US): PortRequest => ({
  method: "POST",
  path,
  headers,
  body,
});

function message(type: MessageType, fields: Partial<Message> = {}): Message {
  return Object.assign(new Message(type, 0xabn, 5n), { term: 1 as Term, ...fields });
}

function snapshotMessage(index: number, fields: Partial<Message> = {}): Message {
  const confState = { voters: [5n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  const metadata = { index: index as Index, term: 1 as Term, confState };
  return message(MessageType.Snap, { snapshot: { data: Buffer.alloc(0), metadata }, ...fields });
}

const NOT_ALLOWED = "Method Not Allowed\n";
for (const [what, asked, status, body] of [
  ["an unknown path", { path: "/nothing" }, 404, "404 page not found\n"],
  ["an unknown path of raft", { path: "/raft/nothing" }, 404, "404 page not found\n"],
  ["/health, which is for clients", { path: "/health" }, 404, "404 page not found\n"],
  ["POST /members", { method: "POST", path: "/members" }, 405, NOT_ALLOWED],
  ["GET /raft", { path: "/raft" }, 405, NOT_ALLOWED],
  ["GET /leases", { path: "/leases" }, 405, NOT_ALLOWED],
  ["DELETE /raft/snapshot", { method: "DELETE", path: "/raft/snapshot" }, 405, NOT_ALLOWED],
  [
    "promoting what is no id",
    { method: "POST", path: "/members/promote/xyz" },
    404,
    "member xyz not found in cluster\n",
  ],
  [
    "promoting an id of 65 bits",
    { method: "POST", path: "/members/promote/18446744073709551616" },
    404,
    "member 18446744073709551616 not found in cluster\n",
  ],
  ["promoting nobody", { method: "POST", path: "/members/promote/1" }, 404, "membership: ID not found\n"],
  [
    "promoting a voter",
    { method: "POST", path: "/members/promote/2" },
    412,
    "membership: can only promote a learner member\n",
  ],
  [
    "promoting too early",
    { method: "POST", path: "/members/promote/3" },
    412,
    "etcdserver: can only promote a learner member which is in sync with leader\n",
  ],
  [
    "a promotion that fails",
    { method: "POST", path: "/members/promote/4" },
    500,
    '{"message":"Internal Server Error"}',
  ],
  ["a hash without a question", { path: "/members/hashkv" }, 400, "error unmarshalling request\n"],
  ["a hash at a text", { path: "/members/hashkv", body: '{"revision":"1"}' }, 400, "error unmarshalling request\n"],
  ["a hash at a list", { path: "/members/hashkv", body: "[]" }, 400, "error unmarshalling request\n"],
  [
    "a hash for another cluster",
    { path: "/members/hashkv", headers: { "x-etcd-cluster-id": "1" } },
    412,
    "cluster ID mismatch\n",
  ],
  [
    "a hash at a compacted revision",
    { path: "/members/hashkv", body: '{"revision":1}' },
    400,
    "mvcc: required revision has been compacted\n",
  ],
  [
    "a hash at a future revision",
    { path: "/members/hashkv", body: '{"revision":99}' },
    400,
    "mvcc: required revision is a future revision\n",
  ],
  ["a hash that fails", { path: "/members/hashkv", body: '{"revision":50}' }, 400, "the store is closed\n"],
  ["a lease request that is none", post("/leases", "\xff"), 400, "error unmarshalling request\n"],
  ["a lease request that is too large", post("/leases", Buffer.alloc(64 * 1024 + 1)), 413, "request body too large\n"],
  ["an unknown lease", post("/leases", LeaseKeepAliveRequest.encode({ ID: 404n })), 404, "lease not found\n"],
  [
    "a lease asked of who lags",
    post("/leases", LeaseKeepAliveRequest.encode({ ID: 408n })),
    408,
    "waiting for node to catch up its applied index has timed out\n",
  ],
  [
    "a lease asked of a follower",
    post("/leases", LeaseKeepAliveRequest.encode({ ID: 400n })),
    400,
    "not a primary lessor\n",
  ],
  [
    "the time of a lease asked of a follower",
    post("/leases/internal", LeaseInternalRequest.encode({ LeaseTimeToLiveRequest: { ID: 500n } })),
    500,
    "not a primary lessor\n",
  ],
  ["a message without a version", { method: "POST", path: "/raft" }, 412, "incompatible version\n"],
  [
    "a message with an impossible version",
    post("/raft", "", peerHeaders(CLUSTER_ID, { "x-server-version": "x.y" })),
    412,
    "incompatible version\n",
  ],
  ["a message of another cluster", post("/raft", "", peerHeaders(5n)), 412, "cluster ID mismatch\n"],
  ["a message that is none", post("/raft", "zzz"), 400, "error unmarshalling raft message\n"],
  [
    "a truncated message",
    post("/raft", encodeMessage(message(MessageType.Heartbeat)).subarray(0, 4)),
    400,
    "error unmarshalling raft message\n",
  ],
  ["a message to nobody", post("/raft", ""), 500, "error processing raft message\n"],
  [
    "a message for another",
    post("/raft", encodeMessage(message(MessageType.Heartbeat, { to: 1n }))),
    500,
    "error processing raft message\n",
  ],
  [
    "a message of a removed member",
    post("/raft", encodeMessage(message(MessageType.Heartbeat, { from: 6n }))),
    403,
    '{"message":"cannot process message from removed member"}',
  ],
  [
    "a message of nobody",
    post("/raft", encodeMessage(message(MessageType.Heartbeat, { from: 0n }))),
    500,
    "error processing raft message\n",
  ],
  ["a local message", post("/raft", encodeMessage(message(MessageType.Beat))), 500, "error processing raft message\n"],
  [
    "a snapshot without its file",
    post("/raft", encodeMessage(snapshotMessage(3))),
    500,
    "error processing raft message\n",
  ],
  ["a stream of an unknown kind", stream("/foo/5"), 404, "invalid path\n"],
  ["a stream for no id", stream("/message/zz"), 404, "invalid from\n"],
  ["a stream for nobody", stream("/message/"), 404, "invalid from\n"],
  ["a stream of a stranger", stream("/message/8"), 404, "error sender not found\n"],
  ["a stream of a removed member", stream("/msgapp/6"), 410, "removed member\n"],
  [
    "a stream to another",
    stream("/message/5", peerHeaders(CLUSTER_ID, { "x-raft-to": "1" })),
    412,
    "to field mismatch\n",
  ],
  ["a stream of another cluster", stream("/message/5", peerHeaders(5n)), 412, "cluster ID mismatch\n"],
  ["an empty snapshot", post("/raft/snapshot", ""), 400, "failed to decode raft message (EOF)\n"],
  [
    "a snapshot cut in its length",
    post("/raft/snapshot", "abc"),
    400,
    "failed to decode raft message (unexpected EOF)\n",
  ],
  [
    "a snapshot whose message is too long",
    post("/raft/snapshot", Buffer.from("0000000004000001", "hex")),
    400,
    "failed to decode raft message (rafthttp: error limit exceeded)\n",
  ],
  [
    "a snapshot with an absurd length",
    post("/raft/snapshot", "zzzzzzzzz"),
    400,
    "failed to decode raft message (rafthttp: error limit exceeded)\n",
  ],
  [
    "a snapshot that is another message",
    post("/raft/snapshot", encodeFrame(message(MessageType.App))),
    400,
    "wrong raft message type\n",
  ],
  [
    "a snapshot for another",
    post("/raft/snapshot", encodeFrame(snapshotMessage(3, { to: 1n }))),
    500,
    "failed to process raft message (cannot process message to mismatch member)\n",
  ],
  [
    "a snapshot of a removed member",
    post("/raft/snapshot", encodeFrame(snapshotMessage(3, { from: 6n }))),
    403,
    '{"message":"cannot process message from removed member"}',
  ],
] as const) {
  test(`${what} is answered with ${status}`, async () => {
    const answer = await askPort(port, asked);
    assert.deepEqual([answer.status, answer.body], [status, body]);
    const isJson = body.startsWith("{");
    assert.equal(answer.headers["content-type"], isJson ? "application/json" : "text/plain; charset=utf-8");
    assert.deepEqual(node.stepped, []);
    assert.deepEqual(node.snapshotsReceived, []);
  });
}

test("a member's own paths name the method they want, lease paths do not", async () => {
  assert.equal((await askPort(port, { path: "/raft" })).headers.allow, "POST");
  assert.equal((await askPort(port, { method: "HEAD", path: "/version" })).headers.allow, "GET");
  assert.equal((await askPort(port, { path: "/leases" })).headers.allow, undefined);
});

test("a message is stepped before it is answered", async () => {
  const answer = await askPort(port, post("/raft", encodeMessage(message(MessageType.Heartbeat))));
  assert.equal(answer.status, 204);
  assert.equal(answer.headers["x-etcd-cluster-id"], CLUSTER_ID.toString(16));
  assert.equal(node.stepped.length, 1);
  node.stepped.length = 0;
});

test("ids beyond 2^53 are written exactly, and zeros left out", async () => {
  const members = await askPort(port, { path: "/members" });
  assert.equal(
    members.body,
    '[{"id":14096517801681184026,"peerURLs":["http://a:1"],"name":"q\\"{}"},' +
      '{"id":7,"peerURLs":["http://a:1"],"isLearner":true}]\n',
  );
  assert.equal(members.headers["x-etcd-cluster-id"], CLUSTER_ID.toString(16));
  const hash = await askPort(port, { path: "/members/hashkv", body: "{}" });
  assert.equal(hash.body, '{"header":{"revision":7},"hash":4084519789,"compact_revision":-1}');
  const probe = await askPort(port, { method: "POST", path: "/raft/probing" });
  assert.match(probe.body, /^\{"OK":true,"Now":"20\d\d-[^"]*Z"\}\n$/);
});

test("the time of a lease comes with the keys that were asked for", async () => {
  const ask = LeaseInternalRequest.encode({ LeaseTimeToLiveRequest: { ID: -3n, keys: true } });
  const answer = await askPort(port, post("/leases/internal", ask));
  assert.equal(answer.headers["content-type"], "application/protobuf");
  const { LeaseTimeToLiveResponse } = LeaseInternalResponse.decode(Buffer.from(answer.body, "latin1"));
  assert.equal(LeaseTimeToLiveResponse?.ID, -3n);
  assert.deepEqual(LeaseTimeToLiveResponse.keys.map(String), ["k1", "k2"]);
  const kept = await askPort(port, post("/leases", LeaseKeepAliveRequest.encode({ ID: 8n })));
  assert.equal(LeaseKeepAliveResponse.decode(Buffer.from(kept.body, "latin1")).TTL, 60);
});

// covers: SN-07
test("a snapshot whose checksum does not fit is refused, and leaves no file", async () => {
  const envelope = encodeFrame(snapshotMessage(9));
  const answer = await new Promise<string>((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk.toString();
      if (received.includes(")\n")) {
        socket.destroy();
        resolve(received);
      }
    });
    const headers = Object.entries(FROM_US).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`POST /raft/snapshot HTTP/1.1\r\nHost: x\r\n${headers.join("")}Trailer: X-Quorate-Crc32\r\n`);
    socket.write("Transfer-Encoding: chunked\r\n\r\n");
    socket.write(Buffer.concat([Buffer.from(`${envelope.length.toString(16)}\r\n`), envelope, Buffer.from("\r\n")]));
    socket.write("4\r\ndata\r\n0\r\nX-Quorate-Crc32: 00000000\r\n\r\n");
  });
  assert.match(
    answer,
    /^HTTP\/1.1 500 .*failed to save KV snapshot \(checksum is [0-9a-f]{8}, sender's is 00000000\)/s,
  );
  assert.deepEqual(readdirSync(join(node.directory, "snap")), []);
});

test("a snapshot whose sender dies leaves no file, and the next one of that index arrives", async () => {
  const envelope = encodeFrame(snapshotMessage(10));
  const socket = connect(port, "127.0.0.1");
  const headers = Object.entries(FROM_US).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`POST /raft/snapshot HTTP/1.1\r\nHost: x\r\n${headers.join("")}Content-Length: 10000\r\n\r\n`);
  socket.write(envelope);
  await node.until("it begins", () =>
    node.logged("receiving database snapshot").some((each) => each.fields["incoming-snapshot-index"] === 10),
  );
  const failures = node.logged("failed to save incoming database snapshot").length;
  socket.destroy();
  await node.until("its end", () => node.logged("failed to save incoming database snapshot").length > failures);
  assert.deepEqual(readdirSync(join(node.directory, "snap")), []);
  const answer = await askPort(port, post("/raft/snapshot", Buffer.concat([envelope, Buffer.from("database")])));
  assert.equal(answer.status, 204);
  assert.equal(readFileSync(node.snapshotsReceived[0]!.path, "utf8"), "database");
});

test("a stranger who introduces itself can be answered; nonsense is not kept", async () => {
  const introduce = (from: string, urls: string): Promise<unknown> =>
    askPort(port, stream("/message/77", peerHeaders(CLUSTER_ID, { "x-peerurls": urls, "x-server-from": from })));
  await introduce("77", "not a url");
  assert.equal(node.logged("added new remote peer").length, 0);
  await introduce("77", "http://127.0.0.1:1,http://127.0.0.1:2");
  assert.equal(node.logged("added new remote peer").length, 1);
});

test("our questions understand our answers", async () => {
  const client = new PeerClient({ tls: noCredentials(), electionTimeoutMs: 1000, timers: new MachineTimers() });
  const urls = ["http://127.0.0.1:1", node.url];
  const members = await client.members(urls, 1000);
  assert.deepEqual(members, { kind: "answered", clusterId: CLUSTER_ID, members: requests.members() });
  assert.deepEqual(await client.version(urls, 1000), {
    kind: "answered",
    server: "3.7.1",
    cluster: null,
    storage: "3.7.0",
  });
  assert.deepEqual(await client.promote(urls, BIG_ID, null, 1000), { kind: "promoted", members: [MEMBER] });
  assert.deepEqual(await client.promote(urls, 1n, null, 1000), { kind: "not found" });
  assert.deepEqual(await client.promote(urls, 2n, null, 1000), { kind: "not a learner" });
  assert.deepEqual(await client.promote(urls, 3n, null, 1000), { kind: "not in sync" });
  assert.equal((await client.promote(urls, 4n, "token", 1000)).kind, "failed");
  const hashed = { revision: 7, hash: 4084519789, compactRevision: -1, hashRevision: 5 };
  assert.deepEqual(await client.hashKv(urls, CLUSTER_ID, 5, 1000), { kind: "hashed", hashed });
  assert.deepEqual(await client.hashKv(urls, CLUSTER_ID, 1, 1000), { kind: "compacted" });
  assert.deepEqual(await client.hashKv(urls, CLUSTER_ID, 99, 1000), { kind: "future revision" });
  assert.deepEqual(await client.hashKv(urls, 3n, 99, 1000), { kind: "cluster mismatch" });
  assert.deepEqual(await client.leaseKeepAlive(urls, 8n, 1000), { kind: "renewed", ttlSeconds: 60 });
  assert.deepEqual(await client.leaseKeepAlive(urls, 404n, 1000), { kind: "not found" });
  assert.deepEqual(await client.leaseKeepAlive(urls, 408n, 1000), { kind: "timed out" });
  assert.equal((await client.leaseKeepAlive(urls, 400n, 1000)).kind, "failed");
  const found = await client.leaseTimeToLive(urls, -8n, true, 1000);
  assert.ok(found.kind === "found" && found.keys.length === 2 && found.ttlSeconds === 9);
  assert.deepEqual(await client.downgradeEnabled(urls, 1000), { kind: "answered", isEnabled: true });
});

// covers: MB-18
test("a redirect, silence and an endless answer are no answers, each within its limit", async () => {
  const client = new PeerClient({ tls: noCredentials(), electionTimeoutMs: 1000, timers: new MachineTimers() });
  for (const [says, problem] of [
    [`HTTP/1.1 307 Temporary Redirect\r\nLocation: ${node.url}/version\r\nContent-Length: 0\r\n\r\n`, /status 307/],
    ["", /request timed out/],
    [`HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n${"x".repeat(5_000_000)}`, /too large/],
    ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", /closed|aborted|cut off|timed out/],
  ] as const) {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", () => {});
      socket.write(says);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const outcome = await client.version([`http://127.0.0.1:${(server.address() as AddressInfo).port}`], 200);
    assert.ok(outcome.kind === "unreachable");
    assert.match(outcome.message, problem);
    server.close();
  }
  assert.deepEqual(await client.members([], 100), { kind: "unreachable", message: "no URLs" });
});
