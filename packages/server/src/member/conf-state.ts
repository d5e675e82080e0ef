/** etcd's JSON of a ConfState, as table `meta` and the marks in the log have it. */
import type { ConfState } from "@quorate/raft";

/** Ids are bare decimals, empty lists are left out, auto_leave is not. */
export function confStateJson(state: ConfState): string {
  const list = (name: string, ids: readonly bigint[]): string =>
    ids.length === 0 ? "" : `"${name}":[${ids.join(",")}],`;
  return (
    `{${list("voters", state.voters)}${list("learners", state.learners)}` +
    `${list("voters_outgoing", state.votersOutgoing)}${list("learners_next", state.learnersNext)}"auto_leave":${state.autoLeave}}`
  );
}

/** Throws SyntaxError for what confStateJson did not write. */
export function parseConfState(text: string): ConfState {
  // Every number in it is an id, and an id may be above 2^53: quote them all, then read them exactly.
  const parsed = JSON.parse(text.replace(/\d+/g, '"$&"')) as Partial<Record<string, string[]>> & {
    auto_leave?: boolean;
  };
  const ids = (name: string): bigint[] => (parsed[name] ?? []).map(BigInt);
  return {
    voters: ids("voters"),
    learners: ids("learners"),
    votersOutgoing: ids("voters_outgoing"),
    learnersNext: ids("learners_next"),
    autoLeave: parsed.auto_leave === true,
  };
}
