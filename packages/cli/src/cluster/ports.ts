/** Whether ports of this machine can be listened on, asked by listening on them for a moment. */
import { type AddressInfo, createServer, type Server } from "node:net";

const HOST = "127.0.0.1";

/** Why `port` cannot be listened on ("EADDRINUSE", "EACCES", ...); null if it can. */
export async function portProblem(port: number): Promise<string | null> {
  try {
    const server = await listen(port);
    await close(server);
    return null;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  }
}

/** So many different ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  // All at once: a port given back could be given out again.
  const servers = await Promise.all(Array.from({ length: count }, () => listen(0)));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map(close));
  return ports;
}

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, HOST, () => resolve(server));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
