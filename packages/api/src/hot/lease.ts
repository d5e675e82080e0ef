/** LeaseKeepAlive, the heartbeat of every client that holds a lease: request ID=1; response header=1, ID=2, TTL=3. */

import { Reader, type Writer } from "../wire/index.ts";
import type { HeaderEncoder } from "./header.ts";

/** Reused from request to request. */
export class LeaseKeepAliveView {
  id = 0n;
  readonly #reader = new Reader();

  /** Reads `buffer[start, end)`; keeps nothing of it. Throws MalformedMessage. */
  decode(buffer: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(buffer, start, end);
    this.id = 0n;
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x08) this.id = reader.int64Big();
      else reader.skip(tag);
    }
  }
}

/** A whole LeaseKeepAliveResponse. `ttlSeconds` 0 says that the lease is gone. */
export function writeLeaseKeepAliveResponse(
  writer: Writer,
  header: HeaderEncoder,
  revision: number,
  raftTerm: number,
  id: bigint,
  ttlSeconds: number,
): void {
  header.write(writer, revision, raftTerm);
  if (id !== 0n) {
    writer.byte(0x10);
    writer.varintBig(id);
  }
  if (ttlSeconds !== 0) {
    writer.byte(0x18);
    writer.varint(ttlSeconds);
  }
}
