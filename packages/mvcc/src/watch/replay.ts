/**
 * One step through history for watchers that are behind: reads a bounded run of whole revisions once and hands each
 * change to the groups that have somebody waiting for it (speed §3, 13). The hub picks the watchers, delivers what was
 * found and moves their positions.
 */

import type { RecordVisitor } from "../backend/storage.ts";
import { KeyView } from "./key-bytes.ts";
import { ChangeEvent } from "./shared-events.ts";
import type { WatchGroup } from "./watch-group.ts";
import type { WatcherIndex } from "./watcher-index.ts";

export class ReplayScan implements RecordVisitor {
  readonly #index: WatcherIndex;
  readonly #sizeBytesMax: number;
  readonly #key = new KeyView();
  readonly #found: WatchGroup[] = [];
  #last = 0;
  #seen = 0;
  #sizeBytes = 0;

  constructor(index: WatcherIndex, sizeBytesMax: number) {
    this.#index = index;
    this.#sizeBytesMax = sizeBytesMax;
  }

  /** Prepares to read up to revision `last`. */
  begin(last: number): void {
    this.#last = last;
    this.#seen = 0;
    this.#sizeBytes = 0;
  }

  /** Everything up to this revision was read: `last`, or less if that would have been too many bytes. */
  get reached(): number {
    return this.#last;
  }

  /** Called by the source for each change. */
  visit(main: number, _sub: number, isTombstone: boolean, record: Uint8Array, start: number, end: number): boolean {
    if (main > this.#last) return false;
    if (main !== this.#seen) {
      // Between revisions only: one is never split (known-failures WT-08), and the first is read whatever its size.
      if (this.#seen !== 0 && this.#sizeBytes >= this.#sizeBytesMax) {
        this.#last = main - 1;
        return false;
      }
      this.#seen = main;
    }
    this.#sizeBytes += end - start;
    this.#key.parse(record, start);
    const found = this.#found;
    this.#index.find(record, this.#key.start, this.#key.end, found);
    let event: ChangeEvent | null = null;
    for (let i = 0; i < found.length; i++) {
      const group = found[i]!;
      if (main < group.replayFrom) continue;
      event ??= new ChangeEvent(main, isTombstone, record, start, end);
      group.addEvent(event);
    }
    found.length = 0;
    return true;
  }
}
