/**
 * The dumb twin of KeyIndex for its tests: every revision ever written and not compacted in plain arrays, generations
 * spelled out as etcd's documentation does, everything searched from one end to the other.
 */

export interface NaiveRevision {
  readonly main: number;
  readonly sub: number;
  readonly isTombstone: boolean;
  readonly createRevision: number;
  readonly version: number;
  readonly sizeBytes: number;
  readonly hasLease: boolean;
}

/** The revisions from one creation of a key to its deletion, ascending. */
type Generation = NaiveRevision[];

export class NaiveIndex {
  /** By the key's bytes in latin1, whose order is that of the bytes. */
  readonly keys: Map<string, Generation[]> = new Map();

  put(key: string, main: number, sub: number, sizeBytes: number, hasLease: boolean): void {
    const generations = this.keys.get(key) ?? [];
    this.keys.set(key, generations);
    let last = generations.at(-1);
    if (last === undefined || last.at(-1)!.isTombstone) {
      last = [];
      generations.push(last);
    }
    const before = last.at(-1);
    last.push({
      main,
      sub,
      isTombstone: false,
      createRevision: before === undefined ? main : before.createRevision,
      version: before === undefined ? 1 : before.version + 1,
      sizeBytes,
      hasLease,
    });
  }

  tombstone(key: string, main: number, sub: number, sizeBytes: number): void {
    const last = this.keys.get(key)!.at(-1)!;
    last.push({ main, sub, isTombstone: true, createRevision: 0, version: 0, sizeBytes, hasLease: false });
  }

  /** Oldest first. */
  revisions(key: string): NaiveRevision[] {
    return this.keys.get(key)?.flat() ?? [];
  }

  isLive(key: string): boolean {
    const newest = this.revisions(key).at(-1);
    return newest !== undefined && !newest.isTombstone;
  }

  newestAtOrBefore(key: string, revision: number): NaiveRevision | undefined {
    return this.revisions(key).findLast((r) => r.main <= revision);
  }

  /** Ascending. */
  sortedKeys(start: string, end: string | null): string[] {
    return [...this.keys.keys()].filter((key) => key >= start && (end === null || key < end)).sort(byCodeUnit);
  }

  visible(start: string, end: string | null, revision: number): NaiveRevision[] {
    return this.sortedKeys(start, end)
      .map((key) => this.newestAtOrBefore(key, revision))
      .filter((r) => r !== undefined && !r.isTombstone) as NaiveRevision[];
  }

  /** etcd's rule as written: returns "main/sub" or "main/sub t" of everything removed. */
  compact(revision: number): string[] {
    const removed: string[] = [];
    for (const [key, generations] of this.keys) {
      let first = generations.findIndex((generation) => generation.at(-1)!.main >= revision);
      if (first < 0) first = generations.length - 1;
      const generation = generations[first]!;
      let kept = generation.slice(
        Math.max(
          0,
          generation.findLastIndex((r) => r.main <= revision),
        ),
      );
      if (kept[0]!.isTombstone && kept[0]!.main < revision) kept = kept.slice(1);
      const remaining = [kept, ...generations.slice(first + 1)].filter((g) => g.length > 0);
      const alive = new Set(remaining.flat());
      for (const r of generations.flat()) if (!alive.has(r)) removed.push(nameOf(r.main, r.sub, r.isTombstone));
      if (remaining.length === 0) this.keys.delete(key);
      else this.keys.set(key, remaining);
    }
    return removed;
  }
}

export function nameOf(main: number, sub: number, isTombstone: boolean): string {
  return `${main}/${sub}${isTombstone ? " t" : ""}`;
}

function byCodeUnit(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** A small seeded generator (mulberry32): uniform in [0, bound). */
export function seededBelow(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}
