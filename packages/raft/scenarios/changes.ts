/** Reads configuration changes as scenario files write them: `v1 l2 r3 u4`. The inverse of `describeChanges`. */
import { type ConfChangeSingle, ConfChangeType } from "../src/conf-change.ts";
import { ScenarioError } from "./scenario-file.ts";

const TYPES: Readonly<Record<string, ConfChangeType>> = {
  v: ConfChangeType.AddNode,
  l: ConfChangeType.AddLearnerNode,
  r: ConfChangeType.RemoveNode,
  u: ConfChangeType.UpdateNode,
};

export function parseChanges(text: string): ConfChangeSingle[] {
  const changes: ConfChangeSingle[] = [];
  for (const token of text.split(/\s+/)) {
    if (token === "") continue;
    const type = TYPES[token.charAt(0)];
    if (type === undefined || !/^.\d+$/.test(token)) throw new ScenarioError(`unknown input: ${token}`);
    changes.push({ type, nodeId: BigInt(token.slice(1)) });
  }
  return changes;
}
