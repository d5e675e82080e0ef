/**
 * The log on disk: entries, hard state and snapshot marks, durable before they are acknowledged. Knows nothing of
 * raft's rules beyond their shape. Start at `wal.ts`; the format is drawn in `format.ts`.
 */
export {
  WalCorruptError,
  WalExistsError,
  WalIoError,
  WalMissingError,
  WalNoSpaceError,
  WalSnapshotMissingError,
  WalTooLargeError,
  WalVersionError,
} from "./errors.ts";
export { DEFAULT_SEGMENT_BYTES, maxEntryBytes } from "./format.ts";
export type { SnapshotMark } from "./records.ts";
export type { Replay } from "./replay.ts";
export { type CreateOptions, type OpenOptions, type SaveDone, Wal } from "./wal.ts";
