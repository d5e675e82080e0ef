/**
 * The check before a member serves anybody (feature gate InitialCorruptCheck; semantics §9.8): if another member has other
 * keys at the same revision, compacted at the same one, this one must not take part. Members that do not answer, are behind
 * or have given up that past already cannot be compared with, which is only logged. A brand-new member has nothing to check.
 */
import { idText } from "@quorate/membership";
import type { Log } from "@quorate/world";
import type { Member } from "../member/member.ts";
import type { HashKv } from "../peers/peer-requests.ts";
import { hashKv } from "../services/hash-kv.ts";
import { differsFromPeers, type PeerHash } from "./findings.ts";
import { type AskHash, askPeers } from "./peer-hashes.ts";

/** This member's keys are not those of the others. */
export class InconsistentWithPeers extends Error {
  readonly kind = "InconsistentWithPeers";
}

/** `member` is not started yet. `done` is called once, with null if it may be. */
export function checkBeforeServing(
  member: Member,
  askHash: AskHash,
  log: Log,
  done: (problem: InconsistentWithPeers | null) => void,
): void {
  const id = idText(member.id);
  log.info("starting initial corruption check", { "local-member-id": id });
  hashKv(
    member,
    0,
    () => true,
    (own) => {
      // Nothing installs a snapshot in a member that is not started.
      askPeers(member, askHash, own!.hashRevision, (peers) => {
        for (const peer of peers) logPeer(own!, peer, log);
        if (differsFromPeers(own!, peers)) {
          return done(new InconsistentWithPeers(`${id} found data inconsistency with peers`));
        }
        log.info("initial corruption checking passed; no corruption", { "local-member-id": id });
        done(null);
      });
    },
  );
}

function logPeer(own: HashKv, { memberId, answer }: PeerHash, log: Log): void {
  const peer = { "remote-peer-id": idText(memberId), "local-member-revision": own.hashRevision };
  if (answer.kind !== "hashed") {
    log.warn("cannot compare with a remote peer", { ...peer, reason: answer.kind });
    return;
  }
  const { hash, compactRevision } = answer.hashed;
  if (hash === own.hash) return;
  const isComparable = compactRevision === own.compactRevision;
  log.warn(`found different ${isComparable ? "hash" : "compact revision"} values from remote peer`, {
    ...peer,
    "local-member-compact-revision": own.compactRevision,
    "local-member-hash": own.hash,
    "remote-peer-compact-revision": compactRevision,
    "remote-peer-hash": hash,
  });
}
