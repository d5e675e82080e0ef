/**
 * How long does a member need until it is where the leader is? Three members, and a follower that
 *
 *  - has lost its data and was removed and added anew, with BENCH_CLUSTER_KEYS (1,000,000) keys of 256 B in the cluster;
 *  - was away for BENCH_AWAY_SECONDS (60) while BENCH_PUTS_PER_SECOND (5,000) went on, and go on: the same number for both
 *    servers, because otherwise the faster one would have more to catch up with.
 *
 * From the start of its process until its revision is the leader's.
 */
import { sleep } from "./load/closed-loop.ts";
import { type ClusterMember, MeasuredCluster } from "./load/cluster.ts";
import { compare, type Measurement } from "./load/compare.ts";
import { OpenLoop } from "./load/open-loop.ts";
import { preload } from "./load/preload.ts";

const KEYS = Number(process.env.BENCH_CLUSTER_KEYS ?? 1_000_000);
const AWAY_SECONDS = Number(process.env.BENCH_AWAY_SECONDS ?? 60);
const PUTS_PER_SECOND = Number(process.env.BENCH_PUTS_PER_SECOND ?? 5000);
const ROUNDS = Number(process.env.BENCH_CATCH_UP_ROUNDS ?? 2);
const PATIENCE_MS = 600_000;

const added = `three members: one added anew, ${KEYS.toLocaleString("en-US")} keys, until it is there`;
await compare({ name: added, least: 1, aim: 2, better: "lower", rounds: ROUNDS }, async (kind) => {
  const cluster = await MeasuredCluster.start(kind);
  try {
    await preload((await cluster.leader()).port, KEYS);
    const member = await cluster.aFollower();
    await cluster.replace(member);
    return await catchUp(cluster, member);
  } finally {
    await cluster.stop();
  }
});

const away = `three members: one away for ${AWAY_SECONDS} s at ${PUTS_PER_SECOND.toLocaleString("en-US")} puts/s, until it is there`;
await compare({ name: away, least: 1, aim: 2, better: "lower", rounds: ROUNDS }, async (kind) => {
  const cluster = await MeasuredCluster.start(kind);
  const load = new OpenLoop([(await cluster.leader()).port], PUTS_PER_SECOND);
  try {
    await sleep(1000);
    const member = await cluster.aFollower();
    await member.end("SIGTERM");
    load.forget();
    await sleep(AWAY_SECONDS * 1000);
    // A server that cannot keep the rate up has less to catch up with, and the row would flatter it.
    const rate = load.acknowledged.length / AWAY_SECONDS;
    if (rate < 0.9 * PUTS_PER_SECOND)
      throw new Error(`${kind} took only ${Math.round(rate)} puts/s; set BENCH_PUTS_PER_SECOND`);
    return await catchUp(cluster, member);
  } finally {
    load.stop();
    await cluster.stop();
  }
});

async function catchUp(cluster: MeasuredCluster, member: ClusterMember): Promise<Measurement> {
  const leader = await cluster.leader();
  const startedMs = performance.now();
  cluster.spawn(member);
  while (performance.now() - startedMs < PATIENCE_MS) {
    const wanted = (await leader.status()).revision;
    const reached = (await member.status().catch(() => null))?.revision ?? 0;
    if (reached >= wanted) return { value: performance.now() - startedMs, unit: " ms" };
    await sleep(5);
  }
  throw new Error(`${cluster.kind} ${member.name} has not caught up within ${PATIENCE_MS / 1000} s`);
}
