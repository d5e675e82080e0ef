/** How many single-key reads a second, linearizable and serializable? 100,000 keys of 256 B, 10 connections x 100. */
import { closedLoop } from "./load/closed-loop.ts";
import { compare, type Measurement } from "./load/compare.ts";
import { preload } from "./load/preload.ts";
import { keyOf, PATHS, rangeRequest } from "./load/requests.ts";
import { MeasuredServer, type ServerKind } from "./load/servers.ts";

const KEYS = 100_000;

for (const isSerializable of [false, true]) {
  const name = `range one key, ${isSerializable ? "serializable" : "linearizable"}, 10 connections x 100`;
  await compare({ name, least: 3, aim: 6, better: "higher" }, (kind) => measure(kind, isSerializable));
}

async function measure(kind: ServerKind, isSerializable: boolean): Promise<Measurement> {
  const server = await MeasuredServer.start(kind);
  try {
    await preload(server.port, KEYS);
    let cpuAtStart = 0;
    let cpu = 0;
    const result = await closedLoop(
      {
        port: server.port,
        connections: 10,
        inFlight: 100,
        warmupMs: 1500,
        measureMs: 4000,
        next: () => ({
          path: PATHS.range,
          message: rangeRequest(keyOf(Math.floor(Math.random() * KEYS)), { isSerializable }),
        }),
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
