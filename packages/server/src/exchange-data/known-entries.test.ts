import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { encodeRaftRequest, RaftOp } from "@quorate/api";
import { encodeChange } from "@quorate/membership";
import { Entry, EntryType, encodeConfChange, index, NO_BYTES, term } from "@quorate/raft";
import { Applier, type ApplierOwner } from "../member/applier.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";
import { ExchangeError } from "./errors.ts";
import { lastUnknownIndex } from "./known-entries.ts";

function entry(at: number, type: EntryType, data: Uint8Array): Entry {
  return new Entry(type, term(1), index(at), data);
}

const request = encodeRaftRequest(1, 2, NO_BYTES, 0, RaftOp.Compaction, Buffer.from("0805", "hex"), 0, 2);
const change = encodeConfChange({ id: 5n, ...encodeChange({ kind: "remove", id: 9n }) });
const known: readonly Entry[] = [
  entry(1, EntryType.Normal, NO_BYTES),
  entry(2, EntryType.Normal, request),
  entry(3, EntryType.ConfChange, change),
];

test("entries that can be applied are all known", () => {
  assert.equal(lastUnknownIndex(known, 0), 0);
});

test("what is not known is passed over if it has been applied, and refused if it has not", () => {
  const unknown: readonly Entry[] = [
    // A field 1400 with two bytes: an operation of the future.
    entry(4, EntryType.Normal, Buffer.from("c257020801", "hex")),
    entry(4, EntryType.Normal, Buffer.from("no protobuf at all")),
    entry(4, EntryType.ConfChange, encodeConfChange({ id: 5n, type: 0, nodeId: 9n, context: Buffer.from("{}") })),
    entry(4, EntryType.ConfChangeV2, Buffer.from("0801", "hex")),
  ];
  for (const each of unknown) {
    const after = entry(5, EntryType.Normal, request);
    assert.equal(lastUnknownIndex([...known, each, after], 4), 4);
    assert.throws(() => lastUnknownIndex([...known, each, after], 3), ExchangeError);
  }
});

test("every operation that is let pass is one that is applied", async () => {
  const simulated = new SimulatedMember();
  await simulated.open();
  const told = (): void => {};
  const owner: Partial<ApplierOwner> = {
    entryApplied: told,
    clusterVersionSet: told,
    loggedIn: told,
    credentialsDropped: told,
  };
  const applier = new Applier(simulated.parts.state, 1, 0, owner as ApplierOwner);
  let at = 0;
  for (const op of Object.values(RaftOp)) {
    const data = encodeRaftRequest(1, 1, NO_BYTES, 0, op, NO_BYTES, 0, 0);
    const each = entry(++at, EntryType.Normal, data);
    if (lastUnknownIndex([each], at) > 0) {
      assert.equal(op, RaftOp.None);
      continue;
    }
    try {
      applier.apply(each);
    } catch (error) {
      // That an operation is empty may well be wrong; that it is not known must not be.
      assert.doesNotMatch(String(error), /every operation in the log is known/, `operation ${op}`);
    }
  }
});
