/**
 * Says in a stopped member's database for which version of etcd its contents are meant. Our own files do not change with
 * etcd's versions; what changes is what snapshots of the member and exports of its directory say of themselves, and so which
 * etcd takes them.
 *
 *     3.5 ◀──▶ 3.6 ◀──▶ 3.7        a minor version at a time; 3.5 files say nothing
 */

import { compareVersions, parseVersion, type Version } from "@quorate/membership";
import type { Storage } from "@quorate/mvcc";
import { VERSIONS } from "../versions.ts";
import { type StoppedMemberOptions, withStoppedMember } from "./stopped-member.ts";

/** There is no way from the stored version to the one asked for. Nothing was changed. */
export class StorageMigrationError extends Error {
  readonly kind = "StorageMigration";
}

export interface MigrateOptions extends StoppedMemberOptions {
  /** "3.6.0"; not below 3.5. */
  readonly targetVersion: string;
  /** Say so even if there is no way. */
  readonly isForced: boolean;
}

const STORAGE_VERSION = Buffer.from("storageVersion");
/** Every minor version whose contents we know. */
const KNOWN_MINORS: readonly number[] = [5, 6, 7];

/** Throws StorageMigrationError, StoppedMemberError, DirectoryLockError. */
export async function migrateDirectory(options: MigrateOptions): Promise<void> {
  const { targetVersion, isForced, log } = options;
  await withStoppedMember(options, async (storage) => {
    const stored = storage.get("meta", STORAGE_VERSION);
    const current = stored === undefined ? VERSIONS.cluster : Buffer.from(stored).toString();
    if (current === targetVersion) {
      log.info("storage version up-to-date", { "storage-version": shortOf(current) });
      return;
    }
    const problem = problemOf(versionOf(current), versionOf(targetVersion));
    if (problem !== null) {
      if (!isForced) throw new StorageMigrationError(`cannot create migration plan: ${problem}`);
      log.info("normal migrate failed, trying with force", { error: problem });
    }
    await store(storage, targetVersion);
    if (problem === null) log.info("updated storage version", { "new-storage-version": targetVersion });
    else log.warn("forcefully set storage version", { "storage-version": shortOf(targetVersion) });
  });
}

/** Why there is no way, in etcd's words; null if there is one. */
function problemOf(current: Version, target: Version): string | null {
  if (current.major !== target.major) return "changing major storage version is not supported";
  const step = compareVersions(target, current) > 0 ? 1 : -1;
  for (let minor = current.minor; minor !== target.minor; minor += step) {
    // What changes between two versions is listed under the higher one.
    const higher = step > 0 ? minor + 1 : minor;
    if (!KNOWN_MINORS.includes(higher)) return `version "${current.major}.${higher}.0" is not supported`;
  }
  return null;
}

function store(storage: Storage, version: string): Promise<void> {
  const changes = [{ table: "meta", key: STORAGE_VERSION, value: Buffer.from(version) }] as const;
  const batch = { regions: [], recordCount: 0, drops: new Float64Array(0), changes };
  return new Promise((done, failed) => storage.commit(batch, (error) => (error === null ? done() : failed(error))));
}

function versionOf(text: string): Version {
  const version = parseVersion(text);
  if (version === null)
    throw new StorageMigrationError(`cannot detect storage schema version: ${JSON.stringify(text)}`);
  return version;
}

function shortOf(version: string): string {
  const { major, minor } = versionOf(version);
  return `${major}.${minor}`;
}
