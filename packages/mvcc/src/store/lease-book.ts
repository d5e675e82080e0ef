/**
 * Which keys hang on which lease, kept by the lessor and told by the store: a put attaches, the next change of the key
 * detaches, and a restart attaches again what the newest records say. Calls come while an entry is applied, in the same
 * order on every member, so implementations must be as deterministic as the store.
 */
export interface LeaseBook {
  /** A lease that expired but is not revoked yet still exists. */
  exists(lease: bigint): boolean;
  /** The key is borrowed until return. Only called for a lease that exists; a key hangs on at most one. */
  attach(lease: bigint, key: Uint8Array): void;
  /** The inverse of an earlier attach. */
  detach(lease: bigint, key: Uint8Array): void;
}

/** No leases at all: for tools that only look at data. */
export const noLeases: LeaseBook = {
  exists: () => false,
  attach: () => {},
  detach: () => {},
};
