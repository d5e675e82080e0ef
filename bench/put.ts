/**
 * How many puts a second, and how long does one take? 256-byte values, random keys out of 100,000, durable, one member,
 * with many calls on few connections, with one call on each of many connections, with a single client, and over TLS.
 */
import { closedLoop } from "./load/closed-loop.ts";
import { compare, type Measurement } from "./load/compare.ts";
import { keyOf, noiseOf, PATHS, putRequest } from "./load/requests.ts";
import { MeasuredServer, type ServerKind } from "./load/servers.ts";

interface Shape {
  readonly name: string;
  readonly connections: number;
  readonly inFlight: number;
  readonly least: number;
  readonly aim: number;
  readonly isTls?: boolean;
}

const KEYS = 100_000;
const WARMUP_MS = 1500;
/** A single client makes few calls in a second, and compiled code is what is measured. */
const WARMUP_ONE_CLIENT_MS = 10_000;
const SHAPES: readonly Shape[] = [
  { name: "put 256 B, 10 connections x 100", connections: 10, inFlight: 100, least: 3, aim: 5 },
  { name: "put 256 B, 1000 connections x 1", connections: 1000, inFlight: 1, least: 1.5, aim: 2.5 },
  { name: "put 256 B, 1 client", connections: 1, inFlight: 1, least: 1.2, aim: 1.8 },
  { name: "put 256 B over TLS, 10 connections x 100", connections: 10, inFlight: 100, least: 2.5, aim: 5, isTls: true },
];

for (const shape of SHAPES) {
  await compare({ name: shape.name, least: shape.least, aim: shape.aim, better: "higher" }, (kind) =>
    measure(kind, shape),
  );
}

async function measure(kind: ServerKind, shape: Shape): Promise<Measurement> {
  const isOneClient = shape.connections === 1 && shape.inFlight === 1;
  const server = await MeasuredServer.start(kind, undefined, shape.isTls);
  try {
    let n = 0;
    let cpuAtStart = 0;
    let cpu = 0;
    const result = await closedLoop(
      {
        port: server.port,
        connections: shape.connections,
        inFlight: shape.inFlight,
        isTls: shape.isTls ?? false,
        warmupMs: isOneClient ? WARMUP_ONE_CLIENT_MS : WARMUP_MS,
        measureMs: 4000,
        next: () => {
          n++;
          return { path: PATHS.put, message: putRequest(keyOf(Math.floor(Math.random() * KEYS)), noiseOf(n, 256)) };
        },
      },
      () => (cpuAtStart = server.cpuSeconds()),
      () => (cpu = server.cpuSeconds() - cpuAtStart),
    );
    return {
      value: isOneClient ? 1000 / result.p50Ms : result.perSecond,
      unit: "/s",
      p50Ms: result.p50Ms,
      p99Ms: result.p99Ms,
      cpuMicrosPerCall: (cpu / result.calls) * 1e6,
    };
  } finally {
    await server.stop();
  }
}
