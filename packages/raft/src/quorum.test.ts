/** covers: MB-09 (counting the new member as down is counting it as 0) */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { jointCommittedIndex, jointVoteResult, majorityCommittedIndex } from "./quorum.ts";

const ids = fc.uniqueArray(fc.bigInt(1n, 7n), { maxLength: 7 });
const acks = fc.array(fc.option(fc.nat({ max: 9 }), { nil: undefined }), { minLength: 8, maxLength: 8 });

/** The definition: the highest index that more than half of the voters have reached. */
function slowly(voters: readonly bigint[], acked: readonly (number | undefined)[]): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  for (let index = 9; index > 0; index--) {
    const count = voters.filter((id) => (acked[Number(id)] ?? 0) >= index).length;
    if (count * 2 > voters.length) return index;
  }
  return 0;
}

test("the committed index is the highest one a majority of each half has reached", () => {
  fc.assert(
    fc.property(ids, ids, acks, (incoming, outgoing, acked) => {
      const lookup = { ackedIndex: (id: bigint) => acked[Number(id)] };
      assert.equal(majorityCommittedIndex(incoming, lookup), slowly(incoming, acked));
      const joint = Math.min(slowly(incoming, acked), slowly(outgoing, acked));
      assert.equal(jointCommittedIndex(incoming, outgoing, lookup), joint);
    }),
  );
});

test("a vote is won, lost or open as the votes still missing can decide", () => {
  const votes = fc.array(fc.option(fc.boolean(), { nil: undefined }), { minLength: 8, maxLength: 8 });
  const wins = (voters: readonly bigint[], given: ReadonlyMap<bigint, boolean>): boolean =>
    voters.length === 0 || voters.filter((id) => given.get(id) === true).length * 2 > voters.length;
  fc.assert(
    fc.property(ids, ids, votes, (incoming, outgoing, cast) => {
      const given = new Map<bigint, boolean>();
      cast.forEach((vote, id) => {
        if (vote !== undefined) given.set(BigInt(id), vote);
      });
      const atBest = new Map(given);
      for (let id = 0n; id < 8n; id++) if (!given.has(id)) atBest.set(id, true);
      const isWon = wins(incoming, given) && wins(outgoing, given);
      const isLost = !(wins(incoming, atBest) && wins(outgoing, atBest));
      const result = jointVoteResult(incoming, outgoing, given);
      assert.equal(result, isWon ? "won" : isLost ? "lost" : "pending");
    }),
  );
});
