/**
 * What the key index can hold at most, each number with its reason, and the error that says so. The limits follow from
 * the packed layouts in key-slab.ts and revision-nodes.ts; requests are refused far below them, so meeting one means
 * that a configured limit upstream was set beyond what the index can represent.
 */

/** "No slot", "no node", "no page": the one 32-bit number that never names anything. */
export const NONE = 0xffff_ffff;

/** A key longer than this does not fit a checkpoint block. etcd's default limit for a whole request is 1.5 MiB. */
export const KEY_BYTES_MAX: number = 64 * 1024 * 1024;

/** Revisions are exact doubles. */
export const REVISION_MAX: number = Number.MAX_SAFE_INTEGER;

/** 43 bits: one key put a hundred thousand times a second for two years. */
export const VERSION_MAX: number = 2 ** 43 - 1;

/**
 * A key too long is refused before anything has been changed. The other limits, 32 GiB of keys and 2^32 revisions, are
 * those of memory: the index may be half changed, and the caller treats the error as it treats being out of memory.
 */
export class KeyIndexLimitError extends Error {
  readonly kind = "KeyIndexLimit";
  constructor(message: string) {
    super(message);
    this.name = "KeyIndexLimitError";
  }
}
