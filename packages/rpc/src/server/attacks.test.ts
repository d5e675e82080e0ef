/**
 * The known attacks on HTTP/2 servers, a test or more for each (the ids are those of our catalogue of known failures).
 * Each shows that the attacker is sent away with the right code, that a client just below the limit is not, and that
 * nothing is left behind.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";
import { HpackEncoder, literalBlock } from "../hpack/encoder.ts";
import { ErrorCode, FrameFlag, FrameType } from "../http2/frame.ts";
import type { RpcLimits } from "../limits.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import { CountingObserver, Holding, testMethods } from "../testing/services.ts";
import { frame, message, requestFields, settings, uint32, WirePeer } from "../testing/wire-peer.ts";
import type { CallOwner, Method, ServerCall } from "./method.ts";
import { RpcServer } from "./server.ts";

const { EndHeaders, EndStream } = FrameFlag;
const goneCalm = `goaway ${ErrorCode.EnhanceYourCalm}`;

class Scene {
  readonly world = new ManualWorld();
  readonly observer = new CountingObserver();
  readonly holding = new Holding();
  readonly server: RpcServer;
  readonly peer: WirePeer;

  constructor(limits: Partial<RpcLimits> = {}, more: [string, Method][] = []) {
    this.server = new RpcServer({
      methods: new Map([...testMethods(this.holding), ...more]),
      clock: this.world,
      timers: this.world,
      observer: this.observer,
      limits,
    });
    this.peer = new WirePeer(this.server, this.world);
  }

  /** The reason the server gives for having closed the connection, once the socket is gone, and that nothing is left. */
  end(): string {
    this.world.pass(1500);
    this.peer.socket.destroy();
    assert.equal(this.server.connectionCount, 0);
    assert.equal(this.server.streamCount, 0);
    assert.equal(this.peer.connection.heldBytes, 0);
    assert.equal(this.peer.connection.admittedBytes, 0);
    assert.equal(this.observer.started, this.observer.ended.length);
    assert.equal(this.world.timerCount, 0);
    return this.observer.closed.join();
  }

  head(streamId: number, path = "/t.Test/Hold", flags: number = EndHeaders): Buffer {
    return this.peer.headers(streamId, requestFields(path), flags);
  }
}

const reset = (streamId: number, code: number = ErrorCode.Cancel) =>
  frame(FrameType.RstStream, 0, streamId, uint32(code));
const windowUpdate = (streamId: number, bytes: number) => frame(FrameType.WindowUpdate, 0, streamId, uint32(bytes));
const ping = frame(FrameType.Ping, 0, 0, Buffer.alloc(8, 1));

test("rapid reset ends after the burst; the same resets, spread out, do not", () => {
  // covers: H2-01
  const fast = new Scene();
  for (let id = 1; id < 4000 && !fast.peer.connection.isClosing; id += 2) {
    fast.peer.send(fast.head(id), reset(id));
    if (id === 1999) assert.equal(fast.peer.verdict(), "", "1000 are allowed");
  }
  assert.equal(fast.peer.verdict(), goneCalm);
  assert.equal(fast.observer.started, 1001);
  assert.equal(fast.end(), "resets");

  const slow = new Scene();
  for (let id = 1; id < 6000; id += 2) {
    slow.peer.send(slow.head(id), reset(id));
    slow.world.pass(31);
  }
  assert.equal(slow.peer.verdict(), "");
  slow.end();

  // Calls that lived for the shortest of sensible deadlines may end together, again and again.
  const late = new Scene();
  for (let round = 0; round < 5; round++) {
    const ids = Array.from({ length: 900 }, (_, i) => 1 + 2 * (round * 900 + i));
    for (const id of ids) late.peer.send(late.head(id));
    late.world.pass(15);
    for (const id of ids) late.peer.send(reset(id));
  }
  assert.equal(late.peer.verdict(), "");
  late.end();
});

test("resets that cross our answers are normal, several for each stream", () => {
  // covers: H2-01
  const scene = new Scene();
  const ids = Array.from({ length: 900 }, (_, i) => 1 + 2 * i);
  for (const id of ids) scene.peer.send(scene.peer.request(id, "/t.Test/Echo", "x"));
  for (const id of ids) scene.peer.send(reset(id), reset(id), reset(id));
  assert.equal(scene.peer.connection.isClosing, false);
  scene.end();
});

