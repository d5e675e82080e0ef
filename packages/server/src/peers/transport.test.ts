import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  Entry,
  EntryType,
  type Index,
  LocalMessageFromPeer,
  Message,
  MessageType,
  messageTypeName,
  type Term,
} from "@quorate/raft";
import { ESTABLISHED, type LogLine, PeerNode, type PeerNodeOptions } from "../testing/peer-node.ts";
import { freePort } from "../testing/ports.ts";
import { STREAM_BACKLOG_BYTES, STREAM_QUEUE_BYTES } from "./limits.ts";
import { encodeFrame } from "./message-frames.ts";

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
  const a = await start({ id: 1n });
  const b = await start({ id: 2n });
  a.meet(b);
  b.meet(a);
  await a.connected(b);
  return [a, b];
}

function heartbeat(from: bigint, to: bigint, commit = 1): Message {
  const message = new Message(MessageType.Heartbeat, to, from);
  message.term = 1 as Term;
  message.commit = commit as Index;
  return message;
}

function append(from: bigint, to: bigint, index: number, entries: readonly Entry[]): Message {
  const message = new Message(MessageType.App, to, from);
  message.term = 1 as Term;
  message.logTerm = 1 as Term;
  message.index = index as Index;
  message.entries = entries;
  return message;
}

function entry(index: number, data: Uint8Array): Entry {
  return new Entry(EntryType.Normal, 1 as Term, index as Index, data);
}

test("messages of one turn arrive in order, appends and others on their own streams", async () => {
  const [a, b] = await pair();
  const entries = [entry(1, Buffer.from("x")), entry(2, Buffer.alloc(200_000, "y"))];
  a.send(heartbeat(1n, 2n, 7), append(1n, 2n, 0, entries), append(1n, 2n, 2, []), heartbeat(1n, 2n, 8));
  await b.until("four messages", () => b.stepped.length === 4);
  const appends = b.stepped.filter((each) => each.type === MessageType.App);
  const others = b.stepped.filter((each) => each.type === MessageType.Heartbeat);
  assert.deepEqual(
    appends.map((each) => [each.index as number, each.entries.length]),
    [
      [0, 2],
      [2, 0],
    ],
  );
  assert.deepEqual(Buffer.from(appends[0]!.entries[1]!.data), Buffer.alloc(200_000, "y"));
  assert.deepEqual(
    others.map((each) => each.commit as number),
    [7, 8],
  );
  assert.ok(a.transport.activeSinceMs(2n) !== null);
  assert.equal(a.transport.activeSinceMs(3n), null);
});

test("a member that came back is dialled again, and messages flow both ways", async () => {
  const a = await start({ id: 1n });
  const port = await freePort();
  const first = await start({ id: 2n, port });
  a.meet(first);
  first.meet(a);
  await a.connected(first);
  first.dispose();
  await a.until("the loss is noticed", () => a.unreachable.includes(2n) && a.transport.activeSinceMs(2n) === null);
  assert.equal(a.logged("peer became inactive (message send to peer failed)").length, 1);
  a.lines.length = 0;
  const second = await start({ id: 2n, port });
  second.meet(a);
  await a.connected(second);
  a.send(heartbeat(1n, 2n));
  second.send(heartbeat(2n, 1n));
  await second.until("a message there", () => second.stepped.length === 1);
  await a.until("a message here", () => a.stepped.length === 1);
});

test("without streams, messages go by single requests", async () => {
  const a = await start({ id: 1n });
  const b = await start({ id: 2n });
  // b answers no dial: it does not know a.
  a.transport.addRemote(2n, [b.url]);
  for (let i = 0; i < 20; i++) a.send(heartbeat(1n, 2n, i));
  await b.until("twenty messages", () => b.stepped.length === 20);
  // And it has learned who asks, so it can answer.
  b.send(heartbeat(2n, 1n));
  await a.until("an answer", () => a.stepped.length === 1);
  assert.deepEqual(a.unreachable, []);
});

test("a message to nobody, and one that finds the queue full, costs nothing but itself", async () => {
  const a = await start({ id: 1n });
  a.send(heartbeat(1n, 9n));
  const silent = createServer(() => {});
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  a.transport.addRemote(3n, [`http://127.0.0.1:${(silent.address() as AddressInfo).port}`]);
  for (let i = 0; i < 4 + 64 + 1; i++) a.send(heartbeat(1n, 3n));
  assert.deepEqual(a.unreachable, [], "the owner is never told while it sends");
  await a.until("one is dropped", () => a.unreachable.length > 0);
  assert.equal(a.logged("dropped internal Raft message since sending buffer is full").length, 1);
  silent.close();
});

