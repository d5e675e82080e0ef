/** Files in memory, and what the tests write into them and read out of them again. */
import type { BboltSink } from "../page-output.ts";
import { BboltReader } from "../reader.ts";
import type { BboltSource } from "../source.ts";
import { BboltWriter, type BboltWriterOptions } from "../writer.ts";

/** Pairs by their keys' order, a list per bucket. */
export type Contents = readonly (readonly [bucket: string, pairs: readonly Pair[]])[];
export type Pair = readonly [key: Uint8Array, value: Uint8Array];

export class MemoryFile implements BboltSink, BboltSource {
  bytes: Buffer;
  /** Longest single read asked for. */
  longestRead = 0;

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.bytes = Buffer.from(bytes);
  }

  write(from: Uint8Array, start: number, end: number, position: number): void {
    const sizeBytes = position + end - start;
    if (sizeBytes > this.bytes.length)
      this.bytes = Buffer.concat([this.bytes, Buffer.alloc(sizeBytes - this.bytes.length)]);
    this.bytes.set(from.subarray(start, end), position);
  }

  sizeBytes(): number {
    return this.bytes.length;
  }

  read(into: Uint8Array, length: number, position: number): number {
    this.longestRead = Math.max(this.longestRead, length);
    const end = Math.min(this.bytes.length, position + length);
    return position < end ? this.bytes.copy(into, 0, position, end) : 0;
  }
}

/** A file of these contents, buckets and keys in order. */
export function fileOf(contents: Contents, options: Omit<BboltWriterOptions, "sink"> = {}): MemoryFile {
  const file = new MemoryFile();
  const writer = new BboltWriter({ sink: file, ...options });
  for (const [bucket, pairs] of contents) {
    writer.beginBucket(Buffer.from(bucket, "latin1"));
    for (const [key, value] of pairs) writer.put(key, 0, key.length, value, 0, value.length);
    writer.endBucket();
  }
  const sizeBytes = writer.finish();
  if (sizeBytes !== file.bytes.length) throw new Error(`${sizeBytes} bytes said, ${file.bytes.length} written`);
  return file;
}

/** Everything in the file. */
export function contentsOf(reader: BboltReader): Contents {
  return reader.bucketNames().map((name) => {
    const pairs: Pair[] = [];
    reader.visit(name, {
      visit(bytes, keyStart, keyEnd, valueEnd) {
        pairs.push([
          Uint8Array.from(bytes.subarray(keyStart, keyEnd)),
          Uint8Array.from(bytes.subarray(keyEnd, valueEnd)),
        ]);
        return true;
      },
    });
    return [Buffer.from(name).toString("latin1"), pairs] as const;
  });
}

export function readAll(file: BboltSource): Contents {
  const reader = new BboltReader(file);
  reader.check();
  return contentsOf(reader);
}

/** `count` pairs of numbered keys in ascending order. */
export function numberedPairs(count: number, value: (i: number) => string | Uint8Array): Pair[] {
  return Array.from({ length: count }, (_, i) => [
    Uint8Array.from(Buffer.from(`key-${String(i).padStart(8, "0")}`)),
    Uint8Array.from(Buffer.from(value(i))),
  ]);
}
