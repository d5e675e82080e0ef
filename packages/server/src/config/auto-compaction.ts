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
  const amount = isNumber ? Number(retention) : parseDurationMs(retention);
  if (amount === null || !Number.isSafeInteger(isNumber ? amount * HOUR_MS : Math.ceil(amount))) {
    throw new InvalidAutoCompaction(`error parsing CompactionRetention: invalid duration ${JSON.stringify(retention)}`);
  }
  if (amount === 0) return null;
  if (mode === "revision") {
    if (isNumber) return { mode, retention: amount };
    throw new InvalidAutoCompaction(
      `--auto-compaction-retention in revision mode is a number of revisions (set to ${JSON.stringify(retention)})`,
    );
  }
  const retentionMs = isNumber ? amount * HOUR_MS : amount;
  if (retentionMs < LEAST_PERIOD_MS) {
    throw new InvalidAutoCompaction(
      `--auto-compaction-retention must be at least ${LEAST_PERIOD_MS}ms (set to ${JSON.stringify(retention)})`,
    );
  }
  return { mode, retentionMs };
}