test("work that goes on after a reset counts against the stream cap", () => {
  // covers: H2-01
  const calls: ServerCall[] = [];
  const owner: CallOwner = { cancelled() {} };
  const working: Method = {
    kind: "unary",
    handle(call) {
      call.owner = owner;
      call.holdSlot();
      calls.push(call);
    },
  };
  const scene = new Scene({ maxConcurrentStreams: 10 }, [["/t.Test/Work", working]]);
  for (let id = 1; id < 20; id += 2) scene.peer.send(scene.peer.request(id, "/t.Test/Work", "x"), reset(id));
  assert.equal(calls.length, 10);
  assert.equal(scene.server.streamCount, 0);
  scene.peer.send(scene.peer.request(21, "/t.Test/Work", "x"));
  assert.equal(scene.peer.verdict(), `reset 21 ${ErrorCode.RefusedStream}`);
  calls[0]!.releaseSlot();
  calls[0]!.releaseSlot();
  scene.peer.send(scene.peer.request(23, "/t.Test/Work", "x"), scene.peer.request(25, "/t.Test/Work", "x"));
  assert.equal(scene.peer.verdict(), `reset 25 ${ErrorCode.RefusedStream}`);
  for (const call of calls) call.releaseSlot();
  assert.equal(scene.peer.connection.heldSlots, 0);
  scene.end();
});

test("making the server reset is no way around: its resets count too", () => {
  // covers: H2-02
  const tricks: [string, (scene: Scene, id: number) => Buffer[]][] = [
    ["WINDOW_UPDATE of 0", (scene, id) => [scene.head(id), windowUpdate(id, 0)]],
    ["window overflow", (scene, id) => [scene.head(id), windowUpdate(id, 0x7fff_ffff)]],
    [
      "malformed trailers",
      (scene, id) => [scene.head(id), scene.peer.headers(id, [[":path", "/"]], EndHeaders | EndStream)],
    ],
    ["malformed head", (scene, id) => [scene.peer.headers(id, [["x", "y"]])]],
    ["early answer", (scene, id) => [scene.head(id, "/t.Test/Missing")]],
    [
      "message too large",
      (scene, id) => [scene.head(id), frame(FrameType.Data, 0, id, Buffer.from([0, 255, 0, 0, 0]))],
    ],
  ];
  for (const [trick, frames] of tricks) {
    const scene = new Scene({ windowUpdateBase: 10_000, resetBurst: 200 });
    for (let id = 1; id < 1000 && !scene.peer.connection.isClosing; id += 2) {
      if (id === 399) assert.doesNotMatch(scene.peer.verdict(), /goaway/, trick);
      scene.peer.send(...frames(scene, id));
    }
    assert.ok(scene.peer.verdict().endsWith(goneCalm), trick);
    assert.equal(scene.end(), "resets", trick);
  }
  const atOnce: [string, (scene: Scene) => Buffer[]][] = [
    [
      "DATA when half closed",
      (scene) => [
        scene.head(1),
        frame(FrameType.Data, EndStream, 1, message("x")),
        frame(FrameType.Data, 0, 1, message("x")),
      ],
    ],
    ["HEADERS when half closed", (scene) => [scene.head(1, undefined, EndHeaders | EndStream), scene.head(1)]],
    ["PRIORITY of wrong length", (scene) => [scene.head(1), frame(FrameType.Priority, 0, 1, Buffer.alloc(4))]],
    [
      "PRIORITY on itself",
      (scene) => [scene.head(1), frame(FrameType.Priority, 0, 1, Buffer.concat([uint32(1), Buffer.alloc(1)]))],
    ],
  ];
  for (const [trick, frames] of atOnce) {
    const scene = new Scene();
    scene.peer.send(...frames(scene));
    assert.match(scene.peer.verdict(), /goaway/, trick);
    scene.end();
  }
});

test("a header block has an end: in frames, in bytes, and in time", () => {
  // covers: H2-03
  const many = new Scene();
  const block = literalBlock(requestFields("/t.Test/Echo"));
  many.peer.send(frame(FrameType.Headers, EndStream, 1, block));
  for (let i = 0; i < 8; i++) many.peer.send(frame(FrameType.Continuation, 0, 1));
  assert.equal(many.peer.verdict(), "");
  many.peer.send(frame(FrameType.Continuation, 0, 1));
  assert.equal(many.peer.verdict(), goneCalm);
  assert.equal(many.end(), "header-limit");

  const large = new Scene();
  large.peer.send(frame(FrameType.Headers, 0, 1, Buffer.alloc(16_384)));
  large.peer.send(frame(FrameType.Continuation, 0, 1, Buffer.alloc(16_384)));
  assert.equal(large.peer.verdict(), "");
  large.peer.send(frame(FrameType.Continuation, 0, 1, Buffer.alloc(1)));
  assert.equal(large.peer.verdict(), goneCalm);
  assert.equal(large.end(), "header-limit");

  const slow = new Scene();
  slow.peer.send(frame(FrameType.Headers, EndStream, 1, block));
  slow.world.pass(4000);
  assert.equal(slow.peer.verdict(), "");
  slow.world.pass(2000);
  assert.equal(slow.peer.verdict(), goneCalm);
  assert.equal(slow.end(), "header-timeout");
});

