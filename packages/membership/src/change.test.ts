import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeChange, encodeChange, type MembershipChange, subjectOf, type WireChange } from "./change.ts";
import {
  decodeMember,
  decodeMembers,
  encodeMember,
  encodeMembers,
  MalformedMember,
  type Member,
} from "./member-json.ts";

const HUGE = 2n ** 64n - 1n;
const member: Member = { id: HUGE, peerUrls: ["http://a:1"], isLearner: false, name: "", clientUrls: [] };

// covers: MV-08
test("a member's JSON keeps an id above 2^53 exactly and omits what is empty", () => {
  assert.equal(encodeMember(member), '{"id":18446744073709551615,"peerURLs":["http://a:1"]}');
  assert.deepEqual(decodeMember(encodeMember(member)), member);
  const full = { ...member, isLearner: true, name: "n", clientUrls: ["http://b:2"] };
  assert.equal(
    encodeMember(full),
    '{"id":18446744073709551615,"peerURLs":["http://a:1"],"isLearner":true,"name":"n","clientURLs":["http://b:2"]}',
  );
  assert.deepEqual(decodeMember(encodeMember(full)), full);
});

test("strings are escaped as Go does", () => {
  const named = { ...member, name: 'a<b>&"\\\u2028\u0001é\ud800' };
  assert.equal(
    encodeMember(named),
    '{"id":18446744073709551615,"peerURLs":["http://a:1"],"name":"a\\u003cb\\u003e\\u0026\\"\\\\\\u2028\\u0001é\ufffd"}',
  );
  assert.equal(decodeMember(encodeMember(named)).name, 'a<b>&"\\\u2028\u0001é\ufffd');
});

test("what is not a member is refused by name", () => {
  const table = ["", "{", "[]", "null", "7", '{"peerURLs":[]}', '{"id":"1"}', '{"id":1.5}', '{"id":1e3}', '{"id":-1}'];
  for (const text of [...table, '{"id":18446744073709551616}', '{"id":{"id":1}}']) {
    assert.throws(() => decodeMember(text), MalformedMember, text);
  }
});

test("a list of members is a line of JSON with exact ids", () => {
  const other = { ...member, id: 1n, name: "one" };
  const text = encodeMembers([other, member]);
  assert.equal(
    text,
    '[{"id":1,"peerURLs":["http://a:1"],"name":"one"},{"id":18446744073709551615,"peerURLs":["http://a:1"]}]\n',
  );
  assert.deepEqual(decodeMembers(text), [other, member]);
  assert.deepEqual(decodeMembers("[]"), []);
  for (const bad of ["{}", "null", "[null]", "[{}]"]) assert.throws(() => decodeMembers(bad), MalformedMember, bad);
});

test("each change has etcd's form in the log", () => {
  const table: [MembershipChange, type: number, context: string][] = [
    [{ kind: "add", member }, 0, '{"id":18446744073709551615,"peerURLs":["http://a:1"]}'],
    [
      { kind: "add", member: { ...member, isLearner: true } },
      3,
      '{"id":18446744073709551615,"peerURLs":["http://a:1"],"isLearner":true}',
    ],
    [{ kind: "promote", id: HUGE }, 0, '{"id":18446744073709551615,"peerURLs":null,"isPromote":true}'],
    [{ kind: "remove", id: HUGE }, 1, ""],
    [
      { kind: "updatePeerUrls", id: HUGE, peerUrls: ["http://a:1", "http://b:1"] },
      2,
      '{"id":18446744073709551615,"peerURLs":["http://a:1","http://b:1"]}',
    ],
  ];
  for (const [change, type, context] of table) {
    const wire = encodeChange(change);
    assert.equal(wire.type, type);
    assert.equal(wire.nodeId, HUGE);
    assert.equal(Buffer.from(wire.context).toString(), context);
    assert.deepEqual(decodeChange(wire), change);
    assert.equal(subjectOf(change), HUGE);
  }
});

test("a context with isPromote false is an addition", () => {
  const context = Buffer.from('{"id":5,"peerURLs":["http://a:1"],"isPromote":false}');
  assert.deepEqual(decodeChange({ type: 0, nodeId: 5n, context }), { kind: "add", member: { ...member, id: 5n } });
});

test("a change whose parts contradict each other is malformed", () => {
  const wire = (type: WireChange["type"], nodeId: bigint, context: string): WireChange => ({
    type,
    nodeId,
    context: Buffer.from(context),
  });
  const table: [WireChange, RegExp][] = [
    [wire(0, 5n, '{"id":6,"peerURLs":[]}'), /change of member 5 describes member 6/],
    [wire(2, 5n, '{"id":6,"peerURLs":[]}'), /change of member 5 describes member 6/],
    [wire(0, 5n, ""), /not JSON/],
    [wire(3, 5n, '{"id":5,"peerURLs":[]}'), /disagree whether member 5 is a learner/],
    [wire(0, 5n, '{"id":5,"peerURLs":[],"isLearner":true}'), /disagree whether member 5 is a learner/],
  ];
  for (const [change, message] of table) {
    assert.throws(() => decodeChange(change), { kind: "MalformedMember", message });
  }
});
