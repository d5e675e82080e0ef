/**
 * How long is nothing acknowledged when the leader goes? Three members, default timings, 200 puts a second at each of the
 * members that stay.
 *
 * Killed (SIGKILL): from the signal to the first answer to a put that was begun after it. Stopped (SIGTERM): the leader
 * may hand over before it goes, so what counts is the longest time without an answer from the signal to half a second
 * after its end. Every round is a new cluster, whose leader goes BENCH_FAILOVERS times (5); the member that went comes
 * back each time.
 */
import { sleep } from "./load/closed-loop.ts";
import { MeasuredCluster } from "./load/cluster.ts";
import { compare, median } from "./load/compare.ts";
import { OpenLoop } from "./load/open-loop.ts";
import type { ServerKind } from "./load/servers.ts";

const FAILOVERS = Number(process.env.BENCH_FAILOVERS ?? 5);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const PUTS_PER_SECOND = 200;
/** Long enough for every connection to stand and every member to hear from its leader. */
const SETTLE_MS = 1500;
const AFTERMATH_MS = 500;
const PATIENCE_MS = 30_000;

type Signal = "SIGKILL" | "SIGTERM";

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  const seen: Record<ServerKind, number[][]> = { etcd: [], quorate: [] };
  for (let round = 0; round < ROUNDS; round++) {
    for (const kind of ["etcd", "quorate"] as const) seen[kind].push(await measure(kind, signal));
  }
  const what =
    signal === "SIGKILL" ? "leader killed, until the next write" : "leader stopped, longest time without a write";
  const aim = signal === "SIGKILL" ? 4 : 1;
  await row(`three members: ${what}`, aim, seen, median);
  await row(`three members: ${what}, worst of ${FAILOVERS}`, aim, seen, (all) => Math.max(...all));
}

async function row(
  name: string,
  aim: number,
  seen: Record<ServerKind, number[][]>,
  value: (all: readonly number[]) => number,
): Promise<void> {
  const turn: Record<ServerKind, number> = { etcd: 0, quorate: 0 };
  await compare({ name, least: 1, aim, better: "lower", rounds: ROUNDS }, async (kind) => ({
    value: value(seen[kind][turn[kind]++]!),
    unit: " ms",
  }));
}

/** Milliseconds of each failover. */
async function measure(kind: ServerKind, signal: Signal): Promise<number[]> {
  const cluster = await MeasuredCluster.start(kind);
  try {
    const times: number[] = [];
    for (let i = 0; i < FAILOVERS; i++) times.push(await failover(cluster, signal));
    return times;
  } finally {
    await cluster.stop();
  }
}

async function failover(cluster: MeasuredCluster, signal: Signal): Promise<number> {
  const leader = await cluster.leader();
  const staying = cluster.members.filter((member) => member !== leader);
  const load = new OpenLoop(
    staying.map((member) => member.port),
    PUTS_PER_SECOND * staying.length,
  );
  try {
    await sleep(SETTLE_MS);
    if (load.acknowledged.length === 0) throw new Error(`${cluster.kind} acknowledges nothing`);
    load.forget();
    const signalledMs = performance.now();
    const ended = leader.end(signal);
    const tookMs =
      signal === "SIGKILL" ? await untilWritten(load, signalledMs) : await longestGap(load, signalledMs, ended);
    await ended;
    cluster.spawn(leader);
    await cluster.untilReady(leader);
    return tookMs;
  } finally {
    load.stop();
  }
}

async function untilWritten(load: OpenLoop, signalledMs: number): Promise<number> {
  for (;;) {
    const first = load.acknowledged.find(({ begunMs }) => begunMs > signalledMs);
    if (first !== undefined) return first.atMs - signalledMs;
    if (performance.now() - signalledMs > PATIENCE_MS) throw new Error("nothing was acknowledged any more");
    await sleep(5);
  }
}

async function longestGap(load: OpenLoop, signalledMs: number, ended: Promise<void>): Promise<number> {
  await ended;
  await sleep(AFTERMATH_MS);
  const endedMs = performance.now();
  // Until somebody leads again there may be no answer at all.
  await untilWritten(load, endedMs);
  let lastMs = signalledMs;
  let longestMs = 0;
  for (const { atMs } of load.acknowledged) {
    longestMs = Math.max(longestMs, atMs - lastMs);
    lastMs = atMs;
  }
  return longestMs;
}
