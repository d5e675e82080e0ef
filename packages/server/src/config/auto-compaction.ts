/** --auto-compaction-mode and --auto-compaction-retention, as etcd reads them. */
import { parseDurationMs } from "./duration.ts";

/** null: no automatic compaction. */
export type AutoCompaction =
  | { readonly mode: "periodic"; readonly retentionMs: number }
  | { readonly mode: "revision"; readonly retention: number }
  | null;

/** What cannot be asked for; the text is for the operator. */
export class InvalidAutoCompaction extends Error {
  readonly kind = "InvalidAutoCompaction";
}

const HOUR_MS = 3_600_000;
/** What Go's durations hold. */
const LONGEST_PERIOD_MS = 2 ** 63 / 1e6;
/** A tenth of it is the pause between two looks at the revision. */
const LEAST_PERIOD_MS = 10;

/**
 * A bare number means hours in periodic mode and revisions in revision mode; 0 and nothing at all turn it off. Throws
 * {@link InvalidAutoCompaction}: unlike etcd also for what would make it run without a pause (known failure QU-08), and
 * for a duration in revision mode, which etcd takes as a number of nanoseconds.
 */
export function parseAutoCompaction(mode: string, retention: string): AutoCompaction {
  if (mode === "") throw new InvalidAutoCompaction("undefined auto-compaction-mode");
  if (mode !== "periodic" && mode !== "revision") {
    throw new InvalidAutoCompaction(`unknown auto-compaction-mode ${JSON.stringify(mode)}`);
  }
  if (retention === "") return null;
  const isNumber = /^\+?\d+$/.test(retention);
  if (mode === "revision" && isNumber && Number.isSafeInteger(Number(retention))) {
    return Number(retention) === 0 ? null : { mode, retention: Number(retention) };
  }
  const retentionMs = isNumber ? Number(retention) * HOUR_MS : parseDurationMs(retention);
  if (retentionMs === null || retentionMs > LONGEST_PERIOD_MS) {
    const problem = `time: invalid duration ${JSON.stringify(retention)}`;
    throw new InvalidAutoCompaction(`error parsing CompactionRetention: ${problem}`);
  }
  if (retentionMs === 0) return null;
  if (mode === "revision") {
    throw new InvalidAutoCompaction(
      `--auto-compaction-retention in revision mode is a number of revisions (set to ${JSON.stringify(retention)})`,
    );
  }
  if (retentionMs < LEAST_PERIOD_MS) {
    throw new InvalidAutoCompaction(
      `--auto-compaction-retention must be at least ${LEAST_PERIOD_MS}ms (set to ${JSON.stringify(retention)})`,
    );
  }
  return { mode, retentionMs };
}
