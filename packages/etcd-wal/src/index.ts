/**
 * The files in which etcd keeps its log: segments (member/wal/*.wal) and snapshot files (member/snap/*.snap), read whole
 * and written whole. For the tools that carry a member from etcd to us and back; a running member never comes here. Start
 * at `format.ts`, where the format is drawn.
 */
export { EtcdLogDamagedError, EtcdLogMissingError } from "./errors.ts";
export { logExists, snapFileName } from "./format.ts";
export { type EtcdLog, readEtcdLog, type TornTail } from "./read-log.ts";
export type { LogIdentity, SnapshotMark } from "./records.ts";
export { readSnapFile, writeSnapFile } from "./snap-file.ts";
export { type WriteLogOptions, writeEtcdLog } from "./write-log.ts";
