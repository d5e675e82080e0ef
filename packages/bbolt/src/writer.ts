/**
 * Writes a bbolt file from one end to the other: buckets in ascending order of names, pairs in ascending order of keys.
 * Called by storage's export; the file is what etcd itself would open.
 *
 *     page 0, 1   metas, written last       2 ...   trees of the buckets in order, then the tree of buckets
 *
 * Nothing is allocated per pair, memory does not depend on the size of the file, and the same pairs give the same bytes.
 * A file that was not finished has no valid meta and is refused by every reader.
 */
import { assert } from "@quorate/world";
import { type Meta, viewOf, writeMeta } from "./page.ts";
import { type BboltSink, PageOutput } from "./page-output.ts";
import { TreeWriter } from "./tree-writer.ts";

export interface BboltWriterOptions {
  readonly sink: BboltSink;
  /** A power of two from 2048 to 65536. Default 4096. */
  readonly pageBytes?: number;
  /** How much of a page is filled, above 0 and up to 1; room for whoever writes on. Default 0.9, as etcd fills records. */
  readonly fill?: number;
}

const DEFAULT_PAGE_BYTES = 4096;
const DEFAULT_FILL = 0.9;

/** The second meta's; the first has the one before. */
const TXID = 1n;

export class BboltWriter {
  readonly #sink: BboltSink;
  readonly #output: PageOutput;
  readonly #pairs: TreeWriter;
  readonly #buckets: TreeWriter;
  #bucket: Uint8Array | null = null;
  #isFinished = false;
  /** Names and values for the tree of buckets: a file has a handful. */
  readonly #ended: { readonly name: Uint8Array; readonly value: Uint8Array }[] = [];

  constructor(options: BboltWriterOptions) {
    const pageBytes = options.pageBytes ?? DEFAULT_PAGE_BYTES;
    const fill = options.fill ?? DEFAULT_FILL;
    assert(pageBytes >= 2048 && pageBytes <= 65_536 && (pageBytes & (pageBytes - 1)) === 0, "a page size is as stated");
    assert(fill > 0 && fill <= 1, "a page is filled above 0 and up to 1");
    this.#sink = options.sink;
    this.#output = new PageOutput(options.sink, pageBytes);
    this.#pairs = new TreeWriter(this.#output, { fill, holdsBuckets: false });
    this.#buckets = new TreeWriter(this.#output, { fill, holdsBuckets: true });
  }

  /** Begins a bucket, greater in name than the ones before. Copied. */
  beginBucket(name: Uint8Array): void {
    assert(this.#bucket === null && !this.#isFinished, "a bucket begins when the one before has ended");
    this.#bucket = Uint8Array.from(name);
  }

  /** Adds `key[keyStart, keyEnd)`, greater than the bucket's keys before, with its value. Borrowed until return. */
  put(
    key: Uint8Array,
    keyStart: number,
    keyEnd: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): void {
    assert(this.#bucket !== null, "a pair belongs to a bucket");
    this.#pairs.put(key, keyStart, keyEnd, value, valueStart, valueEnd);
  }

  endBucket(): void {
    assert(this.#bucket !== null, "a bucket ends once");
    this.#ended.push({ name: this.#bucket, value: this.#pairs.endBucket() });
    this.#bucket = null;
  }

  /** Writes what is left, the metas last, and returns the size of the file in bytes. Making it durable is the caller's. */
  finish(): number {
    assert(this.#bucket === null && !this.#isFinished, "a file is finished once, when its last bucket has ended");
    this.#isFinished = true;
    for (const { name, value } of this.#ended) this.#buckets.put(name, 0, name.length, value, 0, value.length);
    const root = this.#buckets.end();
    this.#output.flush();
    const { pageBytes, nextPage: pageCount } = this.#output;
    const metas = new Uint8Array(2 * pageBytes);
    const meta: Meta = { pageBytes, root, freelist: null, pageCount, txid: TXID };
    writeMeta(viewOf(metas), 0, 0, { ...meta, txid: TXID - 1n });
    writeMeta(viewOf(metas), pageBytes, 1, meta);
    this.#sink.write(metas, 0, metas.length, 0);
    return pageCount * pageBytes;
  }
}
