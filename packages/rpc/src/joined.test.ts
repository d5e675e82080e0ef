/** Our client and our server together: flow control, fairness, lazy bodies, retries, deadlines; in time we control. */
import assert from "node:assert/strict";
import test from "node:test";
import type { ClientCall } from "./client/call.ts";
import type { RpcError } from "./grpc/status.ts";
import { StatusCode } from "./grpc/status.ts";
import { FrameFlag, FrameType } from "./http2/frame.ts";
import type { BodySource } from "./http2/send-queue.ts";
import type { Method, ServerCall } from "./server/method.ts";
import { RpcServer } from "./server/server.ts";
import { type Joined, joined } from "./testing/joined.ts";
import { ManualWorld } from "./testing/manual-world.ts";
import { CountingObserver, Holding, testMethods } from "./testing/services.ts";
import { frame, requestFields, settings, uint32, WirePeer } from "./testing/wire-peer.ts";

const MiB = 1024 * 1024;

interface Outcome {
  error: RpcError | null;
  response: Uint8Array | null;
}

function ask(pair: Joined, path: string, body: Uint8Array, deadlineMs?: number): Outcome & { call: ClientCall } {
  const outcome: Outcome = { error: null, response: null };
  const call = pair.client.unary(path, body, deadlineMs === undefined ? {} : { deadlineMs }, (error, response) => {
    assert.ok(outcome.error === null && outcome.response === null, "done is called once");
    outcome.error = error;
    outcome.response = response;
  });
  return Object.assign(outcome, { call });
}

function atRest(pair: Joined): void {
  assert.equal(pair.client.callCount, 0);
  assert.equal(pair.server.streamCount, 0);
}

for (const isSynchronous of [false, true]) {
  test(`large messages on many streams at once all arrive (${isSynchronous ? "nested" : "turn by turn"})`, () => {
    const world = new ManualWorld();
    const observer = new CountingObserver();
    // Room for only one large message at a time on either side: nobody may starve or deadlock.
    const pair = joined(world, testMethods(), {
      server: { maxMessageBytes: 2 * MiB, assemblyBudgetBytes: 2 * MiB + 5 },
      client: { maxMessageBytes: 2 * MiB, assemblyBudgetBytes: 2 * MiB + 5, streamWindowBytes: 65_535 },
      observer,
      isSynchronous,
    });
    const asked = Array.from({ length: 30 }, (_, i) => {
      const body = Buffer.alloc(i % 3 === 0 ? 2 * MiB : i * 5_000, i);
      return { body, outcome: ask(pair, "/t.Test/Echo", body) };
    });
    world.pass(5_000);
    asked.forEach(({ body, outcome }, i) => {
      assert.equal(outcome.error, null);
      assert.ok(body.equals(outcome.response!), `call ${i}`);
    });
    atRest(pair);
    assert.equal(observer.ended.length, 30);
  });
}

test("whatever the chunks, the answers are the same", () => {
  let seed = 77;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (let round = 0; round < 30; round++) {
    const world = new ManualWorld();
    const largest = 1 + random(round % 3 === 0 ? 20 : 5000);
    const pair = joined(world, testMethods(), {
      cut(bytes) {
        const pieces: Buffer[] = [];
        for (let at = 0; at < bytes.length; ) {
          const end = Math.min(bytes.length, at + 1 + random(largest));
          pieces.push(bytes.subarray(at, end));
          at = end;
        }
        return pieces;
      },
    });
    const asked = Array.from({ length: 20 }, () => {
      const body = Buffer.alloc(random(random(4) === 0 ? 60_000 : 300), random(256));
      return {
        body,
        outcome: ask(pair, "/t.Test/Echo", body, random(2) === 0 ? world.monotonicMs() + 9_000 : undefined),
      };
    });
    world.pass(100);
    for (const { body, outcome } of asked) assert.ok(body.equals(outcome.response!));
    atRest(pair);
  }
});