test("a header list has an end: one byte that stands for four thousand is counted as four thousand", () => {
  // covers: H2-04
  const scene = new Scene();
  const big = "b".repeat(3900);
  const encoder = new HpackEncoder();
  const into = Buffer.alloc(40_000);
  const insert = Buffer.concat([Buffer.from([0x40, 1, 0x62]), Buffer.from([0x7f, 0xbd, 0x1d]), Buffer.from(big)]);
  const normal = literalBlock(requestFields("/t.Test/Echo"));
  const send = (id: number, times: number) =>
    scene.peer.send(
      frame(FrameType.Headers, EndHeaders | EndStream, id, Buffer.concat([normal, Buffer.alloc(times, 0xbe)])),
    );
  scene.peer.send(frame(FrameType.Headers, EndHeaders | EndStream, 1, Buffer.concat([normal, insert])));
  assert.equal(scene.peer.verdict(), "status 1 13", "the table is filled; the request lacks a message");
  send(3, 16);
  assert.equal(scene.peer.verdict(), "status 3 13", "62 KiB are fine");
  send(5, 17);
  assert.equal(scene.peer.verdict(), "http 5 431");
  send(7, 1);
  assert.equal(scene.peer.verdict(), "status 7 13", "and the table is still right");
  send(9, 40);
  assert.equal(scene.peer.verdict(), goneCalm);
  assert.equal(scene.end(), "header-limit");

  const fields = new Scene();
  const names = Array.from({ length: 101 }, (_, i): [string, string] => [`x-${i}`, ""]);
  const length = encoder.encode(
    names.map(([name, value]) => ({ name, value })),
    into,
    0,
  );
  fields.peer.send(
    frame(FrameType.Headers, EndHeaders | EndStream, 1, Buffer.concat([normal, into.subarray(0, length)])),
  );
  assert.equal(fields.peer.verdict(), "http 1 431");
  fields.end();
});

test("table size updates are few, at the front, and within what was announced", () => {
  // covers: H2-05
  const normal = literalBlock(requestFields("/t.Test/Echo"));
  for (const [block, verdict] of [
    [Buffer.concat([Buffer.from([0x20, 0x3f, 0xe1, 0x1f]), normal]), "status 1 13"],
    [Buffer.concat([Buffer.from([0x20, 0x20, 0x20]), normal]), "goaway 9"],
    [Buffer.concat([Buffer.from([0x3f, 0xe2, 0x1f]), normal]), "goaway 9"],
    [Buffer.concat([normal, Buffer.from([0x20])]), "goaway 9"],
    // H2-06: an integer that never ends, and Huffman padding that is too long.
    [Buffer.concat([normal, Buffer.from([0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01])]), "goaway 9"],
    [Buffer.concat([normal, Buffer.from([0x00, 0x01, 0x78, 0x82, 0x07, 0xff])]), "goaway 9"],
  ] as const) {
    const scene = new Scene();
    scene.peer.send(frame(FrameType.Headers, EndHeaders | EndStream, 1, block));
    assert.equal(scene.peer.verdict(), verdict);
    scene.end();
  }
});

test("malformed requests are reset, and a header name that is nothing is malformed", () => {
  // covers: H2-07 (and the table of protocol.test.ts)
  const scene = new Scene();
  scene.peer.send(scene.peer.headers(1, [...requestFields("/t.Test/Echo"), ["", ""]]));
  assert.equal(scene.peer.verdict(), "reset 1 1");
  // What follows on the stream is dropped, padding and all; the connection goes on.
  scene.peer.send(frame(FrameType.Data, 0, 1, message("x")), scene.peer.request(3, "/t.Test/Echo", "y"));
  assert.equal(scene.peer.verdict(), "status 3 0");
  scene.end();
});

test("SETTINGS come seldom and short", () => {
  // covers: H2-08
  const flood = new Scene();
  for (let i = 0; i < 19; i++) flood.peer.send(settings([1, i]));
  assert.doesNotMatch(flood.peer.verdict(), /goaway/);
  flood.peer.send(settings());
  assert.equal(flood.peer.verdict(), goneCalm);
  assert.equal(flood.end(), "settings-flood");

  const long = new Scene();
  long.peer.send(settings(...Array.from({ length: 33 }, (): [number, number] => [0xff, 1])));
  assert.equal(long.peer.verdict(), goneCalm);
  long.end();
});

