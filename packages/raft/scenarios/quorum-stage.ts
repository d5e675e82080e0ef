/**
 * Plays the scenarios of the vote and commit arithmetic: `committed cfg=(1,2) [cfgj=(2,3)] idx=(10,_,12)` and
 * `vote cfg=(..) [cfgj=(..)] votes=(y,n,_)`. Values belong to ids in order of first appearance; `_` is no answer.
 *
 * Every result is also computed in ways that must not matter (an empty or identical second half, swapped halves,
 * acknowledgements lowered that do not carry the result); a way that differs adds a line, which no file expects.
 */
import { type AckedIndexes, jointCommittedIndex, jointVoteResult } from "../src/quorum.ts";
import { ascending } from "../src/tracker.ts";
import type { NodeId } from "../src/types.ts";
import { type Directive, ScenarioError, type Stage } from "./scenario-file.ts";

export class QuorumStage implements Stage {
  play(directive: Directive): string {
    const isVote = directive.command === "vote";
    if (!isVote && directive.command !== "committed") throw new ScenarioError(`unknown command ${directive.command}`);
    const incoming: NodeId[] = [];
    const outgoing: NodeId[] = [];
    const inputs: string[] = [];
    for (const { key, values } of directive.args) {
      if (key === "cfg") incoming.push(...values.map(BigInt));
      else if (key === "cfgj") outgoing.push(...(values[0] === "zero" ? [] : values.map(BigInt)));
      else if (key === "idx" || key === "votes") inputs.push(...values);
      else throw new ScenarioError(`line ${directive.line}: unknown argument ${key}`);
    }

    const ids = [...new Set([...incoming, ...outgoing])];
    if (ids.length !== inputs.length) {
      const shown = inputs.map((input) => (input === "_" ? "0" : isVote ? (input === "y" ? "2" : "1") : input));
      const voters = ids.sort(ascending).map((id) => `${id}:{}`);
      return `error: mismatched input (explicit or _) for voters map[${voters.join(" ")}]: [${shown.join(" ")}]`;
    }
    const answers = new Map<NodeId, string>();
    ids.forEach((id, i) => {
      if (inputs[i] !== "_") answers.set(id, inputs[i]!);
    });
    incoming.sort(ascending);
    outgoing.sort(ascending);
    return isVote ? playVote(incoming, outgoing, answers) : playCommitted(incoming, outgoing, answers);
  }
}

const VOTE_NAMES = { pending: "VotePending", lost: "VoteLost", won: "VoteWon" } as const;

function playVote(incoming: NodeId[], outgoing: NodeId[], answers: ReadonlyMap<NodeId, string>): string {
  const votes = new Map([...answers].map(([id, answer]) => [id, answer === "y"] as const));
  const result = jointVoteResult(incoming, outgoing, votes);
  let text = "";
  if (jointVoteResult(outgoing, incoming, votes) !== result) text += "differs with the halves swapped\n";
  if (outgoing.length === 0 && jointVoteResult(incoming, incoming, votes) !== result) {
    text += "differs when joint with itself\n";
  }
  return `${text}${VOTE_NAMES[result]}\n`;
}

function playCommitted(incoming: NodeId[], outgoing: NodeId[], answers: ReadonlyMap<NodeId, string>): string {
  const acked = new Map([...answers].map(([id, answer]) => [id, Number(answer)] as const));
  const committed = jointCommittedIndex(incoming, outgoing, asAcks(acked));
  let text = describe([...new Set([...incoming, ...outgoing])].sort(ascending), acked);
  if (jointCommittedIndex(outgoing, incoming, asAcks(acked)) !== committed) text += "differs with the halves swapped\n";
  if (outgoing.length === 0 && jointCommittedIndex(incoming, incoming, asAcks(acked)) !== committed) {
    text += "differs when joint with itself\n";
  }
  for (const [id, index] of acked) {
    if (index >= committed) continue;
    // Who has not reached the result did not carry it, and might as well have acknowledged less.
    const lowered = new Map(acked).set(id, index - 1);
    if (jointCommittedIndex(incoming, outgoing, asAcks(lowered)) !== committed)
      text += `differs with less from ${id}\n`;
  }
  return `${text}${committed === Number.POSITIVE_INFINITY ? "∞" : committed}\n`;
}

function asAcks(acked: ReadonlyMap<NodeId, number>): AckedIndexes {
  return { ackedIndex: (id) => acked.get(id) };
}

/** A table with a bar per voter: how many others have acknowledged less. */
function describe(ids: readonly NodeId[], acked: ReadonlyMap<NodeId, number>): string {
  if (ids.length === 0) return "<empty majority quorum>";
  const ranked = [...ids].sort((a, b) => (acked.get(a) ?? 0) - (acked.get(b) ?? 0) || ascending(a, b));
  const bars = new Map<NodeId, number>();
  ranked.forEach((id, rank) => {
    const before = ranked[rank - 1];
    const isMore = before !== undefined && (acked.get(id) ?? 0) > (acked.get(before) ?? 0);
    bars.set(id, before === undefined ? 0 : isMore ? rank : bars.get(before)!);
  });
  let text = `${" ".repeat(ids.length)}    idx\n`;
  for (const id of ids) {
    const index = acked.get(id);
    const bar = bars.get(id)!;
    text += index === undefined ? `?${" ".repeat(ids.length)}` : `${"x".repeat(bar)}>${" ".repeat(ids.length - bar)}`;
    text += ` ${String(index ?? 0).padStart(5)}    (id=${id})\n`;
  }
  return text;
}