/** Produces `total` bytes, and remembers how far it was asked. */
class Producer implements BodySource {
  produced = 0;
  releases = 0;
  pauseAt = -1;
  readonly total: number;
  constructor(total: number) {
    this.total = total;
  }
  read(maxBytes: number): Uint8Array | null {
    if (this.produced === this.pauseAt) return null;
    const end = this.pauseAt > this.produced ? this.pauseAt : this.total;
    const length = Math.min(maxBytes, end - this.produced, 10_000);
    // The same memory every time: borrowed until the next read.
    const piece = shared.subarray(0, length).fill(0);
    for (let i = 0; i < length; i++) piece[i] = (this.produced + i) % 251;
    this.produced += length;
    return piece;
  }
  released(): void {
    this.releases++;
  }
}
const shared = Buffer.alloc(20_000);

test("a body is produced at the pace of the client's window, and released", () => {
  const world = new ManualWorld();
  const producers: Producer[] = [];
  const method: Method = {
    kind: "unary",
    handle(call) {
      const producer = new Producer(300_000);
      producers.push(producer);
      call.respondFrom(300_000, producer);
    },
  };
  const server = new RpcServer({ methods: new Map([["/t.Test/Big", method]]), clock: world, timers: world });
  const peer = new WirePeer(server, world);
  peer.send(peer.request(1, "/t.Test/Big", "x"));
  const [producer] = producers as [Producer];
  assert.equal(producer.produced, 65_535 - 5, "the whole window and not a byte more");
  let body = 0;
  const take = () => {
    for (const { type, payload } of peer.frames()) if (type === FrameType.Data) body += payload.length;
  };
  take();
  peer.send(frame(FrameType.WindowUpdate, 0, 0, uint32(1_000_000)));
  assert.equal(producer.produced, 65_530, "the stream's own window counts as well");
  peer.send(frame(FrameType.WindowUpdate, 0, 1, uint32(100_000)));
  take();
  assert.equal(body, 165_535);
  assert.equal(producer.releases, 0);
  peer.send(frame(FrameType.WindowUpdate, 0, 1, uint32(134_470)));
  take();
  assert.equal(body, 300_005);
  assert.equal(producer.releases, 1);
  assert.equal(server.streamCount, 0);
  // A client that goes away in the middle.
  peer.send(peer.request(3, "/t.Test/Big", "x"), frame(FrameType.RstStream, 0, 3, uint32(8)));
  assert.equal(producers[1]!.releases, 1);
  peer.send(peer.request(5, "/t.Test/Big", "x"));
  peer.socket.destroy();
  assert.equal(producers[2]!.releases, 1);
});

test("a body that cannot be finished is cut off: to its client the server is unavailable, and other calls go on", () => {
  const world = new ManualWorld();
  let held: ServerCall | null = null;
  let isCut = false;
  const producer = new Producer(200_000);
  const read = producer.read.bind(producer);
  producer.read = (maxBytes) => {
    if (!isCut) return read(maxBytes);
    held!.cutOff();
    return null;
  };
  producer.pauseAt = 70_000;
  const method: Method = {
    kind: "unary",
    handle(call) {
      held = call;
      call.respondFrom(200_000, producer);
    },
  };
  const pair = joined(world, new Map([...testMethods(), ["/t.Test/Big", method]]));
  const outcome = ask(pair, "/t.Test/Big", Buffer.alloc(1));
  world.pass(100);
  isCut = true;
  held!.resume();
  const other = ask(pair, "/t.Test/Echo", Buffer.from("a"));
  world.pass(100);
  assert.equal(outcome.error?.code, StatusCode.Unavailable);
  assert.equal(producer.releases, 2, "the client has asked once more by itself");
  assert.equal(String(other.response), "a");
  held!.cutOff();
  atRest(pair);
});

