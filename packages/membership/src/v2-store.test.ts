import assert from "node:assert/strict";
import { test } from "node:test";
import { Membership } from "./membership.ts";
import { FakeTables } from "./testing/fake-tables.ts";
import { encodeV2Store } from "./v2-store.ts";

const empty = { isLearner: false, name: "", clientUrls: [] };

/** The files of the tree: path to value. */
function filesOf(bytes: Uint8Array): Record<string, string> {
  const files: Record<string, string> = {};
  const visit = (node: { Path: string; Value: string; Children: Record<string, never> | null }): void => {
    if (node.Children === null) files[node.Path] = node.Value;
    else for (const child of Object.values(node.Children)) visit(child);
  };
  visit(JSON.parse(Buffer.from(bytes).toString()).Root);
  return files;
}

test("an empty membership is the two empty directories of a fresh store", () => {
  const zero = '"CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":""';
  assert.equal(
    Buffer.from(encodeV2Store(new Membership(1n, new FakeTables()))).toString(),
    `{"Root":{"Path":"/",${zero},"Children":{` +
      `"0":{"Path":"/0",${zero},"Children":{}},"1":{"Path":"/1",${zero},"Children":{}}}},` +
      `"CurrentIndex":0,"CurrentVersion":2}`,
  );
});

test("members, removed members and the version are where etcd looks for them", () => {
  const membership = new Membership(1n, new FakeTables());
  membership.add({ ...empty, id: 0xabn, peerUrls: ["http://a:1"] });
  membership.add({ ...empty, id: 2n ** 64n - 1n, peerUrls: ["http://b:1"], isLearner: true });
  membership.add({ ...empty, id: 5n, peerUrls: ["http://c:1"] });
  membership.remove(5n);
  membership.setAttributes(0xabn, "a", ["http://a:2"]);
  membership.setClusterVersion("3.7.0");
  const bytes = encodeV2Store(membership);
  assert.deepEqual(filesOf(bytes), {
    "/0/members/ab/raftAttributes": '{"peerURLs":["http://a:1"]}',
    "/0/members/ab/attributes": '{"name":"a","clientURLs":["http://a:2"]}',
    "/0/members/ffffffffffffffff/raftAttributes": '{"peerURLs":["http://b:1"],"isLearner":true}',
    "/0/removed_members/5": "",
    "/0/version": "3.7.0",
  });
  assert.equal(JSON.parse(Buffer.from(bytes).toString()).CurrentIndex, 5);
});

test("the tree is the one that etcd 3.7 writes", () => {
  const membership = new Membership(1n, new FakeTables());
  membership.add({ ...empty, id: 0xad8306525251c2dcn, peerUrls: ["http://127.0.0.1:34580"] });
  membership.setAttributes(0xad8306525251c2dcn, "s", ["http://127.0.0.1:34579"]);
  membership.setClusterVersion("3.7.0");
  const node = (path: string, index: number, value: string, children: string): string =>
    `{"Path":"${path}","CreatedIndex":${index},"ModifiedIndex":${index},"ExpireTime":"0001-01-01T00:00:00Z",` +
    `"Value":${JSON.stringify(value)},"Children":${children}}`;
  const member = "/0/members/ad8306525251c2dc";
  const attributes = node(`${member}/attributes`, 2, '{"name":"s","clientURLs":["http://127.0.0.1:34579"]}', "null");
  const raftAttributes = node(`${member}/raftAttributes`, 1, '{"peerURLs":["http://127.0.0.1:34580"]}', "null");
  const files = node(member, 1, "", `{"attributes":${attributes},"raftAttributes":${raftAttributes}}`);
  const members = node("/0/members", 1, "", `{"ad8306525251c2dc":${files}}`);
  const cluster = node("/0", 0, "", `{"members":${members},"version":${node("/0/version", 3, "3.7.0", "null")}}`);
  const root = node("/", 0, "", `{"0":${cluster},"1":${node("/1", 0, "", "{}")}}`);
  assert.equal(
    Buffer.from(encodeV2Store(membership)).toString(),
    `{"Root":${root},"CurrentIndex":3,"CurrentVersion":2}`,
  );
});

test("the bytes depend on who is in the cluster, not on how that came about", () => {
  const one = new Membership(1n, new FakeTables());
  const other = new Membership(1n, new FakeTables());
  for (const [membership, ids] of [
    [one, [1n, 2n, 3n, 4n]],
    [other, [4n, 3n, 2n, 1n]],
  ] as const) {
    for (const id of ids) membership.add({ ...empty, id, peerUrls: [`http://${id}:1`] });
  }
  for (const id of [1n, 2n]) one.remove(id);
  for (const id of [2n, 1n]) other.remove(id);
  assert.deepEqual(encodeV2Store(one), encodeV2Store(other));
});
