/** The backend's public face within the room. */
export { Backend, type BackendOptions } from "./backend.ts";
export { BboltStorage } from "./bbolt-storage.ts";
export { LmdbStorage, type LmdbStorageOptions } from "./lmdb-storage.ts";
export { rowKeyOfName } from "./long-names.ts";
export { MemoryImage, type MemorySnapshotTask, MemoryStorage, type MemoryStorageOptions } from "./memory-storage.ts";
export { SnapshotKeyError, type SnapshotStatus, statusOfSnapshot } from "./snapshot-status.ts";
export {
  type DatabaseCut,
  DefragmentError,
  MAX_TABLE_KEY_BYTES,
  RecordSpan,
  type RecordVisitor,
  SnapshotDamagedError,
  SnapshotError,
  type SnapshotLifetime,
  type SnapshotTask,
  type Storage,
  type StorageBatch,
  StorageDamagedError,
  StorageFailedError,
  StorageVersionError,
  TABLES,
  type Table,
  type TableChange,
  TableKeySizeError,
} from "./storage.ts";