test("settings that would break the sender are refused", () => {
  // covers: H2-09
  for (const [entry, code] of [
    [[5, 0], 1],
    [[5, 16_383], 1],
    [[5, 0x0100_0000], 1],
    [[4, 0x8000_0000], 3],
    [[2, 2], 1],
  ] as [[number, number], number][]) {
    const scene = new Scene();
    scene.peer.send(settings(entry));
    assert.equal(scene.peer.verdict(), `goaway ${code}`);
    scene.end();
  }
});

test("pings that come too early are strikes; answers in between, patience, or an open stream forgive", () => {
  // covers: H2-10
  const idle = new Scene();
  idle.peer.send(ping);
  idle.peer.send(ping, ping, ping);
  const [pong, , , , goaway] = idle.peer.frames();
  assert.equal(pong!.type, FrameType.Ping);
  assert.equal(goaway!.payload.toString("latin1", 8), "too_many_pings");
  assert.equal(goaway!.payload.readUInt32BE(4), ErrorCode.EnhanceYourCalm);
  assert.equal(idle.end(), "ping-strikes");

  // Even every ten seconds is too often without a stream ...
  const patient = new Scene({ idleTimeoutMs: Number.POSITIVE_INFINITY });
  for (let i = 0; i < 5; i++) {
    patient.peer.send(ping);
    patient.world.pass(10_000);
  }
  assert.match(patient.peer.verdict(), /goaway 11$/);
  patient.end();
  // ... unless that is allowed, or a stream is open.
  for (const scene of [new Scene({ keepaliveWithoutStream: true }), new Scene()]) {
    scene.peer.send(scene.head(1));
    for (let i = 0; i < 20; i++) {
      scene.peer.send(ping);
      scene.world.pass(5_100);
    }
    assert.doesNotMatch(scene.peer.verdict(), /goaway/);
    scene.end();
  }
  // A client that measures the line pings after every answer.
  const measuring = new Scene();
  for (let id = 1; id < 200; id += 2) measuring.peer.send(measuring.peer.request(id, "/t.Test/Echo", "x"), ping);
  assert.doesNotMatch(measuring.peer.verdict(), /goaway/);
  measuring.end();
});

test("acknowledgements do not pile up for a peer that does not read", () => {
  // covers: H2-10, H2-08
  const scene = new Scene({ maxPingStrikes: Number.POSITIVE_INFINITY });
  // A peer that reads again may start over.
  scene.peer.socket.isStalled = true;
  for (let i = 0; i < 90; i++) scene.peer.send(ping);
  scene.peer.socket.release();
  scene.peer.send(ping);
  scene.peer.socket.isStalled = true;
  scene.peer.send(ping);
  for (let i = 0; i < 100; i++) scene.peer.send(ping);
  assert.equal(scene.peer.connection.isClosing, false);
  scene.peer.send(ping);
  assert.equal(scene.peer.connection.isClosing, true);
  assert.equal(scene.end(), "ack-flood");
});

test("empty DATA frames that end nothing are counted", () => {
  // covers: H2-11
  const scene = new Scene();
  scene.peer.send(scene.head(1));
  for (let i = 0; i < 10; i++) scene.peer.send(frame(FrameType.Data, 0, 1));
  assert.equal(scene.peer.verdict(), "");
  scene.peer.send(frame(FrameType.Data, 8, 1, Buffer.from([3, 0, 0, 0])));
  assert.equal(scene.peer.verdict(), goneCalm, "padding does not make it less empty");
  assert.equal(scene.end(), "empty-data");
  // An empty frame that ends the stream is what clients do.
  const polite = new Scene();
  for (let id = 1; id < 100; id += 2) {
    polite.peer.send(
      polite.head(id, "/t.Test/Echo"),
      frame(FrameType.Data, 0, id, message("x")),
      frame(FrameType.Data, EndStream, id),
    );
  }
  assert.doesNotMatch(polite.peer.verdict(), /goaway/);
  polite.end();
});

test("a stream whose window stays shut is reset, a socket that is not read is closed", () => {
  // covers: H2-12
  const shut = new Scene();
  shut.peer.send(settings([4, 0]), shut.peer.request(1, "/t.Test/Echo", "x".repeat(50_000)));
  shut.world.pass(29_000);
  assert.doesNotMatch(shut.peer.verdict(), /reset/);
  assert.equal(shut.server.streamCount, 1);
  shut.world.pass(3_000);
  assert.equal(shut.peer.verdict(), `reset 1 ${ErrorCode.Cancel}`);
  assert.equal(shut.peer.connection.heldBytes, 0);
  shut.end();

  const unread = new Scene();
  unread.peer.socket.isStalled = true;
  unread.peer.send(unread.peer.request(1, "/t.Test/Echo", "x".repeat(50_000)));
  unread.peer.send(unread.peer.request(3, "/t.Test/Hold", "x"));
  unread.world.pass(59_000);
  assert.equal(unread.server.connectionCount, 1);
  unread.world.pass(3_000);
  assert.equal(unread.server.connectionCount, 0);
  assert.deepEqual(unread.holding.reasons, ["connection"]);
  assert.equal(unread.end(), "stalled");
});

