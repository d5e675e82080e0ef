import assert from "node:assert/strict";
import { test } from "node:test";
import { clusterIdOf, idText, memberIdOf } from "./identity.ts";
import { decodeMember, encodeMember, MalformedMember } from "./member-json.ts";
import { Membership, type MembershipTables } from "./membership.ts";

class FakeTables implements MembershipTables {
  readonly rows = new Map<string, { table: string; key: Buffer; value: Buffer }>();
  put(table: string, key: Uint8Array, value: Uint8Array | null): void {
    const id = `${table}/${Buffer.from(key).toString("hex")}`;
    if (value === null) this.rows.delete(id);
    else this.rows.set(id, { table, key: Buffer.from(key), value: Buffer.from(value) });
  }
  scan(table: string, visit: (key: Uint8Array, value: Uint8Array) => void): void {
    for (const row of this.rows.values()) if (row.table === table) visit(row.key, row.value);
  }
}

test("ids match those of a real etcd", () => {
  const local = memberIdOf(["http://localhost:2380"], "etcd-cluster");
  assert.equal(idText(local), "8e9e05c52164694d");
  assert.equal(idText(clusterIdOf([local])), "cdf818194e3a8c32");
  assert.equal(idText(memberIdOf(["http://10.0.0.8:2379"], "")), "c9d6ea3d83245812");
  const other = memberIdOf(["http://127.0.0.1:23801"], "etcd-cluster");
  assert.equal(idText(other), "bdae9bbc11dd390d");
  assert.equal(idText(clusterIdOf([other])), "d1cfaf999eb97a2a");
});

test("the order of peer URLs and of members does not change an id", () => {
  assert.equal(memberIdOf(["b", "a"], "t"), memberIdOf(["a", "b"], "t"));
  assert.equal(clusterIdOf([2n, 1n]), clusterIdOf([1n, 2n]));
});

// covers: MV-08
test("a member's JSON keeps an id above 2^53 exactly and omits what is empty", () => {
  const member = { id: 2n ** 64n - 1n, peerUrls: ["http://a:1"], isLearner: false, name: "", clientUrls: [] };
  assert.equal(encodeMember(member), '{"id":18446744073709551615,"peerURLs":["http://a:1"]}');
  assert.deepEqual(decodeMember(encodeMember(member)), member);
  const full = { ...member, isLearner: true, name: "n", clientUrls: ["http://b:2"] };
  assert.deepEqual(decodeMember(encodeMember(full)), full);
});

test("what is not a member is refused by name", () => {
  for (const text of ["", "{", "[]", "null", '{"peerURLs":[]}', '{"id":"1"}', '{"id":1.5}']) {
    assert.throws(() => decodeMember(text), MalformedMember, text);
  }
});

// covers: AP-11
test("a membership loaded from its tables equals the one that was applied", () => {
  const tables = new FakeTables();
  const applied = new Membership(7n, tables);
  applied.add({ id: 5n, peerUrls: ["http://a:1"], isLearner: false, name: "", clientUrls: [] });
  applied.add({ id: 3n, peerUrls: ["http://b:1"], isLearner: false, name: "", clientUrls: [] });
  applied.setAttributes(5n, "five", ["http://c:1"]);
  applied.setAttributes(99n, "nobody", []);
  applied.setClusterVersion("3.7.0");
  const loaded = new Membership(7n, tables);
  loaded.load();
  assert.deepEqual(loaded.members(), applied.members());
  assert.deepEqual(
    loaded.members().map((each) => each.id),
    [3n, 5n],
  );
  assert.equal(loaded.member(5n)?.name, "five");
  assert.equal(loaded.clusterVersion, "3.7.0");
});
