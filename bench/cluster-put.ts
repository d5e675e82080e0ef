/**
 * How many puts a second do three members take, and how long does one take? 256-byte values, random keys out of 100,000,
 * durable on a quorum, default timings; at the leader, and dealt out over all members, who pass them on. All members, and
 * the generator, share this machine's cores.
 */
import { closedLoop } from "./load/closed-loop.ts";
import { MeasuredCluster } from "./load/cluster.ts";
import { compare, type Measurement } from "./load/compare.ts";
import { keyOf, noiseOf, PATHS, putRequest } from "./load/requests.ts";
import type { ServerKind } from "./load/servers.ts";

interface Shape {
  readonly name: string;
  readonly connections: number;
  readonly inFlight: number;
  readonly isSpread: boolean;
  readonly least: number;
  readonly aim: number;
}

const KEYS = 100_000;
const HEAT_MS = 4000;
const WARMUP_MS = 1500;
/** What was compiled for batches is compiled anew for single calls, of which there are few in a second. */
const WARMUP_ONE_CLIENT_MS = 10_000;
const MEASURE_MS = Number(process.env.BENCH_MEASURE_MS ?? 4000);
const SHAPES: readonly Shape[] = [
  { name: "put 256 B, 1 client", connections: 1, inFlight: 1, isSpread: false, least: 1.5, aim: 2.5 },
  { name: "put 256 B, 10 connections x 100", connections: 10, inFlight: 100, isSpread: false, least: 3, aim: 6 },
  {
    name: "put 256 B, 10 connections x 100 over all members",
    connections: 10,
    inFlight: 100,
    isSpread: true,
    least: 3,
    aim: 6,
  },
];

for (const shape of SHAPES) {
  const { least, aim } = shape;
  await compare({ name: `three members: ${shape.name}`, least, aim, better: "higher" }, (kind) => measure(kind, shape));
}

async function measure(kind: ServerKind, shape: Shape): Promise<Measurement> {
  const isOneClient = shape.connections === 1 && shape.inFlight === 1;
  const cluster = await MeasuredCluster.start(kind);
  try {
    const port = shape.isSpread ? cluster.members.map((member) => member.port) : (await cluster.leader()).port;
    // A server that has run for a while: compiled code is what is measured, of both.
    await closedLoop(
      { port, connections: 10, inFlight: 50, warmupMs: 0, measureMs: HEAT_MS, next: randomPut },
      () => {},
      () => {},
    );
    let cpuAtStart = 0;
    let cpu = 0;
    const result = await closedLoop(
      {
        port,
        connections: shape.connections,
        inFlight: shape.inFlight,
        warmupMs: isOneClient ? WARMUP_ONE_CLIENT_MS : WARMUP_MS,
        measureMs: MEASURE_MS,
        next: randomPut,
      },
      () => (cpuAtStart = cluster.cpuSeconds()),
      () => (cpu = cluster.cpuSeconds() - cpuAtStart),
    );
    return {
      value: isOneClient ? 1000 / result.p50Ms : result.perSecond,
      unit: "/s",
      p50Ms: result.p50Ms,
      p99Ms: result.p99Ms,
      // Of all members together.
      cpuMicrosPerCall: (cpu / result.calls) * 1e6,
    };
  } finally {
    await cluster.stop();
  }
}

function randomPut(): { path: string; message: Buffer } {
  const key = Math.floor(Math.random() * KEYS);
  return { path: PATHS.put, message: putRequest(keyOf(key), noiseOf(key, 256)) };
}
