/**
 * Linearizable reads without writing to the log (raft thesis §6.4): a leader notes its commit index when a read
 * arrives, proves with one round of heartbeats that it still led afterwards, and then answers with that index.
 *
 * Reads are numbered as they come, from 1, anew in each term. A heartbeat carries the number of the newest read (u64,
 * little endian), its answer brings it back, and the (joint) quorum index over those answers says how many reads, in
 * order, are confirmed. So an answer can only confirm reads that arrived before its heartbeat left: a late answer to an
 * earlier heartbeat carries a smaller number (known failure RA-05). Whatever the number says, it comes from a member
 * that called this node its leader in this term.
 *
 *   confirmed            confirmed + pending.length
 *   ────┼─────────────────────┼──▶ reads
 *       │ waiting for a quorum │
 */
import { Buffer } from "node:buffer";
import { type Message, NO_BYTES } from "./message.ts";
import { type AckedIndexes, jointCommittedIndex } from "./quorum.ts";
import type { ConfState, Index, NodeId } from "./types.ts";

/** "safe": confirmed by a quorum. "lease": answered at once, which is right only while clocks keep pace. */
export type ReadOnlyOption = "safe" | "lease";

export interface PendingRead {
  /** What was committed when the read arrived. */
  readonly index: Index;
  readonly request: Message;
}

export class ReadOnlyQueue implements AckedIndexes {
  #confirmed = 0;
  #pending: PendingRead[] = [];
  readonly #acked: Map<NodeId, number> = new Map();

  /** Queues a read; the leader itself confirms it at once. */
  add(index: Index, request: Message, self: NodeId): void {
    this.#pending.push({ index, request });
    this.#acked.set(self, this.#newest());
  }

  /** What the next heartbeat carries: the newest read's number, or nothing if none waits. */
  heartbeatContext(): Uint8Array {
    if (this.#pending.length === 0) return NO_BYTES;
    const context = Buffer.allocUnsafe(8);
    context.writeUInt32LE(this.#newest() % 0x1_0000_0000, 0);
    context.writeUInt32LE(Math.floor(this.#newest() / 0x1_0000_0000), 4);
    return context;
  }

  /**
   * A member answered a heartbeat. Returns the reads that are thereby confirmed, oldest first. A context this node
   * cannot have sent is ignored.
   */
  acknowledge(from: NodeId, context: Uint8Array, config: ConfState): readonly PendingRead[] {
    if (context.length !== 8) return NOTHING_CONFIRMED;
    const view = Buffer.from(context.buffer, context.byteOffset, 8);
    const number = view.readUInt32LE(4) * 0x1_0000_0000 + view.readUInt32LE(0);
    if (number > this.#newest()) return NOTHING_CONFIRMED;
    if (number > (this.#acked.get(from) ?? 0)) this.#acked.set(from, number);

    const quorum = jointCommittedIndex(config.voters, config.votersOutgoing, this);
    if (quorum <= this.#confirmed) return NOTHING_CONFIRMED;
    const confirmed = this.#pending.splice(0, quorum - this.#confirmed);
    this.#confirmed += confirmed.length;
    return confirmed;
  }

  /** For the quorum arithmetic: the newest read `id` has confirmed. */
  ackedIndex(id: NodeId): number | undefined {
    return this.#acked.get(id);
  }

  /** Forgets everything: reads of an earlier term are never answered, their askers ask again. */
  reset(): void {
    this.#confirmed = 0;
    this.#pending = [];
    this.#acked.clear();
  }

  #newest(): number {
    return this.#confirmed + this.#pending.length;
  }
}

const NOTHING_CONFIRMED: readonly PendingRead[] = [];
