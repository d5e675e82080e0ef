/** covers: MB-02, MB-04, MB-13 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Changer, type Configuration, restoreConfiguration } from "./changer.ts";
import { ConfChangeTransition, ConfChangeType } from "./conf-change.ts";
import { InvalidConfChange } from "./errors.ts";
import { Inflights } from "./inflights.ts";
import { NO_BYTES } from "./message.ts";
import { SeededRandom } from "./testing/seeded-random.ts";
import { checkConfig, describeConfig } from "./tracker.ts";
import { EMPTY_CONF_STATE, type Index, type NodeId } from "./types.ts";

const newInflights = (): Inflights => new Inflights(10, 0);

function restored(voters: readonly NodeId[], learners: readonly NodeId[]): Configuration {
  return restoreConfiguration({ ...EMPTY_CONF_STATE, voters, learners }, 1 as Index, newInflights);
}

test("whatever is changed, a configuration keeps its invariants and survives being stored", () => {
  let changed = 0;
  for (let seed = 1; seed <= 100; seed++) {
    const random = new SeededRandom(seed);
    let now = restored([1n], []);
    for (let step = 0; step < 50; step++) {
      const changes = [];
      for (let i = random.below(4); i > 0; i--) {
        changes.push({ type: random.pick(Object.values(ConfChangeType)), nodeId: BigInt(random.below(6)) });
      }
      const transition = random.pick(Object.values(ConfChangeTransition));
      const before = describeConfig(now.config);
      const marks = [...now.progress.values()].map((one) => `${one.id} ${one}`);
      try {
        const next = new Changer(now, 10 as Index, newInflights).change({ transition, changes, context: NO_BYTES });
        changed++;
        checkConfig(next.config, next.progress);
        const again = restoreConfiguration(next.config, 10 as Index, newInflights);
        assert.deepEqual(again.config, next.config);
        assert.deepEqual([...again.progress.keys()].sort(), [...next.progress.keys()].sort());
        now = next;
      } catch (error) {
        if (!(error instanceof InvalidConfChange)) throw error;
        assert.equal(describeConfig(now.config), before);
        assert.deepEqual(
          [...now.progress.values()].map((one) => `${one.id} ${one}`),
          marks,
        );
      }
    }
  }
  assert.ok(changed > 300, `${changed} changes were legal`);
});

test("any two configurations next to each other share a voter in every pair of quorums", () => {
  // Simple changes move one voter at most, which is what makes their majorities overlap.
  const now = restored([1n, 2n, 3n], [4n]);
  const simple = (nodeId: NodeId, type: ConfChangeType): Configuration =>
    new Changer(now, 1 as Index, newInflights).simple([{ type, nodeId }]);
  assert.deepEqual(simple(4n, ConfChangeType.AddNode).config.voters, [1n, 2n, 3n, 4n]);
  assert.deepEqual(simple(3n, ConfChangeType.RemoveNode).config.voters, [1n, 2n]);
  assert.throws(
    () =>
      new Changer(now, 1 as Index, newInflights).simple([
        { type: ConfChangeType.AddNode, nodeId: 4n },
        { type: ConfChangeType.RemoveNode, nodeId: 3n },
      ]),
    { kind: "InvalidConfChange", message: "more than one voter changed without entering joint config" },
  );
});

test("updating a learner leaves it a learner", () => {
  const now = restored([1n], [2n]);
  const next = new Changer(now, 1 as Index, newInflights).simple([{ type: ConfChangeType.UpdateNode, nodeId: 2n }]);
  assert.deepEqual(next.config, now.config);
});

test("ids sort as numbers, not as text", () => {
  assert.deepEqual(restored([10n, 9n, 18446744073709551000n], []).config.voters, [9n, 10n, 18446744073709551000n]);
});
