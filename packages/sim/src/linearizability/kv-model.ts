/**
 * etcd's keys as a sequential object, one key at a time, and the check of a whole history with it. Called by the simulator
 * and by the fault tests.
 *
 * The order looked for is the log's, along which header revisions only grow, and a write's is above all before it. So the
 * state remembers the highest revision known so far: that makes the check sharper than values alone could, and leads the
 * search. What a write of unknown outcome leaves behind has a revision nobody was told; the state then holds a bound, and
 * the first read that sees it tells the number.
 *
 *   absent, mod 0 ──put at 5──▶ "a", mod = 5 ──put, unknown──▶ "b", mod > 5 ──get: "b", mod 7 at 9──▶ "b", mod = 7
 *                               known 5                        known 6                               known 9
 */
import { type Model, search } from "./checker.ts";
import {
  type Compare,
  changedStore,
  deletesWhatIsAbsent,
  describeFound,
  describeOperation,
  type Found,
  type KvInput,
  type KvOutput,
  type Operation,
  valueWritten,
} from "./operation.ts";

export interface KeyState {
  /** Null: absent. */
  readonly value: string | null;
  /** Of the last change, if `isExact`; otherwise that is above this. */
  readonly modRevision: number;
  readonly isExact: boolean;
  /** The store's revision was at least this after the last operation. */
  readonly revision: number;
}

/** The model of one key for these operations, which are all there are on it. */
export function keyModel(operations: readonly Operation[]): Model<Operation, KeyState> {
  const told = valuesTold(operations);
  return {
    ...key,
    effect: ({ input }) => effect(input, told),
    // The log's order, as far as answers tell it: a read comes after the write whose revision it saw. A lost write whose
    // value an answer tells is needed for that answer: where any will do, another is better.
    rank: (op) =>
      op.output !== null
        ? op.output.revision * 2 + (changedStore(op) ? 0 : 1)
        : told.has(valueWritten(op.input) ?? "")
          ? 1
          : 0,
  };
}

const key: Omit<Model<Operation, KeyState>, "effect" | "rank"> = {
  initial: { value: null, modRevision: 0, isExact: true, revision: 0 },

  step(state, { input, output }) {
    switch (output!.kind) {
      case "get":
        return seen(state, output!.revision, output!.found);
      case "put":
        return input.kind === "put" ? changed(state, output!.revision, input.value) : null;
      case "delete":
        if (output!.deleted === 0) return seen(state, output!.revision, null);
        return state.value === null ? null : changed(state, output!.revision, null);
      case "txn":
        return input.kind === "txn" ? stepTxn(state, input, output!) : null;
      default:
        return output satisfies never;
    }
  },

  stepUnknown(state, { input }) {
    switch (input.kind) {
      case "get":
        return null;
      case "put":
        return changedUnknown(state.revision, input.value);
      case "delete":
        return state.value === null ? null : changedUnknown(state.revision, null);
      case "txn": {
        if (holds(state, input.compare) === "no" || deletesWhatIsAbsent(input)) return null;
        const compared = input.compare.target === "mod" ? input.compare.modRevision : 0;
        return changedUnknown(Math.max(state.revision, compared), input.write);
      }
      default:
        return input satisfies never;
    }
  },

  isTooLate: ({ revision }, operation) => operation.output!.revision < revision + (changedStore(operation) ? 1 : 0),

  observes: ({ input }) => input.kind !== "put",

  key: ({ value, modRevision, isExact, revision }) =>
    `${modRevision}${isExact ? "=" : "<"}${revision}${value === null ? "" : `:${value}`}`,
};

/** Values that an answer tells or a comparison asks for: others cannot be told from one another. */
function valuesTold(operations: readonly Operation[]): Set<string> {
  const told = new Set<string>();
  for (const { input, output } of operations) {
    if (output !== null && "found" in output && output.found !== null) told.add(output.found.value);
    if (input.kind === "txn" && input.compare.target === "value") told.add(input.compare.value);
  }
  return told;
}

function effect(input: KvInput, told: ReadonlySet<string>): string {
  const written = valueWritten(input);
  const value = written === null ? "delete" : told.has(written) ? `put ${written}` : "put";
  if (input.kind !== "txn") return input.kind === "get" ? "get" : value;
  const { compare } = input;
  return `${compare.target} ${compare.target === "mod" ? compare.modRevision : compare.value} ${value}`;
}

