/**
 * Members that come and go for good while clients go on. See ./verify.ts for what must hold after each.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { until, withCluster } from "../harness/cluster.ts";
import { Load } from "./load.ts";
import { verify } from "./verify.ts";

describe("membership under load", { timeout: 300_000 }, () => {
  //
  it("a member that lost its disk is removed and added again, and gets everything", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const load = new Load(cluster);
      await load.untilAnswered(500);
      const lost = await cluster.follower();
      const before = await lost.id();
      await lost.end("SIGKILL");
      await cluster.remove(lost);
      await cluster.addAgain(lost);
      await lost.untilHealthy();
      assert.notEqual(await lost.id(), before);
      await load.untilAnswered(200);
      await verify(cluster, load);
    }));

  it("learners are added, promoted and removed again, over and over", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const load = new Load(cluster);
      for (let round = 0; round < 3; round++) {
        await load.untilAnswered(200);
        const added = await cluster.add({ isLearner: true });
        await cluster.promote(added);
        await added.untilHealthy();
        await load.untilAnswered(200);
        // The newest one time, a founder the next: the cluster is renewed while it works.
        const leaver = round === 1 ? cluster.members[0]! : added;
        await cluster.remove(leaver);
        await until(`${leaver.name}, which was removed, stops by itself`, () => !leaver.isRunning);
        await cluster.untilHealthy();
      }
      await load.untilAnswered(100);
      await verify(cluster, load);
    }));

  // covers: MB-06
  it("a member that was removed while it was down ends by itself whenever it is started again", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const removed = await cluster.follower();
      await removed.id();
      await removed.end("SIGKILL");
      await cluster.remove(removed);
      for (let start = 0; start < 2; start++) {
        await removed.start();
        await until("the member that was removed stops by itself", () => !removed.isRunning);
      }
    }));

  // covers: MB-05
  it("a leader that is removed goes, and the others go on", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const load = new Load(cluster);
      await load.untilAnswered(200);
      const leader = await cluster.leader();
      await cluster.remove(leader);
      await until("the removed leader stops by itself", () => !leader.isRunning);
      await load.untilAnswered(200);
      await cluster.add();
      await load.untilAnswered(200);
      await verify(cluster, load);
    }));
});
