/**
 * A member whose disk is full. It may stop or stand by, but it must not claim to have stored what it has not, nor hold up
 * the others; with room again it must come back. Skipped, loudly, where file systems cannot be mounted. See ./verify.ts.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { hasMounts, withCluster } from "../harness/cluster.ts";
import { Load } from "./load.ts";
import { verify } from "./verify.ts";

/** Room for two segments of the log and what is stored. */
const DISK_MEGABYTES = 300;

describe("a full disk", { timeout: 120_000, skip: !hasMounts() }, () => {
  for (const role of ["follower", "leader"] as const) {
    it(`of a ${role} stops nobody else, and it comes back when there is room`, () =>
      withCluster({ size: 3 }, async (cluster) => {
        const member = role === "leader" ? await cluster.leader() : await cluster.follower();
        await member.end("SIGTERM");
        member.limitDisk(DISK_MEGABYTES);
        await member.start();
        await cluster.untilHealthy();
        if (role === "leader") await cluster.lead(member);

        // Large values, so that the log needs new segments and the database more pages.
        const load = new Load(cluster, { valueBytes: 16_000 });
        await load.untilAnswered(100);
        member.fillDisk();
        await load.untilAnswered(1500, 60_000);
        if (member.isRunning) await member.end("SIGKILL");
        else assert.notEqual(await member.exited(), 0, "it has failed and says so");
        await load.untilAnswered(100);
        member.freeDisk();
        await member.start();
        await member.untilHealthy();
        await load.untilAnswered(100);
        await verify(cluster, load);
      }));
  }
});
