/**
 * One put to 10,000 watchers of its key: how long until the last of them has its event? On shared streams (100 streams of
 * 100 watchers) and with a stream for each (100 connections of 100 streams).
 */
import { compare, type Measurement } from "./load/compare.ts";
import { LoadConnection, type StreamSink } from "./load/h2-connection.ts";
import { MessageReader } from "./load/message-reader.ts";
import { noiseOf, PATHS, putRequest, watchCreateRequest } from "./load/requests.ts";
import { MeasuredServer, type ServerKind } from "./load/servers.ts";

const KEY = Buffer.from("bench/watched");
const WATCHERS = 10_000;
/** Not counted: both servers, and this generator, are measured warm. */
const WARMUP_PUTS = 30;
const PUTS = 31;
const SHAPES = [
  { name: "one put to 10k watchers, shared streams", connections: 100, streams: 1, watchers: 100, least: 4, aim: 8 },
  { name: "one put to 10k watchers, own streams", connections: 100, streams: 100, watchers: 1, least: 5, aim: 12 },
];

/** Counts messages over all streams and tells when a number of them has come. */
class Counter {
  #messages = 0;
  #target = 0;
  #reached: (() => void) | null = null;

  add(count: number): void {
    this.#messages += count;
    if (this.#messages >= this.#target) this.#reached?.();
  }

  reach(more: number): Promise<void> {
    this.#target += more;
    return new Promise((resolve) => {
      this.#reached = resolve;
      if (this.#messages >= this.#target) resolve();
    });
  }
}

for (const shape of SHAPES) {
  await compare({ name: shape.name, least: shape.least, aim: shape.aim, better: "lower" }, (kind) =>
    measure(kind, shape),
  );
}

async function measure(kind: ServerKind, shape: (typeof SHAPES)[number]): Promise<Measurement> {
  const server = await MeasuredServer.start(kind);
  const connections: LoadConnection[] = [];
  try {
    const counter = new Counter();
    for (let i = 0; i < shape.connections; i++) {
      const readers = new Map<number, MessageReader>();
      const sink: StreamSink = {
        data: (streamId, buffer, start, end) => {
          const reader = readers.get(streamId)!;
          const before = reader.count;
          reader.push(buffer, start, end);
          counter.add(reader.count - before);
        },
        ended: () => {
          throw new Error("a watch stream ended");
        },
      };
      const connection = await LoadConnection.open(server.port, sink);
      connections.push(connection);
      for (let j = 0; j < shape.streams; j++) {
        const streamId = connection.call(PATHS.watch, watchCreateRequest(KEY, 1), false);
        readers.set(streamId, new MessageReader());
        for (let k = 1; k < shape.watchers; k++) connection.send(streamId, watchCreateRequest(KEY, k + 1), false);
      }
      connection.flush();
    }
    await counter.reach(WATCHERS); // each creation is answered

    const writer = await LoadConnection.open(server.port, { data: () => {}, ended: () => {} });
    connections.push(writer);
    const times: number[] = [];
    let cpuAtStart = 0;
    for (let n = -WARMUP_PUTS; n < PUTS; n++) {
      if (n === 0) cpuAtStart = server.cpuSeconds();
      const startedMs = performance.now();
      writer.call(PATHS.put, putRequest(KEY, noiseOf(n + WARMUP_PUTS, 256)), true);
      writer.flush();
      await counter.reach(WATCHERS);
      if (n >= 0) times.push(performance.now() - startedMs);
    }
    const cpu = server.cpuSeconds() - cpuAtStart;
    times.sort((a, b) => a - b);
    return {
      value: times[times.length >> 1]!,
      unit: " ms",
      cpuMicrosPerCall: (cpu / (PUTS * WATCHERS)) * 1e6,
    };
  } finally {
    for (const connection of connections) connection.close();
    await server.stop();
  }
}
