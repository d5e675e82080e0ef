/**
 * Everything all nodes of a simulated group ever did, as far as raft promises something about it (raft paper, figure 3).
 * Each report is checked against all earlier ones; the first contradiction throws.
 */
import { Role } from "../raft.ts";
import type { RawNode } from "../raw-node.ts";
import type { LogStorage } from "../storage.ts";
import type { Entry, Index, NodeId, Term } from "../types.ts";

export class Violation extends Error {
  constructor(promise: string, detail: string) {
    super(`${promise}: ${detail}`);
    this.name = "Violation";
  }
}

export class History {
  readonly #leaders: Map<number, NodeId> = new Map();
  readonly #votes: Map<string, NodeId> = new Map();
  readonly #entries: Map<string, string> = new Map();
  readonly #committed: Map<number, Term> = new Map();
  readonly #states: Map<number, number> = new Map();
  readonly #reads: Map<string, number> = new Map();
  #highestCommitted = 0;
  readonly counts = { elections: 0, committed: 0, reads: 0, stranded: 0 };

  get highestCommitted(): number {
    return this.#highestCommitted;
  }

  /** Election safety: at most one leader per term. Leader completeness: it has everything committed before. */
  observe(node: RawNode, storage: LogStorage): void {
    if (node.committed > this.#highestCommitted) this.#highestCommitted = node.committed;
    if (node.role !== Role.Leader) return;
    const known = this.#leaders.get(node.term);
    if (known === node.id) return;
    if (known !== undefined) throw new Violation("election safety", `${known} and ${node.id} lead term ${node.term}`);
    this.#leaders.set(node.term, node.id);
    this.counts.elections++;
    for (const [index, term] of this.#committed) {
      // Its own log up to the election is all durable, so storage shows it.
      if (index < storage.firstIndex()) continue;
      if (storage.term(index as Index) !== term) {
        throw new Violation("leader completeness", `${node.id} leads term ${node.term} without entry ${term}/${index}`);
      }
    }
  }

  /** A vote that left its node: at most one per term, across crashes. */
  voted(voter: NodeId, term: Term, candidate: NodeId): void {
    const key = `${voter} ${term}`;
    const known = this.#votes.get(key);
    if (known !== undefined && known !== candidate) {
      throw new Violation("one vote per term", `${voter} voted for ${known} and ${candidate} in term ${term}`);
    }
    this.#votes.set(key, candidate);
  }

  /** Log matching, by induction: index and term decide an entry's content and its predecessor's term. */
  entryStored(entry: Entry, previousTerm: Term | undefined): void {
    if (previousTerm === undefined) throw new Violation("contiguous log", `entry ${entry.index} follows nothing`);
    const key = `${entry.term}/${entry.index}`;
    const content = `${entry.type} ${previousTerm} ${Buffer.from(entry.data).toString("hex")}`;
    const known = this.#entries.get(key);
    if (known !== undefined && known !== content) {
      throw new Violation("log matching", `entry ${key} is both (${known}) and (${content})`);
    }
    this.#entries.set(key, content);
  }

  entryCommitted(entry: Entry): void {
    const known = this.#committed.get(entry.index);
    if (known !== undefined && known !== entry.term) {
      throw new Violation("state machine safety", `entries ${known} and ${entry.term} applied at ${entry.index}`);
    }
    if (known === undefined) this.counts.committed++;
    this.#committed.set(entry.index, entry.term);
  }

  /** State machine safety: whoever reaches an index is in the same state there. */
  stateReached(index: Index, hash: number): void {
    const known = this.#states.get(index);
    if (known !== undefined && known !== hash) {
      throw new Violation("state machine safety", `states ${known} and ${hash} at index ${index}`);
    }
    this.#states.set(index, hash);
  }

  /** A read was asked for; returns nothing, but remembers what it must at least see. */
  readAsked(context: Uint8Array): void {
    this.#reads.set(Buffer.from(context).toString("hex"), this.#highestCommitted);
  }

  /** Linearizable reads: an answer covers everything that was committed anywhere before the question. */
  readAnswered(context: Uint8Array, index: Index): void {
    const needed = this.#reads.get(Buffer.from(context).toString("hex"));
    if (needed === undefined) throw new Violation("reads", "an answer to a question nobody asked");
    if (index < needed) throw new Violation("linearizable reads", `answered with ${index}, ${needed} was committed`);
    this.counts.reads++;
  }
}
