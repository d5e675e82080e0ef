/**
 * Ids that tell proposals, reads and granted leases of this process apart: etcd's 64-bit layout,
 * (low 16 bits of the member id) << 48 | counter, whose counter starts at unix milliseconds << 8, so that a restarted
 * member does not meet ids it used before. As every write makes one, an id stays two numbers here.
 *
 * Invariant: the counter never wraps while the process lives, because those who wait for an id rely on later ids being
 * larger. Therefore only 39 bits of the time go into its start (etcd takes 40): half of the 48 bits are free above any
 * start, a million ids a second for four years.
 */
import { assert } from "@quorate/world";

const COUNTER_LIMIT = 2 ** 48;
const START_MS_LIMIT = 2 ** 39;
const IDS_PER_MS = 256;

export class RequestIds {
  /** Bits 48 to 63 of every id of this member. */
  readonly high: number;
  #low: number;

  constructor(memberId: bigint, wallMs: number) {
    this.high = Number(memberId & 0xffffn);
    this.#low = (Math.floor(wallMs) % START_MS_LIMIT) * IDS_PER_MS;
  }

  /** The low 48 bits of a fresh id: larger than every one before. */
  next(): number {
    this.#low++;
    assert(this.#low < COUNTER_LIMIT, "request ids of one process never run out");
    return this.#low;
  }

  /** A fresh id as one number, with the sign bit cleared: a lease id that the server chose. */
  nextLeaseId(): bigint {
    return ((BigInt(this.high) << 48n) | BigInt(this.next())) & (2n ** 63n - 1n);
  }
}