// covers: RA-14
test("who is no member as far as we know may say what a leader or a candidate says, and nothing else", async () => {
  const [, b] = await pair();
  const said = (type: MessageType): string => b.transport.received(new Message(type, 2n, 0xabcn), null);
  for (const type of [MessageType.App, MessageType.Heartbeat, MessageType.Vote, MessageType.PreVote]) {
    assert.equal(said(type), "stepped", messageTypeName(type));
  }
  for (const type of [MessageType.Prop, MessageType.TimeoutNow, MessageType.AppResp, MessageType.ReadIndex]) {
    assert.equal(said(type), "refused", messageTypeName(type));
  }
  assert.equal(b.stepped.length, 4);
  assert.equal(b.logged("failed to process Raft message")[0]!.fields.error, "the sender is no member of this cluster");
});

// covers: RA-14, MB-06
test("a message for another member, of a removed one, or under a false name is dropped with a word", async () => {
  const [a, b] = await pair();
  const misled = heartbeat(1n, 2n);
  misled.to = 7n;
  b.transport.received(misled, 1n);
  a.send(heartbeat(3n, 2n), new Message(MessageType.Hup, 2n, 1n), heartbeat(2n, 2n), heartbeat(1n, 2n, 5));
  await b.until("the good one", () => b.stepped.length === 1);
  assert.equal(b.stepped[0]!.commit, 5);
  assert.equal(b.logged("rejected Raft message to mismatch member").length, 1);
  assert.deepEqual(
    b.logged("failed to process Raft message").map((each) => each.fields.error),
    [
      "the message names another sender than sent it",
      "the message is of a type that does not cross the network",
      "the message names us as its sender",
    ],
  );
  b.removed.add(1n);
  a.send(heartbeat(1n, 2n));
  await b.until("a refusal", () => b.logged("rejected Raft message from removed member").length === 1);
  b.removed.clear();
  b.refusal = new LocalMessageFromPeer();
  a.send(heartbeat(1n, 2n));
  await b.until("raft's refusal", () => b.logged("failed to process Raft message").length === 4);
  b.refusal = null;
  a.send(heartbeat(1n, 2n));
  await b.until("the stream has survived it all", () => b.stepped.length === 2);
});

test("a removed member learns of it when it dials, and only then", async () => {
  const a = await start({ id: 1n });
  const b = await start({ id: 2n });
  b.meet(a);
  await a.until("a 404", () => a.logged("failed to find remote peer in cluster").length > 0);
  assert.equal(b.removals, 0);
  a.removed.add(2n);
  await b.until("the removal", () => b.removals === 1);
  assert.ok(a.logged("rejected stream from remote peer because it was removed").length > 0);
});

for (const [what, options, line] of [
  ["another cluster", { clusterId: 5n }, "request sent was ignored by remote peer due to cluster ID mismatch"],
  [
    "an incompatible version",
    { serverVersion: "2.9.0" },
    "request sent was ignored by remote peer due to server version incompatibility",
  ],
] as const) {
  test(`a member of ${what} is refused, and says so in its log`, async () => {
    const a = await start({ id: 1n });
    const b = await start({ id: 2n, ...options });
    a.meet(b);
    b.meet(a);
    await b.until("a refusal", () => b.logged(line).length > 0);
    assert.equal(a.transport.activeSinceMs(2n), null);
    assert.equal(b.removals, 0);
  });
}

test("who talks nonsense on a stream is cut off, and others are not", async () => {
  const [a, b] = await pair();
  // A member that we dial, and that answers with what is no frame.
  const fake = createServer((socket) => {
    socket.on("error", () => {});
    socket.write(
      "HTTP/1.1 200 OK\r\nX-Server-Version: 3.7.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n\xff".concat(
        "\xff".repeat(8),
        "\r\n",
      ),
      "latin1",
    );
  });
  fake.listen(0, "127.0.0.1");
  await once(fake, "listening");
  b.meet({ id: 3n, url: `http://127.0.0.1:${(fake.address() as AddressInfo).port}` });
  const lost = (): unknown[] =>
    b.logged("lost TCP streaming connection with remote peer").map((each) => each.fields.error);
  await b.until("both streams are cut", () => lost().length >= 2);
  b.transport.removePeer(3n);
  fake.close();
  assert.ok(lost().includes("rafthttp: error limit exceeded"));
  assert.ok(lost().includes("failed to parse type 255 in msgappv2 stream"));
  a.send(heartbeat(1n, 2n));
  await b.until("a message from the healthy one", () => b.stepped.length === 1);
});

