/**
 * The leader's checks that all members hold the same (semantics §9.8): now and then over everything (--corrupt-check-time),
 * and over what compactions have left a hash of (feature gate CompactHashCheck, --compact-hash-check-time). Who differs is
 * named by the alarm CORRUPT, through the log; every member refuses writes from there on.
 *
 *   periodic       own hash ─▶ the others' at its revision ─▶ linearizable read ─▶ own hash again ─▶ findings
 *   compact hash   newest not verified ─▶ the others' at its revision ─┬─ the same everywhere ─▶ verified, done
 *                        ▲                                             ├─ different ─▶ alarm, done
 *                        └──────────── the next older ◀────────────────┴─ not known of all
 *
 * The server makes one and stops it before the member. One check of a kind at a time; the next begins its wait when the
 * last has come to its end.
 */
import { AlarmAction, AlarmType, RaftOp } from "@quorate/api";
import { AlarmRequest } from "@quorate/api/messages";
import { idText } from "@quorate/membership";
import type { KvHash } from "@quorate/mvcc";
import type { Log } from "@quorate/world";
import type { Member } from "../member/member.ts";
import type { HashKv } from "../peers/peer-requests.ts";
import { hashKv } from "../services/hash-kv.ts";
import { Intervals } from "../world/intervals.ts";
import { compactHashVerdict, type PeerHash, periodicFindings } from "./findings.ts";
import { type AskHash, askPeers } from "./peer-hashes.ts";

export interface CorruptionMonitorOptions {
  /** 0: never. */
  readonly corruptCheckMs: number;
  /** 0: never. */
  readonly compactHashCheckMs: number;
  readonly askHash: AskHash;
  readonly log: Log;
}

export class CorruptionMonitor {
  readonly #member: Member;
  readonly #options: CorruptionMonitorOptions;
  readonly #intervals: Intervals;
  #isStopped = false;
  #isCheckingAll = false;
  #isCheckingCompactions = false;
  /** The newest revision whose compaction hash is the same on all members. */
  #verifiedRevision = 0;

  constructor(member: Member, options: CorruptionMonitorOptions) {
    this.#member = member;
    this.#options = options;
    this.#intervals = new Intervals(member.options.timers);
  }

