/**
 * Ports for servers that are started in a moment: below the range the kernel takes for outgoing connections, so that no
 * connection gets there first, and never the same one twice in a process. Test files run side by side, each process
 * starting at a random place.
 */
import { createServer } from "node:net";

const FIRST = 12_000;
/** Linux's default ip_local_port_range begins at 32768. */
const END = 32_000;

let next = FIRST + Math.floor(Math.random() * (END - FIRST));

/** A port of 127.0.0.1 that nobody listens on. */
export async function freePort(): Promise<number> {
  for (let tried = 0; tried < END - FIRST; tried++) {
    const port = next;
    next = next + 1 < END ? next + 1 : FIRST;
    if (await canListenOn(port)) {
      return port;
    }
  }
  throw new Error(`no free port from ${FIRST} to ${END}`);
}

function canListenOn(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
