/** What a snapshot file says of itself. The file is only read (known failure SN-09). */
import { BboltDamagedError } from "@quorate/bbolt";
import { type SnapshotStatus, statusOfSnapshot } from "@quorate/mvcc";
import type { Log } from "@quorate/world";
import { SnapshotSource } from "./snapshot-source.ts";

/** The file breaks a rule of its format; the message begins as etcdutl's. */
export class IntegrityError extends Error {
  readonly kind = "Integrity";
}

/**
 * Reads a snapshot, or a stopped etcd's database. A wrong digest behind the database is told, beyond what etcdutl does.
 * @throws FileError, IntegrityError
 */
export function snapshotStatus(path: string, log: Log): SnapshotStatus {
  const source = new SnapshotSource(path);
  try {
    source.warnOfDigest(log);
    return statusOfSnapshot(source);
  } catch (error) {
    const { kind } = error as { kind?: string };
    const isDamage = error instanceof BboltDamagedError || kind === "RecordCorrupt" || kind === "SnapshotKey";
    if (!isDamage) throw error;
    // We stop at the first one.
    const text = `snapshot file integrity check failed. 1 errors found.\n${(error as Error).message}`;
    throw new IntegrityError(text, { cause: error });
  } finally {
    source.close();
  }
}