/** Dials the message stream of `node` as member 2 and reads nothing. */
async function deafDialler(node: PeerNode, kind: "message" | "msgapp"): Promise<Socket> {
  const socket = connect(Number(new URL(node.url).port), "127.0.0.1");
  socket.on("error", () => {});
  socket.write(
    `GET /raft/stream/${kind}/2 HTTP/1.1\r\nHost: x\r\nX-Server-Version: 3.7.1\r\nX-Min-Cluster-Version: 3.0.0\r\n` +
      `X-Etcd-Cluster-ID: 346a7a4867ccef9e\r\nX-Raft-To: ${node.id.toString(16)}\r\n\r\n`,
  );
  await node.until("attached", () => node.logged(ESTABLISHED).length > 0);
  socket.pause();
  return socket;
}

test("a member that does not read costs bounded memory, and is reported", async () => {
  const a = await start({ id: 1n });
  a.meet({ id: 2n, url: "http://127.0.0.1:1" });
  const socket = await deafDialler(a, "msgapp");
  const data = Buffer.alloc(1024 * 1024, "z");
  const before = process.memoryUsage.rss();
  // A gigabyte in all, of one shared entry.
  for (let i = 0; i < 1024; i++) {
    a.send(append(1n, 2n, i, [entry(i + 1, data)]));
    if (i % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await a.until("it is reported", () => a.unreachable.length > 0);
  const grown = process.memoryUsage.rss() - before;
  assert.ok(grown < STREAM_QUEUE_BYTES + 4 * STREAM_BACKLOG_BYTES + 64 * 1024 * 1024, `grew by ${grown} bytes`);
  assert.ok(a.logged("dropped internal Raft message since sending buffer is full").length > 0);
  socket.destroy();
});

test("a second stream of a member replaces the first", async () => {
  const a = await start({ id: 1n });
  a.meet({ id: 2n, url: "http://127.0.0.1:1" });
  const first = await deafDialler(a, "message");
  const closed = once(first, "close");
  a.lines.length = 0;
  const second = await deafDialler(a, "message");
  first.resume();
  await closed;
  const arrived = new Promise<void>((resolve) => {
    let received = "";
    second.on("data", (chunk) => {
      received += chunk.toString("latin1");
      if (received.includes("\x00\n\x08\x08\x10\x02\x18\x01 \x01@\x03")) resolve();
    });
  });
  second.resume();
  a.send(heartbeat(1n, 2n, 3));
  await arrived;
  second.destroy();
});

function snapMessage(index: number): Message {
  const message = new Message(MessageType.Snap, 2n, 1n);
  message.term = 3 as Term;
  message.snapshot = {
    data: Buffer.from('{"Root":{}}'),
    metadata: {
      index: index as Index,
      term: 2 as Term,
      confState: { voters: [1n, 2n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
    },
  };
  return message;
}

// covers: SN-06, SN-08
test("a snapshot arrives whole, in bounded memory, and its end is reported", async () => {
  const [a, b] = await pair();
  const path = join(a.directory, "out.db");
  const file = Buffer.alloc(64 * 1024 * 1024);
  for (let i = 0; i < file.length; i += 4) file.writeUInt32LE((i * 2654435761) >>> 0, i);
  writeFileSync(path, file);
  let released = 0;
  a.snapshot = (asked) => ({
    message: Object.assign(snapMessage(0x1234), { to: asked.to }),
    path,
    sizeBytes: file.length,
    release: () => released++,
  });
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  let samples = 0;
  const sample = (): void => {
    collect();
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    if (++samples < 5) sampling = setTimeout(sample, 50);
  };
  let sampling = setTimeout(sample, 20);
  a.send(snapMessage(9));
  a.send(snapMessage(9));
  await a.until("its end", () => a.snapshotsEnded.length > 0);
  clearTimeout(sampling);
  assert.deepEqual(a.snapshotsEnded, [{ id: 2n, status: "finished" }]);
  assert.equal(released, 1);
  assert.equal(b.snapshotsReceived.length, 1);
  const received = b.snapshotsReceived[0]!;
  assert.equal(received.path, join(b.directory, "snap", "0000000000001234.snap.db"));
  assert.equal(received.message.snapshot!.metadata.index, 0x1234);
  assert.ok(readFileSync(received.path).equals(file));
  assert.deepEqual(readdirSync(join(b.directory, "snap")), ["0000000000001234.snap.db"]);
  assert.ok(most > 0 && most < 32 * 1024 * 1024, `held ${most} bytes`);
  assert.deepEqual(a.unreachable, []);
});

test("a snapshot that is of no use there, or not as long as announced, is reported as failed", async () => {
  const [a, b] = await pair();
  const path = join(a.directory, "out.db");
  writeFileSync(path, Buffer.alloc(100_000, "s"));
  let sizeBytes = 100_000;
  let released = 0;
  a.snapshot = () => ({ message: snapMessage(5), path, sizeBytes, release: () => released++ });
  b.snapshotProblem = new Error("the database is damaged");
  a.send(snapMessage(5));
  await a.until("the first end", () => a.snapshotsEnded.length === 1);
  b.snapshotProblem = null;
  sizeBytes = 100_001;
  a.send(snapMessage(5));
  await a.until("the second end", () => a.snapshotsEnded.length === 2);
  assert.deepEqual(
    a.snapshotsEnded.map((each) => each.status),
    ["failed", "failed"],
  );
  assert.equal(released, 2);
  await b.until("the cut", () => b.logged("failed to save incoming database snapshot").length === 1);
  assert.equal(b.snapshotsReceived.length, 1);
  assert.deepEqual(
    readdirSync(join(b.directory, "snap")).filter((each) => each.startsWith("tmp")),
    [],
  );
  assert.ok(existsSync(b.snapshotsReceived[0]!.path));
});

test("a member that is removed while it gets a snapshot gets no more of it", async () => {
  const [a] = await pair();
  let released = 0;
  const path = join(a.directory, "out.db");
  writeFileSync(path, Buffer.alloc(1000));
  a.snapshot = () => ({ message: snapMessage(5), path, sizeBytes: 1000, release: () => released++ });
  a.send(snapMessage(5));
  a.transport.removePeer(2n);
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  assert.equal(released, 1);
});

// The limit of five seconds is half a second here.
const HASTE = { speed: 10 } as const;

test("a stream on which nothing comes is given up, one with heartbeats lives", async () => {
  const a = await start({ id: 1n, ...HASTE });
  const b = await start({ id: 2n, ...HASTE });
  a.meet(b);
  b.meet(a);
  await a.connected(b);
  const mute = createServer((socket) => {
    socket.on("error", () => {});
    socket.write("HTTP/1.1 200 OK\r\nX-Server-Version: 3.7.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  });
  mute.listen(0, "127.0.0.1");
  await once(mute, "listening");
  a.lines.length = 0;
  a.meet({ id: 3n, url: `http://127.0.0.1:${(mute.address() as AddressInfo).port}` });
  const lost = (): LogLine[] => a.logged("lost TCP streaming connection with remote peer");
  await a.until("both are given up", () => lost().length >= 2);
  for (const { fields } of lost()) assert.deepEqual([fields["remote-peer-id"], fields.error], ["3", "i/o timeout"]);
  a.transport.removePeer(3n);
  mute.close();
});

test("a member that stops reading is cut off, and its memory with it", async () => {
  const a = await start({ id: 1n, ...HASTE });
  a.meet({ id: 2n, url: "http://127.0.0.1:1" });
  const socket = await deafDialler(a, "message");
  const closed = once(socket, "close");
  const proposal = new Message(MessageType.Prop, 2n, 1n);
  proposal.entries = [entry(0, Buffer.alloc(8 * 1024 * 1024))];
  a.send(proposal, proposal);
  await a.until("the cut", () => a.logged("lost TCP streaming connection with remote peer").length > 0);
  await a.until("the report", () => a.unreachable.at(-1) === 2n);
  socket.resume();
  await closed;
});

/** The transport's milliseconds until something is logged. */
async function msUntil(node: PeerNode, speed: number, message: string): Promise<number> {
  const startedMs = performance.now();
  await node.until(message, () => node.logged(message).length > 0);
  return (performance.now() - startedMs) * speed;
}

test("how long a stream may be silent is the read timeout, and three heartbeats come in it", async () => {
  const speed = 50;
  const a = await start({ id: 1n, speed, readTimeoutMs: 15_000 });
  a.meet({ id: 2n, url: "http://127.0.0.1:1" });
  const mute = createServer((socket) => {
    socket.on("error", () => {});
    socket.write("HTTP/1.1 200 OK\r\nX-Server-Version: 3.7.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  });
  mute.listen(0, "127.0.0.1");
  await once(mute, "listening");
  a.meet({ id: 3n, url: `http://127.0.0.1:${(mute.address() as AddressInfo).port}` });
  const silentMs = await msUntil(a, speed, "lost TCP streaming connection with remote peer");
  // With five seconds it would have been over in seven, half of what is asked for here.
  assert.ok(silentMs > 14_000, `${silentMs} ms`);
  a.transport.removePeer(3n);
  mute.close();

  const socket = await deafDialler(a, "msgapp");
  const heardMs: number[] = [];
  const head = once(socket, "data");
  socket.resume();
  await head;
  await new Promise<void>((resolve) => {
    socket.on("data", () => {
      if (heardMs.push(performance.now() * speed) === 4) resolve();
    });
  });
  const betweenMs = (heardMs[3]! - heardMs[0]!) / 3;
  assert.ok(betweenMs > 4000, `a heartbeat each ${betweenMs} ms`);
  socket.destroy();
});

test("how long a write may get nowhere is the write timeout, whatever the read timeout is", async () => {
  const speed = 50;
  const proposal = new Message(MessageType.Prop, 2n, 1n);
  proposal.entries = [entry(0, Buffer.alloc(8 * 1024 * 1024))];
  const cutAfterMs = async (timeouts: Partial<PeerNodeOptions>): Promise<number> => {
    const a = await start({ id: 1n, speed, ...timeouts });
    a.meet({ id: 2n, url: "http://127.0.0.1:1" });
    const socket = await deafDialler(a, "message");
    a.send(proposal);
    const tookMs = await msUntil(a, speed, "lost TCP streaming connection with remote peer");
    socket.destroy();
    return tookMs;
  };
  // What is under way is four times the backlog, and may take as much longer.
  const patientMs = await cutAfterMs({ writeTimeoutMs: 10_000 });
  assert.ok(patientMs > 40_000, `${patientMs} ms`);
  const impatientMs = await cutAfterMs({ readTimeoutMs: 600_000 });
  assert.ok(impatientMs > 20_000 && impatientMs < 180_000, `${impatientMs} ms`);
});

test("a snapshot that stalls is cut off and leaves no file, and costs its slot no longer", async () => {
  const b = await start({ id: 2n, ...HASTE });
  const port = Number(new URL(b.url).port);
  for (let i = 1; i <= 2; i++) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    const closed = once(socket, "close");
    socket.write(
      "POST /raft/snapshot HTTP/1.1\r\nHost: x\r\nX-Server-Version: 3.7.1\r\nX-Min-Cluster-Version: 3.0.0\r\n" +
        "X-Etcd-Cluster-ID: 346a7a4867ccef9e\r\nContent-Length: 1000000\r\n\r\n",
    );
    socket.write(encodeFrame(snapMessage(6)));
    socket.write(Buffer.alloc(5000));
    socket.resume();
    await closed;
    await b.until("it is given up", () => b.logged("failed to save incoming database snapshot").length === i);
  }
  assert.equal(b.logged("receiving database snapshot").length, 2);
  assert.deepEqual(readdirSync(join(b.directory, "snap")), []);
});

test("a member that nobody probes successfully is named in the log", async () => {
  const a = await start({ id: 1n, ...HASTE });
  a.meet({ id: 2n, url: "http://127.0.0.1:1" });
  await a.until("a warning", () => a.logged("prober detected unhealthy status").length > 0);
  assert.equal(a.logged("prober detected unhealthy status")[0]!.fields["remote-peer-id"], "2");
});

test("after the stop nobody is told anything", async () => {
  const [a, b] = await pair();
  a.transport.stop();
  const told = a.unreachable.length;
  b.send(heartbeat(2n, 1n));
  a.send(heartbeat(1n, 2n));
  await b.until("the loss is noticed", () => b.unreachable.includes(1n));
  assert.equal(a.unreachable.length, told);
  assert.deepEqual(a.stepped, []);
});
