/**
 * Work on files while no member runs: what `quorate utl` does, and etcd's `etcdutl`. Nothing here starts a member; a data
 * directory is locked as a member locks it, so neither runs over the other.
 */
export { ConfigError } from "../config/command-line.ts";
export { parseDurationMs } from "../config/duration.ts";
export { VERSIONS } from "../versions.ts";
export { consoleLog } from "./console-log.ts";
export { defragmentDirectory } from "./defragment-directory.ts";
export { FileError } from "./file-error.ts";
export { type KeysHash, keysHashOf } from "./keys-hash.ts";
export { type MigrateOptions, migrateDirectory, StorageMigrationError } from "./migrate-directory.ts";
export { type RestoreOptions, RestoreRefused, restoreSnapshot } from "./restore-snapshot.ts";
export { DigestError } from "./snapshot-source.ts";
export { IntegrityError, snapshotStatus } from "./snapshot-status.ts";
export { StoppedMemberError } from "./stopped-member.ts";