  start(): void {
    const { corruptCheckMs, compactHashCheckMs, log } = this.#options;
    if (corruptCheckMs > 0) {
      log.info("enabled corruption checking", {
        "local-member-id": idText(this.#member.id),
        "interval-ms": corruptCheckMs,
      });
      this.#intervals.every(corruptCheckMs, () => this.#checkAll());
    }
    if (compactHashCheckMs > 0) this.#intervals.every(compactHashCheckMs, () => this.#checkCompactions());
  }

  stop(): void {
    this.#isStopped = true;
    this.#intervals.stop();
  }

  // --- periodic

  #checkAll(): void {
    if (this.#isCheckingAll || !this.#member.isLeader) return;
    this.#isCheckingAll = true;
    this.#hash((first) => {
      this.#askPeers(first.hashRevision, (peers) => {
        this.#member.read({
          readReady: () => this.#hash((second) => this.#findAll(first, second, peers), this.#allChecked),
          readFailed: (error) => {
            this.#isCheckingAll = false;
            this.#options.log.warn("failed to check hash KV", { error });
          },
        });
        this.#member.flush();
      });
    }, this.#allChecked);
  }

  #findAll(first: HashKv, second: HashKv, peers: readonly PeerHash[]): void {
    this.#isCheckingAll = false;
    if (!this.#member.isLeader) return;
    const checked = peers.filter((each) => each.answer.kind === "hashed");
    const corrupt = periodicFindings(this.#member.id, first, second, peers);
    if (corrupt.length > 0) {
      this.#options.log.warn("found hash mismatch", {
        "leader-revision": first.hashRevision,
        "leader-compact-revision": first.compactRevision,
        "leader-hash": first.hash,
        peers: checked.map(shown),
      });
    }
    this.#alarm(corrupt);
    this.#options.log.info("finished peer corruption check", { "number-of-peers-checked": checked.length });
  }

  readonly #allChecked = (): void => {
    this.#isCheckingAll = false;
  };

  // --- compact hash

  #checkCompactions(): void {
    if (this.#isCheckingCompactions || !this.#member.isLeader) return;
    const hashes = this.#member.store
      .compactionHashes()
      .filter((each) => each.revision > this.#verifiedRevision)
      .reverse();
    this.#isCheckingCompactions = true;
    this.#checkCompaction(hashes, 0);
  }

  #checkCompaction(hashes: readonly KvHash[], at: number): void {
    const { log } = this.#options;
    const hash = hashes[at];
    if (hash === undefined || !this.#member.isLeader) {
      this.#isCheckingCompactions = false;
      log.info("finished compaction hash check", { "number-of-hashes-checked": at });
      return;
    }
    this.#askPeers(hash.revision, (peers) => {
      // Alone there is nobody to compare with.
      if (peers.length > 0 && this.#judge(hash, peers)) this.#checkCompaction([], at + 1);
      else this.#checkCompaction(hashes, at + 1);
    });
  }

  /** Whether there is no need to look at older ones. */
  #judge(hash: KvHash, peers: readonly PeerHash[]): boolean {
    const { log } = this.#options;
    const verdict = compactHashVerdict(this.#member.id, hash, peers);
    const fields = { revision: hash.revision, compactRevision: hash.compactRevision };
    switch (verdict.kind) {
      case "same":
        this.#verifiedRevision = Math.max(this.#verifiedRevision, hash.revision);
        log.info("successfully checked hash on whole cluster", {
          "number-of-peers-checked": peers.length,
          ...fields,
        });
        return true;
      case "unknown":
        log.warn("skipped revision in compaction hash check; was not able to check all peers", {
          "number-of-peers": peers.length,
          ...fields,
        });
        return false;
      case "different":
        log.error("Detected compaction hash mismatch", {
          "leader-id": idText(this.#member.id),
          "leader-hash": hash.hash,
          peers: peers.map(shown),
          "corrupt-ids": verdict.corrupt.map(idText),
          ...fields,
        });
        this.#alarm(verdict.corrupt);
        return true;
      default:
        return verdict satisfies never;
    }
  }

  // ---

  /** Of this member's keys as they are now. `givenUp`: a snapshot has replaced them, or the server stops. */
  #hash(done: (hashed: HashKv) => void, givenUp: () => void): void {
    hashKv(
      this.#member,
      0,
      () => !this.#isStopped,
      (hashed) => {
        if (hashed === null) givenUp();
        else done(hashed);
      },
    );
  }

  #askPeers(revision: number, done: (peers: readonly PeerHash[]) => void): void {
    askPeers(this.#member, this.#options.askHash, revision, (peers) => {
      if (!this.#isStopped) done(peers);
    });
  }

  #alarm(ids: readonly bigint[]): void {
    const raised = this.#member.alarms.list(AlarmType.CORRUPT);
    for (const memberID of ids) {
      if (raised.some((each) => each.memberId === memberID)) continue;
      const bytes = AlarmRequest.encode({ action: AlarmAction.ACTIVATE, memberID, alarm: AlarmType.CORRUPT });
      // If it is lost, the next check finds the same.
      const handler = { applied: () => {}, failed: () => {} };
      this.#member.propose(RaftOp.Alarm, bytes, 0, bytes.length, handler, null, null);
    }
  }
}

function shown({ memberId, answer }: PeerHash): string {
  if (answer.kind !== "hashed") return `${idText(memberId)} ${answer.kind}`;
  const { hash, compactRevision, revision } = answer.hashed;
  return `${idText(memberId)} hash ${hash} compact revision ${compactRevision} revision ${revision}`;
}
