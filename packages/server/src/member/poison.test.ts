/**
 * No request may end the process: neither when it is decoded, nor, worse, when its entry is applied, because then every
 * start would end the same way.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { SeededRandom } from "@quorate/wal/testing";
import { FakeCall } from "../testing/fake-call.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";

const UNARY = [
  "/etcdserverpb.KV/Range",
  "/etcdserverpb.KV/RangeStream",
  "/etcdserverpb.KV/Put",
  "/etcdserverpb.KV/DeleteRange",
  "/etcdserverpb.KV/Txn",
  "/etcdserverpb.KV/Compact",
  "/etcdserverpb.Lease/LeaseGrant",
  "/etcdserverpb.Lease/LeaseRevoke",
  "/etcdserverpb.Lease/LeaseTimeToLive",
  "/etcdserverpb.Lease/LeaseLeases",
  "/etcdserverpb.Cluster/MemberList",
  "/etcdserverpb.Maintenance/Status",
  "/etcdserverpb.Maintenance/Alarm",
  "/etcdserverpb.Maintenance/Hash",
  "/etcdserverpb.Maintenance/HashKV",
  "/grpc.health.v1.Health/Check",
];
const STREAMS = ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"];

/** Ten-byte and other varints where things break: signs, 2^31, 2^53, 2^63. */
const VARINTS = [
  0n,
  1n,
  2n,
  3n,
  127n,
  300n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 2n ** 31n,
  2n ** 64n - 1n,
];

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return bytes;
}

/** A well-formed protobuf message of random low-numbered fields, nested as deep as chance has it. */
function randomMessage(random: SeededRandom, depth: number): number[] {
  const bytes: number[] = [];
  const count = random.below(5);
  for (let i = 0; i < count; i++) {
    const field = 1 + random.below(14);
    if (random.below(2) === 0) {
      bytes.push(...varint(BigInt(field) << 3n), ...varint(VARINTS[random.below(VARINTS.length)]!));
      continue;
    }
    const body =
      depth < 4 && random.below(3) > 0 ? randomMessage(random, depth + 1) : [[], [0], [97], [98, 99]][random.below(4)]!;
    bytes.push(...varint((BigInt(field) << 3n) | 2n), ...varint(BigInt(body.length)), ...body);
  }
  return bytes;
}

// covers: AP-08, AP-14, LE-09
test("no well-formed request ends the process, and what it left in the log is applied again after a crash", async () => {
  const simulated = await SimulatedMember.serving({ settings: { "snapshot-count": "100000" } });
  const random = new SeededRandom(7);
  for (let round = 0; round < 6; round++) {
    for (let i = 0; i < 1500; i++) {
      const path = UNARY[random.below(UNARY.length)]!;
      const bytes = Buffer.from(randomMessage(random, 0));
      const call = new FakeCall(path);
      try {
        simulated.sendBytes(path, bytes, call);
        if (i % 7 === 0) simulated.settle();
      } catch (error) {
        throw new Error(`${path} ${bytes.toString("hex")}`, { cause: error });
      }
    }
    for (let i = 0; i < 300; i++) {
      const path = STREAMS[random.below(STREAMS.length)]!;
      const bytes = Buffer.from(randomMessage(random, 0));
      try {
        const stream = simulated.openStream(path);
        stream.sendBytes(bytes);
        if (i % 7 === 0) simulated.settle();
        stream.call.cancel();
      } catch (error) {
        throw new Error(`${path} ${bytes.toString("hex")}`, { cause: error });
      }
    }
    simulated.settle();
    assert.equal(simulated.failure, null);
    const { revision } = simulated.member.store;
    simulated.crash();
    await simulated.boot();
    assert.equal(simulated.member.store.revision, revision);
  }
});

test("every integer field of every request may have any value", async () => {
  const simulated = await SimulatedMember.serving();
  for (const path of [...UNARY, ...STREAMS]) {
    for (let field = 1; field <= 13; field++) {
      for (const value of VARINTS) {
        // A key, or an id, in front, so that checks for their absence do not end it early.
        for (const prefix of [[], [0x0a, 1, 97], [0x08, 5]]) {
          const bytes = Buffer.from([...prefix, ...varint(BigInt(field) << 3n), ...varint(value)]);
          for (const wrap of STREAMS.includes(path) ? [bytes, Buffer.from([0x0a, bytes.length, ...bytes])] : [bytes]) {
            try {
              if (STREAMS.includes(path)) {
                const stream = simulated.openStream(path);
                stream.sendBytes(wrap);
                stream.call.cancel();
              } else {
                simulated.sendBytes(path, wrap);
              }
              simulated.settle();
            } catch (error) {
              throw new Error(`${path} ${wrap.toString("hex")}`, { cause: error });
            }
          }
        }
      }
    }
  }
  assert.equal(simulated.failure, null);
});
