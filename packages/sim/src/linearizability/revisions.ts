/**
 * etcd's revisions number the changes of the whole store, so they order operations on different keys, which a check key by
 * key cannot see. These two checks do: one with the answers alone, one with the events the store itself tells of at the
 * end. Called by the simulator and by the fault tests, beside the linearizability check.
 */
import {
  changedStore,
  describeFound,
  describeOperation,
  type Found,
  type Operation,
  valueWritten,
} from "./operation.ts";
import type { WatchEvent } from "./watch.ts";

export type RevisionVerdict =
  | { readonly kind: "ok" }
  /** `explanation` names what is wrong and shows the operations that say so. */
  | { readonly kind: "illegal"; readonly explanation: string };

/**
 * Checks what answers say of revisions:
 *
 *   - no two successful writes have the same;
 *   - a write that began after another operation had returned has a greater one than that was told, and a read none that
 *     is lower;
 *   - a read finds no modification revision above its own, and if the write of that revision is known, its key and value.
 */
export function checkRevisions(history: readonly Operation[]): RevisionVerdict {
  const known = history.filter((operation) => operation.return !== null);
  return checkWrittenOnce(known) ?? checkRealTime(known) ?? { kind: "ok" };
}

function checkWrittenOnce(known: readonly Operation[]): RevisionVerdict | null {
  const writes = new Map<number, Operation>();
  for (const operation of known) {
    if (!changedStore(operation)) continue;
    const { revision } = operation.output!;
    const other = writes.get(revision);
    if (other !== undefined) return illegal(`two writes at revision ${revision}`, other, operation);
    writes.set(revision, operation);
  }
  for (const operation of known) {
    const found = foundBy(operation);
    if (found === null) continue;
    if (found.modRevision > operation.output!.revision) return illegal("a read of its own future", operation);
    const write = writes.get(found.modRevision);
    if (write === undefined) continue;
    if (write.input.key !== operation.input.key || valueWritten(write.input) !== found.value) {
      return illegal("a read that found what the write of that revision did not write", write, operation);
    }
  }
  return null;
}

function checkRealTime(known: readonly Operation[]): RevisionVerdict | null {
  const byReturn = [...known].sort((a, b) => a.return! - b.return!);
  const byCall = [...known].sort((a, b) => a.call - b.call);
  let highest: Operation | null = null;
  let returned = 0;
  for (const operation of byCall) {
    for (; returned < byReturn.length && byReturn[returned]!.return! < operation.call; returned++) {
      const earlier = byReturn[returned]!;
      if (highest === null || earlier.output!.revision > highest.output!.revision) highest = earlier;
    }
    if (highest === null) continue;
    const { revision } = operation.output!;
    const least = highest.output!.revision + (changedStore(operation) ? 1 : 0);
    if (revision < least) return illegal("a revision that goes back in time", highest, operation);
  }
  return null;
}

/**
 * Checks the answers against all events of the store, sorted by revision: each successful write is the event of its
 * revision, each read saw its key as events up to its revision made it, and each event was asked for by somebody.
 * `history` must hold every write there was, those of unknown outcome included.
 */
export function checkAgainstEvents(history: readonly Operation[], events: readonly WatchEvent[]): RevisionVerdict {
  const byKey = new Map<string, WatchEvent[]>();
  const byRevision = new Map<string, WatchEvent>();
  for (const event of events) {
    byRevision.set(`${event.revision}/${event.key}`, event);
    const ofKey = byKey.get(event.key);
    if (ofKey === undefined) byKey.set(event.key, [event]);
    else ofKey.push(event);
  }
  const explained = new Set<WatchEvent>();
  const unknown = new Set<string>();
  for (const operation of history) {
    const { input, output } = operation;
    if (output === null) {
      if (input.kind !== "get") unknown.add(`${input.key}=${JSON.stringify(valueWritten(operation.input))}`);
      continue;
    }
    if (changedStore(operation)) {
      const event = byRevision.get(`${output.revision}/${input.key}`);
      if (event === undefined) return illegal("an acknowledged write that is not in the store's history", operation);
      if (event.value !== valueWritten(operation.input)) {
        return illegal(`an acknowledged write whose event says ${event.value}`, operation);
      }
      explained.add(event);
    } else {
      const last = lastUpTo(byKey.get(input.key) ?? [], output.revision);
      const truth = last === null || last.value === null ? null : { value: last.value, modRevision: last.revision };
      const told = toldBy(operation);
      if (told !== undefined && (truth?.value !== told?.value || truth?.modRevision !== told?.modRevision)) {
        return illegal(`a read of what was ${describeFound(truth)} at its revision`, operation);
      }
    }
  }
  for (const event of events) {
    if (explained.has(event) || unknown.has(`${event.key}=${JSON.stringify(event.value)}`)) continue;
    return { kind: "illegal", explanation: `nobody asked for ${event.key} = ${event.value} at ${event.revision}` };
  }
  return { kind: "ok" };
}

function lastUpTo(events: readonly WatchEvent[], revision: number): WatchEvent | null {
  let low = 0;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle]!.revision <= revision) low = middle + 1;
    else high = middle;
  }
  return events[low - 1] ?? null;
}

function foundBy({ output }: Operation): Found | null {
  return output?.kind === "get" || output?.kind === "txn" ? output.found : null;
}

/** What an answer that changed nothing tells of the key; undefined if nothing. */
function toldBy({ output }: Operation): Found | null | undefined {
  switch (output?.kind) {
    case "get":
      return output.found;
    case "txn":
      return output.succeeded ? null : output.found;
    case "delete":
      return null;
    default:
      return undefined;
  }
}

function illegal(claim: string, ...operations: readonly Operation[]): RevisionVerdict {
  return { kind: "illegal", explanation: [claim, ...operations.map((o) => `  ${describeOperation(o)}`)].join("\n") };
}
