/**
 * The multi-version key-value state of one member: what the server, the lessor and the tools may use of this room.
 *
 *     store/      revisions, transactions, ranges, compaction, hashes
 *     watch/      watchers over commits and history
 *     key-index/  which keys there are and at which revisions, in packed memory
 *     backend/    records and small tables: readable at once, durable behind
 *
 * It knows nothing of leases' clocks, of authorisation, or of sockets.
 */
export * from "./backend/index.ts";
export * from "./key-index/index.ts";
export * from "./store/index.ts";
export * from "./watch/index.ts";
