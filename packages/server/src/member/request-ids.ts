/**
 * Ids that tell proposals, reads and granted leases of this process apart: etcd's 64-bit layout,
 * (low 16 bits of the member id) << 48 | counter, whose counter starts at (unix milliseconds mod 2^40) << 8, so that a
 * restarted member does not meet ids it used before. As every write makes one, an id stays two numbers here.
 */
export class RequestIds {
  /** Bits 48 to 63 of every id of this member. */
  readonly high: number;
  #low: number;

  constructor(memberId: bigint, wallMs: number) {
    this.high = Number(memberId & 0xffffn);
    this.#low = (Math.floor(wallMs) % 2 ** 40) * 256;
  }

  /** The low 48 bits of a fresh id. */
  next(): number {
    this.#low = (this.#low + 1) % 2 ** 48;
    return this.#low;
  }

  /** A fresh id as one number, with the sign bit cleared: a lease id that the server chose. */
  nextLeaseId(): bigint {
    return ((BigInt(this.high) << 48n) | BigInt(this.next())) & (2n ** 63n - 1n);
  }
}
