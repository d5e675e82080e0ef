import assert from "node:assert/strict";
import { test } from "node:test";
import { RaftOp } from "@quorate/api";
import { ClusterVersionSetRequest, DowngradeInfoSetRequest } from "@quorate/api/messages";
import { Membership } from "@quorate/membership";
import { silentLog } from "@quorate/world";
import { VersionMonitor } from "./version-monitor.ts";

/** A leader of this version in a cluster at 3.6.0 that goes down to it, with one other member. */
function monitorOf(serverVersion: string, other: string | null): { monitor: VersionMonitor; proposed: string[] } {
  const membership = new Membership(7n, { put: () => {}, scan: () => {} });
  for (const id of [1n, 2n]) {
    membership.add({ id, name: "", peerUrls: [`http://m${id}:1`], clientUrls: [], isLearner: false });
  }
  membership.setClusterVersion("3.6.0");
  membership.setDowngradeTarget("3.6.0");
  const proposed: string[] = [];
  const monitor = new VersionMonitor(
    { memberId: 1n, serverVersion, askVersions: (_members, done) => done([other]), log: silentLog },
    {
      membership: () => membership,
      isLeader: () => true,
      propose: (op, bytes) => {
        if (op === RaftOp.DowngradeInfoSet) {
          const { enabled } = DowngradeInfoSetRequest.decode(bytes);
          proposed.push(`downgrade ${enabled}`);
          membership.setDowngradeTarget(null);
        } else proposed.push(ClusterVersionSetRequest.decode(bytes).ver);
      },
    },
  );
  return { monitor, proposed };
}

test("a downgrade ends by itself when every member runs the target's version, and the cluster stays there", () => {
  const { monitor, proposed } = monitorOf("3.6.14", "3.6.2");
  for (let i = 0; i < 2; i++) {
    monitor.checkDowngrade();
    monitor.check();
  }
  assert.deepEqual(proposed, ["downgrade false"]);
});

test("it goes on while a member runs another version, or does not say which", () => {
  for (const other of ["3.7.1", "3.5.9", "newest", null]) {
    const { monitor, proposed } = monitorOf("3.6.14", other);
    monitor.checkDowngrade();
    monitor.check();
    assert.deepEqual(proposed, [], String(other));
  }
});
