/**
 * What happened, for a person who wants to understand a seed. Lines are built only while somebody listens, so a run
 * without a listener pays nothing but the question.
 */
import { type Message, messageTypeName, type NodeId } from "@quorate/raft";
import type { SimTime } from "./sim-time.ts";

export class Trace {
  readonly #time: SimTime;
  readonly #write: ((line: string) => void) | null;
  readonly #nameOf: (id: NodeId) => string;

  constructor(time: SimTime, write: ((line: string) => void) | null, nameOf: (id: NodeId) => string) {
    this.#time = time;
    this.#write = write;
    this.#nameOf = nameOf;
  }

  get isOn(): boolean {
    return this.#write !== null;
  }

  /** `who` is a member's or client's name, or empty for the world at large. */
  line(who: string, text: () => string): void {
    if (this.#write === null) return;
    this.#write(`${this.#time.nowMs.toFixed(2).padStart(10)} ${who.padEnd(4)} ${text()}`);
  }

  /** `MsgApp to m2, term 3, after 3/40: 3/41 3/42, commit 39`. */
  describe(message: Message): string {
    const { type, to, term, logTerm, index, entries, commit, reject, rejectHint, context, snapshot } = message;
    const parts = [`${messageTypeName(type)} to ${this.#nameOf(to)}, term ${term}`];
    if (entries.length > 0 || index > 0)
      parts.push(entries.length > 0 ? `after ${logTerm}/${index}` : `${logTerm}/${index}`);
    if (entries.length > 0) parts.push(entries.map((each) => `${each.term}/${each.index}`).join(" "));
    if (commit > 0) parts.push(`commit ${commit}`);
    if (reject) parts.push(`REJECTED, hint ${rejectHint}`);
    if (context.length > 0) parts.push(`context ${Buffer.from(context).toString("hex")}`);
    if (snapshot !== null) parts.push(`snapshot ${snapshot.metadata.term}/${snapshot.metadata.index}`);
    return parts.join(", ");
  }
}
