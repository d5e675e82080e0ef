/**
 * Whether watchers saw the store's events exactly once and in order. Called by the simulator and by the fault tests with
 * the history the store itself tells of at the end, and with what each watcher was sent over all its connections:
 *
 *   session from 1:  [2 3] [4]       cut
 *   session from 5:  [5] [6 6 7]     cut          numbers are revisions, brackets responses
 *   session from 8:  [8 9]
 */

/** One change of one key. A revision has several if one transaction changed several keys. */
export interface WatchEvent {
  readonly revision: number;
  readonly key: string;
  /** Null: deleted. */
  readonly value: string | null;
}

/** What one watcher was sent: one session per time it connected. */
export interface Watched {
  /** Names the watcher in a verdict. */
  readonly name: string;
  readonly sessions: readonly WatchSession[];
}

export interface WatchSession {
  /** Asked for: the first revision that is to be told. */
  readonly startRevision: number;
  /** The events of each response, as they came. */
  readonly responses: readonly (readonly WatchEvent[])[];
}

export type WatchVerdict =
  | { readonly kind: "ok" }
  | { readonly kind: "illegal"; readonly watcher: string; readonly explanation: string };

/**
 * Checks that all watchers together saw, each by itself, all of `history` from where its first session started.
 *
 * @param history every event that matches what the watchers asked for, in the order of revisions, and within one revision
 *   in the order in which the store tells them.
 * @param through how far every watcher must have come; events beyond it may or may not have been seen. Default: the end.
 */
export function checkWatchers(
  history: readonly WatchEvent[],
  watchers: readonly Watched[],
  through: number = history.at(-1)?.revision ?? 0,
): WatchVerdict {
  for (const watched of watchers) {
    const explanation = wrongWith(history, watched.sessions, through);
    if (explanation !== null) return { kind: "illegal", watcher: watched.name, explanation };
  }
  return { kind: "ok" };
}

function wrongWith(history: readonly WatchEvent[], sessions: readonly WatchSession[], through: number): string | null {
  const start = sessions[0]?.startRevision ?? 0;
  let next = history.findIndex(({ revision }) => revision >= start);
  if (next === -1) next = history.length;
  for (const [number, { startRevision, responses }] of sessions.entries()) {
    const where = `session ${number + 1}, from ${startRevision}`;
    for (const events of responses) {
      for (const event of events) {
        const due = history[next];
        if (event.revision < startRevision) return `${where}: ${describe(event)} is before the start`;
        if (due === undefined || !isSame(event, due)) return `${where}: ${misplaced(event, due, history, next)}`;
        next++;
      }
      const last = events.at(-1);
      const following = history[next];
      if (last !== undefined && following?.revision === last.revision) {
        return `${where}: a response ends within revision ${last.revision}, before ${describe(following)}`;
      }
    }
  }
  const due = history[next];
  return due !== undefined && due.revision <= through ? `never saw ${describe(due)}` : null;
}

function misplaced(
  event: WatchEvent,
  due: WatchEvent | undefined,
  history: readonly WatchEvent[],
  next: number,
): string {
  const at = history.findIndex((other) => isSame(other, event));
  const what = at === -1 ? "which never happened" : at < next ? "again" : "too early";
  return `saw ${describe(event)} ${what}, ${due === undefined ? "when nothing more" : describe(due)} was due`;
}

function isSame(a: WatchEvent, b: WatchEvent): boolean {
  return a.revision === b.revision && a.key === b.key && a.value === b.value;
}

function describe({ revision, key, value }: WatchEvent): string {
  return `${value === null ? `the delete of ${key}` : `${key} = ${value}`} at ${revision}`;
}
