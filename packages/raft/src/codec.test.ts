/** covers: RA-20 (malformed bytes are refused with a named error, never believed) */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  decodeConfChange,
  decodeConfChangeV2,
  decodeConfState,
  decodeEntry,
  decodeHardState,
  decodeMessage,
  decodeSnapshot,
  encodeConfChange,
  encodeConfChangeV2,
  encodeConfState,
  encodeHardState,
  encodeMessage,
  encodeSnapshot,
  entrySizeBytes,
  messageSizeBytes,
  writeEntry,
} from "./codec.ts";
import { ConfChangeTransition, ConfChangeType } from "./conf-change.ts";
import { MalformedMessage } from "./errors.ts";
import { Message, MessageType, messageTypeName } from "./message.ts";
import { EMPTY_CONF_STATE, Entry, EntryType, type Index, type Term } from "./types.ts";

const exact = fc.oneof(
  fc.nat(300),
  fc.maxSafeNat(),
  fc.constantFrom(0x7f, 0x80, 2 ** 28 - 1, 2 ** 28, 2 ** 31, 2 ** 32, 2 ** 35, 2 ** 49, Number.MAX_SAFE_INTEGER),
);
const id = fc.oneof(fc.bigInt(0n, 300n), fc.bigInt(0n, 2n ** 64n - 1n));
const ids = fc.array(id, { maxLength: 4 });
const bytes = fc.uint8Array({ maxLength: 200 });
const entry = fc
  .tuple(fc.constantFrom(...Object.values(EntryType)), exact, exact, bytes)
  .map(([type, term, index, data]) => new Entry(type, term as Term, index as Index, data));
const confState = fc.record({
  voters: ids,
  learners: ids,
  votersOutgoing: ids,
  learnersNext: ids,
  autoLeave: fc.boolean(),
});
const snapshot = fc.record({
  data: bytes,
  metadata: fc.record({
    confState,
    index: exact.map((index) => (index === 0 ? 1 : index) as Index),
    term: exact as fc.Arbitrary<Term>,
  }),
});

function message(responses: fc.Arbitrary<readonly Message[]>): fc.Arbitrary<Message> {
  return fc
    .record({
      type: fc.constantFrom(...Object.values(MessageType)),
      to: id,
      from: id,
      term: exact,
      logTerm: exact,
      index: exact,
      entries: fc.array(entry, { maxLength: 4 }),
      commit: exact,
      snapshot: fc.option(snapshot),
      reject: fc.boolean(),
      rejectHint: exact,
      context: bytes,
      vote: id,
      responses,
    })
    .map((fields) => Object.assign(new Message(fields.type, fields.to, fields.from), fields));
}

