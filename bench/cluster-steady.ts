/**
 * Does the leader stay the leader under full load? Three members, default timings, 10 connections x 100 puts in flight at
 * the leader for BENCH_STEADY_MINUTES (10), one server after the other: only a long time without a break shows a missed
 * heartbeat. The value is minutes per term, so that no election at all is a number too; each election beyond the first is
 * seconds without a write.
 */
import { callOnce } from "./load/call-once.ts";
import { closedLoop, sleep } from "./load/closed-loop.ts";
import { type ClusterMember, MeasuredCluster } from "./load/cluster.ts";
import { compare, type Measurement } from "./load/compare.ts";
import { compactRequest, keyOf, noiseOf, PATHS, putRequest } from "./load/requests.ts";
import type { ServerKind } from "./load/servers.ts";

const KEYS = 100_000;
const COMPACT_EVERY_MS = 10_000;
const MINUTES = Number(process.env.BENCH_STEADY_MINUTES ?? 10);

const name = `three members: minutes per term, full load for ${MINUTES} min`;
await compare({ name, least: 1, aim: 1, better: "higher", rounds: 1 }, measure);

async function measure(kind: ServerKind): Promise<Measurement> {
  const cluster = await MeasuredCluster.start(kind);
  try {
    const leader = await cluster.leader();
    const { raftTerm: termBefore } = await leader.status();
    let n = 0;
    const endMs = performance.now() + MINUTES * 60_000;
    const result = await closedLoop({
      port: leader.port,
      connections: 10,
      inFlight: 100,
      warmupMs: 0,
      measureMs: MINUTES * 60_000,
      // An election fails what was under way: that is the answer sought, not a mistake.
      toleratesFailures: true,
      meanwhile: () => compactUntil(leader, endMs),
      next: () => {
        n++;
        return { path: PATHS.put, message: putRequest(keyOf(Math.floor(Math.random() * KEYS)), noiseOf(n, 256)) };
      },
    });
    const { raftTerm: termAfter } = await leader.status();
    const elections = termAfter - termBefore;
    console.log(
      `${kind}: ${elections} elections, ${result.failures} failed puts, ` +
        `${Math.round(result.perSecond)} puts/s, longest ${Math.round(result.longestMs)} ms`,
    );
    return {
      value: MINUTES / (1 + elections),
      unit: " min",
      p50Ms: result.p50Ms,
      p99Ms: result.p99Ms,
      elections,
      failures: result.failures,
      perSecond: result.perSecond,
    };
  } finally {
    await cluster.stop();
  }
}

/** As a cluster in use is: otherwise it would be a measurement of how soon the quota is reached. */
async function compactUntil(leader: ClusterMember, endMs: number): Promise<void> {
  for (;;) {
    const leftMs = endMs - performance.now();
    await sleep(Math.max(0, Math.min(COMPACT_EVERY_MS, leftMs)));
    if (leftMs <= COMPACT_EVERY_MS) return;
    const { revision } = await leader.status();
    // An election may come in between; the next one will do.
    await callOnce(leader.port, PATHS.compact, compactRequest(revision)).catch(() => {});
  }
}
