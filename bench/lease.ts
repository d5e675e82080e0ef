/** How many lease keep-alives a second? 10,000 leases, 10 streams with 100 renewals in flight on each. */
import { closedLoop, sleep } from "./load/closed-loop.ts";
import { compare, type Measurement } from "./load/compare.ts";
import { LoadConnection, type StreamSink } from "./load/h2-connection.ts";
import { MessageReader } from "./load/message-reader.ts";
import { leaseGrantRequest, leaseKeepAliveRequest, PATHS } from "./load/requests.ts";
import { MeasuredServer, type ServerKind } from "./load/servers.ts";

const LEASES = 10_000;
const TTL_SECONDS = 3600;
const STREAMS = 10;
const IN_FLIGHT = 100;
const WARMUP_MS = 1500;
const MEASURE_MS = 4000;

await compare({ name: "lease keep-alives, 10 streams x 100", least: 2, aim: 4, better: "higher" }, measure);

async function measure(kind: ServerKind): Promise<Measurement> {
  const server = await MeasuredServer.start(kind);
  const connections: LoadConnection[] = [];
  try {
    await grant(server.port);
    let answers = 0;
    let isOver = false;
    let next = 0;
    for (let i = 0; i < STREAMS; i++) {
      const reader = new MessageReader();
      let streamId = 0;
      const renew = (): void => connection.send(streamId, leaseKeepAliveRequest(1 + (next++ % LEASES)), false);
      const sink: StreamSink = {
        data: (_streamId, buffer, start, end) => {
          const before = reader.count;
          reader.push(buffer, start, end);
          const came = reader.count - before;
          answers += came;
          if (!isOver) for (let j = 0; j < came; j++) renew();
        },
        ended: () => {
          throw new Error("a keep-alive stream ended");
        },
      };
      const connection = await LoadConnection.open(server.port, sink);
      connections.push(connection);
      streamId = connection.call(PATHS.leaseKeepAlive, leaseKeepAliveRequest(1 + i), false);
      for (let j = 1; j < IN_FLIGHT; j++) renew();
      connection.flush();
    }
    await sleep(WARMUP_MS);
    const cpuAtStart = server.cpuSeconds();
    const answersAtStart = answers;
    const startedMs = performance.now();
    await sleep(MEASURE_MS);
    const count = answers - answersAtStart;
    const perSecond = (count / (performance.now() - startedMs)) * 1000;
    isOver = true;
    return { value: perSecond, unit: "/s", cpuMicrosPerCall: ((server.cpuSeconds() - cpuAtStart) / count) * 1e6 };
  } finally {
    for (const connection of connections) connection.close();
    await server.stop();
  }
}

async function grant(port: number): Promise<void> {
  let id = 0;
  await closedLoop({
    port,
    connections: 5,
    inFlight: 50,
    warmupMs: 0,
    measureMs: 0,
    next: () => {
      id++;
      return { path: PATHS.leaseGrant, message: leaseGrantRequest(id, TTL_SECONDS) };
    },
    total: LEASES,
  });
}
