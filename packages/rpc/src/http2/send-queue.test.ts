import assert from "node:assert/strict";
import test from "node:test";
import { FakeSocket } from "../testing/fake-socket.ts";
import { Output } from "./output.ts";
import { SendQueue } from "./send-queue.ts";

test("bytes leave a queue in the order and number they came, copied or shared, in any portions", () => {
  let seed = 21;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (let round = 0; round < 50; round++) {
    const queue = new SendQueue(0);
    const output = new Output();
    const socket = new FakeSocket();
    const expected: Buffer[] = [];
    const received: Buffer[] = [];
    let stamp = 0;
    for (let step = 0; step < 200; step++) {
      const bytes = Buffer.alloc(random(random(5) === 0 ? 20_000 : 60));
      for (let i = 0; i < bytes.length; i++) bytes[i] = stamp++ & 0xff;
      expected.push(Buffer.from(bytes));
      if (random(3) === 0) queue.appendShared(bytes);
      else {
        queue.append(bytes, 0, bytes.length);
        bytes.fill(0xee);
      }
      if (random(2) === 0) queue.moveTo(output, random(queue.bytes + 1));
      if (random(4) === 0) {
        output.flush(socket.asDuplex(), false);
        received.push(socket.take());
      }
    }
    queue.moveTo(output, queue.bytes);
    assert.equal(queue.bytes, 0);
    output.flush(socket.asDuplex(), false);
    received.push(socket.take());
    assert.ok(Buffer.concat(received).equals(Buffer.concat(expected)), `round ${round}`);
  }
});
