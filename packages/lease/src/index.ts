/** Leases: granted, renewed and revoked as the log says; expired by the leader's clock. Knows no sockets and no raft. */
export { LeaseExistsError, LeaseNotFoundError, LeaseRecordCorruptError, LeaseTtlTooLargeError } from "./errors.ts";
export type { RevokeWaiter } from "./lease.ts";
export {
  CHECKPOINT_INTERVAL_MS,
  type DueCheckpoint,
  LEASE_COUNT_PER_EXPIRY,
  type LeaseTable,
  type LeaseTimeToLive,
  Lessor,
  type LessorOptions,
  Renewal,
  TTL_MAX_SECONDS,
} from "./lessor.ts";
