/**
 * What raft and the store promise, checked while it happens: each report is compared with everything that any member ever
 * did, and the first contradiction throws (raft paper, figure 3; known failures §1.5). Crashes are no excuse: what a member
 * said before one counts after it.
 *
 *   log says durable ──▶ DurableLog of the machine ──┐
 *   message leaves ─────▶ is what it says durable? ◀─┤
 *   entries applied ────▶ the same everywhere? on a quorum's disks? ◀┘
 *   after every event ──▶ one leader a term; term, commit and applied index never go back; equal state at equal index
 */
import { Buffer } from "node:buffer";
import {
  type ConfState,
  type Entry,
  type HardState,
  index,
  type Message,
  MessageType,
  type NodeId,
  type RawNode,
  Role,
} from "@quorate/raft";
import type { Member, MemberParts } from "@quorate/server/testing";
import { DurableLog } from "./durable-log.ts";
import type { NetworkObserver } from "./sim-network.ts";
import type { Verdict } from "./violation.ts";

/** One run of one member's program. */
interface Watched {
  readonly id: NodeId;
  readonly name: string;
  readonly raft: RawNode;
  readonly member: Member;
  readonly parts: MemberParts;
  term: number;
  committed: number;
  applied: number;
  role: Role;
  /** A new leader's last entry; its log is looked at when that is durable. 0: done. */
  unprovenIndex: number;
}

interface KnownEntry {
  readonly term: number;
  readonly previousTerm: number;
  readonly type: number;
  readonly data: Uint8Array;
}

/** A write of the log that has not been reported durable. */
interface PendingSave {
  readonly firstIndex: number;
  readonly hardState: HardState | null;
}

export class Invariants implements NetworkObserver {
  readonly #names: (id: NodeId) => string;
  readonly #verdict: Verdict;
  readonly #logs: Map<NodeId, DurableLog> = new Map();
  readonly #pendingSaves: Map<NodeId, PendingSave> = new Map();
  readonly #running: Map<NodeId, Watched> = new Map();
  readonly #leaders: Map<number, NodeId> = new Map();
  readonly #votes: Map<string, NodeId> = new Map();
  /** By index: every entry that was ever durable somewhere, one per term. */
  readonly #entries: KnownEntry[][] = [];
  /** By index: what was applied, and the store's revision after it where some member stopped there. */
  readonly #applied: Entry[] = [];
  /** By index: the term in which it was committed, or a later one. */
  readonly #committedBy: number[] = [];
  readonly #revisions: number[] = [];
  /** In force now and before, as of the newest entry applied anywhere. */
  #configs: ConfState[] = [];
  readonly counts = { elections: 0, applied: 0, stateChecks: 0, durableEntries: 0 };

  constructor(verdict: Verdict, names: (id: NodeId) => string) {
    this.#verdict = verdict;
    this.#names = names;
  }

  /** The newest index applied anywhere. */
  get highestApplied(): number {
    return this.#applied.length - 1;
  }

  /** What a running member's raft says of itself. */
  status(id: NodeId): { readonly role: Role; readonly term: number } | null {
    const watched = this.#running.get(id);
    return watched === undefined ? null : { role: watched.raft.role, term: watched.raft.term };
  }

  // --- a member starts and ends

