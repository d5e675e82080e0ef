/** What watching may cost, and why so much. */

/** Revisions one replay step reads: what etcd puts in one batch, and about a millisecond of work. */
export const REPLAY_REVISION_COUNT = 1000;

/** Bytes of records one replay step reads, exceeded only by a single revision that is larger. */
export const REPLAY_SIZE_BYTES: number = 1024 * 1024;

/** Encoded events kept for one watcher whose stream is full; more is read from history again later (known-failures WT-16). */
export const RETAINED_SIZE_BYTES_PER_WATCHER: number = 512 * 1024;

/** The same for all watchers together. Counted as if nothing were shared, so the truth is less. */
export const RETAINED_SIZE_BYTES: number = 32 * 1024 * 1024;