test("answers nobody reads have a limit in bytes, and streams hear of it long before", () => {
  // covers: H2-12
  const scene = new Scene({ maxUnsentBytes: 1_000_000, unsentHighWaterBytes: 200_000, streamHighWaterBytes: 50_000 });
  scene.peer.send(settings([4, 0]));
  scene.peer.send(scene.peer.request(1, "/t.Test/Hold", "x"), scene.peer.request(3, "/t.Test/Hold", "x"));
  const [first, second] = scene.holding.calls as [ServerCall, ServerCall];
  const piece = Buffer.alloc(20_000);
  assert.deepEqual(
    [1, 2, 3].map(() => first.send(piece, 0, piece.length)),
    [true, true, false],
  );
  assert.equal(first.queuedBytes, 60_015);
  for (let i = 0; i < 7; i++) second.send(piece, 0, piece.length);
  assert.equal(second.send(piece, 0, 1), false);
  // The connection's own mark: the first stream is asked to wait as well, whatever it has.
  scene.peer.send(windowUpdate(1, 60_015));
  assert.equal(first.queuedBytes, 0);
  assert.equal(scene.holding.drains, 1);
  // Now the socket stops, and the owner does not listen.
  scene.peer.socket.isStalled = true;
  for (let i = 0; i < 60 && first.isOpen; i++) {
    second.send(piece, 0, piece.length);
    scene.server.flush();
    scene.world.turn();
  }
  assert.equal(scene.peer.connection.isClosing, true);
  assert.equal(scene.end(), "unsent");
});

test("more answers at once than anybody reads at once are fine while they are being read", () => {
  // covers: H2-12
  const limits = { unreadBytes: 100_000, unreadTimeoutMs: 5_000 };
  const big = Buffer.alloc(600_000);
  const reading = new Scene(limits);
  reading.peer.send(settings([4, 0]), reading.peer.request(1, "/t.Test/Hold", "x"));
  reading.holding.calls[0]!.send(big, 0, big.length);
  for (let read = 0; read < 600_005; read += 10_000) {
    reading.world.pass(1_000);
    reading.peer.send(windowUpdate(1, 10_000), windowUpdate(0, 10_000));
  }
  assert.equal(reading.holding.calls[0]!.queuedBytes, 0);
  reading.end();

  const silent = new Scene(limits);
  silent.peer.send(settings([4, 0]), silent.peer.request(1, "/t.Test/Hold", "x"));
  silent.holding.calls[0]!.send(big, 0, big.length);
  silent.world.pass(4_500);
  assert.equal(silent.peer.connection.isClosing, false);
  silent.world.pass(3_000);
  assert.equal(silent.peer.connection.isClosing, true);
  assert.equal(silent.end(), "unsent");
});

test("a window opened byte by byte gets a frame a second, not a frame a byte", () => {
  // covers: H2-13
  const scene = new Scene({ windowUpdateBase: 1_000_000 });
  scene.peer.send(settings([4, 0]), scene.peer.request(1, "/t.Test/Echo", "x".repeat(30_000)));
  scene.peer.frames();
  for (let i = 0; i < 500; i++) scene.peer.send(windowUpdate(1, 1));
  const dribbled = scene.peer.frames().filter(({ type }) => type === FrameType.Data);
  // The allowance of small frames, then whatever 64 bytes have come together, and one more for each of those.
  assert.ok(dribbled.length <= 32 + 2 * 8, `${dribbled.length} frames`);
  scene.world.pass(2500);
  const later = scene.peer.frames().filter(({ type }) => type === FrameType.Data);
  assert.ok(later.length >= 1 && later.length <= 3, "what is there goes out after a while");
  scene.peer.send(windowUpdate(1, 40_000));
  assert.match(scene.peer.verdict(), /status 1 0/);
  scene.end();
});

