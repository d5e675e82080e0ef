/**
 * What members ask the leader besides raft (leases, promotions), over the simulated network: a question takes its time
 * there, so does the answer, and either may be lost; after a while there is none.
 */
import type { LeaderLink, PeerRequests } from "@quorate/server/testing";
import type { SimProcess } from "./sim-process.ts";
import type { SimTime } from "./sim-time.ts";

/** Who asks, or is asked. */
export interface Party {
  readonly process: SimProcess;
}

export interface LeaderLinkWorld {
  readonly time: SimTime;
  readonly delayMs: number;
  /** Who listens at one of these URLs and is connected with us now; null: nobody. */
  reach(urls: readonly string[]): (Party & { readonly requests: PeerRequests }) | null;
}

interface FailedOutcome {
  readonly kind: "failed";
  readonly message: string;
}

const TIMEOUT_MS = 1000;

/** For one run of a member's program. */
export function simLeaderLink(asker: Party, world: LeaderLinkWorld): LeaderLink {
  const ask = <Outcome>(
    urls: readonly string[],
    done: (outcome: Outcome | FailedOutcome) => void,
    question: (requests: PeerRequests, answer: (outcome: Outcome | FailedOutcome) => void) => void,
  ): void => {
    const { time, delayMs } = world;
    let isDone = false;
    const end = (outcome: Outcome | FailedOutcome): void => {
      if (isDone) return;
      isDone = true;
      done(outcome);
    };
    time.after(TIMEOUT_MS, () => end({ kind: "failed", message: "timed out" }), asker.process);
    time.after(delayMs, () => {
      const asked = world.reach(urls);
      if (asked === null) {
        time.after(delayMs, () => end({ kind: "failed", message: "unreachable" }), asker.process);
        return;
      }
      asked.process.deliver(() =>
        question(asked.requests, (outcome) => {
          if (world.reach(urls) !== null) time.after(delayMs, () => end(outcome), asker.process);
        }),
      );
    });
  };
  return {
    leaseKeepAlive: (urls, id, done) => ask(urls, done, (leader, answer) => leader.leaseKeepAlive(id, answer)),
    leaseTimeToLive: (urls, id, withKeys, done) =>
      ask(urls, done, (leader, answer) => leader.leaseTimeToLive(id, withKeys, answer)),
    promote: (urls, id, token, done) => ask(urls, done, (leader, answer) => leader.promote(id, token, answer)),
  };
}
