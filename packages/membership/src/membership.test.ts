import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { MembershipChange } from "./change.ts";
import { MalformedDowngrade } from "./downgrade-json.ts";
import { addedMemberIdOf, clusterIdOf, idText, memberIdOf } from "./identity.ts";
import type { Member } from "./member-json.ts";
import { type ChangeRefusal, Membership } from "./membership.ts";
import { FakeTables } from "./testing/fake-tables.ts";

const voter = (id: bigint, ...peerUrls: string[]): Member => ({
  id,
  peerUrls: peerUrls.length === 0 ? [`http://m${id}:1`] : peerUrls,
  isLearner: false,
  name: "",
  clientUrls: [],
});
const learner = (id: bigint, ...peerUrls: string[]): Member => ({ ...voter(id, ...peerUrls), isLearner: true });

test("a downgrade is stored in etcd's form, survives a load, and ends", () => {
  const tables = new FakeTables();
  const membership = new Membership(7n, tables);
  assert.equal(membership.downgradeTarget, null);
  membership.setDowngradeTarget("3.6.0");
  assert.equal(tables.texts["cluster/downgrade"], '{"target-version":"3.6.0","enabled":true}');
  const restarted = new Membership(7n, tables);
  restarted.load();
  assert.equal(restarted.downgradeTarget, "3.6.0");
  restarted.setDowngradeTarget(null);
  assert.equal(tables.texts["cluster/downgrade"], '{"target-version":"","enabled":false}');
  membership.load();
  assert.equal(membership.downgradeTarget, null);
});

test("what is stored as a downgrade and is none is refused", () => {
  for (const text of [
    "",
    "{}",
    "null",
    "3.6.0",
    '{"target-version":3.6,"enabled":true}',
    '{"target-version":"3.6.0"}',
  ]) {
    const tables = new FakeTables();
    tables.put("cluster", Buffer.from("downgrade"), Buffer.from(text));
    assert.throws(() => new Membership(7n, tables).load(), MalformedDowngrade, text);
  }
});

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

test("a member added at run time has an id of its URLs and the second", () => {
  const urls = ["http://10.0.0.8:2379", "http://10.0.0.1:2379"];
  // SHA-1 of "http://10.0.0.1:2379http://10.0.0.8:23791700000000".
  assert.equal(idText(addedMemberIdOf(urls, 1_700_000_000.9)), "f5638052622b9e50");
  assert.notEqual(addedMemberIdOf(urls, 1_700_000_000), addedMemberIdOf(urls, 1_700_000_001));
});

/** Voters 1 and 2, learner 3; 9 was removed. */
function populated(): { membership: Membership; tables: FakeTables } {
  const tables = new FakeTables();
  const membership = new Membership(7n, tables);
  for (const member of [voter(1n), voter(2n, "http://m2:1", "http://m2:2"), learner(3n), voter(9n)]) {
    membership.add(member);
  }
  membership.remove(9n);
  return { membership, tables };
}

// covers: MB-02, MB-06, MB-17
test("a change is refused when it is applied, by the same rules on every member", () => {
  const { membership } = populated();
  const table: [MembershipChange, ChangeRefusal | null, maxLearners?: number][] = [
    [{ kind: "add", member: voter(4n) }, null],
    [{ kind: "add", member: voter(1n, "http://new:1") }, "MemberExists"],
    [{ kind: "add", member: voter(3n, "http://new:1") }, "MemberExists"],
    [{ kind: "add", member: voter(4n, "http://new:1", "http://m2:2") }, "PeerUrlExists"],
    [{ kind: "add", member: learner(4n) }, "TooManyLearners"],
    [{ kind: "add", member: learner(4n) }, null, 2],
    [{ kind: "add", member: learner(4n, "http://m1:1") }, "PeerUrlExists"],
    [{ kind: "add", member: voter(9n) }, "MemberNotFound"],
    [{ kind: "promote", id: 3n }, null],
    [{ kind: "promote", id: 1n }, "MemberNotLearner"],
    [{ kind: "promote", id: 5n }, "MemberNotFound"],
    [{ kind: "promote", id: 9n }, "MemberNotFound"],
    [{ kind: "remove", id: 3n }, null],
    [{ kind: "remove", id: 1n }, null],
    [{ kind: "remove", id: 5n }, "MemberNotFound"],
    [{ kind: "remove", id: 9n }, "MemberNotFound"],
    [{ kind: "updatePeerUrls", id: 2n, peerUrls: ["http://m2:2"] }, null],
    [{ kind: "updatePeerUrls", id: 2n, peerUrls: ["http://m2:2", "http://m3:1"] }, "PeerUrlExists"],
    [{ kind: "updatePeerUrls", id: 5n, peerUrls: ["http://new:1"] }, "MemberNotFound"],
    [{ kind: "updatePeerUrls", id: 9n, peerUrls: ["http://new:1"] }, "MemberNotFound"],
  ];
  for (const [change, refusal, maxLearners] of table) {
    assert.equal(
      membership.validate(change, maxLearners ?? 1),
      refusal,
      JSON.stringify(change, (_, v) => String(v)),
    );
  }
});