test("window overflows end the stream or the connection, and ten thousand such connections leave nothing", () => {
  // covers: H2-14
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const world = new ManualWorld();
  const observer = new CountingObserver();
  const server = new RpcServer({ methods: testMethods(), clock: world, timers: world, observer });
  const attack = (times: number) => {
    for (let i = 0; i < times; i++) {
      const peer = new WirePeer(server, world);
      peer.send(peer.headers(1, requestFields("/t.Test/Chat")), windowUpdate(0, 0x7fff_ffff));
      assert.equal(peer.connection.isClosing, true);
      peer.socket.destroy();
    }
  };
  attack(500);
  collect();
  const before = process.memoryUsage().heapUsed;
  attack(10_000);
  collect();
  const growth = process.memoryUsage().heapUsed - before;
  assert.ok(growth < 3_000_000, `heap grew by ${growth}`);
  assert.equal(server.connectionCount, 0);
  assert.equal(observer.closed.length, 10_500);
  assert.ok(observer.closed.every((reason) => reason === "flow-control"));
});

test("WINDOW_UPDATEs are allowed in proportion to what we send", () => {
  // covers: H2-15
  const scene = new Scene();
  for (let i = 0; i < 5; i++) scene.peer.send(windowUpdate(0, 1));
  assert.equal(scene.peer.verdict(), "");
  scene.peer.send(windowUpdate(0, 1));
  assert.equal(scene.peer.verdict(), goneCalm);
  assert.equal(scene.end(), "window-updates");
  const fair = new Scene();
  for (let id = 1; id < 400; id += 2) {
    fair.peer.send(fair.peer.request(id, "/t.Test/Echo", "x".repeat(200)), windowUpdate(0, 205), windowUpdate(id, 205));
  }
  assert.doesNotMatch(fair.peer.verdict(), /goaway/);
  fair.end();
});

test("PRIORITY says nothing to us, and too much of it ends the connection", () => {
  // covers: H2-16
  const scene = new Scene();
  const cycle = (a: number, b: number) =>
    frame(FrameType.Priority, 0, a, Buffer.concat([uint32(b), Buffer.from([200])]));
  for (let i = 0; i < 5000; i++) scene.peer.send(cycle(1, 3), cycle(3, 1));
  assert.equal(scene.peer.verdict(), "");
  scene.peer.send(cycle(5, 7));
  assert.equal(scene.peer.verdict(), goneCalm);
  assert.equal(scene.end(), "glitches");
});

test("every frame type, with every sort of flags and stream, is survived", () => {
  // covers: H2-17, H2-18, H2-19, H2-20
  for (let type = 0; type < 256; type++) {
    for (const flags of [0, 0xff, EndHeaders]) {
      for (const id of [0, 1, 2, 3, 0x7fff_ffff]) {
        const scene = new Scene();
        scene.peer.send(scene.head(1));
        scene.peer.send(frame(type, flags, id, Buffer.from([2, 0, 0, 0, 1, 0, 0, 9])));
        scene.peer.send(ping);
        if (type > FrameType.Continuation) assert.equal(scene.peer.verdict(), "pong", "unknown: ignored");
        scene.end();
      }
    }
  }
});

test("unknown frames by the thousand are too many", () => {
  // covers: H2-20
  const scene = new Scene();
  for (let i = 0; i < 10_000; i++) scene.peer.send(frame(0xf0, 0, 0));
  assert.equal(scene.peer.verdict(), "");
  scene.peer.send(frame(0xf0, 0, 0));
  assert.equal(scene.peer.verdict(), goneCalm);
  assert.equal(scene.end(), "glitches");
});

test("clients do not push, and one GOAWAY is enough", () => {
  // covers: H2-21
  const push = new Scene();
  push.peer.send(
    frame(FrameType.PushPromise, EndHeaders, 1, Buffer.concat([uint32(2), literalBlock([[":path", "/"]])])),
  );
  assert.equal(push.peer.verdict(), "goaway 1");
  push.end();
  const storm = new Scene();
  storm.peer.send(storm.peer.request(1, "/t.Test/Hold", "x"));
  for (let i = 0; i < 500; i++) storm.peer.send(frame(FrameType.GoAway, 0, 0, uint32(0, 0)));
  assert.equal(storm.peer.connection.isClosing, false);
  storm.holding.calls[0]!.respond(Buffer.from("late"), 0, 4);
  assert.match(storm.peer.verdict(), /status 1 0/, "what runs may finish");
  storm.end();
});

