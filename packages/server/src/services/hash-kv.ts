/** Hashing the keys at a revision, for HashKV and for other members: in slices between turns, so that a million keys do not stop the loop. */
import type { Member } from "../member/member.ts";
import type { HashKv } from "../peers/peer-requests.ts";

/** Records hashed in one turn: about a millisecond. */
export const HASH_SLICE_RECORDS = 1000;

/**
 * Throws CompactedError or FutureRevisionError. `done` is called once, perhaps at once: with null if a snapshot from the
 * leader has replaced what was being hashed. Not called any more once nobody waits.
 */
export function hashKv(
  member: Member,
  revision: number,
  isWanted: () => boolean,
  done: (hashed: HashKv | null) => void,
): void {
  const { store } = member;
  const task = store.startHash(revision);
  const step = (): void => {
    // The database of a store that was replaced is closed: not even to let go of it may it be touched.
    if (member.store !== store) return done(null);
    if (!isWanted()) {
      task.cancel();
      member.resumeCompaction();
    } else if (task.step(HASH_SLICE_RECORDS)) {
      member.options.timers.nextTurn(step);
    } else {
      member.resumeCompaction();
      const { hash, compactRevision, revision: hashRevision } = task;
      done({ revision: store.revision, hash, compactRevision, hashRevision });
      member.flush();
    }
  };
  step();
}
