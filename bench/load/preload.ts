/** Fills a server with keys 0 to count-1 in ascending order, 256-byte values unless said, as fast as it takes them. */
import { LoadConnection, type StreamSink } from "./h2-connection.ts";
import { keyOf, noiseOf, PATHS, putRequest } from "./requests.ts";

const CONNECTIONS = 5;
const IN_FLIGHT = 100;

export async function preload(port: number, count: number, valueBytes = 256): Promise<void> {
  let next = 0;
  let finished = 0;
  const connections: LoadConnection[] = [];
  await new Promise<void>((resolve, reject) => {
    const begin = (connection: LoadConnection): void => {
      if (next >= count) return;
      const n = next++;
      connection.call(PATHS.put, putRequest(keyOf(n), noiseOf(n, valueBytes)), true);
    };
    const open = async (): Promise<void> => {
      for (let i = 0; i < CONNECTIONS; i++) {
        const sink: StreamSink = {
          data: () => {},
          ended: (_streamId, hadData) => {
            if (!hadData) reject(new Error("a put was answered with an error"));
            finished++;
            if (finished === count) resolve();
            else begin(connection);
          },
        };
        const connection = await LoadConnection.open(port, sink);
        connections.push(connection);
        for (let j = 0; j < IN_FLIGHT; j++) begin(connection);
        connection.flush();
      }
    };
    open().catch(reject);
  });
  for (const connection of connections) connection.close();
}
