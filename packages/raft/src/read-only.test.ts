/** covers: RA-05 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Message, MessageType } from "./message.ts";
import { ReadOnlyQueue } from "./read-only.ts";
import { EMPTY_CONF_STATE, type Index } from "./types.ts";

const CONFIG = { ...EMPTY_CONF_STATE, voters: [1n, 2n, 3n, 4n, 5n] };

function read(): Message {
  return new Message(MessageType.ReadIndex, 1n, 1n);
}

test("a late answer to an earlier heartbeat does not confirm a later read", () => {
  const reads = new ReadOnlyQueue();
  const [first, second] = [read(), read()];
  reads.add(10 as Index, first, 1n);
  const early = reads.heartbeatContext();
  reads.add(11 as Index, second, 1n);
  const late = reads.heartbeatContext();

  assert.deepEqual(reads.acknowledge(2n, early, CONFIG), []);
  assert.deepEqual(reads.acknowledge(3n, early, CONFIG), [{ index: 10, request: first }]);
  assert.deepEqual(reads.acknowledge(4n, early, CONFIG), []);
  assert.deepEqual(reads.acknowledge(4n, late, CONFIG), []);
  assert.deepEqual(reads.acknowledge(5n, late, CONFIG), [{ index: 11, request: second }]);
});

test("one quorum confirms all reads that came before its heartbeat, in order", () => {
  const reads = new ReadOnlyQueue();
  for (let index = 1; index <= 3; index++) reads.add(index as Index, read(), 1n);
  const context = reads.heartbeatContext();
  reads.acknowledge(2n, context, CONFIG);
  assert.deepEqual(
    reads.acknowledge(3n, context, CONFIG).map((one) => one.index),
    [1, 2, 3],
  );
  assert.equal(reads.heartbeatContext().length, 0);
});

test("both halves of a joint configuration must confirm, learners cannot", () => {
  const joint = { ...EMPTY_CONF_STATE, voters: [1n, 2n], votersOutgoing: [1n, 3n], learners: [4n] };
  const reads = new ReadOnlyQueue();
  reads.add(1 as Index, read(), 1n);
  const context = reads.heartbeatContext();
  assert.equal(reads.acknowledge(4n, context, joint).length, 0);
  assert.equal(reads.acknowledge(2n, context, joint).length, 0);
  assert.equal(reads.acknowledge(3n, context, joint).length, 1);
});

test("a context of the wrong length, or of a read that does not exist, is ignored", () => {
  const reads = new ReadOnlyQueue();
  reads.add(1 as Index, read(), 1n);
  for (const context of [new Uint8Array(), new Uint8Array(7), new Uint8Array(9), new Uint8Array(8).fill(255)]) {
    reads.acknowledge(2n, context, CONFIG);
    assert.deepEqual(reads.acknowledge(3n, context, CONFIG), []);
  }
  assert.equal(Buffer.from(reads.heartbeatContext()).toString("hex"), "0100000000000000");
});

test("a new term knows nothing of the reads before it", () => {
  const reads = new ReadOnlyQueue();
  reads.add(1 as Index, read(), 1n);
  const context = reads.heartbeatContext();
  reads.acknowledge(2n, context, CONFIG);
  reads.reset();
  assert.deepEqual(reads.acknowledge(3n, context, CONFIG), []);
  assert.equal(reads.heartbeatContext().length, 0);
});
