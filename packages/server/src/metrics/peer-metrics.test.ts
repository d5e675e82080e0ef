/** What goes between members, counted where it goes: over real sockets, read as a scrape reads it. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { encodeMessage, type Index, Message, MessageType, type Term } from "@quorate/raft";
import { encodeFrame } from "../peers/message-frames.ts";
import { CLUSTER_ID, PeerNode, type PeerNodeOptions } from "../testing/peer-node.ts";
import { askPort, peerHeaders } from "../testing/peer-port.ts";
import { freePort } from "../testing/ports.ts";
import { MetricsRegistry } from "./exposition.ts";
import { PeerMetrics } from "./peer-metrics.ts";

const nodes: PeerNode[] = [];
after(() => {
  for (const node of nodes) node.dispose();
});

async function start(options: Partial<PeerNodeOptions> & { id: bigint }): Promise<PeerNode> {
  const node = await PeerNode.start({ port: await freePort(), ...options });
  nodes.push(node);
  return node;
}

async function pair(): Promise<[PeerNode, PeerNode]> {
  const a = await start({ id: 0xan });
  const b = await start({ id: 0xbn });
  a.meet(b);
  b.meet(a);
  await a.connected(b);
  return [a, b];
}

/** The value of a series, written as a scrape shows it; null if there is none. */
function value({ metrics }: PeerNode, series: string): number | null {
  const line = metrics
    .render()
    .split("\n")
    .find((each) => each.startsWith(`${series} `));
  return line === undefined ? null : Number(line.slice(series.length + 1));
}

async function reaches(node: PeerNode, series: string, isReached: (value: number) => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (isReached(value(node, series) ?? Number.NaN)) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail(`${series} is ${value(node, series)}`);
}

function heartbeat(from: bigint, to: bigint): Message {
  return Object.assign(new Message(MessageType.Heartbeat, to, from), { term: 1 as Term });
}

