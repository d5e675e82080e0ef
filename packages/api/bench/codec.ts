/**
 * What do the hot codecs cost per message?
 *
 *     node packages/api/bench/codec.ts
 *
 * The budget (of 10 µs of CPU per put in all): decode PutRequest 0.1 µs, encode PutResponse 0.15 µs. Each subject runs in
 * short rounds, interleaved with the others so that a busy machine is unfair to all alike; the median round is shown.
 * Every result goes into `wanted`, or the engine would find out that nobody wants it.
 *
 * Recorded (Node 24.21.0, 2 shared cores of a virtual machine, ns per message, second run of two):
 *
 *   decode PutRequest, 35 B key, 256 B value          38
 *   decode PutRequest with lease and prev_kv          83
 *   decode RangeRequest                               14
 *   decode DeleteRangeRequest                         16
 *   decode TxnRequest, compare + put + range         292
 *   encode InternalRaftRequest around a put          108
 *   decode InternalRaftRequest                        64
 *   encode KeyValue, 35 B + 256 B                     89
 *   encode PutResponse                                22
 *   encode RangeResponse x 1                          71
 *   encode RangeResponse x 100                      3720
 *   encode WatchResponse head                         27
 *   encode Event                                      45
 *   table-driven: decode PutRequest                  258
 *   table-driven: decode StatusResponse              574
 */

import {
  DeleteRangeView,
  decodeTxnRequest,
  encodeRaftRequest,
  HeaderEncoder,
  keyValueSize,
  PutView,
  RaftOp,
  RaftRequestView,
  RangeView,
  writeEvent,
  writeKeyValue,
  writePutResponse,
  writeRangeKv,
  writeRangeTail,
  writeWatchHead,
} from "../src/index.ts";
import { KeyValue, PutRequest, RangeRequest, StatusResponse, TxnRequest } from "../src/messages/index.ts";
import { Writer } from "../src/wire/index.ts";

const ROUND_MESSAGES = 20_000;
const ROUNDS = 41;

const key = Buffer.from("/registry/pods/default/nginx-7c5ddb");
const value = Buffer.alloc(256, "v");
const put = PutRequest.encode({ key, value });
const leased = PutRequest.encode({ key, value, lease: 0x694d81f2a3b4c5d6n, prevKv: true });
const range = RangeRequest.encode({ key });
const txn = TxnRequest.encode({
  compare: [{ target: 2, key, modRevision: 17 }],
  success: [{ requestPut: { key, value } }],
  failure: [{ requestRange: { key } }],
});
const record = KeyValue.encode({ key, createRevision: 5, modRevision: 1_000_000, version: 9, value });
const entry = encodeRaftRequest(0x694d, 2 ** 47 + 12345, Buffer.alloc(0), 0, RaftOp.Put, put, 0, put.length);
const status = StatusResponse.encode({
  header: { clusterId: 2n ** 63n, revision: 5 },
  version: "3.7.1",
  dbSize: 20480,
});

const putView = new PutView();
const rangeView = new RangeView();
const deleteView = new DeleteRangeView();
const entryView = new RaftRequestView();
const writer = new Writer(64 * 1024);
const room = Buffer.alloc(1024);
const nobody = Buffer.alloc(0);
const header = new HeaderEncoder({ clusterId: 0xcdf818194e3a8c32n, memberId: 0x8e9e05c52164694dn });

let wanted = 0;

const subjects: Readonly<Record<string, () => number>> = {
  "decode PutRequest, 35 B key, 256 B value": () => {
    putView.decode(put, 0, put.length);
    return putView.valueEnd;
  },
  "decode PutRequest with lease and prev_kv": () => {
    putView.decode(leased, 0, leased.length);
    return putView.valueEnd;
  },
  "decode RangeRequest": () => {
    rangeView.decode(range, 0, range.length);
    return rangeView.keyEnd;
  },
  "decode DeleteRangeRequest": () => {
    deleteView.decode(range, 0, range.length);
    return deleteView.keyEnd;
  },
  "decode TxnRequest, compare + put + range": () => decodeTxnRequest(txn, 0, txn.length).txn.success.length,
  "encode InternalRaftRequest around a put": () =>
    encodeRaftRequest(0x694d, 2 ** 47 + 12345, nobody, 0, RaftOp.Put, put, 0, put.length).length,
  "decode InternalRaftRequest": () => {
    entryView.decode(entry, 0, entry.length);
    return entryView.idLow;
  },
  "encode KeyValue, 35 B + 256 B": () =>
    keyValueSize(35, 5, 1_000_000, 9, 256, 0n) + writeKeyValue(room, 0, key, 0, 35, 5, 1_000_000, 9, value, 0, 256, 0n),
  "encode PutResponse": () => {
    writer.reset();
    writePutResponse(writer, header, 1_000_000, 3);
    return writer.position;
  },
  "encode RangeResponse x 1": () => {
    writer.reset();
    header.write(writer, 1_000_000, 3);
    writeRangeKv(writer, record, 0, record.length);
    writeRangeTail(writer, false, 1);
    return writer.position;
  },
  "encode RangeResponse x 100": () => {
    writer.reset();
    header.write(writer, 1_000_000, 3);
    for (let index = 0; index < 100; index++) writeRangeKv(writer, record, 0, record.length);
    writeRangeTail(writer, false, 100);
    return writer.position;
  },
  "encode WatchResponse head": () => {
    writer.reset();
    writeWatchHead(writer, header, 1_000_000, 3, 0n, false);
    return writer.position;
  },
  "encode Event": () => {
    writer.reset();
    writeEvent(writer, false, record, 0, record.length, nobody, 0, 0);
    return writer.position;
  },
  "table-driven: decode PutRequest": () => PutRequest.decode(put).value.length,
  "table-driven: decode StatusResponse": () => StatusResponse.decode(status).dbSize,
};

const rounds = new Map<string, number[]>(Object.keys(subjects).map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, run] of Object.entries(subjects)) {
    const messages = name.endsWith("x 100") ? ROUND_MESSAGES / 20 : ROUND_MESSAGES;
    const start = process.hrtime.bigint();
    for (let message = 0; message < messages; message++) wanted = (wanted + run()) | 0;
    rounds.get(name)!.push(Number(process.hrtime.bigint() - start) / messages);
  }
}
for (const [name, times] of rounds) {
  // The first rounds ran before the code was compiled.
  const warm = times.slice(8).sort((a, b) => a - b);
  console.log(`${name.padEnd(45)}${warm[warm.length >> 1]!.toFixed(0).padStart(7)}`);
}
if (wanted === Number.MIN_SAFE_INTEGER) console.log(wanted);