test("a body that pauses goes on where it was, and arrives whole", () => {
  const world = new ManualWorld();
  const producer = new Producer(200_000);
  producer.pauseAt = 70_000;
  let held: ServerCall | null = null;
  const method: Method = {
    kind: "unary",
    handle(call) {
      held = call;
      call.respondFrom(200_000, producer);
    },
  };
  const pair = joined(world, new Map([["/t.Test/Big", method]]));
  const outcome = ask(pair, "/t.Test/Big", Buffer.alloc(1));
  world.pass(40_000);
  assert.equal(producer.produced, 70_000);
  assert.equal(outcome.error, null, "a pause of ours is not the client's stall");
  producer.pauseAt = -1;
  held!.resume();
  held!.resume();
  world.pass(10);
  assert.equal(outcome.response!.length, 200_000);
  assert.ok(outcome.response!.every((byte, i) => byte === i % 251));
  atRest(pair);
});

test("a small message waits behind one frame of each large answer, not behind the answers", () => {
  // covers: WT-15
  const world = new ManualWorld();
  const holding = new Holding();
  const server = new RpcServer({
    methods: testMethods(holding),
    clock: world,
    timers: world,
    limits: { turnBytes: 10 * MiB, assemblyBudgetBytes: 4 * MiB },
  });
  const peer = new WirePeer(server, world);
  peer.send(settings([4, 0x7fff_ffff]));
  // The connection's window is used up, so that everything queues.
  const use = peer.request(1, "/t.Test/Echo", "x".repeat(65_530));
  peer.send(use);
  for (let i = 0; i < 10; i++) peer.send(peer.request(3 + 2 * i, "/t.Test/Hold", "x"));
  peer.frames();
  const large = Buffer.alloc(MiB);
  for (const call of holding.calls) call.respond(large, 0, large.length);
  peer.send(
    peer.headers(101, requestFields("/t.Test/Chat")),
    frame(FrameType.Data, 0, 101, Buffer.from([0, 0, 0, 0, 2, 7, 7])),
  );
  peer.frames();
  peer.send(frame(FrameType.WindowUpdate, 0, 0, uint32(20 * MiB)));
  const order = peer.frames().filter(({ type }) => type === FrameType.Data);
  const small = order.findIndex(({ streamId }) => streamId === 101);
  assert.ok(small >= 0 && small <= 10, `position ${small}`);
  // And all large answers advance together.
  const firstRounds = order.filter(({ streamId }) => streamId !== 101).slice(0, 50);
  for (let i = 0; i < 10; i++) assert.equal(firstRounds.filter(({ streamId }) => streamId === 3 + 2 * i).length, 5);
  assert.equal(
    order.filter(({ streamId }) => streamId === 5).reduce((sum, one) => sum + one.payload.length, 0),
    MiB + 5,
  );
});

test("a turn moves only so much of a large answer, then it is the others' turn", () => {
  const world = new ManualWorld();
  const server = new RpcServer({ methods: testMethods(), clock: world, timers: world, limits: { turnBytes: 100_000 } });
  const written: string[] = [];
  const peers = ["a", "b"].map((name) => {
    const peer = new WirePeer(server, world);
    const write = peer.socket.write.bind(peer.socket);
    peer.send(settings([4, 0x7fff_ffff]), peer.request(1, "/t.Test/Echo", Buffer.alloc(65_530)));
    for (let id = 3; id <= 21; id += 2) peer.send(peer.request(id, "/t.Test/Echo", Buffer.alloc(60_000)));
    peer.frames();
    peer.socket.write = (bytes: Buffer) => {
      if (written.at(-1) !== name) written.push(name);
      return write(bytes);
    };
    return peer;
  });
  // 600 KB wait on each connection; both windows open in the same turn.
  for (const peer of peers) {
    peer.socket.emit("data", frame(FrameType.WindowUpdate, 0, 0, uint32(10 * MiB)));
  }
  world.turn();
  assert.equal(written.length, 2 * 6, "they alternate, 100 KB each");
  for (const peer of peers) assert.equal(peer.frames().filter(({ type }) => type === FrameType.Headers).length, 10);
});

