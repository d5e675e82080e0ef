// covers: MV-08
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parameters, someBytes, someId, someNumber, someString, someUid } from "../testing/arbitrary.ts";
import { referenceEncode, typeOf } from "../testing/reference.ts";
import { Writer } from "../wire/index.ts";
import {
  beginResponseOp,
  eventFieldSize,
  finishResponseOp,
  HeaderEncoder,
  innerHeaderSize,
  ResponseOpTag,
  rangeKvSize,
  rangeTailSize,
  writeDeletedCount,
  writeDeletedPrevKv,
  writeEvent,
  writeInnerHeader,
  writeLeaseKeepAliveResponse,
  writePutPrevKv,
  writePutResponse,
  writeRangeKv,
  writeRangeKvHead,
  writeRangeTail,
  writeSucceeded,
  writeTxnResponse,
  writeWatchControl,
  writeWatchHead,
} from "./index.ts";

const writer = new Writer(16);

function expectWritten(name: string, message: object): void {
  const expected = Buffer.from(referenceEncode(typeOf(`etcdserverpb.${name}`), message));
  assert.deepEqual(Buffer.from(writer.bytes()), expected, name);
}

const someHeader = fc.record({
  clusterId: someUid,
  memberId: someUid,
  revision: someNumber,
  raftTerm: someNumber,
});

const someKv = fc.record({
  key: someBytes,
  createRevision: someNumber,
  modRevision: someNumber,
  version: someNumber,
  value: someBytes,
  lease: someId,
});

/** A stored record never is empty: it has at least a key. */
const someStoredKv = someKv.filter((kv) => kv.key.length > 0);

const kvType = typeOf("mvccpb.KeyValue");

/** The encoded KeyValue somewhere inside a larger buffer, as it lies in the store. */
function stored(kv: object): { buffer: Buffer; start: number; end: number } {
  const bytes = kvType.encode(kv);
  return { buffer: Buffer.concat([Buffer.from("<<<"), bytes, Buffer.from(">>")]), start: 3, end: 3 + bytes.length };
}

test("PutResponse, with and without prev_kv", () => {
  fc.assert(
    fc.property(someHeader, fc.option(someKv, { nil: undefined }), (header, prevKv) => {
      const encoder = new HeaderEncoder(header);
      writer.reset();
      writePutResponse(writer, encoder, header.revision, header.raftTerm);
      assert.equal(writer.position, encoder.sizeBytes(header.revision, header.raftTerm));
      if (prevKv !== undefined) {
        const { buffer, start, end } = stored(prevKv);
        writePutPrevKv(writer, buffer, start, end);
      }
      expectWritten("PutResponse", { header, prevKv });
    }),
    parameters,
  );
});

test("DeleteRangeResponse", () => {
  fc.assert(
    fc.property(someHeader, someNumber, fc.array(someKv, { maxLength: 4 }), (header, deleted, prevKvs) => {
      writer.reset();
      new HeaderEncoder(header).write(writer, header.revision, header.raftTerm);
      writeDeletedCount(writer, deleted);
      for (const kv of prevKvs) {
        const { buffer, start, end } = stored(kv);
        writeDeletedPrevKv(writer, buffer, start, end);
      }
      expectWritten("DeleteRangeResponse", { header, deleted, prevKvs });
    }),
    parameters,
  );
});

test("RangeResponse, whose size is known before its first byte", () => {
  fc.assert(
    fc.property(
      someHeader,
      fc.array(someKv, { maxLength: 5 }),
      fc.boolean(),
      someNumber,
      (header, kvs, more, count) => {
        const encoder = new HeaderEncoder(header);
        let size = encoder.sizeBytes(header.revision, header.raftTerm) + rangeTailSize(more, count);
        for (const kv of kvs) size += rangeKvSize(kvType.encode(kv).length);
        writer.reset();
        encoder.write(writer, header.revision, header.raftTerm);
        kvs.forEach((kv, index) => {
          const { buffer, start, end } = stored(kv);
          if (index % 2 === 0) {
            writeRangeKv(writer, buffer, start, end);
          } else {
            writer.ensure(rangeKvSize(end - start));
            writer.position = writeRangeKvHead(writer.buffer, writer.position, end - start);
            writer.raw(buffer, start, end);
          }
        });
        writeRangeTail(writer, more, count);
        assert.equal(writer.position, size);
        expectWritten("RangeResponse", { header, kvs, more, count });
      },
    ),
    parameters,
  );
});

