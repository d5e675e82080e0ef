/**
 * What does `etcdctl snapshot save` of a million keys of 256 B cost the member: how long it takes, how much memory it grows
 * by, and how long puts wait meanwhile, against the same puts in quiet? 10 connections x 10. BENCH_SNAPSHOT_KEYS: fewer keys.
 */
import { closedLoop, sleep } from "./load/closed-loop.ts";
import { rowsOf } from "./load/compare.ts";
import { LoadConnection } from "./load/h2-connection.ts";
import { preload } from "./load/preload.ts";
import { keyOf, noiseOf, PATHS, putRequest } from "./load/requests.ts";
import { MeasuredServer, type ServerKind } from "./load/servers.ts";

const KEYS = Number(process.env.BENCH_SNAPSHOT_KEYS ?? 1_000_000);
/** What loading leaves to be tidied up. */
const SETTLE_MS = 12_000;
const QUIET_MS = 4000;
const SAMPLE_MS = 20;
const MEGABYTE = 1e6;

interface Seen {
  readonly seconds: number;
  readonly grownBytes: number;
  readonly quietP99Ms: number;
  readonly duringP99Ms: number;
}
const seen: Record<ServerKind, Seen[]> = { etcd: [], quorate: [] };
const rounds = Number(process.env.BENCH_SNAPSHOT_ROUNDS ?? 2);
for (let round = 0; round < rounds; round++) {
  for (const kind of ["etcd", "quorate"] as const) seen[kind].push(await measure(kind));
}

const row = rowsOf(seen);
const keys = KEYS === 1_000_000 ? "1M keys" : `${KEYS} keys`;
await row(`snapshot of ${keys}`, 0.33, 1, (each) => each.seconds, " s");
await row(
  `RSS growth while ${keys} are streamed (owed: below 64 MB)`,
  1,
  1,
  (each) => each.grownBytes / MEGABYTE,
  " MB",
);
await row("put p99, quiet", 1, 1, (each) => each.quietP99Ms, " ms");
await row("put p99 during a snapshot", 1, 1, (each) => each.duringP99Ms, " ms");
await row(
  "put p99 during a snapshot, times quiet (owed: below 3)",
  1,
  1,
  (each) => each.duringP99Ms / each.quietP99Ms,
  "x",
);

async function measure(kind: ServerKind): Promise<Seen> {
  const server = await MeasuredServer.start(kind);
  try {
    await preload(server.port, KEYS);
    await sleep(SETTLE_MS);
    const beforeBytes = server.memory().rssBytes;
    let mostBytes = beforeBytes;
    const sampling = setInterval(() => {
      mostBytes = Math.max(mostBytes, server.memory().rssBytes);
    }, SAMPLE_MS);
    const startedMs = performance.now();
    await takeSnapshot(server.port);
    const seconds = (performance.now() - startedMs) / 1000;
    clearInterval(sampling);
    const quietP99Ms = await putP99(server.port, () => sleep(QUIET_MS));
    const duringP99Ms = await putP99(server.port, () => takeSnapshot(server.port));
    return { seconds, grownBytes: mostBytes - beforeBytes, quietP99Ms, duringP99Ms };
  } finally {
    await server.stop();
  }
}

async function putP99(port: number, meanwhile: () => Promise<void>): Promise<number> {
  let n = 0;
  const result = await closedLoop({
    port,
    connections: 10,
    inFlight: 10,
    warmupMs: 1000,
    measureMs: 0,
    meanwhile,
    next: () => {
      n++;
      return { path: PATHS.put, message: putRequest(keyOf((n * 7919) % KEYS), noiseOf(n, 256)) };
    },
  });
  return result.p99Ms;
}

/** Reads a snapshot as fast as it comes and throws it away. Throws if it is less than its keys. */
async function takeSnapshot(port: number): Promise<void> {
  let receivedBytes = 0;
  let connection: LoadConnection | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const sink = {
        data: (_streamId: number, _buffer: Buffer, start: number, end: number) => {
          receivedBytes += end - start;
        },
        ended: () => {
          if (receivedBytes > KEYS * 256) resolve();
          else reject(new Error(`a snapshot of ${receivedBytes} bytes`));
        },
        lost: () => reject(new Error("the connection has gone")),
      };
      LoadConnection.open(port, sink).then((opened) => {
        connection = opened;
        opened.call(PATHS.snapshot, Buffer.alloc(0), true);
        opened.flush();
      }, reject);
    });
  } finally {
    connection?.close();
  }
}
