/**
 * Who else holds a lock on a file. Node has no flock to try with, but Linux lists all locks in /proc/locks, by device and
 * inode:
 *
 *   5: FLOCK  ADVISORY  WRITE 12688 fe:00:10560715 0 EOF
 *   6: OFDLCK ADVISORY  WRITE -1    fe:00:10560696 0 EOF
 *
 * Locks of other containers are listed only if they are of the second kind, as etcd's are on the segments of its log; so
 * ask about more than one file. Elsewhere than on Linux nothing can be told.
 */
import { readFileSync, statSync } from "node:fs";

const LOCK = /^\d+: (?:-> )?(?:FLOCK|OFDLCK|POSIX)\s+\S+\s+\S+\s+\S+\s+([0-9a-f]+):([0-9a-f]+):(\d+)\s/;

/** The paths that somebody has locked; null where that cannot be told. What does not exist is not locked. */
export function lockedFiles(paths: readonly string[]): string[] | null {
  let table: string;
  try {
    table = readFileSync("/proc/locks", "utf8");
  } catch {
    return null;
  }
  return paths.filter((path) => {
    const status = statSync(path, { bigint: true, throwIfNoEntry: false });
    return status !== undefined && isLocked(table, status.dev, status.ino);
  });
}

/** Exported for the test. */
export function isLocked(table: string, device: bigint, inode: bigint): boolean {
  for (const line of table.split("\n")) {
    const match = LOCK.exec(line);
    if (match === null || BigInt(match[3]!) !== inode) continue;
    const major = BigInt(`0x${match[1]}`);
    const minor = BigInt(`0x${match[2]}`);
    // Overlays and btrfs show files under other anonymous devices, of major number 0, than the lock's.
    const isSame = major === majorOf(device) && minor === minorOf(device);
    if (isSame || (major === 0n && majorOf(device) === 0n)) return true;
  }
  return false;
}

/** As glibc takes st_dev apart. */
function majorOf(device: bigint): bigint {
  return ((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xffff_f000n);
}

function minorOf(device: bigint): bigint {
  return (device & 0xffn) | ((device >> 12n) & 0xffff_ff00n);
}
