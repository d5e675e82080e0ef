/**
 * What watching needs of the store: what was just committed, and history. `Store` and its `ChangeList` have this shape;
 * tests bring their own.
 */

import type { RecordSpan, RecordVisitor } from "../backend/storage.ts";

export interface WatchSource {
  /** Newest committed revision. */
  readonly revision: number;
  /** Revisions below cannot be read; -1 if never compacted. */
  readonly compactRevision: number;
  /** Points `span` at the record of a committed change; borrowed until the source is asked anything else. */
  read(node: number, span: RecordSpan): void;
  /**
   * All changes from `revision` (not below the compacted one) on, ascending, until the visitor returns false. The
   * visitor does not call the source.
   */
  changesFrom(revision: number, visitor: RecordVisitor): void;
  /**
   * The key's record as of `revision - 1`, if there is one and it can still be read; borrowed until the source is asked
   * anything else.
   */
  previous(key: Uint8Array, keyStart: number, keyEnd: number, revision: number, span: RecordSpan): boolean;
}

/** The changes of one committed revision in their order. Borrowed for the call that brings them. */
export interface CommittedChanges {
  readonly length: number;
  /** What `WatchSource.read` takes. */
  node(i: number): number;
  isTombstone(i: number): boolean;
}
