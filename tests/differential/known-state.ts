/**
 * What the answers so far say about the state of the servers, for drawing requests that hit something. Only what both
 * servers were found to agree on goes in, in the order of the operations, so a seed always draws the same sequence.
 */

import { EventType } from "@quorate/api";
import type { Event } from "@quorate/api/messages";

export interface KnownLease {
  readonly id: bigint;
  readonly ttlSeconds: number;
}

export class KnownState {
  /** The reference's, such as "3.4.23". */
  version = "";
  revision = 1;
  /** As etcd has it: -1 until the first compaction. */
  compactRevision = -1;
  /** Data below the compact revision has been removed, or nothing was compacted: hashes are settled. */
  isCompactionSettled = true;
  /** Longer than any run, and far apart, so that the order of their ends does not depend on speed. */
  leases: KnownLease[] = [];
  /** Every event since revision 2, in order; both servers gave the same. */
  readonly history: Event[] = [];
  readonly live: Map<string, Event> = new Map();
  #leaseCount = 0;

  learn(event: Event): void {
    this.history.push(event);
    const key = Buffer.from(event.kv!.key).toString("latin1");
    if (event.type === EventType.PUT) this.live.set(key, event);
    else this.live.delete(key);
  }

  /** TTLs of leases that are to stay: a thousand seconds apart, from ten thousand. */
  nextTtlSeconds(): number {
    this.#leaseCount++;
    return 10_000 + this.#leaseCount * 1000;
  }
}
