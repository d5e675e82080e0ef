/** What an observer of a server hears: enough for a trace of every call. */
import assert from "node:assert/strict";
import test from "node:test";
import { joined } from "../testing/joined.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import { Holding, testMethods } from "../testing/services.ts";
import type { ObservedCall, RpcObserver } from "./method.ts";

/** Keeps a span in each call's slot. */
class Tracer implements RpcObserver {
  readonly ended: string[] = [];
  readonly #world: ManualWorld;
  #count = 0;

  constructor(world: ManualWorld) {
    this.#world = world;
  }

  callStarted(call: ObservedCall): void {
    assert.deepEqual([call.receivedBytes, call.sentBytes], [0, 0]);
    call.trace = `${++this.#count} of ${call.metadata("traceparent")}`;
  }

  callEnded({ path, trace, receivedBytes, sentBytes, openedMs, connection }: ObservedCall, code: number): void {
    assert.equal(connection.isClosed, false);
    const tookMs = Math.round(this.#world.monotonicMs() - openedMs);
    this.ended.push(`${trace}: ${path} ${code} ${receivedBytes} in, ${sentBytes} out, ${tookMs} ms`);
  }
}

test("an observer hears of every call once: its slot, path, status, sizes and time", () => {
  const world = new ManualWorld();
  const tracer = new Tracer(world);
  const holding = new Holding();
  const { client } = joined(world, testMethods(holding), { observer: tracer });
  const options = { metadata: [["traceparent", "00-ab-cd-01"]] } as const;
  client.unary("/t.Test/Echo", Buffer.alloc(300), options, () => {});
  world.pass(10);
  client.unary("/t.Test/Fail", Buffer.from("9 no"), {}, () => {});
  world.pass(10);
  client.unary("/t.Test/Hold", Buffer.alloc(5), {}, () => {});
  world.pass(70);
  holding.calls[0]!.respond(Buffer.alloc(7), 0, 7);
  world.pass(10);
  const cancelled = client.unary("/t.Test/Hold", Buffer.alloc(5), {}, () => {});
  world.pass(10);
  cancelled.cancel();
  world.pass(10);
  assert.deepEqual(
    tracer.ended.map((each) => each.replace(/(\d+) ms$/, (_, ms: string) => `${Math.floor(Number(ms) / 10)}`)),
    [
      "1 of 00-ab-cd-01: /t.Test/Echo 0 300 in, 300 out, 0",
      "2 of undefined: /t.Test/Fail 9 4 in, 0 out, 0",
      "3 of undefined: /t.Test/Hold 0 5 in, 7 out, 7",
      "4 of undefined: /t.Test/Hold 1 5 in, 0 out, 1",
    ],
  );
});
