/**
 * bbolt files, the form in which snapshots travel and in which etcd keeps its database: a reader of files nobody writes,
 * and a writer from one end to the other. Knows nothing of what the buckets mean, and of the world only a source or a
 * sink of bytes. The format is in page.ts.
 */
export { BboltDamagedError } from "./errors.ts";
export type { BboltSink } from "./page-output.ts";
export { BboltReader, type BboltVisitor } from "./reader.ts";
export { type BboltSource, PAGE_RUN_BYTES_MAX } from "./source.ts";
export { BboltWriter, type BboltWriterOptions } from "./writer.ts";