  /** A member has opened its parts and not done anything yet. */
  opened(parts: MemberParts): void {
    const { id, logStorage, wal } = parts;
    let log = this.#logs.get(id);
    if (log === undefined) {
      log = new DurableLog();
      this.#logs.set(id, log);
    }
    this.#compareWithDisk(parts, log);
    this.#pendingSaves.delete(id);
    log.restartAt(logStorage.firstIndex() - 1, logStorage.term(index(logStorage.firstIndex() - 1)) ?? 0);
    log.append(
      logStorage.entries(logStorage.firstIndex(), index(logStorage.lastIndex() + 1), Number.POSITIVE_INFINITY) ?? [],
    );
    this.#remember(
      id,
      log,
      logStorage.entries(logStorage.firstIndex(), index(logStorage.lastIndex() + 1), Number.POSITIVE_INFINITY) ?? [],
    );
    log.setHardState(logStorage.initialState().hardState);
    this.#spyOnLog(wal, id, log);
  }

  /** It is about to start. */
  started(member: Member, parts: MemberParts): void {
    const watched: Watched = {
      id: parts.id,
      name: this.#names(parts.id),
      raft: parts.raft,
      member,
      parts,
      term: 0,
      committed: 0,
      applied: member.backend.appliedIndex,
      role: Role.Follower,
      unprovenIndex: 0,
    };
    this.#running.set(parts.id, watched);
    const apply = member.apply.bind(member);
    member.apply = (entries) => {
      this.#checkApplied(watched, entries);
      apply(entries);
    };
  }

  ended(id: NodeId): void {
    this.#running.delete(id);
  }

  /** The disk of this member was lost for good, or it was removed: it owes nothing any more. */
  forget(id: NodeId): void {
    this.#running.delete(id);
    this.#logs.delete(id);
  }

  // --- reports

  /** What is said to others must be on disk: it counts for ever (RA-02, RA-03). */
  sent(from: NodeId, message: Message): void {
    const log = this.#logs.get(from)!;
    if (message.reject) return;
    if (message.type === MessageType.VoteResp) {
      // A later term on disk is as good: it can not vote in this one any more.
      if (log.term < message.term || (log.term === message.term && log.vote !== message.to)) {
        throw this.#verdict.broken(
          "votes are durable before they leave",
          `${this.#names(from)} votes in term ${message.term}`,
        );
      }
      const key = `${from} ${message.term}`;
      const known = this.#votes.get(key);
      if (known !== undefined && known !== message.to) {
        throw this.#verdict.broken(
          "one vote per term",
          `${this.#names(from)} voted for ${this.#names(known)} and ${this.#names(message.to)} in term ${message.term}`,
        );
      }
      this.#votes.set(key, message.to);
    } else if (message.type === MessageType.Vote) {
      // Who forgot that it stood could be elected twice in one term.
      if (log.term < message.term || (log.term === message.term && log.vote !== from)) {
        throw this.#verdict.broken(
          "a term is durable before votes are asked for",
          `${this.#names(from)} stands in term ${message.term}, its disk is in term ${log.term}`,
        );
      }
    } else if (message.type === MessageType.AppResp) {
      // Of an entry that a later term has replaced in the same write, the acknowledgement may come all the same: it is as
      // if the write had been two.
      if (log.term < message.term || (log.term === message.term && message.index > log.lastIndex)) {
        throw this.#verdict.broken(
          "entries are durable before they are acknowledged",
          `${this.#names(from)} acknowledges ${message.index} in term ${message.term}, its disk has ${log.lastIndex} in term ${log.term}`,
        );
      }
    }
  }

  /** After every event. */
  check(): void {
    for (const watched of this.#running.values()) {
      const { raft } = watched;
      const { backend, store } = watched.member;
      const { term, committed, role } = raft;
      if (term < watched.term)
        throw this.#verdict.broken("terms never go back", `${watched.name} from ${watched.term} to ${term}`);
      if (committed < watched.committed) {
        throw this.#verdict.broken(
          "what is committed stays so",
          `${watched.name} from ${watched.committed} to ${committed}`,
        );
      }
      // Older entries are committed with the first of the own term only (raft paper, figure 8).
      const committedTerm = this.#logs.get(watched.id)!.termAt(committed);
      const isCounting = role === Role.Leader && watched.role === Role.Leader && watched.term === term;
      if (isCounting && committed > watched.committed && committedTerm !== undefined && committedTerm !== term) {
        throw this.#verdict.broken(
          "a leader counts copies of its own term's entries only",
          `${watched.name}, leader of term ${term}, committed ${committedTerm}/${committed}`,
        );
      }
      watched.committed = committed;
      if (role !== watched.role || term !== watched.term) {
        watched.role = role;
        watched.term = term;
        if (role === Role.Leader) this.#elected(watched);
      }
      if (watched.unprovenIndex > 0) this.#checkCompleteness(watched);
      const applied = backend.appliedIndex;
      if (applied === watched.applied) continue;
      if (applied < watched.applied) {
        throw this.#verdict.broken("what is applied stays so", `${watched.name} from ${watched.applied} to ${applied}`);
      }
      if (applied > committed) {
        throw this.#verdict.broken(
          "only committed entries are applied",
          `${watched.name} at ${applied}, committed ${committed}`,
        );
      }
      watched.applied = applied;
      this.#checkState(watched.name, applied, store.revision);
    }
  }

  // --- at the end

  /** All members have the same state; they must be at rest, at one applied index. */
  checkAgreement(): void {
    let first: { name: string; applied: number; text: string } | null = null;
    for (const { name, member } of this.#running.values()) {
      const { store, lessor, membership, backend } = member;
      const task = store.startHash(0);
      while (task.step(100_000)) {
        // In one go: nothing else happens meanwhile.
      }
      const leases = lessor.leases().map(String).sort().join(",");
      const members = JSON.stringify(membership.members(), (_key, value) =>
        typeof value === "bigint" ? String(value) : value,
      );
      const text = `hash ${task.hash} of revision ${task.revision}, leases ${leases}, members ${members}`;
      const state = { name, applied: backend.appliedIndex, text };
      if (first === null) first = state;
      else if (first.applied !== state.applied || first.text !== state.text) {
        throw this.#verdict.broken("members agree in the end", `${JSON.stringify(first)} and ${JSON.stringify(state)}`);
      }
    }
  }

  // --- parts

  #spyOnLog(wal: MemberParts["wal"], id: NodeId, log: DurableLog): void {
    const save = wal.save.bind(wal);
    wal.save = (entries, hardState, done) => {
      this.#pendingSaves.set(id, { firstIndex: entries[0]?.index ?? Number.POSITIVE_INFINITY, hardState });
      save(entries, hardState, (error) => {
        if (error === null) {
          log.append(entries);
          if (hardState !== null) log.setHardState(hardState);
          this.#remember(id, log, entries);
          this.#pendingSaves.delete(id);
        }
        done(error);
      });
    };
    const replace = wal.replaceWithSnapshot.bind(wal);
    wal.replaceWithSnapshot = (mark, hardState, done) => {
      this.#pendingSaves.set(id, { firstIndex: 0, hardState });
      replace(mark, hardState, (error) => {
        if (error === null) {
          log.restartAt(mark.index, mark.term);
          log.setHardState(hardState);
          this.#pendingSaves.delete(id);
        }
        done(error);
      });
    };
  }

  /** After a start: what the log once called durable is there, but for the tail that an unfinished write replaced. */
  #compareWithDisk(parts: MemberParts, log: DurableLog): void {
    const { id, logStorage } = parts;
    const name = this.#names(id);
    const pending = this.#pendingSaves.get(id);
    if (pending !== undefined) log.truncate(pending.firstIndex);
    const { hardState } = logStorage.initialState();
    // Term 0: nothing was ever called durable, but for what the opening itself has written.
    const isOld = log.term === 0 || (hardState.term === log.term && hardState.vote === log.vote);
    const isNew = pending?.hardState?.term === hardState.term && pending.hardState.vote === hardState.vote;
    if (!isOld && !isNew) {
      throw this.#verdict.broken(
        "the hard state survives a crash",
        `${name} had term ${log.term}, has ${hardState.term}`,
      );
    }
    if (pending?.firstIndex === 0) return;
    for (let at = Math.max(log.base + 1, logStorage.firstIndex()); at <= log.lastIndex; at++) {
      const found = logStorage.term(index(at));
      if (found !== log.termAt(at)) {
        throw this.#verdict.broken(
          "the log survives a crash",
          `${name} had ${log.termAt(at)}/${at}, has ${found}/${at}`,
        );
      }
    }
  }

  /** Log matching, by induction: index and term decide an entry and its predecessor's term. */
  #remember(id: NodeId, log: DurableLog, entries: readonly Entry[]): void {
    for (const entry of entries) {
      const previousTerm = log.termAt(entry.index - 1);
      if (previousTerm === undefined) continue;
      this.counts.durableEntries++;
      this.#entries[entry.index] ??= [];
      const terms = this.#entries[entry.index]!;
      const known = terms.find((each) => each.term === entry.term);
      if (known === undefined) {
        terms.push({ term: entry.term, previousTerm, type: entry.type, data: entry.data });
      } else if (
        known.previousTerm !== previousTerm ||
        known.type !== entry.type ||
        Buffer.compare(known.data, entry.data) !== 0
      ) {
        throw this.#verdict.broken(
          "logs match",
          `entry ${entry.term}/${entry.index} of ${this.#names(id)} is not the others'`,
        );
      }
    }
  }

  #elected(leader: Watched): void {
    const known = this.#leaders.get(leader.term);
    if (known !== undefined) {
      // One that led it before a crash, too: what it wrote then, it may have forgotten.
      throw this.#verdict.broken(
        "one leader per term, once",
        `${this.#names(known)} and ${leader.name} lead term ${leader.term}`,
      );
    }
    this.#leaders.set(leader.term, leader.id);
    this.counts.elections++;
    leader.unprovenIndex = leader.raft.lastIndex;
  }

  /** A leader has everything committed in earlier terms. Its log is known once its own first entry is durable. */
  #checkCompleteness(leader: Watched): void {
    const log = this.#logs.get(leader.id)!;
    if (leader.role !== Role.Leader) leader.unprovenIndex = 0;
    if (log.termAt(leader.unprovenIndex) !== leader.term) return;
    const last = Math.min(leader.unprovenIndex, this.#applied.length - 1);
    leader.unprovenIndex = 0;
    for (let at = log.base + 1; at <= last; at++) {
      const entry = this.#applied[at];
      // Votes of an old term may still be counted when later terms have committed more.
      if (entry !== undefined && this.#committedBy[at]! < leader.term && !log.holds(at, entry.term)) {
        throw this.#verdict.broken(
          "leaders are complete",
          `${leader.name} leads term ${leader.term} without ${entry.term}/${at}`,
        );
      }
    }
  }

  #checkApplied(watched: Watched, entries: readonly Entry[]): void {
    const { name, raft, member } = watched;
    let expected = member.backend.appliedIndex + 1;
    const config = raft.status().config;
    for (const entry of entries) {
      if (entry.index !== expected) {
        throw this.#verdict.broken(
          "entries are applied in order",
          `${name} applies ${entry.index}, due is ${expected}`,
        );
      }
      expected++;
      const known = this.#applied[entry.index];
      if (known === undefined) this.#firstApplied(watched, entry, config);
      else if (known.term !== entry.term || known.type !== entry.type || Buffer.compare(known.data, entry.data) !== 0) {
        throw this.#verdict.broken(
          "state machines are safe",
          `${name} applies ${entry.term}/${entry.index}, others ${known.term}/${known.index}`,
        );
      }
    }
  }

  /** Committed means: on the disks of a quorum, whatever becomes of the leader. */
  #firstApplied({ name, raft }: Watched, entry: Entry, config: ConfState): void {
    this.#applied[entry.index] = entry;
    this.#committedBy[entry.index] = raft.term;
    this.counts.applied++;
    if (!this.#configs.some((each) => isSameConfig(each, config)))
      this.#configs = [config, ...this.#configs.slice(0, 1)];
    const holders = (voters: readonly NodeId[]): number =>
      voters.filter((id) => this.#logs.get(id)?.holds(entry.index, entry.term) === true).length;
    const isQuorum = (voters: readonly NodeId[]): boolean => holders(voters) > Math.floor(voters.length / 2);
    const isCommittedIn = ({ voters, votersOutgoing }: ConfState): boolean =>
      isQuorum(voters) && (votersOutgoing.length === 0 || isQuorum(votersOutgoing));
    // The first entries of a cluster are written by each member for itself, before there is a configuration. Otherwise it is
    // the leader's that counts, which may be newer than this member's.
    const isCommitted =
      config.voters.length === 0 ||
      this.#configs.some(isCommittedIn) ||
      [...this.#running.values()].some((each) => isCommittedIn(each.raft.status().config));
    if (!isCommitted) {
      throw this.#verdict.broken(
        "what is applied is durable on a quorum",
        `${name} applies ${entry.term}/${entry.index}, on the disks of ${holders(config.voters)} of ${config.voters.length}`,
      );
    }
  }

  #checkState(name: string, applied: number, revision: number): void {
    this.counts.stateChecks++;
    const known = this.#revisions[applied];
    if (known === undefined) this.#revisions[applied] = revision;
    else if (known !== revision) {
      throw this.#verdict.broken(
        "equal index, equal state",
        `${name} is at revision ${revision} at ${applied}, another at ${known}`,
      );
    }
  }
}

function isSameConfig(a: ConfState, b: ConfState): boolean {
  return String(a.voters) === String(b.voters) && String(a.votersOutgoing) === String(b.votersOutgoing);
}
