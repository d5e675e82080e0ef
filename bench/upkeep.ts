/**
 * How long does the unluckiest put wait while the store is compacted, and while its database is defragmented? 10
 * connections x 10, 150,000 keys of two revisions each, half of which the compaction removes.
 */
import { callOnce } from "./load/call-once.ts";
import { closedLoop, sleep } from "./load/closed-loop.ts";
import { compare, type Measurement } from "./load/compare.ts";
import { preload } from "./load/preload.ts";
import { compactRequest, keyOf, noiseOf, PATHS, putRequest } from "./load/requests.ts";
import { MeasuredServer, type ServerKind } from "./load/servers.ts";

const KEYS = 150_000;
const NOTHING = Buffer.alloc(0);
const measured: Record<ServerKind, { compact: Measurement; defragment: Measurement }[]> = { etcd: [], quorate: [] };
const rounds = 3;

for (let round = 0; round < rounds; round++) {
  for (const kind of ["etcd", "quorate"] as const) measured[kind].push(await measure(kind));
}
for (const work of ["compact", "defragment"] as const) {
  const turn: Record<ServerKind, number> = { etcd: 0, quorate: 0 };
  const name = `longest put during a ${work === "compact" ? "compaction" : "defragmentation"}`;
  await compare({ name, least: 1, aim: 10, better: "lower", rounds }, async (kind) => {
    return measured[kind][turn[kind]++]![work];
  });
}

async function measure(kind: ServerKind): Promise<{ compact: Measurement; defragment: Measurement }> {
  const server = await MeasuredServer.start(kind);
  try {
    await preload(server.port, KEYS);
    await preload(server.port, KEYS);
    const compact = await during(server, PATHS.compact, compactRequest(2 * KEYS));
    const defragment = await during(server, PATHS.defragment, NOTHING);
    return { compact, defragment };
  } finally {
    await server.stop();
  }
}

/** Puts while one call of another kind is carried out, and at least two seconds. */
async function during(server: MeasuredServer, path: string, message: Buffer): Promise<Measurement> {
  let n = 0;
  const result = await closedLoop({
    port: server.port,
    connections: 10,
    inFlight: 10,
    warmupMs: 1000,
    measureMs: 2000,
    meanwhile: async () => {
      await callOnce(server.port, path, message);
      // Puts that waited for the end of it are answered after it.
      await sleep(500);
    },
    next: () => {
      n++;
      return { path: PATHS.put, message: putRequest(keyOf((n * 7919) % KEYS), noiseOf(n, 256)) };
    },
  });
  return { value: result.longestMs, unit: " ms", p50Ms: result.p50Ms, p99Ms: result.p99Ms };
}
