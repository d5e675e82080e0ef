/**
 * How many transactions a second? One compare; half of them succeed and put 256 B, the other half fail and read.
 * 10 connections x 100, random keys out of 100,000.
 */
import { closedLoop } from "./load/closed-loop.ts";
import { compare, type Measurement } from "./load/compare.ts";
import { preload } from "./load/preload.ts";
import { keyOf, noiseOf, PATHS, txnRequest } from "./load/requests.ts";
import { MeasuredServer, type ServerKind } from "./load/servers.ts";

const KEYS = 100_000;
/** Every key's mod revision is above the first and below the second. */
const ALWAYS_ABOVE = 0;
const NEVER_ABOVE = 2 ** 40;

await compare({ name: "txn mixed, 10 connections x 100", least: 3, aim: 5, better: "higher" }, measure);

async function measure(kind: ServerKind): Promise<Measurement> {
  const server = await MeasuredServer.start(kind);
  try {
    await preload(server.port, KEYS);
    let n = 0;
    let cpuAtStart = 0;
    let cpu = 0;
    const result = await closedLoop(
      {
        port: server.port,
        connections: 10,
        inFlight: 100,
        warmupMs: 1500,
        measureMs: 4000,
        next: () => {
          n++;
          const key = keyOf(Math.floor(Math.random() * KEYS));
          return {
            path: PATHS.txn,
            message: txnRequest(key, noiseOf(n, 256), n % 2 === 0 ? ALWAYS_ABOVE : NEVER_ABOVE),
          };
        },
      },
      () => {
        cpuAtStart = server.cpuSeconds();
      },
      () => {
        cpu = server.cpuSeconds() - cpuAtStart;
      },
    );
    return {
      value: result.perSecond,
      unit: "/s",
      p50Ms: result.p50Ms,
      p99Ms: result.p99Ms,
      cpuMicrosPerCall: (cpu / result.calls) * 1e6,
    };
  } finally {
    await server.stop();
  }
}