test("a stream that left the line because the connection's window was a crack returns when it grows", () => {
  const world = new ManualWorld();
  const server = new RpcServer({
    methods: testMethods(),
    clock: world,
    timers: world,
    limits: { windowUpdateBase: 1000 },
  });
  const peer = new WirePeer(server, world);
  peer.send(settings([4, 0x7fff_ffff]), peer.request(1, "/t.Test/Echo", Buffer.alloc(65_530)));
  peer.send(peer.request(3, "/t.Test/Echo", Buffer.alloc(5_000)));
  peer.frames();
  // Uses up the allowance of small frames, byte by byte.
  for (let i = 0; i < 60; i++) peer.send(frame(FrameType.WindowUpdate, 0, 0, uint32(1)));
  peer.frames();
  peer.send(frame(FrameType.WindowUpdate, 0, 0, uint32(10_000)));
  assert.equal(peer.verdict(), "status 3 0", "at once, not with the next sweep");
});

test("windows may become negative and recover", () => {
  const world = new ManualWorld();
  const server = new RpcServer({ methods: testMethods(), clock: world, timers: world });
  const peer = new WirePeer(server, world);
  peer.send(settings([4, 20_000]));
  peer.send(peer.request(1, "/t.Test/Echo", Buffer.alloc(50_000)));
  const got = () =>
    peer.frames().reduce((sum, { type, payload }) => sum + (type === FrameType.Data ? payload.length : 0), 0);
  assert.equal(got(), 20_000);
  peer.send(settings([4, 5_000]));
  peer.send(frame(FrameType.WindowUpdate, 0, 1, uint32(15_000)));
  assert.equal(got(), 0, "15000 only make up for what was taken away");
  peer.send(settings([4, 6_500]));
  assert.equal(got(), 1_500);
  peer.send(settings([4, 60_000]));
  assert.equal(got(), 28_505);
  assert.equal(server.streamCount, 0);
});

test("a shared tail is not copied, and arrives after each private head", () => {
  const world = new ManualWorld();
  const calls: ServerCall[] = [];
  const watch: Method = {
    kind: "stream",
    open(call) {
      calls.push(call);
      return { message() {}, halfClosed() {} };
    },
  };
  const pair = joined(world, new Map([["/t.Test/Watch", watch]]));
  const heard: Buffer[][] = [];
  for (let i = 0; i < 3; i++) {
    const mine: Buffer[] = [];
    heard.push(mine);
    pair.client.stream(
      "/t.Test/Watch",
      {},
      {
        message: (_call, buffer, start, end) => void mine.push(Buffer.from(buffer.subarray(start, end))),
        ended() {},
      },
    );
  }
  world.pass(10);
  for (const size of [0, 10, 5_000, 15_000, 30_000, 300_000]) {
    const tail = Buffer.alloc(size, size & 0xff);
    calls.forEach((call, i) => {
      call.sendShared(Buffer.from([9, i, 9]), 1, 2, tail);
    });
    world.pass(10);
    heard.forEach((mine, i) => {
      const last = mine.at(-1)!;
      assert.ok(last.equals(Buffer.concat([Buffer.from([i]), tail])), `${size} bytes`);
    });
  }
  for (const call of calls) call.end();
  world.pass(10);
  atRest(pair);
});