/** Views and copies of bytes are equal if their contents are. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}

test("every message survives the wire, at the size announced", () => {
  const nested = message(fc.array(message(fc.constant([])), { maxLength: 2 }));
  fc.assert(
    fc.property(nested, (sent) => {
      const encoded = encodeMessage(sent);
      assert.equal(encoded.length, messageSizeBytes(sent));
      assert.deepEqual(plain(decodeMessage(encoded)), plain(sent));
    }),
  );
});

test("every entry, hard state, snapshot and configuration survives the wire", () => {
  fc.assert(
    fc.property(entry, snapshot, confState, exact, id, (one, snap, config, term, vote) => {
      const into = new Uint8Array(entrySizeBytes(one) + 2);
      assert.equal(writeEntry(one, into, 1), into.length - 1);
      assert.deepEqual(plain(decodeEntry(into, 1, into.length - 1)), plain(one));
      const state = { term: term as Term, vote, commit: term as Index };
      assert.deepEqual(decodeHardState(encodeHardState(state)), state);
      assert.deepEqual(plain(decodeSnapshot(encodeSnapshot(snap))), plain(snap));
      assert.deepEqual(plain(decodeConfState(encodeConfState(config))), plain(config));
    }),
  );
});

test("every configuration change survives the log, in both forms", () => {
  const single = fc.record({ type: fc.constantFrom(...Object.values(ConfChangeType)), nodeId: id });
  fc.assert(
    fc.property(fc.array(single, { maxLength: 4 }), single, id, bytes, (changes, only, request, context) => {
      for (const transition of Object.values(ConfChangeTransition)) {
        const change = { transition, changes, context };
        assert.deepEqual(plain(decodeConfChangeV2(encodeConfChangeV2(change))), plain(change));
      }
      const change = { id: request, ...only, context };
      assert.deepEqual(plain(decodeConfChange(encodeConfChange(change))), plain(change));
    }),
  );
});

test("what is written is what protocol buffers write: ascending fields, no zeros, minimal numbers", () => {
  const beat = new Message(MessageType.Heartbeat, 0x8e9e05c52164694dn, 300n);
  beat.term = 2 as Term;
  beat.commit = 150 as Index;
  assert.equal(Buffer.from(encodeMessage(beat)).toString("hex"), "080810cdd2918bd2b881cf8e0118ac022002409601");
  const vote = { term: 3 as Term, vote: 0n, commit: 0 as Index };
  assert.equal(Buffer.from(encodeHardState(vote)).toString("hex"), "0803");
  const change = { id: 1n, type: ConfChangeType.RemoveNode, nodeId: 2n, context: new Uint8Array() };
  assert.equal(Buffer.from(encodeConfChange(change)).toString("hex"), "080110011802");
});

test("an etcd 3.5 heartbeat, with its zeros and its empty snapshot, reads as one without", () => {
  // The snapshot is metadata {conf_state {auto_leave false}, index 0, term 0}.
  const old = Buffer.from("0808100218012002280030004000" + "4a0a12080a02280010001800" + "50005800", "hex");
  const read = decodeMessage(old);
  assert.equal(messageTypeName(read.type), "MsgHeartbeat");
  assert.equal(read.term, 2);
  assert.equal(read.snapshot, null);
});

test("fields of later versions are passed over, packed lists are read", () => {
  const unknown = "f80101" + "fa01026869" + "fd0100000000" + "f9010000000000000000";
  assert.equal(decodeMessage(Buffer.from(`${unknown}0803`, "hex")).type, MessageType.App);
  assert.deepEqual(decodeConfState(Buffer.from("0a03010203", "hex")).voters, [1n, 2n, 3n]);
});

test("terms and indexes beyond 2^53 are refused, ids are not", () => {
  assert.equal(decodeMessage(Buffer.from("20ffffffffffffff0f", "hex")).term, Number.MAX_SAFE_INTEGER);
  assert.throws(() => decodeMessage(Buffer.from("20808080808080801000".slice(0, -2), "hex")), MalformedMessage);
  assert.throws(() => decodeMessage(Buffer.from("20ffffffffffffffffff01", "hex")), MalformedMessage);
  assert.equal(decodeMessage(Buffer.from("10ffffffffffffffffff01", "hex")).to, 0xffff_ffff_ffff_ffffn);
});

test("malformed bytes are refused", () => {
  const cases: Readonly<Record<string, string>> = {
    "a number cut short": "0880",
    "a number of eleven bytes": "10ffffffffffffffffffff01",
    "a field number of 0": "0001",
    "a group": "0b0c",
    "bytes past the end": "3a05",
    "an embedded message past its parent": "4a020a05",
    "an unknown message type": "0818",
    "an unknown entry type": "3a020803",
    "a number where bytes belong": "6001",
    "bytes where a number belongs": "0a00",
    "responses within responses within responses": "720472027200",
  };
  for (const [what, hex] of Object.entries(cases)) {
    assert.throws(() => decodeMessage(Buffer.from(hex, "hex")), MalformedMessage, what);
  }
});

test("random bytes are read or refused, but never break the reader", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
      for (const decode of [decodeMessage, decodeEntry, decodeHardState, decodeSnapshot, decodeConfChangeV2]) {
        try {
          decode(noise);
        } catch (error) {
          assert.ok(error instanceof MalformedMessage);
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test("entry data is a view of the buffer it was read from", () => {
  const one = new Entry(EntryType.Normal, 1 as Term, 2 as Index, Buffer.from("data"));
  const into = new Uint8Array(entrySizeBytes(one));
  writeEntry(one, into, 0);
  assert.equal(decodeEntry(into).data.buffer, into.buffer);
});

test("an empty configuration change of the second form is no bytes at all", () => {
  assert.equal(encodeConfChangeV2({ transition: 0, changes: [], context: new Uint8Array() }).length, 0);
  assert.deepEqual(decodeConfState(new Uint8Array()), EMPTY_CONF_STATE);
});
