import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { RaftOp, RaftRequestView } from "@quorate/api";
import { ClusterMemberAttrSetRequest, ClusterVersionSetRequest } from "@quorate/api/messages";
import { Writer } from "@quorate/api/wire";
import { Entry, EntryType, index, term } from "@quorate/raft";
import { withoutLegacy } from "./legacy-entries.ts";

/** As etcd 3.4 encodes it: every field, also those without a value. */
function legacy(id: bigint, method: string, path: string, value: string): Entry {
  const writer = new Writer();
  writer.byte(0x08);
  writer.varintBig(id);
  [method, path, value].forEach((text, i) => {
    writer.stringField(((i + 2) << 3) | 2, text);
  });
  for (const field of [5, 7, 9, 10, 11]) {
    writer.byte(field << 3);
    writer.byte(0);
  }
  writer.stringField((6 << 3) | 2, "");
  return new Entry(EntryType.Normal, term(3), index(77), writer.copy());
}

function requestOf(entry: Entry): RaftRequestView {
  const view = new RaftRequestView();
  view.decode(entry.data, 0, entry.data.length);
  return view;
}

const ID = 0xabcd_0000_1234_5678n;

test("a member's attributes and the cluster's version are converted under their own request id", () => {
  const value = '{"name":"m1","clientURLs":["http://a:1","http://b:2"]}';
  const attributes = withoutLegacy(legacy(ID, "PUT", "/0/members/8e9e05c52164694d/attributes", value));
  assert.deepEqual([attributes.index, attributes.term], [77, 3]);
  let request = requestOf(attributes);
  assert.equal(request.op, RaftOp.ClusterMemberAttrSet);
  assert.deepEqual([request.idHigh, request.idLow], [0xabcd, 0x1234_5678]);
  const set = ClusterMemberAttrSetRequest.decode(attributes.data, request.start, request.end);
  assert.equal(set.memberID, 0x8e9e_05c5_2164_694dn);
  assert.deepEqual(set.memberAttributes, { name: "m1", clientUrls: ["http://a:1", "http://b:2"] });

  const version = withoutLegacy(legacy(ID, "PUT", "/0/version", "3.4.0"));
  request = requestOf(version);
  assert.equal(request.op, RaftOp.ClusterVersionSet);
  assert.equal(ClusterVersionSetRequest.decode(version.data, request.start, request.end).ver, "3.4.0");
});

test("reads of the old store, and what kept its clock, become operations without effect", () => {
  for (const method of ["QGET", "SYNC"]) {
    assert.equal(requestOf(withoutLegacy(legacy(ID, method, "", ""))).op, RaftOp.DowngradeVersionTest);
  }
});

test("keys of the old store, and requests of today, stay as they are", () => {
  for (const entry of [
    legacy(ID, "PUT", "/1/key", "value"),
    legacy(ID, "DELETE", "/1/key", ""),
    legacy(ID, "PUT", "/0/version", "newest"),
    legacy(ID, "PUT", "/0/members/1/attributes", "no JSON"),
    new Entry(EntryType.Normal, term(1), index(1), new Uint8Array(0)),
    // A put of key "PUT": the field is another.
    new Entry(EntryType.Normal, term(1), index(1), Buffer.from("22050a03505554a20602080a", "hex")),
    new Entry(EntryType.ConfChange, term(1), index(1), Buffer.from("1203505554", "hex")),
  ]) {
    assert.equal(withoutLegacy(entry), entry);
  }
});