test("streams above the cap are refused, and a client that goes on regardless is sent away", () => {
  // covers: H2-22
  const scene = new Scene({ maxConcurrentStreams: 5 });
  for (let id = 1; id <= 9; id += 2) scene.peer.send(scene.peer.request(id, "/t.Test/Hold", "x"));
  assert.equal(scene.peer.verdict(), "");
  let id = 11;
  for (; id < 11 + 200; id += 2) {
    scene.peer.send(scene.head(id), frame(FrameType.Data, EndStream, id, message("x")));
    assert.equal(scene.peer.verdict(), `reset ${id} ${ErrorCode.RefusedStream}`);
  }
  assert.equal(scene.holding.calls.length, 5);
  scene.holding.calls[0]!.respond(Buffer.alloc(0), 0, 0);
  scene.peer.send(scene.peer.request(id, "/t.Test/Echo", "x"));
  assert.match(scene.peer.verdict(), new RegExp(`status 1 0, status ${id} 0`), "and there is room again");
  scene.peer.send(scene.head(id + 2), scene.head(id + 4));
  assert.ok(scene.peer.verdict().endsWith(goneCalm));
  assert.equal(scene.end(), "refused-streams");
});

test("a connection that never greets is closed", () => {
  // covers: H2-23
  for (const greeting of [Buffer.alloc(0), Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from("PRI")]) {
    const world = new ManualWorld();
    const observer = new CountingObserver();
    const server = new RpcServer({ methods: testMethods(), clock: world, timers: world, observer });
    const peer = new WirePeer(server, world, false);
    peer.send(greeting);
    world.pass(9_000);
    assert.equal(peer.verdict(), "");
    world.pass(4_000);
    assert.equal(peer.verdict(), "goaway 1");
    assert.equal(server.connectionCount, 0, "and cut if it does not close");
    assert.deepEqual(observer.closed, ["preface"]);
    assert.equal(world.timerCount, 0);
  }
});

test("an idle connection is sent away politely, a silent one is asked and then closed", () => {
  // covers: H2-24
  const idle = new Scene();
  idle.world.pass(299_000);
  assert.equal(idle.peer.verdict(), "");
  idle.world.pass(5_000);
  assert.equal(idle.peer.verdict(), "goaway 0, goaway 0");
  assert.equal(idle.end(), "drained");

  const silent = new Scene();
  silent.peer.send(silent.peer.request(1, "/t.Test/Hold", "x"));
  silent.world.pass(7_199_000);
  assert.equal(silent.peer.frames().length, 0);
  silent.world.pass(2_000);
  const [asked] = silent.peer.frames();
  assert.equal(asked!.type, FrameType.Ping);
  silent.peer.send(frame(FrameType.Ping, 1, 0, asked!.payload));
  silent.world.pass(7_202_000);
  assert.equal(silent.peer.frames()[0]!.type, FrameType.Ping);
  silent.world.pass(22_000);
  assert.equal(silent.peer.socket.destroyed, true);
  assert.deepEqual(silent.holding.reasons, ["connection"]);
  assert.equal(silent.end(), "keepalive");
});

test("content-length that lies is a malformed request", () => {
  // covers: H2-25
  const scene = new Scene();
  scene.peer.send(
    scene.peer.headers(1, [...requestFields("/t.Test/Echo"), ["content-length", "100"]]),
    frame(FrameType.Data, EndStream, 1, message("x")),
  );
  assert.equal(scene.peer.verdict(), "reset 1 1");
  scene.end();
});

test("a drain ends in two steps, takes nothing new, lets what runs finish, and cuts what does not", () => {
  // covers: H2-26
  const scene = new Scene();
  scene.peer.send(scene.peer.request(1, "/t.Test/Hold", "x"), scene.peer.request(3, "/t.Test/Hold", "x"));
  let done = 0;
  scene.server.drain(10_000, () => done++);
  const [goaway, asked] = scene.peer.frames();
  assert.equal(goaway!.payload.readUInt32BE(0), 0x7fff_ffff);
  // A stream that crossed the first GOAWAY is still served.
  scene.peer.send(scene.peer.request(5, "/t.Test/Echo", "x"), frame(FrameType.Ping, 1, 0, asked!.payload));
  const answered = scene.peer.frames();
  assert.equal(answered.find(({ type }) => type === FrameType.GoAway)!.payload.readUInt32BE(0), 5);
  scene.peer.send(scene.peer.request(7, "/t.Test/Echo", "x"));
  assert.equal(scene.peer.verdict(), `reset 7 ${ErrorCode.RefusedStream}`);
  scene.holding.calls[0]!.respond(Buffer.from("done"), 0, 4);
  assert.equal(scene.peer.verdict(), "status 1 0");
  assert.equal(scene.peer.socket.isEnded, false);
  scene.world.pass(9_000);
  assert.equal(done, 0);
  scene.world.pass(1_100);
  assert.equal(done, 1);
  assert.deepEqual(scene.holding.reasons, ["connection"]);
  assert.equal(scene.server.connectionCount, 0);

  // With nothing running it takes no time at all; with nobody there, neither.
  const quiet = new Scene();
  quiet.server.drain(10_000, () => done++);
  quiet.world.pass(1_500);
  assert.equal(quiet.peer.verdict(), "goaway 0, goaway 0");
  assert.equal(quiet.peer.socket.isEnded, true);
  quiet.peer.socket.destroy();
  assert.equal(done, 2);
  quiet.server.drain(10, () => done++);
  assert.equal(done, 2, "never at once");
  quiet.world.turn();
  assert.equal(done, 3);
});

