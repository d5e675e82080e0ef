/**
 * Revisions that nobody wrote: etcd's restore of a snapshot can raise the revision, so that clients never see it go back,
 * and does it with a record that is empty (semantics §4.6). It belongs to no key, no range and no watcher shows it; but
 * etcd treats it as the change of a key without bytes when it compacts and hashes, and members must agree on hashes.
 */
export class RevisionBumps {
  /** Ascending. */
  readonly #mains: number[] = [];

  get isEmpty(): boolean {
    return this.#mains.length === 0;
  }

  /** Greater than the ones before. */
  add(main: number): void {
    this.#mains.push(main);
  }

  /** The one a compaction at `revision` keeps, as the newest of a key; -1 if there is none. */
  keptAt(revision: number): number {
    return this.#mains.findLast((main) => main <= revision) ?? -1;
  }

  /** Forgets those a compaction at `revision` removes, and tells of each. */
  compact(revision: number, removed: (main: number) => void): void {
    const kept = this.keptAt(revision);
    while (this.#mains.length > 0 && this.#mains[0]! < kept) removed(this.#mains.shift()!);
  }
}
