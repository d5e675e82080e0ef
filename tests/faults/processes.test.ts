/**
 * Members that die, stand still or leave, while clients go on. See ./verify.ts for what must hold after each.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PutRequest, PutResponse } from "@quorate/api/messages";
import { type Cluster, withCluster } from "../harness/cluster.ts";
import { sleep } from "../harness/processes.ts";
import { Load } from "./load.ts";
import { verify } from "./verify.ts";

/** Several of the election timeouts the harness sets. */
const LONGER_THAN_AN_ELECTION_MS = 2500;

describe("members that fail", { timeout: 300_000 }, () => {
  it("a leader killed under load is replaced and comes back", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const load = new Load(cluster);
      for (let round = 0; round < 3; round++) {
        await load.untilAnswered(200);
        const leader = await cluster.leader();
        await leader.end("SIGKILL");
        await load.untilAnswered(200);
        await leader.start();
        await cluster.untilHealthy();
      }
      await verify(cluster, load);
    }));

  it("a follower killed under load is hardly missed, and catches up", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const load = new Load(cluster);
      await load.untilAnswered(100);
      const { raftTerm } = await (await cluster.leader()).status();
      const follower = await cluster.follower();
      await follower.end("SIGKILL");
      // More than the log keeps: it comes back to a snapshot.
      await load.untilAnswered(1500);
      assert.equal((await (await cluster.leader()).status()).raftTerm, raftTerm, "no election for a follower's death");
      await follower.start();
      await follower.untilHealthy();
      await load.untilAnswered(100);
      await verify(cluster, load);
    }));

  // covers: RA-05, LI-05
  it("a leader that stands still for longer than an election tells nobody its old truth", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const load = new Load(cluster);
      for (let round = 0; round < 2; round++) {
        await load.untilAnswered(200);
        const leader = await cluster.leader();
        leader.pause();
        await sleep(LONGER_THAN_AN_ELECTION_MS);
        leader.resume();
        await load.untilAnswered(300);
      }
      await verify(cluster, load);
    }));

  it("a follower that stands still for longer than an election catches up", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const load = new Load(cluster);
      await load.untilAnswered(200);
      const follower = await cluster.follower();
      follower.pause();
      await sleep(LONGER_THAN_AN_ELECTION_MS);
      follower.resume();
      await load.untilAnswered(500);
      await verify(cluster, load);
    }));

  it("all members killed at once come back with everything they had acknowledged", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const load = new Load(cluster);
      for (let round = 0; round < 2; round++) {
        await load.untilAnswered(400);
        await Promise.all(cluster.members.map((member) => member.end("SIGKILL")));
        await Promise.all(cluster.members.map((member) => member.start()));
        await cluster.untilHealthy();
      }
      await load.untilAnswered(100);
      await verify(cluster, load);
    }));
});

describe("members that are told to stop", { timeout: 120_000 }, () => {
  it("a leader hands over first: the term rises by one and it is gone within 1.5 s", () =>
    // Elections by timeout would take longer than this one is given.
    withCluster({ size: 3, flags: ["--heartbeat-interval=100", "--election-timeout=5000"] }, async (cluster) => {
      for (let round = 0; round < 3; round++) {
        const leader = await cluster.leader();
        const { raftTerm } = await leader.status();
        const started = performance.now();
        assert.equal(await leader.end("SIGTERM"), ended);
        const goneMs = performance.now() - started;
        assert.ok(goneMs < 1500, `gone after ${goneMs} ms`);
        const next = await cluster.leader();
        await put(cluster, `after stop ${round}`);
        assert.ok(performance.now() - started < 4000, "the next leader did not wait for an election timeout");
        assert.equal((await next.status()).raftTerm, raftTerm + 1);
        await leader.start();
        await cluster.untilHealthy();
      }
    }));

  it("under load, stopping one after the other loses nothing", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const load = new Load(cluster);
      for (const member of cluster.members) {
        await load.untilAnswered(150);
        await member.end("SIGTERM");
        await load.untilAnswered(150);
        await member.start();
        await cluster.untilHealthy();
      }
      await verify(cluster, load);
    }));

  it("the last members of a cluster stop although nobody answers them", () =>
    withCluster({ size: 3 }, async (cluster) => {
      await put(cluster, "before");
      const [a, b, c] = [await cluster.leader(), ...cluster.members].filter((m, i, all) => all.indexOf(m) === i);
      await b!.end("SIGKILL");
      await c!.end("SIGKILL");
      const started = performance.now();
      assert.equal(await a!.end("SIGTERM"), ended);
      assert.ok(performance.now() - started < 10_000, "a leader that has lost its quorum");
      await Promise.all(cluster.members.map((member) => member.start()));
      await cluster.untilHealthy();
      const again = performance.now();
      await Promise.all(cluster.members.map((member) => member.end("SIGTERM")));
      assert.ok(performance.now() - again < 10_000, "all at once");
    }));
});

/** How a member ends that was sent SIGTERM: by that signal, like etcd, which raises it again once it has cleaned up. */
const ended = "SIGTERM";

async function put(cluster: Cluster, value: string): Promise<void> {
  const { calls } = await cluster.leader();
  const request = { key: Buffer.from("a"), value: Buffer.from(value) };
  const deadlineMs = performance.now() + 5000;
  await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, request, { deadlineMs });
}
