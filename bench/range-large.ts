/** How long does a range of 100,000 keys of 256 B take, until its first byte and until its end? */
import { compare } from "./load/compare.ts";
import { LoadConnection, type StreamSink } from "./load/h2-connection.ts";
import { preload } from "./load/preload.ts";
import { keyOf, PATHS, rangeRequest } from "./load/requests.ts";
import { MeasuredServer, type ServerKind } from "./load/servers.ts";

const KEYS = 100_000;
const REPEATS = 3;

interface Times {
  readonly firstByteMs: number;
  readonly wallMs: number;
}
const measured: Record<ServerKind, Times[]> = { etcd: [], quorate: [] };

await compare({ name: "range of 100k keys, wall", least: 2, aim: 5, better: "lower" }, async (kind) => {
  const times = await measure(kind);
  measured[kind].push(times);
  return { value: times.wallMs, unit: " ms" };
});
let turn: Record<ServerKind, number> = { etcd: 0, quorate: 0 };
// The first bytes of the same runs: the second row of the same question.
await compare({ name: "range of 100k keys, first byte", least: 10, aim: 50, better: "lower" }, async (kind) => {
  const times = measured[kind][turn[kind]]!;
  turn = { ...turn, [kind]: turn[kind] + 1 };
  return { value: times.firstByteMs, unit: " ms" };
});

/** The best of a few on a warm server: the first also fills caches. */
async function measure(kind: ServerKind): Promise<Times> {
  const server = await MeasuredServer.start(kind);
  try {
    await preload(server.port, KEYS);
    let best: Times | null = null;
    for (let i = 0; i < REPEATS; i++) {
      const times = await once(server.port);
      if (best === null || times.wallMs < best.wallMs) best = times;
    }
    return best!;
  } finally {
    await server.stop();
  }
}

function once(port: number): Promise<Times> {
  return new Promise((resolve, reject) => {
    let startedMs = 0;
    let firstByteMs = Number.NaN;
    let bytes = 0;
    const sink: StreamSink = {
      data: (_streamId, _buffer, start, end) => {
        if (bytes === 0) firstByteMs = performance.now() - startedMs;
        bytes += end - start;
      },
      ended: () => {
        connection.close();
        if (bytes < KEYS * 256) reject(new Error(`only ${bytes} bytes came`));
        else resolve({ firstByteMs, wallMs: performance.now() - startedMs });
      },
    };
    let connection: LoadConnection;
    LoadConnection.open(port, sink).then((opened) => {
      connection = opened;
      startedMs = performance.now();
      connection.call(PATHS.range, rangeRequest(keyOf(0), { end: Buffer.from("bench/key0") }), true);
      connection.flush();
    }, reject);
  });
}