function stepTxn(
  state: KeyState,
  input: KvInput & { readonly kind: "txn" },
  output: KvOutput & { readonly kind: "txn" },
): KeyState | null {
  if (!output.succeeded) {
    // Asked of the state after: what was found may tell a modification revision that was not known before.
    const after = seen(state, output.revision, output.found);
    return after === null || holds(after, input.compare) === "yes" ? null : after;
  }
  const condition = holds(state, input.compare);
  if (condition === "no") return null;
  if (deletesWhatIsAbsent(input)) return seen(state, output.revision, null);
  const compared = condition === "perhaps" && input.compare.target === "mod" ? input.compare.modRevision : 0;
  return output.revision > compared ? changed(state, output.revision, input.write) : null;
}

function holds({ value, modRevision, isExact }: KeyState, compare: Compare): "yes" | "no" | "perhaps" {
  if (compare.target === "value") return value === compare.value ? "yes" : "no";
  if (value !== null && !isExact) return compare.modRevision > modRevision ? "perhaps" : "no";
  return compare.modRevision === (value === null ? 0 : modRevision) ? "yes" : "no";
}

/** After something at `revision` saw the key so; null if it could not. */
function seen(state: KeyState, revision: number, found: Found | null): KeyState | null {
  if (revision < state.revision) return null;
  if (found === null) return state.value === null ? { ...state, revision } : null;
  const { value, modRevision } = found;
  const fits = state.isExact ? modRevision === state.modRevision : modRevision > state.modRevision;
  if (value !== state.value || !fits || modRevision > revision) return null;
  return { value, modRevision, isExact: true, revision };
}

function changed(state: KeyState, revision: number, value: string | null): KeyState | null {
  return revision > state.revision ? { value, modRevision: revision, isExact: true, revision } : null;
}

function changedUnknown(above: number, value: string | null): KeyState {
  return { value, modRevision: above, isExact: false, revision: above + 1 };
}

/** Of a whole history. `steps` counts how often the model was tried. */
export type KvVerdict =
  | { readonly kind: "ok"; readonly steps: number }
  | {
      readonly kind: "illegal";
      readonly steps: number;
      readonly key: string;
      /** A few lines: the end of the longest order found, the state after it, and what does not fit there. */
      readonly explanation: string;
    }
  /** The budget was spent on this key before an answer was found, and no other key is illegal. */
  | { readonly kind: "unknown"; readonly steps: number; readonly key: string };

export interface KvCheckOptions {
  /** How often the model may be tried for one key. Default 1,000,000, about a second. */
  readonly budgetPerKey?: number;
}

/** Whether the history is linearizable, key by key: a store is if each of its keys is. */
export function checkKv(history: readonly Operation[], options: KvCheckOptions = {}): KvVerdict {
  const budget = options.budgetPerKey ?? 1_000_000;
  let steps = 0;
  let undecided: string | null = null;
  for (const [key, operations] of byKey(history)) {
    const verdict = search(keyModel(operations), operations, budget);
    steps += verdict.steps;
    if (verdict.kind === "unknown") undecided ??= key;
    if (verdict.kind === "illegal") {
      const { prefix, state, stuck } = verdict;
      return { kind: "illegal", steps, key, explanation: explain(key, prefix, state, stuck) };
    }
  }
  return undecided === null ? { kind: "ok", steps } : { kind: "unknown", steps, key: undecided };
}

function byKey(history: readonly Operation[]): Map<string, Operation[]> {
  const parts = new Map<string, Operation[]>();
  for (const operation of history) {
    const part = parts.get(operation.input.key);
    if (part === undefined) parts.set(operation.input.key, [operation]);
    else part.push(operation);
  }
  return parts;
}

/** Enough of an order to see why nothing can follow. */
const SHOWN_BEFORE = 5;

function explain(
  key: string,
  prefix: readonly Operation[],
  { value, modRevision, isExact, revision }: KeyState,
  stuck: readonly Operation[],
): string {
  const state =
    value === null ? "absent" : isExact ? describeFound({ value, modRevision }) : `${value} (mod > ${modRevision})`;
  const omitted = prefix.length > SHOWN_BEFORE ? [`  ... ${prefix.length - SHOWN_BEFORE} before`] : [];
  return [
    `${key}: no order of its operations explains the answers. The longest that does ends:`,
    ...omitted,
    ...prefix.slice(-SHOWN_BEFORE).map((operation) => `  ${describeOperation(operation)}`),
    `then ${key} is ${state}, the store at revision ${revision} or above, and none of these can come next:`,
    ...stuck.map((operation) => `  ${describeOperation(operation)}`),
  ].join("\n");
}