test("each change has its effect on the tables, and no other", () => {
  const { membership, tables } = populated();
  const before = tables.texts;
  assert.deepEqual(before, {
    "members/1": '{"id":1,"peerURLs":["http://m1:1"]}',
    "members/2": '{"id":2,"peerURLs":["http://m2:1","http://m2:2"]}',
    "members/3": '{"id":3,"peerURLs":["http://m3:1"],"isLearner":true}',
    "members_removed/9": "removed",
  });
  membership.apply({ kind: "promote", id: 3n });
  assert.deepEqual(tables.texts, { ...before, "members/3": '{"id":3,"peerURLs":["http://m3:1"]}' });
  membership.apply({ kind: "remove", id: 3n });
  membership.apply({ kind: "add", member: learner(0xabcn) });
  assert.deepEqual(tables.texts, {
    "members/1": before["members/1"],
    "members/2": before["members/2"],
    "members/abc": '{"id":2748,"peerURLs":["http://m2748:1"],"isLearner":true}',
    "members_removed/3": "removed",
    "members_removed/9": "removed",
  });
  assert.deepEqual(membership.removedIds(), [3n, 9n]);
  assert.ok(membership.isRemoved(3n));
  assert.ok(!membership.isRemoved(1n));
});

// covers: MB-13
test("new peer URLs leave a learner a learner, with its name and client URLs", () => {
  const { membership } = populated();
  membership.setAttributes(3n, "three", ["http://c:1"]);
  membership.apply({ kind: "updatePeerUrls", id: 3n, peerUrls: ["http://moved:1"] });
  assert.deepEqual(membership.member(3n), {
    id: 3n,
    peerUrls: ["http://moved:1"],
    isLearner: true,
    name: "three",
    clientUrls: ["http://c:1"],
  });
});

test("a promotion changes nothing but the vote", () => {
  const { membership } = populated();
  membership.setAttributes(3n, "three", ["http://c:1"]);
  membership.apply({ kind: "promote", id: 3n });
  assert.deepEqual(membership.member(3n), { ...voter(3n), name: "three", clientUrls: ["http://c:1"] });
  assert.deepEqual(
    membership.voters().map((each) => each.id),
    [1n, 2n, 3n],
  );
  assert.deepEqual(membership.learners(), []);
});

test("a member that was never there, or no more, has no attributes to set", () => {
  const { membership, tables } = populated();
  const before = tables.texts;
  membership.setAttributes(9n, "removed", []);
  membership.setAttributes(99n, "nobody", []);
  assert.deepEqual(tables.texts, before);
});

// covers: AP-11
test("loading forgets what the tables do not hold any more", () => {
  const { membership, tables } = populated();
  membership.setClusterVersion("3.7.0");
  tables.rows.clear();
  new Membership(7n, tables).add(voter(5n));
  membership.load();
  assert.deepEqual(membership.members(), [voter(5n)]);
  assert.deepEqual(membership.removedIds(), []);
  assert.equal(membership.clusterVersion, null);
});

// covers: AP-11, MB-06, MB-10
test("after any changes memory is what a fresh load reads, and the invariants hold", () => {
  const id = fc.bigInt({ min: 1n, max: 6n });
  const peerUrls = fc.uniqueArray(fc.constantFrom("a", "b", "c", "d", "e", "f", "g"), { minLength: 1, maxLength: 2 });
  const change: fc.Arbitrary<MembershipChange> = fc.oneof(
    fc
      .tuple(id, peerUrls, fc.boolean())
      .map(([id, urls, isLearner]) => ({ kind: "add" as const, member: { ...voter(id, ...urls), isLearner } })),
    fc.record({ kind: fc.constantFrom("promote" as const, "remove" as const), id }),
    fc.record({ kind: fc.constant("updatePeerUrls" as const), id, peerUrls }),
  );
  const announcement = fc.record({ kind: fc.constant("announce" as const), id, name: fc.string() });
  fc.assert(
    fc.property(fc.array(fc.oneof({ weight: 4, arbitrary: change }, announcement), { maxLength: 40 }), (steps) => {
      const tables = new FakeTables();
      const membership = new Membership(7n, tables);
      const removed = new Set<bigint>();
      for (const step of steps) {
        if (step.kind === "announce") {
          membership.setAttributes(step.id, step.name, [`http://${step.name}`]);
        } else if (membership.validate(step, 2) === null) {
          membership.apply(step);
          if (step.kind === "remove") removed.add(step.id);
        }
        const members = membership.members();
        const urls = members.flatMap((each) => each.peerUrls);
        assert.equal(new Set(urls).size, urls.length, "no URL belongs to two members");
        assert.ok(membership.learners().length <= 2);
        assert.equal(membership.voters().length + membership.learners().length, members.length);
        assert.ok(members.every((each) => !removed.has(each.id)));
        assert.deepEqual(new Set(membership.removedIds()), removed);
        const fresh = new Membership(7n, tables);
        fresh.load();
        assert.deepEqual(fresh.members(), members);
        assert.deepEqual(fresh.removedIds(), membership.removedIds());
      }
    }),
    { numRuns: 200 },
  );
});

test("the last voter cannot be removed, because raft has no configuration without voters", () => {
  const membership = new Membership(7n, new FakeTables());
  const member = { id: 1n, peerUrls: ["http://a:1"], isLearner: false, name: "", clientUrls: [] };
  membership.add(member);
  membership.add({ ...member, id: 2n, peerUrls: ["http://b:1"], isLearner: true });
  assert.equal(membership.validate({ kind: "remove", id: 1n }, 1), "NotEnoughStartedMembers");
  assert.equal(membership.validate({ kind: "remove", id: 2n }, 1), null);
});
