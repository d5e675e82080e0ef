/**
 * Frames at random, frames bent a little, and good conversations with a few bytes changed: whatever arrives, nothing
 * throws, nothing hangs, and when the socket is gone nothing is left. Seeded: a failure names its round.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { literalBlock } from "./hpack/encoder.ts";
import { clientPreface, FrameType } from "./http2/frame.ts";
import { RpcServer } from "./server/server.ts";
import { joined } from "./testing/joined.ts";
import { ManualWorld } from "./testing/manual-world.ts";
import { CountingObserver, Holding, testMethods } from "./testing/services.ts";
import { frame, message, requestFields, settings, uint32, WirePeer } from "./testing/wire-peer.ts";

class Dice {
  #seed: number;
  constructor(seed: number) {
    this.#seed = seed * 2654435761;
  }
  below(bound: number): number {
    this.#seed = (Math.imul(this.#seed ^ (this.#seed >>> 15), 0x2c1b3c6d) + 0x297a2d39) >>> 0;
    return this.#seed % bound;
  }
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}

const paths = ["/t.Test/Echo", "/t.Test/Hold", "/t.Test/Chat", "/t.Test/Count", "/t.Test/Sum", "/t.Test/Fail", "/nope"];

function someFrame(dice: Dice, nextId: number): Buffer {
  const id = dice.below(4) === 0 ? dice.below(nextId + 4) : Math.max(1, nextId - 2 * dice.below(3));
  const flags = dice.pick([0, 1, 4, 5, 8, 9, 0x20, 0x24, 0x25, 0xff]);
  const bytes = Buffer.alloc(dice.below(dice.pick([1, 10, 40, 3000])), dice.below(256));
  switch (dice.below(12)) {
    case 0:
      return settings([dice.below(8), dice.pick([0, 1, 100, 65_535, 1 << 20, 0x7fff_ffff, 0xffff_ffff])]);
    case 1:
      return frame(
        FrameType.WindowUpdate,
        0,
        dice.below(2) === 0 ? 0 : id,
        uint32(dice.pick([0, 1, 5000, 0x7fff_ffff])),
      );
    case 2:
      return frame(FrameType.RstStream, 0, id, uint32(dice.below(14)));
    case 3:
      return frame(FrameType.Ping, dice.below(2), 0, Buffer.alloc(8));
    case 4:
      return frame(FrameType.Continuation, flags, id, bytes);
    case 5:
      return frame(dice.below(256), flags, id, bytes);
    case 6:
    case 7: {
      const fields = requestFields(
        dice.pick(paths),
        dice.below(3) === 0 ? [["grpc-timeout", dice.pick(["1m", "1S", "x"])]] : [],
      );
      return frame(FrameType.Headers, dice.pick([0, 1, 4, 4, 4, 5]), id, literalBlock(fields));
    }
    default: {
      const body = dice.below(5) === 0 ? bytes : message(bytes, dice.below(20) === 0 ? 1 : 0);
      return frame(FrameType.Data, dice.pick([0, 0, 1, 1, 8, 9]), id, body);
    }
  }
}

test("random frames", () => {
  // covers: H2-06, H2-20
  for (let round = 0; round < 3000; round++) {
    const dice = new Dice(round + 1);
    const world = new ManualWorld();
    const observer = new CountingObserver();
    const holding = new Holding();
    const server = new RpcServer({
      methods: testMethods(holding),
      clock: world,
      timers: world,
      observer,
      limits: { maxMessageBytes: dice.pick([10, 2000, 2_000_000]), maxConcurrentStreams: dice.pick([2, 1000]) },
    });
    const peer = new WirePeer(server, world);
    try {
      let nextId = 1;
      for (let step = 0; step < 40; step++) {
        if (dice.below(3) > 0) nextId += 2;
        let bytes = someFrame(dice, nextId);
        if (dice.below(4) === 0) bytes = Buffer.concat([bytes, someFrame(dice, nextId), someFrame(dice, nextId)]);
        if (dice.below(15) === 0) bytes[dice.below(bytes.length)] = dice.below(256);
        if (dice.below(8) === 0) peer.socket.isStalled = !peer.socket.isStalled;
        if (!peer.socket.isStalled && dice.below(8) === 0) peer.socket.release();
        const at = dice.below(bytes.length);
        peer.send(bytes.subarray(0, at));
        peer.send(bytes.subarray(at));
        if (dice.below(5) === 0) world.pass(dice.below(3000));
        const call = holding.calls[dice.below(holding.calls.length + 1)];
        if (call !== undefined && dice.below(3) === 0) {
          if (dice.below(2) === 0) call.respond(Buffer.alloc(dice.below(50_000)), 0, 0);
          else call.fail(dice.below(17), "because");
        }
      }
      world.pass(dice.below(40_000));
      peer.socket.destroy();
      world.pass(10_000);
      assert.equal(server.connectionCount, 0);
      assert.equal(server.streamCount, 0);
      assert.equal(peer.connection.heldBytes, 0);
      assert.equal(peer.connection.admittedBytes, 0);
      assert.equal(observer.started, observer.ended.length);
      assert.equal(observer.closed.length, 1);
      assert.equal(world.timerCount, 0);
    } catch (error) {
      throw new Error(`round ${round}`, { cause: error });
    }
  }
});

test("good conversations with bytes changed, cut short or doubled, in any chunks", () => {
  const conversation = Buffer.concat([
    clientPreface,
    settings([4, 1 << 20], [3, 100]),
    frame(FrameType.WindowUpdate, 0, 0, uint32(1 << 20)),
    ...paths.flatMap((path, i) => [
      frame(FrameType.Headers, 4, 1 + 2 * i, literalBlock(requestFields(path, [["x-bin", "AAEC"]]))),
      frame(FrameType.Data, 0, 1 + 2 * i, message("abc").subarray(0, 4)),
      frame(FrameType.Data, 1, 1 + 2 * i, message("abc").subarray(4)),
    ]),
    frame(FrameType.Ping, 0, 0, Buffer.alloc(8)),
  ]);
  for (let round = 0; round < 3000; round++) {
    const dice = new Dice(round + 5000);
    let bytes = Buffer.from(conversation);
    for (let change = dice.below(4); change > 0; change--) bytes[dice.below(bytes.length)] = dice.below(256);
    if (dice.below(4) === 0) {
      const at = dice.below(bytes.length);
      bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - dice.below(30)))]);
    }
    const world = new ManualWorld();
    const observer = new CountingObserver();
    const server = new RpcServer({ methods: testMethods(), clock: world, timers: world, observer });
    const peer = new WirePeer(server, world, false);
    try {
      for (let at = 0; at < bytes.length; ) {
        const end = Math.min(bytes.length, at + 1 + dice.below(round % 2 === 0 ? 20 : 400));
        peer.send(bytes.subarray(at, end));
        at = end;
      }
      world.pass(15_000);
      peer.socket.destroy();
      world.pass(10_000);
      assert.equal(server.connectionCount + server.streamCount + peer.connection.heldBytes, 0);
      assert.equal(observer.started, observer.ended.length);
      assert.equal(world.timerCount, 0);
    } catch (error) {
      throw new Error(`round ${round}`, { cause: error });
    }
  }
});

test("a client whose server's bytes are changed ends every call exactly once", () => {
  for (let round = 0; round < 1500; round++) {
    const dice = new Dice(round + 9000);
    const world = new ManualWorld();
    const pair = joined(world, testMethods(), {
      cut(bytes) {
        if (dice.below(12) === 0) bytes[dice.below(bytes.length)] = dice.below(256);
        const at = dice.below(bytes.length);
        return [bytes.subarray(0, at), bytes.subarray(at)];
      },
    });
    let done = 0;
    try {
      for (let i = 0; i < 10; i++) {
        const deadlineMs = world.monotonicMs() + 5_000;
        if (i % 3 === 0) {
          const call = pair.client.stream("/t.Test/Chat", { deadlineMs }, { message() {}, ended: () => done++ });
          call.send(Buffer.from("abc"), 0, 3);
          call.halfClose();
        } else pair.client.unary("/t.Test/Echo", Buffer.alloc(dice.below(3000)), { deadlineMs }, () => done++);
        if (i === 5) world.pass(1);
      }
      world.pass(20_000);
      assert.equal(done, 10);
      assert.equal(pair.client.callCount, 0);
      pair.client.close();
      for (const [near, far] of pair.wires) {
        near.destroy();
        far.destroy();
      }
      world.pass(10_000);
      assert.equal(pair.server.streamCount + pair.server.connectionCount, 0);
      assert.equal(world.timerCount, 0);
    } catch (error) {
      throw new Error(`round ${round}`, { cause: error });
    }
  }
});
