import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkWatchers, type WatchEvent, type WatchSession } from "./watch.ts";

/** Revision 6 changes two keys. */
const history: WatchEvent[] = [
  { revision: 2, key: "a", value: "1" },
  { revision: 3, key: "b", value: "1" },
  { revision: 5, key: "a", value: null },
  { revision: 6, key: "a", value: "2" },
  { revision: 6, key: "b", value: null },
  { revision: 8, key: "c", value: "1" },
];
const [e2, e3, e5, e6a, e6b, e8] = history as [WatchEvent, WatchEvent, WatchEvent, WatchEvent, WatchEvent, WatchEvent];

function session(startRevision: number, ...responses: WatchEvent[][]): WatchSession {
  return { startRevision, responses };
}

function wrong(sessions: WatchSession[], through?: number): string {
  const verdict = checkWatchers(history, [{ name: "w", sessions }], through);
  return verdict.kind === "ok" ? "ok" : verdict.explanation;
}

describe("what watchers saw", () => {
  it("may come in one session or several, in any number of responses", () => {
    assert.equal(wrong([session(1, [e2, e3, e5, e6a, e6b, e8])]), "ok");
    assert.equal(wrong([session(1, [e2], [e3]), session(4), session(4, [e5], [], [e6a, e6b]), session(7, [e8])]), "ok");
    assert.equal(wrong([session(5, [e5, e6a, e6b], [e8])]), "ok");
    assert.equal(wrong([session(9)]), "ok");
  });

  it("may end early only behind the revision all must have reached", () => {
    assert.equal(wrong([session(1, [e2, e3])], 4), "ok");
    assert.match(wrong([session(1, [e2, e3])], 5), /never saw the delete of a at 5/);
    assert.match(wrong([session(1, [e2, e3])]), /never saw/);
  });

  it("has no hole, whether within a session or where it reconnects", () => {
    assert.match(wrong([session(1, [e2, e5])]), /saw the delete of a at 5 too early, b = 1 at 3 was due/);
    assert.match(wrong([session(1, [e2]), session(4, [e5])]), /session 2, from 4: .* too early/);
  });

  it("has nothing twice, out of order, from before the start, or made up", () => {
    assert.match(wrong([session(1, [e2, e3], [e3])]), /saw b = 1 at 3 again/);
    assert.match(wrong([session(1, [e3, e2])]), /too early/);
    assert.match(wrong([session(1, [e2, e3]), session(4, [e3])]), /is before the start/);
    assert.match(wrong([session(1, [{ revision: 2, key: "a", value: "9" }])]), /which never happened/);
    assert.match(wrong([session(9, [e8])]), /before the start/);
  });

  it("has all events of one revision in one response", () => {
    assert.match(wrong([session(5, [e5, e6a], [e6b, e8])]), /ends within revision 6, before the delete of b at 6/);
    assert.match(wrong([session(5, [e5, e6a]), session(7, [e8])]), /ends within revision 6/);
  });

  it("is judged for each watcher, and the first that is wrong is named", () => {
    const good = { name: "good", sessions: [session(6, [e6a, e6b, e8])] };
    const bad = { name: "bad", sessions: [session(6, [e6b, e6a, e8])] };
    const verdict = checkWatchers(history, [good, bad]);
    assert.equal(verdict.kind === "illegal" && verdict.watcher, "bad");
  });
});
