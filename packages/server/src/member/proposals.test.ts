/** When what is proposed is refused, before it gets anywhere near the log. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ErrorKind, RaftOp } from "@quorate/api";
import { LeaseRevokeRequest, PutRequest } from "@quorate/api/messages";
import { FakeCall } from "../testing/fake-call.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import { MemberCounters } from "./member-counters.ts";
import type { ProposalHandler } from "./pending.ts";
import { Proposals } from "./proposals.ts";
import { RequestIds } from "./request-ids.ts";

/** etcd's. */
const LAG = 5000;

class Scene {
  /** What consensus was given. */
  count = 0;
  /** What a caller was told at once. */
  readonly refused: ErrorKind[] = [];
  readonly proposals: Proposals;
  readonly consensus = {
    commitIndex: 0,
    appliedIndex: 0,
    propose: () => this.count++,
    proposeConfChange: () => this.count++,
  };

  constructor() {
    this.proposals = new Proposals(
      {
        ids: new RequestIds(1n, 1_700_000_000_000),
        state: { auth: { isEnabled: false } } as never,
        consensus: this.consensus as never,
        timeoutOf: () => "Timeout",
        maxEntryBytes: 1024 * 1024,
        requestTimeoutMs: 7000,
        counters: new MemberCounters(),
      },
      { maxRequestBytes: 1000, clock: new ManualWorld() },
    );
  }

  put(valueBytes = 1): void {
    this.#propose(RaftOp.Put, PutRequest.encode({ key: Buffer.from("k"), value: Buffer.alloc(valueBytes) }));
  }

  revoke(): void {
    this.#propose(RaftOp.LeaseRevoke, LeaseRevokeRequest.encode({ ID: 7n }));
  }

  revokeOfOurOwn(): void {
    this.proposals.proposeOwn(RaftOp.LeaseRevoke, LeaseRevokeRequest.encode({ ID: 7n }), this.#handler);
  }

  readonly #handler: ProposalHandler = {
    applied: () => {},
    failed: (_pending, error) => this.refused.push(error),
  };

  #propose(op: RaftOp, bytes: Uint8Array): void {
    this.proposals.propose(op, bytes, 0, bytes.length, this.#handler, new FakeCall("/put"), null);
  }
}

// covers: QU-10, LE-12
test("too many requests are refused while so many committed entries wait to be applied, the member's own never", () => {
  const scene = new Scene();
  scene.consensus.commitIndex = 10 + LAG;
  scene.consensus.appliedIndex = 10;
  scene.put();
  assert.deepEqual([scene.count, scene.refused], [1, []]);
  scene.consensus.commitIndex++;
  scene.put();
  scene.revoke();
  assert.deepEqual([scene.count, scene.refused], [1, ["TooManyRequests", "TooManyRequests"]]);
  scene.revokeOfOurOwn();
  assert.deepEqual([scene.count, scene.refused.length], [2, 2]);
  scene.consensus.appliedIndex++;
  scene.put();
  assert.equal(scene.count, 3);
});

test("changes of the membership are not refused for load", () => {
  const scene = new Scene();
  scene.consensus.commitIndex = 2 * LAG;
  const handler: ProposalHandler = { applied: () => {}, failed: () => assert.fail("it was refused") };
  scene.proposals.proposeChange({ kind: "remove", id: 7n }, handler, null);
  assert.equal(scene.count, 1);
});

test("a request that is too large is refused, and all are once the member has stopped", () => {
  const scene = new Scene();
  scene.put(1000);
  assert.deepEqual(scene.refused, ["RequestTooLarge"]);
  scene.proposals.stop();
  scene.put();
  scene.revokeOfOurOwn();
  assert.deepEqual([scene.count, scene.refused.slice(1)], [0, ["Stopped", "Stopped"]]);
});
