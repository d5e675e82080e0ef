/** What this server says it is. Tools decide by etcd's version what they may ask, so that one is reported as etcd's. */
export const VERSIONS = {
  etcd: "3.7.1",
  /** Ours, beside it. */
  own: "0.1.0",
  /** The cluster version this server brings, and the storage version it writes. */
  cluster: "3.7.0",
  /** The lowest cluster version we can be part of. */
  minCluster: "3.0.0",
} as const;
