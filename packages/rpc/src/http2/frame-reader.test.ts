import assert from "node:assert/strict";
import test from "node:test";
import { frame, settings, uint32 } from "../testing/wire-peer.ts";
import { ErrorCode, FrameType } from "./frame.ts";
import { FrameReader, type FrameSink } from "./frame-reader.ts";

class Recorder implements FrameSink {
  readonly seen: string[] = [];
  refused = "";
  stopAfter = Number.POSITIVE_INFINITY;
  frame(type: number, flags: number, streamId: number, buffer: Buffer, start: number, end: number): boolean {
    this.seen.push(`${type} ${flags} ${streamId} ${buffer.toString("hex", start, end)}`);
    return this.seen.length < this.stopAfter;
  }
  frameRefused(code: ErrorCode, reason: string): void {
    this.refused = `${code} ${reason}`;
  }
}

const frames = Buffer.concat([
  settings([3, 100], [4, 70_000]),
  frame(FrameType.Headers, 4, 1, Buffer.from("8386c1", "hex")),
  frame(FrameType.Data, 1, 1, Buffer.alloc(300, 7)),
  frame(FrameType.Data, 0, 3),
  frame(0xfa, 0xff, 5, Buffer.alloc(17, 1)),
  frame(FrameType.Ping, 0, 0, Buffer.alloc(8, 2)),
  frame(FrameType.Data, 0, 0x7fff_ffff, Buffer.alloc(16_384, 3)),
  frame(FrameType.WindowUpdate, 0, 0, uint32(1)),
]);

function readAll(chunks: Buffer[]): Recorder {
  const recorder = new Recorder();
  const reader = new FrameReader(recorder);
  for (const chunk of chunks) {
    // A chunk's memory is the socket's again afterwards.
    const lent = Buffer.from(chunk);
    reader.read(lent, 0, lent.length);
    lent.fill(0xee);
  }
  return recorder;
}

test("frames are the same wherever the bytes are split", () => {
  const whole = readAll([frames]).seen;
  assert.equal(whole.length, 8);
  for (let at = 0; at <= frames.length; at += at < 500 || at > frames.length - 500 ? 1 : 97) {
    assert.deepEqual(readAll([frames.subarray(0, at), frames.subarray(at)]).seen, whole, `split at ${at}`);
  }
  assert.deepEqual(readAll([...frames].map((byte) => Buffer.from([byte]))).seen, whole);
  for (let first = 1; first < 60; first++) {
    for (let second = first; second < 60; second += 3) {
      const parts = [frames.subarray(0, first), frames.subarray(first, second), frames.subarray(second)];
      assert.deepEqual(readAll(parts).seen, whole);
    }
  }
});

test("what nine bytes prove wrong is refused before the body comes", () => {
  // covers: H2-17, H2-19
  for (const [type, flags, streamId, length, expected] of [
    [FrameType.Data, 0, 1, 16_385, "6 frame larger"],
    [0xbe, 0, 1, 0xff_ffff, "6 frame larger"],
    [FrameType.Data, 0, 0, 4, "1 stream frame on stream 0"],
    [FrameType.Headers, 4, 0, 4, "1 stream frame on stream 0"],
    [FrameType.Continuation, 4, 0, 4, "1 stream frame on stream 0"],
    [FrameType.Priority, 0, 0, 5, "1 stream frame on stream 0"],
    [FrameType.Priority, 0, 1, 4, "6 PRIORITY"],
    [FrameType.RstStream, 0, 0, 4, "1 stream frame on stream 0"],
    [FrameType.RstStream, 0, 1, 3, "6 RST_STREAM"],
    [FrameType.Settings, 0, 1, 6, "1 connection frame"],
    [FrameType.Settings, 0, 0, 5, "6 SETTINGS"],
    [FrameType.Settings, 1, 0, 6, "6 SETTINGS ack"],
    [FrameType.PushPromise, 4, 1, 8, "1 PUSH_PROMISE"],
    [FrameType.Ping, 0, 0, 7, "6 PING"],
    [FrameType.Ping, 0, 1, 8, "1 connection frame"],
    [FrameType.GoAway, 0, 0, 7, "6 GOAWAY"],
    [FrameType.GoAway, 0, 1, 8, "1 connection frame"],
    [FrameType.WindowUpdate, 0, 1, 5, "6 WINDOW_UPDATE"],
  ] as const) {
    const header = frame(type, flags, streamId);
    header.writeUIntBE(length, 0, 3);
    for (const chunks of [[header], [header.subarray(0, 4), header.subarray(4)]]) {
      const recorder = readAll([...chunks, frame(FrameType.Ping, 0, 0, Buffer.alloc(8))]);
      assert.ok(recorder.refused.startsWith(expected), `${type}: ${recorder.refused}`);
      assert.deepEqual(recorder.seen, [], "nothing is read after that");
    }
  }
  assert.equal(ErrorCode.FrameSizeError, 6);
});

test("a sink that says stop gets no more, and no memory is kept", () => {
  const recorder = new Recorder();
  recorder.stopAfter = 2;
  const reader = new FrameReader(recorder);
  reader.read(frames, 0, frames.length);
  reader.read(frames, 0, 5);
  assert.equal(recorder.seen.length, 2);
  assert.equal(reader.heldBytes, 0);
});

test("a chunk that arrives while another is read waits its turn", () => {
  const order: string[] = [];
  const ping = frame(FrameType.Ping, 0, 0, Buffer.alloc(8, 9));
  const reader: FrameReader = new FrameReader({
    frame(type, _flags, _streamId, buffer, start) {
      order.push(`${type}:${buffer[start]}`);
      if (order.length === 1) reader.read(ping, 0, ping.length);
      return true;
    },
    frameRefused: () => assert.fail(),
  });
  const two = Buffer.concat([settings([3, 1]), frame(FrameType.Data, 0, 1, Buffer.from([5]))]);
  reader.read(two, 0, two.length);
  assert.deepEqual(order, ["4:0", "0:5", "6:9"]);
});
