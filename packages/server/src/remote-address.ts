/** Who is at the other end of a socket, as logs and traces name it. */

import type { Socket } from "node:net";
import type { Duplex } from "node:stream";

/** "127.0.0.1:54321", "[::1]:54321"; of a unix socket "@", as etcd has it. */
export function remoteOf({ socket }: { readonly socket: Duplex }): string {
  const { remoteAddress, remotePort } = socket as Partial<Socket>;
  if (remoteAddress === undefined) return "@";
  return remoteAddress.includes(":") ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`;
}
