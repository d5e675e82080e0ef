/**
 * Cutting one delivery into several responses, for watchers that asked for it (semantics §5.5): packed greedily, at least
 * one event each, all but the last marked as fragments. A pure function of sizes, so that it can be held against etcd's.
 */

import { FRAGMENT_FIELD_SIZE_BYTES } from "./response.ts";
import type { SharedEvents } from "./shared-events.ts";

/** What etcd adds to max-request-bytes before it cuts. */
export const FRAGMENT_OVERHEAD_SIZE_BYTES: number = 512 * 1024;

/**
 * Where each response's events end: `[3, 5]` is events 0 to 2, marked, then 3 to 4. One number means whole.
 *
 * @param headSizeBytes header and watch_id, without the fragment mark.
 * @param limitBytes responses stay below this unless a single event does not: max-request-bytes + 512 KiB.
 */
export function fragmentEnds(headSizeBytes: number, events: SharedEvents, limitBytes: number): number[] {
  const { parts } = events;
  const count = parts.length;
  if (headSizeBytes + events.sizeBytes < limitBytes || count < 2) return [count];
  const ends: number[] = [];
  // etcd counts the mark for the last fragment too, which then goes out without it.
  const markedHeadSizeBytes = headSizeBytes + FRAGMENT_FIELD_SIZE_BYTES;
  let start = 0;
  let sizeBytes = markedHeadSizeBytes;
  for (let i = 0; i < count; i++) {
    const partSizeBytes = parts[i]!.length;
    if (i > start && sizeBytes + partSizeBytes >= limitBytes) {
      ends.push(i);
      start = i;
      sizeBytes = markedHeadSizeBytes;
    }
    sizeBytes += partSizeBytes;
  }
  ends.push(count);
  return ends;
}