test("deadlines pass on both sides, and the server answers what the client no longer waits for", () => {
  const world = new ManualWorld();
  const holding = new Holding();
  const observer = new CountingObserver();
  const pair = joined(world, testMethods(holding), { observer });
  const outcome = ask(pair, "/t.Test/Hold", Buffer.alloc(1), world.monotonicMs() + 500);
  world.pass(100);
  assert.ok(holding.calls[0]!.deadlineMs > 1400 && holding.calls[0]!.deadlineMs <= 1600);
  world.pass(500);
  assert.equal(outcome.error!.code, 4);
  assert.equal(outcome.error!.message, "context deadline exceeded");
  assert.equal(holding.reasons.length, 1);
  holding.calls[0]!.respond(Buffer.alloc(1), 0, 1);
  world.pass(10);
  atRest(pair);
  // The server's own clock, for a client that does not care.
  const server = new RpcServer({ methods: testMethods(holding), clock: world, timers: world, observer });
  const peer = new WirePeer(server, world);
  peer.send(peer.request(1, "/t.Test/Hold", "x", [["grpc-timeout", "250m"]]));
  world.pass(240);
  assert.equal(peer.verdict(), "");
  world.pass(30);
  assert.equal(peer.verdict(), "status 1 4");
  assert.equal(holding.reasons[1], "deadline");
  assert.equal(observer.ended.at(-1), "/t.Test/Hold 4");
  // A stream whose client takes nothing: the status would wait behind the messages, so the stream is reset.
  peer.send(settings([4, 0]), peer.request(3, "/t.Test/Hold", "x", [["grpc-timeout", "250m"]]));
  holding.calls.at(-1)!.send(Buffer.alloc(100), 0, 100);
  world.pass(300);
  assert.match(peer.verdict(), /reset 3 8$/);
  assert.equal(holding.reasons.at(-1), "deadline");
  assert.equal(peer.connection.heldBytes, 0);
  // No time left before it even starts.
  const late = ask(pair, "/t.Test/Hold", Buffer.alloc(1), world.monotonicMs() - 1);
  world.pass(20);
  assert.equal(late.error!.code, 4);
});