test("TxnResponse: answers of every kind, nested, written before the revision is known", () => {
  fc.assert(
    fc.property(someHeader, someKv, fc.boolean(), someNumber, (header, kv, succeeded, revision) => {
      const { buffer, start, end } = stored(kv);
      const responses = new Writer(16);

      let op = beginResponseOp(responses, ResponseOpTag.Put);
      const before = responses.position;
      writeInnerHeader(responses, revision);
      assert.equal(responses.position - before, innerHeaderSize(revision));
      writePutPrevKv(responses, buffer, start, end);
      finishResponseOp(responses, op);

      op = beginResponseOp(responses, ResponseOpTag.Range);
      writeInnerHeader(responses, revision);
      writeRangeKv(responses, buffer, start, end);
      writeRangeKv(responses, buffer, start, end);
      writeRangeTail(responses, true, 7);
      finishResponseOp(responses, op);

      const nested = beginResponseOp(responses, ResponseOpTag.Txn);
      writeInnerHeader(responses, 0);
      writeSucceeded(responses, succeeded);
      op = beginResponseOp(responses, ResponseOpTag.DeleteRange);
      writeInnerHeader(responses, revision);
      writeDeletedCount(responses, 1);
      writeDeletedPrevKv(responses, buffer, start, end);
      finishResponseOp(responses, op);
      finishResponseOp(responses, nested);

      writer.reset();
      writeTxnResponse(writer, new HeaderEncoder(header), header.revision, header.raftTerm, succeeded, responses);
      expectWritten("TxnResponse", {
        header,
        succeeded,
        responses: [
          { responsePut: { header: { revision }, prevKv: kv } },
          { responseRange: { header: { revision }, kvs: [kv, kv], more: true, count: 7 } },
          {
            responseTxn: {
              header: {},
              succeeded,
              responses: [{ responseDeleteRange: { header: { revision }, deleted: 1, prevKvs: [kv] } }],
            },
          },
        ],
      });
    }),
    parameters,
  );
});

test("LeaseKeepAliveResponse, with the TTL 0 that says the lease is gone", () => {
  fc.assert(
    fc.property(someHeader, someId, someNumber, (header, ID, TTL) => {
      writer.reset();
      writeLeaseKeepAliveResponse(writer, new HeaderEncoder(header), header.revision, header.raftTerm, ID, TTL);
      expectWritten("LeaseKeepAliveResponse", { header, ID, TTL });
    }),
    parameters,
  );
});

test("WatchResponse: a head of one's own before events that are shared", () => {
  const someEvent = fc.record({
    type: fc.constantFrom(0, 1),
    kv: someStoredKv,
    prevKv: fc.option(someStoredKv, { nil: undefined }),
  });
  fc.assert(
    fc.property(
      someHeader,
      someId,
      fc.boolean(),
      fc.array(someEvent, { maxLength: 4 }),
      (header, watchId, fragment, events) => {
        const tail = new Writer(16);
        for (const event of events) {
          const kv = stored(event.kv);
          const prev = event.prevKv === undefined ? { buffer: kv.buffer, start: 0, end: 0 } : stored(event.prevKv);
          const isDelete = event.type === 1;
          const at = tail.position;
          writeEvent(tail, isDelete, kv.buffer, kv.start, kv.end, prev.buffer, prev.start, prev.end);
          assert.equal(tail.position - at, eventFieldSize(isDelete, kv.end - kv.start, prev.end - prev.start));
        }
        writer.reset();
        writeWatchHead(writer, new HeaderEncoder(header), header.revision, header.raftTerm, watchId, fragment);
        writer.raw(tail.buffer, 0, tail.position);
        expectWritten("WatchResponse", { header, watchId, fragment, events });
      },
    ),
    parameters,
  );
});

test("WatchResponse without events: created, canceled, progress", () => {
  const someControl = fc.record({
    watchId: someId,
    created: fc.boolean(),
    canceled: fc.boolean(),
    compactRevision: someNumber,
    cancelReason: someString,
  });
  fc.assert(
    fc.property(someHeader, someControl, (header, control) => {
      writer.reset();
      writeWatchControl(writer, new HeaderEncoder(header), header.revision, header.raftTerm, control);
      expectWritten("WatchResponse", { header, ...control });
    }),
    parameters,
  );
});

test("a header of the largest numbers still fits its one-byte length", () => {
  const largest = 2 ** 53 - 1;
  const ids = { clusterId: 2n ** 64n - 1n, memberId: 2n ** 64n - 1n };
  writer.reset();
  new HeaderEncoder(ids).write(writer, largest, largest);
  expectWritten("PutResponse", { header: { ...ids, revision: largest, raftTerm: largest } });
});
