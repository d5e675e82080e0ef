import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Found, Operation } from "./operation.ts";
import { checkAgainstEvents, checkRevisions, type RevisionVerdict } from "./revisions.ts";
import { makeHistory, seeded } from "./testing/random-history.ts";
import type { WatchEvent } from "./watch.ts";

function put(key: string, call: number, end: number, revision: number, value = `${key}${revision}`): Operation {
  return {
    client: 1,
    call,
    return: end,
    input: { kind: "put", key, value },
    output: { kind: "put", revision },
  };
}
function get(key: string, call: number, end: number, revision: number, found: Found | null = null): Operation {
  return { client: 2, call, return: end, input: { kind: "get", key }, output: { kind: "get", revision, found } };
}
function refused(verdict: RevisionVerdict, why: RegExp): void {
  assert.match(verdict.kind === "illegal" ? verdict.explanation : "ok", why);
}

describe("revisions over all keys", () => {
  const options = { operationCount: 5000, keyCount: 7, clientCount: 6, unknownShare: 0.05, valueCount: 0 };

  it("of a store that does everything right are accepted", () => {
    for (let seed = 1; seed <= 5; seed++) {
      const { operations, events } = makeHistory(options, seeded(seed));
      assert.deepEqual(checkRevisions(operations), { kind: "ok" });
      assert.deepEqual(checkAgainstEvents(operations, events), { kind: "ok" });
    }
  });

  it("may not be given twice", () => {
    refused(checkRevisions([put("a", 0, 1, 2), put("b", 0, 1, 2)]), /two writes at revision 2/);
  });

  it("may not go back in time on another key", () => {
    refused(checkRevisions([put("a", 0, 1, 5), put("b", 2, 3, 4)]), /goes back in time/);
    refused(checkRevisions([put("a", 0, 1, 5), get("b", 2, 3, 4)]), /goes back in time/);
    refused(checkRevisions([get("a", 0, 1, 5), put("b", 2, 3, 5)]), /goes back in time/);
    assert.equal(checkRevisions([put("a", 0, 2, 5), put("b", 2, 3, 4)]).kind, "ok", "these are concurrent");
    assert.equal(checkRevisions([put("a", 0, 1, 5), get("b", 2, 3, 5)]).kind, "ok");
  });

  it("of what is found are not above the read's own, and belong to what was written", () => {
    refused(checkRevisions([get("a", 0, 1, 4, { value: "x", modRevision: 5 })]), /its own future/);
    const write = put("a", 0, 1, 3, "x");
    refused(checkRevisions([write, get("a", 2, 3, 4, { value: "y", modRevision: 3 })]), /did not write/);
    refused(checkRevisions([write, get("b", 2, 3, 4, { value: "x", modRevision: 3 })]), /did not write/);
  });

  it("of acknowledged writes are in the store's own history, and nothing else is", () => {
    const events: WatchEvent[] = [
      { revision: 2, key: "a", value: "a2" },
      { revision: 4, key: "a", value: null },
    ];
    const lost: Operation = { client: 3, call: 1, return: null, input: { kind: "delete", key: "a" }, output: null };
    const written = put("a", 0, 1, 2);
    assert.deepEqual(checkAgainstEvents([written, lost, get("a", 5, 6, 4)], events), { kind: "ok" });
    refused(checkAgainstEvents([written], events), /nobody asked for a = null at 4/);
    refused(checkAgainstEvents([written, lost, put("a", 2, 3, 3)], events), /not in the store's history/);
    refused(checkAgainstEvents([put("a", 0, 1, 2, "x"), lost], events), /whose event says a2/);
    const stale = get("a", 5, 6, 5, { value: "a2", modRevision: 2 });
    refused(checkAgainstEvents([written, lost, stale], events), /what was absent at its revision/);
    refused(checkAgainstEvents([written, lost, get("a", 2, 3, 3)], events), /what was a2 \(mod 2\) at its revision/);
  });
});