test("calls above the server's cap wait their turn", () => {
  const world = new ManualWorld();
  const holding = new Holding();
  const pair = joined(world, testMethods(holding), { server: { maxConcurrentStreams: 3 } });
  // The client does not know the cap before the server's SETTINGS, so it greets first.
  ask(pair, "/t.Test/Echo", Buffer.alloc(1));
  world.pass(1);
  const asked = Array.from({ length: 10 }, () => ask(pair, "/t.Test/Hold", Buffer.alloc(1)));
  world.pass(1);
  assert.equal(holding.calls.length, 3);
  for (let i = 0; i < 10; i++) {
    holding.calls[i]!.respond(Buffer.from([i]), 0, 1);
    world.pass(1);
  }
  assert.deepEqual(
    asked.map(({ response }) => response?.[0]),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
  atRest(pair);
});

test("calls refused because the client did not know better are tried again, once", () => {
  const world = new ManualWorld();
  const holding = new Holding();
  const pair = joined(world, testMethods(holding), { server: { maxConcurrentStreams: 3 } });
  const asked = Array.from({ length: 8 }, () => ask(pair, "/t.Test/Echo", Buffer.from("abc")));
  world.pass(50);
  for (const { response } of asked) assert.equal(Buffer.from(response!).toString(), "abc");
  atRest(pair);
});

test("a drained server finishes what runs, and the client goes to the next one", () => {
  const world = new ManualWorld();
  const holding = new Holding();
  const pair = joined(world, testMethods(holding));
  const running = ask(pair, "/t.Test/Hold", Buffer.alloc(1));
  world.pass(1);
  let drained = 0;
  pair.server.drain(5_000, () => drained++);
  world.pass(1);
  holding.calls[0]!.respond(Buffer.from("ok"), 0, 2);
  world.pass(2_000);
  assert.equal(Buffer.from(running.response!).toString(), "ok");
  assert.equal(drained, 1);
  const next = ask(pair, "/t.Test/Echo", Buffer.alloc(1));
  world.pass(3_000);
  // There is no next one: the same server turns it away, once more for a call it says it has not seen.
  assert.equal(pair.wires.length, 3);
  assert.equal(next.error!.code, 14);
});

test("cancelling reaches the server, and ends the call at once", () => {
  const world = new ManualWorld();
  const holding = new Holding();
  const pair = joined(world, testMethods(holding));
  const asked = ask(pair, "/t.Test/Hold", Buffer.alloc(1));
  world.pass(1);
  asked.call.cancel();
  asked.call.cancel();
  assert.equal(asked.error!.code, 1);
  world.pass(1);
  assert.deepEqual(holding.reasons, ["cancelled"]);
  atRest(pair);
  // Before the connection is even there.
  const early = ask(pair, "/t.Test/Echo", Buffer.alloc(1));
  early.call.cancel();
  world.pass(1);
  assert.equal(early.error!.code, 1);
  pair.client.close();
  const closed = ask(pair, "/t.Test/Echo", Buffer.alloc(1));
  assert.equal(closed.error, null, "never at once");
  world.pass(1);
  assert.equal(closed.error!.code, 14);
});

test("a sender that is told to wait is told when to go on", () => {
  const world = new ManualWorld();
  const pair = joined(world, testMethods(), { client: { streamHighWaterBytes: 30_000 } });
  let heard = 0;
  let drains = 0;
  const call = pair.client.stream(
    "/t.Test/Chat",
    {},
    {
      message: (_call, _buffer, start, end) => {
        heard += end - start;
      },
      ended: (_call, error) => assert.equal(error, null),
      drained: () => drains++,
    },
  );
  world.pass(1);
  const piece = Buffer.alloc(40_000);
  assert.equal(call.send(piece, 0, piece.length), false);
  assert.ok(call.queuedBytes > 30_000);
  world.pass(1);
  assert.equal(drains, 1);
  assert.equal(call.queuedBytes, 0);
  call.halfClose();
  assert.equal(call.send(piece, 0, 1), false);
  world.pass(1);
  assert.equal(heard, 40_000);
  atRest(pair);
});

test("everything written in a turn leaves in one write", () => {
  const world = new ManualWorld();
  const holding = new Holding();
  const server = new RpcServer({ methods: testMethods(holding), clock: world, timers: world });
  const peer = new WirePeer(server, world);
  const requests = Array.from({ length: 100 }, (_, i) => peer.request(1 + 2 * i, "/t.Test/Echo", "x".repeat(200)));
  let writes = peer.socket.writes;
  peer.send(Buffer.concat(requests));
  assert.equal(peer.socket.writes, writes + 1);
  peer.send(Buffer.concat(Array.from({ length: 100 }, (_, i) => peer.request(201 + 2 * i, "/t.Test/Hold", "x"))));
  peer.frames();
  writes = peer.socket.writes;
  for (const call of holding.calls) call.respond(Buffer.alloc(40), 0, 40);
  assert.equal(peer.socket.writes, writes);
  server.flush();
  assert.equal(peer.socket.writes, writes + 1);
  assert.equal(
    peer.frames().filter(({ flags, type }) => type === FrameType.Headers && (flags & FrameFlag.EndStream) !== 0).length,
    100,
  );
});

test("bytes handed to the socket are never written again", () => {
  // A socket may keep a buffer; the slab must not be reused under it.
  const world = new ManualWorld();
  const server = new RpcServer({ methods: testMethods(), clock: world, timers: world });
  const peer = new WirePeer(server, world);
  peer.send(settings([4, 0x7fff_ffff]), frame(FrameType.WindowUpdate, 0, 0, uint32(100 * MiB)));
  peer.frames();
  const kept: { bytes: Buffer; copy: Buffer }[] = [];
  const write = peer.socket.write.bind(peer.socket);
  peer.socket.write = (bytes: Buffer) => {
    kept.push({ bytes, copy: Buffer.from(bytes) });
    return write(bytes);
  };
  for (let id = 1; id < 400; id += 2) peer.send(peer.request(id, "/t.Test/Echo", "y".repeat((id * 37) % 20_000)));
  assert.ok(kept.length >= 200);
  for (const { bytes, copy } of kept) assert.ok(bytes.equals(copy));
});