function snapshotMessage(index: number): Message {
  const message = new Message(MessageType.Snap, 0xbn, 0xan);
  const confState = { voters: [0xan, 0xbn], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  message.snapshot = { data: Buffer.alloc(0), metadata: { index: index as Index, term: 2 as Term, confState } };
  return message;
}

test("every series has etcd's name, type, labels and buckets", () => {
  const registry = new MetricsRegistry();
  const metrics = new PeerMetrics(registry, 0x8e9e05c52164694dn);
  metrics.of(0xfedn);
  metrics.receivedBytes(0xfedn);
  metrics.receiveFailures("127.0.0.1");
  metrics.snapshotsFrom("fed");
  const text = registry.render();
  for (const [name, type, labels] of [
    ["active_peers", "gauge", 'Local="8e9e05c52164694d",Remote="fed"'],
    ["disconnected_peers_total", "counter", 'Local="8e9e05c52164694d",Remote="fed"'],
    ["peer_sent_bytes_total", "counter", 'To="fed"'],
    ["peer_received_bytes_total", "counter", 'From="fed"'],
    ["peer_sent_failures_total", "counter", 'To="fed"'],
    ["peer_received_failures_total", "counter", 'From="127.0.0.1"'],
    ["snapshot_send_success", "counter", 'To="fed"'],
    ["snapshot_send_failures", "counter", 'To="fed"'],
    ["snapshot_send_inflights_total", "gauge", 'To="fed"'],
    ["snapshot_receive_success", "counter", 'From="fed"'],
    ["snapshot_receive_failures", "counter", 'From="fed"'],
    ["snapshot_receive_inflights_total", "gauge", 'From="fed"'],
  ] as const) {
    assert.ok(text.includes(`# TYPE etcd_network_${name} ${type}\netcd_network_${name}{${labels}} 0\n`), name);
  }
  for (const [name, labels, first, last] of [
    ["peer_round_trip_time_seconds", 'To="fed"', "0.0001", "3.2768"],
    ["snapshot_send_total_duration_seconds", 'To="fed"', "0.1", "51.2"],
    ["snapshot_receive_total_duration_seconds", 'From="fed"', "0.1", "51.2"],
  ] as const) {
    const bucket = (bound: string): string => `etcd_network_${name}_bucket{${labels},le="${bound}"} 0\n`;
    assert.ok(text.includes(`# TYPE etcd_network_${name} histogram\n${bucket(first)}`), name);
    assert.ok(text.includes(`${bucket(last)}${bucket("+Inf")}`), name);
  }
});

test("what is sent on the streams is received to the byte", async () => {
  const [a, b] = await pair();
  assert.equal(value(a, 'etcd_network_active_peers{Local="a",Remote="b"}'), 1);
  const before = value(a, 'etcd_network_peer_sent_bytes_total{To="b"}')!;
  const appends = Object.assign(new Message(MessageType.App, 0xbn, 0xan), { term: 1 as Term });
  a.send(heartbeat(0xan, 0xbn), appends);
  await b.until("both have arrived", () => b.stepped.length === 2);
  // The first frame on the msgapp stream is a message with one byte more, its kind.
  const sent = before + encodeFrame(heartbeat(0xan, 0xbn)).length + 1 + encodeFrame(appends).length;
  // The links' own heartbeats may come in between.
  await reaches(b, 'etcd_network_peer_received_bytes_total{From="a"}', (bytes) => bytes >= sent);
  const received = (): number | null => value(b, 'etcd_network_peer_received_bytes_total{From="a"}');
  await reaches(a, 'etcd_network_peer_sent_bytes_total{To="b"}', (bytes) => bytes === received());
});

test("a member that goes is counted as disconnected and as a failure, and one that is removed is active no more", async () => {
  const [a, b] = await pair();
  b.stop();
  await reaches(a, 'etcd_network_active_peers{Local="a",Remote="b"}', (active) => active === 0);
  await reaches(a, 'etcd_network_disconnected_peers_total{Local="a",Remote="b"}', (count) => count === 1);
  await reaches(a, 'etcd_network_peer_sent_failures_total{To="b"}', (count) => count >= 1);
  const failures = value(a, 'etcd_network_peer_sent_failures_total{To="b"}')!;
  await a.until("both streams are gone", () => a.logged("lost TCP streaming connection with remote peer").length >= 4);
  a.send(heartbeat(0xan, 0xbn));
  await reaches(a, 'etcd_network_peer_sent_failures_total{To="b"}', (count) => count > failures);

  const [c] = await pair();
  c.transport.removePeer(0xbn);
  assert.equal(value(c, 'etcd_network_active_peers{Local="a",Remote="b"}'), 0);
  assert.equal(value(c, 'etcd_network_disconnected_peers_total{Local="a",Remote="b"}'), 0);
});

test("messages posted alone are counted on both sides, and what cannot be read by the address it comes from", async () => {
  const [a, b] = [await start({ id: 0xan }), await start({ id: 0xbn })];
  a.transport.addRemote(0xbn, [b.url]);
  a.send(heartbeat(0xan, 0xbn));
  const { length } = encodeMessage(heartbeat(0xan, 0xbn));
  await reaches(a, 'etcd_network_peer_sent_bytes_total{To="b"}', (bytes) => bytes === length);
  assert.equal(value(b, 'etcd_network_peer_received_bytes_total{From="a"}'), length);
  const port = Number(new URL(b.url).port);
  const headers = peerHeaders(CLUSTER_ID);
  await askPort(port, { method: "POST", path: "/raft", headers, body: Buffer.from([0xff]) });
  assert.equal(value(b, 'etcd_network_peer_received_failures_total{From="127.0.0.1"}'), 1);
  await askPort(port, { method: "POST", path: "/raft/snapshot", headers, body: Buffer.from([0, 0, 0]) });
  assert.equal(value(b, 'etcd_network_peer_received_failures_total{From="127.0.0.1"}'), 2);
  assert.equal(value(b, 'etcd_network_snapshot_receive_failures{From="0"}'), 1);
  await askPort(port, { method: "POST", path: "/raft/snapshot", headers: peerHeaders(1n), body: Buffer.alloc(1) });
  assert.equal(value(b, 'etcd_network_snapshot_receive_failures{From="UNKNOWN_SNAPSHOT_SENDER"}'), 1);
});

test("snapshots are counted by how they ended, while they are under way, and how long they took", async () => {
  const [a, b] = await pair();
  const path = join(a.directory, "out.db");
  const sizeBytes = 300_000;
  writeFileSync(path, Buffer.alloc(sizeBytes, "s"));
  const underWay: (number | null)[] = [];
  a.snapshot = () => ({ message: snapshotMessage(5), path, sizeBytes, release: () => {} });
  b.onSnapshot = () => {
    underWay.push(value(a, 'etcd_network_snapshot_send_inflights_total{To="b"}'));
    underWay.push(value(b, 'etcd_network_snapshot_receive_inflights_total{From="a"}'));
  };
  const sentBefore = value(a, 'etcd_network_peer_sent_bytes_total{To="b"}')!;
  a.send(snapshotMessage(5));
  await a.until("its end", () => a.snapshotsEnded.length === 1);
  b.snapshotProblem = new Error("the database is damaged");
  a.send(snapshotMessage(5));
  await a.until("the end of another", () => a.snapshotsEnded.length === 2);
  assert.deepEqual(underWay, [1, 1, 1, 1]);
  for (const [node, direction, label] of [
    [a, "send", 'To="b"'],
    [b, "receive", 'From="a"'],
  ] as const) {
    const of = (what: string): number | null => value(node, `etcd_network_snapshot_${direction}_${what}{${label}}`);
    assert.deepEqual([of("success"), of("failures"), of("inflights_total")], [1, 1, 0]);
    assert.equal(of("total_duration_seconds_count"), 1);
    assert.ok(of("total_duration_seconds_sum")! > 0);
  }
  assert.ok(value(a, 'etcd_network_peer_sent_bytes_total{To="b"}')! >= sentBefore + sizeBytes);
  assert.ok(value(b, 'etcd_network_peer_received_bytes_total{From="a"}')! >= sizeBytes);
  assert.equal(value(a, 'etcd_network_peer_sent_failures_total{To="b"}'), 1);
});

test("the way to a member and back is measured with every probe", async () => {
  // A probe comes every four seconds, which are a fifth of one here.
  const a = await start({ id: 0xan, speed: 20 });
  a.meet(await start({ id: 0xbn }));
  await reaches(a, 'etcd_network_peer_round_trip_time_seconds_count{To="b"}', (count) => count >= 2);
  const sum = value(a, 'etcd_network_peer_round_trip_time_seconds_sum{To="b"}')!;
  assert.ok(sum > 0, `${sum}`);
});

test("senders beyond the limit are counted together", () => {
  const registry = new MetricsRegistry();
  const metrics = new PeerMetrics(registry, 1n);
  for (let i = 0; i < 1000; i++) metrics.receivedBytes(BigInt(i)).add();
  const series = registry
    .render()
    .split("\n")
    .filter((each) => each.startsWith("etcd_network_peer_received_bytes_total{"));
  assert.equal(series.length, 257);
  assert.equal(series.at(-1), `etcd_network_peer_received_bytes_total{From="other"} ${1000 - 256}`);
});