test("a length prefix above the limit is refused from the prefix, and a promise costs no memory", () => {
  // covers: GR-01
  const scene = new Scene();
  const prefix = Buffer.from([0, 0, 0x20, 0, 1]);
  scene.peer.send(scene.head(1, "/t.Test/Echo"), frame(FrameType.Data, 0, 1, prefix));
  const said = scene.peer.frames();
  assert.equal(said[0]!.fields.get("grpc-status"), "8");
  assert.equal(said[0]!.fields.get("grpc-message"), "grpc: received message larger than max (2097153 vs. 2097152)");
  assert.equal(said[1]!.type, FrameType.RstStream);
  const before = process.memoryUsage().arrayBuffers;
  for (let id = 3; id < 1003; id += 2) {
    scene.peer.send(scene.head(id, "/t.Test/Echo"), frame(FrameType.Data, 0, id, Buffer.from([0, 0, 0x1f, 0, 0, 1])));
  }
  assert.ok(process.memoryUsage().arrayBuffers - before < 4_000_000);
  assert.equal(scene.server.streamCount, 500);
  assert.ok(scene.peer.connection.admittedBytes <= 16 * 1024 * 1024);
  scene.end();
});

test("a compressed bomb is stopped at the limit, broken gzip and unknown encodings are refused", () => {
  // covers: GR-01
  const scene = new Scene();
  const send = (id: number, encoding: string, body: Uint8Array) => {
    scene.peer.send(
      scene.peer.headers(id, [...requestFields("/t.Test/Echo"), ["grpc-encoding", encoding]]),
      frame(FrameType.Data, EndStream, id, message(body, 1)),
    );
    return scene.peer.frames();
  };
  assert.equal(send(1, "gzip", gzipSync(Buffer.alloc(9_000_000)))[0]!.fields.get("grpc-status"), "8");
  assert.equal(send(3, "gzip", Buffer.from("no gzip"))[0]!.fields.get("grpc-status"), "13");
  const unknown = send(5, "snappy", Buffer.from("x"))[0]!.fields;
  assert.equal(unknown.get("grpc-status"), "12");
  assert.equal(unknown.get("grpc-accept-encoding"), "identity,gzip");
  assert.equal(unknown.get("grpc-message"), 'grpc: Decompressor is not installed for grpc-encoding "snappy"');
  assert.equal(send(7, "identity", Buffer.from("x"))[0]!.fields.get("grpc-status"), "13");
  const fine = send(9, "gzip", gzipSync(Buffer.alloc(2_097_152)));
  assert.deepEqual(
    [fine[0]!.fields.has("grpc-status"), fine[1]!.type],
    [false, FrameType.Data],
    "exactly the limit is fine",
  );
  scene.end();
});

test("methods are found by their exact path only", () => {
  // covers: GR-02
  for (const path of [
    "t.Test/Echo",
    "//t.Test/Echo",
    "/t.Test//Echo",
    "/t.Test/Echo/",
    "/t.Test/%45cho",
    "/T.test/echo",
    "/t.Test/Echo?x",
    "*",
  ]) {
    const scene = new Scene();
    scene.peer.send(scene.peer.request(1, path, "x"));
    assert.match(scene.peer.verdict(), /^status 1 12/, path);
    assert.equal(scene.observer.started, 0);
    scene.end();
  }
});

test("timeouts and binary metadata are parsed strictly, and a huge timeout is no deadline in the past", () => {
  // covers: GR-03
  for (const [name, value, verdict] of [
    ["grpc-timeout", "99999999H", "status 1 0"],
    ["grpc-timeout", "999999999S", "status 1 13"],
    ["grpc-timeout", "-1S", "status 1 13"],
    ["grpc-timeout", "1", "status 1 13"],
    ["grpc-timeout", "0S", "status 1 4"],
    ["x-bin", "AAEC", "status 1 0"],
    ["x-bin", "!!", "status 1 13"],
  ] as const) {
    const scene = new Scene();
    scene.peer.send(scene.peer.request(1, "/t.Test/Echo", "x", [[name, value]]));
    assert.equal(scene.peer.verdict().split(",")[0], verdict, `${name}: ${value}`);
    // The wheel's timer fires once more and finds nothing.
    scene.world.pass(10_000);
    scene.end();
  }
});
