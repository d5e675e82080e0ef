/**
 * Whether this program can apply what an etcd's log holds. A member that meets an entry it does not know must end, because
 * it would differ from the others; so such a log is refused before there is a member.
 *
 * Entries of other kinds are the v2 API's, up to etcd 3.5, and those of versions to come. The second form of
 * configuration changes has never been proposed by an etcd.
 */
import { RaftOp, RaftRequestView } from "@quorate/api";
import { MalformedMessage } from "@quorate/api/wire";
import { decodeChange, MalformedMember } from "@quorate/membership";
import { decodeConfChange, type Entry, EntryType, MalformedMessage as MalformedRaft } from "@quorate/raft";
import { ExchangeError } from "./errors.ts";

/**
 * Index of the last entry up to `appliedIndex` that this program does not know, 0 if it knows them all. It need not apply
 * those, but must not send them to others either.
 * @throws ExchangeError for one after it.
 */
export function lastUnknownIndex(entries: readonly Entry[], appliedIndex: number): number {
  const view = new RaftRequestView();
  let last = 0;
  for (const entry of entries) {
    const problem = problemOf(entry, view);
    if (problem === null) continue;
    if (entry.index > appliedIndex) {
      throw new ExchangeError(
        `entry ${entry.index} of the log is not known here (${problem}), and the database has applied entries up to ` +
          `${appliedIndex} only: start etcd on the directory once more, let it write a key, and stop it`,
      );
    }
    last = entry.index;
  }
  return last;
}

/** Null if the entry can be applied. */
function problemOf({ type, data }: Entry, view: RaftRequestView): string | null {
  try {
    if (type === EntryType.ConfChange) {
      decodeChange(decodeConfChange(data));
      return null;
    }
    if (type !== EntryType.Normal) return "a change of several members at once";
    if (data.length === 0) return null;
    view.decode(data, 0, data.length);
    return view.op === RaftOp.None ? "a request of an unknown kind" : null;
  } catch (error) {
    const isMalformed =
      error instanceof MalformedMessage || error instanceof MalformedRaft || error instanceof MalformedMember;
    if (!isMalformed) throw error;
    return error.message;
  }
}
