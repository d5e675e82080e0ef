/**
 * Networks that drop, delay and lose what members send each other, while clients reach all of them. Each member lives in a
 * Linux network namespace of its own (see ../harness/network.ts); skipped, loudly, where such cannot be made. See
 * ./verify.ts for what must hold after each.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Cluster, type ClusterMember, until, withCluster } from "../harness/cluster.ts";
import { hasDisturbance, hasNamespaces, NamespacedNetwork } from "../harness/network.ts";
import { sleep } from "../harness/processes.ts";
import { RelayedNetwork } from "../harness/relay.ts";
import { Load } from "./load.ts";
import { verify } from "./verify.ts";

const canPartition = hasNamespaces();
const canDisturb = canPartition && (await hasDisturbance());

/** Several of the election timeouts the harness sets. */
const LONGER_THAN_AN_ELECTION_MS = 3000;

interface Scene {
  readonly cluster: Cluster;
  readonly network: NamespacedNetwork;
  readonly load: Load;
  readonly leader: ClusterMember;
  readonly followers: readonly ClusterMember[];
}

/** Three members in namespaces, under load; verified when `test` is done and all cuts are undone. */
async function withScene(test: (scene: Scene) => Promise<void>): Promise<void> {
  const network = new NamespacedNetwork();
  await withCluster({ size: 3, network }, async (cluster) => {
    const load = new Load(cluster);
    await load.untilAnswered(200);
    const leader = await cluster.leader();
    const followers = cluster.members.filter((member) => member !== leader);
    await test({ cluster, network, load, leader, followers });
    network.heal();
    await load.untilAnswered(200);
    await verify(cluster, load);
  });
}

describe("partitions", { timeout: 300_000, skip: !canPartition }, () => {
  // covers: RA-12
  it("a leader alone on its side is replaced, and what it still says is not believed", () =>
    withScene(async ({ cluster, network, load, leader, followers }) => {
      for (const follower of followers) network.cutBothWays(leader.host, follower.host);
      const next = await cluster.leader(leader);
      assert.ok(followers.includes(next));
      await load.untilAnswered(200);
      await sleep(LONGER_THAN_AN_ELECTION_MS);
    }));

  // covers: RA-09
  it("a follower alone on its side disturbs nobody, not even when it comes back", () =>
    withScene(async ({ cluster, network, load, leader, followers }) => {
      const { raftTerm } = await leader.status();
      for (const other of [leader, followers[1]!]) network.cutBothWays(followers[0]!.host, other.host);
      await sleep(LONGER_THAN_AN_ELECTION_MS);
      await load.untilAnswered(200);
      network.heal();
      await cluster.untilHealthy();
      await load.untilAnswered(100);
      assert.equal(
        (await (await cluster.leader()).status()).raftTerm,
        raftTerm,
        "no election: it asks before it stands",
      );
    }));

  // covers: RA-11, RA-12
  it("a leader that is heard but hears nobody gives up", () =>
    withScene(async ({ cluster, network, load, leader, followers }) => {
      for (const follower of followers) network.cut(follower.host, leader.host);
      await until("another leads", async () => (await cluster.leader(leader)) !== leader);
      await load.untilAnswered(200);
      await sleep(LONGER_THAN_AN_ELECTION_MS);
    }));

  // covers: RA-11
  it("a leader that hears all but is heard by nobody is replaced", () =>
    withScene(async ({ cluster, network, load, leader, followers }) => {
      for (const follower of followers) network.cut(leader.host, follower.host);
      await until("another leads", async () => (await cluster.leader(leader)) !== leader);
      await load.untilAnswered(200);
      await sleep(LONGER_THAN_AN_ELECTION_MS);
    }));

  it("a leader and a follower that both reach the third but not each other leave the cluster at work", () =>
    withScene(async ({ network, load, leader, followers }) => {
      network.cutBothWays(leader.host, followers[0]!.host);
      await sleep(LONGER_THAN_AN_ELECTION_MS);
      await load.untilAnswered(300);
    }));

  it("a cluster in three pieces answers nobody, and works again once it is whole", () =>
    withScene(async ({ cluster, network, load }) => {
      for (const a of cluster.members) {
        for (const b of cluster.members) if (a !== b) network.cut(a.host, b.host);
      }
      // What was under way may still be answered.
      await sleep(1000);
      const before = load.acknowledged;
      await sleep(LONGER_THAN_AN_ELECTION_MS);
      assert.equal(load.acknowledged, before, "nothing is answered without a majority");
    }));

  // covers: MB-06
  it("a member removed while it is cut off stops when it hears of it", () =>
    withScene(async ({ cluster, network, load, leader, followers }) => {
      const [removed, other] = followers as [ClusterMember, ClusterMember];
      for (const member of [leader, other]) network.cutBothWays(removed.host, member.host);
      await cluster.remove(removed);
      await load.untilAnswered(200);
      assert.ok(removed.isRunning, "it cannot know");
      network.heal();
      await until(`${removed.name} stops by itself`, () => !removed.isRunning);
      await cluster.add();
    }));

  it("cuts that move about every half second lose nothing", () =>
    withScene(async ({ cluster, network, load }) => {
      for (let round = 0; round < 12; round++) {
        const a = cluster.members[round % 3]!;
        const b = cluster.members[(round + 1 + (round % 2)) % 3]!;
        if (round % 4 < 2) network.cut(a.host, b.host);
        else network.cutBothWays(a.host, b.host);
        await sleep(500);
        network.heal();
        if (round % 3 === 2) await load.untilAnswered(20);
      }
    }));
});

describe("slow and unreliable connections between peers", { timeout: 120_000 }, () => {
  it("delays, stalls and broken connections cost time, nothing else", () => {
    const network = new RelayedNetwork();
    return withCluster({ size: 3, network }, async (cluster) => {
      const load = new Load(cluster);
      await load.untilAnswered(100);
      network.weather = { delayMs: 10, jitterMs: 20, stallShare: 0, stallMs: 0 };
      await load.untilAnswered(200);
      network.weather = { delayMs: 1, jitterMs: 5, stallShare: 0.05, stallMs: 200 };
      await load.untilAnswered(200);
      for (let round = 0; round < 6; round++) {
        network.breakConnections();
        await sleep(300);
      }
      // As long as an election takes at least: leaders come and go.
      network.weather = { delayMs: 250, jitterMs: 300, stallShare: 0.05, stallMs: 500 };
      await sleep(LONGER_THAN_AN_ELECTION_MS);
      network.heal();
      await load.untilAnswered(200);
      await verify(cluster, load);
    });
  });
});

describe("slow and lossy networks", { timeout: 120_000, skip: !canDisturb }, () => {
  it("delays and lost packets cost time, nothing else", () =>
    withScene(async ({ network, load }) => {
      network.disturb({ delayMs: 20, jitterMs: 15, lossPercent: 0 });
      await load.untilAnswered(200);
      network.disturb({ delayMs: 5, jitterMs: 3, lossPercent: 10 });
      await load.untilAnswered(200);
      network.disturb({ delayMs: 1, jitterMs: 0, lossPercent: 40 });
      await sleep(LONGER_THAN_AN_ELECTION_MS);
    }));
});
