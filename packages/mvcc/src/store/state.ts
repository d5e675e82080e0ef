/**
 * What the parts of one store share: the index, the records, and the two revisions that bound what can be read.
 *
 *     1 ─────────── compactRevision ═══════════════════ revision ┄┄ revision + 1
 *        unreadable, removed                readable               the open write transaction's
 *        in the background
 *
 * Only the write transaction raises `revision`, only the compactor raises `compactRevision`; the rest reads.
 */

import { copyBytes } from "@quorate/api/wire";
import type { Log } from "@quorate/world";
import { assert } from "@quorate/world";
import type { Backend } from "../backend/backend.ts";
import { RecordSpan } from "../backend/storage.ts";
import type { KeyIndex } from "../key-index/key-index.ts";
import { CompactedError, FutureRevisionError } from "./errors.ts";
import { RecordView } from "./key-value.ts";
import type { LeaseBook } from "./lease-book.ts";
import { RevisionBumps } from "./revision-bumps.ts";

/** A store that was never written to. */
export const FIRST_REVISION = 1;
/** A store that was never compacted. */
export const NEVER_COMPACTED = -1;

/** How often what was done since the start, inside transactions too: for metrics. */
export class OperationCounts {
  puts = 0;
  /** Keys deleted. */
  deletes = 0;
  ranges = 0;
  /** Requests of several operations. */
  txns = 0;
}

export class StoreState {
  readonly index: KeyIndex;
  readonly backend: Backend;
  readonly leases: LeaseBook;
  readonly log: Log;
  readonly counts: OperationCounts = new OperationCounts();
  readonly bumps: RevisionBumps = new RevisionBumps();
  /** Main revision of the newest complete write transaction. */
  revision: number = FIRST_REVISION;
  /** Reads below are refused, from the moment a compaction is accepted. */
  compactRevision: number = NEVER_COMPACTED;
  readonly #span = new RecordSpan();
  readonly #view = new RecordView();

  constructor(index: KeyIndex, backend: Backend, leases: LeaseBook, log: Log) {
    this.index = index;
    this.backend = backend;
    this.leases = leases;
    this.log = log;
  }

  /** Points `span` at the record of a put or tombstone node; borrowed until anything else is asked of the backend. */
  read(node: number, span: RecordSpan): void {
    const index = this.index;
    this.backend.read(index.position(node), index.main(node), index.sub(node), index.isTombstone(node), span);
    assert(span.end - span.start === index.sizeBytes(node), "a record has the size the index knows");
  }

  /** Copies a node's record to `into` at `at`, where there is room; returns the position after it. */
  copyRecord(node: number, into: Uint8Array, at: number): number {
    const span = this.#span;
    this.read(node, span);
    return copyBytes(span.buffer, span.start, span.end, into, at);
  }

  /** The record of a node, taken apart. One reused object: valid until the next call and as long as its bytes are. */
  view(node: number): RecordView {
    const span = this.#span;
    this.read(node, span);
    this.#view.parse(span.buffer, span.start, span.end, this.index.main(node), this.index.sub(node));
    return this.#view;
  }

  /** Throws unless `revision`, taken as it is, can be read now. */
  checkReadable(revision: number): void {
    if (revision > this.revision) throw new FutureRevisionError(revision, this.revision);
    if (revision < this.compactRevision) throw new CompactedError(revision, this.compactRevision);
  }
}
