import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  clusterVersionText,
  compareVersions,
  decideClusterVersion,
  isDowngradeDone,
  isOlderThanCluster,
  mayJoin,
  parseDowngradeTarget,
  parseVersion,
} from "./cluster-version.ts";

test("a version is major, minor, patch and what may follow", () => {
  assert.deepEqual(parseVersion("3.7.1"), { major: 3, minor: 7 });
  assert.deepEqual(parseVersion("3.10.0-alpha.0+git"), { major: 3, minor: 10 });
  for (const text of ["", "3", "3.7", "v3.7.0", "3.7.x", "3.7.0 ", "not_decided", "3.-7.0"]) {
    assert.equal(parseVersion(text), null, text);
  }
});

test("the cluster runs at the lowest version of its members, once all are known", () => {
  const table: [current: string | null, servers: (string | null)[], decided: string | null][] = [
    [null, ["3.7.1"], "3.7.0"],
    [null, ["3.7.1", "3.6.14", "3.7.0"], "3.6.0"],
    [null, ["3.7.1", null], "3.0.0"],
    [null, ["3.7.1", "newest"], "3.0.0"],
    [null, [], "3.0.0"],
    ["3.0.0", ["3.7.1", null], null],
    ["3.0.0", ["3.7.1", "3.10.0"], "3.7.0"],
    ["3.6.0", ["3.7.1", "3.10.2"], "3.7.0"],
    ["3.6.0", ["3.7.1", "3.6.9"], null],
    ["3.6.0", ["3.6.9"], null],
    ["3.7.0", ["3.7.0", "3.6.9"], null],
    ["3.7.0", ["4.0.0"], null],
  ];
  for (const [current, servers, decided] of table) {
    assert.equal(decideClusterVersion(current, servers, null), decided, `${current} ${servers.join()}`);
  }
});

test("a downgrade takes the cluster one minor version down, when every server is just above the target", () => {
  const table: [current: string, servers: (string | null)[], target: string, decided: string | null][] = [
    ["3.7.0", ["3.7.1", "3.7.0"], "3.6.0", "3.6.0"],
    ["3.7.0", ["3.7.1", null], "3.6.0", null],
    ["3.6.0", ["3.7.1", "3.6.14"], "3.6.0", null],
    ["3.7.0", ["3.7.1"], "3.5.0", null],
    ["3.7.0", ["3.8.0"], "3.6.0", null],
    ["3.7.0", ["3.7.1"], "2.6.0", null],
    ["3.7.0", ["3.7.1"], "sometime", null],
    // Nobody raises it again while the downgrade is under way.
    ["3.6.0", ["3.7.1", "3.7.1"], "3.6.0", null],
  ];
  for (const [current, servers, target, decided] of table) {
    assert.equal(decideClusterVersion(current, servers, target), decided, `${current} ${servers.join()} to ${target}`);
  }
});

test("a downgrade is done when every server is of the target's version", () => {
  assert.ok(isDowngradeDone("3.6.0", ["3.6.14", "3.6.0-rc.1"]));
  for (const servers of [["3.6.14", "3.7.1"], ["3.6.14", null], ["3.6.14", "newest"], ["3.5.9"]]) {
    assert.ok(!isDowngradeDone("3.6.0", servers), servers.join());
  }
});

test("a downgrade's target is given with or without its patch", () => {
  for (const text of ["3.6", "3.6.0", "3.6.14", "3.6.0-rc.1"]) {
    assert.deepEqual(parseDowngradeTarget(text), { major: 3, minor: 6 }, text);
  }
  for (const text of ["", "3", "v3.6", "3.6.", "3.6.x", "next"]) assert.equal(parseDowngradeTarget(text), null, text);
});

test("a cluster version is not lowered unless a downgrade is under way", () => {
  const version = fc.tuple(fc.integer({ min: 2, max: 4 }), fc.nat({ max: 12 })).map(([a, b]) => `${a}.${b}.0`);
  fc.assert(
    fc.property(version, fc.array(fc.option(version), { maxLength: 5 }), (current, servers) => {
      const decided = decideClusterVersion(current, servers, null);
      if (decided === null) return;
      assert.ok(compareVersions(parseVersion(decided)!, parseVersion(current)!) > 0);
      for (const server of servers) assert.ok(!isOlderThanCluster(server!, decided));
    }),
  );
});

test("a server older than its cluster is told so, whatever its patch", () => {
  assert.ok(isOlderThanCluster("3.6.14", "3.7.0"));
  assert.ok(!isOlderThanCluster("3.7.0-rc.1", "3.7.0"));
  assert.ok(!isOlderThanCluster("3.10.0", "3.9.0"));
  assert.equal(clusterVersionText({ major: 3, minor: 10 }), "3.10.0");
});

test("a member joins a cluster of its version or an older one, or the one that comes down to it", () => {
  const table: [clusterVersions: (string | null)[], downgrade: boolean, may: boolean][] = [
    [["3.7.0"], false, true],
    [["3.0.0", null], false, true],
    [["not_decided", "3.6.0"], false, true],
    [["not_decided"], false, false],
    [[null, null], false, false],
    [[], false, false],
    [["3.8.0"], false, false],
    [["3.7.0", "3.8.0"], false, false],
    [["2.3.0", "3.7.0"], false, false],
    [["3.8.0"], true, true],
    [["3.7.0"], true, false],
    [["3.9.0"], true, false],
  ];
  for (const [versions, downgrade, may] of table) {
    assert.equal(mayJoin("3.7.1", versions, downgrade), may, `${versions.join()} ${downgrade}`);
  }
});
